import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { initSegment, makeChunk } from "../../services/packager/cmaf.ts";

import { silentFrame, trackOf } from "../../services/packager/codec/codec.ts";
import type { AudioTrack } from "../../services/packager/track.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import { readChunks } from "../support/mp4.ts";
import { type Remuxed, remux } from "../support/remux.ts";

// Several runs of ffmpeg each, on a machine that may be busy with other tests.
vi.setConfig({ testTimeout: 60_000 });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-mux-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Output of ffmpeg or ffprobe. Throws where it fails. */
function run(program: "ffmpeg" | "ffprobe", ...args: string[]): Buffer {
  return execFileSync(program, args, { maxBuffer: 64 << 20, timeout: 60_000 });
}

function flvOf(input: readonly string[], output: readonly string[]): Uint8Array {
  const sources = input.flatMap((source) => ["-f", "lavfi", "-i", source]);
  const flags = ["-flvflags", "no_duration_filesize", "-f", "flv", "pipe:1"];
  return new Uint8Array(run("ffmpeg", "-v", "error", ...sources, "-t", "1.2", ...output, ...flags));
}

function save(name: string, bytes: Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  return file;
}

interface Packet {
  readonly pts: number;
  readonly dts: number;
}

/** Times in milliseconds, as the FLV has them. */
function packets(file: string, kind: "v" | "a"): Packet[] {
  const entries = "packet=pts_time,dts_time";
  const json = run(
    "ffprobe",
    "-v",
    "error",
    "-select_streams",
    kind,
    "-show_entries",
    entries,
    "-of",
    "json",
    file,
  );
  const read = JSON.parse(json.toString()) as {
    packets: { pts_time: string; dts_time: string }[];
  };
  return read.packets.map((p) => ({
    pts: Math.round(Number(p.pts_time) * 1000),
    dts: Math.round(Number(p.dts_time) * 1000),
  }));
}

/** A hash for each decoded frame. `-xerror`: the first error ends it. */
function decoded(file: string, kind: "v" | "a"): string[] {
  const text = run(
    "ffmpeg",
    "-v",
    "error",
    "-xerror",
    "-i",
    file,
    "-map",
    `0:${kind}`,
    "-f",
    "framemd5",
    "pipe:1",
  ).toString();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return lines.map((line) => line.split(",").at(-1)!.trim());
}

const x264 = (...params: string[]): string[] => [
  "-pix_fmt",
  "yuv420p",
  "-c:v",
  "libx264",
  "-preset",
  "veryfast",
  ...params,
];

describe("what ffmpeg publishes comes out of the muxer as it went in", () => {
  const sources = ["testsrc2=s=192x108:r=30", "sine=440:r=48000"];
  test.for([
    {
      name: "B-frames, one frame a chunk",
      perChunk: { video: 1, audio: 1 },
      codec: x264("-bf", "3", "-g", "30"),
    },
    {
      name: "B-frames, half a second a chunk",
      perChunk: { video: 15, audio: 23 },
      codec: x264("-bf", "3", "-g", "30"),
    },
    {
      name: "delimiters, parameter sets and filler in band, three slices",
      perChunk: { video: 1, audio: 8 },
      codec: x264(
        "-b:v",
        "900k",
        "-x264-params",
        "aud=1:repeat-headers=1:nal-hrd=cbr:vbv-maxrate=900:vbv-bufsize=900:slices=3:keyint=20",
      ),
    },
    {
      name: "interlaced, anamorphic, with colour",
      perChunk: { video: 7, audio: 8 },
      codec: x264(
        "-vf",
        "setsar=64/45",
        "-x264-params",
        "interlaced=1:colorprim=bt709:transfer=bt709:colormatrix=bt709",
      ),
    },
    {
      name: "open GOP",
      perChunk: { video: 1, audio: 8 },
      codec: x264("-bf", "2", "-x264-params", "open-gop=1:keyint=20"),
    },
  ])("$name", ({ codec, perChunk }) => {
    const flv = flvOf(sources, [...codec, "-c:a", "aac", "-ac", "2"]);
    const flvFile = save("source.flv", flv);
    const { video, audio } = remux(flv, perChunk);
    for (const [kind, remuxed] of [
      ["v", video!],
      ["a", audio!],
    ] as const) {
      const file = save(`${kind}.mp4`, whole(remuxed));
      const got = packets(file, kind);
      const sent = packets(flvFile, kind);
      expect(got).toHaveLength(sent.length);
      expect(decoded(file, kind)).toEqual(decoded(flvFile, kind));
      const sample = facts(remuxed);
      if (kind === "v") {
        expect(got.map(({ pts, dts }) => ({ pts, dts }))).toEqual(sent.map(({ pts, dts }) => ({ pts, dts })));
        expect(sample.map((s) => s.key)).toEqual(sample.map((s) => unitTypes(s.data).includes(5)));
        const types = new Set(sample.flatMap((s) => unitTypes(s.data)));
        expect([...types].filter((type) => type > 6)).toEqual([]);
      } else {
        // FLV rounds audio to milliseconds; our grid does not.
        for (const [i, p] of got.entries()) expect(Math.abs(p.dts - sent[i]!.dts)).toBeLessThanOrEqual(1);
      }
      for (const [i, s] of sample.slice(0, -1).entries()) expect(s.dts + s.duration).toBe(sample[i + 1]!.dts);
    }
  });

  test("open GOP: only IDR pictures are keys", () => {
    const flv = flvOf(
      sources.slice(0, 1),
      x264("-bf", "2", "-x264-params", "open-gop=1:keyint=20:scenecut=0"),
    );
    const keys = facts(remux(flv, { video: 1, audio: 1 }).video!).filter((s) => s.key);
    expect(keys).toHaveLength(1);
  });

  test("size, shape, rate and colour are what ffprobe reads", () => {
    const flv = flvOf(
      ["testsrc2=s=720x576:r=25"],
      x264(
        "-vf",
        "setsar=64/45",
        "-x264-params",
        "force-cfr=1:colorprim=bt709:transfer=bt709:colormatrix=bt709",
      ),
    );
    const file = save("shape.mp4", whole(remux(flv, { video: 1, audio: 1 }).video!));
    const fields =
      "stream=codec_tag_string,profile,width,height,sample_aspect_ratio,color_space,color_transfer,color_primaries,time_base";
    const json = run("ffprobe", "-v", "error", "-show_entries", fields, "-of", "json", file);
    expect((JSON.parse(json.toString()) as { streams: unknown[] }).streams[0]).toMatchObject({
      codec_tag_string: "avc1",
      profile: "High",
      width: 720,
      height: 576,
      sample_aspect_ratio: "64:45",
      color_space: "bt709",
      color_transfer: "bt709",
      color_primaries: "bt709",
      time_base: "1/90000",
    });
  });

  test.for([1, 2, 6])("AAC of %i channels", (channels) => {
    const flv = flvOf(["sine=440:r=44100"], ["-c:a", "aac", "-ac", String(channels)]);
    const { audio } = remux(flv, { video: 1, audio: 20 });
    const file = save("channels.mp4", whole(audio!));
    expect(decoded(file, "a")).toEqual(decoded(save("channels.flv", flv), "a"));
    expect(audio!.track).toMatchObject({ channels, sampleRate: 44_100 });
  });
});

test.for([
  { name: "mono", config: "1188", channels: 1 },
  { name: "stereo", config: "1190", channels: 2 },
])("silent frames are silence: $name", ({ config, channels }) => {
  const track = trackOf("mp4a", bytesOf(config), {}) as AudioTrack;
  const data = silentFrame(track)!;
  const samples = Array.from({ length: 50 }, (_, i) => ({
    dts: i * 1024,
    pts: i * 1024,
    duration: 1024,
    key: true,
    data,
  }));
  const file = save("silence.mp4", concat([initSegment(track), makeChunk(track, samples, 1).bytes]));
  const pcm = run("ffmpeg", "-v", "error", "-xerror", "-i", file, "-f", "s16le", "pipe:1");
  expect(pcm.length).toBe(50 * 1024 * channels * 2);
  expect(pcm.every((byte) => byte === 0)).toBe(true);
});

function whole({ init, chunks }: Remuxed): Uint8Array {
  return concat([init, ...chunks.map((chunk) => chunk.bytes)]);
}

function facts({ chunks }: Remuxed) {
  return readChunks(concat(chunks.map((chunk) => chunk.bytes))).flatMap((chunk) => chunk.samples);
}

function unitTypes(sample: Uint8Array): number[] {
  const view = new DataView(sample.buffer, sample.byteOffset, sample.byteLength);
  const types: number[] = [];
  for (let at = 0; at < sample.length; at += 4 + view.getUint32(at)) types.push(sample[at + 4]! & 31);
  return types;
}
