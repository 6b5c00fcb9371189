import type { OutgoingHttpHeaders } from "node:http";
import type { Broadcast } from "../live/broadcast.ts";
import type { Rendition } from "../live/rendition.ts";
import type { Exchange } from "./exchange.ts";

/** Which segment, by its address. */
export interface Wanted {
  readonly number: number;
  readonly version: number;
}

/** A player that asks for what comes after the end hears of the end within this time: longer than @minimumUpdatePeriod. */
const endMs = 2_500;

/**
 * Holds a request for a segment that has not begun, when it is the one to come next: players compute its address and
 * their clocks are a little off. For no longer than two target durations. False when the client left meanwhile.
 */
export async function arrived(
  exchange: Exchange,
  broadcast: Broadcast,
  rendition: Rendition,
  wanted: Wanted,
): Promise<boolean> {
  const isPastEnd = (): boolean => rendition.isPastEnd(wanted.number, wanted.version);
  const comes = isNext(rendition, wanted);
  if (!comes && !isPastEnd()) return true;
  return new Promise((resolve) => {
    const end = rendition.onStep(() => {
      if (comes && !isNext(rendition, wanted) && !isPastEnd()) settle(true);
    });
    const timer = setTimeout(settle, comes ? 2000 * broadcast.targetDuration : endMs, true);
    exchange.onGone(() => settle(false));
    function settle(there: boolean): void {
      clearTimeout(timer);
      end();
      resolve(there);
    }
  });
}

/** Whether the segment is about to get its first chunk. */
function isNext({ window, version }: Rendition, wanted: Wanted): boolean {
  // Where a new init segment is there before anything needs it, the old one is still in force.
  if (window.ended || (wanted.version !== version && wanted.version !== window.version)) return false;
  const { open } = window;
  if (open?.number === wanted.number)
    return !open.gap && open.lead === undefined && open.version === wanted.version;
  const last = open ?? window.segments.at(-1);
  return last !== undefined && wanted.number === last.number + 1;
}

/**
 * Answers with the segment under construction: what there is, then each chunk as it comes, in one write each. A reader
 * that is slow gets more when it has taken what it was given; one that is slower than the playlist is cut off, and so
 * is everyone when the rest of the segment turns out to be missing. False when it is not the one under construction.
 */
export function grow(
  exchange: Exchange,
  rendition: Rendition,
  { number, version }: Wanted,
  headers: OutgoingHttpHeaders,
): boolean {
  let full = false;
  const growing = rendition.growing(number, version, () => pump());
  if (!growing) return false;
  const body = exchange.stream(200, headers, { drained: () => pump(true), gone: growing.end });
  if (!body) {
    growing.end();
    return true;
  }
  pump();
  return true;

  function pump(drained = false): void {
    if (!growing || !body) return;
    if (drained) full = false;
    if (full && !growing.stale) return;
    const { pieces, state } = growing.take();
    if (full || state === "broken") {
      growing.end();
      return body.abort();
    }
    full = pieces.length > 0 && !body.write(pieces);
    if (state === "growing" || full) return;
    growing.end();
    body.end();
  }
}
