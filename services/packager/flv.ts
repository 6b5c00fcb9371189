import { AmfReader, type AmfValue, writeAmf } from "./amf.ts";
import { BadMedia } from "./bad-media.ts";
import { readColour, type ColourInfo as Said } from "./codec/colour.ts";
import { entryOf } from "./codec/names.ts";
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

/** Of a track of the publish: 0 is the one that is played where only one can be. */
interface Tracked {
  readonly track: number;
}

export interface Config extends Tracked {
  readonly type: "config";
  readonly entry: Entry;
  readonly config: Uint8Array;
}

/** Colour that the publisher knows and the bitstream may not say. */
export interface ColourInfo extends Tracked, Said {
  readonly type: "colour";
}

export interface VideoFrame extends Tracked {
  readonly type: "frame";
  readonly entry: Entry;
  /** What the encoder says; the codec modules look for themselves. */
  readonly key: boolean;
  /** Presentation minus decoding time; may be negative. */
  readonly compositionMs: number;
  /** What is to be added to the tag's timestamp: less than a millisecond. */
  readonly offsetMs: number;
  readonly data: Uint8Array;
}

export interface AudioFrame extends Tracked {
  readonly type: "frame";
  readonly entry: Entry;
  readonly offsetMs: number;
  readonly data: Uint8Array;
}

/** Views into the payload: as long-lived as the tag. */
export type VideoMessage =
  | Config
  | VideoFrame
  | ColourInfo
  /** Several tracks in one tag. */
  | { readonly type: "many"; readonly messages: readonly VideoMessage[] }
  | { readonly type: "end" }
  | { readonly type: "ignore" };

/** Views into the payload: as long-lived as the tag. */
export type AudioMessage =
  | Config
  | AudioFrame
  | { readonly type: "many"; readonly messages: readonly AudioMessage[] }
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

/** What a video tag says. Throws BadMedia, `unsupported_video_codec` with a sentence for the publisher. */
export function readVideo(payload: Uint8Array): VideoMessage {
  if (payload.length === 0) return ignore; // RTMP encoders send empty messages as a sign of life
  const first = payload[0]!;
  if (first & 0x80) return readEnhancedVideo(payload);
  if (first >> 4 === 5) return ignore; // video info or command frame: no media
  const entry = entryOf("video", first & 15);
  need(payload, 5);
  switch (payload[1]) {
    case 0:
      return { type: "config", track: 0, entry, config: payload.subarray(5) };
    case 1:
      return videoFrame({ track: 0, entry, offsetMs: 0 }, first >> 4, int24(payload, 2), payload.subarray(5));
    case 2:
      return { type: "end" };
    default:
      return ignore;
  }
}

/** enhanced-rtmp-v2, "Enhanced Video". */
function readEnhancedVideo(payload: Uint8Array): VideoMessage {
  const frameType = (payload[0]! >> 4) & 7;
  const head = readHead(payload);
  if (frameType === 5 && head.packet !== 4) return ignore; // a command, no media
  if (head.packet !== 6) {
    need(payload, head.at + 4);
    const entry = entryOf("video", fourCC(payload, head.at));
    return videoBody(
      { track: 0, entry, offsetMs: head.offsetMs },
      head.packet,
      frameType,
      payload.subarray(head.at + 4),
    );
  }
  return tracksOf(payload, head, "video", ({ track, entry, packet, body }) =>
    videoBody({ track, entry, offsetMs: head.offsetMs }, packet, frameType, body),
  );
}

type Head = Pick<VideoFrame, "track" | "entry" | "offsetMs">;

function videoBody(head: Head, packet: number, frameType: number, body: Uint8Array): VideoMessage {
  const { track, entry } = head;
  switch (packet) {
    case 0: // SequenceStart
      return { type: "config", track, entry, config: body };
    case 1: // CodedFrames; only these codecs have a composition time
      if (entry !== "avc1" && entry !== "hvc1") return videoFrame(head, frameType, 0, body);
      need(body, 3);
      return videoFrame(head, frameType, int24(body, 0), body.subarray(3));
    case 2: // SequenceEnd
      return { type: "end" };
    case 3: // CodedFramesX: composition time 0, not sent
      return videoFrame(head, frameType, 0, body);
    case 4: // Metadata
      return { type: "colour", track, ...readColour(body) };
    default:
      return ignore;
  }
}

function videoFrame(
  { track, entry, offsetMs }: Head,
  frameType: number,
  compositionMs: number,
  data: Uint8Array,
): VideoMessage {
  if (data.length === 0) return ignore;
  const key = frameType === 1 || frameType === 4;
  return { type: "frame", track, entry, key, compositionMs, offsetMs, data };
}

/** What an audio tag says. Throws BadMedia, `unsupported_audio_codec` with a sentence for the publisher. */
export function readAudio(payload: Uint8Array): AudioMessage {
  if (payload.length === 0) return ignore;
  const format = payload[0]! >> 4;
  if (format === 9) return readEnhancedAudio(payload);
  const entry = entryOf("audio", format);
  need(payload, 2);
  const head = { track: 0, entry, offsetMs: 0 };
  return audioBody(head, payload[1]!, payload.subarray(2));
}

/** enhanced-rtmp-v2, "Enhanced Audio". */
function readEnhancedAudio(payload: Uint8Array): AudioMessage {
  const head = readHead(payload);
  if (head.packet !== 5) {
    need(payload, head.at + 4);
    const entry = entryOf("audio", fourCC(payload, head.at));
    return audioBody(
      { track: 0, entry, offsetMs: head.offsetMs },
      head.packet,
      payload.subarray(head.at + 4),
    );
  }
  return tracksOf(payload, head, "audio", ({ track, entry, packet, body }) =>
    audioBody({ track, entry, offsetMs: head.offsetMs }, packet, body),
  );
}

/** MultichannelConfig (4) is left out: each of our codecs says its channels itself. */
function audioBody(head: Head, packet: number, body: Uint8Array): AudioMessage {
  if (packet === 0) return { type: "config", track: head.track, entry: head.entry, config: body };
  if (packet !== 1 || body.length === 0) return ignore;
  return { type: "frame", track: head.track, entry: head.entry, offsetMs: head.offsetMs, data: body };
}

/** Packets of a multitrack tag that have no number of their own are told apart from what follows by these. */
const oneTrack = 0;
const manyCodecs = 2;
/** More tracks than any encoder makes of one publish. */
const maxTracks = 16;

interface Track {
  readonly track: number;
  readonly entry: Entry;
  readonly packet: number;
  readonly body: Uint8Array;
}

/** The tracks of a multitrack tag: one, many of one codec, or many of a codec each. */
function tracksOf<T extends { readonly type: string }>(
  payload: Uint8Array,
  { at: from }: { at: number },
  kind: "video" | "audio",
  read: (track: Track) => T,
): T | { readonly type: "many"; readonly messages: readonly T[] } {
  let at = from;
  need(payload, at + 5);
  const layout = payload[at]! >> 4;
  const packet = payload[at]! & 15;
  at += 1;
  if (layout > manyCodecs)
    throw new BadMedia("bad_flv", `The encoder sent an unknown kind of multitrack ${kind}`);
  let entry: Entry | undefined;
  if (layout !== manyCodecs) {
    entry = entryOf(kind, fourCC(payload, at));
    at += 4;
  }
  const messages: T[] = [];
  do {
    if (layout === manyCodecs) {
      need(payload, at + 4);
      entry = entryOf(kind, fourCC(payload, at));
      at += 4;
    }
    need(payload, at + (layout === oneTrack ? 1 : 4));
    const track = payload[at++]!;
    let end = payload.length;
    if (layout !== oneTrack) {
      end = at + 3 + uint24(payload, at);
      at += 3;
      need(payload, end);
    }
    if (track >= maxTracks)
      throw new BadMedia(
        `unsupported_${kind}_codec`,
        `Track ${track} is not supported; number ${kind} tracks below ${maxTracks}`,
      );
    messages.push(read({ track, entry: entry!, packet, body: payload.subarray(at, end) }));
    if (messages.length > maxTracks)
      throw new BadMedia("bad_flv", `The encoder sent too many ${kind} tracks`);
    at = end;
  } while (at < payload.length);
  return messages.length === 1 ? messages[0]! : { type: "many", messages };
}

/** Reads up to the packet that counts: ModEx packets (type 7) wrap it, and may say a part of a millisecond. */
function readHead(payload: Uint8Array): { packet: number; at: number; offsetMs: number } {
  let packet = payload[0]! & 15;
  let at = 1;
  let offsetMs = 0;
  while (packet === 7) {
    need(payload, at + 1);
    let size = payload[at++]! + 1;
    if (size === 256) {
      need(payload, at + 2);
      size = ((payload[at]! << 8) | payload[at + 1]!) + 1;
      at += 2;
    }
    need(payload, at + size + 1);
    const data = at;
    at += size;
    const modifier = payload[at]! >> 4;
    packet = payload[at++]! & 15;
    // TimestampOffsetNano, up to 999,999
    if (modifier === 0 && size >= 3) offsetMs = Math.min(uint24(payload, data), 999_999) / 1_000_000;
  }
  return { packet, at, offsetMs };
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
