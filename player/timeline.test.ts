import { expect, test } from "vitest";
import { behind, label, parseTime, spoken, stepFrom, type Timeline } from "./timeline.ts";

const live: Timeline = { start: 100, end: 4000, live: true };
const recorded: Timeline = { start: 0, end: 3720, live: false };

test.for<{ timeline: Timeline; at: number; seconds: number; shown: string; said: string }>([
  { timeline: live, at: 4000, seconds: 0, shown: "", said: "live" },
  { timeline: live, at: 3998, seconds: 0, shown: "", said: "live" },
  { timeline: live, at: 4002, seconds: 0, shown: "", said: "live" },
  { timeline: live, at: 3935, seconds: 65, shown: "−1:05", said: "1 minute 5 seconds behind live" },
  { timeline: live, at: 100, seconds: 3900, shown: "−1:05:00", said: "1 hour 5 minutes behind live" },
  {
    timeline: recorded,
    at: 0,
    seconds: 3720,
    shown: "0:00 / 1:02:00",
    said: "0 seconds of 1 hour 2 minutes",
  },
  {
    timeline: recorded,
    at: 725.9,
    seconds: 2994.1,
    shown: "12:05 / 1:02:00",
    said: "12 minutes 5 seconds of 1 hour 2 minutes",
  },
])("at $at it shows $shown and says $said", ({ timeline, at, seconds, shown, said }) => {
  expect(behind(timeline, at)).toBeCloseTo(seconds);
  expect(label(timeline, at)).toBe(shown);
  expect(spoken(timeline, at)).toBe(said);
});

test.for([
  [200, -5, 195],
  [102, -5, 100],
  [3999, 5, 4000],
  [200, Number.NEGATIVE_INFINITY, 100],
])("a step from %d by %d leads to %d", ([at, by, to]) => {
  expect(stepFrom(live, at!, by!)).toBe(to);
});

test.for<[string, number | undefined]>([
  ["90", 90],
  ["90s", 90],
  ["1h12m27s", 4347],
  ["2m", 120],
  ["1.5", 1.5],
  ["", undefined],
  ["-5", undefined],
  ["soon", undefined],
])("the time %j is %d s", ([text, seconds]) => {
  expect(parseTime(text)).toBe(seconds);
});
