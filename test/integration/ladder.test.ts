import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { createLog, createLogTo } from "../../services/lib/log.ts";
import { createMetrics, type Metrics } from "../../services/lib/metrics.ts";
import type { LadderJob, Rung, Source } from "../../services/live/ladder.ts";
import type { FlvTag } from "../../services/packager/flv.ts";
import { keyGridMs } from "../../services/packager/timeline.ts";
import { findFfmpeg } from "../../services/supervisor/programs.ts";
import { planLadder } from "../../services/transcode/ladder.ts";
import { type LadderQueue, openQueue } from "../../services/transcode/queue.ts";
import { startWorker } from "../../services/transcode/worker.ts";
import {
  type Bench,
  makePicture,
  makeSlowFfmpeg,
  openBench,
  openIngest,
  openOrigin,
  type Picture,
} from "../support/ladder.ts";
import { long } from "../support/long.ts";

const log = createLog("test", process.env.LADDER_LOG ?? "silent", false);
const source: Source = { width: 320, height: 180, frameRate: 30, codec: "avc1.42c00d" };
const rungs = planLadder(source, [
  { height: 144, kbps: 200 },
  { height: 90, kbps: 100 },
]);
const ffmpeg = findFfmpeg()!;
/** Nothing regular: less than a second, more than two, and the end of a round. */
const keys = [0, 0.7, 1.9, 2.4, 4.6];

let tags: FlvTag[];
let bench: Bench;
let ingest: Awaited<ReturnType<typeof openIngest>>;
let origin: Awaited<ReturnType<typeof openOrigin>>;
let queue: LadderQueue;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  tags = await makePicture({ seconds: 6, keys });
});

// A Redis for each test: a job that one leaves behind is not the next one's.
beforeEach(async () => {
  bench = await openBench();
  ingest = await openIngest(`unix:${join(bench.folder, "ingest.sock")}`);
  queue = openQueue({ redis: bench.redis, log });
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  expect(encodersOf(process.pid)).toEqual([]);
  await queue.close();
  await ingest.close();
  await bench.close();
});

let count = 0;

/** A publish on air, an origin that wants its ladder, and the job for it. */
async function goLive(
  options: {
    readonly startMs?: number;
    readonly rungs?: readonly Rung[];
    readonly tags?: readonly FlvTag[];
  } = {},
) {
  const publish = `publish${++count}`;
  const video = `video${count}`;
  origin = await openOrigin(`unix:${join(bench.folder, `origin${count}.sock`)}`);
  origin.live.add(video);
  const live = ingest.publish(publish, options.tags ?? tags, options.startMs);
  closing.push(async () => {
    origin.live.clear();
    origin.fence();
    live.end();
    await origin.close();
  });
  const job: LadderJob = {
    id: `${video}-${publish}`,
    uid: "input",
    video,
    publish,
    feed: ingest.address,
    path: `/internal/feeds/${publish}`,
    origin: origin.address,
    rungs: options.rungs ?? rungs,
    source,
  };
  return { live, job, video };
}

async function worker(options: Partial<Parameters<typeof startWorker>[0]> = {}): Promise<Metrics> {
  const metrics = createMetrics("worker");
  const started = await startWorker({
    redis: bench.redis,
    program: ffmpeg,
    slots: 1,
    secret: undefined,
    log,
    metrics,
    ...options,
  });
  closing.push(() => started.close());
  return metrics;
}

/** A worker in a process of its own. */
async function workerProcess(): Promise<ChildProcess> {
  const file = fileURLToPath(new URL("../support/worker-child.ts", import.meta.url));
  const child = fork(file, [bench.redis, ffmpeg, "1"], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  closing.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGCONT");
    child.kill("SIGTERM");
    await gone;
  });
  const died = once(child, "exit").then(([code]) => {
    throw new Error(`the worker ended with ${code} before it was ready`);
  });
  await Promise.race([once(child, "message"), died]);
  died.catch(() => undefined);
  return child;
}

/** The ffmpeg processes under the process `pid`. */
function encodersOf(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`)
    .split(" ")
    .filter(Boolean)
    .map(Number)
    .filter((child) => /-force_key_frames/.test(read(`/proc/${child}/cmdline`)));
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** Resolves when the process is gone. */
async function gone(pid: number): Promise<void> {
  expect(pid).toBeGreaterThan(0);
  await expect
    .poll(() => /^State:\s+[^Z]/m.test(read(`/proc/${pid}/status`)), { timeout: 10_000 })
    .toBe(false);
}

/** A measured figure, for who runs this test to see. */
const figure = (what: string, ms: number) => console.log(`${what}: ${Math.round(ms)} ms`);

const times = (pictures: readonly Picture[]) => pictures.map(({ ms }) => ms).toSorted((a, b) => a - b);
const keyTimes = (pictures: readonly Picture[]) => times(pictures.filter(({ key }) => key));
const flowing = (epoch: number, pictures = 1) =>
  origin.until(() => rungs.every(({ name }) => (origin.of(epoch, name)?.pictures.length ?? 0) >= pictures));

test("each rung has every picture of the source at its own time, and keyframes where the source has them", async () => {
  // Beyond what ffmpeg's FLV can say.
  const { live, job } = await goLive({ startMs: 3_000_000_000 });
  const metrics = await worker();
  await Promise.all([queue.add(job), queue.add(job)]);
  await flowing(1, 200);
  await queue.add(job);
  live.end();
  await origin.until(() => rungs.every(({ name }) => origin.of(1, name)?.whole === true));
  expect(keyTimes(live.sent).length).toBeGreaterThan(keys.length);
  for (const rung of rungs) {
    const { pictures, configs } = origin.of(1, rung.name)!;
    const since = (ms: number) => ms >= times(pictures)[0]!;
    expect(times(pictures)).toEqual(times(live.sent).filter(since));
    expect(keyTimes(pictures)).toEqual(keyTimes(live.sent).filter(since));
    // The playlist said it before the first byte.
    expect(configs.map((config) => `avc1.${Buffer.from(config.subarray(1, 4)).toString("hex")}`)).toEqual([
      rung.codecs,
    ]);
  }
  const text = await metrics.text();
  expect(text).toContain('sluice_encodes_total{end="drained",role="worker"} 1');
  expect(origin.granted).toHaveLength(1);
});

/** One of each codec; `h264` last, which every browser plays. */
const mixed = planLadder(source, [
  { height: 150, codec: "hevc", kbps: 150 },
  { height: 144, codec: "av1", kbps: 150 },
  { height: 120, codec: "vp9", kbps: 150 },
  { height: 90, kbps: 100 },
]);

test.runIf(long)(
  "rungs in HEVC, AV1 and VP9 have every picture of the source at its own time, too, and the same keyframes",
  async () => {
    const { live, job } = await goLive({ startMs: 3_000_000_000, rungs: mixed });
    await worker();
    await queue.add(job);
    await origin.until(() => mixed.every(({ name }) => (origin.of(1, name)?.pictures.length ?? 0) > 200));
    live.end();
    await origin.until(() => mixed.every(({ name }) => origin.of(1, name)?.whole === true));
    for (const { name } of mixed) {
      const { pictures } = origin.of(1, name)!;
      const since = (ms: number) => ms >= times(pictures)[0]!;
      expect(times(pictures)).toEqual(times(live.sent).filter(since));
      expect(keyTimes(pictures)).toEqual(keyTimes(live.sent).filter(since));
      expect(keyTimes(pictures).length).toBeGreaterThan(keys.length);
      const late = pictures
        .map(({ ms, at }) => at - live.sent.find((one) => one.ms === ms)!.at)
        .toSorted((a, b) => a - b);
      figure(`${name} behind its source, p50`, late[late.length >> 1]!);
    }
    expect(origin.granted).toHaveLength(1);
    expect(origin.degraded).toEqual([]);
  },
);

test("of a source with sparse keyframes each rung sets its own at the first picture of each stretch of raw time", async () => {
  const fast = await makePicture({ seconds: 6, keys: [0], rate: 60 });
  const [whole, half] = planLadder({ ...source, frameRate: 60 }, [
    { height: 144, kbps: 200 },
    { height: 90, kbps: 100 },
  ]);
  const { live, job } = await goLive({ startMs: 3_000_000_123, tags: fast, rungs: [whole!, half!] });
  await worker();
  await queue.add({ ...job, source: { ...source, frameRate: 60, sparse: true } });
  await flowing(1, 300);
  live.end();
  await origin.until(() => rungs.every(({ name }) => origin.of(1, name)?.whole === true));
  // The first picture in order of presentation of each stretch but the first, which begins anywhere.
  const stretches = Map.groupBy(times(live.sent), (ms) => Math.floor(ms / keyGridMs));
  const expected = [...stretches.values()]
    .map(([first]) => first!)
    .filter((ms) => ms !== times(live.sent)[0]);
  for (const { name } of rungs) {
    const { pictures } = origin.of(1, name)!;
    const until = times(pictures).at(-1)!;
    expect(keyTimes(pictures)).toEqual(expected.filter((ms) => ms <= until));
    expect(keyTimes(pictures).length).toBeGreaterThan(1);
  }
});

test.for([
  { name: "is killed", signal: "SIGKILL" },
  { name: "is stopped and comes back as a zombie", signal: "SIGSTOP" },
] as const)("a worker that $name loses its ladder to another one", async ({ signal }) => {
  const { job } = await goLive();
  const first = await workerProcess();
  await queue.add(job);
  await flowing(1);
  const [encoder] = encodersOf(first.pid!);
  await workerProcess();
  const began = performance.now();
  first.kill(signal);
  await flowing(2);
  figure(`${signal} of a worker -> rungs flow again`, performance.now() - began);
  expect(performance.now() - began).toBeLessThan(9_000);
  const before = origin.of(1, rungs[0]!.name)!.pictures.length;
  first.kill("SIGCONT");
  await gone(encoder!);
  expect(origin.of(1, rungs[0]!.name)!.pictures).toHaveLength(before);
  expect(origin.granted.map(({ epoch }) => epoch)).toEqual([1, 2]);
});

test("a killed ffmpeg is started again within two seconds", async () => {
  const { job } = await goLive();
  const child = await workerProcess();
  await queue.add(job);
  await flowing(1);
  const [encoder] = encodersOf(child.pid!);
  const began = performance.now();
  process.kill(encoder!, "SIGKILL");
  await flowing(2);
  figure("kill -9 of ffmpeg -> rungs flow again", performance.now() - began);
  expect(performance.now() - began).toBeLessThan(2_000);
  expect(origin.of(2, rungs[0]!.name)!.pictures[0]!.key).toBe(true);
});

test("an ffmpeg that hangs is killed and started again", async () => {
  const { job } = await goLive();
  const child = await workerProcess();
  await queue.add(job);
  await flowing(1);
  const [encoder] = encodersOf(child.pid!);
  const began = performance.now();
  process.kill(encoder!, "SIGSTOP");
  await flowing(2);
  figure("ffmpeg hangs -> rungs flow again", performance.now() - began);
  expect(performance.now() - began).toBeLessThan(5_000);
  await gone(encoder!);
});

test("a rung at half the pictures loses no keyframe", async () => {
  const fast = await makePicture({ seconds: 2, keys: [0, 0.35, 1.05], rate: 60 });
  const [whole, half] = planLadder({ ...source, frameRate: 60 }, [
    { height: 144, kbps: 200 },
    { height: 90, kbps: 100 },
  ]);
  const { live, job } = await goLive({ tags: fast, rungs: [whole!, half!] });
  await worker();
  await queue.add(job);
  await flowing(1, 100);
  live.end();
  await origin.until(() => rungs.every(({ name }) => origin.of(1, name)?.whole === true));
  const [all, some] = [whole!, half!].map(({ name }) => origin.of(1, name)!.pictures);
  expect(keyTimes(some!)).toEqual(keyTimes(all!));
  expect(some!.length / all!.length).toBeCloseTo(0.5, 1);
});

test("a refused rung ends the encode, and the job with it", async () => {
  const { job } = await goLive();
  const child = await workerProcess();
  await queue.add(job);
  await flowing(1);
  const [encoder] = encodersOf(child.pid!);
  origin.fence();
  await gone(encoder!);
  // The job is over, so the queue takes it anew.
  await expect.poll(() => queue.add(job).then(() => origin.granted.length), { interval: 50 }).toBe(2);
});

test("a rung that the origin does not read holds up no other", async () => {
  // Enough to fill every buffer on the way within seconds.
  const noise = await makePicture({ seconds: 2, keys: [0, 1], noise: true });
  const wide = rungs.map((rung, index) => (index === 0 ? { ...rung, videoKbps: 40_000 } : rung));
  const { job } = await goLive({ rungs: wide, tags: noise });
  origin.unread.add(wide[0]!.name);
  const metrics = await worker();
  await queue.add(job);
  const dropped = /^sluice_rung_tags_dropped_total\S* [1-9]/m;
  await expect.poll(() => metrics.text(), { timeout: 12_000 }).toMatch(dropped);
  const { pictures } = origin.of(1, wide[1]!.name)!;
  const gaps = pictures.slice(60).map((picture, index) => picture.at - pictures[59 + index]!.at);
  expect(Math.max(...gaps)).toBeLessThan(1_000);
  expect(await metrics.text()).not.toMatch(/sluice_encodes_total\{/);
});

test("an option that ffmpeg does not know fails the job once, with ffmpeg's own words", async () => {
  const script = join(bench.folder, "ffmpeg-without-preset");
  await writeFile(
    script,
    `#!/bin/sh\nfor a do shift; [ "$a" = superfast ] && a=nonsense; set -- "$@" "$a"; done; exec ${ffmpeg} "$@"\n`,
  );
  await chmod(script, 0o755);
  const { job } = await goLive();
  const said: string[] = [];
  const failed = Promise.withResolvers<void>();
  const listening = createLogTo(
    (line) => {
      said.push(line);
      if (line.includes("a ladder failed")) failed.resolve();
    },
    "worker",
    "error",
  );
  const metrics = await worker({ program: script, log: listening });
  await queue.add(job);
  await failed.promise;
  expect(said.join("")).toContain("Error setting preset/tune nonsense");
  expect(origin.given).toEqual([expect.stringContaining("Error setting preset/tune nonsense")]);
  // Another call for the same publish does not begin it again.
  await queue.add(job);
  expect(origin.granted).toHaveLength(1);
  expect(await metrics.text()).toContain('sluice_encodes_total{end="crashed",role="worker"} 1');
});

test("an encoder that refuses its options takes its own rung with it and no other", async () => {
  const script = join(bench.folder, "ffmpeg-without-usage");
  const nonsense = `p=; for a do shift; [ "$p" = -usage ] && a=nonsense; p=$a; set -- "$@" "$a"; done; exec ${ffmpeg} "$@"`;
  await writeFile(script, `#!/bin/sh\n${nonsense}\n`);
  await chmod(script, 0o755);
  const { job } = await goLive({ rungs: mixed });
  await worker({ program: script });
  await queue.add(job);
  const left = mixed.filter(({ codec }) => codec !== "av1");
  await origin.until(() => left.every(({ name }) => (origin.of(2, name)?.pictures.length ?? 0) > 30));
  expect(origin.degraded).toEqual([
    { rung: "144pav1", why: expect.stringMatching(/libaom-av1 .*'nonsense'/) },
  ]);
  expect(origin.of(2, "144pav1")).toBeUndefined();
  expect(origin.given).toEqual([]);
});

test("an ffmpeg that is too slow for its ladder goes on without the top rung, and keeps it away", async () => {
  const { live, job } = await goLive();
  const [top, low] = rungs;
  const metrics = await worker({ program: await makeSlowFfmpeg(bench.folder, 0.6, 2) });
  await queue.add(job);
  await flowing(1);
  await origin.until(() => origin.degraded.length > 0);
  expect(origin.degraded).toEqual([
    { rung: top!.name, why: expect.stringMatching(/at 0\.\d+ of real time, \d+\.\d s behind the source$/) },
  ]);
  // As fast as its source again, and with nobody above it.
  await origin.until(() => (origin.of(2, low!.name)?.pictures.length ?? 0) >= 200);
  const last = origin.of(2, low!.name)!.pictures.at(-1)!;
  const sent = live.sent.find(({ ms }) => ms === last.ms)!;
  expect(last.at - sent.at).toBeLessThan(1_000);
  expect(origin.of(2, top!.name)).toBeUndefined();
  expect(origin.granted).toHaveLength(2);
  expect(await metrics.text()).toContain('sluice_rungs_degraded_total{role="worker"} 1');
});

test.runIf(long)("an ffmpeg that is too slow for any rung leaves them all, and its job is over", async () => {
  const { job } = await goLive();
  await worker({ program: await makeSlowFfmpeg(bench.folder, 0.5, 1) });
  await queue.add(job);
  await origin.until(() => origin.degraded.length === rungs.length);
  expect(origin.degraded.map(({ rung }) => rung)).toEqual(rungs.map(({ name }) => name));
  // The job is over, so the queue takes it anew.
  await expect.poll(() => queue.add(job).then(() => origin.granted.length), { interval: 50 }).toBe(4);
});

test("a feed that breaks off is left alone when the origin has no broadcast any more", async () => {
  const { live, job, video } = await goLive();
  const child = await workerProcess();
  await queue.add(job);
  await flowing(1);
  const [encoder] = encodersOf(child.pid!);
  origin.live.delete(video);
  live.drop();
  await gone(encoder!);
  await origin.until(() => origin.turnedAway === 1);
  expect(origin.written.map(({ whole }) => whole)).toEqual([true, true]);
  expect(origin.granted).toHaveLength(1);
});

test("a worker that leaves hands its ladder over before it stops", async () => {
  const { job } = await goLive();
  const first = await workerProcess();
  await queue.add(job);
  await flowing(1);
  await workerProcess();
  first.kill("SIGTERM");
  await Promise.all([once(first, "exit"), flowing(2)]);
  const last = origin.of(1, rungs[0]!.name)!.pictures.at(-1)!;
  const next = origin.of(2, rungs[0]!.name)!.pictures[0]!;
  figure("hand-over: last picture of one -> first of the other", next.at - last.at);
  expect(next.at - last.at).toBeLessThan(2_000);
});

test("a worker that leaves alone stops at once, and the job waits for the next", async () => {
  const { job } = await goLive();
  const first = await workerProcess();
  await queue.add(job);
  await flowing(1);
  const began = performance.now();
  first.kill("SIGTERM");
  await once(first, "exit");
  expect(performance.now() - began).toBeLessThan(2_000);
  await worker();
  await flowing(2);
});

test("without Redis the ladder goes on, also when its job was lost meanwhile", async () => {
  const { job } = await goLive();
  await worker({ times: { lockMs: 1_000, stalledMs: 500 } });
  await queue.add(job);
  await flowing(1);
  await bench.stopRedis();
  const { pictures } = origin.of(1, rungs[0]!.name)!;
  await flowing(1, pictures.length + 60);
  await bench.startRedis();
  await flowing(1, pictures.length + 150);
  expect(origin.granted).toHaveLength(1);
});
