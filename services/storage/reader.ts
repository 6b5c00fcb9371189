import { Failure, messageOf } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { ObjectStore, Range } from "./store.ts";

export interface ReaderOptions {
  readonly store: ObjectStore;
  readonly log: Log;
  /** Bytes that are kept in memory for the next who asks. */
  readonly cacheBytes?: number;
  /** How long a reader waits for what it asked for, attempts and pauses together. */
  readonly patienceMs?: number;
}

/** Objects never change, so any piece may be kept; a segment of video is one to three of these. */
const blockBytes = 1 << 20;
const defaultCacheBytes = 128 << 20;
const defaultPatienceMs = 15_000;
const attemptMs = 6_000;
/** Requests for one object at a time: whoever reads a whole recording leaves room for others, and a slow object cannot pile up. */
const perObject = 4;

interface Block {
  readonly bytes: Promise<Uint8Array | undefined>;
  /** 0 while it is on its way. */
  size: number;
}

/**
 * Reads immutable objects for viewers: in blocks that are fetched once however many ask, kept up to a bound, and asked for
 * again where an attempt fails. An object that is slow delays its own readers alone.
 */
export class Reader {
  readonly #store: ObjectStore;
  readonly #log: Log;
  readonly #cacheBytes: number;
  readonly #patienceMs: number;
  /** The one that was used last is the last. */
  readonly #blocks = new Map<string, Block>();
  readonly #busy = new Map<string, { running: number; readonly waiting: (() => void)[] }>();
  #kept = 0;
  #failing = false;

  constructor({ store, log, cacheBytes = defaultCacheBytes, patienceMs = defaultPatienceMs }: ReaderOptions) {
    this.#store = store;
    this.#log = log;
    this.#cacheBytes = cacheBytes;
    this.#patienceMs = patienceMs;
  }

  /** Bytes that are kept. */
  get keptBytes(): number {
    return this.#kept;
  }

  /** Exactly these bytes; undefined when the object is not there or ends before. Throws `Failure` "unavailable" when its store does not answer in time. */
  async read(key: string, { offset, length }: Range): Promise<Uint8Array | undefined> {
    const first = Math.floor(offset / blockBytes);
    const last = Math.floor((offset + length - 1) / blockBytes);
    const blocks: Promise<Uint8Array | undefined>[] = [];
    for (let i = first; i <= last; i++) blocks.push(this.#block(key, i));
    const out = Buffer.allocUnsafe(length);
    let done = 0;
    for (const [i, bytes] of (await Promise.all(blocks)).entries()) {
      const from = i === 0 ? offset - first * blockBytes : 0;
      const some = bytes?.subarray(from, from + length - done);
      if (!some) return undefined;
      out.set(some, done);
      done += some.length;
    }
    return done === length ? out : undefined;
  }

  /** Nothing of these objects is kept any more. */
  forget(prefix: string): void {
    for (const [name, { size }] of this.#blocks)
      if (name.startsWith(prefix)) {
        this.#blocks.delete(name);
        this.#kept -= size;
      }
  }

  #block(key: string, index: number): Promise<Uint8Array | undefined> {
    const name = `${key}#${index}`;
    const known = this.#blocks.get(name);
    if (known) {
      this.#blocks.delete(name);
      this.#blocks.set(name, known);
      return known.bytes;
    }
    const block: Block = { bytes: this.#fetch(key, index), size: 0 };
    this.#blocks.set(name, block);
    block.bytes.then(
      (bytes) => {
        if (this.#blocks.get(name) !== block) return;
        // What is not there may come.
        if (!bytes) this.#blocks.delete(name);
        else this.#keep(name, block, bytes.length);
      },
      () => {
        if (this.#blocks.get(name) === block) this.#blocks.delete(name);
      },
    );
    return block.bytes;
  }

  #keep(name: string, block: Block, size: number): void {
    block.size = size;
    this.#blocks.set(name, block);
    this.#kept += size;
    for (const [oldest, { size: bytes }] of this.#blocks) {
      if (this.#kept <= this.#cacheBytes) return;
      if (bytes === 0) continue;
      this.#blocks.delete(oldest);
      this.#kept -= bytes;
    }
  }

  async #fetch(key: string, index: number): Promise<Uint8Array | undefined> {
    const late = AbortSignal.timeout(this.#patienceMs);
    const range = { offset: index * blockBytes, length: blockBytes };
    for (let attempt = 0; ; attempt++) {
      try {
        const signal = AbortSignal.any([late, AbortSignal.timeout(attemptMs)]);
        const piece = await this.#inTurn(key, () => this.#store.get(key, range, signal));
        if (this.#failing) this.#log.info("storage can be read again");
        this.#failing = false;
        return piece?.bytes;
      } catch (error) {
        const hopeless = error instanceof Failure && error.code !== "unavailable";
        if (hopeless || late.aborted) {
          if (!this.#failing) this.#log.warn({ key, error: messageOf(error) }, "storage cannot be read");
          this.#failing = true;
          throw new Failure("unavailable", "The storage of this recording does not answer", { cause: error });
        }
        await pause(backoffMs(attempt, 100, 2_000), late);
      }
    }
  }

  async #inTurn<T>(key: string, run: () => Promise<T>): Promise<T> {
    let line = this.#busy.get(key);
    if (!line) {
      line = { running: 0, waiting: [] };
      this.#busy.set(key, line);
    }
    const { waiting } = line;
    if (line.running >= perObject) await new Promise<void>((resolve) => waiting.push(resolve));
    else line.running++;
    try {
      return await run();
    } finally {
      // Whoever comes next takes the place over.
      const next = waiting.shift();
      if (next) next();
      else if (--line.running === 0) this.#busy.delete(key);
    }
  }
}
