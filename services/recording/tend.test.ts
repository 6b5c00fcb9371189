import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { randomOf } from "../../test/support/random.ts";
import { publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { FoundRecording } from "../live/recordings.ts";
import { profiles } from "../packager/profiles.ts";
import { planMovie } from "./movie.ts";
import { rebuildJournal } from "./rebuild.ts";
import { Recorder } from "./recorder.ts";
import { readRecording } from "./recovery.ts";
import { mendedIn, repair, verify } from "./tend.ts";

const video = "fedcba9876543210fedcba9876543210";
const about = { video, input: "0".repeat(32), targetDuration: 4, temporary: false };
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tend-"));
  const log = createLog("test", "silent", false);
  const maxFileBytes = 24_000;
  const recorder = await Recorder.open({ folder, durability: "none", floorBytes: 0, log, maxFileBytes });
  const broadcast = new Broadcast({
    ...{ ...about, tape: recorder.begin(about), changed: () => undefined },
    profile: profiles.low,
  });
  broadcast.begin(0, 0);
  for (const { atMs, tag } of publish({ gop: 1, seconds: 12, audio: 48_000 })) broadcast.push(tag, atMs);
  await broadcast.end(12_000);
  await expect.poll(() => verify(folder, video).state, { timeout: 10_000 }).toBe("whole");
  await recorder.close();
});
afterEach(() => rmSync(folder, { recursive: true }));

const change = (name: string, how: (bytes: Buffer) => Uint8Array): void =>
  writeFileSync(join(folder, video, name), how(readFileSync(join(folder, video, name))));

test.for([
  { name: "a journal that lost its end", file: "journal", how: (b: Buffer) => b.subarray(0, -60) },
  { name: "media that lost their end", file: "source-0.mp4", how: (b: Buffer) => b.subarray(0, -60) },
  {
    name: "media with more than the journal knows",
    file: "audio-0.mp4",
    how: (b: Buffer) => Buffer.concat([b, b]),
  },
  {
    name: "a byte of media that changed",
    file: "source-0.mp4",
    how: (b: Buffer) => Buffer.concat([b.subarray(0, 9_000), Buffer.of(b[9_000]! ^ 1), b.subarray(9_001)]),
  },
])("$name is found, and what is left is whole after a repair", ({ file, how }) => {
  change(file, how);
  expect(verify(folder, video)).toMatchObject({ state: "broken" });
  expect(repair(folder, video)).toMatchObject({ state: "mended" });
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
});

const flip = (at: number) => (bytes: Buffer) => {
  bytes[at]! ^= 1;
  return bytes;
};
const reelsNow = () => readRecording(join(folder, video), { all: true })!.contents.reels;

test.for([
  { name: "a byte that changed", how: flip(9_000) },
  {
    name: "a file that lost its end, with another behind it",
    how: (bytes: Buffer) => bytes.subarray(0, -60),
  },
])("$name in the middle of a recording is a gap: all before and behind it stays", ({ how }) => {
  const before = reelsNow();
  expect(before[0]!.file).toBeGreaterThan(0);
  change("source-0.mp4", how);
  expect(repair(folder, video)).toMatchObject({ state: "mended", message: /1 damaged parts are gaps now/ });
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
  const after = reelsNow();
  expect(after[1]!.rows).toEqual(before[1]!.rows);
  const gaps = after[0]!.rows.filter(({ gap }) => gap);
  expect(gaps.length).toBe(1);
  expect(after[0]!.rows.filter(({ gap }) => !gap)).toEqual(
    before[0]!.rows.filter(({ number }) => number !== gaps[0]!.number),
  );
  expect(after[0]!.rows.length).toBe(before[0]!.rows.length);
});

test("what a repair has changed is told once: now, or when its origin starts", async () => {
  change("source-0.mp4", flip(9_000));
  expect(mendedIn(folder)).toEqual([]);
  repair(folder, video);
  expect(mendedIn(folder)).toEqual([video]);
  const { contents } = readRecording(join(folder, video), { all: true })!;
  const told: FoundRecording[] = [];
  const log = createLog("test", "silent", false);
  const mended = (one: FoundRecording) => told.push(one);
  for (let starts = 0; starts < 2; starts++) {
    const recorder = await Recorder.open({ folder, durability: "none", floorBytes: 0, log, mended });
    expect(recorder.unfinished()).toEqual([]);
    await recorder.close();
  }
  const { seconds, bytes } = contents;
  const { number } = contents.reels[0]!.rows.find(({ gap }) => gap)!;
  expect(told).toMatchObject([{ uid: video, input: about.input, seconds, bytes }]);
  const gaps = told[0]!.gaps.filter(({ rendition }) => rendition === "source");
  expect(gaps).toMatchObject([{ from: number, to: number }]);
});

test("who watches a recording while it is repaired is shown what it is then", async () => {
  const log = createLog("test", "silent", false);
  const recorder = await Recorder.open({ folder, durability: "none", floorBytes: 0, log });
  try {
    const gaps = async () => {
      const { segments } = (await recorder.find(video))!.renditions.get("source")!.shown;
      return segments.filter(({ gap }) => gap).length;
    };
    const etag = async () => (await recorder.movie(video))!.etag;
    expect(await gaps()).toBe(0);
    const before = await etag();
    change("source-0.mp4", flip(9_000));
    repair(folder, video);
    await expect.poll(gaps, { timeout: 5_000 }).toBe(1);
    expect(await etag()).not.toBe(before);
  } finally {
    await recorder.close();
  }
});

test("pictures that need one that is damaged are in no file that is made of a recording", () => {
  const movie = () => {
    const plan = planMovie(readFileSync(join(folder, video, "journal")))!;
    return Array.from(plan.offset, (offset, i) => ({
      file: `${plan.names[plan.name[i]!]}-${plan.file[i]}`,
      from: offset,
      to: offset + plan.bytes[i]!,
    }));
  };
  const whole = movie();
  change("source-0.mp4", flip(9_000));
  repair(folder, video);
  const gap = reelsNow()[0]!.rows.find((row) => row.gap)!;
  const inGap = (all: ReturnType<typeof movie>) =>
    all.filter(
      ({ file, from, to }) => file === "source-0" && from < gap.offset + gap.byteLength && to > gap.offset,
    );
  expect(Math.max(...inGap(whole).map(({ to }) => to))).toBeGreaterThan(9_000);
  expect(Math.max(0, ...inGap(movie()).map(({ to }) => to))).toBeLessThanOrEqual(9_000);
});

test("a head that is damaged costs nothing: it is said, and nothing is cut off", () => {
  change("source-0.mp4", flip(200));
  const media = readFileSync(join(folder, video, "source-0.mp4"));
  expect(repair(folder, video)).toEqual({
    state: "broken",
    message: "the head of source-0.mp4 is damaged; restore it from a backup",
  });
  expect(readFileSync(join(folder, video, "source-0.mp4"))).toEqual(media);
  expect(reelsNow()).toEqual([]);
  change("source-0.mp4", flip(200));
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
});

test("a journal that is damaged in its middle is written anew, and no media are cut off", () => {
  const rows = () =>
    reelsNow().map(({ name, rows: all }) => [
      name,
      all.map(({ number, dts, byteLength }) => [number, dts, byteLength]),
    ]);
  const before = rows().sort();
  const { begin } = readRecording(join(folder, video), { all: true })!.contents;
  change("journal", (bytes) => flip(bytes.length >> 1)(bytes));
  expect(verify(folder, video)).toMatchObject({ state: "broken" });
  expect(repair(folder, video)).toMatchObject({ state: "mended" });
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
  expect(rows().sort()).toEqual(before);
  const { input, startedMs, epochMs } = readRecording(join(folder, video), { all: true })!.contents.begin!;
  expect({ input, startedMs, epochMs }).toEqual({
    ...{ input: begin!.input, startedMs: begin!.startedMs, epochMs: begin!.epochMs },
  });
});

test("what is whole is left as it is, and what has no journal is said to be broken", () => {
  const before = readFileSync(join(folder, video, "journal"));
  expect(repair(folder, video)).toMatchObject({ state: "whole" });
  expect(readFileSync(join(folder, video, "journal"))).toEqual(before);
  change("journal", () => Buffer.from("nothing"));
  for (const tend of [verify, repair]) expect(tend(folder, video)).toMatchObject({ state: "broken" });
});

test("a journal that is lost is written anew from the media: the same segments with the same bytes, and what is torn is cut off", async () => {
  const rows = () =>
    readRecording(join(folder, video), { all: true })!
      .contents.reels.map(({ name, rows: all }) => ({
        name,
        rows: all.map(({ number, dts, duration, file, offset, byteLength, independent, lead }) => ({
          ...{ number, dts, duration, file, offset, byteLength, independent, lead },
        })),
      }))
      .sort((a, b) => a.name.localeCompare(b.name));
  const before = rows();
  rmSync(join(folder, video, "journal"));
  expect(rebuildJournal(join(folder, video), video)).toBe(true);
  expect(rows()).toEqual(before);
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
  rmSync(join(folder, video, "journal"));
  change("source-1.mp4", (bytes) => bytes.subarray(0, -60));
  expect(rebuildJournal(join(folder, video), video)).toBe(true);
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
  const left = rows()[1]!.rows.slice(0, -1);
  expect(left.length).toBeGreaterThan(3);
  expect(left).toEqual(before[1]!.rows.slice(0, left.length));
  rmSync(join(folder, video, "journal"));
  for (const name of readdirSync(join(folder, video)).filter((one) => one.endsWith(".mp4")))
    change(name, () => Buffer.from("nothing that is media"));
  expect(rebuildJournal(join(folder, video), video)).toBe(false);
});

const lostRows = () =>
  reelsNow()
    .toSorted((a, b) => a.name.localeCompare(b.name))
    .flatMap(({ name, rows }) => rows.filter(({ gap }) => gap).map(({ number }) => [name, number]));
const shownRows = () =>
  reelsNow()
    .flatMap(({ name, rows }) =>
      rows
        .filter(({ gap }) => !gap)
        .map(({ number, dts, duration, file, offset, byteLength, independent }) =>
          JSON.stringify([name, number, dts, duration, file, offset, byteLength, independent]),
        ),
    )
    .sort();

/** Byte `at` of the box of this type that is nearest behind byte `from`. */
const inBox = (type: string, at: number, from: number) => (bytes: Buffer) =>
  flip(bytes.indexOf(type, from) - 4 + at)(bytes);

test.for([
  { name: "the length of a chunk", file: "source-0.mp4", how: inBox("moof", 1, 9_000), lost: 1 },
  {
    name: "the time of a chunk, which is later then",
    file: "source-0.mp4",
    how: inBox("tfdt", 14, 9_000),
    lost: 1,
  },
  {
    name: "the time of a chunk, which is earlier then",
    file: "source-1.mp4",
    how: inBox("tfdt", 17, 9_000),
    lost: 1,
  },
  { name: "a page", file: "source-0.mp4", how: (bytes: Buffer) => bytes.fill(0, 8_192, 12_288), lost: 2 },
  { name: "a chunk of sound", file: "audio-0.mp4", how: inBox("moof", 1, 3_000), lost: 1 },
  { name: "the first chunk", file: "source-0.mp4", how: inBox("moof", 1, 0), lost: 1 },
  {
    name: "half of a file",
    file: "source-0.mp4",
    how: (bytes: Buffer) => bytes.fill(7, 4_000, 20_000),
    lost: 6,
  },
])("a journal that is written anew goes on behind damage: $name is a gap of it", ({ file, how, lost }) => {
  const before = shownRows();
  rmSync(join(folder, video, "journal"));
  change(file, how);
  const { length } = readFileSync(join(folder, video, file));
  expect(rebuildJournal(join(folder, video), video)).toBe(true);
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
  expect(readFileSync(join(folder, video, file)).length).toBe(length);
  const after = shownRows();
  expect(before).toEqual(expect.arrayContaining(after));
  expect(before.length - after.length).toBe(lost);
  expect(lostRows().length).toBe(lost);
});

test("whatever is damaged, what is left is whole, and what is not is a gap", () => {
  const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = randomOf(seed);
  const names = readdirSync(join(folder, video)).filter((name) => name.endsWith(".mp4"));
  const media = new Map(names.map((name) => [name, readFileSync(join(folder, video, name))]));
  const before = new Set(shownRows());
  // Of the last frame of any of them.
  const lastBytes = 260;
  for (let round = 0; round < 30; round++) {
    for (const [name, bytes] of media) writeFileSync(join(folder, video, name), bytes);
    rmSync(join(folder, video, "journal"));
    const name = names[Math.floor(random() * names.length)]!;
    const { length } = media.get(name)!;
    const from = 2_000 + Math.floor(random() * (length - 2_000));
    const to = Math.min(length, from + 1 + Math.floor(random() ** 3 * 9_000));
    change(name, (bytes) => bytes.fill(Math.floor(random() * 256), from, to));
    expect(rebuildJournal(join(folder, video), video), `${name} ${from} ${to}`).toBe(true);
    expect(verify(folder, video), `${name} ${from} ${to}`).toMatchObject({ state: "whole" });
    const after = shownRows();
    // What a file ends with is cut off, in mid-segment; the sound beside it has nothing to be cut by.
    const toEnd = to > length - lastBytes;
    const others = after.filter((row) => !before.has(row));
    expect(others.length, `${name} ${from} ${to}: ${others}`).toBeLessThanOrEqual(toEnd ? 2 : 0);
    // Of a second or two for each segment, and as many as the damage is long.
    expect(before.size - after.length, `${name} ${from} ${to}`).toBeLessThanOrEqual(7);
  }
});
