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
  #discontinuitySequence: number;
  #text: { readonly name: string; readonly epochMs: number; readonly blocks: string[] } | undefined;

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

  /** The segment that left the window, and with it the oldest while the rest alone lasts `mostTicks`. */
  add(segment: Segment, mostTicks: number): void {
    this.#rows.push({ ...segment, parts: [] });
    this.#ticks += segment.duration;
    if (unclean(segment)) this.#unclean++;
    for (;;) {
      const oldest = this.#rows[this.#from];
      if (!oldest || this.#ticks - oldest.duration < mostTicks) break;
      this.#from++;
      this.#ticks -= oldest.duration;
      if (unclean(oldest)) this.#unclean--;
      this.#discontinuitySequence = oldest.discontinuity;
      if (this.#from === blockRows) {
        this.#rows = this.#rows.slice(blockRows);
        this.#from = 0;
        this.#text?.blocks.shift();
      }
    }
  }

  /**
   * All of it as text: `render` writes rows that follow each other, the first behind `before` or none. It is called anew for
   * the oldest and the newest rows, and once for all others.
   */
  text(
    { name, epochMs }: { readonly name: string; readonly epochMs: number },
    render: (rows: readonly Segment[], before: Segment | undefined) => string,
  ): string {
    if (this.#text?.name !== name || this.#text.epochMs !== epochMs)
      this.#text = { name, epochMs, blocks: [] };
    const { blocks } = this.#text;
    const pieces: string[] = [];
    for (let block = 0; block * blockRows < this.#rows.length; block++) {
      const start = block * blockRows;
      const from = Math.max(start, this.#from);
      const rows = (): readonly Segment[] => this.#rows.slice(from, start + blockRows);
      const full = start + blockRows <= this.#rows.length;
      // The first of a playlist has no predecessor, so its block reads differently from what it was.
      if (block === 0 || !full) pieces.push(render(rows(), block === 0 ? undefined : this.#rows[from - 1]));
      else {
        blocks[block] ??= render(rows(), this.#rows[from - 1]);
        pieces.push(blocks[block]!);
      }
    }
    return pieces.join("");
  }
}

function unclean({ independent, gap }: Segment): boolean {
  return !independent && !gap;
}
