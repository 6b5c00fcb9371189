import { expect, test } from "vitest";
import { createGuesses } from "./admission.ts";

test("wrong keys cost more each time, up to a limit, and are forgotten after a minute", () => {
  const guesses = createGuesses();
  const delays: number[] = [];
  for (let i = 0; i < 8; i++) {
    delays.push(guesses.delayMs("a", i * 1000));
    guesses.failed("a", i * 1000);
  }
  expect(delays).toEqual([0, 250, 500, 1000, 2000, 4000, 5000, 5000]);
  expect(guesses.delayMs("b", 8_000)).toBe(0);
  expect(guesses.delayMs("a", 7_000 + 60_000)).toBe(0);
});

test("a flood of addresses does not grow the table", () => {
  const guesses = createGuesses();
  for (let i = 0; i < 10_000; i++) guesses.failed(`10.0.${i >> 8}.${i & 255}`, i);
  expect(guesses.delayMs("10.0.0.1", 10_000)).toBe(0);
  expect(guesses.delayMs("10.0.39.15", 10_000)).toBe(250);
});
