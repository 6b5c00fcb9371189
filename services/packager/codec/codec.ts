import type { AudioTrack, CodedFrame, Colour, Entry, Hdr, Track } from "../track.ts";
import { aacTrack, cleanAac, silentAac } from "./aac.ts";
import { ac3ConfigOf, ac3Track, cleanAc3, eac3ConfigOf, eac3Track } from "./ac3.ts";
import { av1Complete, av1ConfigOf, av1Track, cleanAv1, readAv1Config } from "./av1.ts";
import { avcTrack, cleanAvc, readAvcConfig } from "./avc.ts";
import { cleanFlac, flacTrack } from "./flac.ts";
import { cleanHevc, hevcTrack, readHevcConfig } from "./hevc.ts";
import { cleanOpus, opusTrack, silentOpus } from "./opus.ts";
import { cleanVp9, vp9ConfigOf, vp9Track } from "./vp9.ts";

/** What the publisher's metadata says; the bitstream is believed first where it is exact. */
export interface Hints {
  readonly frameRate?: number | undefined;
  readonly colour?: Colour | undefined;
  readonly hdr?: Hdr | undefined;
}

/** Makes a sample's payload of what the publisher sent; undefined for nothing. Throws BadMedia. Copies nothing. */
export type Cleaner = (data: Uint8Array) => CodedFrame | undefined;

interface Codec {
  readonly track: (config: Uint8Array, hints: Hints) => Track;
  readonly cleaner: (config: Uint8Array) => Cleaner;
  /** Where frames know better than what the publisher sent as its configuration: the whole of it, or undefined for a frame that does not. */
  readonly configOf?: (data: Uint8Array, sent: Uint8Array | undefined) => Uint8Array | undefined;
  readonly silent?: (track: AudioTrack, ticks: number) => Uint8Array | undefined;
}

/** One line per codec; its name and its numbers on the wire are in `names.ts`, its configuration box in `cmaf.ts`. */
const codecs: Readonly<Record<Entry, Codec>> = {
  avc1: {
    track: avcTrack,
    cleaner: (config) => {
      const known = readAvcConfig(config);
      return (data) => cleanAvc(data, known);
    },
  },
  hvc1: {
    track: hevcTrack,
    cleaner: (config) => {
      const known = readHevcConfig(config);
      return (data) => cleanHevc(data, known);
    },
  },
  av01: {
    track: av1Track,
    cleaner: (config) => {
      const known = readAv1Config(config);
      return (data) => cleanAv1(data, known);
    },
    // Some encoders send a record that their frames do not keep to.
    configOf: (data, sent) => av1ConfigOf(data) ?? (sent && av1Complete(sent) ? sent : undefined),
  },
  vp09: {
    track: vp9Track,
    cleaner: (config) => (data) => cleanVp9(data, config),
    configOf: vp9ConfigOf,
  },
  mp4a: { track: aacTrack, cleaner: () => cleanAac, silent: silentAac },
  Opus: { track: opusTrack, cleaner: () => cleanOpus, silent: silentOpus },
  fLaC: { track: flacTrack, cleaner: () => cleanFlac },
  "ac-3": {
    track: ac3Track,
    cleaner: (config) => (data) => cleanAc3(data, config, ac3ConfigOf),
    configOf: ac3ConfigOf,
  },
  "ec-3": {
    track: eac3Track,
    cleaner: (config) => (data) => cleanAc3(data, config, eac3ConfigOf),
    configOf: eac3ConfigOf,
  },
};

/** The track that a decoder configuration (a `config` message of `flv.ts`, or what `configOf` made) begins. Throws BadMedia. Keeps nothing of `config`. */
export function trackOf(entry: Entry, config: Uint8Array, hints: Hints): Track {
  return codecs[entry].track(config, hints);
}

/** What goes through each frame that follows this configuration. Takes the publisher's record, not the track's. Throws BadMedia. */
export function cleanerOf(entry: Entry, config: Uint8Array): Cleaner {
  return codecs[entry].cleaner(config.slice());
}

/** Whether a configuration of the publisher makes a track, or a frame has to say more. */
export function suffices(entry: Entry): boolean {
  return codecs[entry].configOf === undefined;
}

/**
 * The configuration that a frame says itself, for codecs where `suffices` may be false; undefined where it says none.
 * `sent` is what the publisher sent as such. Throws BadMedia.
 */
export function configOf(
  entry: Entry,
  data: Uint8Array,
  sent: Uint8Array | undefined,
): Uint8Array | undefined {
  return codecs[entry].configOf?.(data, sent);
}

/**
 * A frame of silence of so many samples, for a hole or a broadcast without sound; undefined where none is known. Shared: do
 * not write to it.
 */
export function silentFrame(track: AudioTrack, ticks = track.frameTicks): Uint8Array | undefined {
  return codecs[track.entry].silent?.(track, ticks);
}
