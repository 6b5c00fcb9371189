import { randomBytes } from "node:crypto";
import type { Selectable } from "kysely";
import type { SentFact, WrongMedia } from "../../live/events.ts";
import { type PublicUrls, viewVideo } from "../resources.ts";
import type { Inputs, Writer } from "./inputs.ts";
import { type EndpointRow, type NoticeRow, now } from "./tables.ts";

export type Endpoint = Selectable<EndpointRow>;
export type Notice = Selectable<NoticeRow>;

/** What happened, in the words of the API. `input` orders it: what happens to one input arrives in that order. */
export interface Happening {
  readonly type: string;
  readonly input: string;
  /** The body of the POST. */
  readonly body: Readonly<Record<string, unknown>>;
}

/** Puts what happened into the outbox of every endpoint, in the transaction of the change itself. */
async function emit({ tx }: Inputs, { type, input, body }: Happening): Promise<void> {
  const endpoints = await tx.selectFrom("webhook_endpoints").select("id").execute();
  if (endpoints.length === 0) return;
  const id = `msg_${randomBytes(12).toString("base64url")}`;
  const at = now();
  for (const endpoint of endpoints)
    await tx
      .insertInto("webhook_outbox")
      .values({
        seq: await nextSeq(tx),
        id,
        endpoint: endpoint.id,
        live_input: input,
        type,
        payload: JSON.stringify(body),
        state: "waiting",
        attempts: 0,
        next_at: at,
        created: at,
        finished: null,
        last_error: null,
      })
      .execute();
}

/** Tells the owner's endpoints what a role's fact means for a live input, if it means anything. To be called after it took effect. */
export async function emitFact(inputs: Inputs, fact: SentFact, urls: PublicUrls): Promise<void> {
  if (fact.type === "broadcast.ended" && fact.recorded) return emitReady(inputs, fact.video, urls);
  const all = await meaningsOf(inputs.tx, fact);
  if (all.length === 0) return;
  const at = new Date(fact.at).toISOString();
  const row = await inputs.tx
    .selectFrom("live_inputs")
    .select("name")
    .where("uid", "=", fact.uid)
    .executeTakeFirst();
  for (const said of all)
    await emit(inputs, {
      type: said.type,
      input: fact.uid,
      // The body of Cloudflare's notifications about live inputs.
      body: {
        name: row?.name || "Live input",
        text: said.text,
        data: {
          notification_name: "Stream Live Input",
          input_id: fact.uid,
          event_type: said.type,
          updated_at: at,
          ...(said.error && {
            [said.output ? "output_errored" : "live_input_errored"]: { error: said.error },
          }),
          ...(said.output && { output_id: said.output }),
        },
        ts: Math.floor(fact.at / 1000),
      },
    });
}

/** A recording can be watched: the body is the video, as Cloudflare sends it. */
export async function emitReady(inputs: Inputs, uid: string, urls: PublicUrls): Promise<void> {
  const video = await inputs.tx.selectFrom("videos").selectAll().where("uid", "=", uid).executeTakeFirst();
  if (!video) return;
  const input = video.live_input;
  await emit(inputs, { type: "video.ready", input, body: viewVideo(video, await inputs.find(input), urls) });
}

interface Meaning {
  readonly type: `live_input.${"" | "output."}${"connected" | "disconnected" | "errored"}`;
  readonly text: string;
  readonly output?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

/** In the order in which they are told. */
async function meaningsOf(tx: Writer, fact: SentFact): Promise<readonly Meaning[]> {
  switch (fact.type) {
    case "publish.started":
      return [{ type: "live_input.connected", text: "An encoder is connected." }];
    case "publish.ended": {
      // Not for a publish that another one replaced: the input stays connected.
      const status = await tx
        .selectFrom("input_status")
        .select(["publish", "state"])
        .where("live_input", "=", fact.uid)
        .executeTakeFirst();
      if (fact.reason === "replaced" || status?.publish !== fact.publish) return [];
      return [
        ...(fact.wrong ? [errored(mediaErrors[fact.wrong.code], fact.wrong.advice)] : []),
        { type: "live_input.disconnected", text: "The encoder is disconnected." },
      ];
    }
    case "gop.long":
      return [errored("ERR_GOP_OUT_OF_RANGE", fact.advice)];
    case "recording.paused":
      return [
        errored(full.test(fact.why) ? "ERR_STORAGE_QUOTA_EXHAUSTED" : "ERR_RECORDING_PAUSED", fact.advice),
      ];
    case "ladder.degraded":
    case "ladder.failed":
      return [errored("ERR_CAPACITY", fact.advice)];
    case "output.changed":
      return outputMeanings(fact);
    default:
      return [];
  }
}

/** What of an encoder's media was wrong, in Cloudflare's words where it has one. */
const mediaErrors: Readonly<Record<WrongMedia["code"], string>> = {
  unsupported_video_codec: "ERR_UNSUPPORTED_VIDEO_CODEC",
  unsupported_audio_codec: "ERR_UNSUPPORTED_AUDIO_CODEC",
  bad_config: "ERR_BAD_MEDIA",
  bad_flv: "ERR_BAD_MEDIA",
  too_large: "ERR_BAD_MEDIA",
};
/** A disk without room; others are broken or read-only. */
const full = /ENOSPC|EDQUOT|almost full/;

/** Of an output its owner hears three things: it sends, it has stopped, something is wrong. */
function outputMeanings({
  output,
  state,
  reason,
  error,
}: Extract<SentFact, { type: "output.changed" }>): readonly Meaning[] {
  if (error !== undefined)
    return [
      {
        type: "live_input.output.errored",
        text: error,
        output,
        error: { code: `ERR_OUTPUT_${reason.toUpperCase()}`, message: error },
      },
    ];
  if (state === "connected")
    return [{ type: "live_input.output.connected", text: "An output is connected.", output }];
  if (state === "disconnected")
    return [{ type: "live_input.output.disconnected", text: "An output is disconnected.", output }];
  return [];
}

function errored(code: string, message: string): Meaning {
  return { type: "live_input.errored", text: message, error: { code, message } };
}

async function nextSeq(tx: Writer): Promise<number> {
  const { value } = await tx
    .updateTable("counters")
    .set((e) => ({ value: e("value", "+", 1) }))
    .where("name", "=", "outbox")
    .returning("value")
    .executeTakeFirstOrThrow();
  return Number(value);
}

/** Makes an endpoint, or gives the one of this id another address; its secret stays. */
export async function putEndpoint(
  { tx }: Inputs,
  endpoint: { readonly id: string; readonly url: string; readonly sealedSecret: string },
): Promise<Endpoint> {
  const at = now();
  return tx
    .insertInto("webhook_endpoints")
    .values({
      id: endpoint.id,
      url: endpoint.url,
      secret: endpoint.sealedSecret,
      created: at,
      modified: at,
    })
    .onConflict((c) => c.column("id").doUpdateSet({ url: endpoint.url, modified: at }))
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** An endpoint goes with everything that it was still to hear; false when there is none. */
export async function removeEndpoint({ tx }: Inputs, id: string): Promise<boolean> {
  await tx.deleteFrom("webhook_outbox").where("endpoint", "=", id).execute();
  const { numDeletedRows } = await tx.deleteFrom("webhook_endpoints").where("id", "=", id).executeTakeFirst();
  return numDeletedRows > 0n;
}

/** Sends again, as if for the first time, in the order of the first: those that were given up, or all since a moment. */
export async function replay({ tx }: Inputs, endpoint: string, since: string | undefined): Promise<number> {
  let some = tx
    .updateTable("webhook_outbox")
    .set({ state: "waiting", attempts: 0, next_at: now(), finished: null })
    .where("endpoint", "=", endpoint);
  some = since === undefined ? some.where("state", "=", "dead") : some.where("created", ">=", since);
  const { numUpdatedRows } = await some.executeTakeFirst();
  return Number(numUpdatedRows);
}

/** How an attempt went: delivered, to be tried again at `nextAt`, or given up. */
export type Outcome =
  | { readonly state: "delivered" }
  | { readonly state: "waiting" | "dead"; readonly error: string; readonly nextAt: string };

/** Writes down how an attempt went. */
export async function settle({ tx }: Inputs, seq: number, outcome: Outcome): Promise<void> {
  const done = outcome.state !== "waiting";
  await tx
    .updateTable("webhook_outbox")
    .set((e) => ({
      state: outcome.state,
      attempts: e("attempts", "+", 1),
      finished: done ? now() : null,
      ...("error" in outcome
        ? { last_error: outcome.error.slice(0, 500), next_at: outcome.nextAt }
        : { last_error: null }),
    }))
    .where("seq", "=", seq)
    .execute();
}

/** What was delivered or given up this long ago is not shown any more. */
export async function forgetNotices({ tx }: Inputs, olderThanDays: number): Promise<void> {
  const before = new Date(Date.now() - olderThanDays * 86_400_000).toISOString();
  await tx.deleteFrom("webhook_outbox").where("finished", "<", before).execute();
}
