import { open } from "node:fs/promises";
import { join } from "node:path";
import { type Reel, rowOf } from "./contents.ts";

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

/** The bytes of a segment, or of one of its parts; undefined when they are not there. */
export async function readRow(
  folder: string,
  reel: Reel,
  what: { readonly number: number; readonly version: number; readonly part: number | undefined },
): Promise<Uint8Array | undefined> {
  const row = rowOf(reel, what.number) ?? (reel.open?.number === what.number ? reel.open : undefined);
  if (row?.version !== what.version) return undefined;
  if (what.part === undefined)
    return row.gap
      ? undefined
      : readRange(folder, reel.name, { file: row.file, offset: row.offset, length: row.byteLength });
  const length = row.lengths[what.part];
  if (!length) return undefined;
  const before = row.lengths.slice(0, what.part).reduce((sum, bytes) => sum + bytes, 0);
  return readRange(folder, reel.name, { file: row.file, offset: row.offset + before, length });
}

/** Bytes of a media file; undefined when they are not there (any more). */
export async function readRange(
  folder: string,
  rendition: string,
  { file, offset, length }: { readonly file: number; readonly offset: number; readonly length: number },
): Promise<Uint8Array | undefined> {
  try {
    const handle = await open(join(folder, fileName(rendition, file)));
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, offset);
      return bytesRead === length ? buffer : undefined;
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}
