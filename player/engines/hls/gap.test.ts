import { expect, test } from "vitest";
import { behindGap, gapAt, type Stretch } from "./gap.ts";

/** "2 2 -1 -1 0.5": lengths one after another, gaps with a minus. */
function listed(text: string): Stretch[] {
  let start = 0;
  return text.split(" ").map((length) => {
    const end = start + Math.abs(Number(length));
    const stretch = { start, end, gap: length.startsWith("-") };
    start = end;
    return stretch;
  });
}

test.for<[string, number, boolean]>([
  ["2 2 2", 6, false],
  ["2 2 -0.5", 4, true],
  ["2 2 -0.5", 3.98, true],
  ["2 2 -0.5", 4.03, true],
  ["2 2 -0.5 -0.5 1", 2, false],
  ["2 -1 2 2", 5, false],
])("in %s the buffer that ends at %f s stands before a gap: %s", ([text, dry, is]) => {
  expect(gapAt(listed(text), dry)).toBe(is);
});

test.for<{ name: string; text: string; dry: number; to: number | undefined }>([
  { name: "nothing behind the gap", text: "2 2 -0.5 -0.5", dry: 4, to: undefined },
  { name: "one part behind it", text: "2 2 -0.5 -0.5 0.5", dry: 4, to: 5 },
  { name: "a short part behind it", text: "2 2 -0.5 -0.5 0.2", dry: 4, to: 5 },
  { name: "several parts", text: "2 2 -1.5 0.5 0.5", dry: 3.97, to: 5.5 },
  { name: "no gap", text: "2 2 0.5", dry: 4, to: undefined },
  { name: "a gap that lies behind the playhead", text: "2 -1 2 2", dry: 7, to: undefined },
  { name: "a second gap behind the new media", text: "2 -1 0.5 -1 0.5", dry: 2, to: 3 },
])("$name -> $to", ({ text, dry, to }) => {
  expect(behindGap(listed(text), dry)).toBe(to);
});
