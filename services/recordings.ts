import { readdirSync } from "node:fs";
import { join } from "node:path";
import { bucketOf } from "./bucket.ts";
import type { Config } from "./config.ts";
import { Failure } from "./lib/errors.ts";
import { repair, verify, verifyForwarded } from "./recording/tend.ts";

const verbs = { verify, repair } as const;

/** `sluice recordings VERB [UID...]`: one line for each recording that is not whole, and a count. Exit code 1 where one is not whole after it. */
export async function runRecordings(config: Config, verb: string, uids: readonly string[]): Promise<number> {
  if (!Object.hasOwn(verbs, verb))
    throw new Failure("bad_request", `There is no "recordings ${verb}"; say verify or repair`);
  const tend = verbs[verb as keyof typeof verbs];
  const folder = join(config.data, "recordings");
  const all = uids.length > 0 ? uids : recordingsIn(folder);
  const store = bucketOf(config);
  const counts = { whole: 0, mended: 0, broken: 0 };
  for (const [i, uid] of all.entries()) {
    progress(i, all.length, uid);
    let { state, message } = tend(folder, uid);
    const elsewhere = state === "broken" ? undefined : await verifyForwarded(folder, uid, store);
    if (elsewhere?.state === "broken") ({ state, message } = elsewhere);
    counts[state]++;
    if (state !== "whole") say(`${uid}: ${message}`);
  }
  progress(all.length, all.length, "");
  say(`${all.length} recordings: ${counts.whole} whole, ${counts.mended} mended, ${counts.broken} not whole`);
  return counts.broken > 0 ? 1 : 0;
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
