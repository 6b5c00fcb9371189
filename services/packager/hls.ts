import type { Channel } from "./captions.ts";
import { type Cue, cueLine } from "./cues.ts";
import type { Past } from "./past.ts";
import { quotable } from "./quoted.ts";
import type { Colour, Part, Segment, VideoTrack } from "./track.ts";
import { isTextName, textName } from "./webvtt.ts";
import type { Window } from "./window.ts";

/** Where another rendition's playlist stands at this moment. `uri` is relative to the playlist that carries the report. */
export interface Report {
  readonly uri: string;
  readonly number: number;
  /** Absent when that playlist lists no part. */
  readonly part: number | undefined;
}

export interface MediaOptions {
  /** What the client left out: `_HLS_skip`. */
  readonly skip: "none" | "YES" | "v2";
  readonly reports: readonly Report[];
  /** The rendition's name: the folder of its media, relative to its playlist. */
  readonly name: string;
  /** What the list shows before the window: a DVR. Such lists are long, so they always offer deltas. */
  readonly past?: Past | undefined;
  /** The same in every list of the broadcast (6.2.4): what lies in it, and the ids of what left it lately. */
  readonly cues?: { readonly listed: readonly Cue[]; readonly removed: readonly string[] } | undefined;
  /** Neither parts nor anything that goes with them: regular HLS. */
  readonly plain?: boolean | undefined;
  /** Seconds from its first segment to where a player begins. */
  readonly startSeconds?: number | undefined;
}

/**
 * The media playlist of one rendition, as text. Sections are of rfc8216bis (draft 22).
 * The lines of complete segments are kept with the segment, so a reload costs the open segment and a concatenation.
 */
export function mediaPlaylist(window: Window, options: MediaOptions): string {
  const { segments, open } = window;
  const { name, past, plain = false } = options;
  const old = past?.length ?? 0;
  const first = past?.at(0) ?? segments[0] ?? open;
  const deltas = window.deltas || past !== undefined;
  const delta = deltaOf(window, options);
  const { skipped } = delta;

  // 8: 6 is for EXT-X-MAP, 9 for EXT-X-SKIP; a client refuses a version it does not know, so never more than needed.
  let text = `#EXTM3U\n#EXT-X-VERSION:${delta.version ?? (isTextName(name) ? 3 : 6)}\n`;
  text += header(window, { deltas, plain });
  // 4.4.2.2
  if (options.startSeconds !== undefined)
    text += `#EXT-X-START:TIME-OFFSET=${options.startSeconds.toFixed(6)},PRECISE=YES\n`;
  // 4.4.3.2
  text += `#EXT-X-MEDIA-SEQUENCE:${first?.number ?? 0}\n`;
  // 4.4.3.3: always there, because a discontinuity can come at any time; untouched by EXT-X-SKIP (4.4.5.2).
  text += `#EXT-X-DISCONTINUITY-SEQUENCE:${past && old > 0 ? past.discontinuitySequence : window.discontinuitySequence}\n`;
  // 4.4.2.1: the tag speaks for every segment of this text, the skipped ones and the open one too. It comes and goes with
  // the long GOPs in the window: a wrong promise breaks a client that joins or switches at such a segment, a missing one
  // costs it nothing, since INDEPENDENT=YES on the parts says the same.
  const clean = (past?.clean ?? true) && segments.every(startsClean);
  if (isTextName(name) || (clean && (!open || startsClean(open)))) text += "#EXT-X-INDEPENDENT-SEGMENTS\n";

  text += delta.lines;

  const partsFrom = firstWithParts(window);
  const listed = (i: number): Segment | undefined => (i < old ? past?.at(i) : segments[i - old]);
  const sequence = past && old > 0 ? past.discontinuitySequence : window.discontinuitySequence;
  let before = skipped ? listed(skipped - 1) : undefined;
  const write = (rows: readonly Segment[], from: Segment | undefined): string => {
    let text = "";
    let last = from;
    for (const row of rows) {
      text += seam(last, row, sequence, name) + date(row, window) + endLines(row, window.timescale, name);
      last = row;
    }
    return text;
  };
  if (past && skipped === 0) text += past.text({ key: `${name} ${window.epochMs}` }, write);
  else
    for (let i = skipped; i < old; i++) {
      const row = listed(i)!;
      text += write([row], before);
      before = row;
    }
  if (old > 0 && skipped < old) before = listed(old - 1);
  for (let i = Math.max(0, skipped - old); i < segments.length; i++) {
    const segment = segments[i]!;
    text += seam(before, segment, sequence, name);
    const lines = linesOf(segment, window, name);
    text += plain || i < partsFrom ? lines.bare : lines.full;
    before = segment;
  }
  if (open && open.parts.length > 0 && !plain) {
    text += seam(before, open, sequence, name) + date(open, window) + partLines(open, window.timescale, name);
    before = open;
  }

  // 4.4.3.4; 4.4.5.3: with ENDLIST there MUST NOT be a hint.
  if (window.ended) return `${text}#EXT-X-ENDLIST\n`;
  if (plain) return text;
  const next = window.next;
  if (next) {
    // 4.4.5.3: the init of the next part, when it is not the one in force.
    if (next.version !== before?.version && !isTextName(name))
      text += `#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="${initUri(name, next.version)}"\n`;
    text += `#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${partUri(name, next.version, next.number, next.part)}"\n`;
  }
  // 4.4.5.4
  for (const report of options.reports) {
    text += `#EXT-X-RENDITION-REPORT:URI="${report.uri}",LAST-MSN=${report.number}`;
    text += report.part === undefined ? "\n" : `,LAST-PART=${report.part}\n`;
  }
  return text;
}

/** The init segment of a version, relative to the media playlist of rendition `name`. */
function initUri(name: string, version: number): string {
  return `${name}/${version}/init.mp4`;
}

/** A segment, relative to the media playlist of rendition `name`. */
export function segmentUri(name: string, version: number, number: number): string {
  return `${name}/${version}/${number}.${isTextName(name) ? "vtt" : "m4s"}`;
}

/** Part `part` of segment `number`, relative to the media playlist of rendition `name`. */
function partUri(name: string, version: number, number: number, part: number): string {
  return `${name}/${version}/${number}.${part}.${isTextName(name) ? "vtt" : "m4s"}`;
}

/** The tags that are constant for a broadcast and the same in all its renditions (6.2.1, 6.2.4). */
export function header(
  window: Window,
  { deltas, plain, parts = !plain }: { deltas: boolean; plain: boolean; parts?: boolean },
): string {
  const target = window.targetDuration;
  // 4.4.3.8: CAN-SKIP-UNTIL and HOLD-BACK at least 6 and 3 target durations; PART-HOLD-BACK at least 2 part targets, and
  // Apple's authoring rules ask for 3.
  const skip = deltas ? `,CAN-SKIP-UNTIL=${6 * target},CAN-SKIP-DATERANGES=YES` : "";
  // 4.4.3.8: nothing is held for who may sit behind a cache that gives up on held requests.
  if (plain) return `#EXT-X-TARGETDURATION:${target}\n#EXT-X-SERVER-CONTROL:HOLD-BACK=${3 * target}${skip}\n`;
  return (
    `#EXT-X-TARGETDURATION:${target}\n` +
    `#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES${skip},HOLD-BACK=${3 * target},PART-HOLD-BACK=${up(3 * window.partTarget)}\n` +
    (parts ? `#EXT-X-PART-INF:PART-TARGET=${up(window.partTarget)}\n` : "")
  );
}

/** A segment that a decoder can start with, or that has nothing to decode. */
function startsClean(segment: Segment): boolean {
  return segment.independent || segment.gap;
}

/** What of a list a delta update leaves out, with the lines that say so; of any other request nothing, and all date ranges. */
export function deltaOf(
  window: Window,
  { skip, past, cues }: Pick<MediaOptions, "skip" | "past" | "cues">,
): { readonly skipped: number; readonly version: number | undefined; readonly lines: string } {
  const deltas = window.deltas || past !== undefined;
  // 6.2.5.1: the directive MUST be ignored where CAN-SKIP-UNTIL is absent or the playlist has ended.
  const skipped = skip === "none" || !deltas || window.ended ? 0 : skippable(window, past);
  const { listed = [], removed = [] } = cues ?? {};
  // 8: 10 is for skipped EXT-X-DATERANGE tags, so `v2` gets the same answer as `YES` where there are none.
  const skipsCues = skip === "v2" && skipped > 0 && listed.length + removed.length > 0;
  // 4.4.5.2
  const ids = skipsCues ? `,RECENTLY-REMOVED-DATERANGES="${removed.join("\t")}"` : "";
  let lines = skipped > 0 ? `#EXT-X-SKIP:SKIPPED-SEGMENTS=${skipped}${ids}\n` : "";
  // 4.4.5.1
  const end = window.open ?? window.segments.at(-1);
  const edgeMs = end ? window.epochMs + ((end.dts + end.duration) * 1000) / window.timescale : 0;
  for (const cue of listed)
    if (!skipsCues || cue.saidMs >= edgeMs - 6000 * window.targetDuration) lines += cueLine(cue);
  return { skipped, version: skipsCues ? 10 : skipped > 0 ? 9 : undefined, lines };
}

/** How many of the oldest segments a delta update leaves out. 6.2.5.1: those further from the end of the last segment than the boundary. */
function skippable(window: Window, past: Past | undefined): number {
  const { segments } = window;
  const old = past?.length ?? 0;
  const boundary = 6 * window.targetDuration * window.timescale;
  let count = old + segments.length;
  for (let kept = 0; count > 0 && kept <= boundary; count--)
    kept += (count > old ? segments[count - 1 - old] : past?.at(count - 1))!.duration;
  return count;
}

/** The first segment that still shows its parts: 6.2.2, part tags further than 3 target durations from the end SHOULD go. */
function firstWithParts(window: Window): number {
  const { segments, open } = window;
  const limit = 3 * window.targetDuration * window.timescale;
  let distance = 0;
  if (open) for (const part of open.parts) distance += part.duration;
  let index = segments.length;
  while (index > 0) {
    distance += segments[index - 1]!.duration;
    if (distance > limit) break;
    index--;
  }
  return index;
}

/** What stands between two segments. `before` is absent for the first of the playlist, `sequence` is then the count before it. */
export function seam(before: Segment | undefined, segment: Segment, sequence: number, name: string): string {
  // 6.2.2: the tag stays with its segment until that leaves the window, and only then DISCONTINUITY-SEQUENCE moves.
  const broken = segment.discontinuity !== (before ? before.discontinuity : sequence);
  // 4.4.4.5, and again after a discontinuity: a delta update may have dropped the tag that was in force.
  // WebVTT has none.
  const map = !isTextName(name) && (!before || broken || before.version !== segment.version);
  return (
    (broken ? "#EXT-X-DISCONTINUITY\n" : "") +
    (map ? `#EXT-X-MAP:URI="${initUri(name, segment.version)}"\n` : "")
  );
}

interface Lines {
  readonly name: string;
  readonly epochMs: number;
  /** From PROGRAM-DATE-TIME to the URI, with the part tags. */
  readonly full: string;
  /** The same without part tags. */
  readonly bare: string;
}

const keptMedia = new WeakMap<Segment, Lines>();
const keptText = new WeakMap<Segment, Lines>();

function linesOf(segment: Segment, window: Window, name: string): Lines {
  const kept = isTextName(name) ? keptText : keptMedia;
  const known = kept.get(segment);
  if (known && known.name === name && known.epochMs === window.epochMs) return known;
  const start = date(segment, window);
  const end = endLines(segment, window.timescale, name);
  const lines = {
    name,
    epochMs: window.epochMs,
    full: start + partLines(segment, window.timescale, name) + end,
    bare: start + end,
  };
  kept.set(segment, lines);
  return lines;
}

function endLines(segment: Segment, timescale: number, name: string): string {
  return (
    // 4.4.4.7
    (segment.gap ? "#EXT-X-GAP\n" : "") +
    // 4.4.4.1
    `#EXTINF:${(segment.duration / timescale).toFixed(9)},\n` +
    `${segmentUri(name, segment.version, segment.number)}\n`
  );
}

/** B.1: every segment has a date, before its first part (4.4.4.9). */
export function date(segment: Segment, window: Window): string {
  const at = new Date(Math.round(window.epochMs + (segment.dts * 1000) / window.timescale));
  return `#EXT-X-PROGRAM-DATE-TIME:${at.toISOString()}\n`;
}

function partLines(segment: Segment, timescale: number, name: string): string {
  let text = "";
  segment.parts.forEach((part, index) => {
    text += partLine(part, partUri(name, segment.version, segment.number, index), timescale);
  });
  return text;
}

function partLine(part: Part, uri: string, timescale: number): string {
  // 4.4.4.9: a part MUST NOT exceed PART-TARGET, so rounding goes down. Nine decimals, because hls.js adds them up: with
  // five, an hour of audio is apart from its tfdt, and at a start without video the first parts are taken for missing.
  const independent = part.independent || uri.endsWith(".vtt");
  const duration = (Math.floor((part.duration * 1e9) / timescale) / 1e9).toFixed(9);
  return `#EXT-X-PART:DURATION=${duration},URI="${uri}"${independent && !part.gap ? ",INDEPENDENT=YES" : ""}${part.gap ? ",GAP=YES" : ""}\n`;
}

/** Seconds with at most five decimals, rounded up: what others are measured against must not shrink by printing. */
function up(seconds: number): string {
  return String(Math.ceil(seconds * 100_000 - 1e-6) / 100_000);
}

export interface VideoRendition {
  readonly name: string;
  /** Of the media playlist, relative to the multivariant playlist. */
  readonly uri: string;
  /** RFC 6381. */
  readonly codec: string;
  readonly width: number;
  readonly height: number;
  readonly frameRate: number | undefined;
  /** Bits per second: of the largest segment, and over all. */
  readonly peak: number;
  readonly average: number;
  /** Absent: SDR. */
  readonly range?: "SDR" | "HLG" | "PQ" | undefined;
  /** Channels of the captions in its pictures. */
  readonly captions?: readonly Channel[] | undefined;
  /** SUPPLEMENTAL-CODECS: an enhancement of the base layer that `codec` names. */
  readonly supplemental?: string | undefined;
}

/** An I-frame playlist. */
export interface Pictures {
  readonly uri: string;
  /** The rendition that it shows. */
  readonly of: VideoRendition;
  /** Bits per second of its pictures at normal speed, at the most. */
  readonly peak: number;
}

export interface AudioRendition {
  readonly name: string;
  readonly uri: string;
  readonly codec: string;
  readonly channels: number;
  readonly peak: number;
  readonly average: number;
  /** RFC 5646, and what a person may call it, where the publisher says so. */
  readonly language?: string | undefined;
  readonly label?: string | undefined;
}

export interface TextRendition {
  readonly name: string;
  readonly uri: string;
  /** RFC 5646, and what a person may call it, where they are known. */
  readonly language: string | undefined;
  readonly label: string | undefined;
}

/** What a broadcast offers. Video in the order of preference for a first choice; one audio for all of it. */
export interface Offer {
  readonly video: readonly VideoRendition[];
  readonly audio: AudioRendition | undefined;
  /** Further tracks of sound to choose from: other languages. */
  readonly voices?: readonly AudioRendition[] | undefined;
  readonly pictures?: readonly Pictures[] | undefined;
  /** The words of it, each in another language or of another hand. */
  readonly texts?: readonly TextRendition[] | undefined;
}

/**
 * The multivariant playlist. Players load it once, so it lists every rendition that is planned, and it never carries
 * EXT-X-INDEPENDENT-SEGMENTS: that would promise for all segments still to come (4.4.2.1).
 */
export function multivariant(offer: Offer): string {
  const { video } = offer;
  const channels = [...new Set(video.flatMap(({ captions = [] }) => captions))];
  // 8: EXT-X-MEDIA suggests 4, SERVICE needs 7.
  let text = `#EXTM3U\n#EXT-X-VERSION:${channels.some((one) => one.startsWith("SERVICE")) ? 7 : 4}\n`;
  const groups = video.length > 0 ? groupsOf(offer) : [];
  for (const { id, members } of groups)
    for (const [i, member] of members.entries()) text += mediaTag(id, member, i === 0);
  // hls.js calls a channel of CEA-608 by the last name that its number has.
  for (const channel of channels.toSorted((a, b) => Number(b.startsWith("S")) - Number(a.startsWith("S"))))
    text += captionsTag(channel);
  const { texts = [] } = offer;
  for (const [i, one] of texts.entries()) text += subtitlesTag(one, texts.slice(0, i));
  // 4.4.6.2.1: whatever a viewer plays goes with the words.
  const words = texts.length > 0 ? `,SUBTITLES="${textName}"` : "";
  const captions = (one: VideoRendition | undefined): string => {
    // 4.4.6.2: NONE on all or on none, so that players do not look for captions that nobody sends.
    if (channels.length === 0) return `${words},CLOSED-CAPTIONS=NONE`;
    return one?.captions?.length ? `${words},CLOSED-CAPTIONS="${captionsGroup}"` : words;
  };
  // 4.4.6.2: VIDEO-RANGE on all as soon as one is not SDR.
  const ranges = video.some((one) => one.range && one.range !== "SDR");
  for (const group of groups.length > 0 ? groups : [undefined])
    for (const { i, one } of firstOnesFirst(video)) {
      // Of whatever in the group a viewer chooses.
      const peak = one.peak + Math.max(0, ...(group?.members ?? []).map((member) => member.peak));
      const average = one.average + Math.max(0, ...(group?.members ?? []).map((member) => member.average));
      text += `#EXT-X-STREAM-INF:BANDWIDTH=${peak},AVERAGE-BANDWIDTH=${average}`;
      text += `,CODECS="${one.codec}${group ? `,${group.members[0]!.codec}` : ""}",RESOLUTION=${one.width}x${one.height}`;
      if (one.frameRate !== undefined) text += `,FRAME-RATE=${one.frameRate.toFixed(3)}`;
      if (one.supplemental) text += `,SUPPLEMENTAL-CODECS="${one.supplemental}"`;
      if (ranges) text += `,VIDEO-RANGE=${one.range ?? "SDR"}`;
      // 4.4.6.2: on all or on none; the higher the better, and by our order, which a bandwidth does not tell across codecs.
      text += `,SCORE=${video.length + 1 - i}.0`;
      const stable = group && group !== groups[0] ? `${one.name}-${group.id}` : one.name;
      text += `,STABLE-VARIANT-ID="${stable}"${group ? `,AUDIO="${group.id}"` : ""}${captions(one)}\n${one.uri}\n`;
    }
  // Apple's authoring specification asks for one without a picture, for lines that carry none. Players that keep the picture at
  // all costs (hls.js) leave it to a person.
  for (const { id, members } of groupsOf(offer)) {
    const [first] = members;
    text += `#EXT-X-STREAM-INF:BANDWIDTH=${first!.peak},AVERAGE-BANDWIDTH=${first!.average},CODECS="${first!.codec}",SCORE=1.0`;
    text += `,STABLE-VARIANT-ID="${first!.name}"${video.length > 0 ? `,AUDIO="${id}"` : ""}${captions(undefined)}\n${first!.uri}\n`;
  }
  // A6.1: each rendition to search in; 4.4.6.3: the attributes of its variant, without those of sound.
  for (const [i, { uri, of, peak }] of (offer.pictures ?? []).entries()) {
    text += `#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=${peak},CODECS="${of.codec}",RESOLUTION=${of.width}x${of.height}`;
    if (ranges) text += `,VIDEO-RANGE=${of.range ?? "SDR"}`;
    if (of.supplemental) text += `,SUPPLEMENTAL-CODECS="${of.supplemental}"`;
    text += `,SCORE=${(offer.pictures?.length ?? 0) - i}.0,STABLE-VARIANT-ID="${of.name}-pictures",URI="${uri}"\n`;
  }
  return text;
}

/** Bits per second of what a player that knows nothing of its link yet should begin with. */
const firstBits = 2_000_000;

/**
 * As they are listed, with their place in the order of preference. Apple's authoring specification: the first is the default, and is
 * one of about 2 Mb/s where there is one between half and twice that.
 */
function firstOnesFirst(
  video: readonly VideoRendition[],
): { readonly i: number; readonly one: VideoRendition }[] {
  const listed = video.map((one, i) => ({ i, one }));
  const off = ({ one }: (typeof listed)[number]): number => Math.abs(Math.log2(one.average / firstBits));
  const [nearest] = listed.toSorted((a, b) => off(a) - off(b));
  if (!nearest || !(off(nearest) <= 1)) return listed;
  return [nearest, ...listed.filter((one) => one !== nearest)];
}

interface Group {
  readonly id: string;
  readonly members: readonly AudioRendition[];
}

/** 4.4.6.2.1: all of a group are of one codec, which its variants name. The one that plays unasked leads. */
function groupsOf({ audio, voices = [] }: Offer): Group[] {
  if (!audio) return [];
  const codecs = [...new Set([audio, ...voices].map(({ codec }) => codec))];
  return codecs.map((codec, i) => ({
    id: i === 0 ? "audio" : `audio-${i}`,
    members: named([audio, ...voices].filter((one) => one.codec === codec)),
  }));
}

/** 4.4.6.1.1: no two of a group have one NAME. */
function named(members: readonly AudioRendition[]): AudioRendition[] {
  const taken = new Set<string>();
  return members.map((member) => {
    const wanted = member.label ?? member.language ?? member.name;
    const label = taken.has(wanted) ? `${wanted} (${member.name})` : wanted;
    taken.add(label);
    return { ...member, label };
  });
}

/** 4.4.6.1 */
function mediaTag(group: string, member: AudioRendition, first: boolean): string {
  const { label, language, channels, uri } = member;
  const spoken = language ? `,LANGUAGE="${language}"` : "";
  return `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="${group}",NAME="${label}"${spoken},DEFAULT=${first ? "YES" : "NO"},AUTOSELECT=YES,STABLE-RENDITION-ID="${member.name}",CHANNELS="${channels}",URI="${uri}"\n`;
}

const captionsGroup = "cc";

/** 4.4.6.1: what is in the pictures has no URI. Who looks for captions is told by the browser whether to show some. */
function captionsTag(channel: Channel): string {
  return `#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="${captionsGroup}",NAME="${channel}",DEFAULT=NO,AUTOSELECT=YES,STABLE-RENDITION-ID="${channel.toLowerCase()}",INSTREAM-ID="${channel}"\n`;
}

/** 4.4.6.1: not DEFAULT, because a viewer says whether to read. */
function subtitlesTag(one: TextRendition, before: readonly TextRendition[]): string {
  const { name, uri, language } = one;
  const spoken = language ? `,LANGUAGE="${language}"` : "";
  // 4.4.6.1.1: no two of a group have one name, and AUTOSELECT stands at one of a language at the most.
  const called = labelOf(one);
  const twins = before.filter((other) => labelOf(other) === called).length;
  const selected = before.every((other) => other.language !== language) ? "YES" : "NO";
  return `#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="${textName}",NAME="${called}${twins > 0 ? ` ${twins + 1}` : ""}"${spoken},DEFAULT=NO,AUTOSELECT=${selected},FORCED=NO,STABLE-RENDITION-ID="${name}",URI="${uri}"\n`;
}

const labelOf = ({ label, language }: TextRendition): string => quotable(label ?? language ?? "Subtitles");

/** VIDEO-RANGE of a track (rfc8216bis 4.4.6.2): what transfer characteristics of ISO/IEC 23091-2 stand for. */
export function rangeOf(colour: Colour | undefined): "SDR" | "HLG" | "PQ" {
  if (colour?.transfer === 18) return "HLG";
  return colour?.transfer === 16 ? "PQ" : "SDR";
}

/**
 * SUPPLEMENTAL-CODECS of a track (rfc8216bis 4.4.6.2): the brand cdm4 for pictures with HDR10+. Dolby Vision would be named here,
 * too: its pictures keep what is of it, but RTMP does not carry the configuration that an init segment has to have for it, and
 * without that the name would promise what no player can decode.
 */
export function supplementalOf({ codec, hdr, colour }: VideoTrack): string | undefined {
  return hdr?.dynamic && rangeOf(colour) === "PQ" ? `${codec}/cdm4` : undefined;
}

/**
 * The playlist for clients that carry query parameter `name` (rfc8216bis 4.4.2.3): its own text with the parameter on every
 * address, as a variable, so that it is the same text for all of them.
 */
export function withParameter(playlist: string, name: string): string {
  const added = (uri: string): string => `${uri}${uri.includes("?") ? "&" : "?"}${name}={$${name}}`;
  return playlist
    .split("\n")
    .map((line) => {
      // 8: QUERYPARAM needs 11.
      if (line.startsWith("#EXT-X-VERSION:")) return `#EXT-X-VERSION:11\n#EXT-X-DEFINE:QUERYPARAM="${name}"`;
      if (line === "" || (line.startsWith("#") && !line.includes('URI="'))) return line;
      if (!line.startsWith("#")) return added(line);
      return line.replace(/\bURI="([^"]*)"/, (_, uri: string) => `URI="${added(uri)}"`);
    })
    .join("\n");
}
