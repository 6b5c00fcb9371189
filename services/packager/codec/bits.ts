import { BadMedia } from "../bad-media.ts";

/** Reads a decoder configuration bit by bit. Reading past the end throws BadMedia `bad_config`, never loops. */
export class BitReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** `what` is named in the sentence when the bits run out: "H.264 sequence header". */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get left(): number {
    return this.#bytes.length * 8 - this.#at;
  }

  /** Unsigned, up to 32 bits, most significant first. */
  read(count: number): number {
    if (count > this.left) throw new BadMedia("bad_config", `The ${this.#what} is cut short`);
    let value = 0;
    while (count > 0) {
      const free = 8 - (this.#at & 7);
      const taken = Math.min(free, count);
      const bits = (this.#bytes[this.#at >> 3]! >> (free - taken)) & ((1 << taken) - 1);
      value = value * 2 ** taken + bits;
      this.#at += taken;
      count -= taken;
    }
    return value;
  }

  flag(): boolean {
    return this.read(1) === 1;
  }

  /** Exp-Golomb, ISO/IEC 14496-10 9.1: ue(v). Above `max` it throws: what is read sizes loops and pictures. */
  unsigned(max: number): number {
    let zeros = 0;
    while (!this.flag()) if (++zeros > 31) throw this.#outOfRange();
    const value = 2 ** zeros - 1 + this.read(zeros);
    if (value > max) throw this.#outOfRange();
    return value;
  }

  /** se(v) */
  signed(): number {
    const value = this.unsigned(0xffff_fffe);
    return value % 2 ? (value + 1) / 2 : -value / 2;
  }

  /** To the next whole byte. */
  align(): void {
    this.#at = (this.#at + 7) & ~7;
  }

  #outOfRange(): BadMedia {
    return new BadMedia("bad_config", `The ${this.#what} has a value out of range`);
  }
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Two digits. */
export function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

/** One after the other, in a copy. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
