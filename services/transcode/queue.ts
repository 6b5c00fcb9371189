import { Queue, UnrecoverableError, WaitingError, Worker } from "bullmq";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { pause } from "../lib/retry.ts";
import type { LadderJob } from "../live/ladder.ts";
import type { JobEnd } from "./job.ts";

/** Where ladders are enqueued, as the origin sees it. */
export interface LadderQueue extends Running {
  /**
   * Enqueues a job unless one of its id is there, waiting, running or failed. Resolves when the queue has it, which it does
   * not have to while Redis is away: calling again for the same id then joins the first call.
   */
  add(job: LadderJob): Promise<void>;
}

/** What one worker process takes from the queue. */
export interface LadderWorker extends Running {
  /** Jobs that run here. */
  readonly busy: number;
  /** Looks again whether there is room for another job. */
  consider(): void;
}

/** How soon another worker has the job of one that died, at the price of talking to Redis. */
export interface LockTimes {
  readonly lockMs: number;
  readonly stalledMs: number;
}

const queueName = "ladder";
const usualTimes: LockTimes = { lockMs: 5_000, stalledMs: 2_000 };
/** A job that was let go runs on for this long, until whoever takes it is granted the rungs. */
const handoverMs = 3_000;
/** For what Redis has to answer when we leave. */
const farewellMs = 1_000;

/** `redis` is redis://host:port, rediss://host:port or unix:/path. */
export function openQueue(options: { readonly redis: string; readonly log: Log }): LadderQueue {
  const { log } = options;
  const queue = new Queue<LadderJob>(queueName, { connection: connectionTo(options.redis) });
  queue.on("error", (error) => log.debug({ err: error }, "the queue has no Redis"));
  const adding = new Map<string, Promise<void>>();
  const closed = Promise.withResolvers<void>();
  let closing: Promise<void> | undefined;
  return {
    closed: closed.promise,
    add(job) {
      const running = adding.get(job.id);
      if (running) return running;
      const added = queue
        .add("encode", job, {
          jobId: job.id,
          attempts: 1_000_000,
          backoff: { type: "fixed", delay: 500 },
          // A job that is over must not stand in the way of one that is needed again; a hopeless one shall, for its broadcast.
          removeOnComplete: true,
          removeOnFail: { count: 1_000, age: 86_400 },
        })
        .then(() => undefined)
        .finally(() => adding.delete(job.id));
      adding.set(job.id, added);
      return added;
    },
    close() {
      closing ??= within(queue.close(), farewellMs).then(closed.resolve);
      return closing;
    },
  };
}

/**
 * Takes jobs while `hasRoom`, leaves them to others while not, and runs each with `run` until its signal says stop. A job whose lock
 * is lost goes on until the origin ends it by granting its rungs to the next worker, so that viewers see no hole. One that runs when `close`
 * is called is let go first and goes on for a moment for the same reason. Without another worker, `close` stops it at once.
 */
export function openWorker(options: {
  readonly redis: string;
  /** Whether another job may be taken beside those that run; asked after each change and at `consider`. */
  readonly hasRoom: (busy: number) => boolean;
  /** Unique among workers. */
  readonly name: string;
  readonly run: (job: LadderJob, signal: AbortSignal) => Promise<JobEnd>;
  readonly times?: LockTimes;
  readonly log: Log;
}): LadderWorker {
  const { redis, hasRoom, name, log } = options;
  const { lockMs, stalledMs } = options.times ?? usualTimes;
  const connection = connectionTo(redis);
  /** What runs, with the way to stop it. */
  const running = new Map<Promise<void>, AbortController>();
  const leaving = Promise.withResolvers<"leaving">();
  const closed = Promise.withResolvers<void>();
  let closing: Promise<void> | undefined;
  const workers = new Set<Worker>();
  /** The one that waits for a job. */
  let taker: Worker | undefined;

  function start(job: LadderJob): { work: Promise<JobEnd>; stop: AbortController } {
    const stop = new AbortController();
    const work = options.run(job, stop.signal);
    const forget = () => {
      running.delete(entry);
      // Its worker takes seconds to let go of Redis; the next job need not wait for that.
      consider();
    };
    const entry: Promise<void> = work.then(forget, forget);
    running.set(entry, stop);
    return { work, stop };
  }

  function consider(): void {
    if (closing) return;
    const room = hasRoom(running.size);
    if (room && !taker) taker = open();
    if (room || !taker) return;
    const full = taker;
    taker = undefined;
    void full.close().catch(() => undefined);
  }

  /** One for each job: a process that takes several through one would fetch again what it has just let go. */
  function open(): Worker {
    const worker: Worker = new Worker<LadderJob, string>(
      queueName,
      async (job, token, lost) => {
        if (taker === worker) taker = undefined;
        const { work, stop } = start(job.data);
        const onLost = () => {
          // The origin ends it by granting its rungs to another; where there is no other, viewers would pay for Redis.
          log.warn({ video: job.data.video }, "a job was lost to the queue; it goes on until another has it");
        };
        lost?.addEventListener("abort", onLost, { once: true });
        consider();
        let end = await Promise.race([work, leaving.promise]);
        if (end === "leaving" && !(await isThereAnother())) {
          stop.abort();
          end = await work;
        }
        // Before the job is done with, or it would fetch the next without asking whether there is room.
        void worker.close().catch(() => undefined);
        if (end === "leaving" || end.how === "stopped") {
          await job.moveToWait(token);
          throw new WaitingError();
        }
        if (end.how === "failed") throw new UnrecoverableError(end.why);
        return end.why;
      },
      {
        connection,
        name,
        concurrency: 1,
        lockDuration: lockMs,
        stalledInterval: stalledMs,
        // Each death of a worker counts; a broadcast may see many.
        maxStalledCount: 1_000_000,
        drainDelay: 1,
        runRetryDelay: 1_000,
      },
    );
    worker.on("error", (error) => log.debug({ err: error }, "the queue has trouble"));
    worker.on("lockRenewalFailed", (ids) => {
      for (const id of ids) worker.cancelJob(id);
    });
    worker.once("closed", () => {
      workers.delete(worker);
      consider();
    });
    worker.on("failed", (job, error) => {
      log.error({ video: job?.data.video, publish: job?.data.publish }, `a ladder failed: ${error.message}`);
    });
    workers.add(worker);
    return worker;
  }

  async function isThereAnother(): Promise<boolean> {
    const queue = new Queue(queueName, { connection });
    queue.on("error", () => undefined);
    try {
      const others = await within(queue.getWorkers(), farewellMs);
      return others?.some((other) => !other.rawname?.endsWith(`:w:${name}`)) ?? false;
    } catch {
      return false;
    } finally {
      void queue.close().catch(() => undefined);
    }
  }

  async function leave(): Promise<void> {
    const closes = [...workers].map((worker) => worker.close().catch(() => undefined));
    leaving.resolve("leaving");
    const late = new AbortController();
    void pause(handoverMs, late.signal).then(() => {
      for (const stop of running.values()) stop.abort();
    });
    await Promise.all(running.keys());
    late.abort();
    await within(Promise.all(closes), farewellMs);
    closed.resolve();
  }

  consider();
  return {
    closed: closed.promise,
    consider,
    get busy() {
      return running.size;
    },
    close() {
      closing ??= leave();
      return closing;
    },
  };
}

function connectionTo(address: string): Record<string, unknown> {
  const retryStrategy = (times: number) => Math.min(times * 100, 1_000);
  if (address.startsWith("unix:")) return { path: address.slice("unix:".length), retryStrategy };
  return { url: address, retryStrategy };
}

/** What `promise` brings, or undefined when it takes longer than `ms`. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const done = new AbortController();
  try {
    return await Promise.race([promise, pause(ms, done.signal).then(() => undefined)]);
  } finally {
    done.abort();
  }
}
