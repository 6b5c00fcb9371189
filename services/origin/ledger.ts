import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { replaceFile } from "../lib/durable.ts";

/** What of a broadcast must outlive the origin. */
export interface Entry {
  readonly video: string;
  /** Counts publishes; a lower one may not write any more. */
  readonly epoch: number;
}

/** What an input's last broadcast was like: an encoder seldom changes its settings. */
export interface Habit {
  /** Its keyframes were too far apart; undefined while that is not known. */
  readonly sparse?: boolean | undefined;
  /** Seconds of a segment, where all were alike. */
  readonly cadenceSeconds?: number | undefined;
  /** Which language its words were in, empty where nobody said; undefined where there were none. */
  readonly words?: string | undefined;
  /** Channels of the captions in its pictures, where there were any. */
  readonly captions?: readonly string[] | undefined;
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
  /** By input, the oldest first. */
  readonly #habits: Map<string, Habit>;

  private constructor(folder: string, taken: number, habits: Iterable<readonly [string, Habit]>) {
    this.#folder = folder;
    this.#habits = new Map(habits);
    this.#epoch = taken;
    this.#taken = taken;
  }

  /** Reads what the last origin left behind; files that cannot be read are no broadcast. */
  static async open(folder: string): Promise<Ledger> {
    await mkdir(folder, { recursive: true });
    const taken = Number(await readFile(join(folder, "epochs"), "utf8").catch(() => "0"));
    const habits = await readFile(join(folder, "habits"), "utf8").catch(() => "");
    const ledger = new Ledger(
      folder,
      Number.isSafeInteger(taken) ? taken : 0,
      habits.split("\n").flatMap(habitOf),
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
    if (epoch > this.#taken) this.#taking = this.#take(epoch + block);
    await this.#taking;
    this.#entries.set(input, { video, epoch });
    const file = join(this.#folder, `${input}.json`);
    await this.#queue(input, () => replaceFile(file, JSON.stringify({ video, epoch })));
    return epoch;
  }

  /** Notes on disk that all epochs up to this one are gone; where the disk does not take that, the next who needs one tries again. */
  async #take(upTo: number): Promise<void> {
    const before = this.#taken;
    this.#taken = upTo;
    try {
      await replaceFile(join(this.#folder, "epochs"), String(upTo));
    } catch (error) {
      this.#taken = before;
      throw error;
    }
  }

  /** What this input's last broadcast was like, as far as it is known. */
  habit(input: string): Habit {
    return this.#habits.get(input) ?? {};
  }

  /** Remembers that for the next broadcast. */
  async keepHabit(input: string, habit: Habit): Promise<void> {
    if (isDeepStrictEqual(withoutHoles(this.habit(input)), withoutHoles(habit))) return;
    this.#habits.delete(input);
    this.#habits.set(input, habit);
    if (this.#habits.size > maxHabits) this.#habits.delete(this.#habits.keys().next().value!);
    const lines = [...this.#habits].map(([uid, habit]) => `${uid} ${JSON.stringify(habit)}`);
    await this.#queue("habits", () => replaceFile(join(this.#folder, "habits"), lines.join("\n")));
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

const channel = /^(CC[1-4]|SERVICE\d{1,2})$/;

function withoutHoles(habit: Habit): Habit {
  return Object.fromEntries(Object.entries(habit).filter(([, value]) => value !== undefined));
}

function habitOf(line: string): (readonly [string, Habit])[] {
  const [, uid, text] = /^([0-9a-f]{32}) (\{.*\})$/.exec(line) ?? [];
  if (!uid || !text) return [];
  try {
    const { sparse, cadenceSeconds, words, captions } = JSON.parse(text) as Habit;
    const cadence = Number(cadenceSeconds) > 0 ? Number(cadenceSeconds) : undefined;
    const channels = Array.isArray(captions) ? captions.filter((one) => channel.test(String(one))) : [];
    return [
      [
        uid,
        {
          sparse: sparse === undefined ? undefined : sparse === true,
          cadenceSeconds: cadence,
          words: typeof words === "string" ? words : undefined,
          captions: channels.length > 0 ? channels : undefined,
        },
      ],
    ];
  } catch {
    return [];
  }
}
