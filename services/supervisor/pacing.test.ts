import { expect, test } from "vitest";
import { paceAfter } from "./pacing.ts";

const slowest = () => 1;
const every = (count: number, ms: number) => Array.from({ length: count }, (_, index) => index * ms);

test.for([
  { name: "the first end", exits: [0], delayMs: 200, loop: false },
  { name: "the third in a row", exits: every(3, 1_000), delayMs: 800, loop: false },
  { name: "the fifth within thirty seconds", exits: every(5, 1_000), delayMs: 3_200, loop: true },
  { name: "the tenth within thirty seconds", exits: every(10, 1_000), delayMs: 5_000, loop: true },
  { name: "once a minute", exits: every(20, 60_000), delayMs: 200, loop: false },
  { name: "a long run after a loop", exits: [...every(8, 1_000), 100_000], delayMs: 200, loop: false },
])("$name: again in at most $delayMs ms", ({ exits, delayMs, loop }) => {
  expect(paceAfter(exits, slowest)).toEqual({ delayMs, loop });
});

test("the delay is spread, so that roles which fell together do not rise together", () => {
  expect(paceAfter([0], () => 0).delayMs).toBe(100);
});
