import { ascii, box, type Content, fullBox, u16, u32, zeros } from "./boxes.ts";
import { matrix, sampleEntry, trackId } from "./cmaf.ts";
import { readAvcConfig } from "./codec/avc.ts";
import { readHevcConfig } from "./codec/hevc.ts";
import { shownSize, type Track } from "./track.ts";

/** Ticks per second of a movie's own times. */
export const movieTimescale = 90_000;

/** What of a track is shown, in its own ticks counted from its first sample's `dts`, and how long after the movie's beginning. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  /** In ticks of the movie. */
  readonly delay: number;
}

/**
 * What stands before each keyframe of a track that is not the first in its file, as length-prefixed NAL units; nothing where
 * frames say it all. Chromium gives a decoder the parameter sets of a file's first sample entry and no others.
 */
export function parameterSets({ entry, config }: Track): Uint8Array {
  const sets = (): { lengthSize: number; units: readonly Uint8Array[] } => {
    if (entry === "avc1") {
      const { lengthSize, sps, pps } = readAvcConfig(config);
      return { lengthSize, units: [...sps, ...pps] };
    }
    if (entry !== "hvc1") return { lengthSize: 4, units: [] };
    const { lengthSize, vps, sps, pps } = readHevcConfig(config);
    return { lengthSize, units: [...vps, ...sps, ...pps] };
  };
  const { lengthSize, units } = sets();
  return Uint8Array.from(units.flatMap((unit) => [...u32(unit.length).slice(4 - lengthSize), ...unit]));
}

/** Where the bytes of a chunk belong: what comes first is sent first. */
export interface Placed {
  readonly track: number;
  readonly chunk: number;
}

const unsigned32 = 0xffff_ffff;
/** Above this, offsets into a file take 64 bits; a moov is smaller than the rest. */
const longFrom = 0xe000_0000;

/**
 * The tables of one track of a file that is not fragmented: chunks are begun and filled with samples in decoding order. A
 * chunk that begins later than the one before it ended stretches the last sample, so that tracks stay together.
 */
export class MovieTrack {
  readonly timescale: number;
  readonly entries: Track[] = [];
  readonly #sizes = new Words();
  readonly #durations = new Runs();
  readonly #shifts = new Runs();
  readonly #keys = new Words();
  readonly #chunkTimes: number[] = [];
  readonly #chunkSamples = new Words();
  readonly #chunkEntries = new Words();
  readonly #chunkBytes = new Words();
  #first: number | undefined;
  #samples = 0;
  #entry = 0;
  #next = 0;
  #duration = 0;
  #negative = false;
  #shifted = false;

  /** Ticks per second; the same for all that is recorded of a rendition. */
  constructor(timescale: number) {
    this.timescale = timescale;
  }

  /** What is needed to decode the chunks that follow. */
  use(track: Track): void {
    const known = this.entries.indexOf(track);
    this.#entry = known < 0 ? this.entries.push(track) - 1 : known;
  }

  /** Begins a chunk at `dts` in ticks. */
  begin(dts: number): void {
    this.#first ??= dts;
    const late = dts - this.#first - this.#next;
    if (this.#samples > 0) {
      // Never less than a tick: a sample of no duration is dropped by some readers.
      const longer = Math.max(1, this.#duration + late);
      this.#next += longer - this.#duration;
      this.#duration = longer;
    }
    this.#chunkTimes.push(this.#next);
    this.#chunkSamples.push(0);
    this.#chunkBytes.push(0);
    this.#chunkEntries.push(this.#entry + 1);
  }

  /** `shift` is presentation minus decoding time. */
  add(size: number, duration: number, shift: number, key: boolean): void {
    if (this.#samples > 0) this.#durations.add(this.#duration);
    this.#samples++;
    this.#duration = duration;
    this.#next += duration;
    this.#sizes.push(size);
    this.#shifts.add(shift);
    if (shift !== 0) this.#shifted = true;
    if (shift < 0) this.#negative = true;
    if (key) this.#keys.push(this.#samples);
    this.#chunkSamples.raise(1);
    this.#chunkBytes.raise(size);
  }

  get samples(): number {
    return this.#samples;
  }

  /** How many chunks there are. */
  get chunks(): number {
    return this.#chunkTimes.length;
  }

  /** Of all samples, in ticks. */
  get duration(): number {
    return this.#next;
  }

  /** Decoding time of the first sample in ticks. */
  get first(): number {
    return this.#first ?? 0;
  }

  /** When a chunk begins, in ticks from the first one. */
  timeOf(chunk: number): number {
    return this.#chunkTimes[chunk]!;
  }

  bytesOf(chunk: number): number {
    return this.#chunkBytes.at(chunk);
  }

  /** stbl with room for the offsets at its very end. */
  table(long: boolean): Uint8Array {
    const durations = this.#durations.with(this.#duration);
    const content: Content[] = [
      fullBox("stsd", 0, 0, u32(this.entries.length), ...this.entries.map(sampleEntry)),
      fullBox("stts", 0, 0, u32(durations.length / 8), durations),
    ];
    if (this.#shifted) {
      const shifts = this.#shifts.with();
      content.push(fullBox("ctts", this.#negative ? 1 : 0, 0, u32(shifts.length / 8), shifts));
    }
    // 8.6.2: without it every sample is a sync sample.
    if (this.#keys.length < this.#samples)
      content.push(fullBox("stss", 0, 0, u32(this.#keys.length), this.#keys.bytes()));
    const { runs, count } = this.#samplesToChunks();
    content.push(fullBox("stsc", 0, 0, u32(count), runs));
    content.push(fullBox("stsz", 0, 0, u32(0), u32(this.#samples), this.#sizes.bytes()));
    const room = new Uint8Array(this.chunks * (long ? 8 : 4));
    content.push(fullBox(long ? "co64" : "stco", 0, 0, u32(this.chunks), room));
    return box("stbl", ...content);
  }

  /** 8.7.4: first chunk, samples in each, sample entry, where these change. */
  #samplesToChunks(): { runs: Uint8Array; count: number } {
    const words = new Words();
    let before = "";
    for (let i = 0; i < this.chunks; i++) {
      const [samples, entry] = [this.#chunkSamples.at(i), this.#chunkEntries.at(i)];
      const now = `${samples} ${entry}`;
      if (now !== before) for (const word of [i + 1, samples, entry]) words.push(word);
      before = now;
    }
    return { runs: words.bytes(), count: words.length / 3 };
  }
}

/** The order in which chunks are sent: by time, so that a player never has to look far ahead. */
export function interleave(tracks: readonly MovieTrack[], edits: readonly Edit[]): Placed[] {
  const placed: Placed[] = [];
  const next = tracks.map(() => 0);
  const seconds = (track: number): number => {
    const { timescale, chunks } = tracks[track]!;
    const chunk = next[track]!;
    if (chunk >= chunks) return Number.POSITIVE_INFINITY;
    const { from, delay } = edits[track]!;
    return (tracks[track]!.timeOf(chunk) - from) / timescale + delay / movieTimescale;
  };
  for (;;) {
    let first = 0;
    for (let track = 1; track < tracks.length; track++) if (seconds(track) < seconds(first)) first = track;
    if (seconds(first) === Number.POSITIVE_INFINITY) return placed;
    placed.push({ track: first, chunk: next[first]! });
    next[first]!++;
  }
}

/**
 * Everything before the media of a progressive MP4 (ISO/IEC 14496-12): ftyp, moov, and the header of an mdat in which the
 * chunks stand as `order` says. `createdMs` is milliseconds since 1970. Throws RangeError for a movie without a sample.
 */
export function movieHead(
  tracks: readonly MovieTrack[],
  edits: readonly Edit[],
  order: readonly Placed[],
  createdMs: number,
): Uint8Array {
  if (tracks.some(({ samples }) => samples === 0)) throw new RangeError("a track needs a sample");
  let media = 0;
  for (const { track, chunk } of order) media += tracks[track]!.bytesOf(chunk);
  const long = media > longFrom;
  // ISO/IEC 14496-14 knows one sample entry a track, and 14496-12 signed composition offsets since iso4.
  const plain = tracks.every(({ entries }) => entries.length === 1);
  const ftyp = box("ftyp", ascii("iso4"), u32(0), ...["isom", "iso4", ...(plain ? ["mp42"] : [])].map(ascii));
  const lasting = edits.map((edit, i) => lengthOf(edit, tracks[i]!));
  const created = secondsSince1904(createdMs);
  const traks = tracks.map((track, i) => trak(track, edits[i]!, { duration: lasting[i]!, created, long }));
  const longest = Math.max(...lasting);
  const moov = box("moov", mvhd(tracks, longest, created), ...traks);
  const mdat = long
    ? [...u32(1), ...ascii("mdat"), ...u64(media + 16)]
    : [...u32(media + 8), ...ascii("mdat")];
  const head = new Uint8Array(ftyp.length + moov.length + mdat.length);
  head.set(ftyp);
  head.set(moov, ftyp.length);
  head.set(mdat, ftyp.length + moov.length);

  // What a chunk's offset is depends on how long all this is, so offsets come last, at the end of each trak.
  const width = long ? 8 : 4;
  const view = new DataView(head.buffer);
  const places: number[] = [];
  let end = ftyp.length + moov.length;
  for (let i = tracks.length - 1; i >= 0; i--) {
    places[i] = end - tracks[i]!.chunks * width;
    end -= traks[i]!.length;
  }
  let offset = head.length;
  for (const { track, chunk } of order) {
    const at = places[track]! + chunk * width;
    if (long) view.setBigUint64(at, BigInt(offset));
    else view.setUint32(at, offset);
    offset += tracks[track]!.bytesOf(chunk);
  }
  return head;
}

/** How much of the movie a track takes, delay included, in ticks of the movie. */
function lengthOf({ from, to, delay }: Edit, { timescale }: MovieTrack): number {
  return delay + Math.ceil(((to - from) * movieTimescale) / timescale);
}

function mvhd(tracks: readonly MovieTrack[], duration: number, created: number): Uint8Array {
  const next = Math.max(...tracks.map(({ entries }) => trackId(entries[0]!))) + 1;
  const version = duration > unsigned32 ? 1 : 0;
  const word = version === 1 ? u64 : u32;
  // biome-ignore format: a line per group of fields
  return fullBox(
    "mvhd", version, 0,
    word(created), word(created), u32(movieTimescale), word(duration),
    u32(0x1_0000), u16(0x100), zeros(10), // rate 1, volume 1, reserved
    matrix, zeros(24), u32(next), // pre_defined, next_track_ID
  );
}

function trak(
  track: MovieTrack,
  edit: Edit,
  { duration, created, long }: { duration: number; created: number; long: boolean },
): Uint8Array {
  const kinds = track.entries;
  const first = kinds[0]!;
  const video = first.kind === "video";
  // The largest picture: smaller ones of another version are scaled to it.
  const sizes = kinds.flatMap((one) => (one.kind === "video" ? [shownSize(one)] : []));
  const { width, height } = sizes.reduce((most, one) => (one.height > most.height ? one : most), {
    width: 0,
    height: 0,
    ...sizes[0],
  });
  const version = duration > unsigned32 ? 1 : 0;
  const word = version === 1 ? u64 : u32;
  // biome-ignore format: a line per group of fields
  const tkhd = fullBox(
    "tkhd", version, 3, // enabled, in movie
    word(created), word(created), u32(trackId(first)), u32(0), word(duration), zeros(8),
    u16(0), u16(0), u16(video ? 0 : 0x100), u16(0), // layer, alternate_group, volume, reserved
    matrix, u32(width * 0x1_0000), u32(height * 0x1_0000),
  );
  const longMedia = track.duration > unsigned32 ? 1 : 0;
  const ticks = longMedia === 1 ? u64 : u32;
  // biome-ignore format: a line per group of fields
  const mdhd = fullBox(
    "mdhd", longMedia, 0,
    ticks(created), ticks(created), u32(track.timescale), ticks(track.duration),
    u16(0x55c4), u16(0), // language "und", pre_defined
  );
  const handler = video ? "vide" : "soun";
  const hdlr = fullBox("hdlr", 0, 0, u32(0), ascii(handler), zeros(12), ascii(video ? "Video\0" : "Audio\0"));
  const header = video ? fullBox("vmhd", 0, 1, zeros(8)) : fullBox("smhd", 0, 0, zeros(4));
  const dinf = box("dinf", fullBox("dref", 0, 0, u32(1), fullBox("url ", 0, 1))); // in this file
  const minf = box("minf", header, dinf, track.table(long));
  return box("trak", tkhd, ...editList(edit, track, duration), box("mdia", mdhd, hdlr, minf));
}

/** 8.6.6; nothing where the track is shown from its first sample to its last, from the movie's beginning on. */
function editList({ from, to, delay }: Edit, track: MovieTrack, duration: number): Uint8Array[] {
  if (from === 0 && delay === 0 && to >= track.duration) return [];
  const version = duration > unsigned32 || from > 0x7fff_ffff ? 1 : 0;
  const word = version === 1 ? u64 : u32;
  const rate = u32(0x1_0000);
  const rows: Content[] = [];
  // Media time -1: nothing is shown.
  if (delay > 0) rows.push(word(delay), version === 1 ? new Array<number>(8).fill(0xff) : u32(-1), rate);
  rows.push(word(duration - delay), word(from), rate);
  return [box("edts", fullBox("elst", version, 0, u32(rows.length / 3), ...rows))];
}

/** 8.2.2.3: seconds since the beginning of 1904. */
function secondsSince1904(ms: number): number {
  return Math.min(unsigned32, Math.round(ms / 1000) + 2_082_844_800);
}

function u64(value: number): number[] {
  return [...u32(Math.floor(value / 0x1_0000_0000)), ...u32(value)];
}

/** 32-bit words that grow; `bytes` has them in network order. */
class Words {
  #words = new Uint32Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.#words.length) {
      const larger = new Uint32Array(2 * this.length);
      larger.set(this.#words);
      this.#words = larger;
    }
    this.#words[this.length++] = value;
  }

  at(index: number): number {
    return this.#words[index]!;
  }

  /** Adds to the last one. */
  raise(by: number): void {
    this.#words[this.length - 1]! += by;
  }

  bytes(): Uint8Array {
    const out = new Uint8Array(4 * this.length);
    const view = new DataView(out.buffer);
    for (let i = 0; i < this.length; i++) view.setUint32(4 * i, this.#words[i]!);
    return out;
  }
}

/** A list of values as counts of equal ones. */
class Runs {
  readonly #words = new Words();
  #value = 0;
  #count = 0;

  add(value: number): void {
    if (this.#count > 0 && value !== this.#value) this.#close();
    this.#value = value;
    this.#count++;
  }

  /** Count and value of each run, after `last` if that is given. */
  with(last?: number): Uint8Array {
    if (last !== undefined) this.add(last);
    this.#close();
    return this.#words.bytes();
  }

  #close(): void {
    if (this.#count > 0) {
      this.#words.push(this.#count);
      this.#words.push(this.#value);
    }
    this.#count = 0;
  }
}
