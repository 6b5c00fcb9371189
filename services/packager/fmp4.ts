import { BadMedia } from "./bad-media.ts";
import type { Entry } from "./track.ts";

/** A track of a file, with its configuration in the form in which publishers send it. */
export interface Fmp4Track {
  readonly id: number;
  readonly kind: "video" | "audio";
  readonly entry: Entry;
  /** Ticks per second. */
  readonly timescale: number;
  /** What `trackOf` takes; empty where frames say it all. */
  readonly config: Uint8Array;
}

/** One coded frame in ticks of its track; `data` is a view, good for as long as the bytes that were pushed. */
export interface Fmp4Sample {
  readonly track: Fmp4Track;
  readonly dts: number;
  readonly pts: number;
  readonly duration: number;
  /** A sync sample, as the file says. */
  readonly key: boolean;
  readonly data: Uint8Array;
}

export type Fmp4Event =
  | { readonly type: "tracks"; readonly tracks: readonly Fmp4Track[] }
  | { readonly type: "sample"; readonly sample: Fmp4Sample };

const maxIndexBytes = 1 << 20;
const maxDataBytes = 64 << 20;
const maxSamples = 10_000;
const maxTracks = 16;

interface Default {
  readonly duration: number;
  readonly size: number;
  readonly flags: number;
}

interface Planned {
  readonly track: Fmp4Track;
  readonly dts: number;
  readonly pts: number;
  readonly duration: number;
  readonly key: boolean;
  /** Of its data, from the first byte of the moof. */
  readonly from: number;
  readonly size: number;
}

/**
 * Takes a fragmented MP4 (CMAF, or what FFmpeg writes with `empty_moov`) apart as its bytes arrive. After it has thrown it
 * is of no more use. Every size is bounded before it sizes anything.
 */
export class Fmp4Reader {
  #head = new Uint8Array(16);
  #headFilled = 0;
  /** Of the box that is being read; undefined while boxes of no interest are skipped. */
  #body: Uint8Array | undefined;
  #filled = 0;
  #skip = 0;
  #type = "";
  #size = 0;
  readonly #tracks = new Map<number, Fmp4Track>();
  readonly #defaults = new Map<number, Default>();
  /** Where a fragment without a time of its own continues. */
  readonly #next = new Map<number, number>();
  #planned: Planned[] = [];
  /** Bytes of the last moof, and of what stands between it and the data. */
  #offset = 0;

  /** What `bytes` complete. Throws BadMedia. */
  push(bytes: Uint8Array): Fmp4Event[] {
    const events: Fmp4Event[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, bytes.length - at);
        this.#skip -= step;
        at += step;
      } else if (this.#body) {
        const step = Math.min(this.#body.length - this.#filled, bytes.length - at);
        this.#body.set(bytes.subarray(at, at + step), this.#filled);
        this.#filled += step;
        at += step;
        if (this.#filled === this.#body.length) {
          const body = this.#body;
          this.#body = undefined;
          this.#finish(body, events);
        }
      } else {
        const need = this.#headFilled >= 8 && uint32(this.#head, 0) === 1 ? 16 : 8;
        const step = Math.min(need - this.#headFilled, bytes.length - at);
        this.#head.set(bytes.subarray(at, at + step), this.#headFilled);
        this.#headFilled += step;
        at += step;
        if (this.#headFilled < need || (need === 8 && uint32(this.#head, 0) === 1)) continue;
        this.#headFilled = 0;
        this.#begin(need);
        const length = this.#size - need;
        if (this.#type === "mdat" && length <= bytes.length - at) {
          this.#finish(bytes.subarray(at, at + length), events);
          at += length;
        } else if (this.#wanted && length === 0) this.#finish(bytes.subarray(at, at), events);
        else if (this.#wanted) {
          this.#body = new Uint8Array(length);
          this.#filled = 0;
        } else this.#skip = length;
      }
    }
    return events;
  }

  get #wanted(): boolean {
    return this.#type === "moov" || this.#type === "moof" || this.#type === "mdat";
  }

  #begin(headBytes: number): void {
    this.#type = text(this.#head, 4);
    const short = uint32(this.#head, 0);
    this.#size = headBytes === 16 ? uint32(this.#head, 8) * 2 ** 32 + uint32(this.#head, 12) : short;
    // 0 is "to the end of the file", which a stream does not have.
    if (this.#size < headBytes) throw bad(`has a box of ${this.#size} bytes`);
    const limit = this.#type === "mdat" ? maxDataBytes : maxIndexBytes;
    if (this.#wanted && this.#size > limit)
      throw new BadMedia("too_large", `The MP4 has a ${this.#type} of ${this.#size} bytes`);
    if (this.#type === "moof") this.#offset = 0;
    if (this.#type === "mdat") this.#offset += headBytes;
    else if (this.#type !== "moof") this.#offset += this.#size;
  }

  #finish(body: Uint8Array, events: Fmp4Event[]): void {
    if (this.#type === "moov") {
      this.#readMovie(body);
      events.push({ type: "tracks", tracks: [...this.#tracks.values()] });
    } else if (this.#type === "moof") {
      this.#planned = this.#readFragment(body);
      this.#offset = this.#size;
    } else {
      for (const { from, size, ...sample } of this.#planned) {
        const at = from - this.#offset;
        if (at < 0 || at + size > body.length) throw bad("has a sample outside of its data");
        events.push({ type: "sample", sample: { ...sample, data: body.subarray(at, at + size) } });
      }
      this.#planned = [];
      this.#offset += body.length;
    }
  }

  #readMovie(body: Uint8Array): void {
    this.#tracks.clear();
    for (const trak of childrenOf(body, "trak")) {
      const track = readTrack(trak);
      if (!track) continue;
      if (this.#tracks.size === maxTracks) throw bad("has too many tracks");
      this.#tracks.set(track.id, track);
    }
    for (const mvex of childrenOf(body, "mvex"))
      for (const trex of childrenOf(mvex, "trex")) {
        need(trex, 24);
        this.#defaults.set(uint32(trex, 4), {
          duration: uint32(trex, 12),
          size: uint32(trex, 16),
          flags: uint32(trex, 20),
        });
      }
  }

  #readFragment(body: Uint8Array): Planned[] {
    const planned: Planned[] = [];
    for (const traf of childrenOf(body, "traf")) this.#readTrackFragment(traf, planned);
    return planned;
  }

  #readTrackFragment(traf: Uint8Array, planned: Planned[]): void {
    const [tfhd] = childrenOf(traf, "tfhd");
    if (!tfhd) throw bad("has a fragment without tfhd");
    need(tfhd, 8);
    const flags = uint32(tfhd, 0) & 0xff_ff_ff;
    const track = this.#tracks.get(uint32(tfhd, 4));
    if (!track) return;
    // An absolute offset has no meaning in a stream that is read from anywhere.
    if (flags & 1) throw bad("has absolute offsets; write it with default_base_moof");
    const fields = fieldsOf(tfhd, 8);
    if (flags & 2) fields();
    const usual = this.#defaults.get(track.id) ?? { duration: 0, size: 0, flags: 0 };
    const duration = flags & 0x08 ? fields() : usual.duration;
    const size = flags & 0x10 ? fields() : usual.size;
    const sampleFlags = flags & 0x20 ? fields() : usual.flags;
    const [tfdt] = childrenOf(traf, "tfdt");
    let dts = this.#next.get(track.id) ?? 0;
    if (tfdt) {
      const long = (tfdt[0] ?? 0) === 1;
      need(tfdt, long ? 12 : 8);
      dts = long ? uint32(tfdt, 4) * 2 ** 32 + uint32(tfdt, 8) : uint32(tfdt, 4);
      if (!Number.isSafeInteger(dts)) throw bad("has a time beyond all broadcasts");
    }
    let from: number | undefined;
    for (const trun of childrenOf(traf, "trun")) {
      need(trun, 8);
      const its = uint32(trun, 0) & 0xff_ff_ff;
      const count = uint32(trun, 4);
      if (planned.length + count > maxSamples) throw bad(`has a fragment of ${count} samples`);
      const next = fieldsOf(trun, 8);
      if (its & 1) from = next() | 0;
      if (from === undefined) throw bad("has a run without an offset");
      const first = its & 4 ? next() : undefined;
      for (let i = 0; i < count; i++) {
        const lasts = its & 0x100 ? next() : duration;
        const bytes = its & 0x200 ? next() : size;
        const its4 = its & 0x400 ? next() : i === 0 && first !== undefined ? first : sampleFlags;
        const composition = its & 0x800 ? next() | 0 : 0;
        const key = (its4 & 0x1_0000) === 0;
        planned.push({ track, dts, pts: dts + composition, duration: lasts, key, from, size: bytes });
        dts += lasts;
        from += bytes;
      }
    }
    this.#next.set(track.id, dts);
  }
}

const sampleEntries: Readonly<Record<string, { readonly entry: Entry; readonly box: string }>> = {
  avc1: { entry: "avc1", box: "avcC" },
  avc3: { entry: "avc1", box: "avcC" },
  hvc1: { entry: "hvc1", box: "hvcC" },
  hev1: { entry: "hvc1", box: "hvcC" },
  av01: { entry: "av01", box: "av1C" },
  vp09: { entry: "vp09", box: "vpcC" },
  mp4a: { entry: "mp4a", box: "esds" },
  Opus: { entry: "Opus", box: "dOps" },
  fLaC: { entry: "fLaC", box: "dfLa" },
  "ac-3": { entry: "ac-3", box: "dac3" },
  "ec-3": { entry: "ec-3", box: "dec3" },
};
/** Bytes before the boxes of a sample entry, ISO/IEC 14496-12 12.1.3 and 12.2.3. */
const videoEntryBytes = 78;
const audioEntryBytes = 28;

/** Undefined for a track that is neither video nor audio. */
function readTrack(trak: Uint8Array): Fmp4Track | undefined {
  const [tkhd] = childrenOf(trak, "tkhd");
  const [mdia] = childrenOf(trak, "mdia");
  const [mdhd] = mdia ? childrenOf(mdia, "mdhd") : [];
  const [hdlr] = mdia ? childrenOf(mdia, "hdlr") : [];
  const [minf] = mdia ? childrenOf(mdia, "minf") : [];
  const [stbl] = minf ? childrenOf(minf, "stbl") : [];
  const [stsd] = stbl ? childrenOf(stbl, "stsd") : [];
  if (!tkhd || !mdhd || !hdlr || !stsd) throw bad("has a track that is not complete");
  need(tkhd, 24);
  need(mdhd, 24);
  need(hdlr, 12);
  need(stsd, 16);
  const handler = text(hdlr, 8);
  if (handler !== "vide" && handler !== "soun") return undefined;
  const kind = handler === "vide" ? "video" : "audio";
  const timescale = uint32(mdhd, mdhd[0] === 1 ? 20 : 12);
  if (timescale === 0) throw bad("has a track without a timescale");
  const id = uint32(tkhd, tkhd[0] === 1 ? 20 : 12);
  const type = text(stsd, 12);
  const known = Object.hasOwn(sampleEntries, type) ? sampleEntries[type] : undefined;
  if (!known)
    throw new BadMedia(`unsupported_${kind}_codec`, `The MP4 has ${kind} of type ${JSON.stringify(type)}`);
  const [content] = childrenOf(stsd.subarray(8), type);
  const [record] = content
    ? childrenOf(content.subarray(kind === "video" ? videoEntryBytes : audioEntryBytes), known.box)
    : [];
  if (!record) throw bad(`has ${type} without ${known.box}`);
  return { id, kind, entry: known.entry, timescale, config: configFrom(known.box, record) };
}

/** The record of a file as a publisher would send it. */
function configFrom(type: string, record: Uint8Array): Uint8Array {
  if (type === "esds") return specificInfo(record.subarray(4));
  if (type === "dfLa") return record.slice(4);
  // The frames say all of it.
  if (type === "dac3" || type === "dec3") return new Uint8Array(0);
  if (type !== "dOps") return record.slice();
  // RFC 7845 5.1: the same fields, in the other byte order.
  need(record, 11);
  const head = new Uint8Array(19 + Math.max(0, record.length - 11));
  head.set(Array.from("OpusHead", (letter) => letter.charCodeAt(0)));
  // biome-ignore format: a line per group of fields
  head.set([
    1, record[1]!, record[3]!, record[2]!, // version, channels, pre-skip
    record[7]!, record[6]!, record[5]!, record[4]!, // input sample rate
    record[9]!, record[8]!, record[10]!, // output gain, mapping family
  ], 8);
  head.set(record.subarray(11), 19);
  return head;
}

/** DecoderSpecificInfo (5) in DecoderConfigDescriptor (4) in ES_Descriptor (3), ISO/IEC 14496-1 7.2.6. */
function specificInfo(esds: Uint8Array): Uint8Array {
  let at = 0;
  for (;;) {
    need(esds, at + 2);
    const tag = esds[at++]!;
    let length = 0;
    for (let i = 0; i < 4; i++) {
      need(esds, at + 1);
      const byte = esds[at++]!;
      length = length * 128 + (byte & 127);
      if (byte < 128) break;
    }
    if (tag === 5) {
      need(esds, at + length);
      return esds.slice(at, at + length);
    }
    if (tag === 3) {
      need(esds, at + 3);
      const flags = esds[at + 2]!;
      at += 3 + (flags & 0x80 ? 2 : 0) + (flags & 0x20 ? 2 : 0);
    } else if (tag === 4) at += 13;
    else at += length;
  }
}

/** The contents of the boxes of this type directly in `bytes`. */
function childrenOf(bytes: Uint8Array, type: string): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at = 0;
  while (at + 8 <= bytes.length) {
    const size = uint32(bytes, at);
    if (size < 8 || size > bytes.length - at) throw bad("has a box that does not fit into its parent");
    if (text(bytes, at + 4) === type) found.push(bytes.subarray(at + 8, at + size));
    at += size;
  }
  return found;
}

/** Reads 32-bit fields one after the other. */
function fieldsOf(bytes: Uint8Array, from: number): () => number {
  let at = from;
  return () => {
    need(bytes, at + 4);
    at += 4;
    return uint32(bytes, at - 4);
  };
}

function need(bytes: Uint8Array, length: number): void {
  if (bytes.length < length) throw bad("is cut short");
}

function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function text(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!);
}

function bad(what: string): BadMedia {
  return new BadMedia("bad_config", `The MP4 ${what}`);
}
