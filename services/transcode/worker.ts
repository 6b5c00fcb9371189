import { hostname } from "node:os";
import { messageOf } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import type { EncoderChoice } from "../live/encoder.ts";
import { Capacity } from "./capacity.ts";
import { usableFfmpeg } from "./hardware.ts";
import { type JobTools, runJob } from "./job.ts";
import { type LockTimes, openWorker } from "./queue.ts";

/** How long a worker whose secret was refused leaves jobs to others. */
const barMs = 60_000;

/**
 * The worker role: takes ladders from the queue at `redis` and encodes them with the ffmpeg at `program`. An ffmpeg that is missing or of no use
 * is said once, with what to do; the worker then takes nothing, and live goes on with the source alone.
 */
export async function startWorker(options: {
  readonly redis: string;
  /** Path of ffmpeg; undefined when there is none. */
  readonly program: string | undefined;
  /** `software` when not given. */
  readonly encoder?: EncoderChoice;
  /** Ladders at a time; by what this machine is measured to have left when not given. */
  readonly slots?: number | undefined;
  readonly secret: string | undefined;
  readonly times?: LockTimes;
  readonly limits?: JobTools["limits"];
  readonly log: Log;
  readonly metrics: Metrics;
}): Promise<Running> {
  const { redis, program, secret, times, limits, log, metrics } = options;
  const usable = await usableFfmpeg(program, options.encoder ?? "software").catch((error: unknown) => {
    log.error(`no ladder, live goes on with the source alone: ${messageOf(error)}`);
  });
  if (!usable) return idle();
  const { ffmpeg, encoder } = usable;
  const capacity = new Capacity(() => worker.consider());
  let barredMs = Number.NEGATIVE_INFINITY;
  const name = `${hostname()}-${process.pid}`;
  const ended = metrics.counter("sluice_encodes_total", "ffmpeg processes of ladders that ended, by how", [
    "end",
  ]);
  const degraded = metrics.counter(
    "sluice_rungs_degraded_total",
    "Rungs given up because this machine is too slow for them",
  );
  const tools: JobTools = {
    ffmpeg,
    encoder,
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
      barred(why) {
        barredMs = performance.now();
        log.error(
          `this worker takes no ladder for a minute: ${why}; set internalSecret here to that of the other machines`,
        );
      },
      degraded() {
        capacity.exhausted();
        degraded();
      },
      encoding: (one) => capacity.watch(one),
      dropped: metrics.counter(
        "sluice_rung_tags_dropped_total",
        "Tags left out because the origin did not read",
      ),
    },
    ...(limits && { limits }),
  };
  /** Ladders beyond those that run. Even a machine without room takes one, and gives up of it what it cannot make. */
  const free = (busy: number) =>
    options.slots === undefined
      ? Math.max(busy === 0 ? 1 : 0, Math.floor(capacity.headroom))
      : Math.max(0, options.slots - busy);
  const worker = openWorker({
    redis,
    hasRoom: (busy) => free(busy) > 0 && performance.now() - barredMs > barMs,
    name,
    log,
    run: (job, signal) => runJob(job, tools, signal),
    ...(times && { times }),
  });
  const level = (what: string, help: string, read: () => number) => metrics.gauge(what, help, { read });
  level("sluice_worker_busy", "Ladders that this worker encodes now", () => worker.busy);
  level(
    "sluice_worker_slots",
    "Ladders that it takes at a time: those that run and those there is room for",
    () => worker.busy + free(worker.busy),
  );
  level(
    "sluice_worker_headroom",
    "Ladders that the processors of this machine have room for beside those that run",
    () => capacity.headroom,
  );
  level("sluice_ladder_cores", "Processor cores that a ladder takes here", () => capacity.perLadder);
  level("sluice_idle_cores", "Processor cores of this machine that nothing uses", () => capacity.idle);
  level(
    "sluice_encode_lag_seconds",
    "How far the slowest ladder here is behind its source",
    () => capacity.lagMs / 1000,
  );
  log.info(
    {
      slots: worker.busy + free(worker.busy),
      ffmpeg: `${ffmpeg.version.major}.${ffmpeg.version.minor}`,
      encoder,
    },
    "worker takes ladders",
  );
  return {
    closed: worker.closed,
    async close() {
      await worker.close();
      await capacity.close();
    },
  };
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
