/** How something is watched. */
export type Protocol = "hls" | "dash" | "moq";
export const protocols: readonly Protocol[] = ["hls", "dash", "moq"];

/** A mean in the making. */
export interface Mean {
  sum: number;
  count: number;
}

/** What players measured, by their own word (CMCD). */
export const measures = [
  "startupSeconds",
  "throughputKbps",
  "bitrateKbps",
  "bufferSeconds",
  "latencySeconds",
  "playbackRate",
] as const;
export type Measure = (typeof measures)[number];

/** What was watched of a video in five minutes, as one process saw it. Everything adds up but the most viewers at once. */
export interface Sums {
  readonly watchedMs: Record<Protocol, number>;
  /** Of players that report. */
  reportedMs: number;
  views: number;
  peak: number;
  stalls: number;
  stalledMs: number;
  errors: number;
  readonly means: Partial<Record<Measure, Mean>>;
}

/**
 * Sums of one video from `at` (epoch ms, a multiple of `stepMs`) on. `source` is who saw it: a node, a slash and what tells its
 * runs apart. A later revision holds all that an earlier one does.
 */
export interface Tally {
  readonly video: string;
  readonly uid: string;
  readonly at: number;
  readonly source: string;
  readonly revision: number;
  readonly sums: Sums;
}

export const stepMs = 300_000;

export function noSums(): Sums {
  return {
    watchedMs: { hls: 0, dash: 0, moq: 0 },
    ...{ reportedMs: 0, views: 0, peak: 0, stalls: 0, stalledMs: 0, errors: 0 },
    means: {},
  };
}

/** Adds what a player measured. */
export function measure(sums: Sums, what: Measure, value: number): void {
  const mean = sums.means[what];
  if (!mean) sums.means[what] = { sum: value, count: 1 };
  else {
    mean.sum += value;
    mean.count++;
  }
}

/** Adds `more` to `sums`. `together` says whether both are of the same moment: then there were as many viewers as both saw. */
export function add(sums: Sums, more: Sums, together: boolean): void {
  for (const protocol of protocols) sums.watchedMs[protocol] += more.watchedMs[protocol];
  for (const field of ["reportedMs", "views", "stalls", "stalledMs", "errors"] as const)
    sums[field] += more[field];
  sums.peak = together ? sums.peak + more.peak : Math.max(sums.peak, more.peak);
  for (const what of measures) {
    const mean = more.means[what];
    if (!mean) continue;
    const mine = sums.means[what];
    if (mine) {
      mine.sum += mean.sum;
      mine.count += mean.count;
    } else sums.means[what] = { ...mean };
  }
}
