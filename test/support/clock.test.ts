import { expect, test } from "vitest";
import { clockColumns, clockRows, drawClock, readClock } from "./clock.ts";

function levels(frame: Uint8Array, width: number, height: number): number[] {
  return Array.from({ length: clockColumns * clockRows }, (_, i) => {
    const x = ((i % clockColumns) + 0.5) * (width / clockColumns);
    const y = (Math.floor(i / clockColumns) + 0.5) * (height / clockRows);
    return frame[Math.floor(y) * width + Math.floor(x)]!;
  });
}

test.for([0, 1, 1000, 123_456, 2 ** 31, 2 ** 32 - 1])("the picture of %i ms is read back", (ms) => {
  const frame = new Uint8Array((640 * 360 * 3) / 2);
  drawClock(frame, 640, 360, ms);
  expect(readClock(levels(frame, 640, 360))).toBe(ms);
});

test.for([0, 16, 128, 255])("a picture of one grey (%i) is not a clock", (grey) => {
  expect(readClock(new Array(40).fill(grey))).toBeUndefined();
});
