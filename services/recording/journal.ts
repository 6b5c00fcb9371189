import { crc32 } from "node:zlib";
import { z } from "../lib/schema.ts";
import type { Track } from "../packager/track.ts";

/**
 * The journal of one broadcast: what its media files hold, in the order in which it was written. Eight bytes of head,
 * then frames of `length u32 | crc32 u32 | payload`, all big-endian. A payload is JSON where entries are rare, and a
 * letter with variable-length integers where there are thousands an hour.
 */
export type Entry =
  | Begin
  | File
  /** A segment begins. `rendition` is the index that its first `file` entry gave it; ticks are its own. */
  | {
      readonly type: "open";
      readonly rendition: number;
      readonly number: number;
      readonly discontinuity: number;
      readonly version: number;
      readonly dts: number;
      readonly independent: boolean;
      readonly gap: boolean;
    }
  /** The next bytes of the rendition's newest file. A gap has a duration and no bytes. */
  | {
      readonly type: "part";
      readonly rendition: number;
      readonly duration: number;
      readonly independent: boolean;
      readonly gap: boolean;
      readonly byteLength: number;
      readonly crc: number;
      /** What is where in the part: `samples.ts` reads it. */
      readonly samples: Uint8Array;
    }
  /** `lead`: ticks from the segment's `dts` to its earliest presentation time; undefined where there is nothing to show. */
  | { readonly type: "close"; readonly rendition: number; readonly lead: number | undefined }
  | Mark;

/** An entry before its bytes were seen: checksums and samples are whoever writes them to find. */
export type Draft =
  | Without<Exclude<Entry, { type: "part" }>, "initCrc">
  | (Without<Extract<Entry, { type: "part" }>, "crc" | "samples"> & {
      /** How many of its first bytes are a picture that needs no other, as the samples say too. */
      readonly keyBytes?: number | undefined;
      readonly samples?: Uint8Array | undefined;
    });
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

type Begin = z.infer<typeof begin>;
type File = Omit<z.infer<typeof file>, "track"> & { readonly track: Track };
type Mark =
  | z.infer<typeof captions>
  | z.infer<typeof line>
  | z.infer<typeof durable>
  | z.infer<typeof restart>
  | z.infer<typeof drop>
  | z.infer<typeof end>;

const count = z.int().min(0);
const name = z.string().regex(/^[a-z0-9]{1,16}$/);
const uid = z.string().regex(/^[0-9a-f]{32}$/);

/** The first entry. Times are milliseconds since 1970; `temporary` media goes when nobody may ask for it any more. */
const begin = z.object({
  type: z.literal("begin"),
  video: uid,
  input: uid,
  startedMs: count,
  epochMs: z.number(),
  targetDuration: z.int().min(1).max(3600),
  partTarget: z.number().positive().max(3600),
  temporary: z.boolean(),
});
/** A new media file: its init segment stands at its start. `discontinuity` counts what the broadcast had before it. */
const file = z.object({
  type: z.literal("file"),
  rendition: count,
  name,
  file: count,
  version: count,
  initBytes: count,
  initCrc: count,
  discontinuity: count,
  track: z.looseObject({
    kind: z.enum(["video", "audio"]),
    codec: z.string().max(64),
    timescale: z.int().min(1).max(0xffff_ffff),
    config: z.string().max(1 << 20),
  }),
});
/** Everything in the journal's first `upTo` bytes is on the platter, media included. */
const durable = z.object({ type: z.literal("durable"), upTo: count });
/** The writer began anew: what was open is closed as it stands, and every rendition begins a file. */
const restart = z.object({ type: z.literal("restart"), atMs: count });
/** A file of a temporary recording is gone. */
const drop = z.object({ type: z.literal("drop"), rendition: count, file: count });
/** Channels of the captions in a rendition's pictures, all so far. */
const captions = z.object({
  type: z.literal("captions"),
  rendition: count,
  channels: z.array(z.string().regex(/^(CC[1-4]|SERVICE\d{1,2})$/)).max(64),
});
/** Words that were shown, in milliseconds of the broadcast's clock. */
const line = z.object({
  type: z.literal("line"),
  startMs: count,
  endMs: count,
  text: z.string().max(1024),
  pieces: z.boolean(),
  language: z.string().max(64).optional(),
});
/** Nothing follows. */
const end = z.object({ type: z.literal("end"), atMs: count });

const rare = z.discriminatedUnion("type", [begin, file, durable, restart, drop, captions, line, end]);

const magic = [0x53, 0x4c, 0x4a, 0x4c];
const version = 1;
/** What every journal begins with: magic, version, three bytes that are 0. */
export const journalHead = Uint8Array.from([...magic, version, 0, 0, 0]);

const frameBytes = 8;
/** A part of a second at 240 frames takes 3 kB; a decoder configuration may take 64 kB. */
const maxPayload = 1 << 21;
/** Every few entries at least one is as short as that. */
const maxFrequent = 1 << 13;

/** One frame. */
export function encodeEntry(entry: Entry): Uint8Array {
  const payload = payloadOf(entry);
  const out = new Uint8Array(frameBytes + payload.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, payload.length);
  view.setUint32(4, crc32(payload));
  out.set(payload, frameBytes);
  return out;
}

export interface Read {
  readonly entry: Entry;
  /** Of its frame in the journal. */
  readonly start: number;
  readonly end: number;
}

/** The entries up to the first that is torn or wrong. Undefined when this is no journal that this version can read. */
export function* readJournal(bytes: Uint8Array): Generator<Read, void> {
  if (!isJournal(bytes)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // A view of a Buffer costs several times as much, and there are two for each part of an hour.
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = journalHead.length;
  while (at + frameBytes <= bytes.length) {
    const length = view.getUint32(at);
    const next = at + frameBytes + length;
    if (length === 0 || length > maxPayload || next > bytes.length) return;
    const payload = plain.subarray(at + frameBytes, next);
    if (crc32(payload) !== view.getUint32(at + 4)) return;
    const entry = entryOf(payload);
    if (!entry) return;
    yield { entry, start: at, end: next };
    at = next;
  }
}

/** Whether there is an entry somewhere behind byte `from`, at which reading has stopped: then this is no torn end. */
export function isLaterEntry(bytes: Uint8Array, from: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = from + 1; at + frameBytes < bytes.length; at++) {
    const length = view.getUint32(at);
    if (length === 0 || length > maxFrequent || at + frameBytes + length > bytes.length) continue;
    const payload = bytes.subarray(at + frameBytes, at + frameBytes + length);
    if (crc32(payload) === view.getUint32(at + 4) && entryOf(payload)) return true;
  }
  return false;
}

/** Whether these bytes begin like a journal of a version that can be read here. */
export function isJournal(bytes: Uint8Array): boolean {
  return bytes.length >= journalHead.length && journalHead.every((byte, i) => bytes[i] === byte);
}

const letters = { open: 1, part: 2, close: 3 } as const;

function payloadOf(entry: Entry): Uint8Array {
  const out = new Numbers();
  switch (entry.type) {
    case "open":
      out.put(letters.open, entry.rendition, entry.number, entry.discontinuity, entry.version, entry.dts);
      out.put(flags(entry));
      return out.take();
    case "part":
      out.put(letters.part, entry.rendition, entry.duration, flags(entry), entry.byteLength, entry.crc);
      return out.take(entry.samples);
    case "close":
      out.put(letters.close, entry.rendition, entry.lead === undefined ? 0 : 1 + zigzag(entry.lead));
      return out.take();
    case "file": {
      const config = Buffer.from(entry.track.config).toString("base64");
      return Buffer.from(JSON.stringify({ ...entry, track: { ...entry.track, config } }));
    }
    default:
      return Buffer.from(JSON.stringify(entry));
  }
}

function entryOf(payload: Uint8Array): Entry | undefined {
  if (payload[0] === 0x7b) return rareOf(payload);
  const from = new Reader(payload);
  const letter = from.get();
  const rendition = from.get();
  let entry: Entry;
  if (letter === letters.open) {
    const [number, discontinuity, init, dts] = [from.get(), from.get(), from.get(), from.get()];
    entry = { type: "open", rendition, number, discontinuity, version: init, dts, ...unflag(from.get()) };
  } else if (letter === letters.part) {
    const duration = from.get();
    const { independent, gap } = unflag(from.get());
    const byteLength = from.get();
    const crc = from.get();
    entry = { type: "part", rendition, duration, independent, gap, byteLength, crc, samples: from.rest() };
  } else if (letter === letters.close) {
    const lead = from.get();
    entry = { type: "close", rendition, lead: lead === 0 ? undefined : unzigzag(lead - 1) };
  } else return undefined;
  return from.good && from.rest().length === 0 ? entry : undefined;
}

function rareOf(payload: Uint8Array): Entry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString());
  } catch {
    return undefined;
  }
  const parsed = rare.safeParse(value);
  if (!parsed.success) return undefined;
  const entry = parsed.data;
  if (entry.type !== "file") return entry;
  const config = Uint8Array.from(Buffer.from(entry.track.config, "base64"));
  // What else a track says was written by this same code, under a checksum.
  return { ...entry, track: { ...entry.track, config } as unknown as Track };
}

function flags({ independent, gap }: { independent: boolean; gap: boolean }): number {
  return (independent ? 1 : 0) | (gap ? 2 : 0);
}

function unflag(bits: number): { independent: boolean; gap: boolean } {
  return { independent: (bits & 1) !== 0, gap: (bits & 2) !== 0 };
}

/** A signed integer as an unsigned one that is small where the number is. */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

export function unzigzag(value: number): number {
  return value % 2 ? -(value + 1) / 2 : value / 2;
}

/** Unsigned integers below 2^53 in groups of seven bits, the lowest first. */
export class Numbers {
  #bytes: number[] = [];

  put(...values: number[]): void {
    for (let value of values) {
      if (!Number.isSafeInteger(value) || value < 0)
        throw new RangeError(`${value} is no number for a journal`);
      for (; value >= 0x80; value = Math.floor(value / 0x80)) this.#bytes.push((value % 0x80) | 0x80);
      this.#bytes.push(value);
    }
  }

  take(tail: Uint8Array = new Uint8Array()): Uint8Array {
    const out = new Uint8Array(this.#bytes.length + tail.length);
    out.set(this.#bytes);
    out.set(tail, this.#bytes.length);
    this.#bytes = [];
    return out;
  }
}

/** Reads what `Numbers` wrote; past the end or past 2^53 it gives 0 and is not `good` any more. */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  good = true;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  get(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 0x80) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80 && Number.isSafeInteger(value)) return value;
    }
    this.good = false;
    return 0;
  }

  /** The bytes that are left. */
  rest(): Uint8Array {
    const rest = this.#bytes.subarray(this.#at);
    this.#at = this.#bytes.length;
    return rest;
  }
}
