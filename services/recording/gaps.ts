import type { Gap } from "../live/recordings.ts";
import type { Segment } from "../packager/track.ts";
import type { Contents, Reel } from "./contents.ts";
import { withoutHoles } from "./rows.ts";

/** Every gap of a recording as it would be listed now. */
export function gapsOf(contents: Contents): Gap[] {
  return contents.reels.flatMap((reel) => runsOf(reel, withoutHoles(reel, contents.reels)));
}

/** Finds the gaps of a recording that grows, each when media follow it. */
export class GapWatch {
  /** Rows that were looked at, by rendition. */
  readonly #seen = new Map<string, number>();
  readonly #told = new Set<string>();

  /** Gaps that have ended since the last look. */
  look({ reels }: Contents): Gap[] {
    const found: Gap[] = [];
    for (const reel of reels) {
      const { rows } = reel;
      const seen = this.#seen.get(reel.name) ?? 0;
      let good = rows.findLastIndex((row, i) => i < seen && !row.gap);
      for (let i = Math.max(seen, good + 1); i < rows.length; i++) {
        const row = rows[i]!;
        if (row.gap) continue;
        const before = rows[good];
        if (before && row.number > before.number + 1) found.push(between(reel, before, row));
        good = i;
      }
      this.#seen.set(reel.name, rows.length);
    }
    return found.filter((gap) => this.#isNew(gap));
  }

  /** Those that nothing follows, too, and those that a rendition has where another began before it or went on. */
  end(contents: Contents): Gap[] {
    return gapsOf(contents).filter((gap) => this.#isNew(gap));
  }

  #isNew({ rendition, from, to }: Gap): boolean {
    const key = `${rendition} ${from} ${to}`;
    const isNew = !this.#told.has(key);
    this.#told.add(key);
    return isNew;
  }
}

function between(reel: Reel, before: Segment, after: Segment): Gap {
  const timescale = timescaleOf(reel);
  const start = before.dts + before.duration;
  return {
    ...{ rendition: reel.name, from: before.number + 1, to: after.number - 1 },
    ...{ at: start / timescale, seconds: Math.max(0, after.dts - start) / timescale },
  };
}

function runsOf(reel: Reel, rows: readonly Segment[]): Gap[] {
  const timescale = timescaleOf(reel);
  const runs: { rendition: string; from: number; to: number; at: number; seconds: number }[] = [];
  let run: (typeof runs)[number] | undefined;
  for (const { number, dts, duration, gap } of rows) {
    if (!gap) run = undefined;
    else if (run) {
      run.to = number;
      run.seconds += duration / timescale;
    } else {
      run = {
        rendition: reel.name,
        from: number,
        to: number,
        at: dts / timescale,
        seconds: duration / timescale,
      };
      runs.push(run);
    }
  }
  return runs;
}

function timescaleOf({ inits }: Reel): number {
  return inits[0]?.track.timescale ?? 1;
}
