import { firstOf } from "./search.ts";
import type { Segment } from "./track.ts";

/** How many rows share one piece of rendered text. */
const blockRows = 128;

/**
 * The complete segments of a rendition before those that its window holds, without bytes or parts, for playlists that go
 * back further. Grows at the end; what a cap takes goes at the beginning.
 */
export class Past {
  #rows: Segment[] = [];
  #from = 0;
  #ticks = 0;
  #unclean = 0;
  /** Those without media among them. */
  #gaps: Segment[] = [];
  #discontinuitySequence: number;
  readonly #texts = new Map<string, string[]>();

  /** `discontinuity`: the broadcast's count before the first segment. */
  constructor(discontinuity: number) {
    this.#discontinuitySequence = discontinuity;
  }

  get length(): number {
    return this.#rows.length - this.#from;
  }

  /** The discontinuity count of the last segment that was forgotten. */
  get discontinuitySequence(): number {
    return this.#discontinuitySequence;
  }

  /** Whether a decoder can start with every one, or there is nothing to decode. */
  get clean(): boolean {
    return this.#unclean === 0;
  }

  at(index: number): Segment | undefined {
    return this.#rows[this.#from + index];
  }

  /** The segment of this number. */
  find(number: number): Segment | undefined {
    const row = this.#rows[this.#indexOf(number)];
    return row?.number === number ? row : undefined;
  }

  /** Those that have no media, oldest first. */
  get gaps(): readonly Segment[] {
    return this.#gaps;
  }

  /** The segment that left the window, and with it the oldest while the rest alone lasts `mostTicks`. */
  add(segment: Segment, mostTicks: number): void {
    this.#rows.push(segment.parts.length > 0 ? { ...segment, parts: none } : segment);
    this.#ticks += segment.duration;
    if (segment.gap) this.#gaps.push(this.#rows.at(-1)!);
    if (unclean(segment)) this.#unclean++;
    for (;;) {
      const oldest = this.#rows[this.#from];
      if (!oldest || this.#ticks - oldest.duration < mostTicks) break;
      this.#from++;
      this.#ticks -= oldest.duration;
      if (unclean(oldest)) this.#unclean--;
      if (this.#gaps[0] === oldest) this.#gaps.shift();
      this.#discontinuitySequence = oldest.discontinuity;
      if (this.#from === blockRows) {
        this.#rows = this.#rows.slice(blockRows);
        this.#from = 0;
        for (const blocks of this.#texts.values()) blocks.shift();
      }
    }
  }

  /**
   * The rows with numbers from `from` and below `until`, all by default, as text: `render` writes rows that follow each other,
   * the first behind `before` or none. It is called anew for the oldest and the newest rows, and once under this `key` for others.
   */
  text(
    { key, from, until }: { readonly key: string; readonly from?: number; readonly until?: number },
    render: (rows: readonly Segment[], before: Segment | undefined) => string,
  ): string {
    const first = from === undefined ? this.#from : Math.max(this.#from, this.#indexOf(from));
    const end = until === undefined ? this.#rows.length : this.#indexOf(until);
    const blocks = this.#texts.get(key) ?? [];
    this.#texts.set(key, blocks);
    const pieces: string[] = [];
    for (let block = Math.floor(first / blockRows); block * blockRows < end; block++) {
      const start = Math.max(block * blockRows, first);
      const stop = Math.min((block + 1) * blockRows, end);
      const write = (): string =>
        render(this.#rows.slice(start, stop), start === this.#from ? undefined : this.#rows[start - 1]);
      // The first of a playlist has no predecessor, so its block reads differently from what it was.
      if (block === 0 || stop - start < blockRows) pieces.push(write());
      else {
        blocks[block] ??= write();
        pieces.push(blocks[block]!);
      }
    }
    return pieces.join("");
  }

  /** Of the first row with this number or a later one. */
  #indexOf(number: number): number {
    return firstOf(this.#rows.length, (i) => this.#rows[i]!.number >= number, this.#from);
  }
}

const none: Segment["parts"] = Object.freeze([]);

function unclean({ independent, gap }: Segment): boolean {
  return !independent && !gap;
}
