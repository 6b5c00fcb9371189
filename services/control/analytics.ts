import { add, type Measure, measures, noSums, protocols, type Sums, type Tally } from "../live/tally.ts";

/** What was watched, as the API says it. */
export interface Watched {
  readonly watchMinutes: number;
  readonly views: number;
  readonly peakViewers: number;
  readonly watchMinutesBy: { readonly hls: number; readonly dash: number; readonly moq: number };
  /** Of players that report; null where none did. */
  readonly quality:
    | ({
        readonly watchMinutes: number;
        readonly stalls: number;
        readonly stalledSeconds: number;
        readonly errors: number;
      } & Readonly<Record<Measure, number | null>>)
    | null;
}

export interface Analysis {
  readonly totals: Watched;
  readonly points: readonly (Watched & { readonly at: number })[];
  readonly videos: readonly (Watched & { readonly uid: string })[];
  readonly inputs: readonly (Watched & { readonly uid: string })[];
}

const most = 100;

/** Puts together what origins counted: over time in steps of `stepMs`, by video and by live input. */
export function analyse(tallies: readonly Tally[], stepMs: number): Analysis {
  const moments = [...Map.groupBy(tallies, ({ at }) => at)].sort(([a], [b]) => a - b);
  const points = Map.groupBy(moments, ([at]) => Math.floor(at / stepMs) * stepMs);
  return {
    totals: viewOf(overTime(moments)),
    points: [...points].map(([at, all]) => ({ at, ...viewOf(overTime(all)) })),
    videos: listOf(tallies, ({ video }) => video),
    inputs: listOf(tallies, ({ uid }) => uid),
  };
}

function listOf(
  tallies: readonly Tally[],
  of: (tally: Tally) => string,
): (Watched & { readonly uid: string })[] {
  return [...Map.groupBy(tallies, of)]
    .map(([uid, own]) => ({ uid, ...viewOf(overTime([...Map.groupBy(own, ({ at }) => at)])) }))
    .sort((a, b) => b.watchMinutes - a.watchMinutes)
    .slice(0, most);
}

/** Of several moments the most viewers are those of the fullest. */
function overTime(moments: readonly (readonly [number, readonly Tally[]])[]): Sums {
  const sums = noSums();
  for (const [, tallies] of moments) add(sums, atOnce(tallies), false);
  return sums;
}

/** Of one moment: origins and videos have their viewers at once, runs of one origin one after the other. */
function atOnce(tallies: readonly Tally[]): Sums {
  const sums = noSums();
  const nodeOf = ({ source }: Tally): string => source.slice(0, source.lastIndexOf("/"));
  for (const own of Map.groupBy(tallies, (tally) => `${tally.video} ${nodeOf(tally)}`).values()) {
    const one = noSums();
    for (const tally of own) add(one, tally.sums, false);
    add(sums, one, true);
  }
  return sums;
}

function viewOf(sums: Sums): Watched {
  const minutes = (ms: number): number => Math.round(ms / 600) / 100;
  const { hls, dash, moq } = sums.watchedMs;
  const reports =
    sums.reportedMs > 0 || sums.stalls > 0 || sums.errors > 0 || Object.keys(sums.means).length > 0;
  return {
    watchMinutes: minutes(protocols.reduce((total, protocol) => total + sums.watchedMs[protocol], 0)),
    views: sums.views,
    peakViewers: sums.peak,
    watchMinutesBy: { hls: minutes(hls), dash: minutes(dash), moq: minutes(moq) },
    quality: reports
      ? {
          watchMinutes: minutes(sums.reportedMs),
          stalls: sums.stalls,
          stalledSeconds: Math.round(sums.stalledMs / 10) / 100,
          errors: sums.errors,
          ...meansOf(sums),
        }
      : null,
  };
}

function meansOf({ means }: Sums): Record<Measure, number | null> {
  const of = (what: Measure): number | null => {
    const mean = means[what];
    return mean && mean.count > 0 ? Math.round((100 * mean.sum) / mean.count) / 100 : null;
  };
  return Object.fromEntries(measures.map((what) => [what, of(what)])) as Record<Measure, number | null>;
}
