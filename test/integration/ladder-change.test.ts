import { afterAll, beforeAll, expect, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { readInit } from "../support/mp4.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer, type Viewer } from "../support/viewer.ts";

let sluice: Sluice;
let publisher: Publisher;
let viewer: Viewer;

const publishAs = (size: string) =>
  publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, size, gop: 1 });

beforeAll(async () => {
  sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
  await choose([
    { height: 144, kbps: 150 },
    { height: 96, kbps: 100 },
  ]);
  publisher = publishAs("320x180");
  viewer = await openViewer(`${sluice.ready.http}/${sluice.ready.uid}`);
});
afterAll(async () => {
  await publisher?.stop();
  await sluice?.stop();
});

test("an encoder that comes back upright goes on in the same rungs, behind a discontinuity, with its own shape", async () => {
  expect([...viewer.renditions.keys()].sort()).toEqual(["144p", "96p", "audio", "source"]);
  await viewer.follow("96p", (segments) => segments.filter(({ gap }) => !gap).length >= 2);
  expect(await sizeOf("96p")).toEqual([170, 96]);

  await publisher.kill();
  publisher = publishAs("120x214");
  const isBack = (segments: readonly { gap: boolean }[], text: string) =>
    text.slice(text.lastIndexOf("#EXT-X-DISCONTINUITY\n") + 1).includes("#EXTINF") &&
    text.includes("#EXT-X-DISCONTINUITY\n") &&
    segments.at(-1)?.gap === false;
  await viewer.follow("source", isBack, 30_000);
  await viewer.follow("96p", isBack, 30_000);
  expect(await sizeOf("96p")).toEqual([96, 172]);
  // A list is rendered when its own rendition changes, so its report of another may be older.
  expect(viewer.judge.violations.filter(({ name }) => name !== "report-behind")).toEqual([]);

  const late = await openViewer(`${sluice.ready.http}/${sluice.ready.uid}`);
  expect([...late.renditions.keys()].sort()).toEqual(["96p", "audio", "source"]);
  expect(late.text).toContain("RESOLUTION=96x172");
});

/** Gives the input a ladder of its own, as its owner does. */
async function choose(ladder: readonly object[]): Promise<void> {
  const changed = await apiOf(() => sluice.ready)(`PUT /live_inputs/${sluice.ready.uid}`, { ladder });
  expect(changed).toMatchObject({ ladder });
}

/** Width and height of what the rendition's newest init decodes to. */
async function sizeOf(name: string): Promise<number[]> {
  let uri: string | undefined;
  await viewer.follow(name, (_, text) => {
    uri = [...text.matchAll(/#EXT-X-MAP:URI="([^"]+)"/g)].at(-1)?.[1];
    return uri !== undefined;
  });
  const response = await fetch(new URL(uri!, viewer.renditions.get(name)));
  const { width, height } = readInit(new Uint8Array(await response.arrayBuffer()));
  return [width, height];
}
