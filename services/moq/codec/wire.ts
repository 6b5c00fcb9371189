/** How numbers are written: as in QUIC (RFC 9000 16), or with one leading one for each byte that follows (draft 18 1.4.1). */
export type Integers = "quic" | "ones";

/** Why a peer's bytes end a session or a request: numbers of draft-ietf-moq-transport-16 14.5.1. */
export const sessionErrors = {
  noError: 0x0,
  internal: 0x1,
  unauthorized: 0x2,
  protocolViolation: 0x3,
  invalidRequestId: 0x4,
  duplicateTrackAlias: 0x5,
  keyValueFormatting: 0x6,
  tooManyRequests: 0x7,
  invalidPath: 0x8,
  malformedPath: 0x9,
  goawayTimeout: 0x10,
  controlTimeout: 0x11,
  dataTimeout: 0x12,
  tokenCacheOverflow: 0x13,
  duplicateTokenAlias: 0x14,
  versionNegotiation: 0x15,
  malformedToken: 0x16,
  unknownTokenAlias: 0x17,
  expiredToken: 0x18,
  invalidAuthority: 0x19,
  malformedAuthority: 0x1a,
} as const;

export type SessionError = keyof typeof sessionErrors;

/** Bytes that a peer must not send: the session ends with `code`. */
export class Violation extends Error {
  readonly code: SessionError;
  constructor(code: SessionError, message: string) {
    super(message);
    this.name = "Violation";
    this.code = code;
  }
}

/** Thrown where bytes end too early: on a stream more may come, in a message it is a Violation. */
export const cutShort = new Violation("protocolViolation", "The message is shorter than its fields");

/** Reads fields one after the other. Throws `cutShort` past the end, and Violation for numbers that nothing of ours can count. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly integers: Integers;
  at = 0;

  constructor(bytes: Uint8Array, integers: Integers = "quic") {
    this.bytes = bytes;
    this.integers = integers;
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  u8(): number {
    if (this.left < 1) throw cutShort;
    return this.bytes[this.at++]!;
  }

  u16(): number {
    return this.u8() * 256 + this.u8();
  }

  /** A number; whatever is above 2^53 - 1 comes out as 2^62, which is good enough for counts that say "unknown". */
  loose(): number {
    const { bytes } = this;
    const first = bytes[this.at];
    if (first === undefined) throw cutShort;
    const ones = this.integers === "ones" ? Math.clz32(~(first << 24)) : 0;
    const length = this.integers === "ones" ? ones + 1 : 1 << (first >> 6);
    if (this.left < length) throw cutShort;
    let value = this.integers === "ones" ? first & (0x7f >> ones) : first & 0x3f;
    for (let i = 1; i < length; i++) value = value * 256 + bytes[this.at + i]!;
    this.at += length;
    return value > Number.MAX_SAFE_INTEGER ? 2 ** 62 : value;
  }

  /** A number; Violation above 2^53 - 1. */
  varint(): number {
    const value = this.loose();
    if (value > Number.MAX_SAFE_INTEGER)
      throw new Violation("protocolViolation", "A number is larger than 2^53");
    return value;
  }

  /** The next `length` bytes, not copied. */
  take(length: number): Uint8Array {
    if (this.left < length) throw cutShort;
    const at = this.at;
    this.at += length;
    return this.bytes.subarray(at, this.at);
  }

  /** Bytes after their length. */
  sized(limit: number): Uint8Array {
    const length = this.varint();
    if (length > limit) throw new Violation("protocolViolation", `A field is longer than ${limit} bytes`);
    return this.take(length);
  }

  /** Nothing may be left. */
  end(): void {
    if (this.left > 0) throw new Violation("protocolViolation", "The message is longer than its fields");
  }
}

/** Writes fields one after the other into memory that grows. */
export class Writer {
  readonly integers: Integers;
  #bytes = new Uint8Array(64);
  #length = 0;

  constructor(integers: Integers = "quic") {
    this.integers = integers;
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    this.#room(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  u16(value: number): this {
    return this.u8((value >> 8) & 255).u8(value & 255);
  }

  /** A number in the fewest bytes. Numbers from 2^53 on stand for 2^62 - 1. */
  varint(value: number): this {
    const size = varintSize(value, this.integers);
    this.#room(size);
    writeVarint(this.#bytes, this.#length, value, this.integers);
    this.#length += size;
    return this;
  }

  put(bytes: Uint8Array): this {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  sized(bytes: Uint8Array): this {
    return this.varint(bytes.length).put(bytes);
  }

  /** What was written so far, not copied: write no more. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + more));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

/** Bytes that `value` takes as a number. */
export function varintSize(value: number, integers: Integers): number {
  if (integers === "quic") return value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x4000_0000 ? 4 : 8;
  if (value > Number.MAX_SAFE_INTEGER) return 9;
  let size = 1;
  while (size < 8 && value >= 2 ** (7 * size)) size++;
  return size;
}

/** Writes `value` at `at` and returns where the next field begins. */
export function writeVarint(bytes: Uint8Array, at: number, value: number, integers: Integers): number {
  const size = varintSize(value, integers);
  const unknown = value > Number.MAX_SAFE_INTEGER;
  let rest = value;
  for (let i = size - 1; i >= 0; i--) {
    bytes[at + i] = unknown ? 255 : rest % 256;
    rest = Math.floor(rest / 256);
  }
  if (integers === "ones") {
    // 2^62 - 1 takes all nine bytes.
    if (unknown) bytes[at + 1] = 0x3f;
    else bytes[at]! |= 0xff & ~(0xff >> (size - 1));
  } else if (!unknown) bytes[at]! |= { 1: 0, 2: 0x40, 4: 0x80, 8: 0xc0 }[size]!;
  return at + size;
}

/** Names on the wire are bytes; one character of the text stands for each, so that any two that differ stay different. */
export function textOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** The bytes of a name. */
export function bytesOfText(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
