/** What a box holds: bytes, or numbers that are one byte each. */
export type Content = Uint8Array | readonly number[];

/** ISO/IEC 14496-12 4.2: size, type, content. For init segments; chunks are written in place by `cmaf.ts`. */
export function box(type: string, ...content: readonly Content[]): Uint8Array {
  let size = 8;
  for (const piece of content) size += piece.length;
  const out = new Uint8Array(size);
  out.set(u32(size));
  out.set(ascii(type), 4);
  let at = 8;
  for (const piece of content) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** A box with version and flags. */
export function fullBox(
  type: string,
  version: number,
  flags: number,
  ...content: readonly Content[]
): Uint8Array {
  return box(type, u32(version * 0x1_00_00_00 + flags), ...content);
}

/** MPEG-4 descriptor, ISO/IEC 14496-1 8.3.3, with the four-byte length that every muxer writes. */
export function descriptor(tag: number, ...content: readonly Content[]): Uint8Array {
  let size = 0;
  for (const piece of content) size += piece.length;
  const out = new Uint8Array(5 + size);
  out.set([
    tag,
    0x80 | ((size >> 21) & 127),
    0x80 | ((size >> 14) & 127),
    0x80 | ((size >> 7) & 127),
    size & 127,
  ]);
  let at = 5;
  for (const piece of content) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

export function u16(value: number): number[] {
  return [(value >> 8) & 255, value & 255];
}

export function u24(value: number): number[] {
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

export function u32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

export function zeros(count: number): number[] {
  return new Array<number>(count).fill(0);
}

export function ascii(text: string): number[] {
  return Array.from(text, (letter) => letter.charCodeAt(0));
}
