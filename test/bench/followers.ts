import { fork } from "node:child_process";
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { mediaOf } from "../support/witness.ts";
import { openLean } from "./lean.ts";

/** What a follower saw of an end. */
export interface FollowedEnd {
  /** When its playlist had ended and its last segment was read, by `clockMs`. */
  readonly atMs: number;
  /** All that the playlist lists. */
  readonly urls: readonly string[];
  /** Segments that were listed, whole or in part, before the end and are not in it. */
  readonly lost: number;
}

/** What the process says: that all of them follow, then what they saw. */
type Followed =
  | { readonly type: "following" }
  | { readonly type: "ended"; readonly ends: readonly FollowedEnd[]; readonly busyMs: number };

/** Milliseconds that all processes of a machine count alike. */
export const clockMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Those who watch, in a process of their own. */
export interface Followers {
  /** From now on it counts how long that process works. */
  busy(): void;
  readonly ended: Promise<{ readonly ends: readonly FollowedEnd[]; readonly busyMs: number }>;
}

/** One who follows each of these (`http://host:port/{uid}`), until its end. Resolves when all of them do. */
export async function openFollowers(playbacks: readonly string[]): Promise<Followers> {
  const child = fork(new URL(import.meta.url));
  const gone = once(child, "exit").then(() => Promise.reject(new Error("those who watch are gone")));
  gone.catch(() => undefined);
  const next = async (): Promise<Followed> => (await Promise.race([once(child, "message"), gone]))[0];
  child.send(playbacks);
  await next();
  return {
    busy: () => child.send("busy"),
    ended: next().then((said) => {
      child.kill();
      if (said.type !== "ended") throw new Error("nobody saw the end");
      return said;
    }),
  };
}

/** Follows `http://host:port/{uid}` as a player with low latency does. */
async function follow(
  playback: string,
  following: () => void,
): Promise<Omit<FollowedEnd, "urls"> & { readonly text: string; readonly address: string }> {
  const { origin, pathname } = new URL(playback);
  const http = await openLean(origin);
  try {
    const master = `${pathname}/manifest/video.m3u8`;
    const offer = (await http.get(master)).toString();
    const uri = offer.split("\n").find((line) => line && !line.startsWith("#"));
    if (!uri) throw new Error(`nothing to play in ${offer}`);
    const address = new URL(uri, origin + master);
    let newest = 0;
    for (let query = ""; ; ) {
      const text = (await http.get(address.pathname + query)).toString();
      following();
      const first = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
      const complete = text.match(/^#EXTINF:/gm)?.length ?? 0;
      if (text.endsWith("#EXT-X-ENDLIST\n")) {
        const last = text.slice(0, -"\n#EXT-X-ENDLIST\n".length);
        await http.get(new URL(last.slice(last.lastIndexOf("\n") + 1), address).pathname);
        const atMs = clockMs();
        return { atMs, text, address: address.href, lost: Math.max(0, newest - (first + complete - 1)) };
      }
      const open = text.slice(text.lastIndexOf("#EXTINF:")).match(/^#EXT-X-PART:/gm)?.length ?? 0;
      newest = first + complete - (open > 0 ? 0 : 1);
      query = `?_HLS_msn=${first + complete}&_HLS_part=${open}`;
    }
  } finally {
    http.close();
  }
}

/** A process of its own, so that its work is not in the time of the encoders. It is sent the playbacks, then "busy" when they are about to end. */
if (process.argv[1] === fileURLToPath(import.meta.url) && process.send) {
  const say = (what: Followed): void => void process.send?.(what);
  let since = performance.eventLoopUtilization();
  process.on("message", async (told: readonly string[] | "busy") => {
    if (told === "busy") {
      since = performance.eventLoopUtilization();
      return;
    }
    const waiting = new Set(told);
    const ends = told.map((playback) =>
      follow(playback, () => {
        if (waiting.delete(playback) && waiting.size === 0) say({ type: "following" });
      }),
    );
    const found = await Promise.all(ends);
    const busyMs = performance.eventLoopUtilization(since).active;
    // Nobody waits for it any more.
    const seen = found.map(({ atMs, lost, text, address }) => ({ atMs, lost, urls: mediaOf(text, address) }));
    say({ type: "ended", ends: seen, busyMs });
  });
  process.once("disconnect", () => process.exit());
}
