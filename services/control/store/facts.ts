import type { SentFact } from "../../live/events.ts";
import type { PublicUrls } from "../resources.ts";
import type { Inputs, Writer } from "./inputs.ts";
import { emitFact } from "./outbox.ts";
import { applyOutput } from "./outputs.ts";
import { now } from "./tables.ts";

/** Who tells, and the addresses that the owner is told of. */
export interface Teller {
  readonly node: string;
  readonly urls?: PublicUrls | undefined;
}

/** Lets each event take effect unless it did before, in the order given. Returns those that were new. */
export async function applyFacts(
  inputs: Inputs,
  { node, urls = {} }: Teller,
  events: readonly SentFact[],
): Promise<readonly SentFact[]> {
  const { tx } = inputs;
  const fresh: SentFact[] = [];
  for (const event of events) {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto("events_seen")
      .values({ node, id: event.id, received: now() })
      .onConflict((c) => c.doNothing())
      .executeTakeFirst();
    if (!numInsertedOrUpdatedRows) continue;
    const news = event.type === "output.changed" ? await applyOutput(tx, event) : true;
    await applyFact(tx, event);
    if (news) await emitFact(inputs, event, urls);
    fresh.push(event);
  }
  return fresh;
}

/** An event comes again within seconds or after its role was away; past this age nobody sends it any more. */
export async function forgetEvents({ tx }: Inputs, olderThanDays: number): Promise<void> {
  const before = new Date(Date.now() - olderThanDays * 86_400_000).toISOString();
  await tx.deleteFrom("events_seen").where("received", "<", before).execute();
}

async function applyFact(tx: Writer, event: SentFact): Promise<void> {
  const at = new Date(event.at).toISOString();
  switch (event.type) {
    case "publish.started": {
      const before = await statusOf(tx, event.uid);
      const status = {
        state: "connected",
        reason: before?.reason === "reconnecting" ? "reconnected" : "connected",
        publish: event.publish,
        entered: at,
        seen: at,
        advice: null,
      };
      await tx
        .insertInto("input_status")
        .values({ live_input: event.uid, ...status })
        .onConflict((c) => c.column("live_input").doUpdateSet(status))
        .execute();
      return;
    }
    case "publish.ended":
      // The end of a publish that another one has replaced says nothing about the input.
      await tx
        .updateTable("input_status")
        .set({ state: "disconnected", reason: endings[event.reason], entered: at, seen: at })
        .$if(event.wrong !== undefined, (update) => update.set({ advice: event.wrong!.advice }))
        .where("live_input", "=", event.uid)
        .where("publish", "=", event.publish)
        .execute();
      return;
    case "broadcast.started":
      // An origin that was killed could not say that its last broadcast ended.
      await tx
        .updateTable("videos")
        .set({ state: "ready", ended: at, modified: at })
        .where("live_input", "=", event.uid)
        .where("uid", "!=", event.video)
        .where("ended", "is", null)
        .execute();
      await tx
        .insertInto("videos")
        .values({
          uid: event.video,
          live_input: event.uid,
          state: "live-inprogress",
          recorded: 0,
          seconds: null,
          bytes: null,
          started: at,
          ended: null,
          modified: at,
          require_signed_urls: null,
          allowed_origins: null,
          meta: null,
          creator: null,
          scheduled_deletion: null,
          thumbnail_ppm: null,
          public_details: null,
          clipped_from: null,
        })
        .onConflict((c) => c.doNothing())
        .execute();
      return;
    case "broadcast.ended": {
      const { recorded } = event;
      await tx
        .updateTable("videos")
        .set({ state: "ready", ended: at, modified: at })
        .where("uid", "=", event.video)
        .where("ended", "is", null)
        .execute();
      if (recorded)
        await tx
          .updateTable("videos")
          .set({ recorded: 1, seconds: recorded.seconds, bytes: recorded.bytes })
          .where("uid", "=", event.video)
          .execute();
      // Unless somebody has set another day while it was on air.
      if (recorded)
        await tx
          .updateTable("videos")
          .set({ scheduled_deletion: await deletionOf(tx, event.uid, event.at) })
          .where("uid", "=", event.video)
          .where("scheduled_deletion", "is", null)
          .execute();
      const status = await statusOf(tx, event.uid);
      // Also for an ingest that was killed and never said that its publish ended.
      const waited = status?.reason === "reconnecting" || status?.state === "connected";
      if (!waited || status.entered > at) return;
      await tx
        .updateTable("input_status")
        .set({ state: "disconnected", reason: "ttl_exceeded", entered: at, seen: at })
        .where("live_input", "=", event.uid)
        .execute();
      return;
    }
    case "recording.settled":
      await tx
        .updateTable("videos")
        .set({ recorded: 1, seconds: event.seconds, bytes: event.bytes })
        .where("uid", "=", event.video)
        .execute();
      return;
    case "recording.mended":
      await tx
        .updateTable("videos")
        .set({ seconds: event.seconds, bytes: event.bytes })
        .where("uid", "=", event.video)
        .execute();
      await tx.deleteFrom("video_gaps").where("video", "=", event.video).execute();
      return;
    case "recording.gap":
      // Told again after a restart, perhaps longer than before.
      await tx
        .insertInto("video_gaps")
        .values({
          video: event.video,
          rendition: event.rendition,
          first: event.from,
          last: event.to,
          at_seconds: event.atSeconds,
          seconds: event.seconds,
          told: at,
        })
        .onConflict((c) =>
          c.columns(["video", "rendition", "first"]).doUpdateSet({ last: event.to, seconds: event.seconds }),
        )
        .execute();
      return;
    case "recording.resumed":
    case "ladder.resumed":
      await tx
        .updateTable("input_status")
        .set({ advice: null, seen: at })
        .where("live_input", "=", event.uid)
        .where("advice", "=", event.advice)
        .execute();
      return;
    case "recording.paused":
    case "gop.long":
    case "ladder.degraded":
    case "ladder.failed":
      await tx
        .updateTable("input_status")
        .set({ advice: event.advice, seen: at })
        .where("live_input", "=", event.uid)
        .execute();
  }
}

/** When a recording of this live input that ended `atMs` is to go; null when it stays. */
async function deletionOf(tx: Writer, uid: string, atMs: number): Promise<string | null> {
  const input = await tx
    .selectFrom("live_inputs")
    .select("delete_recording_after_days")
    .where("uid", "=", uid)
    .executeTakeFirst();
  const days = input?.delete_recording_after_days ?? null;
  return days === null ? null : new Date(atMs + days * 86_400_000).toISOString();
}

/** In the words of Cloudflare's enum. */
const endings = {
  clean: "client_disconnect",
  lost: "reconnecting",
  replaced: "new_configuration_accepted",
  refused: "failed_to_connect",
} as const;

function statusOf(tx: Writer, uid: string) {
  return tx.selectFrom("input_status").selectAll().where("live_input", "=", uid).executeTakeFirst();
}
