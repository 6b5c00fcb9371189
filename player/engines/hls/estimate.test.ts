import { expect, test } from "vitest";
import { Estimate, rescue, type Trouble } from "./estimate.ts";

/** Half-second parts at `kbps` over a line of `lineKbps`. */
function parts(estimate: Estimate, count: number, kbps: number, lineKbps: number): void {
  for (let i = 0; i < count; i++) estimate.sample((kbps * 500) / lineKbps, (kbps * 500) / 8);
}
const mbps = (estimate: Estimate) => estimate.getEstimate() / 1e6;

test("before the first part it is what was given", () => {
  const estimate = new Estimate(3e6);
  expect(estimate.canEstimate()).toBe(false);
  expect(mbps(estimate)).toBeCloseTo(3);
});

test("a steady line is known for what it is", () => {
  const estimate = new Estimate(3e6);
  parts(estimate, 60, 1500, 10_000);
  expect(mbps(estimate)).toBeCloseTo(10, 0);
});

test("a fast line that becomes slow is known after two parts of half a second", () => {
  const estimate = new Estimate(3e6);
  parts(estimate, 60, 1500, 100_000);
  parts(estimate, 2, 1500, 700);
  expect(mbps(estimate)).toBeLessThan(1.5);
});

test("a slow line that becomes fast is trusted again within ten seconds, though its parts come in no time", () => {
  const estimate = new Estimate(3e6);
  parts(estimate, 60, 400, 700);
  parts(estimate, 4, 400, 100_000);
  expect(mbps(estimate)).toBeLessThan(1.5);
  parts(estimate, 16, 400, 100_000);
  expect(mbps(estimate)).toBeGreaterThan(4);
});

test("an empty transfer says nothing", () => {
  const estimate = new Estimate(3e6);
  estimate.sample(1000, 0);
  expect(estimate.canEstimate()).toBe(false);
});

const ladder = [300_000, 650_000, 1_300_000, 2_600_000];
const slow = { levels: ladder, from: 3, length: 2 };

test.for<{ name: string; trouble: Omit<Trouble, keyof typeof slow>; level: number; now: boolean }>([
  {
    name: "a segment that does not play yet is replaced from its beginning",
    trouble: { bitsPerSecond: 2e6, toStart: 1, into: 0.5, left: 0.6, ahead: 1 },
    level: 2,
    now: true,
  },
  {
    name: "the better of two levels would come too late",
    trouble: { bitsPerSecond: 1e6, toStart: 0.4, into: 1, left: 1, ahead: 0.9 },
    level: 0,
    now: true,
  },
  {
    name: "a segment that plays is brought to its end when that can be done in time",
    trouble: { bitsPerSecond: 2e6, toStart: -0.4, into: 2, left: 0.6, ahead: 1 },
    level: 2,
    now: false,
  },
  {
    name: "and left when its rest takes longer than a new beginning",
    trouble: { bitsPerSecond: 0.7e6, toStart: -0.4, into: 1, left: 1.5, ahead: 0.2 },
    level: 0,
    now: true,
  },
  {
    name: "a line that carries nothing gets the least",
    trouble: { bitsPerSecond: 0.1e6, toStart: -0.4, into: 2, left: 1, ahead: 2 },
    level: 0,
    now: false,
  },
])("$name", ({ trouble, level, now }) => {
  expect(rescue({ ...slow, ...trouble })).toEqual({ level, now });
});
