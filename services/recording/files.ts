import {
  closeSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { makeFolder } from "../lib/durable.ts";

/** What the recorder needs of a file system; a test puts a slow or a broken one in its place. Throws as node:fs does. */
export interface Files {
  makeFolder(path: string): void;
  touch(path: string): void;
  open(path: string, flags: "w" | "r+"): number;
  size(fd: number): number;
  /** The first bytes of a file, fewer where it is shorter. */
  read(fd: number, length: number): Uint8Array;
  /** All of the bytes, or an error. */
  write(fd: number, bytes: Uint8Array, position: number): void;
  truncate(fd: number, length: number): void;
  sync(fd: number): Promise<void>;
  syncFolder(path: string): Promise<void>;
  close(fd: number): void;
  remove(path: string): void;
}

const sync = promisify(fdatasync);

/** The disk. */
export const disk: Files = {
  // Node's own recursion says ENOENT of a disk that is read-only.
  makeFolder,
  touch(path) {
    makeFolder(dirname(path));
    writeFileSync(path, "", { mode: 0o600 });
  },
  open: (path, flags) => openSync(path, flags, 0o600),
  size: (fd) => fstatSync(fd).size,
  read(fd, length) {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, 0));
  },
  write(fd, bytes, position) {
    for (let done = 0; done < bytes.length; )
      done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  },
  truncate: ftruncateSync,
  sync,
  async syncFolder(path) {
    // Windows cannot open a folder, and needs not.
    if (process.platform === "win32") return;
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
  close: closeSync,
  remove: (path) => rmSync(path, { force: true }),
};
