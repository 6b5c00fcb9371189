import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type FakeOptions, type S3Fake, startS3 } from "../../test/support/s3-fake.ts";
import { publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { Readable } from "../live/programme.ts";
import type { Restored, Tape } from "../live/tape.ts";
import { profiles } from "../packager/profiles.ts";
import { openS3 } from "../storage/s3.ts";
import { Recorder } from "./recorder.ts";
import { verify } from "./tend.ts";

vi.setConfig({ testTimeout: 60_000 });
const video = "fedcba9876543210fedcba9876543210";
const about = { video, input: "0".repeat(32), targetDuration: 4, temporary: false };
let folder: string;
let fake: S3Fake;
const recorders: Recorder[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "forwarder-"));
  fake = await startS3();
});
afterEach(async () => {
  await Promise.all(recorders.splice(0).map((recorder) => recorder.close()));
  await fake.close();
  rmSync(folder, { recursive: true });
});

async function open(where = folder): Promise<Recorder> {
  const recorder = await Recorder.open({
    ...{ folder: where, durability: "segment", floorBytes: 0, log: createLog("test", "silent", false) },
    ...{ patienceMs: 30_000, maxFileBytes: 30_000, storeAgainMs: [20, 100], storeLateMs: 600 },
    store: openS3({ ...fake, prefix: "r/", pathStyle: true, idleMs: 500 }),
  });
  recorders.push(recorder);
  return recorder;
}

function on(tape: Tape, restored?: Restored): Broadcast {
  const what = { ...about, tape, restored, changed: () => undefined };
  return new Broadcast({ ...what, profile: profiles.low, dvrSeconds: 7_200 });
}

/** Everything of a rendition that can be listed, by number. */
async function media(rendition: Readable, rows = rendition.shown.segments): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (const { number, version, gap } of rows)
    if (!gap)
      found.set(number, Buffer.concat((await rendition.segment(number, version)) ?? []).toString("hex"));
  return found;
}

const mediaHere = (where = folder) => readdirSync(join(where, video)).filter((name) => name.endsWith(".mp4"));
const objects = () => [...fake.objects.keys()].sort();
const gone = () => expect.poll(() => mediaHere(), { timeout: 10_000 }).toEqual([]);

async function play(broadcast: Broadcast, seconds: number, fromMs = 0): Promise<void> {
  for (const { atMs, tag } of publish({ gop: 2, seconds, audio: 48_000 })) broadcast.push(tag, fromMs + atMs);
  await broadcast.shown();
}

test("a recording that is over leaves the disk, plays from where it went, byte for byte, and is removed from there", async () => {
  const recorder = await open();
  const broadcast = on(recorder.begin(about));
  broadcast.begin(0, 0);
  await play(broadcast, 60);
  await broadcast.end(60_000);
  const before = new Map<string, Map<number, string>>();
  for (const [name, rendition] of broadcast.renditions) before.set(name, await media(rendition));
  await gone();
  expect(objects()).toContain(`r/${video}/journal`);
  expect(objects().filter((key) => /\/(source|audio)-\d+\.mp4$/.test(key)).length).toBeGreaterThan(4);
  expect(fake.objects.get(`r/${video}/journal`)).toEqual(readFileSync(join(folder, video, "journal")));
  // Also for who starts with nothing in memory.
  const later = await (await open()).find(video);
  for (const [name, rendition] of later!.renditions) {
    expect(await media(rendition)).toEqual(before.get(name));
    expect((await rendition.init(0))!.bytes.length).toBeGreaterThan(100);
  }
  expect(verify(folder, video)).toMatchObject({ state: "whole" });
  await recorder.remove(video);
  expect(objects()).toEqual([]);
  expect(readdirSync(folder)).not.toContain(video);
});

test("while the storage is down everything is here and plays, and it leaves when that is back", async () => {
  fake.rules.push({ fault: { how: "status", status: 503, code: "SlowDown" } });
  const recorder = await open();
  const broadcast = on(recorder.begin(about));
  broadcast.begin(0, 0);
  await play(broadcast, 200);
  await expect.poll(() => fake.refused.length, { timeout: 10_000 }).toBeGreaterThan(3);
  const source = broadcast.renditions.get("source")!;
  const past = await media(
    source,
    Array.from({ length: source.past!.length }, (_, i) => source.past!.at(i)!),
  );
  expect(past.size).toBeGreaterThan(80);
  expect([...past.values()]).not.toContain("");
  expect(objects()).toEqual([]);
  expect(recorder.spooledBytes).toBeGreaterThan(100_000);
  const here = mediaHere().length;
  fake.rules.length = 0;
  await expect.poll(() => mediaHere().length, { timeout: 15_000 }).toBeLessThan(here / 2);
  expect(
    await media(
      source,
      Array.from({ length: source.past!.length }, (_, i) => source.past!.at(i)!),
    ),
  ).toEqual(past);
  await broadcast.end(200_000);
  await gone();
  expect(recorder.spooledBytes).toBe(0);
});

test.for<{ name: string; fault: S3Fake["rules"][number]["fault"]; options?: FakeOptions }>([
  { name: "keeps half", fault: { how: "partial" } },
  { name: "keeps other bytes", fault: { how: "corrupt" } },
  {
    name: "keeps other bytes and computes no checksums",
    fault: { how: "corrupt" },
    options: { plainTags: true },
  },
  { name: "breaks off", fault: { how: "reset" } },
  { name: "says that it has it with an error in the body", fault: { how: "error body" } },
  { name: "hangs", fault: { how: "hang" } },
])(
  "nothing leaves the disk before the storage has it: one that $name is asked again",
  async ({ fault, options }) => {
    if (options) {
      await fake.close();
      fake = await startS3(options);
    }
    fake.rules.push({ method: "PUT", key: /mp4$/, times: 3, fault });
    const broadcast = on((await open()).begin(about));
    broadcast.begin(0, 0);
    await play(broadcast, 20);
    await broadcast.end(20_000);
    const files = new Map(mediaHere().map((name) => [name, readFileSync(join(folder, video, name))]));
    await gone();
    for (const [name, bytes] of files)
      expect(fake.objects.get(`r/${video}/${name}`)!.equals(bytes)).toBe(true);
  },
);

test("a killed origin goes on with a broadcast of which most has left its disk", async () => {
  const recorder = await open();
  const broadcast = on(recorder.begin(about));
  broadcast.begin(0, 0);
  await play(broadcast, 150);
  await expect.poll(() => objects().length, { timeout: 10_000 }).toBeGreaterThan(20);
  const source = broadcast.renditions.get("source")!;
  const before = await media(source);
  const copy = mkdtempSync(join(tmpdir(), "forwarder-killed-"));
  try {
    await recorder.close();
    cpSync(folder, copy, { recursive: true });
    const next = await open(copy);
    const [unfinished] = next.unfinished();
    const again = on(unfinished!.tape, unfinished!.restored);
    const restored = again.renditions.get("source")!;
    for (const [number, bytes] of await media(restored)) expect(before.get(number) ?? bytes).toBe(bytes);
    again.begin(310_000, 0);
    await play(again, 20, 310_000);
    await again.end(330_000);
    await expect.poll(() => mediaHere(copy), { timeout: 10_000 }).toEqual([]);
    const whole = await media((await next.find(video))!.renditions.get("source")!);
    expect([...whole.values()]).not.toContain("");
    for (const [number, bytes] of before) expect(whole.get(number)).toBe(bytes);
    expect(verify(copy, video)).toMatchObject({ state: "whole" });
  } finally {
    await Promise.all(recorders.splice(0).map((one) => one.close()));
    rmSync(copy, { recursive: true });
  }
});

test("a removal waits for a storage that is down, and says so", async () => {
  const recorder = await open();
  const broadcast = on(recorder.begin(about));
  broadcast.begin(0, 0);
  await play(broadcast, 10);
  await broadcast.end(10_000);
  await gone();
  fake.rules.push({ fault: { how: "status", status: 503, code: "SlowDown" } });
  await expect(recorder.remove(video)).rejects.toMatchObject({ code: "unavailable" });
  expect(await recorder.find(video)).toBeUndefined();
  fake.rules.length = 0;
  await vi.waitFor(() => recorder.remove(video));
  expect(objects()).toEqual([]);
});

test.for([
  { name: "answered late", mute: false },
  { name: "never answered", mute: true },
])(
  "a recording that is removed while it is uploaded leaves nothing, here or there: an upload that is $name",
  async ({ mute }) => {
    const recorder = await open();
    const broadcast = on(recorder.begin(about));
    fake.rules.push({ method: "PUT", fault: { how: "late", ms: 300, mute } });
    broadcast.begin(0, 0);
    await play(broadcast, 20);
    await broadcast.end(20_000);
    await expect.poll(() => fake.late.size, { timeout: 10_000 }).toBeGreaterThan(0);
    const uploads = () => fake.requests.filter((line) => line.startsWith("PUT")).length;
    const before = uploads();
    // Asked again before it is done, as whoever waited for too long does.
    await Promise.all([recorder.remove(video), recorder.remove(video)]);
    expect(fake.late.size).toBe(0);
    expect(objects()).toEqual([]);
    // At most the one that was on its way.
    expect(uploads()).toBeLessThanOrEqual(before + 1);
    expect(readdirSync(folder)).not.toContain(video);
    expect(recorder.spooledBytes).toBe(0);
  },
);
