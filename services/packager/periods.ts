import type { Past } from "./past.ts";
import type { Segment } from "./track.ts";
import { find, type Window } from "./window.ts";

/** A rendition as a schedule sees it; the reference comes first. */
export interface Listed {
  readonly name: string;
  readonly window: Window;
  /** What went before the window and may still be listed. */
  readonly past?: Past | undefined;
  /** Of its newest init segment. */
  readonly version: number;
  readonly kind: "video" | "audio" | "text";
  /** Bits per second to tell players. */
  readonly bits: number;
}

/** A rendition in one Period: its init segment and its bits per second stay what they are there. */
export interface Member {
  readonly name: string;
  readonly version: number;
  readonly bits: number;
}

/** A stretch of the broadcast that a player decodes with the same init segments. Ticks are of the reference rendition. */
export interface Period {
  readonly id: string;
  /** Of its first segment. */
  readonly number: number;
  /** Where its presentation begins on the broadcast's clock. */
  readonly start: number;
  /** From decoding to presentation of its first frame. */
  readonly lead: number;
  /** Length of every segment where that is known: `$Number$` with `@duration`; else a SegmentTimeline. */
  readonly grid: number | undefined;
  readonly members: readonly Member[];
  /** Whether the members that both have go on from the Period before: with the init, and without a hole. */
  readonly follows: "continuous" | "connected" | undefined;
  /** The first number after it; undefined while it is the last. */
  readonly until: number | undefined;
  /** Where its media end, when nothing follows at once. */
  readonly end: number | undefined;
  /** False while it may yet turn out that all of its segments are alike. */
  readonly settled: boolean;
  /** False until there is enough of it to be listed; once listed, its members are constant. */
  readonly shown: boolean;
}

/** How far from its grid a segment may begin, and how much of that one of the same length can add: rounding of timestamps. */
const offSeconds = 0.05;
const jitterSeconds = 0.003;
/** How many segments in a row are alike before they count as a rule: for a Period that nobody knows yet, and behind one that does not. */
const alikeFirst = 2;
const alikeLater = 6;
/** One segment as long as this says enough for the first: nobody waits for another. */
const longSeconds = 3;

/**
 * The Periods of a broadcast, written segment by segment of the reference rendition: a new one at a discontinuity,
 * behind a gap, where a rendition joins or gets another init, and where segments of one length begin or end to come.
 */
export class Schedule {
  readonly #timescale: number;
  #periods: Period[] = [];
  #seen = 0;
  #before: Segment | undefined;
  /** Length of the last whole segment in ticks, and how many like it came in a row. */
  #distance = 0;
  #alike = 0;
  #assumed: number | undefined;
  /** The grid broke once: it is not trusted again. */
  #irregular = false;

  /** `assumed` is the segment length in ticks that the live input had in its last broadcast. */
  constructor(timescale: number, assumed?: number) {
    this.#timescale = timescale;
    this.#assumed = assumed;
  }

  /** Oldest first; those that are not `shown` may still change. */
  get periods(): readonly Period[] {
    return this.#periods;
  }

  /** Whether there is anything to play: a manifest without a Period is none. */
  get playable(): boolean {
    return this.#periods.some((period) => period.shown);
  }

  /** Ticks of a segment where all of the newest Period are alike: what the next broadcast may assume. */
  get cadence(): number | undefined {
    return this.#periods.at(-1)?.grid;
  }

  /** Takes in what the renditions have by now; call it before a segment can have left the reference's window. */
  follow(renditions: readonly Listed[]): void {
    const reference = renditions[0];
    if (!reference) return;
    const { past } = reference;
    const { segments, open } = reference.window;
    // An earlier run has seen these.
    if (past && this.#seen === 0) for (let i = 0; i < past.length; i++) this.#add(past.at(i)!, renditions);
    for (let i = firstAfter(segments, this.#seen); i < segments.length; i++)
      this.#add(segments[i]!, renditions);
    if (open && open.number > this.#seen && (open.gap || open.lead !== undefined))
      this.#add(open, renditions);
    this.#reveal(renditions);
    if (reference.window.ended) this.#finish(reference.window);
    this.#forget(oldestOf(reference));
  }

  #add(segment: Segment, renditions: readonly Listed[]): void {
    const before = this.#before;
    this.#seen = segment.number;
    this.#before = segment;
    const current = this.#periods.at(-1);
    let running = current?.until === undefined ? current : undefined;
    if (segment.gap) {
      if (running) this.#close(running, segment.number, segment.dts);
      return;
    }
    const contiguous =
      before?.number === segment.number - 1 && before.discontinuity === segment.discontinuity;
    const distance = running && contiguous ? segment.dts - before.dts : 0;
    this.#compare(segment.independent ? distance : 0);
    const grid = this.#gridFor(segment, distance, running);
    if (running && contiguous && !running.settled) {
      // Nobody was told yet: it may be so from its first segment on.
      if (this.#alike === 1 && before.number === running.number && grid === undefined) return;
      const settled = { ...running, grid, settled: true };
      this.#replace(running, settled);
      running = settled;
    }
    const members = membersAt(segment, renditions);
    const onGrid =
      running?.grid === undefined || Math.abs(offOf(segment, running)) <= offSeconds * this.#timescale;
    const same = running?.grid === grid && sameMembers(running?.members ?? [], members);
    if (running && contiguous && onGrid && same) return;
    this.#open(segment, { running, contiguous: contiguous && running !== undefined, grid, members });
  }

  /** The length that this segment and those after it will have, as far as that is known. */
  #gridFor(segment: Segment, distance: number, running: Period | undefined): number | undefined {
    const grid = running?.grid;
    if (distance > 0 && grid !== undefined) {
      const off = Math.abs(offOf(segment, running!)) > offSeconds * this.#timescale;
      // Rounded timestamps add up over hours: the grid moves, and its length stays.
      if (segment.independent && (!off || this.#near(distance, grid))) return grid;
      // What players were told and is not so is not believed again, were it only assumed.
      this.#irregular ||= running!.shown;
      this.#assumed = undefined;
      return undefined;
    }
    if (this.#irregular) return undefined;
    if (distance === 0) return grid ?? this.#assumed ?? this.#periods.at(-1)?.grid;
    const unknown = running?.settled === false;
    const long = unknown && distance >= longSeconds * this.#timescale;
    const enough = this.#alike >= (long ? 1 : unknown ? alikeFirst : alikeLater);
    return enough ? Math.round(this.#distance) : undefined;
  }

  /** Counts how many segments in a row are as long as this one; 0 begins anew. */
  #compare(distance: number): void {
    const alike = distance > 0 && this.#near(distance, this.#distance);
    // Their mean, because a timestamp is rounded.
    this.#distance = alike ? this.#distance + (distance - this.#distance) / (this.#alike + 1) : distance;
    this.#alike = alike ? this.#alike + 1 : distance > 0 ? 1 : 0;
  }

  #near(a: number, b: number): boolean {
    return Math.abs(a - b) <= jitterSeconds * this.#timescale;
  }

  #open(
    segment: Segment,
    at: {
      running: Period | undefined;
      contiguous: boolean;
      grid: number | undefined;
      members: readonly Member[];
    },
  ): void {
    const { running, contiguous, grid, members } = at;
    const previous = this.#periods.at(-1);
    const lead = segment.lead ?? 0;
    let start = segment.dts + lead;
    if (running?.grid !== undefined) {
      // A little over the grid would be one more segment to a player that divides.
      const over = (start - running.start) % running.grid;
      if (over <= offSeconds * this.#timescale) start -= over;
    }
    if (running) this.#close(running, segment.number, undefined);
    this.#periods.push({
      id: `p${segment.number}`,
      number: segment.number,
      start,
      lead,
      grid,
      members,
      follows: previous && (contiguous ? "continuous" : "connected"),
      until: undefined,
      end: undefined,
      settled: grid !== undefined || this.#irregular,
      shown: false,
    });
  }

  /** A Period without a segment to list, as in an outage, is none. */
  #close(period: Period, until: number, end: number | undefined): void {
    // What comes next says nothing about it any more.
    this.#replace(period, {
      ...period,
      until,
      end: end === undefined ? undefined : end + period.lead,
      settled: true,
    });
  }

  /** Lists what a player can begin with. A timeline needs a whole segment of each, since an empty one is not allowed. */
  #reveal(renditions: readonly Listed[]): void {
    for (const period of this.#periods) {
      if (period.shown || !period.settled) continue;
      const whole = (name: string, version: number, count: number): boolean => {
        const listed = renditions.find((one) => one.name === name);
        return listed !== undefined && [...wholeIn(listed, period, version).take(count)].length === count;
      };
      const all = period.members.every(({ name, version }) => whole(name, version, 1));
      const [reference] = period.members;
      // A rung whose encoder is late is not waited for.
      const late = reference !== undefined && whole(reference.name, reference.version, 2);
      if (period.grid === undefined && !all && !late) continue;
      const members =
        period.grid === undefined
          ? period.members.filter(({ name, version }) => whole(name, version, 1))
          : period.members;
      this.#replace(period, { ...period, members, shown: true });
    }
  }

  /** The broadcast is over. */
  #finish(window: Window): void {
    const last = this.#periods.at(-1);
    const segment = window.segments.at(-1);
    if (last && last.until === undefined && segment)
      this.#close(last, segment.number + 1, segment.dts + segment.duration);
  }

  /** What nobody can ask for any more is not listed any more. */
  #forget(oldest: number): void {
    const gone = (one: Period): boolean =>
      one.until !== undefined && (one.until <= oldest || this.#empty(one));
    if (this.#periods.some(gone)) this.#periods = this.#periods.filter((one) => !gone(one));
  }

  /** It was over before it could be listed. */
  #empty(period: Period): boolean {
    return !period.shown && period.until === period.number;
  }

  #replace(old: Period, period: Period): void {
    this.#periods = this.#periods.map((one) => (one === old ? period : one));
  }
}

/** The oldest number that a list of this rendition can show. */
export function oldestOf({ past, window }: Rows): number {
  return (past?.at(0) ?? window.segments[0])?.number ?? 0;
}

type Rows = Pick<Listed, "past" | "window">;

function segmentOf({ past, window }: Rows, number: number): Segment | undefined {
  return find(window.segments, number) ?? past?.find(number);
}

/** The segments that a Period lists for a rendition of this init version. */
export function* wholeIn(rows: Rows, period: Period, version: number): Generator<Segment> {
  const last = rows.window.segments.at(-1)?.number ?? 0;
  const end = Math.min(period.until ?? Number.POSITIVE_INFINITY, last + 1);
  for (let number = Math.max(period.number, oldestOf(rows)); number < end; number++) {
    const segment = segmentOf(rows, number);
    if (segment && segment.version === version && !segment.gap) yield segment;
  }
}

function offOf(segment: Segment, { start, lead, number, grid = 0 }: Period): number {
  return segment.dts + lead - start - (segment.number - number) * grid;
}

/** The reference with the init of this segment, sound as it was announced, and rungs that have begun. */
function membersAt(segment: Segment, renditions: readonly Listed[]): Member[] {
  return renditions.flatMap((listed, index) => {
    const { name, window, version, kind, bits } = listed;
    if (index === 0) return [{ name, version: segment.version, bits }];
    const begun = kind === "audio" || window.segments.length > 0 || (window.open?.parts.length ?? 0) > 0;
    // Of what is long over, as in a recording, its own segment says the init.
    const own = segmentOf(listed, segment.number)?.version;
    return begun ? [{ name, version: own ?? version, bits }] : [];
  });
}

function sameMembers(a: readonly Member[], b: readonly Member[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, version }) => b.some((one) => one.name === name && one.version === version))
  );
}

function firstAfter(segments: readonly Segment[], number: number): number {
  let at = segments.length;
  while (at > 0 && segments[at - 1]!.number > number) at--;
  return at;
}
