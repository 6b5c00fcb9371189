import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { replaceFile } from "../lib/durable.ts";
import { requestInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Tally } from "../live/tally.ts";
import type { Taken } from "./viewers.ts";

export interface TalliesOptions {
  /** What changed since it was last called. */
  readonly take: () => readonly Taken[];
  /** Names this process among its likes. */
  readonly node: string;
  /** Control's internal address. */
  readonly control: string;
  readonly secret: string | undefined;
  /** What control does not have yet, on disk. */
  readonly file: string;
  readonly log: Log;
  /** How often, in ms. */
  readonly everyMs?: number;
}

/** A process that is killed takes no more than this with it. */
const everyMs = 5_000;
const batch = 500;
/** What is held for a control that stays away, the oldest given up: a year of one video in rows of five minutes. */
const maxHeld = 100_000;
const farewellMs = 1_000;

/** Brings what was watched to control: kept over its absence and over the end of this process, counted once however often it is sent. */
export class Tallies implements Running {
  readonly closed: Promise<void>;
  readonly #options: TalliesOptions;
  readonly #run = randomBytes(6).toString("hex");
  readonly #stop = new AbortController();
  /** By video, moment and source; what comes later under the same key holds all that came before. */
  readonly #held = new Map<string, Tally>();
  #revision = 0;
  #away = false;

  private constructor(options: TalliesOptions, left: readonly Tally[]) {
    this.#options = options;
    for (const tally of left) this.#hold(tally);
    this.closed = this.#work();
  }

  static async open(options: TalliesOptions): Promise<Tallies> {
    let left: readonly Tally[] = [];
    try {
      left = JSON.parse(await readFile(options.file, "utf8")) as Tally[];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        options.log.warn({ err: error }, "what the last run counted of viewers cannot be read");
    }
    return new Tallies(options, left);
  }

  /** Writes and sends what there is, for no longer than a second. */
  close(): Promise<void> {
    this.#stop.abort();
    return this.closed;
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await this.#round(AbortSignal.timeout(10_000));
      if (signal.aborted) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, this.#options.everyMs ?? everyMs);
        signal.addEventListener("abort", done, { once: true });
        function done(): void {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          resolve();
        }
      });
    }
    await this.#round(AbortSignal.timeout(farewellMs));
  }

  async #round(late: AbortSignal): Promise<void> {
    const { take, node, log } = this.#options;
    for (const { video, input, at, room, sums } of take())
      this.#hold({
        video,
        uid: input,
        at,
        source: `${node}/${this.#run}.${room}`,
        revision: ++this.#revision,
        sums,
      });
    if (this.#held.size === 0) return;
    try {
      // Before it is sent: what control has is never newer than what the next run would send again.
      await this.#write();
      while (this.#held.size > 0) await this.#send(late);
      await this.#write();
      this.#away = false;
    } catch (error) {
      if (!this.#away) log.warn({ err: error, held: this.#held.size }, "what was watched waits for control");
      this.#away = true;
    }
  }

  #hold(tally: Tally): void {
    const { video, at, source } = tally;
    this.#held.set(`${video} ${at} ${source}`, tally);
    if (this.#held.size <= maxHeld) return;
    const [oldest] = this.#held.keys();
    this.#held.delete(oldest!);
  }

  async #send(signal: AbortSignal): Promise<void> {
    const { control, secret } = this.#options;
    const rows = [...this.#held].slice(0, batch);
    const json = { tallies: rows.map(([, tally]) => tally) };
    const { status } = await requestInternal(control, "/internal/watched", {
      method: "POST",
      json,
      secret,
      signal,
    });
    // What control cannot read it will not read the next time.
    if (status >= 300 && status !== 400) throw new Error(`control answered ${status} to what was watched`);
    if (status === 400)
      this.#options.log.error({ rows: rows.length }, "control cannot read what was watched; dropped");
    for (const [key, tally] of rows) if (this.#held.get(key) === tally) this.#held.delete(key);
  }

  #write(): Promise<void> {
    return replaceFile(this.#options.file, JSON.stringify([...this.#held.values()]));
  }
}
