/** Seconds between the newest media and the screen that are aimed at, and how far that may go after stalls. */
const TARGET_SECONDS = 0.22;
const MOST_SECONDS = 1.5;
const STEP_SECONDS = 0.15;
/** Further behind than this playback jumps, below it plays a little faster. Who comes from LL-HLS is as far behind as that was. */
const JUMP_SECONDS = 1.5;
const JOIN_SECONDS = 4;
/** What has begun to play settles for this long: it may jump by less, and faster than later on. */
const SETTLE_MS = 2_000;
/** So much is there before it begins, in seconds. */
const LEAST_SECONDS = 0.1;

/** What is buffered, in media seconds, as a list of stretches in order. */
export type Stretches = Pick<TimeRanges, "length" | "start" | "end">;

/** Keeps a distance from the newest media. Times are in ms of one clock, places in media seconds. */
export class Pace {
  #target = TARGET_SECONDS;
  #jump = JUMP_SECONDS;
  #startedMs: number | undefined;

  /** Seconds behind the newest media that are aimed at. */
  get target(): number {
    return this.#target;
  }

  /** It has been said where playback begins. */
  get started(): boolean {
    return this.#startedMs !== undefined;
  }

  /** True in its first moments, in which a stall says nothing of the link. */
  settles(nowMs: number): boolean {
    return this.#startedMs !== undefined && nowMs - this.#startedMs < SETTLE_MS;
  }

  /**
   * Where to begin with what there is from `begin` to `edge`: where another engine was, if that is near. Undefined for too little,
   * unless nothing follows.
   */
  start(
    {
      begin,
      edge,
      at,
      isLast,
    }: {
      readonly begin: number;
      readonly edge: number;
      readonly at: number | undefined;
      readonly isLast: boolean;
    },
    nowMs: number,
  ): number | undefined {
    if (edge - begin < LEAST_SECONDS && !isLast) return undefined;
    this.#startedMs = nowMs;
    const joins = at !== undefined && edge - at < JOIN_SECONDS;
    if (joins) this.#jump = JOIN_SECONDS;
    return Math.max(begin, Math.min(joins ? at : edge, edge - this.#target));
  }

  /** Playback is where it is to be without having begun live. */
  startElsewhere(nowMs: number): void {
    this.#startedMs ??= nowMs;
  }

  /** It begins anew. */
  restart(): void {
    this.#startedMs = undefined;
  }

  /** Playback stood still for want of media: more distance is kept. */
  stalled(): void {
    this.#target = Math.min(MOST_SECONDS, this.#target + STEP_SECONDS);
  }

  /** It has not for long: less. */
  steady(): void {
    this.#target = Math.max(TARGET_SECONDS, this.#target - STEP_SECONDS / 3);
  }

  /** A place so far behind the live one is one to which a viewer went, or stayed at. */
  isBehind(at: number, live: number): boolean {
    return at < live - JUMP_SECONDS;
  }

  /** How to go on from `at`: at another rate, or from another place, which is not before `begin`. */
  keep(
    { at, begin, edge }: { readonly at: number; readonly begin: number; readonly edge: number },
    nowMs: number,
  ): { readonly rate?: number; readonly to?: number } {
    const late = edge - at - this.#target;
    const limit = this.#jump === JUMP_SECONDS && this.settles(nowMs) ? 0.5 : this.#jump;
    if (late < 0.5) this.#jump = JUMP_SECONDS;
    if (late > limit) return { to: Math.max(begin, edge - this.#target) };
    // 5 % is not heard; half a second takes ten.
    if (late > 0.06) return { rate: late > 0.5 ? 1.1 : 1.05 };
    if (late < -0.15) return { rate: 0.97 };
    return late < 0.02 ? { rate: 1 } : {};
  }
}

/**
 * Where playback at `at` finds media, when there is none: the next stretch. Undefined where it has as much as `leastSeconds`, or nothing
 * follows.
 */
export function pastHole(buffered: Stretches, at: number, leastSeconds = 0.05): number | undefined {
  for (let i = 0; i < buffered.length; i++) {
    if (at >= buffered.start(i) && at < buffered.end(i) - leastSeconds) return undefined;
    if (buffered.start(i) > at) return buffered.start(i) + 0.001;
  }
  return undefined;
}

/** Between two looks no more than this counts: a page that slept did not stand still. */
const LOOK_MOST_MS = 500;

/** For how long playback has been at one place, over many looks. */
export class Standstill {
  #at = Number.NaN;
  #lookedMs = 0;
  #ms = 0;

  /** Milliseconds at this place; 0 where it `may` stand still. */
  look(at: number, may: boolean, nowMs: number): number {
    const since = Math.min(LOOK_MOST_MS, nowMs - this.#lookedMs);
    this.#lookedMs = nowMs;
    this.#ms = may || at !== this.#at ? 0 : this.#ms + since;
    this.#at = at;
    return this.#ms;
  }
}
