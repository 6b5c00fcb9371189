import { expect, test } from "vitest";
import { AUTO, qualitiesOf } from "../quality.ts";
import { Rungs } from "./rungs.ts";

const video = [
  { name: "source", height: 1080, bitsPerSecond: 6_000_000 },
  { name: "720p", height: 720, bitsPerSecond: 2_500_000 },
  { name: "360p", height: 360, bitsPerSecond: 700_000 },
];
const catalog = {
  video,
  qualities: qualitiesOf(
    video.map(({ height, bitsPerSecond: bitrate }) => ({
      ...{ height, bitrate, width: (height * 16) / 9, frameRate: 30 },
    })),
  ),
};
const nameOf = (rungs: Rungs, pixels = 0) => rungs.wanted(catalog, pixels)?.name;

test.for([
  { pixels: 0, name: "source" },
  { pixels: 2160, name: "source" },
  { pixels: 1080, name: "source" },
  { pixels: 700, name: "720p" },
  { pixels: 200, name: "360p" },
])("a screen of $pixels pixels gets $name", ({ pixels, name }) => {
  expect(nameOf(new Rungs(AUTO), pixels)).toBe(name);
});

test("what a viewer chose stays, whatever the screen shows and the link carries", () => {
  const rungs = new Rungs("720p");
  expect(nameOf(rungs, 200)).toBe("720p");
  rungs.descend(video, 1, 0);
  expect(nameOf(rungs)).toBe("720p");
  rungs.wish = AUTO;
  expect(nameOf(rungs)).toBe("360p");
});

test("a link gets the best one below that it has carried lately, with something to spare", () => {
  const rungs = new Rungs(AUTO);
  // 3.5 Mb/s over the last 800 ms; what came before is forgotten.
  rungs.came(5_000_000, 0);
  rungs.came(350_000, 2_000);
  expect(rungs.descend(video, 0, 2_100)).toBe(true);
  expect(nameOf(rungs)).toBe("720p");
});

test("where nothing fits it gets the last one, and there is none below that", () => {
  const rungs = new Rungs(AUTO);
  expect(rungs.descend(video, 0, 1_000)).toBe(true);
  expect(nameOf(rungs)).toBe("360p");
  expect(rungs.descend(video, 2, 2_000)).toBe(false);
  expect(rungs.descend(video, -1, 2_000)).toBe(false);
});

test("of the past the next one is one lower", () => {
  const rungs = new Rungs(AUTO);
  rungs.lower(video, 0);
  expect(nameOf(rungs)).toBe("720p");
  rungs.lower(video, 2);
  expect(nameOf(rungs)).toBe("360p");
});

test("after a long time without a stall one step up is tried, later each time that the link was too slow", () => {
  const rungs = new Rungs(AUTO);
  rungs.begin(0);
  rungs.descend(video, 0, 0);
  expect(rungs.steady(39_999)).toBe(false);
  expect(rungs.steady(40_000)).toBe(true);
  expect(nameOf(rungs)).toBe("720p");
  expect(rungs.steady(40_001)).toBe(false);
  expect(rungs.stalled(50_000)).toBe(false);
  expect(rungs.stalled(55_000)).toBe(true);
  rungs.descend(video, 1, 55_000);
  expect(rungs.steady(134_999)).toBe(false);
  expect(rungs.steady(135_000)).toBe(true);
  expect(nameOf(rungs)).toBe("720p");
});
