import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "../../services/lib/log.ts";
import { Broadcast } from "../../services/live/broadcast.ts";
import { noTape, type Tape } from "../../services/live/tape.ts";
import type { FlvTag } from "../../services/packager/flv.ts";
import { profiles } from "../../services/packager/profiles.ts";
import { Recorder } from "../../services/recording/recorder.ts";
import { spread } from "./report.ts";

/** How late parts are in a playlist, in milliseconds from the moment at which the frame that completes them was due. */
export interface Lateness {
  readonly disk: string;
  /** What a rendition takes of a core, all threads together. */
  readonly core: number;
  readonly parts: number;
  readonly p50: number;
  readonly p99: number;
  /** Of each turn. */
  readonly p99s: readonly number[];
  /** Of that, from when the frame was handed in: what is its own affair. */
  readonly own: { readonly p50: number; readonly p99: number };
}

const BROADCASTS = 16;
/** Picture and sound of each. */
const RENDITIONS = 2;
const TURN_SECONDS = 6;
const WARM_SECONDS = 2;
const disks = [
  { disk: "no recording", through: undefined },
  { disk: "recording", through: "" },
  { disk: "recording, 200 ms a sync", through: "?syncMs=200" },
] as const;

interface Wait {
  readonly late: number;
  readonly own: number;
}

interface Side {
  readonly disk: string;
  readonly recorder: Recorder | undefined;
  readonly folder: string;
  readonly turns: Wait[][];
  cpuMs: number;
  wallMs: number;
}

/**
 * Broadcasts that record in real time on each kind of disk, by turns in one process and never in the same order, for `seconds` each after
 * a turn that does not count. What else the machine does meets all of them.
 */
export async function slowDisk(tags: readonly FlvTag[], seconds: number): Promise<Lateness[]> {
  const sides: Side[] = [];
  for (const { disk, through } of disks) {
    const folder = await mkdtemp(join(tmpdir(), "sluice-slow-"));
    const module = through && new URL(`../support/faulty-files.ts${through}`, import.meta.url).href;
    const recorder =
      through === undefined
        ? undefined
        : await Recorder.open({
            ...{ folder, durability: "part", floorBytes: 0, log: createLog("bench", "silent", false) },
            ...(module && { through: module }),
          });
    sides.push({ disk, recorder, folder, turns: [], cpuMs: 0, wallMs: 0 });
  }
  try {
    const rounds = Math.max(1, Math.round(seconds / TURN_SECONDS));
    for (let round = -1; round < rounds; round++)
      for (const i of sides.keys()) {
        const side = sides[(i + Math.max(0, round)) % sides.length]!;
        const [before, from] = [process.cpuUsage(), performance.now()];
        const waits = await play(tags, TURN_SECONDS, side.recorder);
        if (round < 0) continue;
        const { user, system } = process.cpuUsage(before);
        side.cpuMs += (user + system) / 1000;
        side.wallMs += performance.now() - from;
        side.turns.push(waits);
      }
  } finally {
    for (const { recorder, folder } of sides) {
      await recorder?.close();
      await rm(folder, { recursive: true, force: true });
    }
  }
  return sides.map(({ disk, turns, cpuMs, wallMs }) => {
    const late = spread(turns.flat().map((wait) => wait.late));
    const own = spread(turns.flat().map((wait) => wait.own));
    return {
      ...{ disk, core: cpuMs / wallMs / (BROADCASTS * RENDITIONS), parts: late.count },
      ...{ p50: late.p50, p99: late.p99, own: { p50: own.p50, p99: own.p99 } },
      p99s: turns.map((waits) => spread(waits.map((wait) => wait.late)).p99),
    };
  });
}

async function play(
  tags: readonly FlvTag[],
  seconds: number,
  recorder: Recorder | undefined,
): Promise<Wait[]> {
  const waits: Wait[] = [];
  const began = performance.now();
  const all = Array.from({ length: BROADCASTS }, async (_, i) => {
    const uid = randomBytes(16).toString("hex");
    const about = { video: uid, input: uid, targetDuration: 4, temporary: false };
    const tape = recorder?.begin(about) ?? noTape;
    /** What was handed in completed a part. */
    let complete = false;
    const watched: Tape = {
      write(outputs) {
        complete ||= outputs.some((output) => output.type === "step" && output.step.type === "part");
        return tape.write(outputs);
      },
      say: (line, language) => tape.say(line, language),
      reel: (name) => tape.reel(name),
      end: (last, nowMs) => tape.end(last, nowMs),
      clear: () => tape.clear(),
      summary: tape.summary,
      get lasting() {
        return tape.lasting;
      },
    };
    const what = { ...about, tape: watched, changed: () => undefined, profile: profiles.low };
    const broadcast = new Broadcast(what);
    broadcast.begin(Date.now(), 0);
    // Not all at the same moment.
    const offset = (i * 500) / BROADCASTS;
    for (const tag of looped(tags, WARM_SECONDS + seconds)) {
      const dueMs = began + offset + tag.timestampMs;
      const early = dueMs - performance.now();
      if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
      const from = performance.now();
      complete = false;
      broadcast.push(tag, Date.now());
      if (!complete || tag.timestampMs < WARM_SECONDS * 1_000) continue;
      void broadcast.shown().then(() => {
        const now = performance.now();
        waits.push({ late: now - dueMs, own: now - from });
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
