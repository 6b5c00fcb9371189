import { afterAll, beforeAll, expect, test } from "vitest";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { readChunks } from "../support/mp4.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { type Listed, openViewer, type Viewer } from "../support/viewer.ts";

let sluice: Sluice;
let publisher: Publisher;
let playback: string;

beforeAll(async () => {
  sluice = await startSluice({ env: { SLUICE_LADDER: "light" } });
  playback = `${sluice.ready.http}/${sluice.ready.uid}`;
  publisher = goLive();
});
afterAll(async () => {
  await publisher?.stop();
  await sluice?.stop();
});

/** As OBS does when nobody sets its keyframe interval. */
function goLive(): Publisher {
  return publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, size: "640x360", gop: 250 / 30 });
}

const names = (viewer: Viewer) => [...viewer.renditions.keys()].sort();

test("the first viewers get the source; once its keyframes stay away, a rung of its size stands for it", async () => {
  const early = await openViewer(playback);
  expect(names(early)).toEqual(["audio", "source"]);
  await early.follow("source", (segments) => segments.length >= 4);
  let late = await openViewer(playback);
  for (const end = Date.now() + 10_000; names(late).includes("source") && Date.now() < end; ) {
    await early.follow("source", (segments) => segments.length > 0);
    late = await openViewer(playback);
  }
  expect(names(late)).toEqual(["360p", "audio"]);
  const { message } = (await (await fetch(`${playback}/lifecycle`)).json()) as { message: string };
  expect(message).toMatch(/^Keyframes are .* apart, so the picture is encoded again as 360p/);

  const rung = await late.follow(
    "360p",
    (segments) => segments.filter(({ gap }) => !gap).length >= 5,
    30_000,
  );
  const source = await early.follow("source", (segments) => segments.at(-1)!.number >= rung.at(-1)!.number);
  let compared = 0;
  for (const segment of rung.filter(({ gap }) => !gap)) {
    const same = source.find(({ number }) => number === segment.number);
    if (!same) continue;
    compared++;
    expect(segment.seconds).toBeLessThan(2.2);
    expect(segment.dateMs).toBe(same.dateMs);
    const [ours, theirs] = await Promise.all([shown(late, "360p", segment), shown(early, "source", same)]);
    expect([ours.key, ours.pts]).toEqual([true, theirs.pts]);
  }
  expect(compared).toBeGreaterThan(2);
  expect([...early.judge.violations, ...late.judge.violations]).toEqual([]);
});

test("the next broadcast of the same encoder offers the rung from its first list", async () => {
  await publisher.stop();
  await fetch(`${playback}/lifecycle?wait=live`);
  publisher = goLive();
  const viewer = await openViewer(playback);
  expect(names(viewer)).toEqual(["360p", "audio"]);
  const segments = await viewer.follow("360p", (list) => list.filter(({ gap }) => !gap).length >= 3);
  expect(segments.filter(({ gap }) => gap).length).toBeLessThan(2);
  expect(viewer.judge.violations).toEqual([]);
});

/** When its first frame is shown and whether it needs no other. */
async function shown(viewer: Viewer, name: string, segment: Listed): Promise<{ pts: number; key: boolean }> {
  const [chunk] = readChunks(await viewer.fetch(name, segment));
  const [first] = chunk!.samples;
  return { pts: first!.pts, key: first!.key };
}
