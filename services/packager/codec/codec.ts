import { BadMedia } from "../bad-media.ts";
import type { CodedFrame, Entry, Track } from "../track.ts";
import { aacTrack, cleanAac } from "./aac.ts";
import { avcTrack, cleanAvc, readAvcConfig } from "./avc.ts";

/** What the publisher's metadata says; the bitstream is believed first where it is exact. */
export interface Hints {
  readonly frameRate?: number | undefined;
}

/** Makes a sample's payload of what the publisher sent; undefined for nothing. Throws BadMedia. Copies nothing. */
export type Cleaner = (data: Uint8Array) => CodedFrame | undefined;

interface Codec {
  readonly track: (config: Uint8Array, hints: Hints) => Track;
  readonly cleaner: (config: Uint8Array) => Cleaner;
}

/** One line per codec: HEVC, AV1 and Opus go here, in `flv.ts` by name and in `cmaf.ts` as a configuration box. */
const codecs: Readonly<Partial<Record<Entry, Codec>>> = {
  avc1: {
    track: avcTrack,
    cleaner: (config) => {
      const known = readAvcConfig(config);
      return (data) => cleanAvc(data, known);
    },
  },
  mp4a: { track: aacTrack, cleaner: () => cleanAac },
};

/** The track that a decoder configuration (a `config` message of `flv.ts`) begins. Throws BadMedia. Keeps nothing of `config`. */
export function trackOf(entry: Entry, config: Uint8Array, hints: Hints): Track {
  return codecOf(entry).track(config, hints);
}

/** What goes through each frame that follows this configuration. Takes the publisher's record, not the track's. Throws BadMedia. */
export function cleanerOf(entry: Entry, config: Uint8Array): Cleaner {
  return codecOf(entry).cleaner(config.slice());
}

function codecOf(entry: Entry): Codec {
  const codec = codecs[entry];
  if (codec) return codec;
  const known = Object.keys(codecs).join(" or ");
  throw new BadMedia("unsupported_codec", `${entry} cannot be packaged yet; set the encoder to ${known}`);
}
