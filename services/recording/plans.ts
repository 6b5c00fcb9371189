import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { crc32 } from "node:zlib";
import type { MoviePlan } from "./movie.ts";

/** Beside a recording: how all of it becomes one file, so that whoever asks for that does not wait for the planning. */
export const planName = "movie";
/** The same while it is written. */
export const freshPlanName = `${planName}.new`;

/** Raise it with every change of what a plan is or says. */
const version = 1;
const headBytes = 16;

/** Keeps the plan that was made of this journal. Nothing is lost with it, so nobody waits for the disk. */
export function keepPlan(folder: string, journal: Uint8Array, plan: MoviePlan): void {
  const body = serialize(plan);
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE(version);
  head.writeUInt32BE(journal.length, 4);
  head.writeUInt32BE(crc32(journal), 8);
  head.writeUInt32BE(crc32(body), 12);
  const fresh = join(folder, freshPlanName);
  writeFileSync(fresh, Buffer.concat([head, body]), { mode: 0o600 });
  renameSync(fresh, join(folder, planName));
}

/** Whether a plan that counts seems to be beside this recording, from its head alone. */
export async function isPlanned(folder: string): Promise<boolean> {
  try {
    const plan = await open(join(folder, planName));
    try {
      const { buffer, bytesRead } = await plan.read(Buffer.alloc(headBytes), 0, headBytes, 0);
      if (bytesRead < headBytes || buffer.readUInt32BE() !== version) return false;
      const journal = await stat(join(folder, "journal"));
      return buffer.readUInt32BE(4) === journal.size;
    } finally {
      await plan.close();
    }
  } catch {
    return false;
  }
}

/** The plan that was kept of this very journal; undefined where there is none that is whole. */
export function keptPlan(folder: string, journal: Uint8Array): MoviePlan | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(folder, planName));
  } catch {
    return undefined;
  }
  if (bytes.length < headBytes || bytes.readUInt32BE() !== version) return undefined;
  if (bytes.readUInt32BE(4) !== journal.length || bytes.readUInt32BE(8) !== crc32(journal)) return undefined;
  const body = bytes.subarray(headBytes);
  return bytes.readUInt32BE(12) === crc32(body) ? (deserialize(body) as MoviePlan) : undefined;
}
