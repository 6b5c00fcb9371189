import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { AmfObject } from "../../services/packager/amf.ts";
import { type FlvTag, writeScript } from "../../services/packager/flv.ts";
import { Fmp4Reader, type Fmp4Sample, type Fmp4Track } from "../../services/packager/fmp4.ts";
import { writeAudio, writeVideo } from "../../services/packager/tags.ts";

/** Encoders of ffmpeg by our name of the codec, cheap and with a keyframe a second at 30 fps. */
export const videoEncoders = {
  avc1: "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -sc_threshold 0 -pix_fmt yuv420p",
  hvc1: "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -tag:v hvc1 -x265-params log-level=none:keyint=30:min-keyint=30:open-gop=0:scenecut=0:repeat-headers=1:aud=1",
  av01: "-c:v libsvtav1 -preset 12 -g 30 -svtav1-params keyint=30:pred-struct=1 -pix_fmt yuv420p",
  vp09: "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 -b:v 400k -pix_fmt yuv420p",
} as const;
export const audioEncoders = {
  mp4a: "-c:a aac -b:a 64k -ac 2",
  Opus: "-c:a libopus -b:a 64k -ac 2",
  fLaC: "-c:a flac -ac 2",
  "ac-3": "-c:a ac3 -b:a 192k -ac 2",
  "ec-3": "-c:a eac3 -b:a 192k -ac 2",
} as const;

export interface EncodeOptions {
  readonly seconds: number;
  /** Options of ffmpeg for each track of video and of audio, in words; by default there is none. */
  readonly video?: readonly string[];
  readonly audio?: readonly string[];
  readonly size?: string;
  readonly rate?: number;
}

export interface Encoded {
  readonly tracks: readonly Fmp4Track[];
  readonly samples: readonly Fmp4Sample[];
}

/** A moving pattern and tones as ffmpeg's encoders write them, each track by its own options. */
export async function encode(options: EncodeOptions): Promise<Encoded> {
  const { seconds, video = [], audio = [], size = "320x180", rate = 30 } = options;
  const args = ["-hide_banner", "-loglevel", "error"];
  for (const _ of video) args.push("-f", "lavfi", "-i", `testsrc2=size=${size}:rate=${rate}`);
  for (const i of audio.keys())
    args.push("-f", "lavfi", "-i", `sine=frequency=${440 * (i + 1)}:sample_rate=48000`);
  args.push("-t", String(seconds));
  for (const i of [...video, ...audio].keys()) args.push("-map", String(i));
  const numbered = (kind: "v" | "a", list: readonly string[]) =>
    list.flatMap((words, i) =>
      words
        .split(" ")
        .map((word) =>
          /^-(c|b|s|filter|tag|preset|g|pix_fmt|profile)(:[va])?$/.test(word)
            ? `${word.replace(/:[va]$/, "")}:${kind}:${i}`
            : word,
        ),
    );
  args.push(...numbered("v", video), ...numbered("a", audio));
  args.push(
    "-strict",
    "-2",
    "-f",
    "mp4",
    "-movflags",
    "+cmaf+frag_every_frame+delay_moov+default_base_moof",
    "pipe:1",
  );
  const { stdout } = await promisify(execFile)("ffmpeg", args, {
    encoding: "buffer",
    maxBuffer: 256 << 20,
  });
  const events = new Fmp4Reader().push(new Uint8Array(stdout));
  return {
    tracks: events.flatMap((event) => (event.type === "tracks" ? event.tracks : [])),
    samples: events.flatMap((event) => (event.type === "sample" ? event.sample : [])),
  };
}

/** The tags of a publish of these tracks in order of time, enhanced where the codec or a second track needs it. */
export function tagsOf({ tracks, samples }: Encoded, metadata: AmfObject = {}): FlvTag[] {
  const numbers = new Map<Fmp4Track, number>();
  for (const kind of ["video", "audio"] as const)
    for (const [i, track] of tracks.filter((one) => one.kind === kind).entries()) numbers.set(track, i);
  const promised = {
    ...(tracks.some(({ kind }) => kind === "video") && { videocodecid: 7, framerate: 30 }),
    ...(tracks.some(({ kind }) => kind === "audio") && { audiocodecid: 10 }),
    ...metadata,
  };
  const tags: FlvTag[] = [{ type: "script", timestampMs: 0, payload: writeScript("onMetaData", promised) }];
  for (const track of tracks) {
    const write = track.kind === "video" ? writeVideo : writeAudio;
    const message = {
      entry: track.entry,
      type: "config",
      track: numbers.get(track)!,
      data: track.config,
    } as const;
    if (track.config.length > 0) tags.push({ type: track.kind, timestampMs: 0, payload: write(message) });
  }
  const timed = samples.map((sample) => ({ sample, ms: (sample.dts * 1000) / sample.track.timescale }));
  timed.sort((a, b) => a.ms - b.ms);
  for (const { sample, ms } of timed) {
    const { track, key, data, pts } = sample;
    const timestampMs = Math.round(ms);
    const compositionMs = Math.round((pts * 1000) / track.timescale) - timestampMs;
    const message = {
      entry: track.entry,
      type: "frame",
      track: numbers.get(track)!,
      key,
      compositionMs,
      data,
    } as const;
    const payload = track.kind === "video" ? writeVideo(message) : writeAudio(message);
    tags.push({ type: track.kind, timestampMs, payload });
  }
  return tags;
}
