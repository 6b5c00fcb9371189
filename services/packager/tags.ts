import type { Entry } from "./track.ts";

/** A message of one track, to be written as the payload of a tag. */
export interface Outgoing {
  readonly entry: Entry;
  readonly type: "config" | "frame";
  /** Of the publish; 0 is written as encoders do that know of no others. */
  readonly track?: number;
  readonly key?: boolean;
  /** Presentation minus decoding time. */
  readonly compositionMs?: number;
  /** A configuration as `flv.ts` reads it, or a frame in the form of its codec. */
  readonly data: Uint8Array;
}

const exVideo = 0x80;
const exAudio = 0x90;
const codedFrames = 1;
const codedFramesX = 3;

/** The payload of a video tag: legacy for H.264, enhanced (enhanced-rtmp-v2) for all others and for further tracks. */
export function writeVideo(message: Outgoing): Uint8Array {
  const { entry, type, track = 0, key = false, compositionMs = 0, data } = message;
  const frameType = (key || type === "config" ? 1 : 2) << 4;
  const composition = [(compositionMs >> 16) & 255, (compositionMs >> 8) & 255, compositionMs & 255];
  if (entry === "avc1" && track === 0)
    return joined([frameType | 7, type === "config" ? 0 : 1, ...composition], data);
  // Only these have a composition time, and need not send one of 0.
  const timed = type === "frame" && (entry === "avc1" || entry === "hvc1") && compositionMs !== 0;
  const bare = entry === "avc1" || entry === "hvc1" ? codedFramesX : codedFrames;
  const packet = type === "config" ? 0 : timed ? codedFrames : bare;
  return joined(
    [...headOf(exVideo | frameType, 6, packet, entry, track), ...(timed ? composition : [])],
    data,
  );
}

/** The payload of an audio tag: legacy for AAC, enhanced for all others and for further tracks. */
export function writeAudio(message: Outgoing): Uint8Array {
  const { entry, type, track = 0, data } = message;
  if (entry === "mp4a" && track === 0) return joined([0xaf, type === "config" ? 0 : 1], data);
  return joined(headOf(exAudio, 5, type === "config" ? 0 : codedFrames, entry, track), data);
}

/** Track 0 as it is, others as a multitrack packet of one track. */
function headOf(first: number, multitrack: number, packet: number, entry: Entry, track: number): number[] {
  const fourCC = Array.from(entry, (letter) => letter.charCodeAt(0));
  return track === 0 ? [first | packet, ...fourCC] : [first | multitrack, packet, ...fourCC, track];
}

function joined(head: readonly number[], data: Uint8Array): Uint8Array {
  const out = new Uint8Array(head.length + data.length);
  out.set(head);
  out.set(data, head.length);
  return out;
}
