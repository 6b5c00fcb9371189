import { expect, test } from "vitest";
import { overLines } from "../bench/moq-link.ts";

test("a viewer keeps sound and pictures over a line that loses packets, and when his address changes", async () => {
  const { lossy, moved } = await overLines(6);
  expect(lossy.lost).toBeGreaterThan(10);
  for (const { over, whole, longestAudioMs, longestVideoMs } of [lossy, moved]) {
    expect(over).toBe(false);
    expect(whole).toBeGreaterThanOrEqual(1);
    // Figures are for the benchmark; here nothing stands still.
    expect(longestAudioMs).toBeLessThan(2_000);
    expect(longestVideoMs).toBeLessThan(2_500);
  }
});
