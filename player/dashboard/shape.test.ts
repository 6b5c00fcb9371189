import { expect, test } from "vitest";
import { nearest, niceTop, shapeOf } from "./shape.ts";

const frame = { fromMs: 0, toMs: 10_000, width: 100, height: 50, holeMs: 2_500, least: 1 };
const samples = (...pairs: readonly (readonly [at: number, value: number])[]) =>
  pairs.map(([at, value]) => ({ at, value }));

test("zero is at the bottom, the next round figure at the top", () => {
  expect(shapeOf(samples([0, 0], [2_000, 50], [4_000, 100]), frame)).toEqual({
    top: 100,
    line: "M0 50L20 25L40 0",
    area: "M0 50L20 25L40 0L40 50L0 50Z",
  });
});

test("a hole stays a hole, and one sample alone is a dot", () => {
  const { line } = shapeOf(samples([0, 1], [1_000, 1], [9_000, 1]), frame);
  expect(line).toBe("M0 0L10 0M90 0L90 0");
});

test("the line comes in from before the frame, and nothing older is drawn or counted", () => {
  const { line, top } = shapeOf(samples([-9_000, 900], [-1_000, 1], [1_000, 2]), frame);
  expect(line).toBe("M-10 25L10 0");
  expect(top).toBe(2);
});

test("without samples there is a frame and no line", () => {
  expect(shapeOf([], frame)).toEqual({ line: "", area: "", top: 1 });
});

test.for([
  { value: 0, top: 1 },
  { value: 0.26, top: 0.3 },
  { value: 31, top: 40 },
  { value: 2_400, top: 2_500 },
  { value: 8_001, top: 10_000 },
])("$value fits below $top", ({ value, top }) => expect(niceTop(value)).toBeCloseTo(top));

test("under the pointer is the nearest sample", () => {
  const all = samples([0, 1], [1_000, 2], [2_000, 3]);
  expect(nearest(all, 1_400)?.value).toBe(2);
  expect(nearest(all, 99_000)?.value).toBe(3);
  expect(nearest([], 0)).toBeUndefined();
});
