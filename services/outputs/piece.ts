import { writeAmf } from "../packager/amf.ts";
import type { AudioMessage, VideoMessage } from "../packager/flv.ts";
import {
  audioTag,
  type FlvTag,
  readAudio,
  readScript,
  readVideo,
  scriptTag,
  videoTag,
} from "../packager/flv.ts";
import { outlineOf } from "../packager/outline.ts";
import { writeAudio, writeVideo } from "../packager/tags.ts";
import type { Entry } from "../packager/track.ts";

/** What has to be known before a frame can be used: metadata, or a configuration of a decoder. */
export interface Setup {
  /** Whose it is: a newer one of this name takes its place. */
  readonly name: string;
  readonly type: number;
  readonly payload: Uint8Array;
  /** The codecs that it is for. */
  readonly entries: readonly Entry[];
  /** For a target that knows of one track only; undefined when it is of another one. */
  readonly plain: Uint8Array | undefined;
  /** Uses what only enhanced RTMP has. */
  readonly enhanced: boolean;
}

/** A frame, or something that is said at a moment. */
export interface Said {
  readonly type: number;
  readonly payload: Uint8Array;
  /** Pictures can be understood from here on. */
  readonly key: boolean;
  readonly plain: Uint8Array | undefined;
}

/** How a publish came to its end. */
export type PublishEnd = "clean" | "lost" | "replaced";

/**
 * What a tag of a feed is to an output: a setup, something to be sent at its time, the end of the publish, or nothing. Payloads
 * are views of the tag. Throws BadMedia.
 */
export function readPiece(
  tag: FlvTag,
): { readonly setup: Setup } | { readonly said: Said } | { readonly end: PublishEnd } | undefined {
  const { payload } = tag;
  if (tag.type === "script") {
    const { name, value } = readScript(payload);
    if (name === "onPublishEnd") {
      const reason = value && typeof value === "object" && "reason" in value ? value.reason : undefined;
      return { end: reason === "clean" || reason === "replaced" ? reason : "lost" };
    }
    if (name !== "onMetaData") return { said: { type: scriptTag, payload, key: false, plain: payload } };
    const data = writeAmf(["@setDataFrame", "onMetaData", value]);
    return { setup: { name, type: scriptTag, payload: data, plain: data, entries: [], enhanced: false } };
  }
  const video = tag.type === "video";
  const message = video ? readVideo(payload) : readAudio(payload);
  const outline = outlineOf(message);
  if (!outline) return undefined;
  const type = video ? videoTag : audioTag;
  const wrapped = isWrapped(tag.type, payload);
  const plain = wrapped ? unwrapped(video, message) : payload;
  if (outline.config === undefined) return { said: { type, payload, key: outline.key, plain } };
  // Kept for as long as it holds: not in a view that keeps what came beside it.
  const copy = payload.slice();
  return {
    setup: {
      name: `${type} ${outline.config}`,
      type,
      payload: copy,
      plain: plain === payload ? copy : plain,
      entries: entriesOf(message),
      enhanced: isEnhanced(tag.type, payload),
    },
  };
}

/** Whether a tag has several tracks or ModEx packets around what it says. */
function isWrapped(type: FlvTag["type"], payload: Uint8Array): boolean {
  if (!isEnhanced(type, payload)) return false;
  const packet = payload[0]! & 15;
  return packet === 7 || packet === (type === "video" ? 6 : 5);
}

function isEnhanced(type: FlvTag["type"], payload: Uint8Array): boolean {
  return type === "video" ? (payload[0]! & 0x80) !== 0 : payload[0]! >> 4 === 9;
}

function entriesOf(message: VideoMessage | AudioMessage): Entry[] {
  if (message.type === "many") return message.messages.flatMap(entriesOf);
  return message.type === "config" ? [message.entry] : [];
}

/** Track 0 alone, as encoders write it that know of no others. */
function unwrapped(video: boolean, message: VideoMessage | AudioMessage): Uint8Array | undefined {
  const each: readonly (VideoMessage | AudioMessage)[] =
    message.type === "many" ? message.messages : [message];
  for (const one of each) {
    if ((one.type !== "config" && one.type !== "frame") || one.track !== 0) continue;
    const { entry } = one;
    if (one.type === "config")
      return (video ? writeVideo : writeAudio)({ entry, type: "config", data: one.config });
    if (!("key" in one)) return writeAudio({ entry, type: "frame", data: one.data });
    const { key, compositionMs, data } = one;
    return writeVideo({ entry, type: "frame", key, compositionMs, data });
  }
  return undefined;
}
