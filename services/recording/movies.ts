import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { Failure } from "../lib/errors.ts";
import { pause } from "../lib/retry.ts";
import type { Movie, Stretch } from "../live/recordings.ts";
import { firstOf } from "../packager/search.ts";
import type { ClipPlan } from "./clip.ts";
import type { MoviePlan } from "./movie.ts";
import { type Place, readRange } from "./read.ts";

/** What the thread is asked about the recording in `folder`, and what it answers: a movie, or a recording of its own where `clip` names one. */
export interface MovieTask {
  readonly id: number;
  readonly video: string;
  readonly folder: string;
  readonly stretch: Stretch | undefined;
  readonly clip?: string | undefined;
  /** It is to be kept beside the recording, and nobody waits for it. */
  readonly quiet?: boolean;
}
export type MovieAnswer =
  | { readonly id: number; readonly plan: TaggedPlan | ClipPlan | undefined }
  | { readonly id: number; readonly error: string };

type TaggedPlan = MoviePlan & { readonly etag: string };

/** Plans that are kept for who asks for the next range, by their bytes. */
const maxKeptBytes = 64 << 20;
/** Reads of this disk for all movies together: the threads that read also serve those who watch live. */
const readsAtOnce = 2;
const readyMs = 3_000;
/** What is planned for nobody takes a tenth of a thread. */
const restShare = 9;
/** What ends with others has its plan when they have ended, too. */
const prepareMs = 2_000;

/** Movies of recordings: planned on a thread of its own, because an hour has half a million samples, and read where they lie. */
export class Movies {
  readonly #place: (video: string) => Place;
  readonly #kept = new Map<string, TaggedPlan>();
  readonly #waiting = new Map<number, PromiseWithResolvers<TaggedPlan | ClipPlan | undefined>>();
  readonly #turns = new Turns(readsAtOnce);
  #keptBytes = 0;
  #tasks = 0;
  #closed = false;
  #worker: Worker | undefined;
  /** That of what nobody has asked for. */
  #quiet: Worker | undefined;
  readonly #stop = new AbortController();
  readonly #ready: NodeJS.Timeout;

  /** `place` says where the files of a recording are. */
  constructor(place: (video: string) => Place) {
    this.#place = place;
    // Nobody who asks waits for its modules to load, and nor does what begins with this process.
    this.#ready = setTimeout(() => {
      this.#worker ??= this.#open();
    }, readyMs).unref();
  }

  /** A movie of what is recorded of this video. Undefined where nothing is. */
  async movie(video: string, stretch?: Stretch): Promise<Movie | undefined> {
    const key = `${video} ${stretch?.from} ${stretch?.to} ${stretch?.exact}`;
    let plan = this.#kept.get(key);
    if (plan) {
      // The one that was asked for last goes last.
      this.#kept.delete(key);
      this.#kept.set(key, plan);
    } else {
      plan = (await this.#plan({ video, stretch })) as TaggedPlan | undefined;
      if (!plan) return undefined;
      if (plan.settled) this.#keep(key, plan);
    }
    const { length, seconds, settled, etag } = plan;
    const found = plan;
    return { length, seconds, settled, etag, read: (from, to) => this.#read(video, found, from, to) };
  }

  /** A recording is over: soon whoever asks for all of it finds it planned, also after a restart. */
  prepare(video: string): void {
    setTimeout(() => {
      if (!this.#closed) this.#plan({ video, stretch: undefined }).catch(() => undefined);
    }, prepareMs).unref();
  }

  /**
   * Plans recordings that nobody has asked for, one after the other, on a thread that runs where nothing else wants to: after an
   * upgrade whoever asks finds them planned. Ends when all are.
   */
  async catchUp(videos: AsyncIterable<string>): Promise<void> {
    let worker: Worker | undefined;
    try {
      for await (const video of videos) {
        if (this.#closed) return;
        worker ??= new Worker(new URL("./movie-thread.ts", import.meta.url), { workerData: { quiet: true } });
        this.#quiet = worker;
        worker.unref();
        const fromMs = performance.now();
        const { folder } = this.#place(video);
        const answered = once(worker, "message", { signal: this.#stop.signal });
        worker.postMessage({ id: 0, video, folder, stretch: undefined, quiet: true } satisfies MovieTask);
        await answered;
        await pause(restShare * (performance.now() - fromMs), this.#stop.signal);
      }
    } catch {
      // A journal that cannot be read costs whoever asks for it a while; the next start goes on with the others.
    } finally {
      await worker?.terminate();
    }
  }

  /** How a stretch of this video becomes the recording `clip`. Undefined where nothing is recorded there. */
  async clip(video: string, stretch: Stretch, clip: string): Promise<ClipPlan | undefined> {
    return (await this.#plan({ video, stretch, clip })) as ClipPlan | undefined;
  }

  /** A recording is gone. */
  forget(video: string): void {
    for (const key of [...this.#kept.keys()]) if (key.startsWith(video)) this.#drop(key);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop.abort();
    clearTimeout(this.#ready);
    await Promise.all([this.#worker?.terminate(), this.#quiet?.terminate()]);
  }

  #keep(key: string, plan: TaggedPlan): void {
    this.#drop(key);
    this.#kept.set(key, plan);
    this.#keptBytes += sizeOf(plan);
    while (this.#keptBytes > maxKeptBytes && this.#kept.size > 1) this.#drop(this.#kept.keys().next().value!);
  }

  #drop(key: string): void {
    const found = this.#kept.get(key);
    if (!found) return;
    this.#kept.delete(key);
    this.#keptBytes -= sizeOf(found);
  }

  #plan(task: Omit<MovieTask, "id" | "folder">): Promise<TaggedPlan | ClipPlan | undefined> {
    const id = this.#tasks++;
    const waiting = Promise.withResolvers<TaggedPlan | ClipPlan | undefined>();
    this.#waiting.set(id, waiting);
    this.#worker ??= this.#open();
    const { folder } = this.#place(task.video);
    this.#worker.postMessage({ id, folder, ...task } satisfies MovieTask);
    return waiting.promise;
  }

  #open(): Worker {
    const worker = new Worker(new URL("./movie-thread.ts", import.meta.url));
    worker.unref();
    worker.on("message", (answer: MovieAnswer) => {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ("error" in answer) waiting?.reject(new Error(answer.error));
      else waiting?.resolve(answer.plan);
    });
    const gone = (error: unknown): void => {
      if (this.#worker === worker) this.#worker = undefined;
      for (const waiting of this.#waiting.values())
        waiting.reject(new Failure("unavailable", "The movie cannot be made now", { cause: error }));
      this.#waiting.clear();
    };
    worker.on("error", gone);
    worker.once("exit", gone);
    return worker;
  }

  /** The bytes from `from` to `to`, both included; throws where the media are not there any more. */
  async *#read(video: string, plan: MoviePlan, from: number, to: number): AsyncGenerator<Uint8Array> {
    const { head, length, at, names } = plan;
    if (from < head.length) yield head.subarray(from, Math.min(head.length, to + 1));
    const first = firstOf(at.length, (i) => at[i]! > from) - 1;
    for (let i = Math.max(0, first); i < at.length && at[i]! <= to; i++) {
      const start = at[i]!;
      const end = at[i + 1] ?? length;
      if (end <= from) continue;
      const where = { file: plan.file[i]!, offset: plan.offset[i]!, length: plan.bytes[i]! };
      const name = names[plan.name[i]!]!;
      const bytes = await readRange(this.#place(video), name, where, (read) => this.#turns.take(read));
      const prefix = plan.prefixes[plan.prefix[i]!]!;
      const media = bytes && payloadOf(bytes, { prefix, skip: plan.skip[i]!, length: end - start });
      if (!media) throw new Failure("not_found", "These media are not there any more");
      yield media.subarray(Math.max(0, from - start), Math.min(media.length, to + 1 - start));
    }
  }
}

/** What stands in the mdat boxes of these chunks after the first `skip` bytes of it, behind `prefix`; undefined where that is not `length` bytes. Takes `bytes` over. */
function payloadOf(
  bytes: Uint8Array,
  { prefix, skip, length }: { prefix: Uint8Array; skip: number; length: number },
): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // What is before a box was read by then, so there is room for its payload: a second buffer for each would be most of the memory.
  const out = prefix.length > 0 ? new Uint8Array(length) : bytes;
  out.set(prefix);
  let before = skip;
  let filled = prefix.length;
  for (let at = 0; at + 8 <= bytes.length && filled < length; ) {
    const size = view.getUint32(at);
    if (size < 8 || at + size > bytes.length) return undefined;
    if (view.getUint32(at + 4) === mdat) {
      const from = at + 8 + Math.min(before, size - 8);
      before -= from - at - 8;
      const piece = bytes.subarray(from, Math.min(at + size, from + length - filled));
      out.set(piece, filled);
      filled += piece.length;
    }
    at += size;
  }
  return filled === length ? out.subarray(0, length) : undefined;
}

const mdat = 0x6d64_6174;

function sizeOf({ head, at }: MoviePlan): number {
  return head.length + 31 * at.length;
}

/** Lets so many at once, the others in the order in which they came. */
class Turns {
  #free: number;
  readonly #next: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#next.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#next.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
