import { box } from "./boxes.ts";
import { makeChunk } from "./cmaf.ts";
import { type Line, maxLines, type Subtitles } from "./subtitles.ts";
import type { Sample, Segment, TextTrack } from "./track.ts";

/** The rendition of a broadcast's words. It has the numbers, parts and times of the reference rendition, and no bytes of its own. */
export const textName = "text";

/** Whether a rendition is words: the names of all such begin alike. */
export const isTextName = (name: string): boolean => name.startsWith(textName);

const utf8 = new TextEncoder();

/** Bits per second that it is declared with. */
export const textBits = 4_000;

/**
 * A segment or part of WebVTT (rfc8216bis 3.1.4): every cue that is shown in it, each with its whole time. Cues crossing from one
 * to the next are in both.
 */
export function webvtt(lines: readonly Line[]): string {
  // 3.1.4: cue time 0 is media time 0, so that no two segments of a broadcast differ in it.
  let text = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n";
  for (const line of lines) text += cue(line);
  return text;
}

function cue(line: Line): string {
  const settings = line.settings ? ` ${line.settings}` : "";
  return `\n${timestamp(line.startMs)} --> ${timestamp(line.endMs)}${settings}\n${cueText(line)}\n`;
}

/** A time as a cue has it (WebVTT 4.1), of whole milliseconds. */
export function timestamp(ms: number): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}:${two(seconds % 60)}.${String(ms % 1000).padStart(3, "0")}`;
}

/** WebVTT 4.2.2: these would be markup, or the arrow of a timing line. */
function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** What a cue has below its times. */
const cueText = ({ text, settings }: Pick<Line, "text" | "settings">): string =>
  settings === undefined ? escaped(text) : text;

/**
 * The cues of a WebVTT file (WebVTT 4.1), in its order; or what is wrong with it, as the end of a sentence about it. Style sheets,
 * regions and comments are left out, and so is a cue without words or without a time.
 */
export function readWebvtt(file: string): Line[] | string {
  if (!/^\ufeff?WEBVTT(?:[ \t]|\r|\n|$)/.test(file)) return "is not WebVTT: its first line has to be WEBVTT";
  const lines: Line[] = [];
  const rows = file.replace(/\0/g, "\ufffd").split(/\r\n|\r|\n/);
  for (let at = 1; at < rows.length; at++) {
    const found = timing.exec(rows[at]!);
    if (!found) continue;
    const [, fromHours, fromMinutes, fromSeconds, toHours, toMinutes, toSeconds, rest = ""] = found;
    const startMs = msOf(fromHours, fromMinutes!, fromSeconds!);
    const endMs = msOf(toHours, toMinutes!, toSeconds!);
    const words: string[] = [];
    while (rows[at + 1] && !rows[at + 1]!.includes("-->")) words.push(rows[++at]!);
    if (words.length === 0 || endMs <= startMs) continue;
    if (lines.length === maxLines) return `has more than ${maxLines} cues`;
    const settings = rest.split(/[ \t]+/).filter((setting) => knownSetting.test(setting));
    lines.push({
      startMs,
      endMs,
      text: words.join("\n").slice(0, maxCueLetters),
      settings: settings.join(" "),
    });
  }
  return lines.length > 0
    ? lines
    : "has no cue: each has a line like 00:01.000 --> 00:04.000 above its words";
}

/** The file of what a WebVTT file says between `fromMs` and `toMs`, with times from `fromMs` on; undefined where it says nothing. */
export function cutWebvtt(file: string, fromMs: number, toMs: number): string | undefined {
  const lines = readWebvtt(file);
  if (typeof lines === "string") return undefined;
  const inside = lines.filter(({ startMs, endMs }) => endMs > fromMs && startMs < toMs);
  const cues = inside.map(({ startMs, endMs, ...line }) =>
    cue({ ...line, startMs: Math.max(startMs, fromMs) - fromMs, endMs: Math.min(endMs, toMs) - fromMs }),
  );
  return cues.length > 0 ? `WEBVTT\n${cues.join("")}` : undefined;
}

const clockTime = String.raw`(?:(\d{2,4}):)?([0-5]\d):([0-5]\d\.\d{3})`;
const timing = new RegExp(`^[ \\t]*${clockTime}[ \\t]*-->[ \\t]*${clockTime}(?:[ \\t]+(.{0,500}))?$`);
/** Those that need no region. */
const knownSetting = /^(vertical|line|position|size|align):[\w.%,-]{1,40}$/;
const maxCueLetters = 2_000;

const msOf = (hours = "0", minutes: string, seconds: string): number =>
  (Number(hours) * 60 + Number(minutes)) * 60_000 + Math.round(Number(seconds) * 1000);

/** The words as a track of CMAF, in the ticks of the reference rendition. */
export function textTrack({ language }: Pick<Subtitles, "language">, timescale: number): TextTrack {
  return { kind: "text", entry: "wvtt", codec: "wvtt", timescale, language };
}

/** A stretch of the reference rendition, in its ticks. */
export type Stretch = Pick<Segment, "dts" | "duration">;

/** The parts of a segment in order; the whole of it where they are not known any more. */
export function stretchesOf(segment: Segment): Stretch[] {
  if (segment.parts.length === 0) return [segment];
  let dts = segment.dts;
  return segment.parts.map(({ duration }) => {
    const from = dts;
    dts += duration;
    return { dts: from, duration };
  });
}

/** What is shown in a stretch. */
export function linesIn(subtitles: Subtitles, { dts, duration }: Stretch, timescale: number): Line[] {
  const ms = (ticks: number): number => Math.round((ticks * 1000) / timescale);
  return subtitles.between(ms(dts), ms(dts + duration));
}

/** A stretch as a chunk of CMAF (ISO/IEC 14496-30 6): one sample for each time in which the same is shown. */
export function wvttChunk(track: TextTrack, stretch: Stretch, lines: readonly Line[]): Uint8Array {
  const { dts, duration } = stretch;
  const end = dts + duration;
  const ticks = (ms: number): number => Math.round((ms * track.timescale) / 1000);
  const cues = lines.map((line) => ({
    from: ticks(line.startMs),
    to: ticks(line.endMs),
    text: cueText(line),
    settings: line.settings,
  }));
  const inside = cues.flatMap(({ from, to }) => [from, to]).filter((at) => at > dts && at < end);
  const times = [...new Set([dts, ...inside, end])].sort((a, b) => a - b);
  const samples = times.slice(0, -1).map((from, i): Sample => {
    const to = times[i + 1]!;
    const shown = cues.filter((cue) => cue.from < to && cue.to > from);
    // One cue in a sample: Shaka reads no further where all samples are of one size.
    const words = box("payl", utf8.encode(shown.map(({ text }) => text).join("\n")));
    // Of several in one the place of the first is taken.
    const settings = shown[0]?.settings;
    const place = settings ? [box("sttg", utf8.encode(settings))] : [];
    const data = shown.length > 0 ? box("vttc", ...place, words) : box("vtte");
    return { dts: from, pts: from, duration: to - from, key: true, data };
  });
  return makeChunk(track, samples, 1).bytes;
}
