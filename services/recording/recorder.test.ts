import { cpSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { popOn, withCaptions } from "../../test/support/captions.ts";
import { type Arrival, publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { Readable } from "../live/programme.ts";
import type { Gap } from "../live/recordings.ts";
import type { Restored, Tape } from "../live/tape.ts";
import { profiles } from "../packager/profiles.ts";
import { Recorder, type RecorderOptions } from "./recorder.ts";
import { readRecording } from "./recovery.ts";

// A recording is muxed, written and read back in each of them.
vi.setConfig({ testTimeout: 60_000 });

const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);
const about = { video, input, targetDuration: 4, temporary: false };

let folder: string;
const recorders: Recorder[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "recorder-"));
});
afterEach(async () => {
  await Promise.all(recorders.splice(0).map((recorder) => recorder.close()));
  rmSync(folder, { recursive: true });
});

async function open(options: Partial<RecorderOptions> = {}): Promise<Recorder> {
  const recorder = await Recorder.open({
    ...{ folder, durability: "segment", floorBytes: 0, log: createLog("test", "silent", false) },
    // A busy machine is not what these tests are about.
    ...{ patienceMs: 30_000, ...options },
  });
  recorders.push(recorder);
  return recorder;
}

function broadcastOn(tape: Tape, restored?: Restored, dvrSeconds = 0) {
  const broadcast = new Broadcast({
    ...{ input, video, tape, restored, changed: () => undefined },
    profile: profiles.low,
    dvrSeconds,
  });
  return broadcast;
}

/** Feeds what arrives up to this second, as far as the disk follows. */
async function play(
  broadcast: Broadcast,
  arrivals: Arrival[],
  second: number,
  fromMs = startMs,
): Promise<void> {
  while (arrivals[0] && arrivals[0].atMs <= second * 1000) {
    const { atMs, tag } = arrivals.shift()!;
    broadcast.push(tag, fromMs + atMs);
  }
  await broadcast.shown();
}

/** Every segment and part that this rendition lists, by its name, in hex. */
async function listed(rendition: Readable, from = rendition.shown): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const segment of [...from.segments, ...(from.open ? [from.open] : [])]) {
    const { number, version, parts, gap } = segment;
    if (!gap && segment !== from.open)
      found.set(`${version}/${number}`, hex(await rendition.segment(number, version)));
    for (const [i, part] of parts.entries())
      if (!part.gap) found.set(`${version}/${number}.${i}`, hex(await rendition.part(number, i, version)));
  }
  return found;
}

function hex(pieces: readonly Uint8Array[] | undefined): string {
  return pieces ? Buffer.concat(pieces).toString("hex") : "missing";
}

test("what was served live is what is recorded, byte for byte, and all of it is listed when the broadcast ends", async () => {
  const recorder = await open();
  const broadcast = broadcastOn(recorder.begin(about));
  const arrivals = publish({ gop: 2, seconds: 41, audio: 48_000 });
  broadcast.begin(startMs, 0);
  const seen: Record<string, Map<string, string>> = { source: new Map(), audio: new Map() };
  for (let second = 2; second <= 40; second += 2) {
    await play(broadcast, arrivals, second);
    for (const [name, rendition] of broadcast.renditions)
      for (const [key, bytes] of await listed(rendition)) seen[name]!.set(key, bytes);
  }
  await broadcast.end(startMs + 40_000);
  const live = [...broadcast.renditions.values()].map((rendition) => rendition.shown);
  const later = (await recorder.find(video))!;
  for (const [i, name] of ["source", "audio"].entries()) {
    const rendition = later.renditions.get(name)!;
    expect(rendition.shown.ended).toBe(true);
    expect(rendition.shown.segments.map(({ number }) => number)).toEqual(
      live[i]!.segments.map(({ number }) => number),
    );
    expect(rendition.shown.segments[0]!.number).toBe(1);
    expect(rendition.shown.segments.length).toBeGreaterThanOrEqual(20);
    for (const [key, bytes] of seen[name]!) {
      const [version, number, part] = key.split(/[/.]/).map(Number) as [number, number, number?];
      const again =
        part === undefined ? rendition.segment(number, version) : rendition.part(number, part, version);
      expect(hex(await again), key).toBe(bytes);
      expect(bytes).not.toBe("missing");
    }
    expect(hex([(await rendition.init(0))!.bytes])).toBe(
      hex([broadcast.renditions.get(name)!.init(0)!.bytes]),
    );
  }
  expect((await recorder.summary(video))!.seconds).toBeCloseTo(40, 0);
});

test("a killed process leaves every listed part, and the broadcast goes on behind it with the next numbers", async () => {
  const recorder = await open();
  const broadcast = broadcastOn(recorder.begin(about), undefined, Number.POSITIVE_INFINITY);
  const arrivals = publish({ gop: 2, seconds: 90, audio: 48_000 });
  broadcast.begin(startMs, 0);
  // Longer than what a restart takes into memory.
  await play(broadcast, arrivals, 63.3);
  const before = new Map<string, Map<string, string>>();
  for (const [name, rendition] of broadcast.renditions) before.set(name, await listed(rendition));
  // What a kill leaves: everything that was written, and the journal's last entry torn.
  const copy = mkdtempSync(join(tmpdir(), "recorder-killed-"));
  try {
    cpSync(folder, copy, { recursive: true });
    writeFileSync(join(copy, video, "journal"), Uint8Array.of(0, 0, 0, 9, 1), { flag: "a" });
    writeFileSync(join(copy, video, "source-0.mp4"), "torn", { flag: "a" });
    const next = await open({ folder: copy });
    const [unfinished] = next.unfinished();
    expect(unfinished!.about).toEqual(about);
    const again = broadcastOn(unfinished!.tape, unfinished!.restored, Number.POSITIVE_INFINITY);
    // A DVR begins where it did, of both kinds.
    for (const [name, { past, window }] of again.renditions) {
      const old = broadcast.renditions.get(name)!.past!;
      const rows = (of: typeof old) =>
        Array.from({ length: of.length }, (_, i) => {
          const { number, dts, duration, version, keyBytes, discontinuity } = of.at(i)!;
          return { number, dts, duration, version, keyBytes, discontinuity };
        });
      expect(rows(past!).slice(0, old.length), name).toEqual(rows(old));
      expect(past!.discontinuitySequence).toBe(old.discontinuitySequence);
      expect(past!.at(past!.length - 1)!.number).toBe(window.segments[0]!.number - 1);
      expect(rows(old)[0]).toMatchObject(
        name === "source" ? { keyBytes: expect.any(Number) } : { number: 1 },
      );
    }
    expect(again.schedule!.periods.map(({ id, start, grid }) => ({ id, start, grid }))).toEqual(
      broadcast.schedule!.periods.map(({ id, start, grid }) => ({ id, start, grid })),
    );
    for (const [name, rendition] of again.renditions) {
      const now = await listed(rendition);
      for (const [key, bytes] of before.get(name)!)
        expect(now.get(key) ?? hexOfName(await byName(rendition, key)), `${name} ${key}`).toBe(bytes);
    }
    const newest = again.renditions.get("source")!.window.segments.at(-1)!.number;
    const later = publish({ gop: 2, seconds: 20, audio: 48_000 });
    again.begin(startMs + 66_000, 0);
    await play(again, later, 20, startMs + 66_000);
    const numbers = again.renditions.get("source")!.window.segments.map(({ number }) => number);
    expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i));
    expect(numbers.at(-1)).toBeGreaterThan(newest);
    expect(again.schedule!.periods.map(({ number }) => number)).toEqual([1, expect.any(Number)]);
    await again.end(startMs + 86_000);
    // Nothing of it is forgotten by who watched.
    expect(again.schedule!.periods[0]).toMatchObject({ id: "p1", number: 1 });
    for (const [name, rendition] of again.renditions) {
      const all = rendition.shown.segments;
      expect(all.map(({ number }) => number)).toEqual(all.map((_, i) => i + 1));
      expect(all.at(-1)!.discontinuity, name).toBe(1);
      expect(all.some(({ gap }) => gap)).toBe(true);
      for (const [key, bytes] of before.get(name)!)
        expect(hexOfName(await byName(rendition, key)), `${name} ${key}`).toBe(bytes);
    }
    const whole = readRecording(join(copy, video), { all: true })!;
    expect(whole.torn).toBeUndefined();
  } finally {
    rmSync(copy, { recursive: true });
  }
});

test("words and the channels of captions are in the recording, and come back with a broadcast that goes on", async () => {
  const recorder = await open();
  const broadcast = broadcastOn(recorder.begin(about));
  const bare = publish({ gop: 2, seconds: 20, audio: 48_000 });
  const tags = withCaptions(
    bare.map(({ tag }) => tag),
    popOn("In the picture"),
  );
  const arrivals = bare.map(({ atMs }, i) => ({ atMs, tag: tags[i]! }));
  broadcast.begin(startMs, 0);
  await play(broadcast, arrivals, 4);
  broadcast.write("en").add({ startMs: 15_000, endMs: 16_500, text: "kept" });
  await play(broadcast, arrivals, 12);
  const copy = mkdtempSync(join(tmpdir(), "recorder-killed-"));
  try {
    cpSync(folder, copy, { recursive: true });
    const [unfinished] = (await open({ folder: copy })).unfinished();
    const again = broadcastOn(unfinished!.tape, unfinished!.restored);
    expect(again.subtitles?.language).toBe("en");
    expect(again.subtitles?.between(0, 60_000)).toEqual(broadcast.subtitles?.between(0, 60_000));
    expect(again.renditions.get("source")!.captions).toEqual(["CC1"]);
  } finally {
    rmSync(copy, { recursive: true });
  }
  broadcast.write().show({ text: "the last word", startMs: 21_900, mostMs: 9_000 });
  await play(broadcast, arrivals, 20);
  await broadcast.end(startMs + 20_000);
  const later = (await recorder.find(video))!;
  expect(later.texts.get("text")?.between(0, 60_000)).toEqual(broadcast.subtitles?.between(0, 60_000));
  expect(
    later.texts
      .get("text")
      ?.between(0, 60_000)
      .map(({ text }) => text),
  ).toEqual(["kept", "the last word"]);
  expect(later.reference?.name).toBe("source");
  expect(later.renditions.get("source")!.captions).toEqual(["CC1"]);
});

async function byName(rendition: Readable, key: string) {
  const [version, number, part] = key.split(/[/.]/).map(Number) as [number, number, number?];
  return part === undefined ? rendition.segment(number, version) : rendition.part(number, part, version);
}

function hexOfName(pieces: readonly Uint8Array[] | undefined): string {
  return hex(pieces);
}

test("a recording that is cut at any byte is whole up to its last entry", async () => {
  const recorder = await open();
  const broadcast = broadcastOn(recorder.begin(about));
  broadcast.begin(startMs, 0);
  await play(broadcast, publish({ gop: 1, seconds: 6, audio: 48_000 }), 6);
  await broadcast.end(startMs + 6000);
  const whole = readRecording(join(folder, video), { all: true })!;
  const bytes = await readFile(join(folder, video, "journal"));
  for (let cut = bytes.length - 1; cut > bytes.length - 400; cut -= 7) {
    truncateSync(join(folder, video, "journal"), cut);
    const found = readRecording(join(folder, video), { all: true })!;
    expect(found.journalBytes).toBeLessThanOrEqual(cut);
    expect(found.contents.bytes).toBeLessThanOrEqual(whole.contents.bytes);
  }
  // A media file that lost its end takes the entries with it that speak of it.
  writeFileSync(join(folder, video, "journal"), bytes);
  truncateSync(join(folder, video, "source-0.mp4"), 20_000);
  const found = readRecording(join(folder, video), { all: true })!;
  expect(found.torn).toMatch(/source-0\.mp4 is not whole at byte \d+/);
  expect(found.contents.reel("source")!.fileBytes).toBeLessThanOrEqual(20_000);
});

test("a disk that takes 200 ms a sync holds nothing up", async () => {
  const through = new URL("../../test/support/faulty-files.ts?syncMs=200", import.meta.url).href;
  const recorder = await open({ through, durability: "part" });
  const broadcast = broadcastOn(recorder.begin(about));
  const arrivals = publish({ gop: 2, seconds: 20, audio: 48_000 });
  broadcast.begin(startMs, 0);
  const began = performance.now();
  await play(broadcast, arrivals, 0.7);
  const waits: number[] = [];
  for (let second = 1; second <= 20; second += 0.5) {
    const from = performance.now();
    await play(broadcast, arrivals, second);
    waits.push(performance.now() - from);
  }
  // Eighty parts: one after the other they would take sixteen seconds.
  expect(performance.now() - began).toBeLessThan(8_000);
  expect(waits.toSorted((a, b) => a - b)[waits.length >> 1]).toBeLessThan(100);
});

test("the end of a broadcast lists what a busy disk takes later than a part may be", async () => {
  const slow = join(folder, "slow");
  const through = new URL(`../../test/support/faulty-files.ts?slow=${slow}`, import.meta.url).href;
  const recorder = await open({ through, patienceMs: 50 });
  const tape = recorder.begin(about);
  const broadcast = broadcastOn(tape);
  broadcast.begin(startMs, 0);
  await play(broadcast, publish({ gop: 2, seconds: 9, audio: 48_000 }), 9);
  await vi.waitFor(() => expect(tape.summary.seconds).toBeGreaterThan(7), 10_000);
  const source = broadcast.renditions.get("source")!;
  const last = source.window.open!.number;
  writeFileSync(slow, "");
  await broadcast.end(startMs + 9_000);
  expect(source.shown.ended).toBe(true);
  expect(source.shown.segments.at(-1)!.number).toBe(last);
  expect(hex(await source.segment(last, 0))).not.toBe("missing");
  rmSync(slow);
});

test.for([
  { name: "a full disk", how: "full=60000&times=3", code: "ENOSPC" },
  { name: "a disk that fails to write", how: "full=60000&times=3&code=EIO", code: "EIO" },
  { name: "a disk that fails to sync", how: "syncs=3&times=2&code=EIO", code: "EIO" },
  { name: "a disk that became read-only", how: "full=60000&times=6&code=EROFS&readOnly", code: "EROFS" },
])(
  "$name pauses the recording and live goes on; then it goes on too, and what is missing is a gap that was told",
  async ({ how, code }) => {
    const through = new URL(`../../test/support/faulty-files.ts?${how}`, import.meta.url).href;
    const [failed, resumed] = [vi.fn(), vi.fn()];
    const gaps: Gap[] = [];
    const recorder = await open({ through, failed, resumed, againMs: 0, gap: (_, gap) => gaps.push(gap) });
    const broadcast = broadcastOn(recorder.begin(about));
    const arrivals = publish({ gop: 2, seconds: 40, audio: 48_000 });
    broadcast.begin(startMs, 0);
    for (let second = 2; second <= 40; second += 2) {
      await play(broadcast, arrivals, second);
      // However busy the disk is that is really there.
      if (second === 20) await vi.waitFor(() => expect(failed).toHaveBeenCalled(), 10_000);
      const { segments } = broadcast.renditions.get("source")!.window;
      for (const { number, version } of segments)
        expect(hex(await broadcast.renditions.get("source")!.segment(number, version))).not.toBe("missing");
    }
    expect(failed).toHaveBeenCalledWith(expect.objectContaining({ video }), expect.stringContaining(code));
    expect(resumed).toHaveBeenCalled();
    await broadcast.end(startMs + 40_000);
    const { segments } = broadcast.renditions.get("source")!.shown;
    expect(segments.map(({ number }) => number)).toEqual(segments.map((_, i) => i + 1));
    expect(segments.filter(({ gap }) => gap).length).toBeGreaterThan(0);
    expect(segments.filter(({ gap }) => !gap).length).toBeGreaterThan(10);
    await vi.waitFor(() => expect(readdirSync(join(folder, "open"))).toEqual([]), 10_000);
    expect(readRecording(join(folder, video), { all: true })!.torn).toBeUndefined();
    for (const [name, rendition] of broadcast.renditions) {
      const told = gaps.filter((gap) => gap.rendition === name);
      const numbers = told.flatMap(({ from, to }) =>
        Array.from({ length: to - from + 1 }, (_, i) => from + i),
      );
      const missing = rendition.shown.segments.filter(({ gap }) => gap).map(({ number }) => number);
      expect(
        numbers.sort((x, y) => x - y),
        name,
      ).toEqual(missing);
    }
  },
);

test("a disk that takes nothing at the beginning has the recording from where it does", async () => {
  const through = new URL(
    "../../test/support/faulty-files.ts?full=0&times=5&code=EROFS&readOnly",
    import.meta.url,
  );
  const [failed, resumed] = [vi.fn(), vi.fn()];
  const recorder = await open({ through: through.href, failed, resumed, againMs: 0 });
  const broadcast = broadcastOn(recorder.begin(about));
  const arrivals = publish({ gop: 2, seconds: 30, audio: 48_000 });
  broadcast.begin(startMs, 0);
  for (let second = 2; second <= 30; second += 2) await play(broadcast, arrivals, second);
  await broadcast.end(startMs + 30_000);
  // However often it was tried.
  expect([failed.mock.calls.length, resumed.mock.calls.length]).toEqual([1, 1]);
  await vi.waitFor(() => expect(readdirSync(join(folder, "open"))).toEqual([]));
  expect(readRecording(join(folder, video), { all: true })!.torn).toBeUndefined();
  const { segments } = (await recorder.find(video))!.renditions.get("source")!.shown;
  expect(segments.length).toBeGreaterThan(5);
});

test("below the floor no recording begins; above it one does, from there on", async () => {
  const [failed, resumed] = [vi.fn(), vi.fn()];
  let free = 10;
  const recorder = await open({ floorBytes: 100, free: async () => free, failed, resumed });
  const broadcast = broadcastOn(recorder.begin(about));
  const arrivals = publish({ gop: 2, seconds: 30, audio: 48_000 });
  broadcast.begin(startMs, 0);
  await play(broadcast, arrivals, 12);
  expect(failed).toHaveBeenCalledOnce();
  expect(readdirSync(folder)).not.toContain(video);
  free = 1_000;
  await recorder.measure();
  expect(resumed).not.toHaveBeenCalled();
  await play(broadcast, arrivals, 30);
  expect(resumed).toHaveBeenCalledOnce();
  await broadcast.end(startMs + 30_000);
  const { segments } = (await recorder.find(video))!.renditions.get("source")!.shown;
  expect(segments[0]!.number).toBeGreaterThan(4);
  expect(segments.length).toBeGreaterThan(7);
});

test("below the floor nothing is recorded, live goes on, and the owner is told why", async () => {
  const failed = vi.fn();
  const recorder = await open({ floorBytes: Number.MAX_SAFE_INTEGER, failed });
  const tape = recorder.begin(about);
  const broadcast = broadcastOn(tape);
  broadcast.begin(startMs, 0);
  await play(broadcast, publish({ gop: 2, seconds: 30, audio: 48_000 }), 30);
  expect(failed).toHaveBeenCalledOnce();
  await broadcast.end(startMs + 30_000);
  expect(tape.lasting).toBe(false);
  expect(broadcast.renditions.get("source")!.shown.segments.length).toBeGreaterThan(5);
  expect(await recorder.find(video)).toBeUndefined();
});

test("a temporary tape has what left the playlist while it may be asked for, and nothing after the end", async () => {
  const recorder = await open({ maxFileBytes: 20_000 });
  const broadcast = broadcastOn(recorder.begin({ ...about, temporary: true }));
  const arrivals = publish({ gop: 2, seconds: 120, audio: 48_000 });
  broadcast.begin(startMs, 0);
  await play(broadcast, arrivals, 30);
  const source = broadcast.renditions.get("source")!;
  const first = source.window.segments[0]!.number;
  expect(first).toBeGreaterThan(3);
  expect(hex(await source.segment(first - 1, 0))).not.toBe("missing");
  await play(broadcast, arrivals, 120);
  await vi.waitFor(async () => expect(await source.segment(first - 1, 0)).toBeUndefined());
  await vi.waitFor(() => expect(readdirSync(join(folder, video)).length).toBeLessThan(40));
  await broadcast.end(startMs + 120_000);
  expect(source.shown.segments.length).toBeLessThan(20);
  broadcast.clear();
  await vi.waitFor(() => expect(readdirSync(folder)).not.toContain(video));
});

test("what left the window is in a list with a DVR, and can be had", async () => {
  for (const temporary of [true, false]) {
    const recorder = await open({ folder: join(folder, String(temporary)) });
    const broadcast = broadcastOn(recorder.begin({ ...about, temporary }), undefined, 3_600);
    broadcast.begin(startMs, 0);
    await play(broadcast, publish({ gop: 2, seconds: 60, audio: 48000 }), 60);
    for (const rendition of broadcast.renditions.values()) {
      const { window } = rendition;
      const past = rendition.past!;
      expect(past.length).toBeGreaterThan(15);
      expect(past.at(0)!.number).toBe(1);
      expect(past.at(past.length - 1)!.number).toBe(window.segments[0]!.number - 1);
      for (let i = 0; i < past.length; i++) {
        const { number, version, byteLength, gap } = past.at(i)!;
        expect(gap).toBe(false);
        expect(Buffer.concat((await rendition.segment(number, version))!).length).toBe(byteLength);
      }
    }
  }
});
