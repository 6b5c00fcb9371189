import type { Directory } from "../live/directory.ts";
import type { OriginInput, Snapshot } from "../live/snapshot.ts";
import type { LiveStatus } from "../live/status.ts";
import type { Health } from "../packager/packager.ts";
import { type History, rounded } from "./history.ts";
import type { Viewers } from "./viewers.ts";

interface Look {
  readonly atMs: number;
  readonly sinceMs: number;
  readonly health: Health;
}

export interface StatusOptions {
  readonly directory: Directory;
  readonly viewers: Viewers;
  readonly snapshot: Pick<Snapshot<OriginInput>, "get">;
  readonly history: Pick<History, "add">;
}

/** A function that says what is on air and keeps it in the history; rates are over the time since it was last asked. */
export function statusOf(options: StatusOptions): (nowMs: number) => LiveStatus[] {
  const { directory, viewers, snapshot, history } = options;
  const before = new Map<string, Look>();
  return (nowMs) => {
    const live: LiveStatus[] = [];
    const seen = new Set<string>();
    for (const broadcast of directory.all()) {
      if (broadcast.state === "ended") continue;
      const { video, input, health, advice, state } = broadcast;
      seen.add(video);
      const last = before.get(video);
      const sinceMs = last?.sinceMs ?? nowMs;
      before.set(video, { atMs: nowMs, sinceMs, health });
      const passedMs = nowMs - (last?.atMs ?? nowMs);
      const rate = (of: (health: Health) => number): number =>
        last && passedMs > 0 ? ((of(health) - of(last.health)) * 1000) / passedMs : 0;
      const { begunMs, mediaMs, gopSeconds, missing } = health;
      const one: LiveStatus = {
        uid: input,
        name: snapshot.get(input)?.name ?? input,
        kbps: Math.round((rate(({ bytes }) => bytes) * 8) / 1000),
        fps: Math.round(rate(({ frames }) => frames)),
        gopSeconds,
        uploadRatio: rounded(rate((health) => health.mediaMs / 1000)),
        lagSeconds: rounded(Math.max(0, begunMs === undefined ? 0 : nowMs - begunMs - mediaMs) / 1000),
        droppedFrames: missing,
        ...watchingOf(viewers.countBy(video)),
        seconds: Math.round((nowMs - sinceMs) / 1000),
        state,
        ...(advice && { advice }),
      };
      live.push(one);
      // The first look has nothing to compare with.
      if (!last || passedMs <= 0) continue;
      const { kbps, fps, uploadRatio, lagSeconds, viewers: watching } = one;
      history.add(input, {
        ...{ at: nowMs, kbps, fps, gopSeconds, uploadRatio, lagSeconds, viewers: watching },
        droppedFrames: missing - last.health.missing,
        connected: state === "live",
      });
    }
    for (const video of before.keys()) if (!seen.has(video)) before.delete(video);
    return live;
  };
}

function watchingOf(viewersBy: LiveStatus["viewersBy"]): Pick<LiveStatus, "viewers" | "viewersBy"> {
  return { viewers: viewersBy.hls + viewersBy.dash + viewersBy.moq, viewersBy };
}
