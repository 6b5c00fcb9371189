import { expect, test } from "vitest";
import { routeOf } from "./route.ts";

const P = "0123456789abcdef0123456789abcdef";
const V = "fedcba9876543210fedcba9876543210";
const media = { playback: P, video: V, rendition: "source" };

test.for([
  [`/${P}/manifest/video.m3u8`, { to: "multivariant", playback: P }],
  [`/${P}/manifest/video.mpd`, { to: "manifest", playback: P }],
  ["/time", { to: "time" }],
  [`/${P}/manifest/${V}/source.m3u8`, { to: "playlist", ...media, pictures: false }],
  [`/${P}/manifest/${V}/source.pictures.m3u8`, { to: "playlist", ...media, pictures: true }],
  [`/${P}/manifest/${V}/source/0/init.mp4`, { to: "init", ...media, version: 0 }],
  [`/${P}/manifest/${V}/source/3/17.m4s`, { to: "segment", ...media, version: 3, number: 17 }],
  [`/${P}/manifest/${V}/source/3/17.2.m4s`, { to: "part", ...media, version: 3, number: 17, part: 2 }],
  [`/${P}/lifecycle`, { to: "lifecycle", playback: P }],
  [`/${P}/iframe`, { to: "page", playback: P, page: "iframe" }],
  [`/${P}/watch`, { to: "page", playback: P, page: "watch" }],
  [`/${P}`, { to: "page", playback: P, page: "iframe" }],
  ["/embed/sdk.latest.js", { to: "sdk", name: "sdk.latest.js" }],
  ["/embed/sdk.d.ts", { to: "sdk", name: "sdk.d.ts" }],
  ["/player/assets/player-B7x_1.js", { to: "asset", name: "assets/player-B7x_1.js" }],
  ["/client/v4/accounts/default/stream/live_inputs", { to: "control" }],
  ["/v1/inputs", { to: "control" }],
  ["/docs", { to: "control" }],
  ["/", { to: "root" }],
] as const)("%s is answered", ([path, route]) => expect(routeOf(path)).toEqual(route));

test.for([
  "/player/assets/../../package.json",
  "/player/assets/%2e%2e/x.js",
  "/player/assets/a/b.js",
  `/${P}/manifest/../../etc/passwd`,
  `/${P}/manifest/${V}/../${V}/source.m3u8`,
  `/${P}//manifest/video.m3u8`,
  `/${P.toUpperCase()}/manifest/video.m3u8`,
  `/${P}/manifest/${V}/source/0/1.m4s/`,
  `/${P}/manifest/${V}/source/0/99999999999999999999.m4s`,
  `/${P}/manifest/${V}/source/-1/1.m4s`,
  "/embed/iframe.html",
  "/embed/../iframe.html",
  "/internal/publishes",
  "/clientx/v4",
  "/v10",
  `/${"a".repeat(600)}`,
  "",
])("%s is nothing", (path) => expect(routeOf(path)).toBeUndefined());
