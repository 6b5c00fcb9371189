import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { bucketOf } from "./bucket.ts";
import { Failure, messageOf } from "./lib/errors.ts";
import { z } from "./lib/schema.ts";
import type { FoundRecording } from "./live/recordings.ts";
import { askRunning } from "./operate.ts";
import { markerOf, mendedMarkOf } from "./recording/read.ts";
import { indexed, recordingsElsewhere, reindex } from "./recording/reindex.ts";
import { mendedIn, repair, type Tended, verify, verifyForwarded } from "./recording/tend.ts";
import type { Config } from "./settings.ts";
import type { ObjectStore } from "./storage/store.ts";
import { isInUse } from "./supervisor/place.ts";

const verbs = { verify, repair } as const;
/** Recordings in one call to control, and gaps: a body has its limit. */
const atOnce = 500;
const gapsAtOnce = 20_000;

/** What was typed after `sluice recordings`. */
export interface TypedRecordings {
  readonly verb: string;
  readonly uids: readonly string[];
  /** Print a list of all for a program. */
  readonly json: boolean;
}

/** `sluice recordings VERB [UID...]`: one line for each recording that is not whole, and a count. Exit code 1 where one is not whole after it. */
export async function runRecordings(config: Config, { verb, uids, json }: TypedRecordings): Promise<number> {
  const folder = join(config.data, "recordings");
  const store = bucketOf(config);
  if (verb === "rebuild-index") return rebuildIndex({ config, folder, store, uids, json });
  if (!Object.hasOwn(verbs, verb))
    throw new Failure("bad_request", `There is no "recordings ${verb}"; say verify, repair or rebuild-index`);
  const tend = verbs[verb as keyof typeof verbs];
  const runs = isInUse(config.data);
  const all = await forEach(uids.length > 0 ? uids : recordingsIn(folder), json, async (uid) => {
    // Its origin writes it, and would write over what is cut off or added here.
    if (runs && existsSync(markerOf(folder, uid))) return { state: "open", message: onAir };
    const tended = tend(folder, uid);
    const elsewhere = tended.state === "broken" ? undefined : await verifyForwarded(folder, uid, store);
    return elsewhere?.state === "broken" ? elsewhere : tended;
  });
  const told = verb === "repair" ? await tellMended(config, folder) : {};
  if (json) say(JSON.stringify({ recordings: all, ...told }));
  else if (told.later) say(`${told.later} of them are told to the store when Sluice starts`);
  return codeOf(all);
}

/** The store hears what was mended, now or where it is away when the origin starts. */
async function tellMended(
  config: Config,
  folder: string,
): Promise<{ readonly told?: number; readonly later?: number }> {
  const uids = mendedIn(folder);
  if (uids.length === 0) return {};
  try {
    await index(await askRunning(config), folder, uids);
    return { told: uids.length };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { later: uids.length };
  }
}

/** Tells control of these recordings as their files are. Answers with how many there are, and of how many it knew otherwise. */
async function index(
  ask: Awaited<ReturnType<typeof askRunning>>,
  folder: string,
  uids: readonly string[],
): Promise<{ readonly found: number; readonly restored: number }> {
  let [found, restored] = [0, 0];
  for (let at = 0; at < uids.length; ) {
    progress(at, uids.length, "");
    const recordings: FoundRecording[] = [];
    for (let gaps = 0; at < uids.length && recordings.length < atOnce && gaps < gapsAtOnce; at++) {
      const one = indexed(folder, uids[at]!);
      if (!one) continue;
      recordings.push(one);
      gaps += one.gaps.length;
    }
    const answer = await ask("POST", "/v1/videos/index", { recordings });
    restored += z.object({ restored: z.int() }).parse(answer).restored;
    found += recordings.length;
    for (const { uid } of recordings) rmSync(mendedMarkOf(folder, uid), { force: true });
  }
  progress(uids.length, uids.length, "");
  return { found, restored };
}

/** Journals and lists from what there is of media, here and in the bucket; then the rows of the store from them. */
async function rebuildIndex({
  config,
  folder,
  store,
  uids,
  json,
}: Omit<TypedRecordings, "verb"> & {
  readonly config: Config;
  readonly folder: string;
  readonly store: ObjectStore | undefined;
}): Promise<number> {
  const elsewhere = store ? await recordingsElsewhere(store) : new Map<string, never[]>();
  const all = uids.length > 0 ? uids : [...new Set([...recordingsIn(folder), ...elsewhere.keys()])].sort();
  const tended = await forEach(all, json, (uid) =>
    reindex(folder, uid, { store, objects: elsewhere.get(uid) ?? [] }),
  );
  const { found, restored } = await index(await askRunning(config), folder, all);
  if (json) say(JSON.stringify({ recordings: tended, restored }));
  else say(`${found} recordings in the files, ${restored} of them put back into the store`);
  return codeOf(tended);
}

const onAir = "it is on air, or its encoder may come back; its origin looks after it";

type Seen = { readonly uid: string; readonly state: Tended["state"] | "open"; readonly message: string };

async function forEach(
  all: readonly string[],
  quiet: boolean,
  tend: (uid: string) => Promise<Omit<Seen, "uid">>,
): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  const counts = { whole: 0, mended: 0, broken: 0, open: 0 };
  for (const [i, uid] of all.entries()) {
    progress(i, all.length, uid);
    // The others are seen to, whatever one of them is.
    const { state, message } = await tend(uid).catch((error: unknown) => ({
      state: "broken" as const,
      message: `it cannot be read: ${messageOf(error)}`,
    }));
    counts[state]++;
    seen.push({ uid, state, message });
    if (state !== "whole" && !quiet) say(`${uid}: ${message}`);
  }
  progress(all.length, all.length, "");
  const { whole, mended, broken, open } = counts;
  const still = open > 0 ? `, ${open} on air` : "";
  if (!quiet) say(`${all.length} recordings: ${whole} whole, ${mended} mended, ${broken} not whole${still}`);
  return seen;
}

function codeOf(seen: readonly Seen[]): number {
  return seen.some(({ state }) => state === "broken") ? 1 : 0;
}

function recordingsIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => /^[0-9a-f]{32}$/.test(name));
  } catch {
    return [];
  }
}

const width = 30;

/** A bar where a person watches; nothing in a log. */
function progress(done: number, all: number, what: string): void {
  if (!process.stderr.isTTY) return;
  const filled = all === 0 ? width : Math.round((done / all) * width);
  const bar = "#".repeat(filled).padEnd(width, ".");
  process.stderr.write(`\r\x1b[K${done === all ? "" : `[${bar}] ${done}/${all} ${what}`}`);
}

function say(line: string): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  process.stdout.write(`${line}\n`);
}
