import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { readMovie } from "../../test/support/movie.ts";
import { readChunks } from "../../test/support/mp4.ts";
import { otherAvcC, publish, type Source } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { Movie } from "../live/recordings.ts";
import { profiles } from "../packager/profiles.ts";
import { planMovie } from "./movie.ts";
import { keptPlan, planName } from "./plans.ts";
import { Recorder, type RecorderOptions } from "./recorder.ts";
import { readRecording } from "./recovery.ts";
import { verify } from "./tend.ts";

// A recording is muxed, written and read back in each of them.
vi.setConfig({ testTimeout: 60_000 });

const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);

let folder: string;
let recorder: Recorder;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "movies-"));
  recorder = await openRecorder();
});
afterEach(async () => {
  await recorder.close();
  rmSync(folder, { recursive: true });
});

function openRecorder(options: Partial<RecorderOptions> = {}): Promise<Recorder> {
  return Recorder.open({
    ...{ folder, durability: "none", floorBytes: 0, log: createLog("test", "silent", false) },
    ...{ patienceMs: 30_000, ...options },
  });
}

/** Records one publish after the other, each beginning at its second; the last end is clean unless it stays on air. */
async function record(
  publishes: readonly { at: number; source: Source }[],
  { onAir = false, dvrSeconds = 0 } = {},
) {
  const tape = recorder.begin({ video, input, targetDuration: 4, temporary: false });
  const broadcast = new Broadcast({
    ...{ input, video, tape, profile: profiles.low, dvrSeconds, changed: () => undefined },
  });
  let endMs = startMs;
  for (const { at, source } of publishes) {
    // What an encoder that vanished leaves open is closed by the clock.
    for (; endMs < startMs + at * 1000; endMs += 100) broadcast.clock(endMs);
    broadcast.begin(endMs, 0);
    for (const { atMs, tag } of publish(source)) broadcast.push(tag, startMs + at * 1000 + atMs);
    endMs = startMs + (at + source.seconds) * 1000;
    await broadcast.shown();
    broadcast.lose();
  }
  if (!onAir) await broadcast.end(endMs);
  return broadcast;
}

async function bytesOf(movie: Movie, from = 0, to = movie.length - 1): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of movie.read(from, to)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Every sample that the rendition lists, in order. */
async function listed(broadcast: Broadcast, name: string) {
  const rendition = broadcast.renditions.get(name)!;
  const samples = [];
  for (const { number, version, gap } of rendition.shown.segments)
    if (!gap)
      for (const bytes of (await rendition.segment(number, version))!)
        samples.push(...readChunks(bytes).flatMap((chunk) => chunk.samples));
  return samples;
}

const hex = (samples: readonly { readonly data: Uint8Array }[]): string[] =>
  samples.map(({ data }) => Buffer.from(data).toString("hex"));

test.for<{ name: string; source: Source }>([
  { name: "picture and sound", source: { gop: 2, seconds: 20, audio: 48_000 } },
  { name: "B-frames and sound of 44.1 kHz", source: { gop: 2, seconds: 12, bFrames: 2, audio: 44_100 } },
  { name: "frames at odd distances", source: { gop: 1, frames: [0.033, 0.017, 0.05], seconds: 9 } },
  { name: "sound alone", source: { gop: 1, video: false, audio: 48_000, seconds: 12 } },
])("a movie has every sample of the recording in its order and at its time: $name", async ({ source }) => {
  const broadcast = await record([{ at: 0, source }]);
  const movie = (await recorder.movie(video))!;
  const bytes = await bytesOf(movie);
  expect(bytes.length).toBe(movie.length);
  const facts = readMovie(bytes);
  const names = [...broadcast.renditions.keys()].filter((name) => name === "source" || name === "audio");
  expect(facts.tracks.length).toBe(names.length);
  for (const [i, name] of names.entries()) {
    const track = facts.tracks[i]!;
    const samples = await listed(broadcast, name);
    expect(hex(track.samples)).toEqual(hex(samples));
    const zero = samples[0]!.dts;
    expect(track.samples.map(({ dts }) => dts)).toEqual(samples.map(({ dts }) => dts - zero));
    expect(track.samples.map(({ pts }) => pts)).toEqual(samples.map(({ pts }) => pts - zero));
    expect(track.samples.map(({ key }) => key)).toEqual(samples.map(({ key }) => key));
  }
  expect(facts.seconds).toBeCloseTo(source.seconds, 0);
  expect(movie.settled).toBe(true);
  expect((await recorder.movie(video))!.etag).toBe(movie.etag);
});

test("any range of bytes is that part of the whole", async () => {
  await record([{ at: 0, source: { gop: 1, seconds: 8, audio: 48_000 } }]);
  const movie = (await recorder.movie(video))!;
  const whole = await bytesOf(movie);
  const { length } = movie;
  const ends = [0, 1, 7, 31, 2_000, length >> 1, (length >> 1) + 1, length - 2, length - 1];
  for (const from of ends)
    for (const to of ends)
      if (from <= to)
        expect((await bytesOf(movie, from, to)).equals(whole.subarray(from, to + 1))).toBe(true);
  let joined = Buffer.alloc(0);
  for (let from = 0; from < length; from += 7_919)
    joined = Buffer.concat([joined, await bytesOf(movie, from, Math.min(length, from + 7_919) - 1)]);
  expect(joined.equals(whole)).toBe(true);
});

test("a break is cut out of picture and sound alike, and what comes back has an entry of its own where it needs one", async () => {
  const broadcast = await record([
    { at: 0, source: { gop: 2, seconds: 8, audio: 48_000 } },
    { at: 14, source: { gop: 2, seconds: 6, audio: 48_000, bFrames: 1 } },
  ]);
  const facts = readMovie(await bytesOf((await recorder.movie(video))!));
  expect(facts.seconds).toBeGreaterThan(13.5);
  expect(facts.seconds).toBeLessThan(14.5);
  for (const [i, name] of ["source", "audio"].entries()) {
    const samples = await listed(broadcast, name);
    const track = facts.tracks[i]!;
    expect(hex(track.samples)).toEqual(hex(samples));
    // Before and after the break every sample keeps its distance to the other track's.
    const { timescale } = track;
    const cuts = samples.map(({ dts }, k) =>
      Math.round((dts / timescale - track.samples[k]!.dts / timescale) * 1000),
    );
    expect(new Set(cuts).size, name).toBeLessThanOrEqual(3);
  }
  const [picture, sound] = facts.tracks as [(typeof facts.tracks)[0], (typeof facts.tracks)[0]];
  const secondsOfLast = ({ samples, timescale }: typeof picture) => samples.at(-1)!.dts / timescale;
  expect(Math.abs(secondsOfLast(picture!) - secondsOfLast(sound!))).toBeLessThan(0.15);
});

test.for([
  { from: 3.4, to: 7.1, exact: true },
  { from: 3.4, to: 7.1, exact: false },
  { from: 0, to: 2, exact: true },
  { from: 18.5, to: 60, exact: true },
])("a clip from $from to $to, exact: $exact", async ({ from, to, exact }) => {
  await record([{ at: 0, source: { gop: 2, seconds: 20, audio: 48_000, bFrames: 2 } }]);
  const whole = readMovie(await bytesOf((await recorder.movie(video))!));
  const clip = (await recorder.movie(video, { from, to, exact }))!;
  const facts = readMovie(await bytesOf(clip));
  const key = 2 * Math.floor(from / 2);
  const length = Math.min(to, 20) - (exact ? from : key);
  expect(clip.seconds).toBeGreaterThan(length - 0.15);
  expect(clip.seconds).toBeLessThan(length + 0.15);
  const [picture, sound] = facts.tracks as [(typeof facts.tracks)[0], (typeof facts.tracks)[0]];
  expect(picture!.samples[0]!.key).toBe(true);
  // Decoded from the keyframe on, shown from the moment on that was asked for.
  if (exact && from > 0) expect(picture!.edit!.from).toBeCloseTo(from - key, 1);
  const first = whole.tracks[0]!.samples.findIndex(
    ({ data }) => Buffer.compare(data, picture!.samples[0]!.data) === 0,
  );
  const expected = whole.tracks[0]!.samples.slice(first, first + picture!.samples.length);
  expect(hex(picture!.samples)).toEqual(hex(expected));
  expect(expected[0]!.dts / 90_000).toBeCloseTo(key, 1);
  if (exact) expect(sound!.edit?.duration ?? clip.seconds).toBeCloseTo(length, 0);
});

test("a clip of what is on air is there at once, and settles when all of it is recorded", async () => {
  await record([{ at: 0, source: { gop: 2, seconds: 20, audio: 48_000 } }], { onAir: true });
  expect(await recorder.movie(video, { from: 4, to: 8, exact: true })).toMatchObject({ settled: true });
  expect(await recorder.movie(video, { from: 15, to: 30, exact: true })).toMatchObject({ settled: false });
  expect(await recorder.movie(video, { from: 40, to: 50, exact: true })).toBeUndefined();
});

test.for([
  { from: 4.5, to: 9, begins: 4, seconds: 6 },
  { from: 0, to: 1, begins: 0, seconds: 2 },
  { from: 17, to: 100, begins: 16, seconds: 4 },
])(
  "the segments of a stretch become a recording of its own: $from to $to",
  async ({ from, to, begins, seconds }) => {
    const broadcast = await record([{ at: 0, source: { gop: 2, seconds: 20, audio: 48_000 } }]);
    const uid = "0f".repeat(16);
    const made = (await recorder.clip(video, { from, to, exact: false }, uid))!;
    expect(made.seconds).toBeCloseTo(seconds, 0);
    expect(made.startSeconds).toBeCloseTo(begins, 1);
    expect(verify(folder, uid)).toEqual({ state: "whole", message: "" });
    const clip = (await recorder.find(uid))!;
    expect(clip).toMatchObject({ input, video: uid });
    for (const name of ["source", "audio"]) {
      const { timescale, segments } = broadcast.renditions.get(name)!.shown;
      const zero = segments[0]!.dts + begins * timescale;
      const [first] = segments.filter(({ dts, duration }) => dts + duration / 2 > zero);
      const rows = clip.renditions.get(name)!.shown.segments;
      expect(rows.map(({ number }) => number)).toEqual(rows.map((_, i) => i + 1));
      expect(rows[0]!.dts).toBe(first!.dts);
      for (const row of rows) {
        const old = await broadcast.renditions
          .get(name)!
          .segment(row.number + first!.number - 1, row.version);
        const copied = await clip.renditions.get(name)!.segment(row.number, row.version);
        expect(Buffer.concat(copied!).equals(Buffer.concat(old!))).toBe(true);
      }
    }
    expect((await recorder.movie(uid))!.seconds).toBeCloseTo(seconds, 0);
    expect(await recorder.clip(video, { from: 50, to: 60, exact: false }, "1f".repeat(16))).toBeUndefined();
    expect(readdirSync(folder).filter((name) => name.startsWith("clip-"))).toEqual([]);
  },
);

test("a clip of two publishes has both, and what is between them as a gap", async () => {
  await record([
    { at: 0, source: { gop: 2, seconds: 8, audio: 48_000 } },
    { at: 14, source: { gop: 2, seconds: 6, audio: 48_000 } },
  ]);
  const uid = "0f".repeat(16);
  const { seconds, gaps } = (await recorder.clip(video, { from: 5, to: 17, exact: false }, uid))!;
  expect(seconds).toBeGreaterThan(11);
  expect(verify(folder, uid)).toEqual({ state: "whole", message: "" });
  const { segments } = (await recorder.find(uid))!.renditions.get("source")!.shown;
  const missing = segments.filter(({ gap }) => gap).map(({ number }) => number);
  expect(missing.length).toBeGreaterThan(0);
  expect(gaps.filter(({ rendition }) => rendition === "source")).toMatchObject([
    { from: missing[0], to: missing.at(-1) },
  ]);
  expect(segments.at(-1)!.discontinuity).toBe(segments[0]!.discontinuity + 1);
});

/** Three publishes of two decoder configurations, in files of less than two segments each. */
const changing = [
  { at: 0, source: { gop: 2, seconds: 30, audio: 48_000 } },
  { at: 34, source: { gop: 2, seconds: 12, audio: 48_000, config: otherAvcC } },
  { at: 50, source: { gop: 2, seconds: 10, audio: 48_000 } },
] as const;

test("a recording of several configurations in many files is one movie, and clips of it have both", async () => {
  await recorder.close();
  recorder = await openRecorder({ maxFileBytes: 20_000 });
  const broadcast = await record(changing);
  const { contents } = readRecording(join(folder, video), { all: true })!;
  const reel = contents.reel("source")!;
  expect(reel.inits.map(({ version }) => version)).toEqual([0, 1, 2]);
  expect(reel.file).toBeGreaterThan(8);
  expect(verify(folder, video).state).toBe("whole");
  const movie = (await recorder.movie(video))!;
  const facts = readMovie(await bytesOf(movie));
  for (const [i, name] of ["source", "audio"].entries()) {
    const track = facts.tracks[i]!;
    const samples = await listed(broadcast, name);
    expect(track.samples.length).toBe(samples.length);
    for (const [k, { data, key }] of track.samples.entries()) {
      const own = Buffer.from(samples[k]!.data);
      // A keyframe of another configuration than the first brings that along.
      expect(
        Buffer.from(data)
          .subarray(data.length - own.length)
          .equals(own),
      ).toBe(true);
      if (!key) expect(data.length).toBe(own.length);
    }
  }
  const brought = facts.tracks[0]!.samples.filter(
    ({ data }, k) => k > 0 && Buffer.from(data).includes(Buffer.from(otherAvcC.subarray(8, 20))),
  );
  expect(brought.length).toBe(reel.rows.filter(({ version, gap }) => version === 1 && !gap).length);
  // The same of each moment where it changes, as a movie and as a recording of its own.
  for (const [n, [from, to]] of [
    [25, 40],
    [40, 55],
    [25, 55],
  ].entries() as Iterable<[number, [number, number]]>) {
    const clip = (await recorder.movie(video, { from, to, exact: true }))!;
    const shown = readMovie(await bytesOf(clip));
    expect(shown.tracks.length).toBe(2);
    expect(shown.tracks[0]!.samples[0]!.key).toBe(true);
    const uid = String(n).repeat(32);
    expect((await recorder.clip(video, { from, to, exact: false }, uid))!.seconds).toBeGreaterThan(
      to - from - 2,
    );
    expect(verify(folder, uid)).toEqual({ state: "whole", message: "" });
    const made = (await recorder.find(uid))!.renditions.get("source")!;
    const first = made.shown.segments[0]!;
    const old = reel.rows.find(({ dts }) => dts === first.dts)!;
    const versions = new Set<number>();
    for (const { number, version, gap } of made.shown.segments) {
      if (gap) continue;
      versions.add(version);
      const own = Buffer.concat((await made.segment(number, version))!);
      const before = await broadcast.renditions
        .get("source")!
        .segment(number - first.number + old.number, version);
      expect(own.equals(Buffer.concat(before!))).toBe(true);
    }
    expect(versions.size).toBe(n === 2 ? 3 : 2);
    for (const version of versions)
      expect([...(await made.init(version))!.bytes]).toEqual([
        ...broadcast.renditions.get("source")!.init(version)!.bytes,
      ]);
  }
});

test("a DVR goes back over several configurations and files", async () => {
  await recorder.close();
  recorder = await openRecorder({ maxFileBytes: 20_000 });
  const broadcast = await record(changing, { onAir: true, dvrSeconds: Number.POSITIVE_INFINITY });
  for (const [name, rendition] of broadcast.renditions) {
    const past = rendition.past!;
    expect(past.at(0)!.number).toBe(1);
    const versions = new Set<number>();
    for (let i = 0; i < past.length; i++) {
      const { number, version, gap, byteLength } = past.at(i)!;
      if (gap) continue;
      versions.add(version);
      expect(Buffer.concat((await rendition.segment(number, version))!).length).toBe(byteLength);
      expect(rendition.init(version)!.bytes.length).toBeGreaterThan(100);
    }
    // The last is in the window yet.
    expect(versions.size).toBe(name === "source" ? 2 : 1);
  }
});

test("the plan of a recording that is over stays beside it, and counts for that very journal alone", async () => {
  await record([{ at: 0, source: { gop: 2, seconds: 8, audio: 48_000 } }]);
  // Nobody has asked yet.
  const place = join(folder, video);
  await expect.poll(() => readdirSync(place), { timeout: 30_000 }).toContain(planName);
  const journal = readFileSync(join(place, "journal"));
  const kept = keptPlan(place, journal)!;
  expect(kept).toEqual(planMovie(journal));
  expect(keptPlan(place, journal.subarray(0, -20))).toBeUndefined();
  expect(verify(folder, video).state).toBe("whole");
  const whole = await bytesOf((await recorder.movie(video))!);

  // Whatever becomes of it, the movie is the same.
  const file = readFileSync(join(place, planName));
  for (const at of [0, 5, 9, 14, file.length - 3]) {
    const bad = Buffer.from(file);
    bad[at]! ^= 1;
    writeFileSync(join(place, planName), bad);
    expect(keptPlan(place, journal)).toBeUndefined();
  }
  writeFileSync(join(place, planName), file.subarray(0, 10));
  expect(keptPlan(place, journal)).toBeUndefined();
  await recorder.close();
  recorder = await openRecorder();
  expect(Buffer.compare(await bytesOf((await recorder.movie(video))!), whole)).toBe(0);
  expect(Buffer.compare(readFileSync(join(place, planName)), file)).toBe(0);
});

test("recordings whose plans are of another version are planned anew after a start, before anybody asks", async () => {
  await record([{ at: 0, source: { gop: 2, seconds: 8, audio: 48_000 } }]);
  const place = join(folder, video);
  await expect.poll(() => readdirSync(place), { timeout: 30_000 }).toContain(planName);
  const plan = readFileSync(join(place, planName));
  await recorder.close();
  // One of a version that does not count, and beside it a recording that has none and one that cannot be read.
  const [other, odd] = ["1".repeat(32), "2".repeat(32)];
  cpSync(place, join(folder, other), { recursive: true });
  rmSync(join(folder, other, planName));
  mkdirSync(join(folder, odd));
  writeFileSync(join(folder, odd, "journal"), "nothing");
  writeFileSync(join(place, planName), Buffer.concat([Buffer.of(0, 0, 0, 0), plan.subarray(4)]));
  const version = () => readFileSync(join(place, planName)).readUInt32BE();
  expect(version()).toBe(0);
  recorder = await openRecorder({ planAfterMs: 0 });
  recorder.unfinished();
  await expect.poll(version, { timeout: 30_000 }).toBe(plan.readUInt32BE());
  await expect.poll(() => readdirSync(join(folder, other)), { timeout: 30_000 }).toContain(planName);
  expect(keptPlan(place, readFileSync(join(place, "journal")))).toEqual(
    planMovie(readFileSync(join(place, "journal"))),
  );
});

test("what is not recorded has no movie, and what was removed has none any more", async () => {
  expect(await recorder.movie(video)).toBeUndefined();
  await record([{ at: 0, source: { gop: 2, seconds: 4, audio: 48_000 } }]);
  const movie = (await recorder.movie(video))!;
  await recorder.remove(video);
  expect(await recorder.movie(video)).toBeUndefined();
  await expect(bytesOf(movie)).rejects.toThrow("not there any more");
});

test("who asks for a recording while it is removed does not bring it back", async () => {
  await record([{ at: 0, source: { gop: 2, seconds: 4, audio: 48_000 } }]);
  const removed = recorder.remove(video);
  await recorder.find(video);
  recorder.ownerOf(video);
  await removed;
  expect([await recorder.find(video), recorder.ownerOf(video)]).toEqual([undefined, undefined]);
});
