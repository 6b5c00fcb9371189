import { remembered } from "../lib/remembered.ts";

/** What an answer is, as far as caches are concerned. */
export type Kind =
  | "multivariant"
  | "manifest"
  | "held playlist"
  | "playlist"
  | "ended playlist"
  | "media"
  | "file"
  | "growing file"
  | "page"
  | "asset"
  | "script"
  | "count"
  | "state"
  | "error"
  | "missing media"
  | "missing playlist"
  | "missing held playlist";

/**
 * Cache-Control for an answer (rfc8216bis B.1; seconds follow from the target duration). A held playlist has a URL of
 * its own for every part, media never change under their name; everything else is about now.
 */
export function cacheControl(kind: Kind, targetDuration: number): string {
  switch (kind) {
    case "media":
    case "asset":
      return "public, max-age=31536000, immutable";
    case "held playlist":
      return `public, max-age=${6 * targetDuration}`;
    case "playlist":
      return `public, max-age=${Math.floor(targetDuration / 2)}`;
    case "ended playlist":
      return `public, max-age=${6 * targetDuration}`;
    // Pages of others have its name in them: a new one reaches their visitors within minutes.
    case "script":
    // Made of media that never change; but it may be deleted, and the right to it may end.
    case "file":
      return "public, max-age=300";
    case "growing file":
      return "public, max-age=1";
    // B.1 for what is not found: one target duration, and four where the address asks for a moment that has gone. A second
    // where no broadcast says how long that is. What is refused (400) or not there yet (503) may be right the next moment.
    case "missing media":
    case "missing playlist":
      return `public, max-age=${Math.max(1, targetDuration)}`;
    case "missing held playlist":
      return `public, max-age=${Math.max(1, 4 * targetDuration)}`;
    case "multivariant":
    case "manifest":
      return "public, max-age=1";
    // However many ask how many there are, it is one question every two seconds.
    case "count":
      return "public, max-age=2";
    case "page":
      return "no-cache";
    case "state":
    case "error":
      return "no-store";
  }
}

/** True when an answer may be gzipped (RFC 9110 12.5.3); where it may differ by that, it says so in `vary`. */
export function acceptsGzip(acceptEncoding: string | string[] | undefined): boolean {
  return namesGzip(String(acceptEncoding ?? ""));
}

/** There are as many of these headers as there are kinds of clients. */
const namesGzip = remembered(64, (header) => {
  const found = /\b(?:x-)?gzip\b(?:\s*;\s*q=([\d.]+))?/i.exec(header);
  return found !== null && Number(found[1] ?? 1) > 0;
});
