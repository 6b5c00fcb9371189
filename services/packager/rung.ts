import type { End } from "./outlet.ts";
import { cutPart, gapParts, type Limits, type Mux, type Step, shownFor, Writer } from "./segmenter.ts";
import type { Row, SegmentTable } from "./table.ts";
import type { Payload } from "./track.ts";

/** A coded picture of a rung on the broadcast's timeline; decoding and presentation order are the same. */
export interface RungFrame {
  readonly dts: number;
  readonly pts: number;
  readonly key: boolean;
  readonly data: Payload;
  readonly version: number;
}

export interface RungOptions {
  readonly table: SegmentTable;
  readonly limits: Limits;
  readonly mux: Mux;
  /** Where an earlier run of it stands. */
  readonly resume?: End | undefined;
}

/**
 * Video beside a video reference of the same timescale. Its keyframes stand where the source's do, so a segment begins
 * at the very dts of its row. It begins and comes back only there; while nothing comes it is a gap.
 */
export class RungWriter {
  readonly #table: SegmentTable;
  readonly #out: Writer;
  #held: RungFrame | undefined;
  #frameTicks = 0;
  #edge: number | undefined;
  #done: number | undefined;
  #version = 0;
  /** Frames were given away, or none came yet: only the start of a row will do. */
  #waits = true;

  constructor(options: RungOptions) {
    this.#table = options.table;
    this.#out = new Writer(options.limits, options.mux);
    this.#done = options.resume?.number;
    this.#edge = options.resume?.dts;
  }

  push(frame: RungFrame): Step[] {
    if (this.#held && frame.dts <= this.#held.dts) return this.#out.take();
    if (this.#held) this.#finish(this.#held, frame.dts);
    const row = this.#rowOf(frame);
    if (!row || row.number <= (this.#done ?? -1)) return this.#out.take();
    // The reference had to leave these out, so nothing that follows can count on them either.
    if (row.gap) this.#giveUp();
    if (row.gap || (this.#waits && !this.#mayBegin(frame, row))) return this.#out.take();
    this.#waits = false;
    if (row.number !== this.#out.row?.number) {
      this.#visit(row);
      this.#version = frame.version;
      this.#out.open(row, frame.dts, frame.version, frame.key, this.#expected(row));
    } else if (cutPart({ duration: this.#frameTicks, guessed: true }, this.#out, this.#out.limits))
      this.#out.closePart();
    this.#held = frame;
    return this.#out.take();
  }

  /** Follows the reference: through gaps at once, through media when the encoder is clearly late. */
  advance(): Step[] {
    if (this.#edge === undefined) return [];
    for (;;) {
      const row = this.#out.row ?? this.#table.after(this.#done ?? -1);
      if (!row) break;
      const end = this.#table.after(row.number);
      const behind = this.#table.horizon - (this.#held?.dts ?? this.#edge);
      const silent = row.gap || (end?.gap === true && behind > this.#out.limits.partTicks);
      // A late encoder is given as long as players hold back; one that is gone is followed closely.
      if (!silent && behind < (this.#waits ? 2 : 3) * this.#out.limits.partTicks) break;
      this.#giveUp();
      if (!this.#out.row) this.#out.open(row, row.dts, this.#version, false, 0);
      this.#gapTo(
        end?.dts ?? (row.gap ? this.#table.horizon : this.#table.horizon - this.#out.limits.partTicks),
      );
      if (!end) break;
      this.#close();
    }
    return this.#out.take();
  }

  /** Its encoder is gone, or another takes over. */
  interrupt(): Step[] {
    this.#giveUp();
    return this.#out.take();
  }

  end(): Step[] {
    this.#giveUp();
    this.#close();
    return this.#out.take();
  }

  /** A keyframe that stands a little before a row begins it: of reordered frames at changing distances the source's dts say less. */
  #rowOf({ dts, key }: RungFrame): Row | undefined {
    const row = this.#table.at(dts);
    const next = key && row ? this.#table.after(row.number) : undefined;
    return next && next.dts - dts <= this.#nearTicks && next.dts - dts < dts - row!.dts ? next : row;
  }

  get #nearTicks(): number {
    return this.#table.timescale / 20;
  }

  #mayBegin(frame: RungFrame, row: Row): boolean {
    const newest = this.#out.row?.number ?? this.#done ?? -1;
    return frame.key && row.number > newest && Math.abs(frame.dts - row.dts) <= this.#nearTicks;
  }

  #giveUp(): void {
    if (this.#held) this.#finish(this.#held, this.#held.dts + this.#frameTicks);
    this.#out.closePart();
    this.#waits = true;
  }

  /** Closes what is open and lists rows that were passed over as gaps, up to but not including `target`. */
  #visit(target: Row): void {
    const began = this.#edge !== undefined;
    for (;;) {
      const row = this.#out.row ?? (began ? this.#table.after(this.#done ?? -1) : undefined);
      if (!row || row.number >= target.number) break;
      if (!this.#out.row) this.#out.open(row, row.dts, this.#version, false, 0);
      const end = this.#table.after(row.number);
      if (end) this.#gapTo(end.dts);
      this.#close();
    }
  }

  /** A hole of less than a hundredth of a second is a seam. */
  #gapTo(dts: number): void {
    const row = this.#out.row;
    if (!row) return;
    const edge = Math.max(this.#edge ?? row.dts, row.dts);
    if (dts - edge < this.#table.timescale / 100) return;
    this.#out.closePart();
    for (const duration of gapParts(dts - edge, this.#out.limits)) this.#out.gap(duration);
    this.#edge = dts;
  }

  #finish(frame: RungFrame, end: number): void {
    const duration = shownFor(end - frame.dts, this.#frameTicks, this.#out.limits);
    this.#frameTicks = duration;
    if (cutPart({ duration, guessed: false }, this.#out, this.#out.limits)) this.#out.closePart();
    this.#out.count(duration, frame.key);
    const { dts, pts, key, data, version } = frame;
    this.#out.emit([{ dts, pts, duration, key, data }], version);
    this.#held = undefined;
    this.#edge = frame.dts + duration;
    const row = this.#out.row;
    const rowEnd = row && this.#table.after(row.number)?.dts;
    if (rowEnd !== undefined && this.#edge >= rowEnd) this.#close();
  }

  #close(): void {
    this.#done = this.#out.row?.number ?? this.#done;
    this.#out.close();
  }

  #expected(row: Row): number {
    const end = this.#table.after(row.number);
    return end ? end.dts - row.dts : this.#table.expected;
  }
}
