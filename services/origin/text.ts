import type { Programme, Readable } from "../live/programme.ts";
import { emptySegment, initSegment } from "../packager/cmaf.ts";
import type { Segment } from "../packager/track.ts";
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
 * Answers with words. Like media a segment or part is held until it is whole when it comes next, and DASH gets a segment part by
 * part. False when there is none.
 */
export async function answerText(exchange: Exchange, programme: Programme, wanted: Wanted): Promise<boolean> {
  const { subtitles, reference, targetDuration } = programme;
  if (!subtitles || !reference) return false;
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

  const begun = (): boolean =>
    (find(reference, number)?.parts.length ?? 0) > 0 || !isComing(reference, number);
  if (!begun() && !(await until(reference, begun, targetDuration, gone))) return gone.yes;
  const first = find(reference, number);
  if (!first) return false;
  if (first.gap) {
    exchange.reply(200, headers("application/mp4"), [emptySegment(track, first.dts, first.duration)]);
    return true;
  }
  const body = exchange.stream(200, headers("application/mp4"), { drained: () => {}, gone: () => {} });
  let sent = 0;
  const whole = (): boolean => find(reference, number) !== reference.shown.open;
  for (; body; ) {
    const segment = find(reference, number);
    if (!segment || segment.gap) {
      body.abort();
      break;
    }
    const fresh = stretchesOf(segment).slice(sent);
    const pieces = fresh.map((one) => wvttChunk(track, one, linesIn(subtitles, one, timescale)));
    sent += pieces.length;
    if (pieces.length > 0) body.write(pieces);
    if (whole()) {
      body.end();
      break;
    }
    const more = (): boolean => whole() || (find(reference, number)?.parts.length ?? 0) > sent;
    if (await until(reference, more, targetDuration, gone)) continue;
    body.abort();
    break;
  }
  return true;
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
  for (const [first, at] of [
    [shown.segments[0], (i: number) => shown.segments[i]],
    [past?.at(0), (i: number) => past?.at(i)],
  ] as const) {
    const found = first && number >= first.number ? at(number - first.number) : undefined;
    if (found?.number === number) return found;
  }
  return left?.find((one) => one.number === number);
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
