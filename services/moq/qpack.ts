import { Failure } from "../lib/errors.ts";

/** RFC 9204 Appendix A, names and values in order of their index. */
const table: readonly (readonly [name: string, value: string])[] = `:authority
:path /
age 0
content-disposition
content-length 0
cookie
date
etag
if-modified-since
if-none-match
last-modified
link
location
referer
set-cookie
:method CONNECT
:method DELETE
:method GET
:method HEAD
:method OPTIONS
:method POST
:method PUT
:scheme http
:scheme https
:status 103
:status 200
:status 304
:status 404
:status 503
accept */*
accept application/dns-message
accept-encoding gzip, deflate, br
accept-ranges bytes
access-control-allow-headers cache-control
access-control-allow-headers content-type
access-control-allow-origin *
cache-control max-age=0
cache-control max-age=2592000
cache-control max-age=604800
cache-control no-cache
cache-control no-store
cache-control public, max-age=31536000
content-encoding br
content-encoding gzip
content-type application/dns-message
content-type application/javascript
content-type application/json
content-type application/x-www-form-urlencoded
content-type image/gif
content-type image/jpeg
content-type image/png
content-type text/css
content-type text/html; charset=utf-8
content-type text/plain
content-type text/plain;charset=utf-8
range bytes=0-
strict-transport-security max-age=31536000
strict-transport-security max-age=31536000; includesubdomains
strict-transport-security max-age=31536000; includesubdomains; preload
vary accept-encoding
vary origin
x-content-type-options nosniff
x-xss-protection 1; mode=block
:status 100
:status 204
:status 206
:status 302
:status 400
:status 403
:status 421
:status 425
:status 500
accept-language
access-control-allow-credentials FALSE
access-control-allow-credentials TRUE
access-control-allow-headers *
access-control-allow-methods get
access-control-allow-methods get, post, options
access-control-allow-methods options
access-control-expose-headers content-length
access-control-request-headers content-type
access-control-request-method get
access-control-request-method post
alt-svc clear
authorization
content-security-policy script-src 'none'; object-src 'none'; base-uri 'none'
early-data 1
expect-ct
forwarded
if-range
origin
purpose prefetch
server
timing-allow-origin *
upgrade-insecure-requests 1
user-agent
x-forwarded-for
x-frame-options deny
x-frame-options sameorigin`
  .split("\n")
  .map((line) => {
    const space = line.indexOf(" ");
    return space < 0 ? [line, ""] : [line.slice(0, space), line.slice(space + 1)];
  });

/** RFC 7541 Appendix B for printable ASCII: the characters of each code length, in the order of their codes. */
const huffmanCodes: Readonly<Record<number, string>> = {
  5: "012aceiost",
  6: " %-./3456789=A_bdfghlmnpru",
  7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
  8: "&*,;XZ",
  10: '!"()?',
  11: "'+|",
  12: "#>",
  13: "\0$@[]~",
  14: "^}",
  15: "<`{",
};

/** By length and code. The code is canonical: it counts on from one length to the next. */
const huffman = new Map<number, string>();
{
  let code = 0;
  let before = 5;
  for (const [length, characters] of Object.entries(huffmanCodes)) {
    code <<= Number(length) - before;
    before = Number(length);
    for (const character of characters) huffman.set((before << 16) | code++, character);
  }
}

const bad = (what: string) => new Failure("bad_request", `The field section cannot be read: ${what}`);

class Fields {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): boolean {
    return this.at < this.#bytes.length;
  }

  peek(): number {
    const byte = this.#bytes[this.at];
    if (byte === undefined) throw bad("it is cut short");
    return byte;
  }

  /** RFC 7541 5.1, from the low `bits` of the next byte on. */
  integer(bits: number): number {
    const most = (1 << bits) - 1;
    let value = this.peek() & most;
    this.at++;
    if (value < most) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.peek();
      this.at++;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw bad("a number is too large");
  }

  /** RFC 7541 5.2: the flag for Huffman stands just above the length. */
  text(bits: number): string {
    const coded = (this.peek() & (1 << bits)) !== 0;
    const length = this.integer(bits);
    const bytes = this.#bytes.subarray(this.at, this.at + length);
    if (bytes.length < length) throw bad("it is cut short");
    this.at += length;
    return coded ? unhuffman(bytes) : String.fromCharCode(...bytes);
  }
}

function unhuffman(bytes: Uint8Array): string {
  let text = "";
  let code = 0;
  let length = 0;
  for (const byte of bytes)
    for (let bit = 7; bit >= 0; bit--) {
      code = (code << 1) | ((byte >> bit) & 1);
      length++;
      const character = huffman.get((length << 16) | code);
      if (character !== undefined) {
        text += character;
        code = 0;
        length = 0;
      } else if (length > 15) throw bad("a character is not printable");
    }
  return text;
}

/**
 * The fields of a request (RFC 9204 4.5) by name, the last of each. We offer no dynamic table, so a reference to one is a
 * `Failure`, as is everything else that cannot be read.
 */
export function decodeFields(bytes: Uint8Array): ReadonlyMap<string, string> {
  const from = new Fields(bytes);
  if (from.integer(8) !== 0 || (from.peek() & 0x7f) !== 0) throw bad("it needs a dynamic table");
  from.at++;
  const fields = new Map<string, string>();
  const known = (index: number) => {
    const entry = table[index];
    if (!entry) throw bad("there is no such entry");
    return entry;
  };
  while (from.left) {
    const first = from.peek();
    if ((first & 0xc0) === 0xc0) fields.set(...known(from.integer(6)));
    else if ((first & 0xd0) === 0x50) {
      const [name] = known(from.integer(4));
      fields.set(name, from.text(7));
    } else if ((first & 0xe0) === 0x20) {
      const name = from.text(3);
      fields.set(name, from.text(7));
    } else throw bad("it needs a dynamic table");
  }
  return fields;
}

/** The fields of an answer or a request as literals, without tables. */
export function encodeFields(fields: readonly (readonly [name: string, value: string])[]): Uint8Array {
  const bytes: number[] = [0, 0];
  const integer = (value: number, bits: number, flags: number) => {
    const most = (1 << bits) - 1;
    if (value < most) return void bytes.push(flags | value);
    bytes.push(flags | most);
    let rest = value - most;
    for (; rest > 127; rest >>= 7) bytes.push((rest & 127) | 128);
    bytes.push(rest);
  };
  for (const [name, value] of fields) {
    integer(name.length, 3, 0x20);
    bytes.push(...Buffer.from(name, "latin1"));
    integer(value.length, 7, 0);
    bytes.push(...Buffer.from(value, "latin1"));
  }
  return Uint8Array.from(bytes);
}
