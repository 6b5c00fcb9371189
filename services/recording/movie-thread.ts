import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type MessagePort, parentPort } from "node:worker_threads";
import { messageOf } from "../lib/errors.ts";
import { planClip } from "./clip.ts";
import { planMovie } from "./movie.ts";
import type { MovieAnswer, MovieTask } from "./movies.ts";
import { madeUpJournal } from "./rehearsal.ts";

// The thread on which movies are planned, one after the other.

const port = parentPort as MessagePort;
// Somebody who is here already goes first.
const rehearsing = setTimeout(() => planMovie(madeUpJournal()), 200);

port.on("message", ({ id, folder, stretch, clip }: MovieTask) => {
  clearTimeout(rehearsing);
  try {
    const path = join(folder, "journal");
    const journal = existsSync(path) ? readFileSync(path) : undefined;
    if (clip !== undefined && stretch) {
      const about = { video: clip, ...stretch, atMs: Date.now() };
      const plan = journal && planClip(journal, about);
      return port.postMessage({ id, plan } satisfies MovieAnswer);
    }
    const plan = journal && planMovie(journal, stretch);
    const { head, name, at, file, offset, bytes, skip, prefix } = plan ?? {};
    const lists = [head, name, at, file, offset, bytes, skip, prefix];
    const buffers = lists.flatMap((list) => (list ? [list.buffer] : []));
    port.postMessage({ id, plan } satisfies MovieAnswer, buffers);
  } catch (error) {
    port.postMessage({ id, error: messageOf(error) } satisfies MovieAnswer);
  }
});
