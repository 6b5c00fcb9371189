import { availableParallelism, hostname } from "node:os";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import { type Ffmpeg, probeFfmpeg } from "./ffmpeg.ts";
import { type Encoding, type JobTools, runJob } from "./job.ts";
import { type LockTimes, openWorker } from "./queue.ts";

/** Ladders that this machine takes at a time when nothing is said: each needs about a third of a core. */
const defaultSlots = () => Math.max(1, Math.floor(availableParallelism() * 1.5));

/**
 * The worker role: takes ladders from the queue at `redis` and encodes them with the ffmpeg at `program`. An ffmpeg that is missing or of no use
 * is said once, with what to do; the worker then takes nothing, and live goes on with the source alone.
 */
export async function startWorker(options: {
  readonly redis: string;
  /** Path of ffmpeg; undefined when there is none. */
  readonly program: string | undefined;
  readonly slots?: number | undefined;
  readonly secret: string | undefined;
  readonly times?: LockTimes;
  readonly limits?: JobTools["limits"];
  readonly log: Log;
  readonly metrics: Metrics;
}): Promise<Running> {
  const { redis, program, secret, times, limits, log, metrics } = options;
  const ffmpeg = await usable(program, log);
  if (!ffmpeg) return idle();
  const slots = options.slots ?? defaultSlots();
  const name = `${hostname()}-${process.pid}`;
  const ended = metrics.counter("sluice_encodes_total", "ffmpeg processes of ladders that ended, by how", [
    "end",
  ]);
  const encodings = new Set<Encoding>();
  const tools: JobTools = {
    ffmpeg,
    worker: name,
    secret,
    log,
    figures: {
      delay: metrics.histogram(
        "sluice_rung_delay_seconds",
        "From a picture of the source to the same picture of a rung",
        [0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
      ),
      ended: (how) => ended(1, { end: how }),
      degraded: metrics.counter(
        "sluice_rungs_degraded_total",
        "Rungs given up because this machine is too slow for them",
      ),
      encoding(one) {
        encodings.add(one);
        return () => encodings.delete(one);
      },
      dropped: metrics.counter(
        "sluice_rung_tags_dropped_total",
        "Tags left out because the origin did not read",
      ),
    },
    ...(limits && { limits }),
  };
  const worker = openWorker({
    redis,
    slots,
    name,
    log,
    run: (job, signal) => runJob(job, tools, signal),
    ...(times && { times }),
  });
  metrics.gauge("sluice_worker_slots", "Ladders that this worker takes at a time", { read: () => slots });
  metrics.gauge("sluice_worker_busy", "Ladders that it encodes now", { read: () => worker.busy });
  metrics.gauge("sluice_encode_lag_seconds", "How far the slowest ladder here is behind its source", {
    read: () => Math.max(0, ...[...encodings].map(({ lagMs }) => lagMs)) / 1000,
  });
  log.info({ slots, ffmpeg: `${ffmpeg.version.major}.${ffmpeg.version.minor}` }, "worker takes ladders");
  return worker;
}

async function usable(program: string | undefined, log: Log): Promise<Ffmpeg | undefined> {
  try {
    if (program !== undefined) return await probeFfmpeg(program);
    log.error("ffmpeg is not installed, so no ladder: live goes on with the source alone");
  } catch (error) {
    log.error(
      `no ladder, live goes on with the source alone: ${error instanceof Error ? error.message : error}`,
    );
  }
  return undefined;
}

function idle(): Running {
  const done = Promise.withResolvers<void>();
  return {
    closed: done.promise,
    async close() {
      done.resolve();
    },
  };
}
