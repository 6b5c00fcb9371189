import type { Selectable, Updateable } from "kysely";
import type { Algorithm, Jwk } from "../../auth/keys.ts";
import type { GateRecord } from "../../live/snapshot.ts";
import type { Inputs, Recording, Writer } from "./inputs.ts";
import { clipping, type KeyRow, now, type VideoRow } from "./tables.ts";

/** As many as Cloudflare allows. */
export const maxKeys = 1_000;

/** What a video has of its own that the gate is told. */
const owned = ["require_signed_urls", "allowed_origins", "thumbnail_ppm"] as const;

/** Everything that the gate knows, from the tables. */
export async function gateRecords(tx: Writer): Promise<readonly GateRecord[]> {
  const keys = await tx.selectFrom("signing_keys").selectAll().execute();
  const revocations = await tx.selectFrom("revocations").selectAll().where("until", ">", now()).execute();
  const videos = await tx
    .selectFrom("videos")
    .selectAll()
    .where((e) => e.or(owned.map((column) => e(column, "is not", null))))
    .where((e) => e.or([e("state", "=", "live-inprogress"), e("recorded", "=", 1)]))
    .execute();
  return [...keys.map(keyRecord), ...revocations.map(revocationRecord), ...videos.map(videoRecord)];
}

/** Keeps the public half of a key; "full" when there are as many as there may be, "taken" when one has its id. */
export async function addKey(
  inputs: Inputs,
  key: { readonly kid: string; readonly alg: Algorithm; readonly jwk: Jwk },
): Promise<KeyRow | "full" | "taken"> {
  const { total } = await inputs.tx
    .selectFrom("signing_keys")
    .select((e) => e.fn.countAll<number>().as("total"))
    .executeTakeFirstOrThrow();
  if (Number(total) >= maxKeys) return "full";
  const row: KeyRow = { kid: key.kid, alg: key.alg, jwk: JSON.stringify(key.jwk), created: now() };
  const { numInsertedOrUpdatedRows } = await inputs.tx
    .insertInto("signing_keys")
    .values(row)
    .onConflict((c) => c.column("kid").doNothing())
    .executeTakeFirst();
  if (!numInsertedOrUpdatedRows) return "taken";
  inputs.tell(`key:${key.kid}`, keyRecord(row));
  return row;
}

/** Every token of this key is wrong from now on; false when there is no such key. */
export async function removeKey(inputs: Inputs, kid: string): Promise<boolean> {
  const { numDeletedRows } = await inputs.tx
    .deleteFrom("signing_keys")
    .where("kid", "=", kid)
    .executeTakeFirst();
  inputs.tell(`key:${kid}`, undefined);
  return numDeletedRows > 0n;
}

/** Revokes a token or the versions of a viewer's permission; one that was revoked further stays so. */
export async function revoke(
  inputs: Inputs,
  what: { readonly token: string } | { readonly viewer: string; readonly version: number },
  lifeSeconds: number,
): Promise<{ readonly until: string }> {
  const until = new Date(Date.now() + lifeSeconds * 1000).toISOString();
  const uid = "token" in what ? `token:${what.token}` : `viewer:${what.viewer}`;
  await inputs.tx.deleteFrom("revocations").where("until", "<=", now()).execute();
  const before = await inputs.tx
    .selectFrom("revocations")
    .select("version")
    .where("uid", "=", uid)
    .executeTakeFirst();
  const version = "token" in what ? null : Math.max(what.version, before?.version ?? 0);
  const row = { uid, version, until, created: now() };
  await inputs.tx
    .insertInto("revocations")
    .values(row)
    .onConflict((c) => c.column("uid").doUpdateSet({ version, until }))
    .execute();
  inputs.tell(uid, revocationRecord(row));
  return { until };
}

/** Changes what is given of a video that can be watched; undefined when there is none. The gate hears what it demands. */
export async function editVideo(
  inputs: Inputs,
  uid: string,
  values: Updateable<VideoRow>,
): Promise<Selectable<VideoRow> | undefined> {
  const row = await inputs.tx
    .updateTable("videos")
    .set({ ...values, modified: now() })
    .where("uid", "=", uid)
    .where((e) => e.or([e("state", "=", "live-inprogress"), e("recorded", "=", 1)]))
    .returningAll()
    .executeTakeFirst();
  if (row) tellPolicy(inputs, row);
  return row;
}

/** Adds a video that the store does not have. */
export async function restoreVideo(inputs: Inputs, row: VideoRow): Promise<void> {
  await inputs.tx.insertInto("videos").values(row).execute();
  tellPolicy(inputs, row);
}

/** There will be a clip under this uid, which nobody is shown yet: should nobody live to finish it, its files are known. */
export async function announceClip(inputs: Inputs, source: Selectable<VideoRow>, uid: string): Promise<void> {
  const row = { ...source, uid, state: clipping, recorded: 0, scheduled_deletion: null };
  await inputs.tx.insertInto("videos").values(row).execute();
}

/** Nothing was made of an announced clip, and nothing of it is anywhere. */
export async function forgetClip(inputs: Inputs, uid: string): Promise<void> {
  await inputs.tx.deleteFrom("videos").where("uid", "=", uid).where("state", "=", clipping).execute();
}

/** A recording that was announced and is a stretch of `source`: it demands of viewers what that one does, and goes when that one goes, unless `values` say otherwise. */
export async function addClip(
  inputs: Inputs,
  source: Selectable<VideoRow>,
  values: Pick<VideoRow, "uid"> & Updateable<VideoRow>,
): Promise<Selectable<VideoRow>> {
  const at = now();
  // It was copied for a while: what protects the video may have become its own meanwhile, or have gone with it.
  const present = await inputs.tx
    .selectFrom("videos")
    .selectAll()
    .where("uid", "=", source.uid)
    .executeTakeFirst();
  const { require_signed_urls: own } = present ?? source;
  const row = {
    ...(present ?? source),
    require_signed_urls: own ?? ((await inputs.find(source.live_input)) ? null : 1),
    ...{ state: "ready", recorded: 1, started: at, ended: at, modified: at },
    ...{ meta: null, thumbnail_ppm: null, public_details: null, clipped_from: source.uid },
    ...values,
  } as Selectable<VideoRow>;
  await forgetClip(inputs, row.uid);
  await restoreVideo(inputs, row);
  return row;
}

/** The gate hears what a video demands of viewers, and what stands for it, when that is its own. */
function tellPolicy(inputs: Inputs, video: Selectable<VideoRow>): void {
  const own = owned.some((column) => video[column] !== null);
  inputs.tell(`video:${video.uid}`, own ? videoRecord(video) : undefined);
}

/** A video outlives its live input and what protected it must, too: from now on it is the video's own. */
export async function keepPolicies(inputs: Inputs, input: string, recording: Recording): Promise<void> {
  const rows = await inputs.tx
    .updateTable("videos")
    .set((e) => ({
      require_signed_urls: e.fn.coalesce("require_signed_urls", e.val(recording.requireSignedURLs ? 1 : 0)),
      allowed_origins: e.fn.coalesce("allowed_origins", e.val(JSON.stringify(recording.allowedOrigins))),
    }))
    .where("live_input", "=", input)
    .where((e) => e.or([e("state", "=", "live-inprogress"), e("recorded", "=", 1)]))
    .returningAll()
    .execute();
  for (const row of rows) tellPolicy(inputs, row);
}

function keyRecord(row: KeyRow): GateRecord {
  return { uid: `key:${row.kid}`, kind: "key", alg: row.alg, jwk: JSON.parse(row.jwk) as Jwk };
}

function revocationRecord(row: {
  readonly uid: string;
  readonly version: number | null;
  readonly until: string;
}): GateRecord {
  const until = Date.parse(row.until);
  return row.version === null
    ? { uid: row.uid, kind: "token", until }
    : { uid: row.uid, kind: "viewer", version: row.version, until };
}

function videoRecord(row: Selectable<VideoRow>): GateRecord {
  return {
    uid: `video:${row.uid}`,
    kind: "video",
    requireSignedURLs: row.require_signed_urls === null ? null : row.require_signed_urls === 1,
    allowedOrigins: row.allowed_origins === null ? null : (JSON.parse(row.allowed_origins) as string[]),
    ...(row.thumbnail_ppm !== null && { thumbnail: row.thumbnail_ppm / 1_000_000 }),
  };
}
