/** One row of the broadcast's segment table. Times are ticks of the reference rendition. */
export interface Row {
  readonly number: number;
  readonly dts: number;
  /** Discontinuities before this segment since the broadcast began. */
  readonly discontinuity: number;
  readonly gap: boolean;
}

/**
 * Which number a moment of the broadcast has. Written by the reference rendition alone; every other rendition
 * looks its numbers up here and never counts, so one that joins late or returns cannot diverge.
 */
export class SegmentTable {
  readonly timescale: number;
  #rows: Row[] = [];
  #horizon = Number.NEGATIVE_INFINITY;
  #nextNumber: number;
  #discontinuity: number;
  #expected = 0;

  /** `last` are the newest rows of an earlier run, all of them written. */
  constructor(timescale: number, last: readonly Row[] = []) {
    this.timescale = timescale;
    this.#rows = [...last];
    // Not 0: hls.js 1.7 takes a segment of that number for none and forgets its parts.
    this.#nextNumber = (last.at(-1)?.number ?? 0) + 1;
    this.#discontinuity = last.at(-1)?.discontinuity ?? 0;
  }

  /** Everything before this moment has its number; at and after it nothing is decided. */
  get horizon(): number {
    return this.#horizon;
  }

  get last(): Row | undefined {
    return this.#rows.at(-1);
  }

  get discontinuity(): number {
    return this.#discontinuity;
  }

  /** Length of the last whole segment of media in ticks, 0 before there is one: the best guess for the next. */
  get expected(): number {
    return this.#expected;
  }

  /** Opens the next number at `dts`; `discontinuous` counts one discontinuity before it. */
  add(dts: number, { gap, discontinuous }: { gap: boolean; discontinuous: boolean }): Row {
    const last = this.#rows.at(-1);
    // The tail of a long GOP that was cut at TARGETDURATION foretells nothing.
    if (last && !last.gap && dts - last.dts >= this.timescale) this.#expected = dts - last.dts;
    if (discontinuous) this.#discontinuity++;
    const row = { number: this.#nextNumber++, dts, discontinuity: this.#discontinuity, gap };
    this.#rows.push(row);
    this.advance(dts);
    // Followers lag by parts of seconds; this keeps minutes.
    if (this.#rows.length > 256) this.#rows = this.#rows.slice(-128);
    return row;
  }

  advance(dts: number): void {
    if (dts > this.#horizon) this.#horizon = dts;
  }

  /** The row after `number`, or undefined while it is not written. */
  after(number: number): Row | undefined {
    let found: Row | undefined;
    // Asked for with every frame of sound, about one of the newest.
    for (let i = this.#rows.length - 1; i >= 0 && this.#rows[i]!.number > number; i--) found = this.#rows[i];
    return found;
  }

  /** The row that holds `dts`; undefined before the first row. */
  at(dts: number): Row | undefined {
    return this.#rows.findLast((row) => row.dts <= dts);
  }
}
