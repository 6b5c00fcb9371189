import { type Rule, rule } from "./rules/rule.ts";
import { childrenOf, type Element, readXml, secondsOf } from "./xml.ts";

export interface Fault {
  /** Section of ISO/IEC 23009-1:2022, or LL for the low-latency rules of DASH-IF. */
  readonly rule: string;
  readonly name: string;
  readonly text: string;
  readonly atMs: number;
}

/** Reads every version of one manifest that a test comes by, and remembers what breaks a rule. */
export interface MpdJudge {
  /** `text` as it was served at `atMs`. Returns what is new. */
  manifest(text: string, atMs: number): Fault[];
  readonly faults: readonly Fault[];
  readonly count: number;
}

/** What one Representation says of its segments. */
interface Rendition {
  readonly period: PeriodRead;
  readonly set: Element;
  readonly element: Element;
  readonly id: string;
  readonly template: Element;
  readonly timescale: number;
  readonly startNumber: number;
  /** Ticks by number, of a timeline. */
  readonly segments: ReadonlyMap<number, { readonly t: number; readonly d: number }> | undefined;
}

interface PeriodRead {
  readonly element: Element;
  readonly id: string;
  readonly start: number;
  readonly duration: number | undefined;
  readonly renditions: readonly Rendition[];
}

interface Reading {
  readonly text: string;
  readonly root: Element;
  readonly dynamic: boolean;
  readonly periods: readonly PeriodRead[];
}

interface Pair {
  readonly before: Reading;
  readonly now: Reading;
}

const attribute = (element: Element, name: string): string | undefined => element.attributes.get(name);
const numeric = (element: Element, name: string): number => Number(attribute(element, name) ?? Number.NaN);
const renditions = ({ periods }: Reading): Rendition[] => periods.flatMap((period) => [...period.renditions]);
const seconds = (element: Element, name: string): number => secondsOf(attribute(element, name)) ?? Number.NaN;
/** Times are printed to the microsecond, and ticks are whole. */
const close = (a: number, b: number, most = 2e-5): boolean => Math.abs(a - b) <= most;

const one: readonly Rule<Reading>[] = [
  rule("5.3.1.2", "mpd-attributes", function* ({ root, dynamic }) {
    if (root.name !== "MPD") yield "the root is no MPD";
    const wanted = ["xmlns", "profiles", "minBufferTime", "maxSegmentDuration", "type"];
    if (dynamic) wanted.push("availabilityStartTime", "publishTime");
    else wanted.push("mediaPresentationDuration");
    const known = (attribute(root, "profiles") ?? "").split(",");
    for (const profile of [
      "urn:mpeg:dash:profile:isoff-live:2011",
      "http://www.dashif.org/guidelines/low-latency-live-v5",
    ])
      if (!known.includes(profile)) yield `no profile ${profile}`;
    for (const name of wanted) if (attribute(root, name) === undefined) yield `@${name} is missing`;
    const updates = attribute(root, "minimumUpdatePeriod") !== undefined;
    if (updates !== dynamic)
      yield dynamic ? "no way to learn of changes" : "@minimumUpdatePeriod of what is over";
    if (childrenOf(root, "Location").length > 0) yield "Location would take a token out of the address";
  }),
  rule("5.8.4.11", "clock", function* ({ root, dynamic }) {
    const clocks = childrenOf(root, "UTCTiming").map((clock) => attribute(clock, "schemeIdUri"));
    const known = /^urn:mpeg:dash:utc:http-(xsdate|iso|head):2014$/;
    if (dynamic && !clocks.some((scheme) => known.test(scheme ?? ""))) yield "no clock that players can ask";
  }),
  rule("LL", "latency", function* ({ root, dynamic }) {
    const [service] = childrenOf(root, "ServiceDescription");
    const [latency] = service ? childrenOf(service, "Latency") : [];
    const [rate] = service ? childrenOf(service, "PlaybackRate") : [];
    if (!dynamic) return;
    if (!latency || !rate) return void (yield "no ServiceDescription with Latency and PlaybackRate");
    const [min, target, max] = ["min", "target", "max"].map((name) => numeric(latency, name));
    if (!(min! <= target! && target! <= max!)) yield `latency ${min} <= ${target} <= ${max}`;
    if (!(numeric(rate, "min") <= 1 && numeric(rate, "max") >= 1)) yield "the rates leave no 1";
  }),
  rule("5.3.2", "period-order", function* ({ periods }) {
    if (periods.length === 0) yield "no Period";
    if (new Set(periods.map(({ id }) => id)).size < periods.length) yield "two Periods of one @id";
    for (let i = 1; i < periods.length; i++) {
      const { start, duration, id } = periods[i - 1]!;
      const next = periods[i]!.start;
      if (!(next > start)) yield `Period ${periods[i]!.id} does not begin after ${id}`;
      if (duration !== undefined && start + duration > next + 1e-4) yield `Period ${id} ends inside the next`;
    }
  }),
  rule("5.3.2.1", "last-period-open", function* ({ root, periods, dynamic }) {
    const last = periods.at(-1);
    if (dynamic && last?.duration !== undefined) yield `Period ${last.id} ends while more may come`;
    // 5.3.1.2: said twice, it has to be the same.
    const end = seconds(root, "mediaPresentationDuration");
    if (last?.duration !== undefined && Number.isFinite(end) && !close(last.start + last.duration, end))
      yield `Period ${last.id} ends at ${last.start + last.duration}, the presentation at ${end}`;
  }),
  rule("5.3.3", "adaptation-set", function* ({ periods }) {
    for (const { element, id } of periods) {
      const sets = childrenOf(element, "AdaptationSet");
      if (sets.length === 0) yield `Period ${id} has no AdaptationSet`;
      if (new Set(sets.map((set) => attribute(set, "id"))).size < sets.length)
        yield `Period ${id} has two AdaptationSets of one @id`;
      for (const set of sets) {
        const kind = attribute(set, "contentType");
        if (attribute(set, "mimeType") !== `${kind === "text" ? "application" : kind}/mp4`)
          yield `Period ${id}: @mimeType is not of ${kind}`;
        if (attribute(set, "segmentAlignment") !== "true") yield `Period ${id}: segments are not aligned`;
        if (childrenOf(set, "Role").length === 0) yield `Period ${id}: no Role`;
        if (childrenOf(set, "Representation").length === 0) yield `Period ${id}: no Representation`;
      }
    }
  }),
  rule("SCTE 214-1", "captions", function* ({ periods }) {
    const forms: Readonly<Record<string, RegExp>> = {
      "urn:scte:dash:cc:cea-608:2015": /^CC[1-4]=[a-z]{3}(;CC[1-4]=[a-z]{3}){0,3}$/,
      "urn:scte:dash:cc:cea-708:2015": /^\d{1,2}=lang:[a-z]{3}(;\d{1,2}=lang:[a-z]{3}){0,15}$/,
    };
    for (const { element, id } of periods)
      for (const set of childrenOf(element, "AdaptationSet"))
        for (const one of childrenOf(set, "Accessibility")) {
          const form = forms[attribute(one, "schemeIdUri") ?? ""];
          if (form && attribute(set, "contentType") !== "video")
            yield `Period ${id}: captions outside of pictures`;
          if (form && !form.test(attribute(one, "value") ?? ""))
            yield `Period ${id}: captions are said as ${attribute(one, "value")}`;
        }
  }),
  rule("5.12", "producer-reference-time", function* ({ periods, root, dynamic }) {
    const epoch = Date.parse(attribute(root, "availabilityStartTime") ?? "");
    for (const { element, id } of periods) {
      const ids = childrenOf(element, "AdaptationSet")
        .flatMap((set) => childrenOf(set, "ProducerReferenceTime"))
        .map((time) => attribute(time, "id"));
      if (new Set(ids).size < ids.length) yield `Period ${id}: two ProducerReferenceTimes of one @id`;
    }
    for (const { id, start, renditions: list } of periods)
      for (const { set, timescale, template } of list) {
        const [time] = childrenOf(set, "ProducerReferenceTime");
        if (!time) yield `Period ${id}: no ProducerReferenceTime`;
        else if (dynamic) {
          const media = numeric(time, "presentationTime") - numeric(template, "presentationTimeOffset");
          const wall = epoch + (start + media / timescale) * 1000;
          // Milliseconds are what it is printed in.
          if (!close(Date.parse(attribute(time, "wallClockTime") ?? ""), wall, 1.5))
            yield `Period ${id}: the wall clock is not that of @availabilityStartTime`;
        }
      }
  }),
  rule("5.3.5", "representation", function* ({ periods }) {
    for (const { id, renditions: list } of periods) {
      if (new Set(list.map((rendition) => rendition.id)).size < list.length)
        yield `Period ${id} has two Representations of one @id`;
      for (const { element, set } of list) {
        if (!(numeric(element, "bandwidth") > 0)) yield `${id}: no @bandwidth`;
        if (!/^[\w.-]+$/.test(attribute(element, "codecs") ?? "")) yield `${id}: no @codecs`;
        const audio = attribute(set, "contentType") === "audio";
        const text = attribute(set, "contentType") === "text";
        const needs = audio ? ["audioSamplingRate"] : text ? [] : ["width", "height", "sar"];
        if (text !== (attribute(element, "codecs") === "wvtt")) yield `${id}: @codecs is not that of words`;
        for (const name of needs) if (attribute(element, name) === undefined) yield `${id}: no @${name}`;
        if (audio && childrenOf(element, "AudioChannelConfiguration").length === 0)
          yield `${id}: no AudioChannelConfiguration`;
      }
    }
  }),
  rule("5.3.9.4", "template", function* (reading) {
    for (const { id, template, segments, timescale } of renditions(reading)) {
      if (!attribute(template, "media")?.includes("$Number$")) yield `${id}: @media has no $Number$`;
      if (/\$(Number|Time)/.test(attribute(template, "initialization") ?? "$Number"))
        yield `${id}: @initialization is of one segment`;
      if (!(timescale > 0)) yield `${id}: no @timescale`;
      if ((attribute(template, "duration") === undefined) === (segments === undefined))
        yield `${id}: either @duration or a SegmentTimeline`;
    }
  }),
  rule("5.3.9.2", "presentation-time-offset", function* ({ periods, dynamic }) {
    let ahead: number | undefined;
    for (const { start, renditions: list } of periods)
      for (const { id, template, timescale } of list) {
        const by = numeric(template, "presentationTimeOffset") / timescale - start;
        ahead ??= by;
        if (dynamic && !close(by, ahead)) yield `${id}: media time is not that of the other Periods`;
      }
  }),
  rule("LL", "chunked", function* (reading) {
    const [latency] = childrenOf(reading.root, "ServiceDescription").flatMap((service) =>
      childrenOf(service, "Latency"),
    );
    for (const { id, template, element, timescale } of renditions(reading)) {
      const offset = attribute(template, "availabilityTimeOffset");
      const chunked = attribute(template, "availabilityTimeComplete") === "false";
      if ((offset !== undefined) !== chunked)
        yield `${id}: @availabilityTimeOffset and -Complete go together`;
      if (offset === undefined) continue;
      const length = numeric(template, "duration") / timescale;
      if (!(Number(offset) > 0 && Number(offset) < length)) yield `${id}: ${offset} s of ${length} s`;
      const [resync] = childrenOf(element, "Resync");
      if (!resync) yield `${id}: no Resync`;
      else if (latency && !(numeric(resync, "dT") / timescale < numeric(latency, "target") / 2000))
        yield `${id}: points to resync are further apart than half the latency`;
    }
  }),
  rule("5.3.9.6", "timeline", function* (reading) {
    const longest = seconds(reading.root, "maxSegmentDuration");
    for (const { id, template, segments, timescale } of renditions(reading)) {
      if (!segments) continue;
      if (segments.size === 0) yield `${id}: a timeline without a segment`;
      const [list] = childrenOf(template, "SegmentTimeline");
      if (attribute(list?.children[0] ?? list!, "t") === undefined) yield `${id}: the first has no @t`;
      let end: number | undefined;
      for (const [number, { t, d }] of segments) {
        if (end !== undefined && t !== end) yield `${id}: ${number} begins at ${t}, the last ended at ${end}`;
        if (!(d > 0) || Math.round(d / timescale) > longest) yield `${id}: ${number} lasts ${d}`;
        end = t + d;
      }
    }
  }),
  rule("5.3.9.5", "longest-segment", function* (reading) {
    const longest = seconds(reading.root, "maxSegmentDuration");
    for (const { id, template, timescale } of renditions(reading)) {
      const d = attribute(template, "duration");
      if (d !== undefined && Number(d) / timescale > longest + 0.05)
        yield `${id}: @duration is over @maxSegmentDuration`;
    }
  }),
  rule("5.3.2.4", "period-continuity", function* ({ periods }) {
    for (let i = 0; i < periods.length; i++)
      for (const { set } of periods[i]!.renditions)
        for (const property of childrenOf(set, "SupplementalProperty")) {
          if (!/:period-(continuity|connectivity):2015$/.test(attribute(property, "schemeIdUri") ?? ""))
            continue;
          if (periods[i - 1]?.id !== attribute(property, "value"))
            yield `Period ${periods[i]!.id} goes on from one that is not before it`;
        }
  }),
];

const two: readonly Rule<Pair>[] = [
  rule("5.4", "publish-time", function* ({ before, now }) {
    if (before.text === now.text || !now.dynamic) return;
    const [old, later] = [before, now].map(({ root }) => Date.parse(attribute(root, "publishTime") ?? ""));
    if (!(later! > old!)) yield "a change without a later @publishTime";
  }),
  rule("5.4", "constant", function* ({ before, now }) {
    if (!now.dynamic) return;
    for (const name of ["availabilityStartTime", "profiles", "timeShiftBufferDepth"])
      if (attribute(before.root, name) !== attribute(now.root, name)) yield `@${name} has changed`;
  }),
  rule("5.3.1.2", "over-is-over", function* ({ before, now }) {
    if (!before.dynamic && now.dynamic) yield "static has become dynamic";
    const ends = [before, now].map(({ root }) => attribute(root, "mediaPresentationDuration"));
    if (ends[0] !== undefined && ends[1] !== ends[0]) yield "the end has moved";
  }),
  rule("5.4", "period-list", function* ({ before, now }) {
    const old = before.periods.map(({ id }) => id);
    const kept = now.periods.map(({ id }) => id).filter((id) => old.includes(id));
    if (kept.join() !== old.slice(old.length - kept.length).join())
      yield "a Period left that was not the oldest";
    const fresh = now.periods.findIndex(({ id }) => !old.includes(id));
    if (fresh >= 0 && now.periods.slice(fresh).some(({ id }) => old.includes(id)))
      yield "a Period came that is not the newest";
  }),
  rule("5.4", "period-unchanged", function* ({ before, now }) {
    for (const [old, later] of same(before.periods, now.periods)) {
      if (old.start !== later.start) yield `Period ${old.id} has another start`;
      if (old.duration !== undefined && old.duration !== later.duration)
        yield `Period ${old.id} has another duration`;
      const ids = [old, later].map(({ renditions: list }) => list.map(({ id }) => id).join());
      if (ids[0] !== ids[1]) yield `Period ${old.id} has other Representations`;
    }
  }),
  rule("5.4", "representation-unchanged", function* ({ before, now }) {
    for (const [period, later] of same(before.periods, now.periods))
      for (const [a, b] of same(period.renditions, later.renditions)) {
        const moves = a.segments ? ["startNumber"] : ["availabilityTimeOffset", "availabilityTimeComplete"];
        for (const [from, to] of [
          [a.set, b.set],
          [a.element, b.element],
          [a.template, b.template],
        ] as const)
          for (const name of new Set([...from.attributes.keys(), ...to.attributes.keys()])) {
            if (name === "endNumber" && attribute(from, name) === undefined) continue;
            if (moves.includes(name) && (a.segments || !now.dynamic)) continue;
            if (attribute(from, name) !== attribute(to, name))
              yield `${a.id} in ${period.id}: another @${name}`;
          }
      }
  }),
  rule("5.4", "timeline-unchanged", function* ({ before, now }) {
    for (const [period, later] of same(before.periods, now.periods))
      for (const [a, b] of same(period.renditions, later.renditions)) {
        if (!a.segments || !b.segments) continue;
        const [oldest] = b.segments.keys();
        for (const [number, { t, d }] of a.segments) {
          const again = b.segments.get(number);
          if (!again && number >= oldest!) yield `${a.id}: ${number} has left from between`;
          if (again && (again.t !== t || again.d !== d)) yield `${a.id}: ${number} is another one`;
        }
      }
  }),
];

/** Those of both lists that have one id. */
function* same<T extends { readonly id: string }>(
  before: readonly T[],
  now: readonly T[],
): Generator<readonly [T, T]> {
  for (const old of before) {
    const later = now.find(({ id }) => id === old.id);
    if (later) yield [old, later];
  }
}

/** A judge of one manifest through its life. */
export function createMpdJudge(): MpdJudge {
  const faults: Fault[] = [];
  let before: Reading | undefined;
  let count = 0;
  return {
    faults,
    get count() {
      return count;
    },
    manifest(text, atMs) {
      count++;
      const found: Fault[] = [];
      const judge = <Input>(rules: readonly Rule<Input>[], input: Input): void => {
        for (const { section, name, check } of rules)
          for (const fault of check(input)) found.push({ rule: section, name, text: fault, atMs });
      };
      try {
        const now = read(text);
        judge(one, now);
        if (before) judge(two, { before, now });
        before = now;
      } catch (error) {
        found.push({ rule: "5.3.1", name: "xml", text: String(error), atMs });
      }
      faults.push(...found);
      return found;
    },
  };
}

/** The names of all rules, for a test that each can fail. */
export const mpdRuleNames: readonly string[] = [...one, ...two].map(({ name }) => name);

function read(text: string): Reading {
  const root = readXml(text);
  const periods = childrenOf(root, "Period").map((element): PeriodRead => {
    const period = {
      element,
      id: attribute(element, "id") ?? "",
      start: seconds(element, "start"),
      duration: secondsOf(attribute(element, "duration")),
    };
    const list: Rendition[] = [];
    const whole = { ...period, renditions: list };
    for (const set of childrenOf(element, "AdaptationSet"))
      for (const representation of childrenOf(set, "Representation"))
        list.push(renditionOf(whole, set, representation));
    return whole;
  });
  return { text, root, dynamic: attribute(root, "type") === "dynamic", periods };
}

function renditionOf(period: PeriodRead, set: Element, element: Element): Rendition {
  const [template] = childrenOf(element, "SegmentTemplate");
  if (!template) throw new Error(`${attribute(element, "id")} has no SegmentTemplate`);
  const startNumber = numeric(template, "startNumber");
  const [timeline] = childrenOf(template, "SegmentTimeline");
  let segments: Map<number, { t: number; d: number }> | undefined;
  if (timeline) {
    segments = new Map();
    let t = 0;
    for (const line of timeline.children) {
      t = Number(attribute(line, "t") ?? t);
      const d = numeric(line, "d");
      for (let i = 0; i <= Number(attribute(line, "r") ?? 0); i++, t += d)
        segments.set(startNumber + segments.size, { t, d });
    }
  }
  const timescale = numeric(template, "timescale");
  return {
    period,
    set,
    element,
    id: attribute(element, "id") ?? "",
    template,
    timescale,
    startNumber,
    segments,
  };
}
