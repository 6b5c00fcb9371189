import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Programme } from "../live/programme.ts";
import type { Contents } from "./contents.ts";
import type { Place } from "./read.ts";
import { recorded } from "./vod.ts";

export interface ShelfOptions {
  readonly place: (video: string) => Place;
  /** Reads the journal of a recording; undefined where there is none that stays. */
  readonly contents: (video: string) => Promise<Contents | undefined>;
  /** Whether it may still grow. */
  readonly isLiving: (video: string) => boolean;
  /** Told of a recording whose journal is another one than it was: somebody has repaired it. */
  readonly changed: (video: string) => void;
}

/** Recordings whose lists are kept in memory. */
const mostFound = 64;
/** And their segments: half a day of a ladder has a hundred thousand, each a quarter of a kilobyte. */
const mostRows = 500_000;
/** How old may be what is known of a recording, and of how many it is known how old it is. */
const lookMs = 1_000;
const mostLooked = 1_000;

/** Recordings that somebody watches, in memory for as long as their journals stay as they are. */
export class Shelf {
  readonly #options: ShelfOptions;
  readonly #found = new Map<string, { readonly programme: Programme; readonly rows: number }>();
  /** Those that are being read. */
  readonly #asked = new Map<string, Promise<Programme | undefined>>();
  /** What the journals of those that are over were like when somebody asked, and when. */
  readonly #looked = new Map<string, { readonly journal: string; readonly atMs: number }>();

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  /** What is recorded under a video's uid; undefined where nothing is. */
  async find(video: string): Promise<Programme | undefined> {
    await this.look(video);
    const known = this.#found.get(video);
    if (known) {
      // The one that was asked for last goes last.
      this.#found.delete(video);
      this.#found.set(video, known);
      return known.programme;
    }
    let asked = this.#asked.get(video);
    if (!asked) {
      const mine: Promise<Programme | undefined> = this.#read(
        video,
        () => this.#asked.get(video) === mine,
      ).finally(() => {
        if (this.#asked.get(video) === mine) this.#asked.delete(video);
      });
      asked = mine;
      this.#asked.set(video, mine);
    }
    return asked;
  }

  /** Lets go of what is known of a recording whose journal is another one now. */
  async look(video: string): Promise<void> {
    const atMs = performance.now();
    if (atMs - (this.#looked.get(video)?.atMs ?? Number.NEGATIVE_INFINITY) < lookMs) return;
    if (this.#options.isLiving(video)) return;
    const journal = await stampOf(join(this.#options.place(video).folder, "journal"));
    const before = this.#looked.get(video);
    if (before && before.journal !== journal) this.#change(video);
    this.#looked.delete(video);
    if (journal !== undefined) this.#looked.set(video, { journal, atMs });
    const [oldest] = this.#looked.keys();
    if (this.#looked.size > mostLooked) this.#change(oldest!);
  }

  forget(video: string): void {
    this.#looked.delete(video);
    this.#found.delete(video);
    this.#asked.delete(video);
  }

  #change(video: string): void {
    this.forget(video);
    this.#options.changed(video);
  }

  /** Keeps what it finds where that does not change any more and is `wanted` still. */
  async #read(video: string, wanted: () => boolean): Promise<Programme | undefined> {
    const contents = await this.#options.contents(video);
    if (!contents) return undefined;
    const programme = recorded(this.#options.place(video), contents);
    if (contents.endedMs === undefined || !wanted()) return programme;
    const rows = contents.reels.reduce((sum, reel) => sum + reel.rows.length, 0);
    this.#found.set(video, { programme, rows });
    let kept = [...this.#found.values()].reduce((sum, one) => sum + one.rows, 0);
    for (const [oldest, one] of this.#found) {
      if (oldest === video || (this.#found.size <= mostFound && kept <= mostRows)) break;
      this.#found.delete(oldest);
      kept -= one.rows;
    }
    return programme;
  }
}

/** Differs where the file does; undefined where there is none. */
async function stampOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${ino} ${size} ${mtimeMs}`;
  } catch {
    return undefined;
  }
}
