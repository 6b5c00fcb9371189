import { expect, test } from "vitest";
import { Pace } from "./pace.ts";

/**
 * Looks every 250 ms at an encoder that makes `speed` (by seconds since its start) of real time at most, behind a source that
 * gave it `backlogMs` at once. Answers when it was found too slow, in seconds.
 */
function slowAfter(options: {
  readonly speed: (second: number) => number;
  readonly backlogMs?: number;
  readonly seconds?: number;
}): number | undefined {
  const pace = new Pace();
  let outMs = 0;
  for (let atMs = 0; atMs < (options.seconds ?? 120) * 1000; atMs += 250) {
    const fedMs = (options.backlogMs ?? 0) + atMs;
    outMs = Math.min(fedMs, outMs + 250 * options.speed(atMs / 1000));
    if (pace.isSlow({ atMs, fedMs, outMs })) return atMs / 1000;
  }
  return undefined;
}

test.for([
  { name: "keeps up", speed: () => 3 },
  { name: "begins with a GOP of eight seconds", speed: () => 2, backlogMs: 8_300 },
  { name: "hardly catches up with two seconds", speed: () => 1.3, backlogMs: 2_000 },
  { name: "stood still for two seconds", speed: (s: number) => (s >= 10 && s < 12 ? 0 : 2) },
  { name: "was slow for three seconds", speed: (s: number) => (s >= 10 && s < 13 ? 0.8 : 2) },
  { name: "gives nothing at all", speed: () => 0 },
])("an encoder that $name is fast enough", ({ speed, backlogMs = 0 }) => {
  expect(slowAfter({ speed, backlogMs })).toBeUndefined();
});

test.for([
  { name: "makes half of real time", speed: () => 0.5, by: 6 },
  { name: "makes nine tenths of real time", speed: () => 0.9, by: 9 },
  { name: "makes just real time behind a GOP of two seconds", speed: () => 1, backlogMs: 2_000, by: 6 },
  { name: "becomes slow after a minute", speed: (s: number) => (s < 60 ? 2 : 0.7), by: 67 },
  { name: "stops and goes", speed: (s: number) => (s % 1 < 0.5 ? 0 : 1.4), by: 8 },
])("an encoder that $name is too slow, which is seen within $by s", ({ speed, by, backlogMs = 0 }) => {
  expect(slowAfter({ speed, backlogMs })).toBeLessThanOrEqual(by);
});

test("a source that comes in a burst makes no encoder slow", () => {
  const pace = new Pace();
  for (let atMs = 0; atMs <= 20_000; atMs += 250)
    expect(pace.isSlow({ atMs, fedMs: 1.5 * atMs, outMs: 1.2 * atMs })).toBe(false);
});

test("the pace of an encoder is how much of the source it makes in how much time", () => {
  const pace = new Pace({ windowMs: 1_000 });
  for (let atMs = 0; atMs <= 2_000; atMs += 250)
    pace.isSlow({ atMs, fedMs: 5_000 + atMs, outMs: 0.6 * atMs });
  expect(pace.speed).toBeCloseTo(0.6);
  expect(pace.lagMs).toBe(7_000 - 1_200);
});
