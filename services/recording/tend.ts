import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { faultOfObject } from "../storage/confirm.ts";
import type { ObjectStore } from "../storage/store.ts";
import { damageOf, mendMedia } from "./damage.ts";
import { listName, readForwarded } from "./forwarded.ts";
import { encodeEntry } from "./journal.ts";
import { freshPlanName, planName } from "./plans.ts";
import { fileName, markerOf, mediaFile, mendedMarkOf } from "./read.ts";
import { rebuildJournal } from "./rebuild.ts";
import { readRecording, truncateRecording } from "./recovery.ts";

/** How a recording is, or was left: `mended` was not whole and is now. */
export interface Tended {
  readonly state: "whole" | "mended" | "broken";
  /** For a person. */
  readonly message: string;
}

/** Holds every byte of a recording against its checksum. Changes nothing. */
export function verify(root: string, uid: string): Tended {
  const wrong = faultOf(root, uid);
  return wrong === undefined ? whole : { state: "broken", message: wrong };
}

/** Cuts off what is torn and closes what was left open, so that all that is left can be played. Not while it is on air. */
export function repair(root: string, uid: string): Tended {
  const wrong = faultOf(root, uid);
  if (wrong === undefined) return whole;
  const folder = join(root, uid);
  const found = readRecording(folder, { all: true });
  if (!found) return { state: "broken", message: `${wrong}; restore it from a backup` };
  const damage = damageOf(folder);
  // What is whole behind it is worth more than a recording that looks so.
  if (damage?.of === "head")
    return { state: "broken", message: `the head of ${damage.name} is damaged; restore it from a backup` };
  // Whoever is killed from here on has not told of it.
  markMended(root, uid);
  if (damage?.of === "journal") {
    const elsewhere = readForwarded(folder).files.size > 0;
    if (!elsewhere && rebuildJournal(folder, uid, found.contents.begin))
      return {
        state: "mended",
        message: `${wrong}; its journal is written anew, so addresses of before may not hold`,
      };
    const where = elsewhere ? "its copy in the bucket" : "a backup";
    return { state: "broken", message: `${wrong}, with more behind that; restore it from ${where}` };
  }
  if (damage) mendMedia(folder, damage);
  const left = damage ? readRecording(folder, { all: true })! : found;
  truncateRecording(folder, left);
  if (left.contents.endedMs === undefined) {
    const atMs = Math.round(statSync(join(folder, "journal")).mtimeMs);
    const last = [{ type: "restart", atMs } as const, { type: "end", atMs } as const];
    appendFileSync(join(folder, "journal"), Buffer.concat(last.map(encodeEntry)));
  }
  rmSync(markerOf(root, uid), { force: true });
  const still = faultOf(root, uid);
  if (still !== undefined) return { state: "broken", message: still };
  return {
    state: "mended",
    message: damage ? `${wrong}; ${damage.parts} damaged parts are gaps now` : wrong,
  };
}

function markMended(root: string, uid: string): void {
  const mark = mendedMarkOf(root, uid);
  mkdirSync(dirname(mark), { recursive: true, mode: 0o700 });
  writeFileSync(mark, "", { mode: 0o600 });
}

/** Recordings that were mended and of which the store is not told. */
export function mendedIn(root: string): string[] {
  const folder = dirname(mendedMarkOf(root, "all"));
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Holds what has left this disk against its checksums, where it is now. Changes nothing; rejects while the store cannot be reached. */
export async function verifyForwarded(
  root: string,
  uid: string,
  store: ObjectStore | undefined,
): Promise<Tended> {
  const folder = join(root, uid);
  for (const [name, sums] of readForwarded(folder).files) {
    if (existsSync(join(folder, name))) continue;
    if (!store)
      return { state: "broken", message: `${name} is in a bucket, and the settings name none (s3Bucket)` };
    const wrong = await faultOfObject(store, `${uid}/${name}`, sums);
    if (wrong !== undefined) return { state: "broken", message: wrong };
  }
  return whole;
}

/** What a recording has besides its media. */
const known = ["journal", listName, planName, freshPlanName];

const whole: Tended = { state: "whole", message: "" };

function faultOf(root: string, uid: string): string | undefined {
  const folder = join(root, uid);
  const found = readRecording(folder, { all: true });
  if (!found) return "there is no journal that can be read";
  if (found.torn) return found.torn;
  const { contents } = found;
  if (contents.endedMs === undefined)
    return "it has no end: it is on air, or its origin was killed and has not come back";
  for (const name of readdirSync(folder)) {
    const [, rendition, number] = mediaFile.exec(name) ?? [];
    const reel = rendition === undefined ? undefined : contents.reel(rendition);
    if (known.includes(name) || (reel && Number(number) <= reel.file)) continue;
    return `${name} is not in the journal`;
  }
  const forwarded = readForwarded(folder).files;
  for (const { name, file, fileBytes } of contents.reels) {
    const size =
      forwarded.get(fileName(name, file))?.bytes ?? statSync(join(folder, fileName(name, file))).size;
    if (size !== fileBytes) return `${fileName(name, file)} has ${size} bytes, the journal says ${fileBytes}`;
  }
  return undefined;
}
