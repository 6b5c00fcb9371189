import { afterAll, beforeAll, expect, test } from "vitest";
import { descendants } from "../bench/processes.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { readChunks } from "../support/mp4.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { type Listed, openViewer, type Viewer } from "../support/viewer.ts";

let sluice: Sluice;
let publisher: Publisher;
let viewer: Viewer;

beforeAll(async () => {
  sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
  const { rtmp, streamKey, http, uid } = sluice.ready;
  publisher = publish({ url: `${rtmp}/${streamKey}`, size: "640x400", gop: 1.5 });
  viewer = await openViewer(`${http}/${uid}`);
});
afterAll(async () => {
  await publisher?.stop();
  await sluice?.stop();
});

test("the first list names the rung, whose segments have the source's numbers and begin with its keyframes", async () => {
  expect([...viewer.renditions.keys()].sort()).toEqual(["360p", "audio", "source"]);
  const rung = await viewer.follow("360p", (segments) => segments.filter((one) => !one.gap).length >= 3);
  const source = await viewer.follow("source", (segments) => segments.at(-1)!.number >= rung.at(-1)!.number);
  for (const segment of rung.filter((one) => !one.gap)) {
    const same = source.find((one) => one.number === segment.number)!;
    expect(segment.dateMs).toBe(same.dateMs);
    const [ours, theirs] = await Promise.all([shown("360p", segment), shown("source", same)]);
    expect(ours).toEqual(theirs);
  }
  await viewer.follow("audio", (segments) => segments.length >= 2);
});

test("no rendition has more bits than the list declares for it", async () => {
  for (const name of viewer.renditions.keys()) {
    const segments = await viewer.follow(name, (list) => list.filter(({ gap }) => !gap).length >= 5);
    for (const segment of segments.filter(({ gap }) => !gap)) await viewer.fetch(name, segment);
  }
  expect(viewer.exceeded()).toEqual([]);
});

test("a worker that is killed costs its rung a gap, and the source nothing", async () => {
  const [worker] = descendants(sluice.pid, "role worker");
  process.kill(worker!, "SIGKILL");
  const hole = await viewer.follow("360p", (segments) => segments.at(-1)?.gap === true);
  await viewer.follow(
    "360p",
    (segments) => segments.at(-1)?.gap === false && segments.at(-1)!.number > hole.at(-1)!.number,
    30_000,
  );
  const source = await viewer.follow("source", (segments) => segments.length > 0);
  expect(source.filter((one) => one.gap)).toEqual([]);
});

test("no playlist of all this breaks a rule", () => {
  expect(viewer.judge.count).toBeGreaterThan(15);
  expect(viewer.judge.violations).toEqual([]);
});

/** When its first frame is shown and whether it needs no other. */
async function shown(name: string, segment: Listed): Promise<{ pts: number; key: boolean }> {
  const [chunk] = readChunks(await viewer.fetch(name, segment));
  const [first] = chunk!.samples;
  return { pts: first!.pts, key: first!.key };
}
