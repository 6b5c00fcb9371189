/** What each new part counts for against all before it: the quick average follows within two parts, the steady in six. */
const QUICK = 0.3;
const STEADY = 0.11;
const TTFB = 0.2;
/** Shorter than this a transfer tells more of the browser's clock than of the line. */
const LEAST_MS = 5;

/**
 * The bandwidth of a line, from the parts that came over it. hls.js weighs each transfer by how long it took: parts that come
 * in a few milliseconds then count for nothing, and a line that recovered would be taken for a slow one for minutes. Here each
 * part counts the same, and what is averaged is the time that a bit takes, so that a slow part is not outvoted by fast ones.
 */
export class Estimate {
  readonly defaultEstimate: number;
  #quick: number;
  #steady: number;
  #ttfbMs = 100;
  #samples = 0;

  /** `bitsPerSecond` holds until the first part; `measured` says that it is no guess. */
  constructor(bitsPerSecond: number, measured = false) {
    this.defaultEstimate = bitsPerSecond;
    this.#samples = measured ? 1 : 0;
    this.#quick = this.#steady = 1 / bitsPerSecond;
  }

  /** One transfer that took so long. */
  sample(durationMs: number, bytes: number): void {
    if (bytes <= 0) return;
    const secondsPerBit = Math.max(durationMs, LEAST_MS) / 1000 / (8 * bytes);
    this.#samples++;
    this.#quick += (secondsPerBit - this.#quick) * QUICK;
    this.#steady += (secondsPerBit - this.#steady) * STEADY;
  }

  /** The time to the first byte of one transfer. */
  sampleTTFB(ms: number): void {
    this.#ttfbMs += (Math.max(ms, 5) - this.#ttfbMs) * TTFB;
  }

  canEstimate(): boolean {
    return this.#samples > 0;
  }

  /** Bits per second: down at once, up when it has lasted. */
  getEstimate(): number {
    return 1 / Math.max(this.#quick, this.#steady);
  }

  /** Milliseconds. */
  getEstimateTTFB(): number {
    return this.#ttfbMs;
  }

  /** hls.js says here how fast to forget; that is settled above. */
  update(): void {}

  destroy(): void {}
}

/** A part that comes too slowly, and what there is to do about it. Times are of media or of the clock, in seconds. */
export interface Trouble {
  /** Bits per second of each level at most, lowest first. */
  readonly levels: readonly number[];
  /** The index of the level that comes too slowly. */
  readonly from: number;
  /** Of the line, as far as it is known now. */
  readonly bitsPerSecond: number;
  /** From the playhead to the segment's beginning; negative once it plays. */
  readonly toStart: number;
  /** From the segment's beginning to the end of the part that is on its way. */
  readonly into: number;
  /** The length that the segment will have. */
  readonly length: number;
  /** What the part on its way still takes. */
  readonly left: number;
  /** What is left to play. */
  readonly ahead: number;
}

/** What to load, and whether at once or from the next segment on. */
export interface Rescue {
  readonly level: number;
  readonly now: boolean;
}

/** A switch asks for a playlist and an init first. */
const SWITCH_SECONDS = 0.15;
const ONE_PART = 0.5;

/**
 * The way down that a viewer notices least. A switch at once begins at the keyframe of the segment that is being loaded; if
 * the playhead is there already, browsers show nothing new until the next keyframe. So it may be better to end the segment as
 * it is. The level is the best that the line carries with something to spare.
 */
export function rescue(trouble: Trouble): Rescue {
  const { levels, from, bitsPerSecond, toStart, into, length, left, ahead } = trouble;
  const carried = levels.findLastIndex((bits, index) => index < from && bits <= bitsPerSecond * 0.8);
  const later = left + (Math.max(0, length - into) * levels[from]!) / bitsPerSecond - ahead;
  let best: Rescue = { level: Math.max(0, carried), now: false };
  let cost = Math.max(0, later);
  for (let level = best.level; level >= 0; level--) {
    const share = levels[level]! / bitsPerSecond;
    const inTime = SWITCH_SECONDS + ONE_PART * share < toStart;
    // What was buffered of the segment is replaced from its beginning on.
    const late = SWITCH_SECONDS + into * share - (toStart + into);
    const now = inTime ? Math.max(0, late) : toStart + length;
    if (now >= cost) continue;
    best = { level, now: true };
    cost = now;
  }
  return best;
}
