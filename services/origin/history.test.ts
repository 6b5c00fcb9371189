import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "../lib/log.ts";
import { History, type Point } from "./history.ts";

const log = createLog("test", "silent", false);
const input = "ab".repeat(16);
const all = { since: 0, until: Number.POSITIVE_INFINITY };
/** A whole minute, not long ago. */
const start = Math.floor((Date.now() - 3_600_000) / 60_000) * 60_000;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "health-"));
});
afterEach(() => rm(folder, { recursive: true }));

const point = (at: number, more: Partial<Point> = {}): Point => ({
  ...{ at, kbps: 3_000, fps: 30, gopSeconds: 2, droppedFrames: 0, uploadRatio: 1, lagSeconds: 0.03 },
  ...{ viewers: 2, connected: true, ...more },
});

/** One point a second from `from` on; hands the loop back so that each file write can begin. */
async function air(history: History, seconds: number, { from = start, of = (_: number) => ({}) } = {}) {
  for (let i = 0; i < seconds; i++) {
    history.add(input, point(from + i * 1000 + 500, of(i)));
    if (i % 10 === 9) await history.read(input, { step: 10, ...all });
  }
}

test("seconds are there for ten minutes, whoever follows gets what is new", async () => {
  const history = await History.open(folder, log);
  await air(history, 700);
  const kept = await history.read(input, { step: 1, ...all });
  expect(kept).toHaveLength(600);
  const last = kept.at(-1)!.at;
  history.add(input, point(last + 1000, { kbps: 1 }));
  expect(await history.read(input, { step: 1, since: last, until: all.until })).toEqual([
    point(last + 1000, { kbps: 1 }),
  ]);
  await history.close();
});

test("ten seconds are one point, and survive the process", async () => {
  const first = await History.open(folder, log);
  await air(first, 30, {
    of: (i) => ({
      ...(i >= 10 &&
        i < 20 && { kbps: 1_000, uploadRatio: 0.5, droppedFrames: 3, lagSeconds: i / 2, viewers: i }),
      ...(i === 25 && { connected: false }),
    }),
  });
  await first.close();
  const second = await History.open(folder, log);
  expect(await second.read(input, { step: 10, ...all })).toEqual([
    point(start + 9_500),
    point(start + 19_500, { kbps: 1_000, uploadRatio: 0.5, droppedFrames: 30, lagSeconds: 9.5, viewers: 19 }),
    point(start + 29_500, { connected: false }),
  ]);
  expect(await second.read(input, { step: 10, since: start + 9_500, until: start + 19_500 })).toHaveLength(1);
  expect(await second.read(input, { step: 60, ...all })).toEqual([
    point(start + 29_500, {
      ...{
        kbps: 2_333,
        uploadRatio: 0.83,
        droppedFrames: 30,
        lagSeconds: 9.5,
        viewers: 19,
        connected: false,
      },
    }),
  ]);
  await second.close();
});

test("a file is as large after a day as after an hour, and a slot of the day before is no point", async () => {
  const history = await History.open(folder, log);
  await air(history, 10, { from: start - 86_400_000 - 10_000 });
  await air(history, 10, { from: start - 80_000_000 });
  await air(history, 20);
  await history.read(input, { step: 10, ...all });
  const kept = await history.read(input, { step: 10, ...all });
  expect(kept.map(({ at }) => at)).toEqual([start - 80_000_000 + 9_500, start + 9_500]);
  await history.close();
  expect((await stat(join(folder, `${input}.ring`))).size).toBeLessThanOrEqual(8_640 * 48);
});

test("of an input that is gone nothing stays", async () => {
  const history = await History.open(folder, log);
  await air(history, 20);
  await history.keepOnly(() => true);
  expect(await readdir(folder)).toHaveLength(1);
  await history.keepOnly(() => false);
  expect(await readdir(folder)).toEqual([]);
  expect(await history.read(input, { step: 10, ...all })).toEqual([]);
  await history.close();
});

test("seconds of an input that went off air are put away when they are old", async () => {
  const history = await History.open(folder, log);
  await air(history, 15);
  history.tidy(start + 30_000);
  expect(await history.read(input, { step: 10, ...all })).toHaveLength(2);
  history.tidy(start + 700_000);
  expect(await history.read(input, { step: 1, ...all })).toEqual([]);
  await history.close();
});
