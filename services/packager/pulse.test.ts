import { expect, test } from "vitest";
import { Pulse } from "./pulse.ts";

/** Frames at these times of their own clock, each `lateMs` after the wall clock stood there. */
function pulse(times: readonly number[], lateMs: (at: number) => number = () => 0, ageMs = 0): Pulse {
  const made = new Pulse();
  made.begin(ageMs);
  for (const at of times) made.frame(at, 1_000_000 + at + lateMs(at), false);
  return made;
}

const frames = (count: number, ms = 1000 / 30) => Array.from({ length: count }, (_, i) => Math.round(i * ms));

test("an upload in step with the clock has sent as much as has passed, and leaves nothing out", () => {
  const made = pulse(frames(301));
  expect(made.mediaMs).toBe(10_000);
  expect(made.missing).toBe(0);
  expect(made.begunMs).toBe(1_000_000);
});

test("an upload that takes twice as long as what it sends falls behind by half the time", () => {
  const made = pulse(frames(301), (at) => at);
  // At the last frame 20 s have passed, and 10 s came.
  expect(1_020_000 - made.begunMs! - made.mediaMs).toBe(10_000);
});

test.for([
  { name: "one frame", without: [100] },
  { name: "three frames in a row", without: [100, 101, 102] },
  { name: "every other frame of a second", without: Array.from({ length: 15 }, (_, i) => 100 + 2 * i) },
])("$name that the encoder left out: counted", ({ without }) => {
  expect(pulse(frames(200).filter((_, i) => !without.includes(i))).missing).toBe(without.length);
});

test("another frame rate is no loss for long", () => {
  const half = frames(150, 1000 / 15).map((at) => at + 10_000);
  const { missing } = pulse([...frames(300), ...half]);
  expect(missing).toBeLessThan(70);
  expect(pulse([...frames(300), ...half, ...frames(600, 1000 / 15).map((at) => at + 20_000)]).missing).toBe(
    missing,
  );
});

test("the next publish begins anew, a step of the clock is neither media nor loss", () => {
  const made = pulse(frames(31));
  made.begin(2_000);
  // Two seconds at once, which were sent before this reader came.
  for (const at of frames(61)) made.frame(500_000 + at, 2_000_000, false);
  expect(made.mediaMs).toBe(3_000);
  expect(2_000_000 - made.begunMs! - made.mediaMs).toBe(0);
  made.frame(5, 2_000_033, true);
  expect(made.mediaMs).toBe(3_000);
  expect(2_000_033 - made.begunMs! - made.mediaMs).toBe(0);
  expect(made.missing).toBe(0);
});
