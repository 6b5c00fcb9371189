import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** What was done to a disk, in its order. A sync covers what was done before `upTo`. */
export type DiskOp =
  | { readonly op: "folder" | "create" | "remove"; readonly path: string }
  | { readonly op: "write"; readonly path: string; readonly at: number; readonly base64: string }
  | { readonly op: "truncate"; readonly path: string; readonly length: number }
  | { readonly op: "sync" | "sync folder"; readonly path: string; readonly upTo: number };

/** What becomes of that which was not synced: none of it is there, all of it, or some, and of some of that a piece. */
export type Unsynced = "dropped" | "kept" | "mixed";

/**
 * Makes in `to` what a disk may hold when the power went after the first `cut` of `ops`, which happened below `from`. A file
 * is there for certain once the folder that names it was synced, its bytes once it was.
 */
export function replay(
  ops: readonly DiskOp[],
  cut: number,
  { from, to, unsynced, random }: { from: string; to: string; unsynced: Unsynced; random: () => number },
): void {
  const done = ops.slice(0, cut);
  const survives = (): boolean => unsynced === "kept" || (unsynced === "mixed" && random() < 0.5);
  /** How far the last sync of this file or folder reaches. */
  const synced = (op: DiskOp["op"], path: string): number =>
    Math.max(0, ...done.map((one) => (one.op === op && one.path === path && "upTo" in one ? one.upTo : 0)));
  const isThere = (path: string, born: number): boolean => {
    if (path === from) return true;
    const folder = dirname(path);
    const folderBorn = done.findIndex((one) => one.op === "folder" && one.path === folder);
    // Folders that were there before are.
    if (folderBorn >= 0 && !isThere(folder, folderBorn)) return false;
    return synced("sync folder", folder) > born || survives();
  };

  const created = new Map<string, number>();
  for (const [i, one] of done.entries()) {
    if (one.op === "create") created.set(one.path, i);
    // Gone for certain only with its folder's sync.
    if (one.op === "remove" && (synced("sync folder", dirname(one.path)) > i || survives()))
      created.delete(one.path);
  }
  const folders = new Map<string, boolean>();
  for (const [path, born] of created) {
    const folder = dirname(path);
    if (!folders.has(folder)) folders.set(folder, isThere(join(folder, "x"), Number.NEGATIVE_INFINITY));
    if (!folders.get(folder) || !isThere(path, born)) continue;
    const certain = synced("sync", path);
    let bytes: Buffer = Buffer.alloc(0);
    for (const [i, one] of done.entries()) {
      if (one.op === "create" && one.path === path && i >= born) bytes = Buffer.alloc(0);
      if (i < born || one.path !== path || (i >= certain && !survives())) continue;
      if (one.op === "truncate") bytes = bytes.subarray(0, one.length);
      if (one.op !== "write") continue;
      const whole = Buffer.from(one.base64, "base64");
      const torn = i >= certain && unsynced === "mixed" && random() < 0.3;
      const data = torn ? whole.subarray(0, Math.floor(random() * whole.length)) : whole;
      // A hole reads as zeros.
      const grown = Buffer.alloc(Math.max(bytes.length, one.at + data.length));
      bytes.copy(grown);
      data.copy(grown, one.at);
      bytes = grown;
    }
    const target = join(to, relative(from, path));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes);
  }
}
