import { openSync, writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { disk, type Files } from "../../services/recording/files.ts";
import type { DiskOp } from "./power-cut.ts";

// A file system for the recorder's thread that notes everything that is done to it in the file `?log=PATH`, for power-cut.ts.

const log = openSync(new URL((workerData as { through: string }).through).searchParams.get("log")!, "a");
const paths = new Map<number, string>();
let count = 0;

function note(op: DiskOp): void {
  writeSync(log, `${JSON.stringify(op)}\n`);
  count++;
}

export const files: Files = {
  ...disk,
  makeFolder(path) {
    disk.makeFolder(path);
    note({ op: "folder", path });
  },
  touch(path) {
    disk.touch(path);
    note({ op: "create", path });
  },
  open(path, flags) {
    const fd = disk.open(path, flags);
    paths.set(fd, path);
    if (flags === "w") note({ op: "create", path });
    return fd;
  },
  write(fd, bytes, at) {
    disk.write(fd, bytes, at);
    note({ op: "write", path: paths.get(fd)!, at, base64: Buffer.from(bytes).toString("base64") });
  },
  truncate(fd, length) {
    disk.truncate(fd, length);
    note({ op: "truncate", path: paths.get(fd)!, length });
  },
  async sync(fd) {
    // What was written while it ran may or may not be there.
    const upTo = count;
    await disk.sync(fd);
    note({ op: "sync", path: paths.get(fd)!, upTo });
  },
  async syncFolder(path) {
    const upTo = count;
    await disk.syncFolder(path);
    note({ op: "sync folder", path, upTo });
  },
  remove(path) {
    disk.remove(path);
    note({ op: "remove", path });
  },
};
