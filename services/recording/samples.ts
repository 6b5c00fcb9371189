import { Numbers, Reader, unzigzag, zigzag } from "./journal.ts";

/** One coded frame of a part: where its bytes lie, counted from the part's first byte. Ticks are of the rendition. */
export interface StoredSample {
  readonly offset: number;
  readonly size: number;
  readonly duration: number;
  /** Presentation minus decoding time. */
  readonly shift: number;
  readonly key: boolean;
}

const [moof, mdat, traf, tfhd, tfdt, trun] = ["moof", "mdat", "traf", "tfhd", "tfdt", "trun"].map((name) =>
  [...name].reduce((code, letter) => code * 256 + letter.charCodeAt(0), 0),
) as [number, number, number, number, number, number];
const notSync = 0x0001_0000;

/** What the chunks of a part hold, compactly, for the journal. Undefined when these are not whole chunks. */
export function mapSamples(part: Uint8Array): Uint8Array | undefined {
  const out = new Numbers();
  const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
  let at = 0;
  while (at < part.length) {
    const samples = chunkAt(view, at);
    if (!samples) return undefined;
    const { header, list, end } = samples;
    out.put(header, list.length);
    for (const { size, duration, shift, key } of list)
      out.put(size, duration * 2 + (key ? 1 : 0), zigzag(shift));
    at = end;
  }
  return out.take();
}

/** What `mapSamples` made of a part, where it lies among other bytes. */
export interface SampleMap {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly end: number;
}

/** The samples of a part from what `mapSamples` made of it; undefined when it is not that. */
export function readSamples(map: Uint8Array): StoredSample[] | undefined {
  const samples: StoredSample[] = [];
  const good = eachSample({ bytes: map, from: 0, end: map.length }, (offset, size, timing, shift) => {
    samples.push({ offset, size, duration: timing >>> 1, shift, key: (timing & 1) === 1 });
  });
  return good ? samples : undefined;
}

/**
 * The same one by one, for who reads an hour of them; `timing` is twice the duration, and one more for a key. False when the
 * map is not one of `mapSamples`: then those that were given do not count.
 */
export function eachSample(
  { bytes, from, end }: SampleMap,
  take: (offset: number, size: number, timing: number, shift: number) => void,
): boolean {
  let next = from;
  let good = true;
  const number = (): number => {
    if (next >= end) {
      good = false;
      return 0;
    }
    const first = bytes[next++]!;
    if (first < 0x80) return first;
    let value = first & 0x7f;
    for (let scale = 0x80; scale <= 2 ** 28 && next < end; scale *= 0x80) {
      const byte = bytes[next++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    good = false;
    return 0;
  };
  let at = 0;
  while (good && next < end) {
    at += number();
    for (let left = number(); left > 0 && good; left--) {
      const size = number();
      const timing = number();
      const shift = unzigzag(number());
      if (good) take(at, size, timing, shift);
      at += size;
    }
  }
  return good;
}

/** How many of the part's first bytes are one picture, from what `mapSamples` made of it; undefined where a chunk has more. */
export function pictureBytes(map: Uint8Array): number | undefined {
  const from = new Reader(map);
  const header = from.get();
  const count = from.get();
  const size = from.get();
  return from.good && count === 1 ? header + size : undefined;
}

/** Decoding time of a chunk's first sample, in ticks (tfdt); undefined when these are no chunk. */
export function chunkTime(chunk: Uint8Array): number | undefined {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const first = boxAt(view, 0, view.byteLength);
  const track = first?.type === moof ? findBox(view, first.body, first.end, traf) : undefined;
  const time = track && findBox(view, track.body, track.end, tfdt);
  // Version 1, as `cmaf.ts` writes it: 64 bits.
  if (!time || time.end - time.body < 12 || view.getUint8(time.body) !== 1) return undefined;
  const ticks = view.getUint32(time.body + 4) * 2 ** 32 + view.getUint32(time.body + 8);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

interface Found {
  /** From the chunk's first byte to its first sample. */
  readonly header: number;
  readonly list: readonly { size: number; duration: number; shift: number; key: boolean }[];
  readonly end: number;
}

/** The chunk that begins at `at`: a moof with one traf and one trun, and its mdat, as `cmaf.ts` writes them. */
function chunkAt(view: DataView, at: number): Found | undefined {
  const first = boxAt(view, at, view.byteLength);
  const data = first && boxAt(view, first.end, view.byteLength);
  if (first?.type !== moof || data?.type !== mdat) return undefined;
  const track = findBox(view, first.body, first.end, traf);
  const head = track && findBox(view, track.body, track.end, tfhd);
  const run = track && findBox(view, track.body, track.end, trun);
  if (!head || !run) return undefined;
  try {
    const list = samplesOf(view, head.body, run.body, run.end);
    const total = list?.reduce((sum, { size }) => sum + size, 0);
    if (!list || total !== data.end - data.body) return undefined;
    return { header: data.body - at, list, end: data.end };
  } catch {
    // A length that points past the end.
    return undefined;
  }
}

/** ISO/IEC 14496-12 8.8.7 and 8.8.8; offsets are of the boxes' flags. */
function samplesOf(view: DataView, head: number, run: number, runEnd: number): Found["list"] | undefined {
  const defaults = view.getUint32(head) & 0xff_ffff;
  let at = head + 8 + (defaults & 0x01 ? 8 : 0) + (defaults & 0x02 ? 4 : 0);
  const next = (): number => {
    at += 4;
    return view.getUint32(at - 4);
  };
  const duration = defaults & 0x08 ? next() : 0;
  const size = defaults & 0x10 ? next() : 0;
  const flags = defaults & 0x20 ? next() : 0;
  const has = view.getUint32(run) & 0xff_ffff;
  const count = view.getUint32(run + 4);
  at = run + 8 + (has & 0x01 ? 4 : 0);
  const firstFlags = has & 0x04 ? next() : undefined;
  const each = [0x100, 0x200, 0x400, 0x800].filter((bit) => has & bit).length * 4;
  if (count > 10_000 || at + each * count > runEnd) return undefined;
  return Array.from({ length: count }, (_, i) => {
    const ticks = has & 0x100 ? next() : duration;
    const bytes = has & 0x200 ? next() : size;
    const own = has & 0x400 ? next() : i === 0 && firstFlags !== undefined ? firstFlags : flags;
    const shift = has & 0x800 ? next() | 0 : 0;
    return { size: bytes, duration: ticks, shift, key: (own & notSync) === 0 };
  });
}

interface Box {
  readonly type: number;
  readonly body: number;
  readonly end: number;
}

function boxAt(view: DataView, at: number, limit: number): Box | undefined {
  if (at + 8 > limit) return undefined;
  const end = at + view.getUint32(at);
  return end >= at + 8 && end <= limit ? { type: view.getUint32(at + 4), body: at + 8, end } : undefined;
}

function findBox(view: DataView, from: number, end: number, type: number): Box | undefined {
  for (let at = from; ; ) {
    const box = boxAt(view, at, end);
    if (!box || box.type === type) return box;
    at = box.end;
  }
}
