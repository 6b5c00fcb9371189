/** Objects under keys on another machine. Every call is one attempt and rejects with a `Failure`; whoever calls owns the retries. */
export interface ObjectStore {
  /** Makes or replaces an object. Resolves when the other side says that it has all of it; `head` confirms it. */
  put(key: string, body: Body, signal?: AbortSignal): Promise<void>;
  /** What the other side has under this key; undefined when nothing. */
  head(key: string, signal?: AbortSignal): Promise<Stored | undefined>;
  /** Bytes of an object, fewer where it ends before; undefined when it is not there or has none from `offset` on. */
  get(key: string, range: Range, signal?: AbortSignal): Promise<Piece | undefined>;
  /** Every object whose key begins with `prefix`, in the order of their keys. */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<{ readonly key: string; readonly bytes: number }>;
  /** An object that is not there counts as removed. */
  remove(key: string, signal?: AbortSignal): Promise<void>;
}

/** What is put: a file of this disk or bytes, with the checksums that the other side is to find, in hex. */
export interface Body extends Checksums {
  readonly from: { readonly file: string } | Uint8Array;
}

export interface Checksums {
  readonly bytes: number;
  readonly sha256: string;
  readonly md5: string;
}

/** What the other side says of an object. Checksums are in hex, and missing where it does not compute them. */
export interface Stored {
  readonly bytes: number;
  readonly sha256: string | undefined;
  readonly md5: string | undefined;
}

export interface Range {
  readonly offset: number;
  readonly length: number;
}

export interface Piece {
  readonly bytes: Uint8Array;
  /** Of the whole object. */
  readonly total: number;
}

/** Whether an object is what was put; undefined where its store computes no checksum that says so. */
export function isSame(stored: Stored, { bytes, sha256, md5 }: Checksums): boolean | undefined {
  if (stored.bytes !== bytes) return false;
  if (stored.sha256 !== undefined) return stored.sha256 === sha256;
  return stored.md5 === undefined ? undefined : stored.md5 === md5;
}
