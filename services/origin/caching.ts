/** What an answer is, as far as caches are concerned. */
export type Kind =
  | "multivariant"
  | "manifest"
  | "held playlist"
  | "playlist"
  | "ended playlist"
  | "media"
  | "page"
  | "asset"
  | "state"
  | "error"
  | "missing media";

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
    case "missing media":
      return "public, max-age=1";
    case "multivariant":
    case "manifest":
      return "public, max-age=1";
    case "page":
      return "no-cache";
    case "state":
    case "error":
      return "no-store";
  }
}

/** True when an answer may be gzipped (RFC 9110 12.5.3); where it may differ by that, it says so in `vary`. */
export function acceptsGzip(acceptEncoding: string | string[] | undefined): boolean {
  const found = /\b(?:x-)?gzip\b(?:\s*;\s*q=([\d.]+))?/i.exec(String(acceptEncoding ?? ""));
  return found !== null && Number(found[1] ?? 1) > 0;
}
