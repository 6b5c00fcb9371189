/** One picture of a storyboard: the part of an image that is shown from one second to another. */
export interface Tile {
  readonly from: number;
  readonly to: number;
  readonly url: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Board {
  /** When the video's second 0 was, ms since 1970; undefined where the list does not say it. */
  readonly startMs: number | undefined;
  /** In the order of their times. */
  readonly tiles: readonly Tile[];
}

/** A list that grows is asked for again when it is this old; one that failed, too. */
const freshMs = 10_000;

const cue =
  /^(\d+):(\d{2}):(\d{2}\.\d{3}) --> (\d+):(\d{2}):(\d{2}\.\d{3})\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$/;

/** Reads a storyboard as the origin writes it; what is not a cue with a place in an image is left out. */
export function readBoard(text: string, base: string): Board {
  const tiles: Tile[] = [];
  for (const block of text.split("\n\n")) {
    const found = cue.exec(block.trim());
    if (!found) continue;
    const [, h, m, s, h2, m2, s2, url, x, y, width, height] = found as unknown as string[];
    const seconds = (...[hours, minutes, rest]: (string | undefined)[]): number =>
      Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);
    const place = { x: Number(x), y: Number(y), width: Number(width), height: Number(height) };
    tiles.push({ from: seconds(h, m, s), to: seconds(h2, m2, s2), url: new URL(url!, base).href, ...place });
  }
  const start = Date.parse(/^NOTE start=(\S+)$/m.exec(text)?.[1] ?? "");
  return { startMs: Number.isNaN(start) ? undefined : start, tiles };
}

/** The tile of this second of the video; the last one for what is newer than the list. */
export function tileAt({ tiles }: Board, second: number): Tile | undefined {
  if (second < (tiles[0]?.from ?? 0)) return undefined;
  return tiles.findLast(({ from }) => from <= second);
}

/** The storyboard at an address, fetched when somebody looks at it and again when it may have grown. */
export class Storyboard {
  readonly #url: () => string;
  #board: Board | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  /** `url` says where it is now. */
  constructor(url: () => string) {
    this.#url = url;
  }

  /** What is known of it now; `changed` is called when more is. */
  look(growing: boolean, changed: () => void): Board | undefined {
    const now = performance.now();
    if ((growing || !this.#board) && now - this.#askedAt > freshMs) {
      this.#askedAt = now;
      void this.#load().then((board) => {
        if (!board) return;
        this.#board = board;
        changed();
      });
    }
    return this.#board;
  }

  async #load(): Promise<Board | undefined> {
    try {
      const answer = await fetch(this.#url());
      return answer.ok ? readBoard(await answer.text(), answer.url) : undefined;
    } catch {
      // Without it there is the time alone.
      return undefined;
    }
  }
}
