import type { Programme, Readable } from "../live/programme.ts";
import { emptySegment, initSegment } from "../packager/cmaf.ts";
import { firstOf } from "../packager/search.ts";
import type { Subtitles } from "../packager/subtitles.ts";
import type { Segment, TextTrack } from "../packager/track.ts";
import { linesIn, stretchesOf, textTrack, webvtt, wvttChunk } from "../packager/webvtt.ts";
import { cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";

/** What of a broadcast's words is asked for. */
export type Wanted =
  | { readonly to: "init" }
  | {
      readonly to: "segment" | "part";
      readonly number: number;
      /** WebVTT for HLS, CMAF for DASH. */
      readonly form: "m4s" | "vtt";
      readonly part?: number;
    };

/**
 * Answers with words. Like media a segment or part is held until it is whole when it comes next. False when there is none.
 */
export async function answerText(
  exchange: Exchange,
  { reference, targetDuration }: Programme,
  subtitles: Subtitles,
  wanted: Wanted,
): Promise<boolean> {
  if (!reference) return false;
  const { timescale } = reference.shown;
  const track = textTrack(subtitles, timescale);
  const headers = (type: string) => ({
    "content-type": type,
    "cache-control": cacheControl("media", 0),
    priority: "u=3",
  });
  if (wanted.to === "init") {
    exchange.reply(200, headers("application/mp4"), [initSegment(track)]);
    return true;
  }
  const { number, part, form } = wanted;
  const gone = leaving(exchange);
  const comes = (): boolean =>
    part === undefined ? isComing(reference, number) : isHinted(reference, number, part);
  if (form === "vtt" || part !== undefined) {
    if (comes() && !(await until(reference, () => !comes(), targetDuration, gone))) return gone.yes;
    const segment = find(reference, number);
    if (!segment || segment.gap || (part === undefined && segment === reference.shown.open)) return false;
    // Of parts that no list has any more the whole is known, and its words are theirs.
    const stretch = part === undefined || segment.parts.length === 0 ? segment : stretchesOf(segment)[part];
    if (!stretch) return false;
    const text = webvtt(linesIn(subtitles, stretch, timescale));
    exchange.reply(200, headers("text/vtt; charset=utf-8"), [Buffer.from(text)]);
    return true;
  }

  const begun = (): boolean => find(reference, number) !== undefined || !isComing(reference, number);
  if (!begun() && !(await until(reference, begun, targetDuration, gone))) return gone.yes;
  const segment = find(reference, number);
  if (!segment) return false;
  const about = {
    ...headers("application/mp4"),
    "cache-control": cacheControl("held playlist", targetDuration),
  };
  exchange.reply(200, about, [chunkOf({ subtitles, reference }, segment, track)]);
  return true;
}

/**
 * For DASH, whose players load whole segments of words and are closer to live than a segment is long: while it is live each
 * has the words of the one before, so that it can be had when it begins and not when it is over.
 */
function chunkOf(
  { subtitles, reference }: { readonly subtitles: Subtitles; readonly reference: Readable },
  segment: Segment,
  track: TextTrack,
): Uint8Array {
  const { timescale, ended } = reference.shown;
  if (segment.gap) return emptySegment(track, segment.dts, segment.duration);
  if (ended) return wvttChunk(track, segment, linesIn(subtitles, segment, timescale));
  const before = find(reference, segment.number - 1);
  // How long the open one will be nobody knows yet.
  const stretch = { dts: segment.dts, duration: before?.duration || segment.duration || timescale };
  if (!before || before.gap) return wvttChunk(track, stretch, []);
  const lateMs = Math.round(((segment.dts - before.dts) * 1000) / timescale);
  const lines = linesIn(subtitles, before, timescale).map((line) => ({
    ...line,
    startMs: line.startMs + lateMs,
    endMs: line.endMs + lateMs,
  }));
  return wvttChunk(track, stretch, lines);
}

/** Whether the client has left, for any number of waits. */
function leaving(exchange: Exchange): { readonly yes: boolean; tell: (() => void) | undefined } {
  const state = { yes: false, tell: undefined as (() => void) | undefined };
  exchange.onGone(() => {
    state.yes = true;
    state.tell?.();
  });
  return state;
}

async function until(
  reference: Readable,
  ready: () => boolean,
  targetDuration: number,
  gone: ReturnType<typeof leaving>,
): Promise<boolean> {
  const waited = await reference.wait(ready, 3000 * targetDuration, (tell) => {
    gone.tell = tell;
  });
  return waited === "ready";
}

/** The segment, complete or open: in the list, lately left it, or in what a DVR shows before it. */
function find({ shown, past, left }: Readable, number: number): Segment | undefined {
  if (shown.open?.number === number) return shown.open;
  const { segments } = shown;
  const listed = segments[firstOf(segments.length, (i) => segments[i]!.number >= number)];
  if (listed?.number === number) return listed;
  return past?.find(number) ?? left?.find((one) => one.number === number);
}

/** Whether it is the segment under construction or the one to come next. */
function isComing({ shown }: Readable, number: number): boolean {
  if (shown.ended) return false;
  const { open, segments } = shown;
  return open
    ? !open.gap && (number === open.number || number === open.number + 1)
    : number === (segments.at(-1)?.number ?? 0) + 1;
}

function isHinted({ shown }: Readable, number: number, part: number): boolean {
  return shown.next?.number === number && shown.next.part === part;
}
