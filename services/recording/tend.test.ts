import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import { profiles } from "../packager/profiles.ts";
import { rebuildJournal } from "./rebuild.ts";
import { Recorder } from "./recorder.ts";
import { readRecording } from "./recovery.ts";
import { repair, verify } from "./tend.ts";

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
