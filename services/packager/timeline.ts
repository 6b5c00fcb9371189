/**
 * Where an encoder sets keyframes by itself: at the first frame of each stretch of this many milliseconds of raw time. It
 * divides 2^32, so whoever counts raw time with or without its wraps finds the same frames.
 */
export const keyGridMs = 2_048;

/** Ticks per millisecond of the video timescale. */
const ticksPerMs = 90;

/** Broadcast time of the first frame, in milliseconds: room for what starts a little earlier, so that tfdt is never negative. */
export const startMs = 10_000;

/** A raw clock that goes back by more than this has stepped. */
const backMs = 1_000;
/** A raw clock that runs ahead of the wall clock by more than this has stepped. */
const aheadMs = 2_000;
/** Audio further than this from the picture belongs to the other side of a step. */
const apartMs = 3_000;

/**
 * Raw timestamps of one broadcast's publishes to broadcast time: an offset that only ever changes in steps. All
 * times are whole milliseconds; `epochMs` is the wall clock at broadcast time 0 and never changes, so that
 * PROGRAM-DATE-TIME is never ambiguous.
 */
export class Timeline {
  readonly epochMs: number;
  #offset: number | undefined;
  #ageMs = 0;
  #raw: number | undefined;
  /** Where the last frame of the reference stands, and when it came. */
  #at: number;
  #arrival: number;
  #audioOffset = 0;
  #strayFrames = 0;
  /** Stretches of the raw clock of this publish, newest first, with what was added to each. */
  #steps: { readonly from: number; to: number; readonly offset: number }[] = [];

  /** A broadcast that begins now, or one that goes on with the epoch that it once had. */
  constructor(nowMs: number, epochMs = nowMs - startMs) {
    this.epochMs = epochMs;
    this.#at = nowMs - epochMs;
    this.#arrival = nowMs;
  }

  /** Broadcast time of the wall clock. */
  clock(nowMs: number): number {
    return nowMs - this.epochMs;
  }

  /** Where a frame that arrived now would stand if it followed the last one in step with the wall clock. */
  now(nowMs: number): number {
    return this.#at + Math.max(0, nowMs - this.#arrival);
  }

  /** Another publish: its raw clock has nothing to do with the last one's. Its first frame is `ageMs` old. */
  begin(ageMs: number): void {
    this.#offset = undefined;
    this.#ageMs = ageMs;
    this.#steps = [];
  }

  /**
   * A frame of the reference rendition. `edgeMs` is where the written media or gap ends; `joinMs` how close to it a
   * new clock must come to continue there without a gap. `stepped` asks for a discontinuity before the frame.
   */
  reference(
    rawMs: number,
    nowMs: number,
    edgeMs: number | undefined,
    joinMs: number,
  ): { at: number; stepped: boolean } {
    let stepped = false;
    const raw = this.#raw;
    if (this.#offset !== undefined && raw !== undefined) {
      const ahead = rawMs - raw;
      stepped = ahead < -backMs || ahead > aheadMs + Math.max(0, nowMs - this.#arrival);
    }
    if (this.#offset === undefined || stepped) {
      const clock = this.clock(nowMs) - (stepped ? 0 : this.#ageMs);
      // Two milliseconds, because the edge is rounded and the frame may yet snap to its grid.
      const at = edgeMs === undefined ? clock : clock - edgeMs < joinMs ? edgeMs + 2 : clock;
      this.#offset = at - rawMs;
      this.#audioOffset = 0;
      this.#strayFrames = 0;
      this.#steps = [{ from: rawMs, to: rawMs, offset: this.#offset }, ...this.#steps.slice(0, 7)];
      stepped = true;
    }
    const [step] = this.#steps;
    if (step) step.to = Math.max(step.to, rawMs);
    this.#raw = rawMs;
    this.#at = rawMs + this.#offset;
    this.#arrival = nowMs;
    return { at: this.#at, stepped };
  }

  /**
   * A frame that an encoder made of one of this publish, by the raw time that it kept: the offset then in force in ms,
   * and the raw time without its wraps. Undefined where no frame of the source was.
   */
  again(rawMs: number): { raw: number; offset: number } | undefined {
    for (const { from, to, offset } of this.#steps) {
      // It kept 32 bits; the source's clock may have wrapped any number of times.
      const raw = rawMs + Math.round((to - rawMs) / 2 ** 32) * 2 ** 32;
      // Presentation may lie a few frames behind the last decoding time.
      if (raw >= from && raw <= to + apartMs) return { raw, offset };
    }
    return undefined;
  }

  /** The same of a frame of sound, whose encoder may have another clock than its pictures have. */
  againBeside(rawMs: number): { raw: number; offset: number } | undefined {
    return this.again(rawMs + this.#audioOffset);
  }

  /** What to add to the raw time of another picture of this publish; undefined where none of the reference has been. */
  with(rawMs: number): number | undefined {
    if (this.#offset === undefined || this.#raw === undefined) return undefined;
    return Math.abs(rawMs - this.#raw) < apartMs ? this.#offset : undefined;
  }

  /** An audio frame beside a video reference; undefined where it belongs to no picture: it is dropped. */
  beside(rawMs: number, nowMs: number): number | undefined {
    if (this.#offset === undefined || this.#raw === undefined) return undefined;
    const at = rawMs + this.#offset + this.#audioOffset;
    const picture = this.#at;
    if (at > picture - apartMs && at < this.now(nowMs) + apartMs) {
      this.#strayFrames = 0;
      return at;
    }
    // For a second it may be what follows a step of the picture's clock; then it is an encoder with two clocks.
    if (++this.#strayFrames < 50) return undefined;
    this.#audioOffset += picture - at;
    return picture;
  }
}

/**
 * A raw timestamp in video ticks: on the frame grid where it is within the millisecond that RTMP rounds to, so that
 * frames last equally long. A pure function of the timestamp, so that a rung that comes back in raw time agrees.
 */
export function snapToGrid(rawMs: number, frameRate: number | undefined): number {
  const ticks = rawMs * ticksPerMs;
  if (!frameRate || frameRate < 1 || frameRate > 240) return ticks;
  const snapped = Math.round((Math.round((rawMs * frameRate) / 1000) * 1000 * ticksPerMs) / frameRate);
  return Math.abs(snapped - ticks) <= ticksPerMs ? snapped : ticks;
}

/**
 * Audio on its sample clock: every frame starts where the last one ended. Off by more than a frame, one is dropped
 * or whole frames are skipped; the writer fills what is skipped.
 */
export class AudioGrid {
  readonly #rate: number;
  readonly #frame: number;
  #next: number | undefined;

  constructor(rate: number, frameTicks: number) {
    this.#rate = rate;
    this.#frame = frameTicks;
  }

  /** The dts in ticks of the next frame, which lasts `frame` ticks, for its broadcast time; undefined when it is to be dropped. */
  place(atMs: number, frame = this.#frame): number | undefined {
    const ticks = (atMs * this.#rate) / 1000;
    this.#next ??= Math.round(ticks);
    const off = ticks - this.#next;
    if (off < -frame) return undefined;
    if (off > frame) this.#next += Math.round(off / frame) * frame;
    const dts = this.#next;
    this.#next += frame;
    return dts;
  }

  /** Another clock begins. */
  reset(): void {
    this.#next = undefined;
  }
}
