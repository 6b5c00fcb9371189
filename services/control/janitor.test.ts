import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { tellerOf } from "../../test/support/stores.ts";
import { Failure } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { Janitor } from "./janitor.ts";
import { editVideo } from "./store/grants.ts";
import type { InputSettings } from "./store/inputs.ts";
import { Records } from "./store/records.ts";

const day = 86_400_000;
const began = Date.UTC(2026, 0, 1);
const settings: InputSettings = {
  ...{ meta: {}, enabled: true, defaultCreator: null, preferLowLatency: true, ladder: null, profile: "low" },
  recording: {
    ...{ mode: "automatic", timeoutSeconds: null, requireSignedURLs: false, allowedOrigins: [] },
    hideLiveViewerCount: false,
  },
  deleteRecordingAfterDays: 30,
};

let folder: string;
let records: Records;
let janitor: Janitor;
let removed: string[];
/** Whether whoever has the files answers. */
let there: boolean;
/** A recording whose files take longer than anybody waits. */
let slow: string | undefined;
beforeEach(async () => {
  // The clock is moved by hand; what waits for the database does not wait for it.
  vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: began });
  folder = mkdtempSync(join(tmpdir(), "janitor-"));
  records = await Records.open({ file: join(folder, "sluice.db") });
  removed = [];
  there = true;
  slow = undefined;
  janitor = new Janitor({
    records,
    log: createLog("test", "silent", false),
    remove: async (video) => {
      if (!there || video === slow) throw new Failure("unavailable", "the origin does not answer");
      removed.push(video);
    },
  });
});
afterEach(async () => {
  await janitor.close();
  await records.close();
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

const tell = tellerOf(() => records);

/** A recording of an input that keeps its own for so many days. */
async function recording(video: string, days: number | null): Promise<void> {
  const uid = `input-${video}`;
  await records.write((tx) => tx.create(uid, { ...settings, deleteRecordingAfterDays: days }));
  const recorded = { seconds: 60, bytes: 1_000 };
  await tell({ type: "broadcast.started", uid, video }, { type: "broadcast.ended", uid, video, recorded });
  janitor.wake();
}

/** So much later; what is due by then has been done. */
async function later(ms: number): Promise<void> {
  await settled();
  await vi.advanceTimersByTimeAsync(ms);
  // Who was at work when the clock was moved looks at it once more a moment later.
  for (let i = 0; i < 3; i++) {
    await settled();
    await vi.advanceTimersByTimeAsync(100);
  }
}

/** Nobody writes: each of ours has waited for those before it, which go to a real disk. */
async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await records.write(async () => {});
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const shown = async () => (await records.videos({ limit: 10, oldestFirst: true })).map(({ uid }) => uid);

test("a recording goes when its input says, and no earlier; one of an input that says nothing stays", async () => {
  await recording("short", 30);
  await recording("kept", null);
  await later(29.9 * day);
  expect([removed, await shown()]).toEqual([[], ["kept", "short"]]);
  await later(0.2 * day);
  expect([removed, await shown()]).toEqual([["short"], ["kept"]]);
  await later(3_650 * day);
  expect(removed).toEqual(["short"]);
});

test("another day that was set for a video counts, earlier or later or never", async () => {
  for (const video of ["earlier", "later", "never"]) await recording(video, 30);
  const set = (video: string, at: number | null) =>
    records.write((tx) =>
      editVideo(tx, video, { scheduled_deletion: at === null ? null : new Date(at).toISOString() }),
    );
  await set("earlier", began + day);
  await set("later", began + 60 * day);
  await set("never", null);
  janitor.wake();
  await later(1.1 * day);
  expect(removed).toEqual(["earlier"]);
  await later(50 * day);
  expect(removed).toEqual(["earlier"]);
  await later(9 * day);
  expect(removed).toEqual(["earlier", "later"]);
  expect(await shown()).toEqual(["never"]);
});

test("while nobody can remove its files it is shown to nobody, and it goes when somebody can", async () => {
  await recording("v", 30);
  there = false;
  await later(31 * day);
  expect([removed, await shown()]).toEqual([[], []]);
  expect(await records.doomed()).toEqual(["v"]);
  there = true;
  janitor.wake();
  vi.useRealTimers();
  await expect.poll(() => removed, { timeout: 10_000 }).toEqual(["v"]);
  await expect.poll(() => records.doomed()).toEqual([]);
});

test("a recording that takes its time to remove holds up no other", async () => {
  for (const video of ["a", "b"]) await recording(video, 30);
  slow = "a";
  await later(31 * day);
  expect([removed, await records.doomed()]).toEqual([["b"], ["a"]]);
  slow = undefined;
  janitor.wake();
  vi.useRealTimers();
  await expect.poll(() => removed, { timeout: 10_000 }).toEqual(["b", "a"]);
});
