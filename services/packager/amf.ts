import { BadMedia } from "./bad-media.ts";

/** What AMF0 can say. Dates are milliseconds since 1970; undefined, unsupported and references read as null. */
export type AmfValue = number | boolean | string | null | AmfObject | readonly AmfValue[];
/** Has no prototype, so that a key such as `__proto__` is only a key. */
export interface AmfObject {
  readonly [key: string]: AmfValue;
}

const maxDepth = 16;
const maxElements = 4096;
const maxText = 65_536;

const utf8 = new TextDecoder();
const utf8Out = new TextEncoder();

/** Reads AMF0 values one after the other. Throws only BadMedia: every count is bounded by the bytes that are there. */
export class AmfReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;
  #elements = 0;

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = offset;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  read(): AmfValue {
    return this.#value(0);
  }

  #value(depth: number): AmfValue {
    if (depth > maxDepth) throw bad(`is nested deeper than ${maxDepth} levels`);
    if (++this.#elements > maxElements) throw bad(`has more than ${maxElements} values`);
    const type = this.#bytes[this.#take(1)]!;
    switch (type) {
      case 0x00:
        return this.#view.getFloat64(this.#take(8));
      case 0x01:
        return this.#bytes[this.#take(1)] !== 0;
      case 0x02:
        return this.#text(this.#view.getUint16(this.#take(2)));
      case 0x03:
        return this.#object(depth, false);
      case 0x05: // null
      case 0x06: // undefined
      case 0x0d: // unsupported
        return null;
      case 0x07: // reference to an earlier object: nothing that we read needs one, and cycles are not wanted
        this.#take(2);
        return null;
      case 0x08:
        this.#take(4); // the count is a hint; the end marker rules
        return this.#object(depth, true);
      case 0x0a:
        return this.#array(depth);
      case 0x0b: {
        const ms = this.#view.getFloat64(this.#take(8));
        this.#take(2); // time zone: reserved, 0
        return ms;
      }
      case 0x0c: // long string
      case 0x0f: // XML document
        return this.#text(this.#view.getUint32(this.#take(4)));
      case 0x10: // typed object: the class name does not matter
        this.#text(this.#view.getUint16(this.#take(2)));
        return this.#object(depth, false);
      default:
        throw bad(`has a value of unknown type 0x${type.toString(16).padStart(2, "0")}`);
    }
  }

  /** Encoders exist that leave out the end marker of a last ECMA array: the end of the bytes ends it too. */
  #object(depth: number, endless: boolean): AmfObject {
    const object: Record<string, AmfValue> = Object.create(null);
    while (!(endless && this.done)) {
      const length = this.#view.getUint16(this.#take(2));
      if (length === 0 && this.#bytes[this.#at] === 0x09) {
        this.#at++;
        break;
      }
      const key = this.#text(length);
      object[key] = this.#value(depth + 1);
    }
    return object;
  }

  #array(depth: number): AmfValue[] {
    const count = this.#view.getUint32(this.#take(4));
    // A value takes at least one byte, so a count that cannot be true costs nothing.
    if (count > this.#bytes.length - this.#at) throw bad("announces more values than it holds");
    const array: AmfValue[] = [];
    for (let i = 0; i < count; i++) array.push(this.#value(depth + 1));
    return array;
  }

  #text(length: number): string {
    if (length > maxText) throw bad(`has a text of ${length} bytes`);
    const from = this.#take(length);
    return utf8.decode(this.#bytes.subarray(from, from + length));
  }

  /** Where the next `length` bytes begin. */
  #take(length: number): number {
    const from = this.#at;
    if (length > this.#bytes.length - from) throw bad("is cut short");
    this.#at += length;
    return from;
  }
}

/**
 * AMF0 bytes of `values`, one after the other. Objects are written as ECMA arrays, which is what onMetaData has, or as
 * plain ones, which is what commands have.
 */
export function writeAmf(values: readonly AmfValue[], objects: "arrays" | "plain" = "arrays"): Uint8Array {
  const out: number[] = [];
  const scratch = new DataView(new ArrayBuffer(8));
  const text = (value: string, long: boolean): void => {
    const bytes = utf8Out.encode(value);
    if (long) out.push(bytes.length >>> 24, (bytes.length >>> 16) & 255);
    out.push((bytes.length >>> 8) & 255, bytes.length & 255);
    for (const byte of bytes) out.push(byte);
  };
  const write = (value: AmfValue): void => {
    if (value === null) out.push(0x05);
    else if (typeof value === "boolean") out.push(0x01, value ? 1 : 0);
    else if (typeof value === "number") {
      scratch.setFloat64(0, value);
      out.push(0x00);
      for (let i = 0; i < 8; i++) out.push(scratch.getUint8(i));
    } else if (typeof value === "string") {
      const long = utf8Out.encode(value).length > 0xffff;
      out.push(long ? 0x0c : 0x02);
      text(value, long);
    } else if (Array.isArray(value)) {
      out.push(0x0a);
      u32(out, value.length);
      for (const element of value) write(element);
    } else {
      const entries = Object.entries(value as AmfObject);
      out.push(objects === "plain" ? 0x03 : 0x08);
      if (objects === "arrays") u32(out, entries.length);
      for (const [key, element] of entries) {
        text(key, false);
        write(element);
      }
      out.push(0, 0, 0x09);
    }
  };
  for (const value of values) write(value);
  return Uint8Array.from(out);
}

function u32(out: number[], value: number): void {
  out.push(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

function bad(what: string): BadMedia {
  return new BadMedia("bad_flv", `The encoder's metadata (AMF0) ${what}`);
}
