import { expect, test } from "vitest";
import { cut, rangeOf } from "./range.ts";

test.for([
  [undefined, "all"],
  ["bytes=0-99", { from: 0, to: 99 }],
  ["bytes=0-0", { from: 0, to: 0 }],
  ["bytes=90-200", { from: 90, to: 99 }],
  ["bytes=90-", { from: 90, to: 99 }],
  ["bytes=-10", { from: 90, to: 99 }],
  ["bytes=-200", { from: 0, to: 99 }],
  ["bytes=100-", "none"],
  ["bytes=100-200", "none"],
  ["bytes=-0", "none"],
  ["bytes=5-4", "all"],
  ["bytes=-", "all"],
  ["bytes=0-1,3-4", "all"],
  ["items=0-1", "all"],
  ["bytes=0-9999999999999999", "all"],
] as const)("%s of 100 bytes is %s", ([header, range]) => expect(rangeOf(header, 100)).toEqual(range));

test.for([
  [0, 5, [0, 1, 2, 3, 4, 5]],
  [1, 3, [1, 2, 3]],
  [2, 2, [2]],
  [3, 5, [3, 4, 5]],
] as const)("bytes %d to %d of several pieces", ([from, to, bytes]) => {
  const body = [Uint8Array.of(0, 1), Uint8Array.of(2), Uint8Array.of(3, 4, 5)];
  expect(cut(body, { from, to }).flatMap((piece) => [...piece])).toEqual(bytes);
});
