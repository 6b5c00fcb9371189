import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "../../services/lib/log.ts";
import { Broadcast } from "../../services/live/broadcast.ts";
import { noTape } from "../../services/live/tape.ts";
import type { FlvTag } from "../../services/packager/flv.ts";
import { profiles } from "../../services/packager/profiles.ts";
import { Recorder } from "../../services/recording/recorder.ts";

/** What a part waits for before it is listed: from the frame that completed it to the playlist that shows it, in milliseconds. */
export interface Lateness {
  readonly disk: string;
  /** What a rendition takes of a core, all threads together. */
  readonly core: number;
  readonly parts: number;
  readonly p50: number;
  readonly p99: number;
}

const BROADCASTS = 8;
/** Picture and sound of each. */
const RENDITIONS = 2;
const disks = [
  { disk: "no recording", through: undefined },
  { disk: "recording", through: "" },
  { disk: "recording, 200 ms a sync", through: "?syncMs=200" },
] as const;

/** Broadcasts that record in real time on each kind of disk, one kind after the other in one process, after two seconds of warm-up each. */
export async function slowDisk(tags: readonly FlvTag[], seconds: number): Promise<Lateness[]> {
  const found: Lateness[] = [];
  for (const { disk, through } of disks) {
    const folder = await mkdtemp(join(tmpdir(), "sluice-slow-"));
    const module = through && new URL(`../support/faulty-files.ts${through}`, import.meta.url).href;
    const recorder = await Recorder.open({
      ...{ folder, durability: "part", floorBytes: 0, log: createLog("bench", "silent", false) },
      ...(module && { through: module }),
    });
    const [before, from] = [process.cpuUsage(), performance.now()];
    const waits = await play(tags, seconds, through === undefined ? undefined : recorder);
    const { user, system } = process.cpuUsage(before);
    const core = (user + system) / 1000 / (performance.now() - from) / (BROADCASTS * RENDITIONS);
    await recorder.close();
    await rm(folder, { recursive: true, force: true });
    const sorted = waits.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
    found.push({ disk, core, parts: sorted.length, p50: at(0.5), p99: at(0.99) });
  }
  return found;
}

async function play(
  tags: readonly FlvTag[],
  seconds: number,
  recorder: Recorder | undefined,
): Promise<number[]> {
  const waits: number[] = [];
  const began = performance.now();
  const all = Array.from({ length: BROADCASTS }, async (_, i) => {
    const uid = String(i).padStart(32, "0");
    const about = { video: uid, input: uid, targetDuration: 4, temporary: false };
    const tape = recorder?.begin(about) ?? noTape;
    const broadcast = new Broadcast({ ...about, tape, changed: () => undefined, profile: profiles.low });
    broadcast.begin(Date.now(), 0);
    const partsOf = () =>
      [...broadcast.renditions.values()].reduce((sum, { window }) => sum + newest(window), 0);
    // Not all at the same moment.
    const offset = (i * 500) / BROADCASTS;
    for (const tag of looped(tags, seconds)) {
      const dueMs = began + offset + tag.timestampMs;
      const early = dueMs - performance.now();
      if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
      const before = partsOf();
      const from = performance.now();
      broadcast.push(tag, Date.now());
      void broadcast.shown().then(() => {
        if (partsOf() > before && tag.timestampMs > 2_000) waits.push(performance.now() - from);
      });
    }
    await broadcast.end(Date.now());
  });
  await Promise.all(all);
  return waits;
}

/** The tags again and again, their clock going on. */
function* looped(tags: readonly FlvTag[], seconds: number): Generator<FlvTag> {
  const length = tags.reduce((latest, { timestampMs }) => Math.max(latest, timestampMs), 0) + 33;
  for (let round = 0; round * length < seconds * 1000; round++)
    for (const tag of tags) {
      const timestampMs = tag.timestampMs + round * length;
      // Configurations come once.
      if (round === 0 || (tag.type !== "script" && tag.payload[1] !== 0)) yield { ...tag, timestampMs };
    }
}

/** Grows with every part that is shown. */
function newest({
  segments,
  open,
}: {
  segments: readonly { number: number }[];
  open: { parts: readonly unknown[]; number: number } | undefined;
}): number {
  return (open?.number ?? segments.at(-1)?.number ?? 0) * 1_000 + (open?.parts.length ?? 0);
}
