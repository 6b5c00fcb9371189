import { expect, test } from "vitest";
import { RateSample, statedInterval, statedKbps } from "./declared.ts";

test.for([
  { stated: 2500, kbps: 2500 },
  { stated: 1953.125, kbps: 1953 },
  { stated: 0, kbps: undefined },
  { stated: Number.NaN, kbps: undefined },
  { stated: 6_000_000, kbps: undefined },
  { stated: "2500", kbps: undefined },
  { stated: undefined, kbps: undefined },
])("a videodatarate of $stated is $kbps kbps", ({ stated, kbps }) => expect(statedKbps(stated)).toBe(kbps));

const bytesOf = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

test.for([
  {
    name: "x264 as OBS sets it",
    text: "x264 - core 164 r3095 - options: cabac=1 keyint=250 keyint_min=25 \0",
    frames: 250,
  },
  { name: "x265", text: "x265 (build 199) - options: cpuid=1 keyint=60 min-keyint=6 \0", frames: 60 },
  {
    name: "no limit",
    text: "x264 - core 164 - options: keyint=infinite keyint_min=25\0",
    frames: Number.POSITIVE_INFINITY,
  },
  {
    name: "another option of that end",
    text: "x264 - options: keyint_min=25 min-keyint=6 \0",
    frames: undefined,
  },
  { name: "another encoder", text: "keyint=250 ", frames: undefined },
  {
    name: "a letter beyond the first 4 KB",
    text: `${"x".repeat(4_096)}x264 - core keyint=250 \0`,
    frames: undefined,
  },
  { name: "nothing", text: "", frames: undefined },
])("$name says $frames frames", ({ text, frames }) => {
  expect(statedInterval(bytesOf(`\x06\x05\xff${text}`))).toBe(frames);
});

test.for([
  { name: "30 frames a second", distanceMs: 33, keyBytes: 20_000, bytes: 4_000 },
  { name: "60 frames a second", distanceMs: 17, keyBytes: 20_000, bytes: 2_000 },
  { name: "one frame a second", distanceMs: 1_000, keyBytes: 20_000, bytes: 120_000 },
])(
  "half a second of $name tells its bitrate as if keyframes were two seconds apart",
  ({ distanceMs, keyBytes, bytes }) => {
    const rate = new RateSample();
    let kbps: number | undefined;
    let ms = 5_000;
    kbps = rate.add({ ms, bytes: keyBytes, key: true });
    for (; kbps === undefined; ) {
      ms += distanceMs;
      kbps = rate.add({ ms, bytes, key: false });
    }
    expect(ms - 5_000).toBeGreaterThanOrEqual(500);
    expect(kbps).toBeGreaterThan(0);
    const steady = (bytes * 8) / distanceMs + (keyBytes * 8) / 2_000;
    if (distanceMs < 500) expect(Math.abs(kbps - steady) / steady).toBeLessThan(0.1);
  },
);

test("a clock that steps does not make up a bitrate", () => {
  const rate = new RateSample();
  rate.add({ ms: 0, bytes: 9_999_999, key: true });
  for (let ms = 3_600_000; ms < 3_600_500; ms += 50)
    expect(rate.add({ ms, bytes: 500, key: false })).toBeUndefined();
  expect(rate.add({ ms: 3_600_500, bytes: 500, key: false })).toBe(80);
});
