import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Arrival, publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { Tape } from "../live/tape.ts";
import { profiles } from "../packager/profiles.ts";
import { Recorder, type RecorderOptions } from "./recorder.ts";
import { readRecording } from "./recovery.ts";
import { verify } from "./tend.ts";

vi.setConfig({ testTimeout: 30_000 });
const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);
const about = { video, input, targetDuration: 4, temporary: false };

let scratch: string;
let folder: string;
/** While it is there the disk takes nothing. */
let broken: string;
const recorders: Recorder[] = [];
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "scribe-"));
  folder = join(scratch, "recordings");
  broken = join(scratch, "broken");
});
afterEach(async () => {
  await Promise.all(recorders.splice(0).map((recorder) => recorder.close()));
  rmSync(scratch, { recursive: true });
});

async function open(options: Partial<RecorderOptions> = {}): Promise<Recorder> {
  const through = new URL(
    `../../test/support/faulty-files.ts?while=${encodeURIComponent(broken)}`,
    import.meta.url,
  );
  const recorder = await Recorder.open({
    ...{ folder, durability: "segment", floorBytes: 0, log: createLog("test", "silent", false) },
    ...{ patienceMs: 30_000, againMs: 0, through: through.href, ...options },
  });
  recorders.push(recorder);
  return recorder;
}

function on(tape: Tape, dvrSeconds = 0): Broadcast {
  const what = { input, video, tape, changed: () => undefined };
  return new Broadcast({ ...what, profile: profiles.low, dvrSeconds });
}

async function play(broadcast: Broadcast, arrivals: Arrival[], second: number): Promise<void> {
  while (arrivals[0] && arrivals[0].atMs <= second * 1000) {
    const { atMs, tag } = arrivals.shift()!;
    broadcast.push(tag, startMs + atMs);
  }
  await broadcast.shown();
}

/** Files below the scratch folder that this process has open, those that have no name any more too. */
function held(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = readlinkSync(join("/proc/self/fd", fd));
      return path.startsWith(folder) && path.includes(".mp4") ? [path] : [];
    } catch {
      return [];
    }
  });
}

const linux = process.platform === "linux";
test.skipIf(!linux).for([
  { what: "a temporary tape", temporary: true, durability: "segment" },
  { what: "a recording that nobody syncs", temporary: false, durability: "none" },
  { what: "a recording", temporary: false, durability: "segment" },
] as const)("$what holds no file open that another has followed", async ({ temporary, durability }) => {
  const recorder = await open({ durability, maxFileBytes: 20_000 });
  const broadcast = on(recorder.begin({ ...about, temporary }), 20);
  broadcast.begin(startMs, 0);
  const arrivals = publish({ gop: 2, seconds: 120, audio: 48_000 });
  let most = 0;
  for (let second = 10; second <= 120; second += 10) {
    await play(broadcast, arrivals, second);
    // One sync may be under way.
    await vi.waitFor(() => expect(held().length).toBeLessThanOrEqual(4), 5_000);
    most = Math.max(most, readdirSync(join(folder, video)).length);
  }
  expect(most).toBeGreaterThan(8);
});

test.for([
  { name: "in the middle of it", fromSecond: 10 },
  { name: "at its end", fromSecond: 20 },
])(
  "a disk that fails $name and leaves pieces has all that follows once it is back, to the last entry",
  async ({ fromSecond }) => {
    const [failed, resumed, settled] = [vi.fn(), vi.fn(), vi.fn()];
    const recorder = await open({ failed, resumed, settled });
    const broadcast = on(recorder.begin(about));
    broadcast.begin(startMs, 0);
    const arrivals = publish({ gop: 2, seconds: 20, audio: 48_000 });
    await play(broadcast, arrivals, fromSecond - 0.5);
    writeFileSync(broken, "");
    await play(broadcast, arrivals, fromSecond);
    if (fromSecond < 20) {
      rmSync(broken);
      await play(broadcast, arrivals, 20);
    }
    await broadcast.end(startMs + 20_000);
    if (existsSync(broken)) {
      await vi.waitFor(() => expect(failed).toHaveBeenCalled());
      expect(verify(folder, video).state).toBe("broken");
      rmSync(broken);
    }
    await vi.waitFor(() => expect(readdirSync(join(folder, "open"))).toEqual([]), 5_000);
    expect(resumed).toHaveBeenCalled();
    const { contents, torn } = readRecording(join(folder, video), { all: true })!;
    expect(torn).toBeUndefined();
    expect(contents.endedMs).toBe(startMs + 20_000);
    expect(verify(folder, video)).toEqual({ state: "whole", message: "" });
    const last = contents.reel("source")!.rows.at(-1)!;
    if (fromSecond < 20) expect((last.dts + last.duration) / 90_000).toBeGreaterThan(19);
    // What control was told at the end is what is there, or it is told again.
    const told = settled.mock.calls.at(-1)?.[1] ?? recorder.begin;
    if (settled.mock.calls.length > 0)
      expect(told).toMatchObject({ seconds: contents.seconds, bytes: contents.bytes });
  },
);

test("what a killed process had for late readers alone is gone with the next one, also after its broadcast", async () => {
  const recorder = await open();
  const broadcast = on(recorder.begin({ ...about, temporary: true }), 20);
  broadcast.begin(startMs, 0);
  await play(broadcast, publish({ gop: 2, seconds: 20, audio: 48_000 }), 20);
  await broadcast.end(startMs + 20_000);
  await vi.waitFor(() => expect(readRecording(join(folder, video))!.contents.endedMs).toBeDefined());
  await recorder.close();
  expect((await open()).unfinished()).toEqual([]);
  expect(readdirSync(folder)).toEqual(["open"]);
  expect(readdirSync(join(folder, "open"))).toEqual([]);
});

test("a recording whose journal a power cut took keeps its media", async () => {
  const recorder = await open();
  const broadcast = on(recorder.begin(about));
  broadcast.begin(startMs, 0);
  await play(broadcast, publish({ gop: 2, seconds: 20, audio: 48_000 }), 20);
  await recorder.close();
  writeFileSync(join(folder, video, "journal"), new Uint8Array(4_096));
  mkdirSync(join(folder, "0".repeat(32)));
  writeFileSync(join(folder, "open", "0".repeat(32)), "");
  expect((await open()).unfinished()).toEqual([]);
  expect(readdirSync(join(folder, video))).toContain("source-0.mp4");
  // What never had any is no loss.
  expect(readdirSync(folder).sort()).toEqual([video, "open"].sort());
  expect(readdirSync(join(folder, "open"))).toEqual([]);
});
