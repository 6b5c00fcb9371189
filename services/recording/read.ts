import { open } from "node:fs/promises";
import { join } from "node:path";
import { Failure } from "../lib/errors.ts";
import { type Reel, rowOf } from "./contents.ts";

/** Where the files of one recording are: in a folder of this disk, and those that have left it under the same names elsewhere. */
export interface Place {
  readonly folder: string;
  /** Bytes of a file that is not in the folder; undefined where nothing ever leaves it. Throws `Failure` while they cannot be had. */
  readonly elsewhere?: ((name: string, range: Range) => Promise<Uint8Array | undefined>) | undefined;
}

interface Range {
  readonly offset: number;
  readonly length: number;
}

/** The name of a media file in its recording's folder. */
export function fileName(rendition: string, file: number): string {
  return `${rendition}-${file}.mp4`;
}

/** What `fileName` makes: rendition and number. */
export const mediaFile = /^([a-z0-9]{1,16})-(\d+)\.mp4$/;

/** A file that exists while a recording may grow. */
export function markerOf(folder: string, video: string): string {
  return join(folder, "open", video);
}

/** A file that exists while the store is not told of what was mended about a recording. */
export function mendedMarkOf(folder: string, video: string): string {
  return join(folder, "mended", video);
}

/** The bytes of a segment, or of one of its parts; undefined when they are not there. */
export async function readRow(
  place: Place,
  reel: Reel,
  what: { readonly number: number; readonly version: number; readonly part: number | undefined },
): Promise<Uint8Array | undefined> {
  const row = rowOf(reel, what.number) ?? (reel.open?.number === what.number ? reel.open : undefined);
  if (row?.version !== what.version) return undefined;
  if (what.part === undefined)
    return row.gap
      ? undefined
      : readRange(place, reel.name, { file: row.file, offset: row.offset, length: row.byteLength });
  const length = row.lengths[what.part];
  if (!length) return undefined;
  const before = row.lengths.slice(0, what.part).reduce((sum, bytes) => sum + bytes, 0);
  return readRange(place, reel.name, { file: row.file, offset: row.offset + before, length });
}

/**
 * Bytes of a media file; undefined when they are not there (any more). Throws `Failure` while they cannot be had. What is on
 * this disk is read `inTurn`.
 */
export async function readRange(
  { folder, elsewhere }: Place,
  rendition: string,
  { file, ...range }: { readonly file: number } & Range,
  inTurn: <T>(read: () => Promise<T>) => Promise<T> = (read) => read(),
): Promise<Uint8Array | undefined> {
  const name = fileName(rendition, file);
  const found = await inTurn(() => readHere(join(folder, name), range));
  return found === "elsewhere" ? elsewhere?.(name, range) : found;
}

async function readHere(
  path: string,
  { offset, length }: Range,
): Promise<Uint8Array | undefined | "elsewhere"> {
  try {
    const handle = await open(path);
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, offset);
      return bytesRead === length ? buffer : undefined;
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "elsewhere";
    // It is there, and not to be had now: nobody is to be told, or to keep, that it is missing.
    throw new Failure("unavailable", "This disk cannot be read now", { cause: error });
  }
}
