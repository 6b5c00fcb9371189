import { expect, test } from "vitest";
import { AUTO, qualitiesOf, qualityFor, SOUND_ALONE, type Variant } from "./quality.ts";

const variant = (width: number, height: number, frameRate = 30, bitrate = 1e6): Variant => ({
  width,
  height,
  frameRate,
  bitrate,
});

test.for<{ name: string; variants: Variant[]; names: string[] }>([
  {
    name: "a ladder",
    variants: [variant(854, 480), variant(1280, 720, 29.97), variant(1920, 1080, 59.94)],
    names: ["480p", "720p", "1080p60"],
  },
  { name: "a phone held upright", variants: [variant(720, 1280)], names: ["720p"] },
  {
    name: "a source and its copy for every browser",
    variants: [variant(1920, 1080, 30, 4_500_000), variant(1920, 1080, 30, 6_000_000)],
    names: ["1080p 4.5 Mb/s", "1080p 6.0 Mb/s"],
  },
  {
    name: "nothing that tells them apart",
    variants: [variant(640, 360, 0, 0), variant(640, 360, 0, 0)],
    names: ["360p 0 kb/s", "360p 0 kb/s (2)"],
  },
  { name: "no size declared", variants: [variant(0, 0, 0, 700_000)], names: ["700 kb/s"] },
])("$name: $names", ({ variants, names }) => {
  expect(qualitiesOf(variants).map(({ name }) => name)).toEqual(names);
});

const ladder = [
  ...qualitiesOf([variant(640, 360), variant(854, 480), variant(1280, 720, 60)]),
  { name: SOUND_ALONE, height: 0, bitsPerSecond: 96_000 },
];

test.for<[string, string | undefined]>([
  [AUTO, undefined],
  ["480p", "480p"],
  ["720p", "720p60"],
  ["720p60", "720p60"],
  ["1080p", "720p60"],
  ["576p", "480p"],
  ["240p", "360p"],
  [SOUND_ALONE, SOUND_ALONE],
  ["4.5 Mb/s", undefined],
])("who chose %j before gets %j of 360p, 480p, 720p60 and sound alone", ([choice, name]) => {
  expect(qualityFor(ladder, choice!)?.name).toBe(name);
});

test("sound alone is not what a height falls back to", () => {
  expect(qualityFor(ladder.slice(-1), "720p")).toBeUndefined();
});
