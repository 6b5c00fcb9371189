import type { Kysely, Selectable } from "kysely";
import type { Gap } from "../../live/recordings.ts";
import type { Writer } from "./inputs.ts";
import { type GapRow, now, type Tables } from "./tables.ts";

/** Rows of one statement: SQLite takes so many values and no more. */
const atOnce = 500;

/** What a recording lacks, in the order of its time. */
export async function gapsOf(
  db: Kysely<Tables> | Writer,
  video: string,
): Promise<readonly Selectable<GapRow>[]> {
  const rows = await db
    .selectFrom("video_gaps")
    .selectAll()
    .where("video", "=", video)
    .orderBy("at_seconds")
    .orderBy("rendition")
    .execute();
  return rows.map((row) => ({ ...row, first: Number(row.first), last: Number(row.last) }));
}

/** Makes these all gaps of a recording. False when they are so already. */
export async function replaceGaps(tx: Writer, video: string, gaps: readonly Gap[]): Promise<boolean> {
  const before = await gapsOf(tx, video);
  const known = new Set(before.map(({ rendition, first, last }) => `${rendition} ${first} ${last}`));
  const same = gaps.every(({ rendition, from, to }) => known.has(`${rendition} ${from} ${to}`));
  if (same && gaps.length === before.length) return false;
  await tx.deleteFrom("video_gaps").where("video", "=", video).execute();
  const rows = gaps.map(({ rendition, from: first, to: last, at: at_seconds, seconds }) => ({
    ...{ video, rendition, first, last, at_seconds, seconds, told: now() },
  }));
  for (let at = 0; at < rows.length; at += atOnce)
    await tx
      .insertInto("video_gaps")
      .values(rows.slice(at, at + atOnce))
      .execute();
  return true;
}
