import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import type { Running } from "../lib/lifecycle.ts";
import type { Encoding } from "./job.ts";

/** What a machine and its ladders take, in processor cores. */
export interface Load {
  readonly cores: number;
  /** Of those, not used by anything. */
  readonly idle: number;
  /** What a ladder takes. */
  readonly perLadder: number;
  /** Ladders that began so lately that `idle` does not know of them. */
  readonly young: number;
}

/** What is left alone for the rest of the machine. */
const reservedShare = 0.1;

/** How many ladders more the machine has room for; a fraction, and negative when it has too many. */
export function headroom({ cores, idle, perLadder, young }: Load): number {
  return (idle - cores * reservedShare) / perLadder - young;
}

/** A 720p source and its two rungs, before anything was measured here. */
const assumedCores = 0.35;
const leastCores = 0.05;
const lookMs = 1_000;
/** Weight of the newest second: what counts is about the last five. */
const newest = 0.2;
const youngMs = 6_000;
/** A machine that had to give up a rung has no room for this long, whatever it measures. */
const exhaustedMs = 60_000;
const lateMs = 500;

interface Watched {
  readonly encoding: Encoding;
  readonly sinceMs: number;
  /** Seconds of processor time at the last look. */
  used: number | undefined;
}

/** Measures what this machine has left for ladders, from its processors and from its own encoders. */
export class Capacity implements Running {
  readonly #cores = availableParallelism();
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;
  readonly #done = Promise.withResolvers<void>();
  readonly #looked: () => void;
  #idle: number | undefined;
  #perLadder = assumedCores;
  #last = machineTimes();
  #lastMs = performance.now();
  #exhaustedMs = Number.NEGATIVE_INFINITY;

  /** `looked` is called after each look, once a second. */
  constructor(looked: () => void) {
    this.#looked = looked;
    this.#timer = setInterval(() => this.#look(), lookMs);
    this.#timer.unref();
  }

  get closed(): Promise<void> {
    return this.#done.promise;
  }

  /** Cores that nothing uses. */
  get idle(): number {
    return this.#idle ?? this.#cores;
  }

  /** Cores that a ladder takes here. */
  get perLadder(): number {
    return this.#perLadder;
  }

  /** How far the slowest ladder here is behind its source. */
  get lagMs(): number {
    return Math.max(0, ...[...this.#watched].map(({ encoding }) => encoding.lagMs));
  }

  /** Ladders that there is room for beyond those that run; a fraction, 0 while one of them is late. */
  get headroom(): number {
    const now = performance.now();
    if (this.lagMs > lateMs || now - this.#exhaustedMs < exhaustedMs) return 0;
    const young = [...this.#watched].filter(({ sinceMs }) => now - sinceMs < youngMs).length;
    const { idle, perLadder } = this;
    return Math.max(0, headroom({ cores: this.#cores, idle, perLadder, young }));
  }

  /** An encoder runs here, until the function that this answers with is called. */
  watch(encoding: Encoding): () => void {
    const watched: Watched = { encoding, sinceMs: performance.now(), used: undefined };
    this.#watched.add(watched);
    return () => void this.#watched.delete(watched);
  }

  /** A rung had to be given up. */
  exhausted(): void {
    this.#exhaustedMs = performance.now();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#done.resolve();
  }

  #look(): void {
    const now = performance.now();
    const seconds = (now - this.#lastMs) / 1000;
    const times = machineTimes();
    const total = times.total - this.#last.total;
    // In a container the machine may have more processors than we may use.
    const idle =
      total > 0 ? Math.min(this.#cores, ((times.idle - this.#last.idle) / total) * times.cores) : undefined;
    this.#last = times;
    this.#lastMs = now;
    if (idle !== undefined) this.#idle = mix(this.#idle ?? idle, idle);
    for (const watched of this.#watched) {
      const used = processorSeconds(watched.encoding.pid);
      const before = watched.used;
      watched.used = used;
      // The first seconds hold a whole GOP at once.
      if (used === undefined || before === undefined || now - watched.sinceMs < youngMs) continue;
      this.#perLadder = Math.max(leastCores, mix(this.#perLadder, (used - before) / seconds));
    }
    this.#looked();
  }
}

const mix = (before: number, now: number) => before + (now - before) * newest;

/** Milliseconds of all processors together since the machine began. */
function machineTimes(): { idle: number; total: number; cores: number } {
  const all = cpus().map(({ times }) => times);
  const sum = (of: (times: (typeof all)[number]) => number) => all.reduce((a, times) => a + of(times), 0);
  return {
    cores: all.length,
    idle: sum(({ idle }) => idle),
    total: sum(({ user, nice, sys, idle, irq }) => user + nice + sys + idle + irq),
  };
}

/** Linux counts a process's time in hundredths whatever the kernel's own rate. */
const ticks = 100;

/** Processor time of a process since it began; undefined where /proc does not say. */
function processorSeconds(pid: number | undefined): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Behind the name, which may hold spaces: fields 14 and 15 of proc(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticks;
  } catch {
    return undefined;
  }
}
