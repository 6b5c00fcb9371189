import { expect, test } from "vitest";
import { noSums, stepMs, type Tally } from "../live/tally.ts";
import { analyse } from "./analytics.ts";

const minute = 60_000;
const tally = (minutes: number, more: Partial<Tally> & { peak?: number; views?: number } = {}): Tally => {
  const { peak = 1, views = 1, ...rest } = more;
  return {
    ...{ video: "v", uid: "i", at: 0, source: "origin-a/1.1", revision: 1 },
    sums: { ...noSums(), watchedMs: { hls: minutes * minute, dash: 0, moq: 0 }, peak, views },
    ...rest,
  };
};

test("two origins have their viewers at once, two runs of one had them one after the other", () => {
  const { totals } = analyse(
    [
      tally(10, { peak: 4 }),
      tally(2, { peak: 3, source: "origin-a/2.1" }),
      tally(5, { peak: 2, source: "origin-b/7.1" }),
      tally(50, { peak: 5, at: stepMs }),
    ],
    stepMs,
  );
  expect(totals).toEqual({
    ...{ watchMinutes: 67, views: 4, peakViewers: 6, quality: null },
    watchMinutesBy: { hls: 67, dash: 0, moq: 0 },
  });
});

test("steps are as long as asked for; those in which nobody watched are none", () => {
  const tallies = [tally(1), tally(2, { at: stepMs, peak: 3 }), tally(4, { at: 12 * stepMs })];
  const of = (ms: number) =>
    analyse(tallies, ms).points.map(({ at, watchMinutes, peakViewers }) => [at, watchMinutes, peakViewers]);
  expect(of(stepMs)).toEqual([
    [0, 1, 1],
    [stepMs, 2, 3],
    [12 * stepMs, 4, 1],
  ]);
  expect(of(12 * stepMs)).toEqual([
    [0, 3, 3],
    [12 * stepMs, 4, 1],
  ]);
});

test("by video and by live input, the most watched first", () => {
  const { videos, inputs } = analyse(
    [tally(1), tally(9, { video: "w" }), tally(5, { video: "x", uid: "j" }), tally(1, { at: stepMs })],
    stepMs,
  );
  expect(videos.map(({ uid, watchMinutes }) => [uid, watchMinutes])).toEqual([
    ["w", 9],
    ["x", 5],
    ["v", 2],
  ]);
  expect(inputs.map(({ uid, watchMinutes }) => [uid, watchMinutes])).toEqual([
    ["i", 11],
    ["j", 5],
  ]);
});

test("what players measured is a mean over all that they said", () => {
  const one = tally(1);
  const two = tally(1, { source: "origin-b/1.1" });
  Object.assign(one.sums, { reportedMs: minute, stalls: 2, stalledMs: 1_500 });
  one.sums.means.latencySeconds = { sum: 6, count: 3 };
  two.sums.means.latencySeconds = { sum: 4, count: 1 };
  expect(analyse([one, two], stepMs).totals.quality).toEqual({
    ...{ watchMinutes: 1, stalls: 2, stalledSeconds: 1.5, errors: 0, latencySeconds: 2.5 },
    ...{
      startupSeconds: null,
      throughputKbps: null,
      bitrateKbps: null,
      bufferSeconds: null,
      playbackRate: null,
    },
  });
});

test("nothing is nothing", () => {
  expect(analyse([], stepMs)).toMatchObject({
    totals: { watchMinutes: 0, quality: null },
    points: [],
    videos: [],
  });
});
