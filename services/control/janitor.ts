import { Failure, messageOf } from "../lib/errors.ts";
import { requestInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { Records } from "./store/records.ts";

export interface JanitorOptions {
  readonly records: Records;
  /** Removes the files of a recording; rejects while whoever has them is away. */
  readonly remove: (video: string) => Promise<void>;
  readonly log: Log;
}

/** No timer of Node's is longer than 24 days. */
const longestMs = 86_400_000;
/** Removals of one round that may fail. */
const mostFaults = 3;

/** Takes recordings away whose time has come, and those that were deleted, until their files are really gone. */
export class Janitor implements Running {
  readonly closed: Promise<void>;
  readonly #options: JanitorOptions;
  readonly #stop = new AbortController();
  #wake = Promise.withResolvers<void>();

  constructor(options: JanitorOptions) {
    this.#options = options;
    this.closed = this.#run();
  }

  /** Something was deleted, or is to be at another time. */
  wake(): void {
    this.#wake.resolve();
  }

  close(): Promise<void> {
    this.#stop.abort();
    this.wake();
    return this.closed;
  }

  async #run(): Promise<void> {
    const { log, records } = this.#options;
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      this.#wake = Promise.withResolvers<void>();
      try {
        await this.#round();
        failures = 0;
        const next = await records.nextDeletion();
        const leftMs = next === undefined ? longestMs : Date.parse(next) - Date.now();
        const timer = setTimeout(() => this.wake(), Math.min(Math.max(leftMs, 0) + 50, longestMs));
        if (!signal.aborted) await this.#wake.promise;
        clearTimeout(timer);
      } catch (error) {
        if (failures === 0) log.warn({ error: messageOf(error) }, "a recording cannot be removed yet");
        await pause(backoffMs(failures++, 500, 60_000), signal);
      }
    }
  }

  async #round(): Promise<void> {
    const { records, remove, log } = this.#options;
    const next = await records.nextDeletion();
    if (next !== undefined && Date.parse(next) <= Date.now()) await records.write((tx) => tx.doomDue());
    const faults: unknown[] = [];
    for (const video of await records.doomed()) {
      if (this.#stop.signal.aborted) return;
      try {
        await remove(video);
      } catch (error) {
        // One that takes its time holds up no other; whoever has them all may be away.
        faults.push(error);
        if (faults.length < mostFaults) continue;
        break;
      }
      await records.write((tx) => tx.forget(video));
      log.info({ video }, "recording removed");
    }
    if (faults.length > 0) throw faults[0];
  }
}

/** Asks the origin at this internal address to remove recordings. */
export function recordingRemover(origin: string, secret: string | undefined): JanitorOptions["remove"] {
  return async (video) => {
    const path = `/internal/recordings/${video}`;
    const { status } = await requestInternal(origin, path, { method: "DELETE", secret });
    if (status !== 204) throw new Failure("unavailable", `the origin answered ${status}`);
  };
}
