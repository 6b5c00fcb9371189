import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../lib/durable.ts";
import type { Resume } from "../packager/packager.ts";

/** What of a broadcast must outlive the origin: who may write, and which numbers are taken. */
export interface Entry {
  readonly video: string;
  /** Counts publishes; a lower one may not write any more. */
  readonly epoch: number;
  /** Absent before the first frame. Numbers below `resume.number` may have been announced. */
  readonly resume: Resume | undefined;
}

/** How many segment numbers one write sets aside. */
const block = 64;

/** One small file per broadcast on air, on disk before anything is granted or announced that depends on it. */
export class Ledger {
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();
  readonly #writes = new Map<string, Promise<void>>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads what the last origin left behind; a file that cannot be read is no broadcast. */
  static async open(folder: string): Promise<Ledger> {
    const ledger = new Ledger(folder);
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) {
      if (!/^[0-9a-f]{32}\.json$/.test(name)) continue;
      try {
        const entry = JSON.parse(await readFile(join(folder, name), "utf8")) as Entry;
        if (typeof entry.video === "string" && Number.isInteger(entry.epoch)) ledger.#entries.set(name.slice(0, 32), entry);
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

  /** The next epoch of this video, on disk before it is returned. */
  async grant(input: string, video: string): Promise<number> {
    const known = this.#entries.get(input);
    const same = known?.video === video ? known : undefined;
    const entry = { video, epoch: (known?.epoch ?? 0) + 1, resume: same?.resume };
    await this.#write(input, entry);
    return entry.epoch;
  }

  /** Keeps a block of numbers ahead of `progress` set aside. Cheap when there is nothing to do. */
  keepAhead(input: string, progress: Resume): Promise<void> | undefined {
    const entry = this.#entries.get(input);
    if (!entry) return undefined;
    const known = entry.resume;
    if (known && known.number - progress.number > block / 2 && known.discontinuity >= progress.discontinuity && known.epochMs === progress.epochMs) return undefined;
    return this.#write(input, { ...entry, resume: { ...progress, number: progress.number + block } });
  }

  async drop(input: string): Promise<void> {
    this.#entries.delete(input);
    await this.#writes.get(input);
    if (!this.#entries.has(input)) await rm(join(this.#folder, `${input}.json`), { force: true });
  }

  #write(input: string, entry: Entry): Promise<void> {
    this.#entries.set(input, entry);
    // One write at a time per file; the last word wins.
    const after = (this.#writes.get(input) ?? Promise.resolve()).then(async () => {
      const current = this.#entries.get(input);
      if (current) await replaceFile(join(this.#folder, `${input}.json`), JSON.stringify(current));
    });
    this.#writes.set(input, after.catch(() => {}));
    return after;
  }
}
