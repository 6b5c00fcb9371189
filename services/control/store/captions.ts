import { randomBytes } from "node:crypto";
import type { Kysely, Selectable } from "kysely";
import type { GateRecord } from "../../live/snapshot.ts";
import { cutWebvtt } from "../../packager/webvtt.ts";
import type { Inputs, Writer } from "./inputs.ts";
import { type CaptionRow, now, type Tables } from "./tables.ts";

export type Caption = Selectable<CaptionRow>;
type About = Omit<Caption, "webvtt">;

const about = ["id", "video", "language", "label", "created"] as const;

/** Which captions were uploaded for a video, by language. */
export function captionsOf(db: Kysely<Tables> | Writer, video: string): Promise<About[]> {
  return db.selectFrom("captions").select(about).where("video", "=", video).orderBy("language").execute();
}

/** One of them with its text, by its id or by video and language. */
export function captionOf(
  db: Kysely<Tables>,
  which: { readonly id: string } | { readonly video: string; readonly language: string },
): Promise<Caption | undefined> {
  const all = db.selectFrom("captions").selectAll();
  const one =
    "id" in which
      ? all.where("id", "=", which.id)
      : all.where("video", "=", which.video).where("language", "=", which.language);
  return one.executeTakeFirst();
}

/** Keeps captions of a video in place of those that it had in this language. The origins hear of them. */
export async function putCaption(
  inputs: Inputs,
  values: Pick<Caption, "video" | "language" | "label" | "webvtt">,
): Promise<Caption> {
  await remove(inputs, values.video, values.language);
  // Caches keep what an address once was, so other words have another one.
  const row: Caption = { id: randomBytes(6).toString("hex"), created: now(), ...values };
  await inputs.tx.insertInto("captions").values(row).execute();
  await tell(inputs, values.video);
  return row;
}

/** Gives a clip what is said in its stretch by the captions of the video that it was made of. */
export async function clipCaptions(
  inputs: Inputs,
  clip: {
    readonly from: string;
    readonly to: string;
    readonly startSeconds: number;
    readonly seconds: number;
  },
): Promise<void> {
  const { from, to, startSeconds, seconds } = clip;
  const rows = await inputs.tx.selectFrom("captions").selectAll().where("video", "=", from).execute();
  for (const { language, label, webvtt } of rows) {
    const cut = cutWebvtt(
      webvtt,
      Math.round(startSeconds * 1000),
      Math.round((startSeconds + seconds) * 1000),
    );
    if (cut) await putCaption(inputs, { video: to, language, label, webvtt: cut });
  }
}

/** Removes the captions of a video, or those in one language; false when there were none. */
export async function removeCaptions(inputs: Inputs, video: string, language?: string): Promise<boolean> {
  const removed = await remove(inputs, video, language);
  if (removed) await tell(inputs, video);
  return removed;
}

/** What the origins know of the captions of all videos. */
export async function captionRecords(tx: Writer): Promise<readonly GateRecord[]> {
  const rows = await tx.selectFrom("captions").select(about).orderBy("language").execute();
  const videos = Map.groupBy(rows, ({ video }) => video);
  return [...videos].map(([video, captions]) => recordOf(video, captions));
}

async function remove({ tx }: Inputs, video: string, language?: string): Promise<boolean> {
  let some = tx.deleteFrom("captions").where("video", "=", video);
  if (language !== undefined) some = some.where("language", "=", language);
  return (await some.executeTakeFirst()).numDeletedRows > 0n;
}

async function tell(inputs: Inputs, video: string): Promise<void> {
  const left = await captionsOf(inputs.tx, video);
  inputs.tell(`captions:${video}`, left.length > 0 ? recordOf(video, left) : undefined);
}

function recordOf(video: string, captions: readonly About[]): GateRecord {
  return {
    uid: `captions:${video}`,
    kind: "captions",
    captions: captions.map(({ id, language, label }) => ({ id, language, label })),
  };
}
