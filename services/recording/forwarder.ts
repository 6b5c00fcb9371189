import { closeSync, createReadStream, openSync, readdirSync, readSync } from "node:fs";
import { open, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Failure, messageOf } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import { checksumsOf, faultOfObject } from "../storage/confirm.ts";
import { type Body, isSame, type ObjectStore } from "../storage/store.ts";
import { type Contents, contentsOf } from "./contents.ts";
import { type Forwarded, initName, noteForwarded, readForwarded } from "./forwarded.ts";
import { mediaFile } from "./read.ts";

export interface ForwarderOptions {
  /** Of all recordings. */
  readonly folder: string;
  readonly store: ObjectStore;
  readonly log: Log;
  /** What is written of a recording that may still grow; undefined for any other. */
  readonly living: (video: string) => Contents | undefined;
  /** First and longest pause after a failure. */
  readonly againMs?: readonly [first: number, longest: number];
  /** How long an upload that nobody answered may still turn up as an object. */
  readonly lateMs?: number;
}

/** Recordings that are forwarded at a time: one that is slow holds the others up no more than that. */
const atOnce = 4;
/** A segment that a restart shows again is still here: twice what it shows. */
const keptSeconds = 80;

/** Bytes of a journal whose copy is no matter: of an hour or so. */
const smallJournal = 1 << 20;

const defaultAgainMs = [500, 30_000] as const;
const defaultLateMs = 5_000;

interface Journey {
  /** Of the pass that is under way. */
  running: Promise<void> | undefined;
  readonly stop: AbortController;
  /** The recording is to go: nothing more of it is begun. */
  left: boolean;
  /** The last upload broke off, so the other side may have it yet. */
  unanswered: boolean;
  /** Something came while it ran. */
  again: boolean;
  failures: number;
  timer: NodeJS.Timeout | undefined;
  /** Bytes of files that wait. */
  waiting: number;
}

/**
 * Carries media files that nothing is added to any more to a store elsewhere, and takes them off this disk when the other
 * side has shown that it has each byte, and a journal that knows them. While it cannot be reached they stay and wait.
 */
export class Forwarder implements Running {
  readonly #options: ForwarderOptions;
  readonly #journeys = new Map<string, Journey>();
  readonly #queue: string[] = [];
  /** Recordings that are being removed. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #done = Promise.withResolvers<void>();
  #running = 0;
  #closing = false;
  #failing = false;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  get closed(): Promise<void> {
    return this.#done.promise;
  }

  /** Bytes on this disk that are to leave it. */
  get waitingBytes(): number {
    let sum = 0;
    for (const { waiting } of this.#journeys.values()) sum += waiting;
    return sum;
  }

  /** Looks through every recording for what an earlier run has left to do. */
  start(): void {
    for (const video of readdirSync(this.#options.folder))
      if (/^[0-9a-f]{32}$/.test(video) && this.#isLeft(video)) this.look(video);
  }

  /** A file of this recording was followed by another, or it has ended. */
  look(video: string): void {
    if (this.#closing) return;
    let journey = this.#journeys.get(video);
    if (!journey) {
      journey = {
        running: undefined,
        stop: new AbortController(),
        left: false,
        unanswered: false,
        again: false,
        failures: 0,
        timer: undefined,
        waiting: 0,
      };
      this.#journeys.set(video, journey);
    }
    if (journey.left) return;
    if (journey.running || journey.timer) journey.again = true;
    else if (!this.#queue.includes(video)) this.#queue.push(video);
    this.#pump();
  }

  /** Nothing more of this recording is begun; what is on its way goes on. */
  leave(video: string): void {
    const journey = this.#journeys.get(video);
    if (!journey) return;
    journey.left = true;
    journey.waiting = 0;
    clearTimeout(journey.timer);
  }

  /** Removes what there is of this recording elsewhere, once nothing of it is on its way. Rejects while the store cannot be reached. */
  forget(video: string): Promise<void> {
    let leaving = this.#leaving.get(video);
    if (!leaving) {
      leaving = this.#forget(video).finally(() => this.#leaving.delete(video));
      this.#leaving.set(video, leaving);
    }
    return leaving;
  }

  async #forget(video: string): Promise<void> {
    this.leave(video);
    const journey = this.#journeys.get(video);
    // Not broken off: whoever has all of an upload may make an object of it after everything else was removed.
    await journey?.running;
    await this.#clear(video);
    if (journey?.unanswered) {
      await pause(this.#options.lateMs ?? defaultLateMs, journey.stop.signal);
      await this.#clear(video);
    }
    this.#journeys.delete(video);
  }

  async #clear(video: string): Promise<void> {
    const { store } = this.#options;
    for await (const { key } of store.list(`${video}/`)) await store.remove(key);
  }

  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#queue.length = 0;
      const running: (Promise<void> | undefined)[] = [];
      for (const journey of this.#journeys.values()) {
        clearTimeout(journey.timer);
        journey.stop.abort();
        running.push(journey.running);
      }
      await Promise.all(running);
      this.#done.resolve();
    }
    return this.closed;
  }

  #pump(): void {
    while (this.#running < atOnce) {
      const video = this.#queue.shift();
      const journey = video === undefined ? undefined : this.#journeys.get(video);
      if (video === undefined) return;
      if (!journey || journey.left) continue;
      this.#running++;
      journey.again = false;
      journey.running = this.#travel(video, journey).finally(() => {
        this.#running--;
        journey.running = undefined;
        if (journey.again && !journey.timer) this.look(video);
        this.#pump();
      });
    }
  }

  async #travel(video: string, journey: Journey): Promise<void> {
    const { log, againMs = defaultAgainMs } = this.#options;
    try {
      const over = await this.#carry(video, journey);
      if (this.#failing) log.info("storage can be written again");
      this.#failing = false;
      journey.failures = 0;
      if (over && !journey.again && !journey.left) this.#journeys.delete(video);
    } catch (error) {
      if (journey.stop.signal.aborted || journey.left) return;
      if (!this.#failing)
        log.warn(
          { video, error: messageOf(error) },
          "recordings stay on this disk: storage cannot be written",
        );
      this.#failing = true;
      const [first, longest] = againMs;
      journey.timer = setTimeout(
        () => {
          journey.timer = undefined;
          this.look(video);
        },
        backoffMs(journey.failures++, first, longest),
      );
    }
  }

  /** One pass over a recording; true when it has ended and nothing is left to do. */
  async #carry(video: string, journey: Journey): Promise<boolean> {
    const folder = join(this.#options.folder, video);
    const living = this.#options.living(video);
    // Its last entry waits for the disk; it is looked at when that has come.
    if (living?.endedMs !== undefined) return false;
    let journal = living ? undefined : await journalOf(folder);
    const contents = living ?? (journal && (await contentsOf(journal)));
    if (!contents?.begin || contents.begin.temporary) return true;
    let known = readForwarded(folder);
    const here = sealedFiles(folder, contents);
    const sizes = await Promise.all(here.map(async (name) => (await stat(join(folder, name))).size));
    const left = here.filter((name) => !known.files.has(name));
    journey.waiting = sizes.reduce((sum, size) => sum + size, 0);
    for (const name of left) {
      if (journey.left) return true;
      const sums = await checksumsOf(createReadStream(join(folder, name), { highWaterMark: 256 << 10 }));
      await this.#put(`${video}/${name}`, { ...sums, from: { file: join(folder, name) } }, journey);
      await noteForwarded(folder, [...missingInits(contents, name, known, folder), { file: name, ...sums }]);
      known = readForwarded(folder);
    }
    const ended = contents.endedMs !== undefined;
    let gone = here.filter((name) => ended || isOld(contents, name));
    journal ??= gone.length > 0 ? await journalOf(folder) : undefined;
    // A copy of the journal goes before them. While there is more to come it is to be small beside what it speaks of.
    const freed = gone.reduce((sum, name) => sum + sizes[here.indexOf(name)]!, 0);
    if (!journal || (!ended && journal.length > smallJournal && freed < journal.length * 8)) gone = [];
    else if ((gone.length > 0 || ended) && known.journal?.bytes !== journal.length) {
      // What the copy says must be true of this disk, too, also after a power cut.
      await sync(join(folder, "journal"));
      const sums = await checksumsOf([journal]);
      await this.#put(`${video}/journal`, { ...sums, from: journal }, journey);
      await noteForwarded(folder, [{ journal: sums.bytes, sha256: sums.sha256, md5: sums.md5 }]);
    }
    for (const name of gone) {
      await rm(join(folder, name), { force: true });
      journey.waiting -= sizes[here.indexOf(name)]!;
    }
    if (left.length > 0) this.#options.log.info({ video, files: left.length }, "recording forwarded");
    return ended;
  }

  /** Puts an object and has its store show that it is the same. */
  async #put(key: string, body: Body, journey: Journey): Promise<void> {
    const { store } = this.#options;
    const { signal } = journey.stop;
    // It may have come in an earlier run.
    const before = await store.head(key, signal);
    if (before && isSame(before, body)) return;
    journey.unanswered = true;
    await store.put(key, body, signal);
    journey.unanswered = false;
    const wrong = await faultOfObject(store, key, body, signal);
    if (wrong !== undefined) throw new Failure("unavailable", `${wrong}, after it was taken`);
  }

  /** Whether a recording may have something to do, from the names of its files. */
  #isLeft(video: string): boolean {
    const folder = join(this.#options.folder, video);
    return (
      readdirSync(folder).some((name) => mediaFile.test(name)) || readForwarded(folder).journal === undefined
    );
  }
}

/** Files on this disk that nothing is added to any more. */
function sealedFiles(folder: string, contents: Contents): string[] {
  return readdirSync(folder).filter((name) => {
    const [, rendition = "", number] = mediaFile.exec(name) ?? [];
    const reel = contents.reel(rendition);
    return (
      reel && (Number(number) < reel.file || (contents.endedMs !== undefined && Number(number) === reel.file))
    );
  });
}

/** Whether no restart needs any segment of this file. */
function isOld(contents: Contents, name: string): boolean {
  const [, rendition = "", number] = mediaFile.exec(name) ?? [];
  const reel = contents.reel(rendition)!;
  const last = reel.rows.findLast(({ file }) => file === Number(number));
  const edge = reel.rows.at(-1);
  const timescale = reel.inits[0]!.track.timescale;
  return !last || !edge || edge.dts - (last.dts + last.duration) > keptSeconds * timescale;
}

/** Lines for the init at the head of this file, where the list lacks it. */
function missingInits(contents: Contents, name: string, known: Forwarded, folder: string) {
  const [, rendition = "", number] = mediaFile.exec(name) ?? [];
  const init = contents.reel(rendition)!.inits.find(({ file }) => file === Number(number));
  if (!init || known.inits.has(initName(rendition, init.version))) return [];
  const head = headOf(join(folder, name), init.bytes);
  return [{ init: initName(rendition, init.version), base64: Buffer.from(head).toString("base64") }];
}

function headOf(path: string, length: number): Uint8Array {
  const fd = openSync(path, "r");
  try {
    const bytes = new Uint8Array(length);
    readSync(fd, bytes, 0, length, 0);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

function journalOf(folder: string): Promise<Buffer | undefined> {
  return readFile(join(folder, "journal")).catch(() => undefined);
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
