import type { Directory } from "../live/directory.ts";
import type { OriginInput, Snapshot } from "../live/snapshot.ts";
import type { LiveStatus } from "../live/status.ts";
import type { Viewers } from "./viewers.ts";

/** A function that says what is on air; rates are over the time since it was last asked. */
export function statusOf(
  directory: Directory,
  viewers: Viewers,
  snapshot: Snapshot<OriginInput>,
): (nowMs: number) => LiveStatus[] {
  const before = new Map<string, { atMs: number; bytes: number; frames: number; sinceMs: number }>();
  return (nowMs) => {
    const live: LiveStatus[] = [];
    const seen = new Set<string>();
    for (const broadcast of directory.all()) {
      if (broadcast.state === "ended") continue;
      const { video, input, health, advice, state } = broadcast;
      seen.add(video);
      const last = before.get(video) ?? {
        atMs: nowMs,
        bytes: health.bytes,
        frames: health.frames,
        sinceMs: nowMs,
      };
      before.set(video, { atMs: nowMs, bytes: health.bytes, frames: health.frames, sinceMs: last.sinceMs });
      const seconds = (nowMs - last.atMs) / 1000;
      const rate = (now: number, then: number): number => (seconds > 0 ? (now - then) / seconds : 0);
      live.push({
        uid: input,
        name: snapshot.get(input)?.name ?? input,
        kbps: Math.round((rate(health.bytes, last.bytes) * 8) / 1000),
        fps: Math.round(rate(health.frames, last.frames)),
        gopSeconds: health.gopSeconds,
        viewers: viewers.count(video, nowMs),
        seconds: Math.round((nowMs - last.sinceMs) / 1000),
        state,
        ...(advice && { advice }),
      });
    }
    for (const video of before.keys()) if (!seen.has(video)) before.delete(video);
    return live;
  };
}
