import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FlvTag } from "../../services/packager/flv.ts";
import { createJudge } from "../conformance/hls-rules.ts";
import { concat } from "../support/bytes.ts";
import { audioEncoders, encode, tagsOf, videoEncoders } from "../support/encoded.ts";
import { type Aired, simulate } from "../support/simulate.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-codecs-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const seconds = 6;

describe("each codec of enhanced RTMP, from ffmpeg's encoder through the packager to ffmpeg's decoder", () => {
  test.for([
    { video: "avc1", codec: /^avc1\.42c00d$/, ffprobe: "h264" },
    { video: "hvc1", codec: /^hvc1\.1\.6\.L60\.90$/, ffprobe: "hevc" },
    { video: "av01", codec: /^av01\.0\.00M\.08$/, ffprobe: "av1" },
    { video: "vp09", codec: /^vp09\.00\.11\.08$/, ffprobe: "vp9" },
  ] as const)("$video", async ({ video, codec, ffprobe }) => {
    const made = await encode({ seconds, video: [videoEncoders[video]], audio: [audioEncoders.mp4a] });
    const aired = air(tagsOf(made));
    const track = aired.tracks.get("source")![0]!;
    expect(track).toMatchObject({
      entry: video,
      width: 320,
      height: 180,
      codec: expect.stringMatching(codec),
    });
    expect(frames(aired, "source")).toEqual({ name: ffprobe, tag: video, frames: seconds * 30 });
    const segments = aired.windows.get("source")!.segments;
    expect(segments.map((one) => one.duration)).toEqual(Array(seconds).fill(90_000));
    expect(segments.every((one) => one.independent)).toBe(true);
    expect(faults(aired)).toEqual([]);
  });

  test.for([
    { audio: "mp4a", codec: "mp4a.40.2", ffprobe: "aac", ticks: 1024 },
    { audio: "Opus", codec: "opus", ffprobe: "opus", ticks: 960 },
    { audio: "fLaC", codec: "fLaC", ffprobe: "flac", ticks: 4608 },
    { audio: "ac-3", codec: "ac-3", ffprobe: "ac3", ticks: 1536 },
    { audio: "ec-3", codec: "ec-3", ffprobe: "eac3", ticks: 1536 },
  ] as const)("$audio", async ({ audio, codec, ffprobe, ticks }) => {
    const made = await encode({ seconds, video: [videoEncoders.avc1], audio: [audioEncoders[audio]] });
    const aired = air(tagsOf(made));
    expect(aired.tracks.get("audio")).toMatchObject([
      { entry: audio, codec, frameTicks: ticks, channels: 2, sampleRate: 48_000 },
    ]);
    const whole = Math.floor((seconds * 48_000) / ticks);
    const found = frames(aired, "audio");
    expect(found).toMatchObject({ name: ffprobe, tag: audio });
    // The last frames wait for a picture that does not come.
    expect(found.frames).toBeGreaterThan(whole - 6);
    expect(found.frames).toBeLessThanOrEqual(whole + 2);
    expect(faults(aired)).toEqual([]);
  });

  test.for(["mp4a", "Opus", "fLaC", "ac-3", "ec-3"] as const)("%s alone", async (audio) => {
    const aired = air(tagsOf(await encode({ seconds, audio: [audioEncoders[audio]] })));
    expect(faults(aired)).toEqual([]);
    expect(frames(aired, "audio").frames).toBeGreaterThan(0);
  });
});

test("several pictures and languages of one publish: each a rendition, all with the segments of the first", async () => {
  const made = await encode({
    seconds,
    video: [`${videoEncoders.avc1} -s 640x360`, `${videoEncoders.avc1} -s 320x180`],
    audio: [audioEncoders.mp4a, audioEncoders.mp4a, audioEncoders.Opus],
  });
  const aired = air(
    tagsOf(made, {
      videoTrackIdInfoMap: { 1: { width: 320, height: 180 } },
      audioTrackIdInfoMap: {
        0: { language: "en", name: "English" },
        1: { language: "de" },
        2: { language: "de" },
      },
    }),
  );
  const names = ["source", "audio", "audio1", "audio2", "video1"];
  expect([...aired.windows.keys()].sort()).toEqual([...names].sort());
  expect(aired.tracks.get("source")).toMatchObject([{ width: 640, height: 360 }]);
  expect(aired.tracks.get("video1")).toMatchObject([{ width: 320, height: 180 }]);
  expect(aired.tracks.get("audio")).toMatchObject([{ language: "en", label: "English" }]);
  expect(aired.tracks.get("audio2")).toMatchObject([{ language: "de", codec: "opus" }]);
  const rows = (name: string) =>
    aired.windows.get(name)!.segments.map(({ number, dts, duration }) => ({ number, dts, duration }));
  expect(rows("video1").slice(0, -1)).toEqual(rows("source").slice(0, -1));
  for (const name of names) {
    expect(rows(name).map(({ number }) => number)).toEqual(rows("source").map(({ number }) => number));
    expect(frames(aired, name).frames).toBeGreaterThan(100);
  }
  expect(faults(aired)).toEqual([]);
});

describe("what changes while it is on air", () => {
  const big = `${videoEncoders.avc1} -s 640x360`;
  const aac = audioEncoders.mp4a;
  test.for([
    { name: "size", before: [videoEncoders.avc1, aac], after: [big, aac], renewed: ["source"] },
    {
      name: "codec",
      before: [videoEncoders.avc1, aac],
      after: [videoEncoders.hvc1, aac],
      renewed: ["source"],
    },
    {
      name: "both codecs",
      before: [videoEncoders.avc1, aac],
      after: [videoEncoders.av01, audioEncoders.Opus],
      renewed: ["source", "audio"],
    },
    {
      name: "channels of sound",
      before: [videoEncoders.avc1, aac],
      after: [videoEncoders.avc1, aac.replace("-ac 2", "-ac 1")],
      renewed: ["audio"],
    },
    {
      name: "rate of sound",
      before: [videoEncoders.avc1, aac],
      after: [videoEncoders.avc1, `${aac} -ar 44100`],
      renewed: ["audio"],
    },
    {
      name: "codec of sound",
      before: [videoEncoders.avc1, aac],
      after: [videoEncoders.avc1, audioEncoders["ac-3"]],
      renewed: ["audio"],
    },
  ])(
    "$name: another init behind a discontinuity of all, and no picture is lost",
    async ({ before, after, renewed }) => {
      const [first, second] = await Promise.all(
        [before, after].map(([video, audio]) => encode({ seconds: 4, video: [video!], audio: [audio!] })),
      );
      const aired = air([...tagsOf(first!), ...later(tagsOf(second!).slice(1), 4000)]);
      for (const name of ["source", "audio"]) {
        const { segments } = aired.windows.get(name)!;
        expect([...new Set(segments.map((one) => one.discontinuity))]).toEqual([0, 1]);
        const versions = [...new Set(segments.map((one) => one.version))];
        expect(versions).toEqual(renewed.includes(name) ? [0, 1] : [0]);
        for (const version of versions) expect(frames(aired, name, version).frames).toBeGreaterThan(50);
        expect(segments.filter((one) => one.gap)).toEqual([]);
      }
      const pictures = [0, 1].filter((version) => version < aired.tracks.get("source")!.length);
      const shown = pictures.reduce((sum, version) => sum + frames(aired, "source", version).frames, 0);
      expect(shown).toBeGreaterThanOrEqual(239);
      expect(faults(aired)).toEqual([]);
    },
  );

  test("sound that stops is silence until it returns, and no init is new", async () => {
    const tags = tagsOf(
      await encode({ seconds: 9, video: [videoEncoders.avc1], audio: [audioEncoders.Opus] }),
    );
    const away = ({ type, timestampMs }: FlvTag) =>
      type === "audio" && timestampMs > 3000 && timestampMs < 6000;
    const aired = air(tags.filter((tag) => !away(tag)));
    const { segments } = aired.windows.get("audio")!;
    expect(segments.filter((one) => one.gap)).toEqual([]);
    expect(aired.tracks.get("audio")).toHaveLength(1);
    expect(frames(aired, "audio").frames).toBeGreaterThan(8.5 * 50);
    expect(faults(aired)).toEqual([]);
  });

  test("pictures that stop are a gap until they return", async () => {
    const tags = tagsOf(
      await encode({ seconds: 9, video: [videoEncoders.avc1], audio: [audioEncoders.mp4a] }),
    );
    const away = ({ type, timestampMs }: FlvTag) =>
      type === "video" && timestampMs > 3000 && timestampMs < 6000;
    const aired = air(tags.filter((tag) => !away(tag)));
    expect(aired.windows.get("source")!.segments.some((one) => one.gap)).toBe(true);
    expect(aired.windows.get("source")!.segments.at(-1)!.gap).toBe(false);
    expect(faults(aired)).toEqual([]);
  });
});

function later(tags: readonly FlvTag[], ms: number): FlvTag[] {
  return tags.map((tag) => ({ ...tag, timestampMs: tag.timestampMs + ms }));
}

/** A publish of these tags as they would arrive. */
function air(tags: readonly FlvTag[]): Aired {
  const events = tags.map((tag) => ({ atMs: tag.timestampMs, tag, do: "tag" as const }));
  const endMs = events.at(-1)!.atMs;
  return simulate([{ atMs: 0, do: "begin" }, ...events, { atMs: endMs, do: "end" }], { keepAll: true });
}

/** What ffprobe sees in all of a rendition, after ffmpeg has decoded it without an error. */
function frames(aired: Aired, name: string, version = 0): { name: string; tag: string; frames: number } {
  const init = aired.outputs.find(
    (one) => one.type === "init" && one.name === name && one.version === version,
  );
  if (init?.type !== "init") throw new Error(`no ${name}`);
  const segments = aired.windows.get(name)!.segments.filter((segment) => segment.version === version);
  const parts = segments.flatMap((segment) => segment.parts);
  const file = join(folder, `${name}.mp4`);
  writeFileSync(file, concat([init.bytes, ...parts.map((part) => part.bytes)]));
  run("ffmpeg", "-v", "error", "-xerror", "-i", file, "-f", "null", "-");
  const entries = "stream=codec_name,codec_tag_string,nb_read_packets";
  const json = run("ffprobe", "-v", "error", "-count_packets", "-show_entries", entries, "-of", "json", file);
  const [stream] = (JSON.parse(json) as { streams: Record<string, string>[] }).streams;
  return {
    name: stream!.codec_name!,
    tag: stream!.codec_tag_string!,
    frames: Number(stream!.nb_read_packets),
  };
}

/** Output of ffmpeg or ffprobe. Throws where it fails. */
function run(program: "ffmpeg" | "ffprobe", ...args: string[]): string {
  return execFileSync(program, args, { stdio: "pipe" }).toString();
}

function faults(aired: Aired): string[] {
  const judge = createJudge({ slackMs: 900 });
  for (const { name, text, atMs } of aired.listings)
    judge.playlist(`/v/${name}.m3u8`, text, atMs, { held: true });
  expect(judge.count).toBeGreaterThan(5);
  return [...new Set(judge.violations.map(({ rule, name, text }) => `${rule} ${name}: ${text}`))];
}
