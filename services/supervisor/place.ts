import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { makeFolder, replaceFile } from "../lib/durable.ts";
import { Failure, messageOf } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";

/** A data folder that this process alone uses, and a short folder for its sockets. */
export interface Place extends Running {
  readonly data: string;
  /** Folder for unix sockets, rights 0700, new for each run. */
  readonly runtime: string;
}

/** What other commands learn from the data folder about the Sluice that runs there. */
export interface RunningNow {
  readonly pid: number;
  readonly runtime: string;
}

/** Kernels take socket paths up to 107 bytes (103 on macOS), and the longest name in the folder is "control-health.sock". */
const runtimeBytes = 103 - "/control-health.sock".length;

/** Takes the data folder, made when missing. A `Failure` with one sentence when another Sluice has it or it cannot be written. */
export async function openPlace(data: string): Promise<Place> {
  try {
    makeFolder(data);
  } catch (error) {
    throw new Failure(
      "forbidden",
      `data: ${data} cannot be made (${messageOf(error)}); name a folder that this user may write with --data`,
    );
  }
  const lock = takeLock(data);
  const runtime = makeRuntime(data);
  await replaceFile(runningFile(data), JSON.stringify({ pid: process.pid, runtime } satisfies RunningNow));
  const done = Promise.withResolvers<void>();
  return {
    data,
    runtime,
    closed: done.promise,
    async close() {
      rmSync(runtime, { recursive: true, force: true });
      removeEmpty(dirname(runtime));
      rmSync(runningFile(data), { force: true });
      if (lock.isOpen) lock.close();
      done.resolve();
    },
  };
}

/** A role that outlives us for a moment may have put something there; the next run clears it away. */
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {}
}

/** Who runs in `data` now, as far as its last run said. */
export function readRunning(data: string): RunningNow | undefined {
  try {
    return JSON.parse(readFileSync(runningFile(data), "utf8")) as RunningNow;
  } catch {
    return undefined;
  }
}

/** Whether somebody runs in `data`, whatever its last run said. */
export function isInUse(data: string): boolean {
  try {
    takeLock(data)?.close();
    return false;
  } catch (error) {
    return error instanceof Failure && error.code === "conflict";
  }
}

const runningFile = (data: string) => join(data, "running.json");

/** Node has no flock; an exclusive SQLite transaction is a kernel lock that dies with the process, also at kill -9. */
function takeLock(data: string): DatabaseSync {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(data, "lock"), { timeout: 0 });
    lock.exec("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close();
    if (error instanceof Error && /locked|busy/.test(error.message)) {
      const pid = readRunning(data)?.pid;
      const who = pid === undefined ? "Another Sluice" : `Sluice (process ${pid})`;
      throw new Failure(
        "conflict",
        `${who} already uses the data folder ${data}. Stop it, or name another folder with --data`,
      );
    }
    throw new Failure(
      "forbidden",
      `data: ${data} is not writable (${messageOf(error)}); name a folder that this user may write with --data`,
    );
  }
}

/**
 * Two levels: one a data folder, so that Sluices do not meet; one a run, so that a role which outlives a killed supervisor for
 * a moment cannot unlink its successor's socket. Not in XDG_RUNTIME_DIR: that goes away at log-out, and a server stays.
 */
function makeRuntime(data: string): string {
  const name = `sluice-${createHash("sha256").update(realpathSync(data)).digest("hex").slice(0, 12)}`;
  const run = randomBytes(3).toString("hex");
  const parent = [tmpdir(), "/tmp"].find(
    (folder) => Buffer.byteLength(join(folder, name, run)) <= runtimeBytes,
  );
  if (!parent)
    throw new Failure(
      "bad_request",
      `${tmpdir()} is too long a path for unix sockets; set TMPDIR to a shorter one`,
    );
  const base = join(parent, name);
  try {
    mkdirSync(base, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST"))
      throw new Failure(
        "forbidden",
        `${base} cannot be made (${messageOf(error)}); set TMPDIR to a folder that this user may write`,
      );
  }
  // Anyone may make a folder of that name in a shared place first.
  const found = lstatSync(base);
  if (!found.isDirectory() || (process.getuid && found.uid !== process.getuid()))
    throw new Failure(
      "forbidden",
      `${base} belongs to another user; remove it, or set TMPDIR to a folder of your own`,
    );
  chmodSync(base, 0o700);
  for (const old of readdirSync(base)) rmSync(join(base, old), { recursive: true, force: true });
  const runtime = join(base, run);
  mkdirSync(runtime, { mode: 0o700 });
  return runtime;
}
