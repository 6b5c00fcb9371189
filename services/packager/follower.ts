import type { End } from "./outlet.ts";
import { cutPart, gapParts, type Limits, type Mux, type Step, Writer } from "./segmenter.ts";
import type { Row, SegmentTable } from "./table.ts";
import type { Payload, Sample } from "./track.ts";

/** Frames in one audio chunk: 85 ms at 48 kHz, so that a header costs under a tenth of the audio. */
const chunkSamples = 4;

export interface FollowerOptions {
  readonly table: SegmentTable;
  readonly limits: Limits;
  readonly timescale: number;
  readonly mux: Mux;
  /** A rendition that joins late begins with the row after this number. */
  readonly after?: number | undefined;
  /** Where an earlier run of it stands. */
  readonly resume?: End | undefined;
  /** A frame of silence of so many ticks for this init version, `previous` being the last frame heard. */
  readonly silence: (version: number, previous: Payload, duration: number) => Payload;
}

interface Queued {
  readonly sample: Sample;
  readonly version: number;
}

/**
 * Audio beside a video reference: takes its segment numbers from the table by time and never cuts for itself.
 * Holes are filled with silence where the reference has media and are gaps where it has none.
 */
export class Follower {
  readonly #table: SegmentTable;
  readonly #timescale: number;
  readonly #silence: FollowerOptions["silence"];
  readonly #out: Writer;
  #queue: Queued[] = [];
  #chunk: Sample[] = [];
  #chunkVersion = 0;
  #edge: number | undefined;
  #last: Queued | undefined;
  /** The number that was closed last; only later ones may open. */
  #done: number | undefined;
  /** Where the row that opens next need not continue the sample grid of the one before. */
  #loose = true;
  #discontinuity: number | undefined;

  constructor(options: FollowerOptions) {
    this.#table = options.table;
    this.#timescale = options.timescale;
    this.#silence = options.silence;
    this.#out = new Writer(options.limits, options.mux);
    this.#done = options.resume?.number ?? options.after;
    this.#edge = options.resume?.dts;
  }

  /** Accepts the next sample; it is written once the reference has passed its time. */
  push(sample: Sample, version: number): Step[] {
    this.#queue.push({ sample, version });
    return this.advance();
  }

  /** What was pushed and lies after `start` (ticks of the table) belongs to nothing: another configuration begins there. */
  forget(start: number): void {
    this.#queue = this.#queue.filter(({ sample }) => this.#toTable(sample.dts + sample.duration / 2) < start);
  }

  /** Writes what the segment table has decided by now; call it after every step of the reference. */
  advance(): Step[] {
    let written = 0;
    for (const next of this.#queue) {
      if (!this.#write(next)) break;
      written++;
    }
    if (written > 0) this.#queue.splice(0, written);
    this.#catchUp();
    return this.#out.take();
  }

  /** The reference has ended at the table's horizon: what belongs to it is written, the rest is dropped. */
  end(): Step[] {
    const steps = this.advance();
    this.#flush();
    this.#out.close();
    this.#queue = [];
    return [...steps, ...this.#out.take()];
  }

  /** False while the table has not decided the sample's moment. */
  #write(next: Queued): boolean {
    const { sample } = next;
    // A frame belongs to the segment in which its middle lies: neighbours differ by half a frame at most.
    const middle = this.#toTable(sample.dts + sample.duration / 2);
    if (middle >= this.#table.horizon) return false;
    const row = this.#table.at(middle);
    if (!row || (this.#done !== undefined && row.number <= this.#done)) return true;
    if (this.#edge !== undefined && sample.dts < this.#edge - sample.duration / 2) return true;
    this.#moveTo(row, next);
    if (row.gap || this.#last === next) return true;
    this.#fill(sample.dts, next);
    this.#add(next);
    return true;
  }

  /** Closes rows until `row` is open; rows in between get silence or gaps of their own. */
  #moveTo(row: Row, next: Queued): void {
    while (this.#out.row && this.#out.row.number < row.number) this.#finishRow(next);
    if (this.#out.row) return;
    // A rendition that joins begins with its first row; one that is under way visits every row.
    for (;;) {
      const following = this.#done === undefined ? row : this.#table.after(this.#done);
      if (!following) return;
      this.#open(following, next);
      if (following.number >= row.number) return;
      this.#finishRow(next);
    }
  }

  #open(row: Row, next: Queued): void {
    const start = this.#fromTable(row.dts);
    const frame = next.sample.duration;
    const edge = this.#edge;
    if (this.#loose || row.discontinuity !== this.#discontinuity) {
      // Another grid begins: whole frames of silence lead from the row's start to the first frame.
      const lead = Math.max(0, Math.round((next.sample.dts - Math.max(start, edge ?? start)) / frame));
      this.#edge = row.gap
        ? Math.max(start, edge ?? start)
        : this.#within(row, next)
          ? next.sample.dts - lead * frame
          : start;
      if (edge !== undefined && this.#edge < edge) this.#edge = edge;
    }
    this.#discontinuity = row.discontinuity;
    this.#loose = row.gap;
    const from = this.#edge ?? start;
    // In its own frames, from where they begin: half a frame to either side is a frame more or less. Where rounding decides,
    // more: what does not come makes the last part shorter by a frame, what comes beyond the plan is a part of one.
    const expected = (this.#expected(row) + (row.gap ? 0 : start - from)) / frame;
    this.#out.open(row, from, next.version, true, Math.ceil(expected - 0.45) * frame);
  }

  #within(row: Row, next: Queued): boolean {
    const end = this.#table.after(row.number);
    return !end || this.#toTable(next.sample.dts) < end.dts;
  }

  #expected(row: Row): number {
    const end = this.#table.after(row.number);
    return this.#fromTable(end ? end.dts - row.dts : this.#table.expected);
  }

  /** Fills the open row to its end, which the table knows, and closes it. */
  #finishRow(next: Queued): void {
    const row = this.#out.row;
    if (!row) return;
    const end = this.#table.after(row.number);
    if (end) {
      if (row.gap) this.#gapTo(this.#fromTable(end.dts));
      else {
        this.#fill(this.#fromTable(end.dts) - next.sample.duration / 2, next);
        // A segment shorter than a frame takes one whole: without media its number would be a hole in the playlist.
        if (this.#out.row && this.#out.duration === 0)
          this.#add(this.#follows(next) ? next : this.#quiet(next));
      }
    }
    this.#flush();
    this.#out.close();
    this.#done = row.number;
  }

  /** True when nothing is missing between the edge and this frame. */
  #follows({ sample }: Queued): boolean {
    return this.#edge !== undefined && Math.abs(sample.dts - this.#edge) < sample.duration / 2;
  }

  /** Silence from the edge until less than half a frame is missing before `dts`. */
  #fill(dts: number, like: Queued): void {
    const { duration } = this.#last?.sample ?? like.sample;
    while (this.#edge !== undefined && this.#out.row && !this.#out.row.gap && this.#edge + duration / 2 < dts)
      this.#add(this.#quiet(like));
  }

  /** A frame of silence at the edge, in the kind of the last frame or of `like`. */
  #quiet(like: Queued): Queued {
    const { sample, version } = this.#last ?? like;
    const { duration, data } = sample;
    const dts = this.#edge ?? like.sample.dts;
    return {
      version,
      sample: { dts, pts: dts, duration, key: true, data: this.#silence(version, data, duration) },
    };
  }

  #gapTo(dts: number): void {
    if (this.#edge === undefined) return;
    for (const duration of gapParts(dts - this.#edge, this.#out.limits)) {
      this.#out.gap(duration);
      this.#edge += duration;
    }
  }

  #add(next: Queued): void {
    const { sample, version } = next;
    if (this.#chunk.length > 0 && version !== this.#chunkVersion) this.#flush();
    // On one grid the edge is the dts; where two grids meet it is less than half a frame away, and tfdt has no holes.
    const dts = this.#edge ?? sample.dts;
    this.#chunk.push(dts === sample.dts ? sample : { ...sample, dts, pts: dts });
    this.#chunkVersion = version;
    this.#last = next;
    this.#edge = dts + sample.duration;
    this.#out.count(sample.duration, true);
    const frame = { duration: sample.duration, guessed: false };
    if (this.#closeWhole(sample.duration)) return;
    if (cutPart(frame, this.#out, this.#out.limits) && !this.#mayBeLast(sample.duration)) {
      this.#flush();
      this.#out.closePart();
    } else if (this.#chunk.length === chunkSamples) this.#flush();
  }

  /** Closes the open row where its last frame has come. */
  #closeWhole(frame: number): boolean {
    const row = this.#out.row;
    const end = row && this.#table.after(row.number);
    if (!row || !end || row.gap || this.#edge === undefined) return false;
    if (this.#edge + frame / 2 < this.#fromTable(end.dts)) return false;
    this.#flush();
    this.#out.close();
    this.#done = row.number;
    return true;
  }

  /** The row should end about here, nobody knows yet, and a frame more would fit: alone it would be a runt that players drop. */
  #mayBeLast(frame: number): boolean {
    const { duration, expected, partDuration, limits } = this.#out;
    return Math.abs(expected - duration) < 1.5 * frame && partDuration + frame <= limits.partTicks;
  }

  #flush(): void {
    if (this.#chunk.length === 0) return;
    this.#out.emit(this.#chunk, this.#chunkVersion);
    this.#chunk = [];
  }

  /** Without samples: follows the reference through gaps at once, and through media when audio is clearly missing. */
  #catchUp(): void {
    const last = this.#last;
    if (!last || this.#edge === undefined) return;
    this.#closeWhole(last.sample.duration);
    const { partTicks, nominalTicks } = this.#out.limits;
    for (;;) {
      const horizon = this.#fromTable(this.#table.horizon);
      const row = this.#out.row ?? this.#table.after(this.#done ?? -1);
      if (!row) return;
      const end = this.#table.after(row.number);
      if (row.gap) {
        if (!this.#out.row) this.#open(row, { ...last, sample: { ...last.sample, dts: this.#edge } });
        this.#gapTo(end ? this.#fromTable(end.dts) : horizon);
        if (!end) return;
        this.#finishRow(last);
        continue;
      }
      if (this.#queue.length > 0 || horizon - this.#edge < 1.5 * partTicks) return;
      const until = end ? this.#fromTable(end.dts) - last.sample.duration / 2 : horizon - nominalTicks / 2;
      if (!this.#out.row) this.#open(row, { ...last, sample: { ...last.sample, dts: this.#edge } });
      this.#fill(until, last);
      if (!end) return;
      if (this.#out.row) this.#finishRow(last);
    }
  }

  #toTable(ticks: number): number {
    return (ticks * this.#table.timescale) / this.#timescale;
  }

  #fromTable(ticks: number): number {
    return Math.round((ticks * this.#timescale) / this.#table.timescale);
  }
}
