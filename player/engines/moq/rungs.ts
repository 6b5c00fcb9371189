import { AUTO, type Quality, qualityFor } from "../quality.ts";

/** Two stalls within this are the link's. */
const OFTEN_MS = 10_000;
/** After this long without a stall a better picture is tried; twice as long after each that was too much, up to the second figure. */
const STEADY_MS = 20_000;
const MOST_STEADY_MS = 80_000;
/** Of what the link has carried lately, so much is counted on; and how long that is remembered. */
const SHARE = 0.8;
const RATE_MS = 800;

/** A picture to choose from. */
export interface Rung {
  readonly height: number;
  readonly bitsPerSecond: number;
}

/** Chooses the picture: as the viewer did, else the best that the screen shows and the link carries. Times are in ms of one clock. */
export class Rungs {
  /** A quality's name or `AUTO`. */
  wish: string;
  /** The best one that may be taken, by its place in the list. */
  #best = 0;
  #steadyMs = STEADY_MS;
  #steadySince = Number.NEGATIVE_INFINITY;
  #stalledMs = Number.NEGATIVE_INFINITY;
  /** What came lately. */
  #came: readonly { readonly ms: number; readonly bytes: number }[] = [];

  constructor(wish: string) {
    this.wish = wish;
  }

  get isAuto(): boolean {
    return this.wish === AUTO;
  }

  /** What is wanted now of `video`, best first, which are called `qualities`; `pixels` is the height of the screen, 0 where unknown. */
  wanted<T extends Rung>(
    { video, qualities }: { readonly video: readonly T[]; readonly qualities: readonly Quality[] },
    pixels: number,
  ): T | undefined {
    const chosen = qualityFor(qualities, this.wish);
    if (chosen) return video[qualities.indexOf(chosen)];
    const enough = video.findLastIndex(({ height }) => pixels > 0 && height >= pixels);
    return video[Math.min(Math.max(0, enough, this.#best), video.length - 1)];
  }

  /** So many bytes have come. */
  came(bytes: number, nowMs: number): void {
    this.#came = [...this.#came.filter(({ ms }) => nowMs - ms < RATE_MS), { ms: nowMs, bytes }];
  }

  /** Playback stands still for want of media. True where that happens often. */
  stalled(nowMs: number): boolean {
    const often = nowMs - this.#stalledMs < OFTEN_MS;
    this.#stalledMs = this.#steadySince = nowMs;
    return often;
  }

  /** Playback begins. */
  begin(nowMs: number): void {
    this.#steadySince = nowMs;
  }

  /** From now on the best one below the one at `at` that the link carries, else the last; false where there is none below. */
  descend(video: readonly Rung[], at: number, nowMs: number): boolean {
    if (at < 0 || at + 1 >= video.length) return false;
    const bytes = this.#came.reduce((sum, one) => sum + (nowMs - one.ms < RATE_MS ? one.bytes : 0), 0);
    const carried = ((bytes * 8000) / RATE_MS) * SHARE;
    const fits = video.findIndex(({ bitsPerSecond }, index) => index > at && bitsPerSecond <= carried);
    this.#best = fits < 0 ? video.length - 1 : fits;
    this.#steadyMs = Math.min(MOST_STEADY_MS, 2 * this.#steadyMs);
    return true;
  }

  /** From now on the one below the one at `at`. */
  lower(video: readonly Rung[], at: number): void {
    if (at >= 0) this.#best = Math.min(video.length - 1, at + 1);
  }

  /** True once after each long time without a stall: a better one may be taken now. */
  steady(nowMs: number): boolean {
    if (nowMs - this.#steadySince < this.#steadyMs) return false;
    this.#steadySince = nowMs;
    this.#best = Math.max(0, this.#best - 1);
    return true;
  }
}
