import type { Window } from "./window.ts";

/** The delivery directives of a playlist request (rfc8216bis 6.2.5). */
export interface Directives {
  /** `_HLS_msn` */
  readonly number: number | undefined;
  /** `_HLS_part` */
  readonly part: number | undefined;
  /** `_HLS_skip` */
  readonly skip: "none" | "YES" | "v2";
}

/** A request that breaks a rule. The message says which. */
export interface Refusal {
  readonly refuse: 400;
  readonly message: string;
}

/** The directives in a query string, without its `?`. Other parameters and unknown directives are ignored. */
export function parseDirectives(query: string): Directives | Refusal {
  let number: number | undefined;
  let part: number | undefined;
  let skip: Directives["skip"] = "none";
  for (const pair of query.split("&")) {
    const at = pair.indexOf("=");
    const key = at < 0 ? pair : pair.slice(0, at);
    const value = at < 0 ? "" : pair.slice(at + 1);
    if (key === "_HLS_msn") {
      if (number !== undefined) return refuse("_HLS_msn stands twice");
      number = decimal(value);
      if (number === undefined) return refuse("_HLS_msn is not a decimal number");
    } else if (key === "_HLS_part") {
      if (part !== undefined) return refuse("_HLS_part stands twice");
      part = decimal(value);
      if (part === undefined) return refuse("_HLS_part is not a decimal number");
    } else if (key === "_HLS_skip" && (value === "YES" || value === "v2")) {
      // Any other value would be from a later draft; the whole playlist is always a right answer.
      skip = value;
    }
  }
  // 6.2.5.2: MUST be refused.
  if (part !== undefined && number === undefined) return refuse("_HLS_part needs _HLS_msn");
  return { number, part, skip };
}

/**
 * Whether a playlist of `window` answers the request at once, or the request is held until a later window does (for
 * no longer than three target durations, then 503), or is refused. rfc8216bis 6.2.5.2.
 */
export function answerFor(window: Window, directives: Directives): "now" | "wait" | Refusal {
  // Directives MUST be ignored once there is ENDLIST.
  if (window.ended) return "now";
  const { segments, open } = window;
  const parts = open?.parts.length ?? 0;
  if (segments.length === 0 && parts === 0) return "wait";

  const { number, part } = directives;
  // Players take a list without a whole segment for an error and ask again at once, so the first one waits for it.
  if (number === undefined) return segments.length === 0 ? "wait" : "now";

  // Nothing complete yet: as if the segment before the open one were the last.
  const last = segments.at(-1)?.number ?? open!.number - 1;
  if (number > last + 2) return refuse(`_HLS_msn is too far ahead: the last segment is ${last}`);
  if (part === undefined) return number <= last ? "now" : "wait";

  // A part past the last of a complete segment is part 0 of the following one. Older than the window counts as there.
  if (number < last || segments.length === 0) {
    if (number <= last) return "now";
  } else if (number === last) return part < segments.at(-1)!.parts.length || parts > 0 ? "now" : "wait";
  const reached = open?.number === number ? parts : 0;
  // The Advance Part Limit.
  const ahead = window.partTarget < 1 ? 3 / window.partTarget : 3;
  if (part - (reached - 1) > ahead)
    return refuse(`_HLS_part is too far ahead: segment ${number} has ${reached} parts`);
  return part < reached ? "now" : "wait";
}

/** Fifteen digits at most, so that the number is exact. */
function decimal(text: string): number | undefined {
  if (text.length === 0 || text.length > 15) return undefined;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x30 || code > 0x39) return undefined;
  }
  return Number(text);
}

function refuse(message: string): Refusal {
  return { refuse: 400, message };
}
