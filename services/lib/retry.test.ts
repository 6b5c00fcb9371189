import { expect, test } from "vitest";
import { backoffMs, pause } from "./retry.ts";

test.for([
  { attempt: 0, random: 0, ms: 50 },
  { attempt: 0, random: 1, ms: 100 },
  { attempt: 3, random: 1, ms: 800 },
  { attempt: 5, random: 1, ms: 2_000 },
  { attempt: 1e9, random: 0.5, ms: 1_500 },
])("attempt $attempt waits $ms ms", (c) =>
  expect(backoffMs(c.attempt, 100, 2_000, () => c.random)).toBe(c.ms),
);

test("a pause ends with its signal", async () => {
  const stop = new AbortController();
  const paused = pause(60_000, stop.signal);
  stop.abort();
  await paused;
  await pause(60_000, stop.signal);
});
