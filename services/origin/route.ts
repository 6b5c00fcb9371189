import { looksLikeToken } from "../auth/token.ts";
import { remembered } from "../lib/remembered.ts";

/** What a path asks for. `playback` is a uid or, where the path has one in its place, a token. Everything that is not on this list is nothing. */
export type Route =
  | { readonly to: "multivariant"; readonly playback: string }
  | { readonly to: "manifest"; readonly playback: string }
  | {
      readonly to: "playlist";
      readonly playback: string;
      readonly video: string;
      readonly rendition: string;
      /** The I-frame playlist. */
      readonly pictures: boolean;
    }
  | {
      readonly to: "init";
      readonly playback: string;
      readonly video: string;
      readonly rendition: string;
      readonly version: number;
    }
  | {
      readonly to: "segment";
      readonly playback: string;
      readonly video: string;
      readonly rendition: string;
      readonly version: number;
      readonly number: number;
      /** Words as text. */
      readonly form?: "vtt";
    }
  | {
      readonly to: "part";
      readonly playback: string;
      readonly video: string;
      readonly rendition: string;
      readonly version: number;
      readonly number: number;
      readonly part: number;
      readonly form?: "vtt";
    }
  /** All of a recording, or a stretch of it, as one file; and that stretch as a playlist. */
  | { readonly to: "download" | "clip" | "clip list"; readonly playback: string }
  | { readonly to: "thumbnail"; readonly playback: string; readonly form: "jpg" | "gif" }
  | { readonly to: "storyboard"; readonly playback: string }
  /** Tiles of a storyboard: one every `interval` seconds, `count` of them from number `first` on. */
  | {
      readonly to: "sprite";
      readonly playback: string;
      readonly interval: number;
      readonly first: number;
      readonly count: number;
    }
  | { readonly to: "lifecycle" | "views" | "report"; readonly playback: string }
  | { readonly to: "page"; readonly playback: string; readonly page: "iframe" | "watch" }
  | { readonly to: "asset"; readonly name: string }
  /** What pages of others load: its name stays the same. */
  | { readonly to: "sdk"; readonly name: "sdk.latest.js" | "sdk.d.ts" }
  | { readonly to: "keys" }
  /** What a certificate authority looks for before it signs for this host (RFC 8555 8.3). */
  | { readonly to: "challenge"; readonly token: string }
  | { readonly to: "time" }
  | { readonly to: "control" }
  | { readonly to: "root" }
  | undefined;

const controlPrefixes = ["/client/v4", "/v1", "/docs", "/dashboard"];
const challenge = /^\/\.well-known\/acme-challenge\/([\w-]{1,256})$/;
const asset = /^\/player\/(assets\/[\w.-]{1,128})$/;
const uid = "[0-9a-f]{32}";
/** The player is also had by the uid alone, as on Cloudflare's older host for frames. */
const page = new RegExp(`^/(${uid})(?:/(iframe|watch|lifecycle|views|cmcd|manifest/video\\.(?:m3u8|mpd)))?$`);
const sdk = /^\/embed\/(sdk\.latest\.js|sdk\.d\.ts)$/;
const files = {
  "downloads/default.mp4": "download",
  "clip.mp4": "clip",
  "manifest/clip.m3u8": "clip list",
} as const;
const file = new RegExp(`^/(${uid})/(downloads/default\\.mp4|clip\\.mp4|manifest/clip\\.m3u8)$`);
const picture = new RegExp(
  `^/(${uid})/(?:thumbnails/thumbnail\\.(jpg|gif)|storyboard\\.vtt|storyboard/(5|10|30)-(\\d{1,6})-(\\d{1,2})\\.jpg)$`,
);
const media = new RegExp(
  `^/(${uid})/manifest/(${uid})/([a-z0-9]{1,16})(\\.m3u8|\\.pictures\\.m3u8|/(\\d{1,6})/(init\\.mp4|(\\d{1,12})(?:\\.(\\d{1,4}))?\\.(m4s|vtt)))$`,
);

/** Stands for a token while the rest of its path is looked at. */
const anyUid = "0".repeat(32);

/**
 * Takes a request path apart, as it stands in the request: nothing in our URLs needs decoding. A token in place of the
 * uid is taken out here, before everything, so that no other route knows of tokens and no odd path reaches the gate.
 */
export function routeOf(path: string): Route {
  const end = path.indexOf("/", 1);
  const first = end < 0 ? path.slice(1) : path.slice(1, end);
  if (!looksLikeToken(first)) return plainRouteOf(path);
  const route = plainRouteOf(`/${anyUid}${end < 0 ? "" : path.slice(end)}`);
  return route && "playback" in route ? { ...route, playback: first } : undefined;
}

/** All who watch a broadcast ask for the same addresses. */
const routesKept = 512;
const plainRouteOf = remembered(routesKept, readRoute);

function readRoute(path: string): Route {
  if (path.length > 512) return undefined;
  let found = media.exec(path);
  if (found) {
    const [, playback, video, rendition, rest, version, name, number, part, form] =
      found as unknown as string[];
    const at = { playback: playback!, video: video!, rendition: rendition! };
    if (rest === ".m3u8") return { to: "playlist", ...at, pictures: false };
    if (rest === ".pictures.m3u8") return { to: "playlist", ...at, pictures: true };
    if (name === "init.mp4") return { to: "init", ...at, version: Number(version) };
    const numbered = {
      ...at,
      version: Number(version),
      number: Number(number),
      ...(form === "vtt" && { form: "vtt" as const }),
    };
    if (part === undefined) return { to: "segment", ...numbered };
    return { to: "part", ...numbered, part: Number(part) };
  }
  found = page.exec(path);
  if (found) {
    const playback = found[1]!;
    if (found[2] === undefined) return { to: "page", playback, page: "iframe" };
    if (found[2] === "lifecycle" || found[2] === "views") return { to: found[2], playback };
    if (found[2] === "cmcd") return { to: "report", playback };
    if (found[2] === "iframe" || found[2] === "watch") return { to: "page", playback, page: found[2] };
    return { to: found[2].endsWith(".mpd") ? "manifest" : "multivariant", playback };
  }
  found = file.exec(path);
  if (found) return { to: files[found[2] as keyof typeof files], playback: found[1]! };
  found = picture.exec(path);
  if (found) {
    const [, playback, form, interval, first, count] = found as unknown as [
      string,
      string,
      ...(string | undefined)[],
    ];
    if (form) return { to: "thumbnail", playback, form: form as "jpg" | "gif" };
    if (interval === undefined) return { to: "storyboard", playback };
    return { to: "sprite", playback, interval: Number(interval), first: Number(first), count: Number(count) };
  }
  found = asset.exec(path);
  if (found) return { to: "asset", name: found[1]! };
  found = sdk.exec(path);
  if (found) return { to: "sdk", name: found[1] as "sdk.latest.js" | "sdk.d.ts" };
  found = challenge.exec(path);
  if (found) return { to: "challenge", token: found[1]! };
  if (path === "/time") return { to: "time" };
  if (path === "/") return { to: "root" };
  if (path === "/.well-known/jwks.json") return { to: "keys" };
  if (controlPrefixes.some((prefix) => path === prefix || path.startsWith(`${prefix}/`)))
    return { to: "control" };
  return undefined;
}
