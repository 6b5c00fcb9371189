import type { Kysely } from "kysely";
import { add, type Sums, type Tally } from "../../live/tally.ts";
import type { Inputs } from "./inputs.ts";
import type { Tables } from "./tables.ts";

/** Whose, and from when until when (epoch ms, the end not included). */
export interface WatchedFilter {
  readonly input?: string | undefined;
  readonly video?: string | undefined;
  readonly since: number;
  readonly until: number;
}

/** Hours that were put together from finer rows; no process has this name. */
const folded = "-/-";
const hourMs = 3_600_000;

/** Keeps what origins counted. Each row holds all that its source saw: a later revision takes the place of an earlier one. */
export async function keepWatched({ tx }: Inputs, tallies: readonly Tally[]): Promise<void> {
  for (const { video, uid, at, source, revision, sums } of tallies) {
    const row = { revision, sums: JSON.stringify(sums) };
    await tx
      .insertInto("watched")
      .values({ video, live_input: uid, at, source, ...row })
      .onConflict((c) =>
        c.columns(["video", "at", "source"]).doUpdateSet(row).where("watched.revision", "<", revision),
      )
      .execute();
  }
}

export async function readWatched(db: Kysely<Tables>, filter: WatchedFilter): Promise<readonly Tally[]> {
  const { input, video, since, until } = filter;
  let rows = db.selectFrom("watched").selectAll().where("at", ">=", since).where("at", "<", until);
  if (input !== undefined) rows = rows.where("live_input", "=", input);
  if (video !== undefined) rows = rows.where("video", "=", video);
  return (await rows.execute()).map((row) => ({
    ...{ video: row.video, uid: row.live_input, at: Number(row.at), source: row.source },
    ...{ revision: Number(row.revision), sums: JSON.parse(row.sums) as Sums },
  }));
}

/** Puts rows that are older than `beforeMs` together to hours, so that years of broadcasts stay small. */
export async function foldWatched({ tx }: Inputs, beforeMs: number): Promise<void> {
  const before = Math.floor(beforeMs / hourMs) * hourMs;
  const rows = await tx
    .selectFrom("watched")
    .selectAll()
    .where("at", "<", before)
    .where("source", "!=", folded)
    .execute();
  const hours = Map.groupBy(rows, ({ video, at }) => `${video} ${Math.floor(Number(at) / hourMs)}`);
  for (const [first, ...more] of hours.values()) {
    if (!first) continue;
    const at = Math.floor(Number(first.at) / hourMs) * hourMs;
    const sums = JSON.parse(first.sums) as Sums;
    for (const { sums: others } of more) add(sums, JSON.parse(others) as Sums, false);
    const { video, live_input } = first;
    const known = await tx
      .selectFrom("watched")
      .select("sums")
      .where("video", "=", video)
      .where("at", "=", at)
      .where("source", "=", folded)
      .executeTakeFirst();
    if (known) add(sums, JSON.parse(known.sums) as Sums, false);
    await tx
      .deleteFrom("watched")
      .where("video", "=", video)
      .where("at", ">=", at)
      .where("at", "<", at + hourMs)
      .execute();
    await tx
      .insertInto("watched")
      .values({ video, live_input, at, source: folded, revision: 0, sums: JSON.stringify(sums) })
      .execute();
  }
}
