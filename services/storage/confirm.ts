import { createHash } from "node:crypto";
import { type Checksums, isSame, type ObjectStore } from "./store.ts";

const readBackBytes = 4 << 20;

/** What is wrong with an object that is to be these bytes; undefined when its store shows that it has them, or gives them back. */
export async function faultOfObject(
  store: ObjectStore,
  key: string,
  sums: Checksums,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const stored = await store.head(key, signal);
  if (!stored) return `${key} is not there`;
  if (stored.bytes !== sums.bytes) return `${key} has ${stored.bytes} bytes instead of ${sums.bytes}`;
  const same = isSame(stored, sums) ?? (await readsBack(store, key, sums, signal));
  return same ? undefined : `${key} has other bytes than were put`;
}

/** For stores that compute no checksums. */
async function readsBack(
  store: ObjectStore,
  key: string,
  { bytes, sha256 }: Checksums,
  signal?: AbortSignal,
): Promise<boolean> {
  const hash = createHash("sha256");
  for (let offset = 0; offset < bytes; ) {
    const piece = await store.get(key, { offset, length: readBackBytes }, signal);
    if (!piece || piece.total !== bytes) return false;
    hash.update(piece.bytes);
    offset += piece.bytes.length;
  }
  return hash.digest("hex") === sha256;
}
