import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, onTestFailed, test } from "vitest";
import { findFfmpeg } from "../../services/supervisor/programs.ts";
import { apiOf } from "../support/api.ts";
import { concat } from "../support/bytes.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { readChunks } from "../support/mp4.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { type Listed, openViewer, type Viewer } from "../support/viewer.ts";

const minute = 60_000;
const run = promisify(execFile);
/** One of each codec beside one that every browser plays. */
const rungs = {
  "160phevc": { height: 160, codec: "hevc", kbps: 200, ffprobe: "hevc" },
  "144pav1": { height: 144, codec: "av1", kbps: 150, ffprobe: "av1" },
  "120pvp9": { height: 120, codec: "vp9", kbps: 150, ffprobe: "vp9" },
  "96p": { height: 96, codec: "h264", kbps: 100, ffprobe: "h264" },
} as const;
const names = Object.keys(rungs) as (keyof typeof rungs)[];

let folder: string;
let sluice: Sluice | undefined;
let publisher: Publisher | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-rungs-"));
});
afterEach(async () => {
  await publisher?.stop();
  await sluice?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A live input with these rungs on air, by an ffmpeg on this PATH. */
async function goLive(path = process.env.PATH!): Promise<Viewer> {
  sluice = await startSluice({ env: { SLUICE_LADDER: "default", PATH: path } });
  onTestFailed(() => console.error(sluice!.log()));
  const { rtmp, streamKey } = sluice.ready;
  const ladder = Object.values(rungs).map(({ height, codec, kbps }) => ({ height, codec, kbps }));
  expect(await input({ ladder })).toMatchObject({ ladder });
  publisher = publish({ url: `${rtmp}/${streamKey}`, gop: 1.5 });
  return openViewer(playback());
}

const playback = () => `${sluice!.ready.http}/${sluice!.ready.uid}`;

/** The live input as its owner has it, changed by `body` first where there is one. */
function input(body?: object): Promise<unknown> {
  const { ready } = sluice!;
  return apiOf(() => ready)(`${body ? "PUT" : "GET"} /live_inputs/${ready.uid}`, body);
}

const real = (segments: readonly Listed[]) => segments.filter(({ gap }) => !gap);

test("rungs in HEVC, AV1 and VP9 stand beside the source as those in H.264 do", {
  timeout: 2 * minute,
}, async () => {
  const viewer = await goLive();
  expect([...viewer.renditions.keys()].sort()).toEqual([...names, "audio", "source"].sort());
  const lists = new Map<string, readonly Listed[]>();
  for (const name of names)
    lists.set(name, real(await viewer.follow(name, (segments) => real(segments).length >= 4, 30_000)));
  const last = Math.max(...[...lists.values()].map((segments) => segments.at(-1)!.number));
  const source = await viewer.follow("source", (segments) => segments.at(-1)!.number >= last);
  await viewer.follow("audio", (segments) => segments.length >= 4);

  for (const name of names) {
    const segments = lists.get(name)!.filter(({ number }) => source.some((one) => one.number === number));
    expect(segments.length).toBeGreaterThanOrEqual(3);
    for (const segment of segments) {
      const same = source.find(({ number }) => number === segment.number)!;
      expect([name, segment.dateMs]).toEqual([name, same.dateMs]);
      const [ours, theirs] = await Promise.all([first(viewer, name, segment), first(viewer, "source", same)]);
      expect([name, ours]).toEqual([name, theirs]);
      expect(ours.key).toBe(true);
    }
    expect(await decoded(viewer, name, segments)).toMatchObject({ codec_name: rungs[name].ffprobe });
  }

  // What the first list said before there was any of it, and what the bitstreams of its renditions say.
  const manifest = await (await fetch(`${playback()}/manifest/video.mpd`)).text();
  const said = (name: string) =>
    new RegExp(`CODECS="([^",]+),[^\\n]*\\n[^\\n]*/${name}\\.m3u8`).exec(viewer.text)?.[1];
  const made = (name: string) =>
    new RegExp(`<Representation id="${name}" [^>]*codecs="([^"]+)"`).exec(manifest)?.[1];
  expect(names.map(made)).toEqual([
    "hvc1.1.6.L60.90",
    "av01.0.00M.08",
    "vp09.00.10.08",
    expect.stringMatching(/^avc1\.6400/),
  ]);
  expect(names.map(said)).toEqual(names.map(made));
  expect(viewer.exceeded()).toEqual([]);
  expect(viewer.judge.violations).toEqual([]);
  expect(sluice!.log().match(/encode opened/g)).toHaveLength(1);
});

test("a rung whose encoder this ffmpeg does not have is left out and said once, and the others go on", {
  timeout: 2 * minute,
}, async () => {
  // Lists what a build without libx265 lists.
  const less = `case "$*" in *-encoders*) ${findFfmpeg()} "$@" | grep -v libx265; exit;; esac; exec ${findFfmpeg()} "$@"`;
  await writeFile(join(folder, "ffmpeg"), `#!/bin/sh\n${less}\n`);
  await chmod(join(folder, "ffmpeg"), 0o755);
  const viewer = await goLive(`${folder}${delimiter}${process.env.PATH}`);
  const others = names.filter((name) => name !== "160phevc");
  for (const name of others) await viewer.follow(name, (segments) => real(segments).length >= 3, 30_000);
  const source = await viewer.follow("source", (segments) => segments.length > 0);
  expect(source.filter(({ gap }) => gap)).toEqual([]);
  const gone = await fetch(viewer.renditions.get("source")!.replace("source.m3u8", "160phevc.m3u8"));
  expect(gone.status).toBe(404);
  const late = await openViewer(playback());
  expect([...late.renditions.keys()].sort()).toEqual([...others, "audio", "source"].sort());

  const log = sluice!.log();
  expect(log.match(/160phevc is left out: this ffmpeg has no encoder libx265/g)).toHaveLength(1);
  expect(log.match(/encode opened/g)).toHaveLength(1);
  const advice = expect.stringMatching(
    /^160phevc is left out, because the ffmpeg of the worker cannot encode HEVC;/,
  );
  expect(await (await fetch(`${playback()}/lifecycle`)).json()).toMatchObject({ message: advice });
  expect(await input()).toMatchObject({ status: { current: { state: "connected", advice } } });
});

test.for(
  [
    { name: "4:2:2", words: "-pix_fmt yuv422p -profile:v high422", codec: /^avc1\.7a/ },
    { name: "10 bit", words: "-pix_fmt yuv420p10le -profile:v high10", codec: /^avc1\.6e/ },
  ].filter(({ name }) => long || name === "10 bit"),
)(
  "H.264 in $name comes at its own size in 8 bit 4:2:0 first, for browsers that do not play it",
  {
    timeout: 2 * minute,
  },
  async ({ words, codec }) => {
    sluice = await startSluice({ env: { SLUICE_LADDER: "full" } });
    onTestFailed(() => console.error(sluice!.log()));
    const { rtmp, streamKey } = sluice.ready;
    const video = `-c:v libx264 -preset ultrafast -tune zerolatency ${words} -g 30 -keyint_min 30 -sc_threshold 0`;
    publisher = publish({ url: `${rtmp}/${streamKey}`, size: "426x320", video: video.split(" ") });
    const viewer = await openViewer(playback());
    const codecs = Object.fromEntries(
      [...viewer.text.matchAll(/CODECS="([^",]+),[^\n]*\n[^\n]*\/(\w+)\.m3u8/g)].map(([, said, name]) => [
        name,
        said,
      ]),
    );
    expect(Object.keys(codecs)).toEqual(["source", "320p", "240p"]);
    expect(codecs.source).toMatch(codec);
    expect(codecs["320p"]).toMatch(/^avc1\.6400/);
    const segments = real(await viewer.follow("320p", (list) => real(list).length >= 3, 30_000));
    expect(await decoded(viewer, "320p", segments)).toMatchObject({
      ...{ codec_name: "h264", profile: "High", pix_fmt: "yuv420p", width: 426, height: 320 },
    });
    expect(viewer.judge.violations).toEqual([]);
  },
);

/** When its first frame is decoded and whether it needs no other. */
async function first(viewer: Viewer, name: string, segment: Listed): Promise<{ dts: number; key: boolean }> {
  const [chunk] = readChunks(await viewer.fetch(name, segment));
  const [sample] = chunk!.samples;
  return { dts: sample!.dts, key: sample!.key };
}

/** What ffprobe sees in these segments, after ffmpeg has decoded all of their frames without an error. */
async function decoded(viewer: Viewer, name: string, segments: readonly Listed[]): Promise<unknown> {
  const init = await fetch(segments[0]!.uri.replace(/[^/]+$/, "init.mp4"));
  const media = await Promise.all(segments.map((segment) => viewer.fetch(name, segment)));
  const file = join(folder, `${name}.mp4`);
  await writeFile(file, concat([new Uint8Array(await init.arrayBuffer()), ...media]));
  await run("ffmpeg", ["-v", "error", "-xerror", "-i", file, "-f", "null", "-"]);
  const entries = [
    "-count_frames",
    "-show_entries",
    "stream=codec_name,profile,pix_fmt,width,height,nb_read_frames",
    "-of",
    "json",
  ];
  const { stdout } = await run("ffprobe", ["-v", "error", ...entries, file]);
  const [stream] = (JSON.parse(stdout) as { streams: { nb_read_frames: string }[] }).streams;
  const sent = media.flatMap(readChunks).reduce((sum, { samples }) => sum + samples.length, 0);
  expect(Number(stream!.nb_read_frames)).toBe(sent);
  return stream;
}
