import { existsSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { disk, type Files } from "../../services/recording/files.ts";

// A file system for the recorder's thread that is as bad as the URL of this module says:
// `?syncMs=200` syncs slowly; `?full=BYTES` takes so many bytes and then refuses `&times=N` writes, with `&code=EIO` if it
// is to be that; `?syncs=N` syncs so often and then refuses `&times=M`; `&readOnly` refuses to open and to cut as well;
// `?while=PATH` refuses to write and to cut while there is a file of that name, and leaves the first bytes of each write;
// `?unsynced=PATH` refuses to sync while there is one; `?slow=PATH` takes a tenth of a second for each write while there is a file of that name.

const how = new URL((workerData as { through: string }).through).searchParams;
const number = (name: string): number => Number(how.get(name) ?? Number.POSITIVE_INFINITY);

let left = number("full");
let times = number("times");
let syncs = number("syncs");
const code = how.get("code") ?? "ENOSPC";
const broken = (): boolean => existsSync(how.get("while") ?? "");

const slow = (): boolean => existsSync(how.get("slow") ?? "");
const still = new Int32Array(new SharedArrayBuffer(4));

function refusal(call: string): Error {
  return Object.assign(new Error(`${code}: the disk refuses, ${call}`), { code });
}

/** While writes are refused, a disk that is read-only takes nothing else. */
function changes<T extends (...given: never[]) => unknown>(call: string, carryOut: T): T {
  return ((...given: never[]) => {
    if (how.has("readOnly") && left < 0 && times-- > 0) throw refusal(call);
    if (call === "ftruncate" && broken()) throw refusal(call);
    return carryOut(...given);
  }) as T;
}

function room(bytes: number): void {
  if (broken()) throw refusal("write");
  left -= bytes;
  if (left >= 0) return;
  if (times-- <= 0) {
    left = Number.POSITIVE_INFINITY;
    return;
  }
  throw refusal("write");
}

export const files: Files = {
  ...disk,
  open: changes("open", disk.open),
  touch: changes("open", disk.touch),
  truncate: changes("ftruncate", disk.truncate),
  remove: changes("unlink", disk.remove),
  write(fd, bytes, position) {
    if (slow()) Atomics.wait(still, 0, 0, 100);
    try {
      room(bytes.length);
    } catch (error) {
      // As a full disk does it: what fits is written.
      if (code === "ENOSPC") disk.write(fd, bytes.subarray(0, bytes.length >> 1), position);
      throw error;
    }
    disk.write(fd, bytes, position);
  },
  async sync(fd) {
    if (how.has("syncMs")) await new Promise((resolve) => setTimeout(resolve, number("syncMs")));
    if ((syncs-- <= 0 && times-- > 0) || existsSync(how.get("unsynced") ?? "")) throw refusal("fdatasync");
    await disk.sync(fd);
  },
};
