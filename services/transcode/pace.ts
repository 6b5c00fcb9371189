/** Where an encode stands at a moment; all in milliseconds. */
export interface PaceSample {
  /** Of a clock that only grows. */
  readonly atMs: number;
  /** The newest picture of the source that it was given, on the timeline that it sees. */
  readonly fedMs: number;
  /** The newest picture that all of its rungs have, on the same timeline. */
  readonly outMs: number;
}

export interface PaceLimits {
  /** A rung that is this late is on its way to a hole: viewers hold back about three times as much. */
  readonly lateMs: number;
  /** What one look is over. */
  readonly windowMs: number;
  /** An encode that is late and catches up has this long to be back. */
  readonly patienceMs: number;
}

const usualLimits: PaceLimits = { lateMs: 500, windowMs: 4_000, patienceMs: 10_000 };

/** An encode that makes this much of real time has room to catch up. */
const headway = 1.1;

/**
 * Whether an encode keeps up with its source, from samples of where it stands. Being late is no fault by itself: a feed begins with
 * a whole GOP at once, and machines hiccup. Being late and not coming back is. One that gives nothing at all hangs, which is
 * another's to see.
 */
export class Pace {
  readonly #limits: PaceLimits;
  #samples: PaceSample[] = [];
  #slowSince: number | undefined;

  constructor(limits: Partial<PaceLimits> = {}) {
    this.#limits = { ...usualLimits, ...limits };
  }

  /** How far its rungs are behind the source now. */
  get lagMs(): number {
    const last = this.#samples.at(-1);
    return last ? Math.max(0, lag(last)) : 0;
  }

  /** Media time over real time in the last window; undefined before there is one. */
  get speed(): number | undefined {
    const [first, last] = this.#ends();
    return first && last ? (last.outMs - first.outMs) / (last.atMs - first.atMs) : undefined;
  }

  /** Takes a sample; true when the encode is too slow for its source. */
  isSlow(sample: PaceSample): boolean {
    this.#samples.push(sample);
    const { windowMs, lateMs, patienceMs } = this.#limits;
    const from = this.#samples.findLastIndex(({ atMs }) => sample.atMs - atMs >= windowMs);
    if (from > 0) this.#samples = this.#samples.slice(from);
    const [first, last] = this.#ends();
    // After a sleep of the whole machine two samples lie far apart and say nothing.
    if (!first || !last || last.atMs - first.atMs > 2 * windowMs) return false;
    const lately = this.#samples.findLast(({ atMs }) => last.atMs - atMs >= windowMs / 3)!;
    // One that gives nothing hangs; what was seen before counts on.
    if (last.outMs <= lately.outMs) return false;
    const stays = [first, lately].every((since) => {
      const gained = lag(since) - lag(last);
      // Faster than real time and yet further behind: the source came in a burst, which will end.
      if (last.outMs - since.outMs > headway * (last.atMs - since.atMs)) return false;
      return gained <= 0 || ((lag(last) - lateMs) * (last.atMs - since.atMs)) / gained > patienceMs;
    });
    const slow = stays && lag(lately) > lateMs && lag(last) > lateMs;
    // A hiccup leaves the same picture behind for a moment, until there is something to see of the recovery.
    if (!slow) this.#slowSince = undefined;
    else this.#slowSince ??= last.atMs;
    return this.#slowSince !== undefined && last.atMs - this.#slowSince >= windowMs / 3;
  }

  #ends(): readonly [PaceSample | undefined, PaceSample | undefined] {
    const last = this.#samples.at(-1);
    const first = this.#samples[0];
    const whole = first && last && last.atMs - first.atMs >= this.#limits.windowMs;
    return whole ? [first, last] : [undefined, undefined];
  }
}

const lag = ({ fedMs, outMs }: PaceSample) => fedMs - outMs;
