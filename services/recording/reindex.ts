import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FoundRecording } from "../live/recordings.ts";
import { checksumsOf } from "../storage/confirm.ts";
import type { Checksums, ObjectStore } from "../storage/store.ts";
import { noteForwarded, readForwarded } from "./forwarded.ts";
import { gapsOf } from "./gaps.ts";
import { isJournal } from "./journal.ts";
import { markerOf, mediaFile } from "./read.ts";
import { rebuildJournal } from "./rebuild.ts";
import { readRecording } from "./recovery.ts";
import { repair, type Tended, verify } from "./tend.ts";

/** The recordings of a store elsewhere: what is there of each, by its uid. */
export async function recordingsElsewhere(
  store: ObjectStore,
): Promise<Map<string, { readonly name: string; readonly bytes: number }[]>> {
  const found = new Map<string, { name: string; bytes: number }[]>();
  for await (const { key, bytes } of store.list("")) {
    const [, uid, name] = /^([0-9a-f]{32})\/([^/]+)$/.exec(key) ?? [];
    if (uid === undefined || name === undefined) continue;
    found.set(uid, [...(found.get(uid) ?? []), { name, bytes }]);
  }
  return found;
}

/**
 * Makes whole what is known of a recording from what there is of it: its journal from elsewhere or from its media files, and the list
 * of what is elsewhere. Not while it is on air. `objects` are what the store has of it.
 */
export async function reindex(
  root: string,
  uid: string,
  { store, objects }: { store: ObjectStore | undefined; objects: readonly { name: string; bytes: number }[] },
): Promise<Tended> {
  const folder = join(root, uid);
  if (existsSync(markerOf(root, uid))) return { state: "whole", message: "" };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const done: string[] = [];
  const has = (name: string): boolean => objects.some((one) => one.name === name);
  const path = join(folder, "journal");
  if (!readRecording(folder) && store && has("journal")) {
    const { bytes } = objects.find(({ name }) => name === "journal")!;
    const journal = await whole(store, `${uid}/journal`, bytes);
    if (isJournal(journal)) {
      writeFileSync(path, journal, { mode: 0o600, flush: true });
      done.push("its journal is back from the bucket");
    }
  }
  if (store) done.push(...(await relist(folder, uid, store, objects)));
  if (!readRecording(folder) && rebuildJournal(folder, uid))
    done.push("its journal is written anew; segments are cut again, so addresses of before may not hold");
  const found = readRecording(folder);
  if (!found)
    return {
      state: "broken",
      message: objects.some(({ name }) => mediaFile.test(name))
        ? "its media are in the bucket without a journal: copy them to this disk, and type this again"
        : "there is neither a journal nor media to make one of",
    };
  if (found.contents.endedMs === undefined) {
    const { state, message } = repair(root, uid);
    if (state === "broken") return { state, message };
    done.push(message);
  }
  if (done.length === 0) return { state: "whole", message: "" };
  const { state, message } = verify(root, uid);
  return state === "whole" ? { state: "mended", message: done.join("; ") } : { state, message };
}

/** What a recording is in the words of the store; undefined while it is on air, and for what nobody keeps. */
export function indexed(root: string, uid: string): FoundRecording | undefined {
  const contents = readRecording(join(root, uid))?.contents;
  const { begin, endedMs, seconds, bytes } = contents ?? {};
  if (!begin || begin.temporary || endedMs === undefined) return undefined;
  const { input, startedMs } = begin;
  return { uid, input, startedMs, endedMs, seconds: seconds!, bytes: bytes!, gaps: gapsOf(contents!) };
}

/** Lists the files that are elsewhere and not here. */
async function relist(
  folder: string,
  uid: string,
  store: ObjectStore,
  objects: readonly { name: string; bytes: number }[],
): Promise<string[]> {
  const known = readForwarded(folder);
  const lost = objects.filter(
    ({ name }) => mediaFile.test(name) && !known.files.has(name) && !existsSync(join(folder, name)),
  );
  for (const { name, bytes } of lost)
    await noteForwarded(folder, [{ file: name, ...(await sumsElsewhere(store, `${uid}/${name}`, bytes)) }]);
  const path = join(folder, "journal");
  const copy = objects.find(({ name }) => name === "journal");
  if (copy && known.journal === undefined && existsSync(path) && statSync(path).size === copy.bytes) {
    const { sha256, md5 } = await sumsElsewhere(store, `${uid}/journal`, copy.bytes);
    await noteForwarded(folder, [{ journal: copy.bytes, sha256, md5 }]);
  }
  return lost.length > 0 ? [`${lost.length} files of it are in the bucket`] : [];
}

/** The checksums of an object: its store's own, else of what it gives back. */
async function sumsElsewhere(store: ObjectStore, key: string, bytes: number): Promise<Checksums> {
  const stored = await store.head(key);
  if (stored?.sha256 !== undefined && stored.md5 !== undefined)
    return { bytes: stored.bytes, sha256: stored.sha256, md5: stored.md5 };
  return checksumsOf(pieces(store, key, bytes));
}

async function whole(store: ObjectStore, key: string, bytes: number): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(pieces(store, key, bytes)));
}

const pieceBytes = 4 << 20;

async function* pieces(store: ObjectStore, key: string, bytes: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes; ) {
    const piece = await store.get(key, { offset, length: pieceBytes });
    if (!piece) return;
    yield piece.bytes;
    offset += piece.bytes.length;
  }
}
