import { all, attribute, type Entry, find, numeric, type Reading } from "../hls-text.ts";
import { control, partHint, type Rule, rule } from "./rule.ts";

/** A playlist and what the same address said before. */
export interface Step {
  readonly now: Reading;
  readonly atMs: number;
  /** Segments by number as far as they were ever seen and not yet removed, `now` excluded. */
  readonly known: ReadonlyMap<number, Entry>;
  readonly before: { readonly reading: Reading; readonly atMs: number; readonly entries: readonly Entry[] };
  /** All segments of the full playlist: what a delta update leaves out is taken from what was known. */
  readonly entries: readonly Entry[];
  /** When the newest part and the newest segment that `before` shows were first seen. */
  readonly partSeenMs: number;
  readonly segmentSeenMs: number;
  /** The request was held by the server, so `atMs` is when the server had something to say. */
  readonly held: boolean;
  readonly slackMs: number;
}

/** The newest playlists of all renditions of one broadcast. */
export interface Together {
  readonly url: string;
  readonly now: Reading;
  readonly atMs: number;
  readonly others: readonly {
    readonly url: string;
    readonly reading: Reading;
    readonly atMs: number;
    readonly entries: readonly Entry[];
  }[];
  readonly entries: readonly Entry[];
}

/** What may be said about a playlist and the one before it. */
export const stepRules: readonly Rule<Step>[] = [
  rule("6.2.1", "target-changed", function* ({ now, before }) {
    if (now.target !== before.reading.target) yield `${before.reading.target} -> ${now.target}`;
  }),
  rule("6.2.1", "part-target-changed", function* ({ now, before }) {
    if (!Object.is(now.partTarget, before.reading.partTarget))
      yield `${before.reading.partTarget} -> ${now.partTarget}`;
  }),
  rule("6.2.1", "control-changed", function* ({ now, before }) {
    const [a, b] = [control(before.reading)?.value, control(now)?.value];
    if (a !== b) yield `${a} -> ${b}`;
  }),
  rule("6.2.2", "sequence-down", function* ({ now, before }) {
    if (now.sequence < before.reading.sequence) yield `${before.reading.sequence} -> ${now.sequence}`;
  }),
  rule("6.2.2", "sequence-jump", function* ({ now, before }) {
    const next = (before.entries.at(-1)?.number ?? now.sequence) + 1;
    if (now.sequence > next)
      yield `${before.reading.sequence} -> ${now.sequence}, the newest known was ${next - 1}`;
  }),
  rule("6.2.1", "edge-back", function* ({ before, entries }) {
    const [a, b] = [edge(before.entries), edge(entries)];
    if (b.number < a.number || (b.number === a.number && b.parts < a.parts && !b.complete))
      yield `${a.number}.${a.parts} -> ${b.number}.${b.parts}`;
  }),
  rule("6.2.1", "segment-changed", function* ({ known, entries }) {
    for (const one of entries) {
      const old = known.get(one.number);
      if (!old || old === one) continue;
      if (
        old.uri !== undefined &&
        (old.uri !== one.uri || old.duration !== one.duration || old.gap !== one.gap)
      )
        yield `segment ${one.number}: ${old.uri} ${old.duration} -> ${one.uri} ${one.duration}`;
      if (old.discontinuity !== one.discontinuity)
        yield `segment ${one.number}: discontinuity ${old.discontinuity} -> ${one.discontinuity}`;
      if (old.dateMs !== one.dateMs) yield `segment ${one.number}: date`;
      if (old.map && one.map && old.map !== one.map) yield `segment ${one.number}: ${old.map} -> ${one.map}`;
    }
  }),
  rule("6.2.1", "part-changed", function* ({ known, entries }) {
    for (const one of entries) {
      const old = known.get(one.number);
      if (!old || one.parts.length === 0) continue;
      for (const [i, part] of old.parts.entries())
        if (part.line !== one.parts[i]?.line)
          yield `segment ${one.number} part ${i}: ${part.line} -> ${one.parts[i]?.line}`;
      if (old.uri !== undefined && old.parts.length > 0 && old.parts.length !== one.parts.length)
        yield `segment ${one.number} is complete and has another number of parts`;
    }
  }),
  rule("6.2.2", "discontinuity-sequence", function* ({ now, before, entries }) {
    const removed = before.entries.filter((one) => one.number < now.sequence && one.broken).length;
    const right = before.reading.discontinuitySequence + removed;
    if (
      now.sequence <= (before.entries.at(-1)?.number ?? -1) + 1 &&
      now.discontinuitySequence !== right &&
      entries.length > 0
    )
      yield `${now.discontinuitySequence} instead of ${right}`;
  }),
  rule("6.2.2", "too-short", function* ({ now, before, entries }) {
    const total = entries.reduce((sum, one) => sum + (one.uri === undefined ? 0 : (one.duration ?? 0)), 0);
    if (now.sequence > before.reading.sequence && !now.ended && total < 3 * now.target)
      yield `${total.toFixed(2)} s after a removal`;
  }),
  rule("6.2.1", "changed-after-end", function* ({ now, before }) {
    if (before.reading.ended && now.text !== before.reading.text) yield "ENDLIST was there";
  }),
  rule("6.2.5.1", "skip-unmergeable", function* ({ now, known }) {
    for (let i = 0; i < now.skipped; i++)
      if (!known.has(now.sequence + i)) yield `segment ${now.sequence + i} was never listed`;
  }),
  rule("4.4.5.3", "hint-broken", function* ({ before, entries }) {
    const hint = partHint(before.reading);
    const last = edge(before.entries);
    if (!hint) return;
    for (const one of entries) {
      if (one.number < last.number || (one.number === last.number && one.parts.length <= last.parts))
        continue;
      const first = one.parts[one.number === last.number ? last.parts : 0];
      // 6.2.6: a hinted part may go unpublished when the plan changes.
      if (first && !first.gap && !one.broken && first.uri !== hint)
        yield `${hint} was hinted, ${first.uri} came`;
      return;
    }
  }),
  rule("4.4.5.3", "hint-of-map", function* ({ before, entries }) {
    const hint = partHint(before.reading);
    const inForce = before.entries.at(-1)?.map;
    const came = entries.find(({ parts }) => parts.some((part) => part.uri === hint));
    if (!hint || !inForce || !came?.map || came.map === inForce) return;
    const maps = all(before.reading, "EXT-X-PRELOAD-HINT").filter((tag) => attribute(tag, "TYPE") === "MAP");
    if (!maps.some((tag) => attribute(tag, "URI") === came.map))
      yield `${hint} was hinted without its ${came.map}`;
  }),
  rule("B.1", "hint-required", function* ({ before, entries }) {
    const last = edge(before.entries);
    const shown = before.entries.at(-1)?.parts.at(-1);
    if (!shown || shown.gap || before.reading.ended || partHint(before.reading)) return;
    // Only a gap may come without a hint.
    const next = entries.find((one) => one.number === last.number)?.parts[last.parts];
    const first = next ?? entries.find((one) => one.number > last.number)?.parts[0];
    if (first && !first.gap) yield `${first.uri} came without a hint`;
  }),
  rule("6.2.1", "part-late", function* ({ now, before, entries, atMs, partSeenMs, held, slackMs }) {
    if (!held || now.ended || !(now.partTarget > 0)) return;
    const [a, b] = [edge(before.entries), edge(entries)];
    const late = atMs - partSeenMs - now.partTarget * 1000;
    if ((b.number > a.number || b.parts > a.parts) && late > slackMs) yield `${Math.round(late)} ms`;
  }),
  rule("6.2.1", "segment-late", function* ({ now, before, entries, atMs, segmentSeenMs, held, slackMs }) {
    if (!held || now.ended) return;
    const newest = (list: readonly Entry[]): number =>
      list.findLast((one) => one.uri !== undefined)?.number ?? -1;
    const late = atMs - segmentSeenMs - 1500 * now.target;
    if (newest(entries) > newest(before.entries) && late > slackMs) yield `${Math.round(late)} ms`;
  }),
];

/** What may be said about the renditions of a broadcast beside each other. */
export const togetherRules: readonly Rule<Together>[] = [
  rule("6.2.4", "same-target", function* ({ now, others }) {
    for (const { url, reading } of others)
      if (reading.target !== now.target) yield `${now.target}, ${url} has ${reading.target}`;
  }),
  rule("6.2.4", "same-control", function* ({ now, others }) {
    for (const { url, reading } of others)
      if (control(reading)?.value !== control(now)?.value)
        yield `${control(now)?.value}, ${url} has ${control(reading)?.value}`;
  }),
  rule("6.2.4", "same-discontinuity", function* ({ entries, others }) {
    for (const { url, entries: theirs } of others)
      for (const one of entries) {
        const twin = theirs.find((other) => other.number === one.number);
        if (twin && twin.discontinuity !== one.discontinuity)
          yield `segment ${one.number}: ${one.discontinuity}, ${url} has ${twin.discontinuity}`;
      }
  }),
  rule("6.2.4", "same-date", function* ({ now, entries, others }) {
    for (const { url, entries: theirs } of others)
      for (const one of entries) {
        const twin = theirs.find((other) => other.number === one.number);
        if (twin && Math.abs(twin.dateMs! - one.dateMs!) > 500 * now.partTarget)
          yield `segment ${one.number}: ${Math.round(twin.dateMs! - one.dateMs!)} ms from ${url}`;
      }
  }),
  rule("6.2.4", "same-dateranges", function* ({ now, others }) {
    for (const tag of all(now, "EXT-X-DATERANGE"))
      for (const { url, reading } of others) {
        const twins = all(reading, "EXT-X-DATERANGE").filter(
          (one) => attribute(one, "ID") === attribute(tag, "ID"),
        );
        for (const twin of twins)
          for (const [name, value] of tag.attributes)
            if (twin.attributes.has(name) && twin.attributes.get(name) !== value)
              yield `${tag.value}, ${url} has ${twin.value}`;
      }
  }),
  rule("4.4.5.4", "report-missing", function* ({ url, now, others }) {
    if (now.ended || !find(now, "EXT-X-PART-INF")) return;
    const reported = all(now, "EXT-X-RENDITION-REPORT").map((tag) =>
      resolve(attribute(tag, "URI") ?? "", url),
    );
    for (const other of others) if (!reported.includes(resolve(other.url, url))) yield other.url;
  }),
  rule("4.4.5.4", "report-behind", function* ({ url, now, atMs, others }) {
    for (const tag of all(now, "EXT-X-RENDITION-REPORT")) {
      const other = others.find((one) => resolve(one.url, url) === resolve(attribute(tag, "URI") ?? "", url));
      if (!other || other.atMs > atMs) continue;
      const last = edge(other.entries);
      const [number, part] = [numeric(tag, "LAST-MSN"), numeric(tag, "LAST-PART")];
      if (number < last.number || (number === last.number && part < last.parts - 1))
        yield `${tag.value}, but ${last.number}.${last.parts - 1} was seen`;
    }
  }),
];

function edge(entries: readonly Entry[]): { number: number; parts: number; complete: boolean } {
  const last = entries.at(-1);
  return { number: last?.number ?? -1, parts: last?.parts.length ?? 0, complete: last?.uri !== undefined };
}

function resolve(uri: string, base: string): string {
  const { pathname, search } = new URL(uri, new URL(base, "http://host/"));
  return pathname + search;
}
