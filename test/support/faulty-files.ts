import { workerData } from "node:worker_threads";
import { disk, type Files } from "../../services/recording/files.ts";

// A file system for the recorder's thread that is as bad as the URL of this module says:
// `?syncMs=200` syncs slowly; `?full=BYTES` takes so many bytes and then refuses `&times=N` writes.

const how = new URL((workerData as { through: string }).through).searchParams;
const number = (name: string): number => Number(how.get(name) ?? Number.POSITIVE_INFINITY);

let left = number("full");
let times = number("times");

function room(bytes: number): void {
  left -= bytes;
  if (left >= 0) return;
  if (times-- <= 0) {
    left = Number.POSITIVE_INFINITY;
    return;
  }
  throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
}

export const files: Files = {
  ...disk,
  write(fd, bytes, position) {
    try {
      room(bytes.length);
    } catch (error) {
      // As a disk does it: what fits is written.
      disk.write(fd, bytes.subarray(0, bytes.length >> 1), position);
      throw error;
    }
    disk.write(fd, bytes, position);
  },
  async sync(fd) {
    if (how.has("syncMs")) await new Promise((resolve) => setTimeout(resolve, number("syncMs")));
    await disk.sync(fd);
  },
};
