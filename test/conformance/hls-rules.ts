import { type Entry, type Reading, read } from "./hls-text.ts";
import { mediaRules } from "./rules/media.ts";
import { multivariantRules } from "./rules/multivariant.ts";
import { entriesOf, isMultivariant, type Rule } from "./rules/rule.ts";
import { textRules } from "./rules/text.ts";
import { stepRules, togetherRules } from "./rules/time.ts";

export interface Violation {
  /** Section of rfc8216bis, or of Apple's authoring specification with an A. */
  readonly rule: string;
  readonly name: string;
  readonly text: string;
  readonly url: string;
  readonly atMs: number;
}

export interface Seen {
  /** The request was held by the server, so that the time of the answer says when it had news. */
  readonly held?: boolean;
}

/** Reads every playlist of one broadcast that a test comes by, and remembers what breaks a rule. */
export interface Judge {
  /** `text` as it was served at `url` at `atMs`; full playlists, delta updates and multivariant ones alike. Returns what is new. */
  playlist(url: string, text: string, atMs: number, seen?: Seen): Violation[];
  readonly violations: readonly Violation[];
  /** How many playlists were judged. */
  readonly count: number;
}

interface Track {
  reading: Reading;
  atMs: number;
  entries: readonly Entry[];
  known: Map<number, Entry>;
  partSeenMs: number;
  segmentSeenMs: number;
}

/** A judge of one broadcast. `slackMs` is what the machine may add to the deadlines of parts and segments. */
export function createJudge({ slackMs = 500 }: { slackMs?: number } = {}): Judge {
  const violations: Violation[] = [];
  const tracks = new Map<string, Track>();
  let count = 0;

  return {
    violations,
    get count() {
      return count;
    },
    playlist(url, text, atMs, { held = false } = {}) {
      count++;
      const found: Violation[] = [];
      const judge = <Input>(rules: readonly Rule<Input>[], input: Input): void => {
        for (const one of rules)
          for (const fault of one.check(input))
            found.push({ rule: one.section, name: one.name, text: fault, url, atMs });
      };
      const address = withoutDirectives(url);
      const now = read(text);
      judge(textRules, now);
      if (isMultivariant(now)) judge(multivariantRules, now);
      else {
        judge(mediaRules, now);
        const before = tracks.get(address);
        const entries = merge(now, before?.known);
        if (before) {
          const { known, partSeenMs, segmentSeenMs } = before;
          judge(stepRules, { now, atMs, known, before, entries, partSeenMs, segmentSeenMs, held, slackMs });
        }
        tracks.set(address, remember(now, atMs, entries, before));
        const others = [...tracks]
          .filter(([other]) => other !== address)
          .map(([other, track]) => ({ url: other, ...track }));
        judge(togetherRules, { url: address, now, atMs, entries, others });
      }
      violations.push(...found);
      return found;
    },
  };
}

/** The address of a playlist: delivery directives ask for a moment of it, everything else for another playlist. */
function withoutDirectives(url: string): string {
  const [path = "", query = ""] = url.split("?");
  const rest = query.split("&").filter((pair) => pair !== "" && !pair.startsWith("_HLS_"));
  return rest.length > 0 ? `${path}?${rest.join("&")}` : path;
}

/** The whole playlist: what a delta update leaves out is what was known of it. */
function merge(now: Reading, known: ReadonlyMap<number, Entry> | undefined): Entry[] {
  const shown = entriesOf(now);
  if (now.skipped === 0) return shown;
  const old: Entry[] = [];
  for (let number = now.sequence; number < now.sequence + now.skipped; number++) {
    const one = known?.get(number);
    if (one) old.push(one);
  }
  // Discontinuities and the map of what was skipped are not in the text (4.4.5.2).
  const missed = old.filter((one) => one.broken).length;
  let map = old.at(-1)?.map;
  return [
    ...old,
    ...shown.map((one) => {
      map = one.map ?? map;
      return { ...one, discontinuity: one.discontinuity + missed, map };
    }),
  ];
}

function remember(now: Reading, atMs: number, entries: readonly Entry[], before: Track | undefined): Track {
  const known = new Map<number, Entry>();
  for (const one of entries) {
    const old = before?.known.get(one.number);
    // Part tags that left are still known: their addresses must not be used for something else.
    known.set(one.number, old && one.parts.length === 0 ? { ...one, parts: old.parts } : one);
  }
  const parts = (list: readonly Entry[]): string => `${list.at(-1)?.number}.${list.at(-1)?.parts.length}`;
  const whole = (list: readonly Entry[]): number | undefined =>
    list.findLast((one) => one.uri !== undefined)?.number;
  return {
    reading: now,
    atMs,
    entries,
    known,
    partSeenMs: before && parts(before.entries) === parts(entries) ? before.partSeenMs : atMs,
    segmentSeenMs: before && whole(before.entries) === whole(entries) ? before.segmentSeenMs : atMs,
  };
}
