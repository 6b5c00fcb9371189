import type { Row, SegmentTable } from "./table.ts";
import type { Chunk, Payload, Sample } from "./track.ts";

/** What happens to a rendition, in order. A reader that applies every step has the rendition. */
export type Step =
  | {
      readonly type: "open";
      readonly row: Row;
      readonly dts: number;
      readonly version: number;
      readonly independent: boolean;
    }
  | { readonly type: "chunk"; readonly chunk: Chunk }
  /** The chunks since the last part are one part; a gap has a duration and no chunks. */
  | { readonly type: "part"; readonly duration: number; readonly independent: boolean; readonly gap: boolean }
  | { readonly type: "close" };

/** All in ticks of the rendition's own timescale. */
export interface Limits {
  /** A keyframe cuts once the open segment is this long. */
  readonly minTicks: number;
  /** No segment is longer: what rounds to TARGETDURATION (rfc8216bis 4.4.3.1). So there is a new one within 1.5 of it (6.2.1). */
  readonly maxTicks: number;
  /** What a part aims at. */
  readonly nominalTicks: number;
  /** What no part exceeds: PART-TARGET (rfc8216bis 4.4.3.7, 4.4.4.9). */
  readonly partTicks: number;
  /** What a part that starts without a keyframe reaches unless it is its segment's last: 85 % of PART-TARGET (4.4.4.9). */
  readonly leastTicks: number;
  /** Of sound, how long a frame is; 0 for pictures. */
  readonly frameTicks: number;
}

/** The segment under construction as far as cutting is concerned. */
export interface Open {
  readonly duration: number;
  readonly independent: boolean;
  readonly partDuration: number;
  /** A decoder can begin in it. */
  readonly partIndependent: boolean;
  /** Distance from the segment's start at which the open part should end. */
  readonly boundary: number;
}

export type Cut = "segment" | "part" | "none";

/** A sample about to join. Until its successor comes its duration is a guess: as long as the one before it. */
export interface Next {
  readonly duration: number;
  /** A segment should begin here. */
  readonly boundary: boolean;
  /** A decoder can begin here, and not with the one before: sound and pictures that are all keyframes have no such place. */
  readonly key: boolean;
  readonly guessed: boolean;
}

/** What ends before the next sample of the reference rendition joins `open`. Nothing else in the product cuts. */
export function cutBefore(next: Next, open: Open, limits: Limits): Cut {
  // rfc8216bis B.1: each segment begins with an independent frame, as long as there are any in time.
  if (next.boundary && (open.duration >= limits.minTicks || !open.independent)) return "segment";
  // rfc8216bis 4.4.3.1: EXTINF rounded MUST NOT exceed TARGETDURATION, which never changes.
  if (open.duration + next.duration > limits.maxTicks) return "segment";
  // rfc8216bis 4.4.4.9: a part with a keyframe may be short, so the next keyframe begins a part, where joining is best.
  if (next.key && open.partIndependent && open.partDuration >= limits.nominalTicks / 2) return "part";
  return cutPart(next, open, limits) ? "part" : "none";
}

/** Whether the open part ends before the sample joins it. */
export function cutPart(
  { duration, guessed }: Pick<Next, "duration" | "guessed">,
  open: Open,
  limits: Limits,
): boolean {
  if (open.partDuration === 0) return false;
  // rfc8216bis 4.4.4.9: a part MUST NOT exceed PART-TARGET, so close early.
  const full = open.partDuration + duration > limits.partTicks;
  if (full && !guessed) return true;
  // rfc8216bis 4.4.4.9: at least 85 % of PART-TARGET unless INDEPENDENT or last of its parent.
  if (!open.partIndependent && open.partDuration < limits.leastTicks) return false;
  return full || open.duration + duration / 2 >= open.boundary;
}

/** How far apart the part boundaries of a segment of about `expected` ticks stand: an even split that leaves no runt. */
export function planParts(expected: number, limits: Limits): number {
  const { frameTicks, partTicks } = limits;
  if (expected <= 0 || expected > limits.maxTicks) return limits.nominalTicks;
  // Players drop a runt and leave a hole, so a short tail is bought with shorter parts before it. Every frame of audio is
  // INDEPENDENT: no part of it can be too short, and as many as fit whole below PART-TARGET make the longest.
  const longest = Math.max(1, Math.floor(partTicks / frameTicks)) * frameTicks;
  if (frameTicks > 0) return expected / Math.ceil(expected / longest - 1e-6);
  return Math.max(expected / Math.ceil(expected / limits.nominalTicks - 0.02), limits.leastTicks);
}

/** Keeps the accounts of the segment under construction and writes the steps of one rendition. */
export class Writer implements Open {
  readonly limits: Limits;
  row: Row | undefined;
  duration = 0;
  independent = false;
  partDuration = 0;
  partIndependent = false;
  boundary = 0;
  /** What the open segment should last; 0 where nothing is known. */
  expected = 0;
  /** A decoder can begin with the last sample. */
  endsWithKey = false;
  readonly #mux: Mux;
  #spacing = 0;
  #steps: Step[] = [];
  /** The open part has a chunk. */
  #begun = false;

  constructor(limits: Limits, mux: Mux) {
    this.limits = limits;
    this.#mux = mux;
  }

  open(row: Row, dts: number, version: number, independent: boolean, expected: number): void {
    this.row = row;
    this.duration = 0;
    this.independent = independent && !row.gap;
    this.partDuration = 0;
    this.expected = expected;
    this.#spacing = planParts(expected, this.limits);
    this.boundary = this.#spacing;
    this.#steps.push({ type: "open", row, dts, version, independent: this.independent });
  }

  /** Accounts for a sample that a chunk will carry. */
  count(duration: number, independent: boolean): void {
    // rfc8216bis 4.4.4.9: INDEPENDENT is for a part that contains an independent frame, wherever in it.
    this.partIndependent = independent || (this.partDuration > 0 && this.partIndependent);
    this.endsWithKey = independent;
    this.partDuration += duration;
    this.duration += duration;
  }

  /** Makes the one chunk of samples that were counted. */
  emit(samples: readonly Sample[], version: number): void {
    this.#steps.push({ type: "chunk", chunk: this.#mux(samples, version, !this.#begun) });
    this.#begun = true;
  }

  closePart(): void {
    if (this.partDuration === 0) return;
    this.#steps.push({
      type: "part",
      duration: this.partDuration,
      independent: this.partIndependent,
      gap: false,
    });
    this.partDuration = 0;
    this.#begun = false;
    while (this.boundary <= this.duration + this.limits.nominalTicks / 4) this.boundary += this.#spacing;
  }

  gap(duration: number): void {
    this.duration += duration;
    this.#steps.push({ type: "part", duration, independent: false, gap: true });
  }

  close(): void {
    if (!this.row) return;
    this.closePart();
    this.#steps.push({ type: "close" });
    this.row = undefined;
  }

  take(): Step[] {
    const steps = this.#steps;
    this.#steps = [];
    return steps;
  }
}

/** A frame of the reference rendition before its duration is known. */
export interface Frame {
  readonly dts: number;
  readonly pts: number;
  readonly key: boolean;
  /** A segment should begin here: it is a keyframe, or those who encode again make one of it. */
  readonly boundary: boolean;
  readonly data: Payload;
  /** Which init segment it needs. */
  readonly version: number;
  /** Nothing before it may be continued: another epoch, another init or a stepped clock. */
  readonly discontinuous: boolean;
}

/** Makes the one chunk of these samples, all of one init version. `begins`: it is the first of its part. */
export type Mux = (samples: readonly Sample[], version: number, begins: boolean) => Chunk;

export interface ReferenceOptions {
  readonly table: SegmentTable;
  readonly limits: Limits;
  readonly mux: Mux;
  /** Where an earlier run stopped, in ticks, and the init under which a gap from there on stands. */
  readonly resume?: { readonly edge: number; readonly version: number } | undefined;
}

/**
 * The rendition that writes the segment table: `source`, or audio where there is no video. Frames come in decoding
 * order. One frame is held until the next tells its duration.
 */
export class Reference {
  readonly #table: SegmentTable;
  readonly #out: Writer;
  #held: Frame | undefined;
  #frameTicks = 0;
  /** End of what is written, media or gap. */
  #edge: number | undefined;
  /** After lost frames only a keyframe can be decoded. */
  #needsKey = true;
  #discontinuous = false;
  /** A gap needs no init; it stands under the one before it. */
  #version = 0;

  constructor(options: ReferenceOptions) {
    this.#table = options.table;
    this.#out = new Writer(options.limits, options.mux);
    if (!options.resume) return;
    this.#edge = options.resume.edge;
    this.#version = options.resume.version;
    this.#discontinuous = true;
  }

  /** Where the next thing written begins; undefined before the first frame. */
  get edge(): number | undefined {
    return this.#held ? this.#held.dts + this.#frameTicks : this.#edge;
  }

  /** True while the clock writes gaps because no frame comes. */
  get silent(): boolean {
    return this.#out.row?.gap === true;
  }

  /** Accepts the next frame; one whose time was given away as a gap is dropped, with everything that depends on it. */
  push(frame: Frame): Step[] {
    if (frame.discontinuous) this.#breakOff(frame.dts);
    if (this.#held && frame.dts <= this.#held.dts) return this.#out.take();
    if (this.#held) this.#finish(this.#held, frame.dts);
    if (this.#edge !== undefined && frame.dts < this.#edge) this.#needsKey = true;
    else if (frame.key || !this.#needsKey) this.#accept(frame);
    return this.#out.take();
  }

  /**
   * The clock stands at `now` and no frame has come: after 1.5 part targets, what is missing becomes gap parts. rfc8216bis 6.2.1: a
   * part follows the last one within its target, a segment within 1.5 of its own, and media that is missing is said to be.
   */
  elapse(now: number): Step[] {
    const from = this.edge;
    const { partTicks, nominalTicks } = this.#out.limits;
    if (from === undefined || now - from < (this.silent ? nominalTicks : 1.5 * partTicks)) return [];
    if (this.#held) this.#finish(this.#held, this.#held.dts + this.#frameTicks);
    const edge = this.#edge ?? from;
    this.#gapUntil(edge + Math.floor((now - edge) / nominalTicks) * nominalTicks);
    return this.#out.take();
  }

  /** The next frame starts behind a discontinuity (rfc8216bis 6.2.1) and must be a keyframe. */
  interrupt(): Step[] {
    this.#breakOff();
    return this.#out.take();
  }

  /** Ends the open segment where the media ends. Nothing may follow. */
  end(): Step[] {
    this.#breakOff();
    this.#out.close();
    return this.#out.take();
  }

  /** What is held lasts up to the next thing where that is known and near, else as long as the frame before it. */
  #breakOff(next?: number): void {
    if (this.#held) this.#finish(this.#held, next ?? this.#held.dts + this.#frameTicks);
    this.#needsKey = true;
    this.#discontinuous ||= this.#edge !== undefined;
  }

  #accept(frame: Frame): void {
    this.#needsKey = false;
    // rfc8216bis 6.2.1: what is missing up to here was on air as nothing: say so. A seam of two clocks is a few milliseconds wide.
    if (this.#edge !== undefined && frame.dts - this.#edge > this.#table.timescale / 100)
      this.#gapUntil(frame.dts);
    if (this.silent || this.#discontinuous) this.#out.close();
    if (this.#out.row)
      this.#cut(frame, {
        duration: this.#frameTicks,
        boundary: frame.boundary,
        key: frame.key && !this.#out.endsWithKey,
        guessed: true,
      });
    else this.#open(frame);
    this.#held = frame;
    this.#table.advance(frame.dts);
  }

  #open(frame: Frame): void {
    const row = this.#table.add(frame.dts, { gap: false, discontinuous: this.#discontinuous });
    this.#discontinuous = false;
    this.#version = frame.version;
    this.#out.open(row, frame.dts, frame.version, frame.key, this.#table.expected);
  }

  #cut(frame: Frame, next: Next): void {
    const cut = cutBefore(next, this.#out, this.#out.limits);
    if (cut === "segment") {
      this.#out.close();
      this.#open(frame);
    } else if (cut === "part") this.#out.closePart();
  }

  /** The held frame lasts until `end`; one that would outlast a part is shown for one frame and leaves a gap. */
  #finish(frame: Frame, end: number): void {
    const duration = shownFor(end - frame.dts, this.#frameTicks, this.#out.limits);
    this.#frameTicks = duration;
    // Its true length may be more than was assumed when it arrived.
    if (this.#out.duration > 0) this.#cut(frame, { duration, boundary: false, key: false, guessed: false });
    this.#out.count(duration, frame.key);
    const { dts, pts, key, data, version } = frame;
    this.#out.emit([{ dts, pts, duration, key, data }], version);
    this.#held = undefined;
    this.#edge = frame.dts + duration;
  }

  #gapUntil(end: number): void {
    const { maxTicks } = this.#out.limits;
    if (this.#out.row && !this.#out.row.gap) this.#out.close();
    const length =
      this.#table.expected > 0 && this.#table.expected < maxTicks ? this.#table.expected : maxTicks / 2;
    let edge = this.#edge ?? end;
    while (edge < end) {
      if (this.#out.row && this.#out.duration >= length) this.#out.close();
      if (!this.#out.row)
        this.#out.open(
          this.#table.add(edge, { gap: true, discontinuous: false }),
          edge,
          this.#version,
          false,
          0,
        );
      const [duration = 0] = gapParts(Math.min(end - edge, maxTicks - this.#out.duration), this.#out.limits);
      this.#out.gap(duration);
      edge += duration;
    }
    this.#edge = end;
    this.#table.advance(end);
  }
}

/** How long a frame lasts whose successor is `distance` away: as long as the one `before` it where that cannot be so. */
export function shownFor(distance: number, before: number, { nominalTicks, partTicks }: Limits): number {
  return distance > 0 && distance <= partTicks ? distance : Math.min(before || nominalTicks, partTicks);
}

/** A gap in parts (rfc8216bis 4.4.4.9): nominal ones, the last up to PART-TARGET rather than a runt behind it. */
export function gapParts(ticks: number, { nominalTicks, partTicks }: Limits): number[] {
  const parts: number[] = [];
  let left = ticks;
  for (; left > partTicks; left -= nominalTicks) parts.push(nominalTicks);
  if (left > 0) parts.push(left);
  return parts;
}
