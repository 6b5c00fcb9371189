import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { join } from "node:path";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../lib/errors.ts";
import type { Stretch } from "../live/recordings.ts";
import { planClip } from "./clip.ts";
import { type MoviePlan, planMovie } from "./movie.ts";
import type { MovieAnswer, MovieTask } from "./movies.ts";
import { keepPlan, keptPlan } from "./plans.ts";

// The thread on which movies are planned, one after the other.

const port = parentPort as MessagePort;
if ((workerData as { quiet?: boolean } | null)?.quiet) {
  try {
    // On Linux this is of a thread, elsewhere of all of them.
    if (process.platform === "linux") setPriority(0, constants.priority.PRIORITY_LOW);
  } catch {
    // It rests all the more between its plans.
  }
}

port.on("message", ({ id, video, folder, stretch, clip, quiet }: MovieTask) => {
  try {
    const path = join(folder, "journal");
    const journal = existsSync(path) ? readFileSync(path) : undefined;
    if (clip !== undefined && stretch) {
      const about = { video: clip, ...stretch, atMs: Date.now() };
      const plan = journal && planClip(journal, about);
      return port.postMessage({ id, plan } satisfies MovieAnswer);
    }
    const plan = journal && planned(folder, journal, stretch);
    if (!plan || quiet) return port.postMessage({ id, plan: undefined } satisfies MovieAnswer);
    // Its index says where every sample is and how long: what has the same index is the same.
    const etag = `"${createHash("sha256").update(video).update(plan.head).digest("base64url").slice(0, 22)}"`;
    port.postMessage({ id, plan: { ...plan, etag } } satisfies MovieAnswer);
  } catch (error) {
    port.postMessage({ id, error: messageOf(error) } satisfies MovieAnswer);
  }
});

/** All of a recording that is over is planned once. */
function planned(folder: string, journal: Uint8Array, stretch: Stretch | undefined): MoviePlan | undefined {
  const kept = stretch ? undefined : keptPlan(folder, journal);
  if (kept) return kept;
  const plan = planMovie(journal, stretch);
  if (plan?.settled && !stretch) {
    try {
      keepPlan(folder, journal, plan);
    } catch {
      // The disk is full, or the recording is gone: then it is planned again.
    }
  }
  return plan;
}
