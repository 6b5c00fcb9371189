import { expect, test } from "vitest";
import { firstOf } from "./search.ts";

const values = [1, 3, 3, 3, 7, 9];

test.for([
  { at: 0, from: 0, first: 0 },
  { at: 1, from: 0, first: 0 },
  { at: 2, from: 0, first: 1 },
  { at: 3, from: 0, first: 1 },
  { at: 3, from: 2, first: 2 },
  { at: 8, from: 0, first: 5 },
  { at: 10, from: 0, first: 6 },
  { at: 10, from: 6, first: 6 },
])("the first of 1 3 3 3 7 9 from index $from that is not below $at is at $first", ({ at, from, first }) =>
  expect(firstOf(values.length, (i) => values[i]! >= at, from)).toBe(first),
);

test("nothing is asked of an empty list", () => {
  expect(firstOf(0, () => expect.unreachable())).toBe(0);
});
