import { describe, expect, test } from "vitest";
import { Pace, pastHole, Standstill } from "./pace.ts";

/** One that began live at second 10, at millisecond 0. */
function live() {
  const pace = new Pace();
  pace.start({ begin: 9, edge: 10.22, at: undefined, isLast: false }, 0);
  return pace;
}

describe("where playback begins", () => {
  test.for([
    { name: "a little behind the newest", begin: 5, edge: 6, at: undefined, to: 5.78 },
    { name: "with all of it where that is less", begin: 5.85, edge: 6, at: undefined, to: 5.85 },
    { name: "where another engine was", begin: 2, edge: 6, at: 3.5, to: 3.5 },
    { name: "with the oldest of it where that engine was before that", begin: 4, edge: 6, at: 3.5, to: 4 },
    { name: "not where it was long ago", begin: 1, edge: 6, at: 1.5, to: 5.78 },
  ])("$name", ({ begin, edge, at, to }) => {
    const pace = new Pace();
    expect(pace.start({ begin, edge, at, isLast: false }, 0)).toBeCloseTo(to, 9);
    expect(pace.started).toBe(true);
  });

  test("not while there is hardly anything, unless nothing follows", () => {
    const pace = new Pace();
    const little = { begin: 5, edge: 5.05, at: undefined };
    expect(pace.start({ ...little, isLast: false }, 0)).toBeUndefined();
    expect(pace.started).toBe(false);
    expect(pace.start({ ...little, isLast: true }, 0)).toBe(5);
  });
});

describe("how it goes on", () => {
  test.for([
    { name: "at its own pace at the distance that is aimed at", late: 0, does: { rate: 1 } },
    { name: "as it did a little behind that", late: 0.04, does: {} },
    { name: "faster further behind", late: 0.2, does: { rate: 1.05 } },
    { name: "faster still", late: 0.9, does: { rate: 1.1 } },
    { name: "slower before it", late: -0.2, does: { rate: 0.97 } },
  ])("$name", ({ late, does }) => {
    expect(live().keep({ at: 20, begin: 10, edge: 20.22 + late }, 60_000)).toEqual(does);
  });

  test("from the newest on when it is too far behind, which is less in the first moments", () => {
    const far = { at: 20, begin: 10, edge: 22 };
    expect(live().keep(far, 60_000).to).toBeCloseTo(21.78, 9);
    const near = { at: 20, begin: 10, edge: 20.8 };
    expect(live().keep(near, 1_000).to).toBeCloseTo(20.58, 9);
    expect(live().keep(near, 60_000).to).toBeUndefined();
  });

  test("never into a hole", () => {
    expect(live().keep({ at: 10, begin: 21.9, edge: 22 }, 60_000).to).toBe(21.9);
  });

  test("stalls make the distance larger, up to an end, and long times without one smaller, down to what it was", () => {
    const pace = live();
    const first = pace.target;
    pace.stalled();
    expect(pace.target).toBeGreaterThan(first);
    for (let i = 0; i < 50; i++) pace.stalled();
    expect(pace.target).toBe(1.5);
    for (let i = 0; i < 50; i++) pace.steady();
    expect(pace.target).toBe(first);
  });

  test("who comes from another engine is brought up by rate, and jumps again once he is there", () => {
    const pace = new Pace();
    pace.start({ begin: 5, edge: 10, at: 7, isLast: false }, 0);
    expect(pace.keep({ at: 7, begin: 5, edge: 10 }, 100)).toEqual({ rate: 1.1 });
    expect(pace.keep({ at: 12, begin: 5, edge: 12.3 }, 30_000)).toEqual({ rate: 1.05 });
    expect(pace.keep({ at: 12, begin: 5, edge: 15 }, 31_000).to).toBeCloseTo(14.78, 9);
  });
});

const stretches = (...all: readonly (readonly [number, number])[]) => ({
  length: all.length,
  start: (index: number) => all[index]![0],
  end: (index: number) => all[index]![1],
});

describe("past a hole", () => {
  test.for([
    { name: "nothing is done where there is media", at: 2, to: undefined },
    { name: "the next stretch is taken from between two", at: 5, to: 6.001 },
    { name: "the next one is taken at the very end of one", at: 3.97, to: 6.001 },
    { name: "the first one is taken from before all", at: 0, to: 1.001 },
    { name: "nothing is done after all", at: 9, to: undefined },
  ])("$name", ({ at, to }) => {
    expect(pastHole(stretches([1, 4], [6, 8]), at)).toBe(to);
  });

  test("what is left of a stretch may be too little to wait in", () => {
    const buffered = stretches([1, 4], [6, 8]);
    expect(pastHole(buffered, 3.8, 0.5)).toBe(6.001);
    expect(pastHole(buffered, 3.4, 0.5)).toBeUndefined();
    expect(pastHole(buffered, 7.8, 0.5)).toBeUndefined();
  });

  test("nothing is done where nothing is buffered", () => {
    expect(pastHole(stretches(), 3)).toBeUndefined();
  });
});

test("standing still is counted by looks, not while it may, and a page that slept did not stand still", () => {
  const still = new Standstill();
  expect(still.look(1, false, 1_000)).toBe(0);
  expect(still.look(1, false, 1_050)).toBe(50);
  expect(still.look(1, false, 1_100)).toBe(100);
  expect(still.look(1, false, 3_600_000)).toBe(600);
  expect(still.look(1, true, 3_600_050)).toBe(0);
  expect(still.look(1, false, 3_600_100)).toBe(50);
  expect(still.look(1.01, false, 3_600_150)).toBe(0);
});
