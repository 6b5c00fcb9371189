import type { Channel } from "./captions.ts";
import type { Past } from "./past.ts";
import { type Member, oldestOf, type Period, wholeIn } from "./periods.ts";
import { startMs } from "./timeline.ts";
import type { AudioTrack, Segment, TextTrack, Track, VideoTrack } from "./track.ts";
import type { Window } from "./window.ts";

/** One rendition as a manifest shows it. */
export interface Representation {
  /** Also its folder below `Presentation.media`. */
  readonly name: string;
  readonly window: Window;
  /** What is shown before the window: a DVR. */
  readonly past?: Past | undefined;
  /** What an init version decodes; undefined for one that is not known here. */
  readonly track: (version: number) => Track | TextTrack | undefined;
  /** Channels of the captions in its pictures. */
  readonly captions?: readonly Channel[] | undefined;
}

export interface Presentation {
  /** As `Schedule` has them. */
  readonly periods: readonly Period[];
  /** The reference first. */
  readonly renditions: readonly Representation[];
  /** Folder of all media, relative to the manifest. */
  readonly media: string;
  /** Address of our clock, relative to the manifest: xs:dateTime in the body. */
  readonly clock: string;
  /** Seconds back from the live edge that can be played; Infinity: all of it. */
  readonly depthSeconds: number;
  /** `static` is for a recording: the first Period begins at 0. A broadcast that is over keeps its times. */
  readonly type: "dynamic" | "static";
  /** Milliseconds since 1970 of the last change of this text. */
  readonly publishMs: number;
}

const namespace = "urn:mpeg:dash:schema:mpd:2011";
const profiles = [
  "urn:mpeg:dash:profile:isoff-live:2011",
  "urn:mpeg:dash:profile:cmaf:2019",
  "http://www.dashif.org/guidelines/low-latency-live-v5",
].join(",");
const cicp = "urn:mpeg:mpegB:cicp:ChannelConfiguration";
const xsdate = "urn:mpeg:dash:utc:http-xsdate:2014";

/** How soon after its first frame a segment can be had; a request that comes before is held, not refused. */
const chunkSeconds = 0.1;
/** What an encoder that drops out may take to come back while players wait at the end of what they have. */
const outageSeconds = 30;
/** Longer than any broadcast that somebody goes back in, and few enough milliseconds for what players read them into. */
const longestSeconds = 24 * 86_400;
/** How often a player looks for a new Period, and for a segment of a timeline. */
const updateSeconds = { number: 2, timeline: 1 };

/**
 * The manifest of a broadcast, as text (ISO/IEC 23009-1:2022; sections are of it). Media time is the broadcast's clock in every
 * Period, so @presentationTimeOffset is further on than Period@start by as much in each of them.
 */
export function manifest(presentation: Presentation): string {
  const { periods, renditions, type, clock, publishMs } = presentation;
  const { window } = renditions[0]!;
  const oldest = oldestOf(renditions[0]!);
  const shown = periods.filter(({ shown, until }) => shown && (until === undefined || until > oldest));
  const timescale = window.timescale;
  // Some take @mediaPresentationDuration for what there is to play, so the presentation begins with the first frame, not before.
  const first = type === "static" ? (shown[0]?.start ?? 0) : (startMs * timescale) / 1000;
  const last = shown.at(-1);
  const steady = last?.grid !== undefined;
  const over = isOver(presentation);
  const end = last?.end ?? edgeOf(window);

  // 5.4: a player that was there while it grew learns from `static` that nothing follows. Of one that stays `dynamic`, with
  // @mediaPresentationDuration, dash.js never comes to the end.
  let text = `<?xml version="1.0" encoding="UTF-8"?>\n<MPD xmlns="${namespace}" profiles="${profiles}" type="${over ? "static" : "dynamic"}"`;
  // 5.3.1.2: the clock of all Periods; it never changes.
  if (type === "dynamic")
    text += ` availabilityStartTime="${date(window.epochMs + startMs)}" publishTime="${date(publishMs)}"`;
  if (!over) {
    text += ` minimumUpdatePeriod="${duration(steady ? updateSeconds.number : updateSeconds.timeline)}"`;
    // 5.3.1.2: without one it goes back to the beginning.
    if (presentation.depthSeconds < Number.POSITIVE_INFINITY)
      text += ` timeShiftBufferDepth="${duration(presentation.depthSeconds)}"`;
  }
  if (over) text += ` mediaPresentationDuration="${duration((end - first) / timescale)}"`;
  // Some take it for how old the newest whole segment may be, so it is no longer than need be; a target duration is rounded.
  const longest = shown.every(({ grid }) => grid !== undefined)
    ? Math.max(...shown.map(({ grid = 0 }) => grid)) / timescale
    : window.targetDuration + 0.5;
  text += ` maxSegmentDuration="${duration(longest)}" minBufferTime="${duration(steady ? 2 * window.partTarget : window.targetDuration)}">\n`;
  if (!over) text += service(window, { steady, depthSeconds: presentation.depthSeconds });
  let before: Period | undefined;
  shown.forEach((period, index) => {
    text += periodText(presentation, { period, before, next: shown[index + 1], first });
    before = period;
  });
  // 5.8.4.11: a player's own clock may be minutes off.
  if (type === "dynamic") text += `  <UTCTiming schemeIdUri="${xsdate}" value="${clock}"/>\n`;
  return `${text}</MPD>\n`;
}

/** Whether nothing follows any more. */
function isOver({ renditions, type }: Presentation): boolean {
  return renditions[0]!.window.ended || type === "static";
}

/** K.3: how far behind live a player should be, in ms. Chunk by chunk where the next number is known, else whole segments. */
function service(
  { targetDuration, partTarget }: Window,
  { steady, depthSeconds }: { readonly steady: boolean; readonly depthSeconds: number },
): string {
  const target = Math.round(1000 * (steady ? 1.5 * partTarget + 0.2 : targetDuration + 2.5));
  const min = Math.round(target * 0.6);
  // Beyond it a player seeks forward. An outage must not make it, since it would land where nothing is; nor may a viewer who
  // went back be fetched from there.
  const max = 1000 * Math.max(outageSeconds, Math.min(depthSeconds, longestSeconds));
  return (
    '  <ServiceDescription id="0">\n' +
    `    <Latency referenceId="0" target="${target}" min="${min}" max="${max}"/>\n` +
    '    <PlaybackRate min="0.92" max="1.08"/>\n' +
    "  </ServiceDescription>\n"
  );
}

interface Place {
  readonly period: Period;
  /** Neighbours that are listed. */
  readonly before: Period | undefined;
  readonly next: Period | undefined;
  /** Where the presentation begins, in ticks of the reference. */
  readonly first: number;
}

function periodText(presentation: Presentation, place: Place): string {
  const { period, first } = place;
  const { timescale } = presentation.renditions[0]!.window;
  const over = isOver(presentation);
  let text = `  <Period id="${period.id}" start="${duration((period.start - first) / timescale)}"`;
  // 5.3.2.2: with a hole behind it a Period says how long it is, else the next one's start does. Not the last, as long as
  // more may come: players take the end of what they know for the end of all.
  if (period.end !== undefined && (place.next || over))
    text += ` duration="${duration((period.end - period.start) / timescale)}"`;
  text += ">\n";
  const sets = setsOf(presentation, period);
  const switching = sets.filter((set) => set.kind === "video").map((set) => set.id);
  for (const set of sets) text += setText(presentation, place, { set, switching });
  return `${text}  </Period>\n`;
}

interface Entry {
  readonly member: Member;
  readonly rendition: Representation;
  readonly track: Track | TextTrack;
}

/** What a player can change between without a seam: one kind, codec and language. */
interface Set {
  readonly id: number;
  readonly kind: Entry["track"]["kind"];
  /** Of its kind. */
  readonly first: boolean;
  readonly entries: readonly Entry[];
}

function setsOf({ renditions }: Presentation, { members }: Period): Set[] {
  const groups = new Map<string, Entry[]>();
  for (const member of members) {
    const rendition = renditions.find((one) => one.name === member.name);
    const track = rendition?.track(member.version);
    if (!rendition || !track) continue;
    // Words of another hand are other words, also in the same language.
    const apart = track.kind === "text" ? member.name : track.kind === "audio" ? track.language : undefined;
    const key = `${track.kind} ${track.entry} ${apart ?? ""}`;
    groups.set(key, [...(groups.get(key) ?? []), { member, rendition, track }]);
  }
  const kinds = [...groups.values()].map((entries) => entries[0]!.track.kind);
  return [...groups.values()].map((entries, id) => {
    const kind = kinds[id]!;
    return { id, kind, first: kinds.indexOf(kind) === id, entries };
  });
}

function setText(
  presentation: Presentation,
  place: Place,
  { set, switching }: { set: Set; switching: readonly number[] },
): string {
  const { period, before } = place;
  const { id, kind, entries } = set;
  let text = `    <AdaptationSet id="${id}" contentType="${kind}" mimeType="${kind === "text" ? "application" : kind}/mp4" segmentAlignment="true"`;
  const language = entries.map(({ track }) => (track.kind === "video" ? undefined : track.language))[0];
  // xs:language: what a publisher says may be anything.
  if (language && /^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$/.test(language)) text += ` lang="${language}"`;
  // A segment that was cut for want of a keyframe starts with none, and only a timeline has those.
  if (period.grid !== undefined || kind !== "video") text += ' startWithSAP="1"';
  text += kind === "video" ? extent(entries.map(({ track }) => track as VideoTrack)) : "";
  text += ">\n";
  // 5.3.5.5: sets of different codecs show the same picture.
  const others = kind === "video" ? switching.filter((other) => other !== id) : [];
  if (others.length > 0) text += property("urn:mpeg:dash:adaptation-set-switching:2016", others.join(","));
  // 5.3.2.4: the same init goes on; nothing needs to be set up again.
  if (period.follows && before && sameInits(entries, before)) {
    const kin = period.follows === "continuous" ? "continuity" : "connectivity";
    text += property(`urn:mpeg:dash:period-${kin}:2015`, before.id);
  }
  text += reference(presentation, period, set);
  text += accessibility(entries);
  // 5.8.5.5: the first of a kind is what to play where nobody chooses.
  text += `      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="${kind === "text" ? "caption" : set.first ? "main" : "alternate"}"/>\n`;
  for (const entry of entries) text += representation(presentation, place, entry);
  return `${text}    </AdaptationSet>\n`;
}

/** ANSI/SCTE 214-1 5.6.4: the captions in the pictures, where all have them. Nobody says in which language. */
function accessibility(entries: readonly Entry[]): string {
  const [first = [], ...others] = entries.map(({ rendition }) => rendition.captions ?? []);
  const channels = first.filter((channel) => others.every((list) => list.includes(channel)));
  const line = (scheme: string, value: readonly string[]): string =>
    value.length === 0
      ? ""
      : `      <Accessibility schemeIdUri="urn:scte:dash:cc:${scheme}:2015" value="${value.join(";")}"/>\n`;
  const of608 = channels.filter((channel) => channel.startsWith("CC"));
  const of708 = channels.flatMap((channel) => /^SERVICE(\d+)$/.exec(channel)?.[1] ?? []);
  return (
    line(
      "cea-608",
      of608.map((channel) => `${channel}=und`),
    ) +
    line(
      "cea-708",
      of708.map((number) => `${number}=lang:und`),
    )
  );
}

function property(scheme: string, value: string): string {
  return `      <SupplementalProperty schemeIdUri="${scheme}" value="${value}"/>\n`;
}

function sameInits(entries: readonly Entry[], before: Period): boolean {
  return entries.every(({ member }) =>
    before.members.some((one) => one.name === member.name && one.version === member.version),
  );
}

/** 5.12: when the media of a moment came in, so that a player can tell how far behind it is. */
function reference({ renditions, clock }: Presentation, period: Period, { id, entries }: Set): string {
  const { timescale, epochMs } = renditions[0]!.window;
  const own = entries[0]!.track.timescale;
  const at = Math.round((period.start * own) / timescale);
  return (
    `      <ProducerReferenceTime id="${id}" type="encoder" wallClockTime="${date(epochMs + (at * 1000) / own)}" presentationTime="${at}">\n` +
    `        <UTCTiming schemeIdUri="${xsdate}" value="${clock}"/>\n` +
    "      </ProducerReferenceTime>\n"
  );
}

function representation(presentation: Presentation, place: Place, entry: Entry): string {
  const { member, track } = entry;
  let text = `      <Representation id="${member.name}" bandwidth="${member.bits}" codecs="${track.codec}"`;
  if (track.kind === "video") text += picture(track);
  if (track.kind === "audio") text += ` audioSamplingRate="${track.sampleRate}"`;
  text += ">\n";
  if (track.kind === "audio")
    text += `        <AudioChannelConfiguration schemeIdUri="${cicp}" value="${channels(track)}"/>\n`;
  if (place.period.grid !== undefined) text += resync(track);
  text += template(presentation, place, entry);
  return `${text}      </Representation>\n`;
}

/** 5.3.13: where a decoder can be fed from in the middle of a segment: every chunk, of sound even to start with. */
function resync(track: Entry["track"]): string {
  const longest = track.kind === "video" ? Math.max(chunkSeconds, 1 / (track.frameRate ?? 30)) : chunkSeconds;
  return `        <Resync type="${track.kind === "video" ? 0 : 1}" dT="${Math.ceil(longest * track.timescale)}"/>\n`;
}

function template(presentation: Presentation, place: Place, { member, rendition, track }: Entry): string {
  const { period, next } = place;
  const reference = presentation.renditions[0]!.window.timescale;
  const own = rendition.window.timescale;
  const ticks = (time: number): number => Math.round((time * own) / reference);
  const folder = `${presentation.media}/$RepresentationID$/${member.version}`;
  let text = `        <SegmentTemplate timescale="${own}" presentationTimeOffset="${ticks(period.start)}"`;
  text += ` initialization="${folder}/init.mp4" media="${folder}/$Number$.m4s"`;
  if (period.grid === undefined) {
    const lead = track.kind === "video" ? ticks(period.lead) : 0;
    const { first, lines } = timeline(rendition, period, { version: member.version, lead });
    const until = period.until ?? Number.POSITIVE_INFINITY;
    const missing = gapsOf(rendition).filter(({ number }) => number > first && number < until);
    text += ` startNumber="${first}">\n${failover(missing)}`;
    return `${text}          <SegmentTimeline>\n${lines}          </SegmentTimeline>\n        </SegmentTemplate>\n`;
  }
  text += ` startNumber="${period.number}"`;
  const over = isOver(presentation);
  // What a player asks for in the hole behind the last Period is answered with segments of nothing.
  const until = period.end === undefined ? next?.number : next || over ? period.until : undefined;
  if (until !== undefined) text += ` endNumber="${until - 1}"`;
  text += ` duration="${ticks(period.grid)}"`;
  // 5.3.9.5.3: a segment can be asked for from its first chunk on, and comes chunk by chunk.
  if (!over) {
    const offset = period.grid / reference - chunkSeconds;
    text += ` availabilityTimeOffset="${decimal(offset)}" availabilityTimeComplete="false"`;
  }
  const missing: Stretch[] = gapsOf(rendition).filter(
    (one) =>
      one.number >= period.number &&
      (until === undefined || one.number < until) &&
      one.dts + one.duration > ticks(period.start),
  );
  // 5.4: `static` says that all of it can be had. A Period's start is its own for good, so what left the window is said to be gone.
  const oldest = rendition.past?.at(0) ?? rendition.window.segments[0];
  if (over && oldest && oldest.number > period.number)
    missing.unshift({ dts: ticks(period.start), duration: oldest.dts - ticks(period.start) });
  return missing.length > 0 ? `${text}>\n${failover(missing)}        </SegmentTemplate>\n` : `${text}/>\n`;
}

type Stretch = Pick<Segment, "dts" | "duration">;

function gapsOf({ past, window }: Representation): Segment[] {
  return [...(past?.gaps ?? []), ...window.segments.filter((one) => one.gap)];
}

/**
 * 5.3.9.6: what of a rendition a Period lists, from the first segment that there is. A gap behind it stays, because numbers
 * are counted from there.
 */
function timeline(
  rendition: Representation,
  period: Period,
  { version, lead }: { readonly version: number; readonly lead: number },
): { readonly first: number; readonly lines: string } {
  const { name, window, past } = rendition;
  const until = period.until ?? Number.POSITIVE_INFINITY;
  const first = wholeIn(rendition, period, version).next().value?.number ?? until;
  const old = past?.text({ key: `dash ${name} ${lead}`, from: first, until }, (rows) => runs(rows, lead));
  const own = window.segments.filter(({ number }) => number >= first && number < until);
  return { first: first === until ? period.number : first, lines: (old ?? "") + runs(own, lead) };
}

/** Segments of one length in a row are one line, and what goes on from the line before needs no time. */
function runs(segments: readonly Segment[], lead: number): string {
  let text = "";
  let end: number | undefined;
  for (let i = 0; i < segments.length; ) {
    const { dts, duration: d } = segments[i]!;
    let same = 1;
    for (let next = segments[i + same]; next; next = segments[i + same]) {
      if (next.duration !== d || next.dts !== dts + same * d) break;
      same++;
    }
    text += `<S${dts === end ? "" : ` t="${dts + lead}"`} d="${d}"${same > 1 ? ` r="${same - 1}"` : ""}/>\n`;
    end = dts + same * d;
    i += same;
  }
  return text;
}

/** 5.3.9.7: what this rendition alone lacks. */
function failover(missing: readonly Stretch[]): string {
  if (missing.length === 0) return "";
  const ranges = missing.map((one) => `            <FCS t="${one.dts}" d="${one.duration}"/>\n`);
  return `          <FailoverContent valid="false">\n${ranges.join("")}          </FailoverContent>\n`;
}

function extent(tracks: readonly VideoTrack[]): string {
  const width = Math.max(...tracks.map((track) => track.width));
  const height = Math.max(...tracks.map((track) => track.height));
  const shape = tracks.find((track) => track.width === width)!;
  const [x, y] = shape.pixelAspect;
  let text = ` maxWidth="${width}" maxHeight="${height}" par="${ratio(shape.width * x, shape.height * y)}"`;
  const rates = tracks.flatMap(({ frameRate }) => (frameRate === undefined ? [] : [frameRate]));
  if (rates.length > 0) text += ` maxFrameRate="${rateOf(Math.max(...rates))}"`;
  return text;
}

function picture({ width, height, pixelAspect: [x, y], frameRate }: VideoTrack): string {
  const rate = frameRate === undefined ? "" : ` frameRate="${rateOf(frameRate)}"`;
  return ` width="${width}" height="${height}" sar="${ratio(x, y)}"${rate}`;
}

/** ISO/IEC 23091-3 table 1: up to six channels the number is the layout; eight are 7.1 of the front. */
function channels({ channels: count }: AudioTrack): number {
  return count === 8 ? 12 : count;
}

/** Frames per second, as a fraction where it is one of NTSC's. */
function rateOf(rate: number): string {
  const whole = Math.round(rate);
  if (Math.abs(rate - whole) < 0.001) return String(whole);
  if (Math.abs(rate - whole / 1.001) < 0.005) return `${whole * 1000}/1001`;
  return `${Math.round(rate * 1000)}/1000`;
}

function ratio(x: number, y: number): string {
  let [a, b] = [Math.round(x), Math.round(y)];
  while (b > 0) [a, b] = [b, a % b];
  return `${Math.round(x) / a}:${Math.round(y) / a}`;
}

function edgeOf(window: Window): number {
  const last = window.open ?? window.segments.at(-1);
  return last ? last.dts + last.duration : 0;
}

function date(ms: number): string {
  return new Date(Math.round(ms)).toISOString();
}

/** xs:duration in seconds, to the microsecond. */
function duration(seconds: number): string {
  return `PT${decimal(seconds)}S`;
}

function decimal(seconds: number): string {
  return String(Number(seconds.toFixed(6)));
}
