import { expect, test } from "vitest";
import { print, spread } from "./report.ts";

test("a spread is made of order statistics", () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect(spread(values)).toEqual({ count: 100, min: 1, p50: 51, p95: 96, p99: 100, max: 100 });
});

test("a benchmark without samples fails", () => expect(() => spread([])).toThrow("nothing was measured"));

test("a report is a table", () => {
  const text = print({
    name: "x",
    load: "10 s",
    lines: [
      ["a", "1 ms", "<= 2 ms"],
      ["bcd", "3"],
    ],
    figures: {},
  });
  expect(text).toBe("x: 10 s\n  a    1 ms   (target <= 2 ms)\n  bcd  3");
});
