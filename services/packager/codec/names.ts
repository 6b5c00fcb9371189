import { BadMedia } from "../bad-media.ts";
import type { Entry } from "../track.ts";

interface Named {
  readonly name: string;
  readonly entry?: Entry;
}

/** Video codecs by the number of the legacy header or the fourCC of the enhanced one (enhanced-rtmp-v2). */
const video: Readonly<Record<string, Named>> = {
  2: { name: "Sorenson H.263" },
  3: { name: "Screen video" },
  4: { name: "VP6" },
  5: { name: "VP6 with alpha" },
  7: { name: "H.264", entry: "avc1" },
  // Encoders that took HEVC to FLV before the enhanced header was agreed on; the layout is that of H.264.
  12: { name: "HEVC", entry: "hvc1" },
  13: { name: "AV1", entry: "av01" },
  avc1: { name: "H.264", entry: "avc1" },
  hvc1: { name: "HEVC", entry: "hvc1" },
  av01: { name: "AV1", entry: "av01" },
  vp08: { name: "VP8" },
  vp09: { name: "VP9", entry: "vp09" },
  vvc1: { name: "VVC (H.266)" },
};
const audio: typeof video = {
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
  // As 12 for video.
  13: { name: "Opus", entry: "Opus" },
  14: { name: "MP3" },
  mp4a: { name: "AAC", entry: "mp4a" },
  Opus: { name: "Opus", entry: "Opus" },
  fLaC: { name: "FLAC", entry: "fLaC" },
  "ac-3": { name: "AC-3", entry: "ac-3" },
  "ec-3": { name: "E-AC-3", entry: "ec-3" },
  ".mp3": { name: "MP3" },
};

/** The codec of a legacy number or a fourCC. Throws BadMedia `unsupported_video_codec` or `unsupported_audio_codec` with a sentence for the publisher. */
export function entryOf(kind: "video" | "audio", id: number | string): Entry {
  const named = kind === "video" ? video : audio;
  const codec = Object.hasOwn(named, id) ? named[id] : undefined;
  if (codec?.entry) return codec.entry;
  const known = new Set(Object.values(named).flatMap((one) => (one.entry ? one.name : [])));
  const what = codec?.name ?? `codec ${JSON.stringify(id)}`;
  const choice = [...known].join(", ").replace(/, ([^,]*)$/, " or $1");
  throw new BadMedia(
    `unsupported_${kind}_codec`,
    `${what} ${kind} is not supported; set the encoder to ${choice}`,
  );
}

/** The fourCCs that a publisher may use, for the answer to its `connect`. */
export const fourCCs: { readonly video: readonly string[]; readonly audio: readonly string[] } = {
  video: offered(video),
  audio: offered(audio),
};

function offered(named: typeof video): string[] {
  return Object.keys(named).filter((id) => id.length === 4 && named[id]!.entry !== undefined);
}
