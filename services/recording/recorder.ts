import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { Failure } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Programme } from "../live/programme.ts";
import type {
  Clipped,
  FoundRecording,
  Gap,
  Movie,
  Recordings,
  Stretch,
  TapeAbout,
  Unfinished,
} from "../live/recordings.ts";
import type { Summary } from "../live/tape.ts";
import { Reader } from "../storage/reader.ts";
import type { ObjectStore } from "../storage/store.ts";
import { copyClip } from "./clip.ts";
import { type Contents, contentsOf } from "./contents.ts";
import { disk } from "./files.ts";
import { Forwarder } from "./forwarder.ts";
import { Movies } from "./movies.ts";
import { isPlanned } from "./plans.ts";
import { markerOf, mendedMarkOf, type Place } from "./read.ts";
import { beginOf, hasMedia, readRecording, truncateRecording } from "./recovery.ts";
import { indexed } from "./reindex.ts";
import { restoredFrom } from "./restore.ts";
import type { Durability, Job, Said } from "./scribe.ts";
import { Shelf } from "./shelf.ts";
import { DiskTape, type Posted } from "./tape.ts";
import { mendedIn } from "./tend.ts";

export interface RecorderOptions {
  readonly folder: string;
  readonly durability: Durability;
  /** Free bytes below which no new recording begins. */
  readonly floorBytes: number;
  readonly log: Log;
  /** A media file is followed by the next one past this size. */
  readonly maxFileBytes?: number;
  /** How long a playlist waits for the disk to take what it is to list. */
  readonly patienceMs?: number;
  /** How long a recording that the disk refused waits before it tries again. */
  readonly againMs?: number;
  /** URL of a module that exports `files`: a file system to use instead of the disk. */
  readonly through?: string;
  /** Where media go when nothing is added to their file any more; they stay on the disk when absent. */
  readonly store?: ObjectStore | undefined;
  /** First and longest pause after the store has failed. */
  readonly storeAgainMs?: readonly [first: number, longest: number];
  /** How long an upload that nobody answered may still turn up there. */
  readonly storeLateMs?: number;
  /** Told of a recording that had to pause or that was not begun, with a sentence for its owner. */
  readonly failed?: (about: TapeAbout, why: string) => void;
  /** Told when it goes on. */
  readonly resumed?: (about: TapeAbout) => void;
  /** Told of every gap in a recording when it is complete; of those of an earlier run again. */
  readonly gap?: (about: TapeAbout, gap: Gap) => void;
  /** Told of a recording that `repair` has changed while this process was not there. */
  readonly mended?: (found: FoundRecording) => void;
  /** Told of a recording that is over, where the disk has got more of it than was there at its end. */
  readonly settled?: (about: TapeAbout, summary: Summary) => void;
  /** How long after the start those that are over are planned anew, where that is due. */
  readonly planAfterMs?: number;
  /** Free bytes where recordings are, in place of what the disk says. */
  readonly free?: () => Promise<number>;
}

interface Waiting {
  readonly ticket: number;
  readonly bytes: number;
  /** How long its writer waits, by performance.now(). */
  readonly untilMs: number;
  readonly written: () => void;
  /** Settles the writer's promise. */
  readonly done: () => void;
}

/** A file is followed by another past this size, so that a disk with small limits and a copy of one file stay practical. */
const defaultFileBytes = 2 * 1024 ** 3;
/** What is sealed can leave the disk, so files are small where there is somewhere to go. */
const forwardedFileBytes = 64 * 1024 ** 2;
const defaultPatienceMs = 50;
/** How long the end of a broadcast waits, who else may end at that moment. */
const endPatienceMs = 1_000;
const defaultAgainMs = 5_000;
/** Bytes on their way to a disk that takes nothing; past this, recordings pause. */
const maxWaitingBytes = 128 * 1024 * 1024;
const freeCheckMs = 5_000;
/** Whoever was there before a start comes back first. */
const defaultPlanAfterMs = 20_000;
const unfinishedClip = "clip-";

/** The recordings of one origin: its thread, and the tapes that are being written. */
export class Recorder implements Running, Recordings {
  readonly folder: string;
  readonly #options: RecorderOptions;
  readonly #worker: Worker;
  readonly #tapes = new Map<number, DiskTape>();
  readonly #waiting: Waiting[] = [];
  readonly #ended = new Map<number, () => void>();
  readonly #shelf: Shelf;
  readonly #owners = new Map<string, string>();
  readonly #forwarder: Forwarder | undefined;
  readonly #reader: Reader | undefined;
  readonly #movies: Movies;
  /** Clips that are being made. */
  readonly #clips = new Map<string, Promise<void>>();
  #waitingBytes = 0;
  #tickets = 0;
  #ids = 0;
  #watch: NodeJS.Timeout | undefined;
  readonly #freeTimer: NodeJS.Timeout;
  #planning: NodeJS.Timeout | undefined;
  #free = Number.POSITIVE_INFINITY;
  #measuring = false;
  readonly #done = Promise.withResolvers<void>();
  #closing = false;

  private constructor(options: RecorderOptions, worker: Worker) {
    this.#options = options;
    this.folder = options.folder;
    const { store, log, folder, storeAgainMs: againMs, storeLateMs: lateMs } = options;
    this.#forwarder =
      store &&
      new Forwarder({
        folder,
        store,
        log,
        living: (video) => this.#living(video),
        ...(againMs && { againMs }),
        ...(lateMs !== undefined && { lateMs }),
      });
    this.#reader = store && new Reader({ store, log });
    this.#movies = new Movies((video) => this.#place(video));
    this.#shelf = new Shelf({
      place: (video) => this.#place(video),
      contents: (video) => this.#contents(video),
      isLiving: (video) => this.#living(video) !== undefined,
      changed: (video) => this.#movies.forget(video),
    });
    this.#worker = worker;
    worker.on("message", (said: readonly Said[]) => {
      for (const one of said) this.#hear(one);
    });
    worker.on("error", (error) => {
      options.log.error({ err: error }, "the recorder is gone; nothing is recorded until this role restarts");
      this.#giveUp("the recorder stopped");
    });
    worker.once("exit", () => {
      this.#giveUp("the recorder stopped");
      this.#done.resolve();
    });
    this.#freeTimer = setInterval(() => void this.measure(), freeCheckMs).unref();
  }

  static async open(options: RecorderOptions): Promise<Recorder> {
    const { durability, through, folder } = options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder))
      if (name.startsWith(unfinishedClip)) rmSync(join(folder, name), { recursive: true, force: true });
    const worker = new Worker(new URL("./thread.ts", import.meta.url), {
      workerData: { durability, through },
    });
    const recorder = new Recorder({ ...options, folder }, worker);
    await recorder.measure();
    return recorder;
  }

  get closed(): Promise<void> {
    return this.#done.promise;
  }

  /** Bytes that the disk has not taken yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Free bytes on the disk when it was last looked at. */
  get freeBytes(): number {
    return this.#free;
  }

  /** Bytes on the disk that wait for the storage elsewhere. */
  get spooledBytes(): number {
    return this.#forwarder?.waitingBytes ?? 0;
  }

  get hasRoom(): boolean {
    return this.#free >= this.#options.floorBytes;
  }

  async measure(): Promise<void> {
    // A disk that hangs keeps one of the threads that read and compress, not one more every time.
    if (this.#measuring) return;
    this.#measuring = true;
    try {
      const { free } = this.#options;
      if (free) this.#free = await free();
      else {
        const { bavail, bsize } = await statfs(this.folder);
        this.#free = bavail * bsize;
      }
    } catch {
      // The folder comes with the first recording.
    } finally {
      this.#measuring = false;
    }
  }

  begin(about: TapeAbout): DiskTape {
    return this.#tape(about);
  }

  unfinished(): readonly Unfinished[] {
    const found: Unfinished[] = [];
    for (const video of this.#open()) {
      const folder = join(this.folder, video);
      try {
        const recovered = readRecording(folder);
        if (!recovered && hasMedia(folder)) {
          rmSync(markerOf(this.folder, video), { force: true });
          this.#options.log.error(
            { video },
            "a recording of the last run has no journal that can be read: type sluice recordings rebuild-index",
          );
          continue;
        }
        const restored = recovered && restoredFrom(folder, recovered);
        const done = recovered?.contents.endedMs !== undefined && recovered.contents.begin!.temporary;
        if (!recovered || !restored || done) {
          rmSync(folder, { recursive: true, force: true });
          rmSync(markerOf(this.folder, video), { force: true });
          continue;
        }
        const { torn, contents } = recovered;
        if (torn)
          this.#options.log.warn({ video, torn }, "the end of this recording was not whole; it is cut off");
        truncateRecording(folder, recovered);
        const { input, targetDuration, temporary } = contents.begin!;
        const about = { video, input, targetDuration, temporary };
        if (contents.endedMs !== undefined) rmSync(markerOf(this.folder, video), { force: true });
        else found.push({ about, restored, tape: this.#tape(about, contents) });
      } catch (error) {
        this.#options.log.error(
          { err: error, video },
          "a recording of the last run cannot be read; it is left alone",
        );
      }
    }
    // Only now is every file as its journal says.
    this.#forwarder?.start();
    this.#tellMended();
    this.#planning = setTimeout(() => {
      void this.#movies.catchUp(this.#unplanned());
    }, this.#options.planAfterMs ?? defaultPlanAfterMs).unref();
    return found;
  }

  /** Recordings that are over and have no plan of this version, the newest first. */
  async *#unplanned(): AsyncGenerator<string> {
    const found: { readonly video: string; readonly atMs: number }[] = [];
    for (const video of await readdir(this.folder)) {
      const folder = join(this.folder, video);
      if (!/^[0-9a-f]{32}$/.test(video) || this.#living(video) || (await isPlanned(folder))) continue;
      const journal = await stat(join(folder, "journal")).catch(() => undefined);
      if (journal) found.push({ video, atMs: journal.mtimeMs });
    }
    for (const { video } of found.sort((a, b) => b.atMs - a.atMs)) {
      if (!this.hasRoom) return;
      if (!(await isPlanned(join(this.folder, video)))) yield video;
    }
  }

  #tellMended(): void {
    for (const video of mendedIn(this.folder)) {
      const found = indexed(this.folder, video);
      if (found) this.#options.mended?.(found);
      rmSync(mendedMarkOf(this.folder, video), { force: true });
    }
  }

  find(video: string): Promise<Programme | undefined> {
    return this.#shelf.find(video);
  }

  #living(video: string): Contents | undefined {
    for (const tape of this.#tapes.values()) if (tape.video === video) return tape.contents;
    return undefined;
  }

  ownerOf(video: string): string | undefined {
    let owner = this.#owners.get(video);
    if (owner === undefined) {
      owner = beginOf(join(this.folder, video))?.input;
      if (owner !== undefined) this.#owners.set(video, owner);
    }
    return owner;
  }

  async summary(video: string): Promise<Summary | undefined> {
    const contents = await this.#contents(video);
    return contents && { seconds: contents.seconds, bytes: contents.bytes };
  }

  async movie(video: string, stretch?: Stretch): Promise<Movie | undefined> {
    await this.#shelf.look(video);
    return this.#movies.movie(video, stretch);
  }

  async clip(video: string, stretch: Stretch, uid: string): Promise<Clipped | undefined> {
    const clip = this.#clip(video, stretch, uid);
    const settled = clip.then(
      () => undefined,
      () => undefined,
    );
    this.#clips.set(uid, settled);
    try {
      return await clip;
    } finally {
      this.#clips.delete(uid);
    }
  }

  async #clip(video: string, stretch: Stretch, uid: string): Promise<Clipped | undefined> {
    const plan = await this.#movies.clip(video, stretch, uid);
    if (!plan) return undefined;
    if (!this.hasRoom || plan.bytes > this.#free)
      throw new Failure("unavailable", "The disk is almost full; free space, then make the clip again");
    // Under another name until it is whole: what a kill leaves is no recording.
    const folder = join(this.folder, `${unfinishedClip}${uid}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      await copyClip(plan, this.#place(video), folder);
      await disk.syncFolder(folder);
      await rename(folder, join(this.folder, uid));
      await disk.syncFolder(this.folder);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    this.#forwarder?.look(uid);
    const { startSeconds, seconds, bytes, gaps } = plan;
    return { startSeconds, seconds, bytes, gaps };
  }

  async #contents(video: string): Promise<Contents | undefined> {
    let journal: Buffer;
    try {
      journal = await readFile(join(this.folder, video, "journal"));
    } catch {
      return undefined;
    }
    const contents = await contentsOf(journal);
    return contents.begin?.temporary === false ? contents : undefined;
  }

  #place(video: string): Place {
    const reader = this.#reader;
    return {
      folder: join(this.folder, video),
      elsewhere: reader && ((name, range) => reader.read(`${video}/${name}`, range)),
    };
  }

  #open(): string[] {
    try {
      return readdirSync(join(this.folder, "open"));
    } catch {
      return [];
    }
  }

  #tape(about: TapeAbout, contents?: Contents): DiskTape {
    const id = this.#ids++;
    const tape = new DiskTape({
      about,
      place: this.#place(about.video),
      marker: markerOf(this.folder, about.video),
      contents,
      maxFileBytes: this.#options.maxFileBytes ?? (this.#forwarder ? forwardedFileBytes : defaultFileBytes),
      hasRoom: () => this.hasRoom,
      againMs: this.#options.againMs ?? defaultAgainMs,
      post: (what) => this.#post({ tape: id, about, ...what }),
      failed: (why) => {
        this.#options.log.error({ video: about.video, why }, "recording paused; live goes on from memory");
        this.#options.failed?.(about, why);
      },
      ended: () => new Promise((resolve) => this.#ended.set(id, resolve)),
      resumed: () => {
        this.#options.log.info({ video: about.video }, "recording goes on");
        this.#options.resumed?.(about);
      },
      gap: (gap) => this.#options.gap?.(about, gap),
      sealed: () => this.#forwarder?.look(about.video),
      over: ({ late }) => {
        if (late) this.#options.settled?.(about, tape.summary);
        this.#movies.prepare(about.video);
      },
      gone: () => this.#tapes.delete(id),
    });
    this.#tapes.set(id, tape);
    return tape;
  }

  /** Removes everything of a recording; rejects while the storage elsewhere cannot be reached. */
  async remove(video: string): Promise<void> {
    // Whoever asked for the clip does not wait for it any more, but it may still be in the making.
    await this.#clips.get(video);
    this.#forwarder?.leave(video);
    this.#forget(video);
    for (const tape of [...this.#tapes.values()]) if (tape.video === video) tape.abandon("it was removed");
    await rm(join(this.folder, video), { recursive: true, force: true, maxRetries: 3 });
    // Somebody may have asked for it meanwhile.
    this.#forget(video);
    await rm(markerOf(this.folder, video), { force: true });
    await rm(mendedMarkOf(this.folder, video), { force: true });
    this.#reader?.forget(`${video}/`);
    await this.#forwarder?.forget(video);
  }

  #forget(video: string): void {
    this.#shelf.forget(video);
    this.#owners.delete(video);
    this.#movies.forget(video);
  }

  /** What was handed in is written; then the thread ends. */
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      clearInterval(this.#freeTimer);
      clearTimeout(this.#planning);
      const about = { video: "", temporary: true };
      const nothing = {
        ...{ tape: -1, about, items: [], bytes: new Uint8Array(), written: () => undefined, last: false },
      };
      // Settles when the disk hangs, too.
      if (this.#waiting.length > 0) await this.#post(nothing);
      await this.#forwarder?.close();
      await this.#movies.close();
      await this.#worker.terminate();
    }
    return this.closed;
  }

  #post(
    what: Posted & { readonly tape: number; readonly about: Pick<TapeAbout, "video" | "temporary"> },
  ): Promise<void> {
    const { tape, about, items, bytes, written, last } = what;
    const { video, temporary } = about;
    const ticket = this.#tickets++;
    const size = bytes.length;
    const job: Job = {
      ...{ tape, ticket, temporary, items, bytes },
      folder: join(this.folder, video),
      marker: markerOf(this.folder, video),
    };
    this.#worker.postMessage(job, [bytes.buffer]);
    this.#waitingBytes += size;
    if (this.#waitingBytes > maxWaitingBytes) {
      for (const one of this.#tapes.values()) one.hold("the disk does not keep up");
      for (const waiting of this.#waiting) waiting.done();
    }
    const patienceMs = this.#options.patienceMs ?? defaultPatienceMs;
    const untilMs = performance.now() + (last ? Math.max(patienceMs, endPatienceMs) : patienceMs);
    return new Promise((resolve) => {
      this.#waiting.push({ ticket, bytes: size, untilMs, written, done: resolve });
      this.#watch ??= setInterval(() => this.#hurry(), 10);
    });
  }

  #hear(said: Said): void {
    switch (said.type) {
      case "written":
        for (let next = this.#waiting[0]; next && next.ticket <= said.ticket; next = this.#waiting[0]) {
          this.#waiting.shift();
          this.#waitingBytes -= next.bytes;
          next.written();
          next.done();
        }
        if (this.#waiting.length === 0) {
          clearInterval(this.#watch);
          this.#watch = undefined;
        }
        return;
      case "failed":
        this.#tapes.get(said.tape)?.fail(said.why);
        return;
      case "durable":
        this.#tapes.get(said.tape)?.settled(said.bytes);
        return;
      case "closed":
        this.#ended.get(said.tape)?.();
        this.#ended.delete(said.tape);
    }
  }

  /** Playlists do not wait for a disk that hangs. */
  #hurry(): void {
    const nowMs = performance.now();
    for (const { untilMs, done } of this.#waiting) if (untilMs <= nowMs) done();
  }

  #giveUp(why: string): void {
    for (const tape of this.#tapes.values()) tape.abandon(why);
    for (const waiting of this.#waiting) waiting.done();
  }
}
