import type { Segment } from "../packager/track.ts";
import type { Window } from "../packager/window.ts";
import type { Contents, Reel, Row } from "./contents.ts";

/** Where a segment lies in the broadcast, in seconds, and the discontinuities before it. */
interface Place {
  readonly at: number;
  readonly seconds: number;
  readonly discontinuity: number;
}

/**
 * The segments of a rendition as a playlist lists them: one for every number that the broadcast has, the same numbers in
 * every rendition. What was never written is a gap.
 */
export function withoutHoles(reel: Reel, reels: readonly Reel[]): readonly Segment[] {
  const numbers = reels.flatMap(({ rows }) =>
    rows.length > 0 ? [rows[0]!.number, rows.at(-1)!.number] : [],
  );
  if (numbers.length === 0) return [];
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  const { rows } = reel;
  if (rows.length === last - first + 1) return rows;

  const places = placesOf(reels, first, last);
  const timescale = reel.inits[0]?.track.timescale ?? 1;
  const listed: Segment[] = [];
  let version = rows[0]?.version ?? reel.inits[0]?.version ?? 0;
  let next = 0;
  for (let number = first; number <= last; number++) {
    const row = rows[next]?.number === number ? rows[next++] : undefined;
    version = row?.version ?? version;
    listed.push(row ?? gapAt(number, places[number - first]!, { version, timescale }));
  }
  return listed;
}

function gapAt(
  number: number,
  { at, seconds, discontinuity }: Place,
  { version, timescale }: { version: number; timescale: number },
): Segment {
  return {
    ...{ number, discontinuity, version, independent: false, gap: true, parts: [], byteLength: 0 },
    dts: Math.round(at * timescale),
    duration: Math.round(seconds * timescale),
  };
}

/** Where every number lies: as any rendition says, else between its neighbours in even steps. */
function placesOf(reels: readonly Reel[], first: number, last: number): Place[] {
  const places: (Place | undefined)[] = new Array(last - first + 1);
  for (const { rows, inits } of reels) {
    const timescale = inits[0]?.track.timescale ?? 1;
    for (const { number, dts, duration, discontinuity } of rows)
      places[number - first] ??= { at: dts / timescale, seconds: duration / timescale, discontinuity };
  }
  for (let i = 0; i < places.length; i++) {
    if (places[i]) continue;
    const before = places[i - 1]!;
    const until = places.findIndex((place, at) => at > i && place);
    const start = before.at + before.seconds;
    const step = (places[until]!.at - start) / (until - i);
    for (let at = i; at < until; at++)
      places[at] = { at: start + (at - i) * step, seconds: step, discontinuity: before.discontinuity };
  }
  return places as Place[];
}

/** All of a rendition as a playlist that has ended. */
export function wholeWindow(
  contents: Contents,
  reel: Reel,
  segments = withoutHoles(reel, contents.reels),
): Window {
  const begin = contents.begin!;
  return {
    timescale: reel.inits[0]?.track.timescale ?? 1,
    targetDuration: begin.targetDuration,
    partTarget: begin.partTarget,
    deltas: false,
    epochMs: begin.epochMs,
    discontinuitySequence: segments[0]?.discontinuity ?? 0,
    segments,
    open: undefined,
    next: undefined,
    ended: true,
  };
}

/** Bits per second so far: of the largest segment, and over all. */
export function bandwidthOf({ peak, mediaSeconds, mediaBytes }: Reel): { peak: number; average: number } {
  const average = mediaSeconds > 0 ? Math.ceil((mediaBytes * 8) / mediaSeconds) : 0;
  return { peak: Math.ceil(peak), average };
}

/** The newest rows of the rendition that the segment numbers come from, in its ticks. */
export function referenceOf(
  contents: Contents,
): { readonly reel: Reel; readonly rows: readonly Row[] } | undefined {
  const reel = contents.reel("source") ?? contents.reel("audio");
  return reel && reel.rows.length > 0 ? { reel, rows: reel.rows } : undefined;
}
