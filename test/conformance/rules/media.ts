import { all, attribute, find, integer, numeric, type Reading } from "../hls-text.ts";
import { control, entriesOf, partHint, type Rule, rule } from "./rule.ts";
import { multivariantTags } from "./text.ts";

/** What may be said about a media playlist by its text alone. */
export const mediaRules: readonly Rule<Reading>[] = [
  rule("4.4.6", "mixed", function* (reading) {
    for (const name of multivariantTags) if (find(reading, name)) yield name;
  }),
  rule("4.4.3.1", "target-required", function* ({ target }) {
    if (!(target > 0)) yield "no EXT-X-TARGETDURATION in whole seconds";
  }),
  rule("4.4.3.1", "extinf-over-target", function* ({ complete, target }) {
    for (const { number, duration } of complete)
      if (Math.round(duration ?? 0) > target) yield `segment ${number}: ${duration} of ${target}`;
  }),
  rule("4.4.4.1", "extinf-required", function* ({ complete }) {
    for (const { number, duration } of complete)
      if (duration === undefined || !(duration > 0)) yield `segment ${number}: ${duration}`;
  }),
  rule("4.4.3.2", "media-sequence-first", function* (reading) {
    const at = reading.tags.findIndex((tag) => tag.name === "EXT-X-MEDIA-SEQUENCE");
    if (at >= reading.firstSegmentTag) yield "after the first segment";
    if (at >= 0 && Number.isNaN(integer(reading.tags[at]!.value)))
      yield `'${reading.tags[at]!.value}' is no number`;
    if (at < 0 && !reading.ended) yield "missing in a live playlist";
  }),
  rule("4.4.3.3", "discontinuity-sequence-first", function* (reading) {
    const at = reading.tags.findIndex((tag) => tag.name === "EXT-X-DISCONTINUITY-SEQUENCE");
    if (at >= reading.firstSegmentTag) yield "after the first segment or discontinuity";
    if (at >= 0 && Number.isNaN(integer(reading.tags[at]!.value)))
      yield `'${reading.tags[at]!.value}' is no number`;
  }),
  rule("A8.17", "discontinuity-sequence-required", function* (reading) {
    if (!find(reading, "EXT-X-DISCONTINUITY-SEQUENCE")) yield "a discontinuity can come at any time";
  }),
  rule("6.2.2", "live-playlist-type", function* (reading) {
    if (!reading.ended && find(reading, "EXT-X-PLAYLIST-TYPE")) yield "in a live playlist";
  }),
  rule("4.4.3.7", "part-inf-required", function* (reading) {
    if (find(reading, "EXT-X-PART") && !(reading.partTarget > 0)) yield "parts without PART-TARGET";
  }),
  rule("4.4.3.8", "part-hold-back-required", function* (reading) {
    if (find(reading, "EXT-X-PART-INF") && Number.isNaN(numeric(control(reading), "PART-HOLD-BACK")))
      yield "PART-INF without PART-HOLD-BACK";
  }),
  rule("A14.3", "part-hold-back-short", function* (reading) {
    const holdBack = numeric(control(reading), "PART-HOLD-BACK");
    if (holdBack < 3 * reading.partTarget - 1e-9) yield `${holdBack} < 3 x ${reading.partTarget}`;
  }),
  rule("4.4.3.8", "hold-back-short", function* (reading) {
    const holdBack = numeric(control(reading), "HOLD-BACK");
    if (holdBack < 3 * reading.target) yield `${holdBack} < 3 x ${reading.target}`;
  }),
  rule("4.4.3.8", "can-skip-until-short", function* (reading) {
    const boundary = numeric(control(reading), "CAN-SKIP-UNTIL");
    if (boundary < 6 * reading.target) yield `${boundary} < 6 x ${reading.target}`;
  }),
  rule("4.4.3.8", "can-skip-dateranges-alone", function* (reading) {
    const tag = control(reading);
    if (attribute(tag, "CAN-SKIP-DATERANGES") && !attribute(tag, "CAN-SKIP-UNTIL"))
      yield "without CAN-SKIP-UNTIL";
  }),
  rule("B.1", "block-reload-required", function* (reading) {
    if (
      find(reading, "EXT-X-PART-INF") &&
      !reading.ended &&
      attribute(control(reading), "CAN-BLOCK-RELOAD") !== "YES"
    )
      yield "parts without CAN-BLOCK-RELOAD";
  }),
  rule("4.4.4.5", "map-required", function* (reading) {
    if (reading.skipped === 0 && !isText(reading))
      for (const one of entriesOf(reading)) if (!one.map) yield `segment ${one.number}`;
  }),
  rule("4.4.4.5", "map-after-discontinuity", function* (reading) {
    if (isText(reading)) return;
    for (const one of entriesOf(reading)) if (one.broken && !one.mapHere) yield `segment ${one.number}`;
  }),
  rule("4.4.4.3", "map-change-without-discontinuity", function* (reading) {
    // A gap has no media that a map could be for: it may stand under the one before it.
    const entries = entriesOf(reading).filter(({ gap }) => !gap);
    for (let i = 1; i < entries.length; i++) {
      const [a, b] = [entries[i - 1]!, entries[i]!];
      if (a.map && a.map !== b.map && a.discontinuity === b.discontinuity) yield `segment ${b.number}`;
    }
  }),
  rule("B.1", "date-required", function* (reading) {
    for (const one of entriesOf(reading)) if (one.dateMs === undefined) yield `segment ${one.number}`;
  }),
  rule("4.4.4.6", "date-format", function* (reading) {
    for (const tag of all(reading, "EXT-X-PROGRAM-DATE-TIME"))
      if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}(Z|[+-]\d\d:?\d\d)$/.test(tag.value)) yield tag.value;
  }),
  rule("6.2.1", "date-continuous", function* (reading) {
    const entries = entriesOf(reading);
    for (let i = 1; i < entries.length; i++) {
      const [a, b] = [entries[i - 1]!, entries[i]!];
      const off = b.dateMs! - (a.dateMs! + (a.duration ?? 0) * 1000);
      // Ambiguous where two segments claim the same time; a hole is a lie about what is missing unless there is a discontinuity.
      if (off < -50 || (off > 50 && !b.broken)) yield `segment ${b.number} is ${Math.round(off)} ms off`;
    }
  }),
  rule("6.2.1", "gap-before-discontinuity-adds-up", function* (reading) {
    const entries = entriesOf(reading);
    for (let i = 1; i < entries.length; i++) {
      const [a, b] = [entries[i - 1]!, entries[i]!];
      const off = b.dateMs! - (a.dateMs! + (a.duration ?? 0) * 1000);
      if (a.gap && b.broken && Math.abs(off) > 100) yield `segment ${b.number} is ${Math.round(off)} ms off`;
    }
  }),
  rule("4.4.4.7", "gap-parts", function* ({ complete }) {
    for (const one of complete)
      if (!one.gap && one.parts.some((part) => part.gap))
        yield `segment ${one.number} is whole although a part of it is a gap`;
  }),
  rule("4.4.4.9", "part-attributes", function* (reading) {
    for (const one of entriesOf(reading))
      for (const part of one.parts)
        if (part.uri === "" || !(part.duration > 0)) yield `segment ${one.number}: ${part.line}`;
  }),
  rule("4.4.4.9", "part-over-target", function* (reading) {
    for (const one of entriesOf(reading))
      for (const part of one.parts)
        if (part.duration > reading.partTarget) yield `segment ${one.number}: ${part.duration}`;
  }),
  rule("4.4.4.9", "part-short", function* (reading) {
    for (const { number, parts, uri } of entriesOf(reading)) {
      const last = uri === undefined ? parts.length : parts.length - 1;
      for (let i = 0; i < last; i++) {
        const part = parts[i]!;
        // The newest part may turn out to be the last of its segment.
        if (uri === undefined && i === parts.length - 1) continue;
        if (part.duration < 0.85 * reading.partTarget && !part.independent && !part.gap && !parts[i + 1]?.gap)
          yield `segment ${number} part ${i}: ${part.duration}`;
      }
    }
  }),
  rule("4.4.4.9", "tags-before-parts", function* (reading) {
    for (const { number, tags } of entriesOf(reading)) {
      const first = tags.findIndex((tag) => tag.name === "EXT-X-PART");
      if (first < 0) continue;
      for (const tag of tags.slice(first))
        if (["EXT-X-DISCONTINUITY", "EXT-X-KEY", "EXT-X-MAP", "EXT-X-PROGRAM-DATE-TIME"].includes(tag.name))
          yield `segment ${number}: ${tag.name}`;
    }
  }),
  rule("3.2", "parts-make-the-segment", function* ({ complete }) {
    for (const { number, parts, duration } of complete) {
      const sum = parts.reduce((total, part) => total + part.duration, 0);
      if (parts.length > 0 && Math.abs(sum - (duration ?? 0)) > 1e-6)
        yield `segment ${number}: ${sum.toFixed(5)} of ${duration}`;
    }
  }),
  rule("6.2.2", "old-parts", function* (reading) {
    let distance = reading.open?.parts.reduce((total, part) => total + part.duration, 0) ?? 0;
    for (const one of reading.complete.toReversed()) {
      distance += one.duration ?? 0;
      // From the beginning of its first part, with a millisecond for rounding.
      if (one.parts.length > 0 && distance - (one.parts[0]?.duration ?? 0) > 3 * reading.target + 0.001)
        yield `segment ${one.number}, ${distance.toFixed(2)} s from the end`;
    }
  }),
  rule("6.2.2", "parts-in-order", function* ({ complete }) {
    for (let i = 1; i < complete.length; i++)
      if (complete[i - 1]!.parts.length > 0 && complete[i]!.parts.length === 0)
        yield `segment ${complete[i]!.number} has none, the one before has`;
  }),
  rule("4.4.2.1", "independent-promise", function* (reading) {
    if (!find(reading, "EXT-X-INDEPENDENT-SEGMENTS")) return;
    for (const one of entriesOf(reading))
      if (one.parts[0] && !one.parts[0].gap && !one.parts[0].independent) yield `segment ${one.number}`;
  }),
  rule("4.4.5.1", "daterange-attributes", function* (reading) {
    const seen = new Map<string, Map<string, string>>();
    for (const tag of all(reading, "EXT-X-DATERANGE")) {
      const id = attribute(tag, "ID");
      if (!id) yield `no ID: ${tag.value}`;
      // Several tags of one ID are one range: what they all say is the same, and each says something.
      const before = seen.get(id ?? "");
      const fresh = [...tag.attributes].filter(([name]) => !before?.has(name));
      for (const [name, value] of tag.attributes)
        if (before?.has(name) && before.get(name) !== value) yield `${id} has two of ${name}`;
      if (before && fresh.length === 0) yield `${id} stands twice`;
      seen.set(id ?? "", new Map([...(before ?? []), ...tag.attributes]));
      if (attribute(tag, "SCTE35-IN") && attribute(tag, "SCTE35-OUT"))
        yield `both ways in one tag: ${tag.value}`;
      if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(attribute(tag, "START-DATE") ?? ""))
        yield `no START-DATE: ${tag.value}`;
      for (const name of ["DURATION", "PLANNED-DURATION"])
        if (attribute(tag, name) !== undefined && Number.isNaN(numeric(tag, name)))
          yield `${name}=${attribute(tag, name)}`;
      for (const [name, value] of tag.attributes)
        if (name.startsWith("SCTE35-") && !/^0x([0-9A-F]{2})+$/.test(value)) yield `${name}=${value}`;
    }
  }),
  rule("4.4.5.1.1", "splice-pairs", function* (reading) {
    // The way back in begins nothing: it ends what the way out with its splice_event_id began.
    const event = (value: string | undefined): string | undefined => value?.slice(2 + 28, 2 + 36);
    const tags = all(reading, "EXT-X-DATERANGE");
    const ways = new Map<string | undefined, string | undefined>();
    for (const tag of tags) {
      const [out, back] = ["SCTE35-OUT", "SCTE35-IN"].map((name) => event(attribute(tag, name)));
      if (out) ways.set(out, attribute(tag, "ID"));
      if (back && ways.has(back) && ways.get(back) !== attribute(tag, "ID"))
        yield `${attribute(tag, "ID")} leads back from ${ways.get(back)}`;
      if (back && ways.has(back)) ways.delete(back);
    }
  }),
  rule("4.4.5.2", "skip-dateranges", function* (reading) {
    const removed = attribute(find(reading, "EXT-X-SKIP"), "RECENTLY-REMOVED-DATERANGES");
    if (removed !== undefined && attribute(control(reading), "CAN-SKIP-DATERANGES") !== "YES")
      yield "not offered";
    for (const id of removed?.split("\t") ?? [])
      if (all(reading, "EXT-X-DATERANGE").some((tag) => attribute(tag, "ID") === id)) yield `${id} is listed`;
  }),
  rule("4.4.5.2", "skip", function* (reading) {
    const skips = all(reading, "EXT-X-SKIP");
    if (skips.length > 1) yield "more than once";
    if (skips[0] && !(reading.skipped > 0))
      yield `SKIPPED-SEGMENTS=${attribute(skips[0], "SKIPPED-SEGMENTS")}`;
    if (skips[0] && reading.tags.indexOf(skips[0]) > reading.firstSegmentTag) yield "after a segment";
    if (skips[0] && Number.isNaN(numeric(control(reading), "CAN-SKIP-UNTIL"))) yield "without CAN-SKIP-UNTIL";
    if (skips[0] && reading.ended) yield "in a playlist that has ended";
  }),
  rule("6.2.5.1", "skip-boundary", function* (reading) {
    if (reading.skipped === 0) return;
    const kept = reading.complete.reduce((total, one) => total + (one.duration ?? 0), 0);
    const boundary = numeric(control(reading), "CAN-SKIP-UNTIL");
    if (kept < boundary) yield `only ${kept.toFixed(2)} s are left of ${boundary}`;
  }),
  rule("4.4.5.3", "hint-attributes", function* (reading) {
    for (const tag of all(reading, "EXT-X-PRELOAD-HINT"))
      if (!["PART", "MAP"].includes(attribute(tag, "TYPE") ?? "") || !attribute(tag, "URI")) yield tag.value;
  }),
  rule("4.4.5.3", "hint-twice", function* (reading) {
    const types = all(reading, "EXT-X-PRELOAD-HINT").map((tag) => attribute(tag, "TYPE"));
    if (new Set(types).size < types.length) yield types.join(", ");
  }),
  rule("4.4.5.3", "hint-after-end", function* (reading) {
    if (reading.ended && find(reading, "EXT-X-PRELOAD-HINT")) yield "with ENDLIST";
  }),
  rule("4.4.5.3", "hint-listed", function* (reading) {
    const hint = partHint(reading);
    if (hint && entriesOf(reading).some((one) => one.parts.some((part) => part.uri === hint))) yield hint;
  }),
  rule("4.4.5.4", "report-attributes", function* (reading) {
    for (const tag of all(reading, "EXT-X-RENDITION-REPORT")) {
      const uri = attribute(tag, "URI");
      if (!uri || Number.isNaN(integer(attribute(tag, "LAST-MSN")))) yield tag.value;
      else if (/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(uri)) yield `${uri} is not relative`;
      else if (find(reading, "EXT-X-PART-INF") && Number.isNaN(integer(attribute(tag, "LAST-PART"))))
        yield `no LAST-PART: ${tag.value}`;
    }
  }),
  rule("3.1.4", "text-without-map", function* (reading) {
    if (isText(reading) && find(reading, "EXT-X-MAP")) yield "WebVTT has no EXT-X-MAP";
    for (const { number, uri, parts } of isText(reading) ? entriesOf(reading) : [])
      for (const address of [uri, ...parts.map((part) => part.uri)])
        if (address !== undefined && !/\.vtt(\?|$)/.test(address)) yield `${number} is ${address}`;
  }),
  rule("4.4.3.6", "pictures-are-ranges", function* (reading) {
    if (!find(reading, "EXT-X-I-FRAMES-ONLY")) return;
    for (const one of reading.complete)
      if (!one.gap && !/^\d+@\d+$/.test(one.tags.find((tag) => tag.name === "EXT-X-BYTERANGE")?.value ?? ""))
        yield `picture ${one.number} is no byte range`;
  }),
  rule("4.4.3.6", "pictures-without-parts", function* (reading) {
    if (find(reading, "EXT-X-I-FRAMES-ONLY"))
      for (const name of ["EXT-X-PART", "EXT-X-PART-INF", "EXT-X-PRELOAD-HINT"])
        if (find(reading, name)) yield name;
  }),
  rule("4.4.2.3", "parameter-everywhere", function* (reading) {
    for (const tag of all(reading, "EXT-X-DEFINE")) {
      const name = attribute(tag, "QUERYPARAM");
      const at = reading.tags.indexOf(tag);
      if (at > reading.firstSegmentTag || reading.tags.slice(0, at).some((one) => attribute(one, "URI")))
        yield "defined after it may be used";
      for (const uri of urisOf(reading)) if (name && !uri.includes(`${name}={$${name}}`)) yield uri;
    }
  }),
  rule("4.4.4", "address-twice", function* (reading) {
    const seen = new Set<string>();
    for (const one of entriesOf(reading))
      for (const uri of [...one.parts.map((part) => part.uri), ...(one.uri ? [one.uri] : [])]) {
        if (seen.has(uri)) yield uri;
        seen.add(uri);
      }
  }),
];

/** Whether it lists words: then all of it does. */
function isText(reading: Reading): boolean {
  return entriesOf(reading).some(({ uri, parts }) =>
    [uri, ...parts.map((part) => part.uri)].some((address) => /\.vtt(\?|$)/.test(address ?? "")),
  );
}

function urisOf(reading: Reading): string[] {
  const named = reading.tags.flatMap((tag) => attribute(tag, "URI") ?? []);
  return [...named, ...reading.complete.flatMap(({ uri }) => uri ?? [])];
}
