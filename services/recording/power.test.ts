import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type DiskOp, replay, type Unsynced } from "../../test/support/power-cut.ts";
import { randomOf } from "../../test/support/random.ts";
import { publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Broadcast } from "../live/broadcast.ts";
import { profiles } from "../packager/profiles.ts";
import type { Row } from "./contents.ts";
import { readJournal } from "./journal.ts";
import { readRange } from "./read.ts";
import { Recorder } from "./recorder.ts";
import { readRecording } from "./recovery.ts";
import type { Durability } from "./scribe.ts";
import { repair, verify } from "./tend.ts";

/** `SLUICE_CUTS=2000 SLUICE_SEED=7` is the long form. */
const cuts = Number(process.env.SLUICE_CUTS ?? 24);
const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
vi.setConfig({ testTimeout: 60_000 + cuts * 500 });

const video = "fedcba9876543210fedcba9876543210";
const about = { video, input: "0".repeat(32), targetDuration: 4, temporary: false };
const log = createLog("test", "silent", false);
let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "power-"));
  console.log(`${cuts} power cuts a setting from seed ${seed}`);
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** A broadcast of which every second is as durable as it gets before the next one comes. */
async function record(durability: Durability): Promise<{ folder: string; ops: DiskOp[] }> {
  const [folder, notes] = [join(scratch, durability), join(scratch, `${durability}.log`)];
  mkdirSync(folder);
  const through = new URL(`../../test/support/power-files.ts?log=${notes}`, import.meta.url).href;
  const options = { folder, durability, floorBytes: 0, log, patienceMs: 30_000, maxFileBytes: 9_000 };
  const recorder = await Recorder.open({ ...options, through });
  const tape = recorder.begin(about);
  const broadcast = new Broadcast({ ...about, tape, changed: () => undefined, profile: profiles.low });
  broadcast.begin(0, 0);
  const noted = (): DiskOp[] =>
    readFileSync(notes, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as DiskOp);
  /** Whether the last complete segment is on the platter. */
  const settled = (): boolean => {
    const journal = join(folder, video, "journal");
    if (!existsSync(journal)) return true;
    const reads = [...readJournal(readFileSync(journal))];
    const closed = reads.findLast(({ entry }) => entry.type === "close")?.end ?? 0;
    return tape.durableBytes >= closed;
  };
  // The next segment comes when the disk has this one, as it does where a sync is shorter than a segment.
  const pace = async (): Promise<void> => {
    await broadcast.shown();
    if (durability !== "none") await expect.poll(settled, { interval: 5 }).toBe(true);
  };
  let second = 1;
  for (const { atMs, tag } of publish({ gop: 1, seconds: 20, audio: 48_000 })) {
    if (atMs >= second * 1000) {
      second++;
      await pace();
    }
    broadcast.push(tag, atMs);
  }
  await pace();
  await broadcast.end(20_000);
  await expect.poll(() => existsSync(join(folder, "open", video))).toBe(false);
  await recorder.close();
  return { folder, ops: noted() };
}

/** Complete segments by rendition. */
function rowsOf(folder: string): Map<string, readonly Row[]> {
  const contents = readRecording(join(folder, video))?.contents;
  return new Map(contents?.reels.map(({ name, rows }) => [name, rows]) ?? []);
}

for (const durability of ["segment", "part", "none"] as const)
  test(`a power cut at any moment leaves a recording that is whole, with durability ${durability}`, async () => {
    const { folder, ops } = await record(durability);
    const whole = rowsOf(folder);
    expect(whole.get("source")!.length).toBeGreaterThan(15);
    const random = randomOf(seed);
    const modes: Unsynced[] = ["dropped", "kept", "mixed"];
    let most = 0;
    for (let i = 0; i < cuts; i++) {
      const cut = Math.floor(random() * (ops.length + 1));
      const unsynced = modes[i % modes.length]!;
      const name = `cut ${cut} of ${ops.length}, unsynced ${unsynced}, seed ${seed}`;
      const [listed, left] = ["listed", "left"].map((what) =>
        join(scratch, `${durability}-${i}-${what}`),
      ) as [string, string];
      for (const to of [listed, left]) mkdirSync(to);
      // What the process had listed when the power went.
      replay(ops, cut, { from: folder, to: listed, unsynced: "kept", random });
      replay(ops, cut, { from: folder, to: left, unsynced, random });
      const recorder = await Recorder.open({ folder: left, durability, floorBytes: 0, log });
      const unfinished = recorder.unfinished();
      await recorder.close();
      expect(unfinished.length, name).toBeLessThanOrEqual(1);
      const found = readRecording(join(left, video), { all: true });
      const [before, after] = [rowsOf(listed), rowsOf(left)];
      for (const [reel, rows] of before) {
        const lost = rows.length - (after.get(reel)?.length ?? 0);
        if (unsynced === "kept") expect(lost, `${name}, ${reel}`).toBe(0);
        most = Math.max(most, lost);
      }
      if (found) {
        if (unfinished.length > 0) expect(found.torn, name).toBeUndefined();
        for (const { name: reel } of found.contents.reels)
          for (const row of after.get(reel) ?? []) {
            const { file, offset, byteLength: length } = row;
            const read = (from: string) =>
              readRange({ folder: join(from, video) }, reel, { file, offset, length });
            expect(
              Buffer.compare((await read(left))!, (await read(folder))!),
              `${name}, ${reel} ${row.number}`,
            ).toBe(0);
          }
        // What is left is closed by whoever comes first.
        const { state, message } = repair(left, video);
        // Without syncs the head of a file may be gone that much stands behind: then nothing is cut off.
        if (durability === "none" && state === "broken") expect(message, name).toMatch(/from a backup$/);
        else expect(verify(left, video), name).toMatchObject({ state: "whole" });
      }
      for (const to of [listed, left]) rmSync(to, { recursive: true });
    }
    console.log(`durability ${durability}: at most ${most} complete segments lost in ${cuts} cuts`);
    if (durability !== "none") expect(most).toBeLessThanOrEqual(1);
  });
