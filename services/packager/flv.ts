import { AmfReader, type AmfValue, writeAmf } from "./amf.ts";
import { BadMedia } from "./bad-media.ts";
import type { Entry } from "./track.ts";

export const audioTag = 8;
export const videoTag = 9;
export const scriptTag = 18;

/** No tag that we write or read is longer: a 4K keyframe is about 1 MB. */
export const maxTagBytes = 8 << 20;

/** One FLV tag. `payload` is a view: see `FlvReader.push` for how long it may be kept. */
export interface FlvTag {
  readonly type: "audio" | "video" | "script";
  /** Unsigned, wraps at 2^32. */
  readonly timestampMs: number;
  readonly payload: Uint8Array;
}

/** Views into the payload: as long-lived as the tag. */
export type VideoMessage =
  | { readonly type: "config"; readonly entry: Entry; readonly config: Uint8Array }
  | {
      readonly type: "frame";
      readonly entry: Entry;
      /** What the encoder says; `codec/avc.ts` looks for itself. */
      readonly key: boolean;
      /** Presentation minus decoding time; may be negative. */
      readonly compositionMs: number;
      readonly data: Uint8Array;
    }
  | { readonly type: "end" }
  | { readonly type: "ignore" };

/** Views into the payload: as long-lived as the tag. */
export type AudioMessage =
  | { readonly type: "config"; readonly entry: Entry; readonly config: Uint8Array }
  | { readonly type: "frame"; readonly entry: Entry; readonly data: Uint8Array }
  | { readonly type: "ignore" };

const ignore = { type: "ignore" } as const;

/** The 9 bytes that begin an FLV with audio and video, and PreviousTagSize0: 13 bytes. */
export function flvHeader(): Uint8Array {
  return Uint8Array.of(0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0);
}

/** The 11 bytes before a payload of `length` bytes; after the payload the caller writes uint32 `11 + length`. */
export function tagHeader(type: number, timestampMs: number, length: number): Uint8Array {
  const header = new Uint8Array(11);
  header[0] = type;
  header[1] = length >>> 16;
  header[2] = length >>> 8;
  header[3] = length;
  header[4] = timestampMs >>> 16;
  header[5] = timestampMs >>> 8;
  header[6] = timestampMs;
  header[7] = timestampMs >>> 24; // TimestampExtended: the upper 8 bits stand last
  return header; // 8..10: StreamID, always 0
}

/** Takes an FLV apart as its bytes arrive. After it has thrown it is of no more use. */
export class FlvReader {
  /** FLV file header first, then for each tag its 15 bytes of head: PreviousTagSize (4) and tag header (11). */
  readonly #head = new Uint8Array(15);
  #headFilled = 0;
  #started = false;
  #previous = 0;
  /** Of the tag whose payload has not arrived whole. */
  #body: Uint8Array | undefined;
  #bodyFilled = 0;
  #type: FlvTag["type"] = "script";
  #timestampMs = 0;

  /**
   * The tags that `bytes` complete. A payload is a view into `bytes`, or into a copy of its own if it came in
   * several pushes. This reader never writes to either again, so a view is good for as long as the caller leaves
   * `bytes` alone; but a kept view keeps all of `bytes` in memory, so copy what is to live long.
   * Throws BadMedia.
   */
  push(bytes: Uint8Array): FlvTag[] {
    const tags: FlvTag[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.#body) {
        const taken = Math.min(this.#body.length - this.#bodyFilled, bytes.length - at);
        this.#body.set(bytes.subarray(at, at + taken), this.#bodyFilled);
        this.#bodyFilled += taken;
        at += taken;
        if (this.#bodyFilled < this.#body.length) break;
        tags.push({ type: this.#type, timestampMs: this.#timestampMs, payload: this.#body });
        this.#body = undefined;
        continue;
      }
      const need = this.#started ? 15 : 9;
      const missing = need - this.#headFilled;
      const part = bytes.subarray(at, at + missing);
      this.#head.set(part, this.#headFilled);
      this.#headFilled += part.length;
      at += part.length;
      if (part.length < missing) break;
      this.#headFilled = 0;
      if (!this.#started) {
        this.#readFileHeader();
        continue;
      }
      const length = this.#readTagHeader();
      if (length <= bytes.length - at) {
        const payload = bytes.subarray(at, at + length);
        tags.push({ type: this.#type, timestampMs: this.#timestampMs, payload });
        at += length;
      } else {
        this.#body = new Uint8Array(length);
        this.#bodyFilled = 0;
      }
    }
    return tags;
  }

  #readFileHeader(): void {
    const head = this.#head;
    const offset = uint32(head, 5);
    if (head[0] !== 0x46 || head[1] !== 0x4c || head[2] !== 0x56 || head[3] !== 1 || offset !== 9) {
      throw new BadMedia("bad_flv", "The feed does not begin like an FLV");
    }
    this.#started = true;
  }

  #readTagHeader(): number {
    const head = this.#head;
    if (uint32(head, 0) !== this.#previous) {
      throw new BadMedia("bad_flv", "The FLV is damaged: a tag does not end where it said");
    }
    // 2 bits reserved, 1 bit filter (encrypted), 5 bits type
    const type = head[4]! & 0x3f;
    const length = uint24(head, 5);
    if (length > maxTagBytes) {
      throw new BadMedia("too_large", `An FLV tag of ${length} bytes is over the limit of ${maxTagBytes}`);
    }
    if (type === videoTag) this.#type = "video";
    else if (type === audioTag) this.#type = "audio";
    else if (type === scriptTag) this.#type = "script";
    else throw new BadMedia("bad_flv", `The FLV is damaged: tag type ${type}`);
    this.#timestampMs = ((head[11]! << 24) | uint24(head, 8)) >>> 0;
    this.#previous = 11 + length;
    return length;
  }
}

/**
 * Codecs by the number of the legacy header or the fourCC of the enhanced one (enhanced-rtmp-v2). To support one:
 * give it an entry here and a parser in `codec/codec.ts`.
 */
const videoCodecs: Readonly<Record<string, { readonly name: string; readonly entry?: Entry }>> = {
  2: { name: "Sorenson H.263" },
  3: { name: "Screen video" },
  4: { name: "VP6" },
  5: { name: "VP6 with alpha" },
  7: { name: "H.264", entry: "avc1" },
  12: { name: "HEVC (H.265)" },
  13: { name: "AV1" },
  avc1: { name: "H.264", entry: "avc1" },
  hvc1: { name: "HEVC (H.265)" },
  av01: { name: "AV1" },
  vp08: { name: "VP8" },
  vp09: { name: "VP9" },
  vvc1: { name: "VVC (H.266)" },
};
const audioCodecs: typeof videoCodecs = {
  0: { name: "PCM" },
  1: { name: "ADPCM" },
  2: { name: "MP3" },
  3: { name: "PCM" },
  4: { name: "Nellymoser" },
  5: { name: "Nellymoser" },
  6: { name: "Nellymoser" },
  7: { name: "G.711" },
  8: { name: "G.711" },
  10: { name: "AAC", entry: "mp4a" },
  11: { name: "Speex" },
  14: { name: "MP3" },
  mp4a: { name: "AAC", entry: "mp4a" },
  Opus: { name: "Opus" },
  fLaC: { name: "FLAC" },
  "ac-3": { name: "AC-3" },
  "ec-3": { name: "E-AC-3" },
  ".mp3": { name: "MP3" },
};

/** What a video tag says. Throws BadMedia `unsupported_codec` with a sentence for the publisher. */
export function readVideo(payload: Uint8Array): VideoMessage {
  if (payload.length === 0) return ignore; // RTMP encoders send empty messages as a sign of life
  const first = payload[0]!;
  if (first & 0x80) return readEnhancedVideo(payload);
  if (first >> 4 === 5) return ignore; // video info or command frame: no media
  const entry = supported("video", first & 15);
  need(payload, 5);
  switch (payload[1]) {
    case 0:
      return { type: "config", entry, config: payload.subarray(5) };
    case 1:
      return frame(entry, first >> 4, int24(payload, 2), payload.subarray(5));
    case 2:
      return { type: "end" };
    default:
      return ignore;
  }
}

function readEnhancedVideo(payload: Uint8Array): VideoMessage {
  const frameType = (payload[0]! >> 4) & 7;
  const { packet, at } = skipModifiers(payload);
  if (packet === 4) return ignore; // Metadata (HDR): the bitstream says it as well
  if (frameType === 5) return ignore; // a command, no media
  if (packet === 6) throw multitrack("video");
  need(payload, at + 4);
  const entry = supported("video", fourCC(payload, at));
  const data = payload.subarray(at + 4);
  switch (packet) {
    case 0: // SequenceStart
      return { type: "config", entry, config: data };
    case 1: // CodedFrames; only these codecs have a composition time
      if (entry !== "avc1" && entry !== "hvc1") return frame(entry, frameType, 0, data);
      need(payload, at + 7);
      return frame(entry, frameType, int24(payload, at + 4), payload.subarray(at + 7));
    case 2: // SequenceEnd
      return { type: "end" };
    case 3: // CodedFramesX: composition time 0, not sent
      return frame(entry, frameType, 0, data);
    default:
      return ignore;
  }
}

function frame(entry: Entry, frameType: number, compositionMs: number, data: Uint8Array): VideoMessage {
  if (data.length === 0) return ignore;
  return { type: "frame", entry, key: frameType === 1 || frameType === 4, compositionMs, data };
}

/** What an audio tag says. Throws BadMedia `unsupported_codec` with a sentence for the publisher. */
export function readAudio(payload: Uint8Array): AudioMessage {
  if (payload.length === 0) return ignore;
  const format = payload[0]! >> 4;
  if (format === 9) return readEnhancedAudio(payload);
  const entry = supported("audio", format);
  need(payload, 2);
  const data = payload.subarray(2);
  if (payload[1] === 0) return { type: "config", entry, config: data };
  return payload[1] === 1 && data.length > 0 ? { type: "frame", entry, data } : ignore;
}

function readEnhancedAudio(payload: Uint8Array): AudioMessage {
  const { packet, at } = skipModifiers(payload);
  if (packet === 5) throw multitrack("audio");
  need(payload, at + 4);
  const entry = supported("audio", fourCC(payload, at));
  const data = payload.subarray(at + 4);
  if (packet === 0) return { type: "config", entry, config: data };
  return packet === 1 && data.length > 0 ? { type: "frame", entry, data } : ignore;
}

/** Steps over ModEx packets (type 7: nanosecond offsets and the like), which wrap the packet that counts. */
function skipModifiers(payload: Uint8Array): { packet: number; at: number } {
  let packet = payload[0]! & 15;
  let at = 1;
  while (packet === 7) {
    need(payload, at + 1);
    let size = payload[at++]! + 1;
    if (size === 256) {
      need(payload, at + 2);
      size = ((payload[at]! << 8) | payload[at + 1]!) + 1;
      at += 2;
    }
    at += size;
    need(payload, at + 1);
    packet = payload[at++]! & 15; // upper 4 bits: what the data was
  }
  return { packet, at };
}

function supported(kind: "video" | "audio", id: number | string): Entry {
  const codecs = kind === "video" ? videoCodecs : audioCodecs;
  const codec = Object.hasOwn(codecs, id) ? codecs[id] : undefined;
  if (codec?.entry) return codec.entry;
  const known = [...new Set(Object.values(codecs).flatMap((c) => (c.entry ? c.name : [])))].join(" or ");
  const what = codec?.name ?? `codec ${JSON.stringify(id)}`;
  throw new BadMedia("unsupported_codec", `${what} ${kind} is not supported; set the encoder to ${known}`);
}

function multitrack(kind: string): BadMedia {
  const message = `Several ${kind} tracks in one connection are not supported; turn off multitrack ${kind} in the encoder`;
  return new BadMedia("unsupported_codec", message);
}

/**
 * A script tag: `onMetaData` and its value. RTMP's `@setDataFrame` in front of it is skipped. A name without a value has
 * null. Throws BadMedia.
 */
export function readScript(payload: Uint8Array): { name: string; value: AmfValue } {
  const reader = new AmfReader(payload);
  let name = reader.read();
  if (name === "@setDataFrame") name = reader.read();
  if (typeof name !== "string") throw new BadMedia("bad_flv", "A script tag must begin with its name");
  return { name, value: reader.done ? null : reader.read() };
}

/** The payload of a script tag. */
export function writeScript(name: string, value: AmfValue): Uint8Array {
  return writeAmf([name, value]);
}

function need(payload: Uint8Array, length: number): void {
  if (payload.length < length)
    throw new BadMedia("bad_flv", "The encoder sent a media message that is cut short");
}

function uint24(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}

function int24(bytes: Uint8Array, at: number): number {
  return (uint24(bytes, at) << 8) >> 8;
}

function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | uint24(bytes, at + 1)) >>> 0;
}

function fourCC(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!);
}
