import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../lib/durable.ts";

/** What of a broadcast must outlive the origin. */
export interface Entry {
  readonly video: string;
  /** Counts publishes; a lower one may not write any more. */
  readonly epoch: number;
}

/** How many epochs one write takes. */
const block = 1000;
/** Inputs whose habits are remembered. */
const maxHabits = 10_000;

/** What is on air here and who may write it, on disk before it is granted. What was written of it, its recording knows. */
export class Ledger {
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();
  /** The last epoch granted, and the highest that is on disk as taken: no epoch comes twice, whatever ended meanwhile. */
  #epoch: number;
  #taken: number;
  #taking: Promise<void> | undefined;
  readonly #writes = new Map<string, Promise<void>>();
  /** Inputs whose last broadcast had sparse keyframes, the oldest first. */
  readonly #sparse: Set<string>;

  private constructor(folder: string, taken: number, sparse: Iterable<string>) {
    this.#folder = folder;
    this.#sparse = new Set(sparse);
    this.#epoch = taken;
    this.#taken = taken;
  }

  /** Reads what the last origin left behind; files that cannot be read are no broadcast. */
  static async open(folder: string): Promise<Ledger> {
    await mkdir(folder, { recursive: true });
    const taken = Number(await readFile(join(folder, "epochs"), "utf8").catch(() => "0"));
    const sparse = await readFile(join(folder, "sparse"), "utf8").catch(() => "");
    const ledger = new Ledger(
      folder,
      Number.isSafeInteger(taken) ? taken : 0,
      sparse.split("\n").filter((line) => /^[0-9a-f]{32}$/.test(line)),
    );
    const names = await readdir(folder);
    for (const name of names) {
      const input = /^([0-9a-f]{32})\.json$/.exec(name)?.[1];
      if (!input) continue;
      try {
        const { video, epoch } = JSON.parse(await readFile(join(folder, name), "utf8")) as Entry;
        ledger.#entries.set(input, { video, epoch });
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
    this.#entries.set(input, { video, epoch });
    const file = join(this.#folder, `${input}.json`);
    await this.#queue(input, () => replaceFile(file, JSON.stringify({ video, epoch })));
    return epoch;
  }

  /** Whether the keyframes of this input's last broadcast were too far apart. */
  habit(input: string): boolean {
    return this.#sparse.has(input);
  }

  /** Remembers that for the next broadcast. */
  async keepHabit(input: string, sparse: boolean): Promise<void> {
    if (this.#sparse.has(input) === sparse) return;
    if (sparse) this.#sparse.add(input);
    else this.#sparse.delete(input);
    if (this.#sparse.size > maxHabits) this.#sparse.delete(this.#sparse.values().next().value!);
    const file = join(this.#folder, "sparse");
    await this.#queue("sparse", () => replaceFile(file, [...this.#sparse].join("\n")));
  }

  async drop(input: string): Promise<void> {
    this.#entries.delete(input);
    await this.#queue(input, async () => {
      if (this.#entries.has(input)) return;
      await rm(join(this.#folder, `${input}.json`), { force: true });
    });
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
