import { lifecycleOf } from "../../services/origin/lifecycle.ts";
import { routeOf } from "../../services/origin/route.ts";
import { BadMedia } from "../../services/packager/bad-media.ts";
import { parseDirectives } from "../../services/packager/reload.ts";
import type { Target } from "./target.ts";

const uid = "0123456789abcdef0123456789abcdef";
const text = new TextEncoder();

/** A request path and its query as they come off the wire. */
export const url: Target = {
  name: "url",
  seeds: [
    `/${uid}/manifest/video.m3u8?_HLS_msn=7&_HLS_part=1&_HLS_skip=YES`,
    `/${uid}/manifest/${uid}/source/0/12.3.m4s`,
    `/${uid}/lifecycle?wait=live`,
    "/player/assets/player-1.js?a=%00&b=%ff",
  ].map((line) => text.encode(line)),
  run: (bytes) => {
    const [path = "", query = ""] = Buffer.from(bytes).toString("latin1").split("?");
    const route = routeOf(path);
    if (route && "playback" in route) {
      if (!/^[0-9a-f]{32}$/.test(route.playback)) throw new Error(`playback ${route.playback}`);
      lifecycleOf(route.playback, undefined);
    }
    if (route && "number" in route && !Number.isSafeInteger(route.number))
      throw new Error(`number ${route.number}`);
    const directives = parseDirectives(query);
    if ("refuse" in directives) throw new BadMedia("bad_flv", directives.message);
    for (const number of [directives.number, directives.part])
      if (number !== undefined && !Number.isSafeInteger(number)) throw new Error(`directive ${number}`);
    new URLSearchParams(query).get("wait");
  },
};
