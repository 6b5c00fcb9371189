import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { makeSlowFfmpeg } from "../support/ladder.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer, type Viewer } from "../support/viewer.ts";

// A machine that encodes one rung in real time, but not two.
let folder: string;
let sluice: Sluice;
let publisher: Publisher;
let viewer: Viewer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-slow-"));
  await makeSlowFfmpeg(folder, 0.6, 2);
  sluice = await startSluice({
    env: { SLUICE_LADDER: "full", PATH: `${folder}${delimiter}${process.env.PATH}` },
  });
  const { rtmp, streamKey, http, uid } = sluice.ready;
  publisher = publish({ url: `${rtmp}/${streamKey}`, size: "640x400", gop: 1 });
  viewer = await openViewer(`${http}/${uid}`);
});
afterAll(async () => {
  await publisher?.stop();
  await sluice?.stop();
  await rm(folder, { recursive: true, force: true });
});

test("the top rung ends in a gap and then in 404, while the others go on", async () => {
  expect([...viewer.renditions.keys()].sort()).toEqual(["240p", "360p", "audio", "source"]);
  await viewer.follow("360p", (segments) => segments.some((one) => !one.gap));
  await viewer.follow("360p", (segments) => segments.at(-1)?.gap === true);
  await expect(viewer.follow("360p", () => false)).rejects.toThrow(/^360p: 404 /);
  const low = await viewer.follow("240p", (segments) => segments.slice(-3).every((one) => !one.gap));
  const source = await viewer.follow("source", (segments) => segments.at(-1)!.number >= low.at(-1)!.number);
  expect(source.filter((one) => one.gap)).toEqual([]);
  // The list that this viewer has loaded still names the rung; there is nothing to report of it.
  const broken = viewer.judge.violations.filter(
    ({ name, text }) => !(name === "report-missing" && text.endsWith("/360p.m3u8")),
  );
  expect(broken).toEqual([]);
});

test("who comes later is not offered it", async () => {
  const { http, uid } = sluice.ready;
  const later = await openViewer(`${http}/${uid}`);
  expect([...later.renditions.keys()].sort()).toEqual(["240p", "audio", "source"]);
});

test("the owner is told in the log, at the playback and by the API what to do", async () => {
  const { http, uid } = sluice.ready;
  const advice = expect.stringMatching(/^360p is not offered any more, .*too slow; give it more processor/);
  const lifecycle = await (await fetch(`${http}/${uid}/lifecycle`)).json();
  expect(lifecycle).toMatchObject({ status: "live", message: advice });
  expect(sluice.log()).toMatch(/Default: 360p is not offered any more/);
  const input = await apiOf(() => sluice.ready)(`GET /live_inputs/${uid}`);
  expect(input).toMatchObject({ status: { current: { state: "connected", advice } } });
});
