import { createHash } from "node:crypto";
import { type Checksums, isSame, type ObjectStore } from "./store.ts";

/** Size and checksums of what these pieces are together. */
export async function checksumsOf(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Checksums> {
  const [sha256, md5] = [createHash("sha256"), createHash("md5")];
  let bytes = 0;
  for await (const piece of pieces) {
    sha256.update(piece);
    md5.update(piece);
    bytes += piece.length;
  }
  return { bytes, sha256: sha256.digest("hex"), md5: md5.digest("hex") };
}

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
