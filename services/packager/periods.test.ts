import { expect, test } from "vitest";
import { broadcast, type Event, simulate } from "../../test/support/simulate.ts";
import { type Listed, Schedule } from "./periods.ts";
import type { Segment } from "./track.ts";
import type { Window } from "./window.ts";

/** Seconds of broadcast time, number of the first segment, seconds of a segment where all are alike, and where it ends. */
type Shown = readonly (number | undefined)[];

function periodsOf(events: readonly Event[], cadenceSeconds?: number): Shown[] {
  const { schedule } = simulate(events, {
    keepAll: true,
    ...(cadenceSeconds !== undefined && { cadenceSeconds }),
  });
  return schedule!.periods
    .filter((one) => one.shown)
    .map(({ start, number, grid, end }) => {
      const seconds = (ticks: number): number => Math.round(ticks / 900) / 100;
      return [
        seconds(start),
        number,
        grid === undefined ? undefined : seconds(grid),
        ...(end === undefined ? [] : ([seconds(end)] as const)),
      ];
    });
}

const sound = { audio: 48000 } as const;
const source = (gop: number | readonly number[], seconds: number) => ({ gop, seconds, ...sound });

test.for<{ name: string; events: Event[]; cadence?: number; periods: Shown[] }>([
  {
    name: "segments of one length are one Period from the first",
    events: broadcast([{ atMs: 0, source: source(2, 20) }]),
    periods: [[10, 1, 2]],
  },
  {
    name: "what the last broadcast had is assumed at once",
    events: broadcast([{ atMs: 0, source: source(2, 1) }]),
    cadence: 2,
    periods: [[10, 1, 2]],
  },
  {
    name: "what was assumed, told to players and is not so ends in a timeline for good, too",
    events: broadcast([{ atMs: 0, source: source(3, 40) }]),
    cadence: 2,
    periods: [
      [10, 1, 2],
      [13, 2, undefined],
    ],
  },
  {
    name: "the first segment off the grid begins a timeline, and there is no way back",
    events: broadcast([{ atMs: 0, source: source([2, 2, 2, 2.5, 2, 2, 2, 2, 2, 2], 20) }]),
    periods: [
      [10, 1, 2],
      [18.5, 5, undefined],
    ],
  },
  {
    name: "irregular segments are a timeline",
    events: broadcast([{ atMs: 0, source: source([1.2, 2.4, 1.7, 3.1, 2.2], 20) }]),
    periods: [[10, 1, undefined]],
  },
  {
    name: "keyframes further apart than a segment may last are a timeline",
    events: broadcast([{ atMs: 0, source: source(8.3, 20) }]),
    periods: [[10, 1, undefined]],
  },
  {
    name: "an encoder that drops out ends the Period; its return begins another on the same clock",
    events: broadcast([
      { atMs: 0, source: source(2, 20), until: 9_000 },
      { atMs: 12_000, source: source(2, 10) },
    ]),
    periods: [
      [10, 1, 2, 19],
      // So close to the last gap that it goes on there.
      [21.5, 8, 2],
    ],
  },
  {
    name: "timestamps that jump begin another Period without a hole",
    events: broadcast([{ atMs: 0, source: { ...source(2, 20), steps: [{ at: 7.99, addMs: 3_600_000 }] } }]),
    periods: [
      [10, 1, 2],
      [18, 5, 2],
    ],
  },
  {
    name: "sound that comes late begins another Period",
    events: broadcast([{ atMs: 0, source: { ...source(2, 20), audioFrom: 7, promiseAudio: false } }]),
    periods: [
      [10, 1, 2],
      [18, 5, 2],
    ],
  },
  {
    name: "B-frames move a Period to where its first picture is shown",
    events: broadcast([{ atMs: 0, source: { ...source(2, 20), bFrames: 2 } }]),
    periods: [[10.1, 1, 2]],
  },
])("$name", ({ events, cadence, periods }) => {
  const found = periodsOf(events, cadence);
  expect(found.map(([start, ...rest]) => [Math.round(start! * 10) / 10, ...rest])).toEqual(periods);
});

test("the end of a broadcast ends its last Period, and tells the next one what to assume", () => {
  const { schedule } = simulate(broadcast([{ atMs: 0, source: source(2, 9) }], 9_500));
  expect(schedule!.periods).toMatchObject([{ number: 1, until: 6 }]);
  expect(schedule!.periods[0]!.end! / 90_000).toBeCloseTo(19, 1);
  expect(schedule!.cadence).toBe(180_000);
});

test("a Period that left the window is not listed any more", () => {
  const events = broadcast([
    { atMs: 0, source: source(2, 20), until: 9_000 },
    { atMs: 10_000, source: source(2, 40) },
  ]);
  const { schedule } = simulate(events);
  expect(schedule!.periods).toHaveLength(1);
  expect(schedule!.periods[0]!.number).toBeGreaterThan(5);
});

test("a rung joins with the next segment of the reference after it has begun", () => {
  const schedule = new Schedule(90_000, 180_000);
  const named = (count: number, rung: number): string[][] => {
    const reference = listed("source", windowOf(count));
    schedule.follow([reference, listed("360p", windowOf(rung))]);
    return schedule.periods.map(({ number, members }) => [`${number}`, ...members.map(({ name }) => name)]);
  };
  expect(named(1, 0)).toEqual([["1", "source"]]);
  expect(named(2, 1)).toEqual([
    ["1", "source"],
    ["2", "source", "360p"],
  ]);
  expect(named(9, 8)).toEqual([
    ["1", "source"],
    ["2", "source", "360p"],
  ]);
  expect(schedule.periods[1]).toMatchObject({ follows: "continuous", start: 180_000, grid: 180_000 });
});

function listed(name: string, window: Window): Listed {
  return { name, window, version: 0, kind: "video", bits: 1 };
}

/** Segments of two seconds, the last one open. */
function windowOf(count: number): Window {
  const segments = Array.from(
    { length: count },
    (_, i): Segment => ({
      number: i + 1,
      discontinuity: 0,
      version: 0,
      dts: i * 180_000,
      lead: 0,
      duration: 180_000,
      independent: true,
      gap: false,
      parts: [{ duration: 180_000, independent: true, gap: false, chunks: [], bytes: new Uint8Array() }],
      byteLength: 0,
    }),
  );
  const open = segments.pop();
  const constants = { targetDuration: 4, partTarget: 0.5235, deltas: false, epochMs: 0 };
  return {
    ...constants,
    timescale: 90_000,
    discontinuitySequence: 0,
    segments,
    open,
    next: undefined,
    ended: false,
  };
}
