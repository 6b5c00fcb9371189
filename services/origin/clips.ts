import type { Programme, Readable } from "../live/programme.ts";
import type { Stretch } from "../live/recordings.ts";
import type { Segment } from "../packager/track.ts";
import type { Window } from "../packager/window.ts";

/** As long as at Cloudflare; for more there are downloads, and clips that stay. */
const maxClipSeconds = 60;
export const nothingThere = "Nothing is recorded there: `time` is after what there is of this video";

/** The segments of a rendition that show a stretch, and how far into the first of them it begins; undefined where it has none of it. */
export function clipOf(
  broadcast: Programme,
  rendition: Readable,
  { from, to }: Stretch,
): { readonly window: Window; readonly startSeconds: number } | undefined {
  const reels = reelsOf(broadcast);
  const reference = reels.find(({ rendition: { name } }) => name === "source") ?? reels[0];
  const beginning = beginningOf(reels);
  if (!reference || beginning === undefined) return undefined;
  // The same numbers in every rendition.
  const { timescale } = reference.rendition.shown;
  const all = reference.rows;
  const end = all.findIndex(({ dts }) => dts >= (beginning + to) * timescale);
  const shown = end < 0 ? all : all.slice(0, end);
  const at = (beginning + from) * timescale;
  let first = shown.findIndex(({ dts, duration }) => dts + duration > at);
  if (first < 0) return undefined;
  // A decoder has to begin with a keyframe.
  while (first > 0 && !shown[first]!.independent && !shown[first]!.gap) first--;
  const [start, last] = [shown[first]!, shown.at(-1)!];
  const own = reels.find((reel) => reel.rendition === rendition)?.rows ?? [];
  const segments = own.filter(({ number }) => number >= start.number && number <= last.number);
  if (!segments.some(({ gap }) => !gap)) return undefined;
  const startSeconds = Math.max(0, (at - start.dts) / timescale);
  return { window: windowOf(rendition, segments), startSeconds };
}

function windowOf({ shown }: Readable, segments: readonly Segment[]): Window {
  const { timescale, targetDuration, partTarget, epochMs } = shown;
  return {
    ...{ timescale, targetDuration, partTarget, epochMs, segments },
    discontinuitySequence: segments[0]!.discontinuity,
    ...{ deltas: false, open: undefined, next: undefined, ended: true },
  };
}

/** A rendition and every segment that can be had of it: put together once for a request, because of what is on air that is work. */
export interface Reel {
  readonly rendition: Readable;
  readonly rows: readonly Segment[];
}

export function reelsOf({ renditions }: Programme): Reel[] {
  return [...renditions.values()].map((rendition) => ({ rendition, rows: rendition.rows() }));
}

/** Seconds from the broadcast's time 0 to the first that can be had of it: what viewers call its beginning. */
export function beginningOf(reels: readonly Reel[]): number | undefined {
  const starts = reels.flatMap(({ rendition, rows }) => {
    const first = rows[0];
    return first ? [first.dts / rendition.shown.timescale] : [];
  });
  return starts.length > 0 ? Math.min(...starts) : undefined;
}

/** The stretch that `time` and `duration` name, or what is wrong with them. */
export function stretchOf(query: string): Stretch | string {
  const asked = new URLSearchParams(query);
  const from = secondsOf(asked.get("time") ?? "0");
  const duration = secondsOf(asked.get("duration") ?? "");
  const exact = asked.get("exact") ?? "true";
  if (from === undefined) return "`time` says where the clip begins: seconds, or like 1h12m27s";
  if (duration === undefined || duration <= 0 || duration > maxClipSeconds)
    return `\`duration\` says how long the clip is: like 30s, at most ${maxClipSeconds}s`;
  if (exact !== "true" && exact !== "false")
    return "`exact` is true, or false for a clip that begins with the keyframe before `time`";
  return { from, to: from + duration, exact: exact === "true" };
}

/** Seconds of a time as addresses carry it: "90", "90s", "5m2s", "1h12m27.5s"; undefined when it is none. */
export function secondsOf(text: string): number | undefined {
  const found = /^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8}(?:\.\d{1,9})?)s?)?$/.exec(text);
  if (!found || text === "") return undefined;
  const [hours, minutes, seconds] = found.slice(1).map((part) => Number(part ?? 0));
  return hours! * 3600 + minutes! * 60 + seconds!;
}
