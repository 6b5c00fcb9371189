import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../lib/durable.ts";
import type { Resume } from "../packager/packager.ts";

/** What of a broadcast must outlive the origin. */
export interface Entry {
  readonly video: string;
  /** Counts publishes; a lower one may not write any more. */
  readonly epoch: number;
  /** Absent when nothing was announced. */
  readonly resume: Resume | undefined;
}

/** How many epochs one write takes. */
const block = 1000;

/**
 * What is on air here, on disk: who may write, durable before it is granted, and what the playlists show, written with
 * each segment and safe from kill -9 (a power cut may cost the last of it, and then the broadcast ends).
 */
export class Ledger {
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();
  /** The last epoch granted, and the highest that is on disk as taken: no epoch comes twice, whatever ended meanwhile. */
  #epoch: number;
  #taken: number;
  #taking: Promise<void> | undefined;
  readonly #writes = new Map<string, Promise<void>>();

  private constructor(folder: string, taken: number) {
    this.#folder = folder;
    this.#epoch = taken;
    this.#taken = taken;
  }

  /** Reads what the last origin left behind; files that cannot be read are no broadcast. */
  static async open(folder: string): Promise<Ledger> {
    await mkdir(folder, { recursive: true });
    const taken = Number(await readFile(join(folder, "epochs"), "utf8").catch(() => "0"));
    const ledger = new Ledger(folder, Number.isSafeInteger(taken) ? taken : 0);
    const names = await readdir(folder);
    for (const name of names) {
      const input = /^([0-9a-f]{32})\.json$/.exec(name)?.[1];
      if (!input) continue;
      try {
        const { video, epoch } = await ledger.#read<Entry>(name);
        const shown = names.includes(`${input}.rows`)
          ? await ledger.#read<{ video: string; resume: Resume }>(`${input}.rows`)
          : undefined;
        ledger.#entries.set(input, {
          video,
          epoch,
          resume: shown?.video === video ? shown.resume : undefined,
        });
      } catch {
        await rm(join(folder, name), { force: true });
      }
    }
    return ledger;
  }

  get(input: string): Entry | undefined {
    return this.#entries.get(input);
  }

  inputs(): string[] {
    return [...this.#entries.keys()];
  }

  /** An epoch above every earlier one, on disk before it is returned. */
  async grant(input: string, video: string): Promise<number> {
    const epoch = ++this.#epoch;
    if (epoch > this.#taken) {
      this.#taken = epoch + block;
      this.#taking = replaceFile(join(this.#folder, "epochs"), String(this.#taken));
    }
    await this.#taking;
    const known = this.#entries.get(input);
    const resume = known?.video === video ? known.resume : undefined;
    this.#entries.set(input, { video, epoch, resume });
    const file = join(this.#folder, `${input}.json`);
    await this.#queue(input, () => replaceFile(file, JSON.stringify({ video, epoch })));
    return epoch;
  }

  /** Remembers what the playlists show from now on. */
  async show(input: string, resume: Resume): Promise<void> {
    const known = this.#entries.get(input);
    if (!known) return;
    this.#entries.set(input, { ...known, resume });
    const file = join(this.#folder, `${input}.rows`);
    await this.#queue(input, async () => {
      await writeFile(`${file}.new`, JSON.stringify({ video: known.video, resume }), { mode: 0o600 });
      await rename(`${file}.new`, file);
    });
  }

  async drop(input: string): Promise<void> {
    this.#entries.delete(input);
    await this.#queue(input, async () => {
      if (this.#entries.has(input)) return;
      for (const end of ["json", "rows"]) await rm(join(this.#folder, `${input}.${end}`), { force: true });
    });
  }

  async #read<T>(name: string): Promise<T> {
    return JSON.parse(await readFile(join(this.#folder, name), "utf8")) as T;
  }

  /** One write at a time for an input, in order. */
  #queue(input: string, write: () => Promise<void>): Promise<void> {
    const done = (this.#writes.get(input) ?? Promise.resolve()).then(write);
    const quiet = done.catch(() => {});
    this.#writes.set(input, quiet);
    void quiet.then(() => this.#writes.get(input) === quiet && this.#writes.delete(input));
    return done;
  }
}
