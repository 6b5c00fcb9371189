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

/** A publish of these tags as they would arrive. */
function air(tags: readonly FlvTag[]): Aired {
  const events = tags.map((tag) => ({ atMs: tag.timestampMs, tag, do: "tag" as const }));
  const endMs = events.at(-1)!.atMs;
  return simulate([{ atMs: 0, do: "begin" }, ...events, { atMs: endMs, do: "end" }], { keepAll: true });
}

/** What ffprobe sees in all of a rendition, after ffmpeg has decoded it without an error. */
function frames(aired: Aired, name: string): { name: string; tag: string; frames: number } {
  const init = aired.outputs.find((one) => one.type === "init" && one.name === name);
  if (init?.type !== "init") throw new Error(`no ${name}`);
  const parts = aired.windows.get(name)!.segments.flatMap((segment) => segment.parts);
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
