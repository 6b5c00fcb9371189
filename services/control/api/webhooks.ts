import { randomBytes } from "node:crypto";
import { z } from "../../lib/schema.ts";
import { newUid } from "../keys.ts";
import type { Inputs } from "../store/inputs.ts";
import { type Endpoint, putEndpoint, removeEndpoint, replay } from "../store/outbox.ts";
import { type Call, call, type Deps, notFound } from "./call.ts";
import { inAccount, nothing } from "./inputs.ts";

const base = "/client/v4/accounts/:account/stream/webhook";
/** The one endpoint that Cloudflare's API knows. */
const account = "account";
const webhookUrl = z
  .string({ error: "must be a URL" })
  .max(2_000)
  .refine(
    (text) => {
      const url = URL.canParse(text) ? new URL(text) : undefined;
      return url !== undefined && /^https?:$/.test(url.protocol) && url.username + url.password === "";
    },
    { error: "must be a URL that begins with https:// or http://, without a user name" },
  );
const accountView = z.object({ notificationUrl: z.string(), modified: z.string(), secret: z.string() });
/** A webhook without its secret. */
export const endpointView = z.object({
  id: z.string(),
  url: z.string(),
  created: z.string(),
  modified: z.string(),
});
/** One event on its way to a webhook. */
export const noticeView = z.object({
  id: z.string(),
  type: z.string(),
  liveInput: z.string(),
  state: z.enum(["waiting", "delivered", "dead"]),
  attempts: z.number(),
  created: z.string(),
  finished: z.string().nullable(),
  nextAttempt: z.string().nullable(),
  lastError: z.string().nullable(),
  body: z.unknown(),
});
const onEndpoint = z.object({ id: z.string().max(64) });

/** The calls about webhooks: the one of Cloudflare's API, and as many as are wanted under /v1. */
export function webhookCalls({ records, keys, replayed }: Deps): readonly Call[] {
  const accountShown = (row: Endpoint) => ({
    notificationUrl: row.url,
    modified: row.modified,
    secret: keys.unseal(row.secret),
  });
  const shown = ({ id, url, created, modified }: Endpoint) => ({ id, url, created, modified });
  const put = async (
    { id, url, actor }: { readonly id: string; readonly url: string; readonly actor: string },
    keep: (tx: Inputs, row: Endpoint) => Promise<void> = async () => undefined,
  ) => {
    const sealedSecret = keys.seal(`whsec_${randomBytes(32).toString("base64")}`);
    const { result } = await records.write(async (tx) => {
      await tx.audit(actor, "webhook.put", id);
      const row = await putEndpoint(tx, { id, url, sealedSecret });
      await keep(tx, row);
      return row;
    });
    return result;
  };
  const shownOnce = (row: Endpoint) => ({ ...shown(row), secret: keys.unseal(row.secret) });
  const remove = async (id: string, actor: string) => {
    const { result } = await records.write(async (tx) => {
      const removed = await removeEndpoint(tx, id);
      if (removed) await tx.audit(actor, "webhook.delete", id);
      return removed;
    });
    return result;
  };

  return [
    call({
      method: "PUT",
      path: base,
      summary: "Set the webhook",
      detail:
        "Gets every event about live inputs and videos, each until it is answered with 2xx or a day is over, those of one input in order. Carries the signatures of Cloudflare and of Standard Webhooks, both with this secret. `live_input.errored` has a code: `ERR_GOP_OUT_OF_RANGE`, `ERR_UNSUPPORTED_VIDEO_CODEC`, `ERR_UNSUPPORTED_AUDIO_CODEC`, `ERR_BAD_MEDIA` (the encoder), `ERR_CAPACITY` (renditions), `ERR_STORAGE_QUOTA_EXHAUSTED` or `ERR_RECORDING_PAUSED` (the disk).",
      scope: "stream:write",
      params: inAccount,
      query: nothing,
      body: z
        .object({ notificationUrl: webhookUrl, notification_url: webhookUrl })
        .partial()
        .refine((body) => body.notificationUrl ?? body.notification_url, {
          error: "must be a URL",
          path: ["notificationUrl"],
        }),
      result: accountView,
      example: { notificationUrl: "https://example.com/hook" },
      async handle({ body, actor }) {
        const url = (body.notificationUrl ?? body.notification_url)!;
        return { status: 200, result: accountShown(await put({ id: account, url, actor })) };
      },
    }),
    call({
      method: "GET",
      path: base,
      summary: "Get the webhook with its secret",
      scope: "stream:write",
      params: inAccount,
      query: nothing,
      result: accountView,
      async handle() {
        const row = await records.endpoint(account);
        return row ? { status: 200, result: accountShown(row) } : notFound;
      },
    }),
    call({
      method: "DELETE",
      path: base,
      summary: "Remove the webhook",
      detail: "What was not delivered yet is forgotten.",
      scope: "stream:write",
      params: inAccount,
      query: nothing,
      result: z.string(),
      async handle({ actor }) {
        return (await remove(account, actor)) ? { status: 200, result: "" } : notFound;
      },
    }),
    call({
      method: "POST",
      path: "/v1/webhooks",
      summary: "Add a webhook",
      detail: "Beside the others; the secret is shown once.",
      scope: "stream:write",
      params: nothing,
      query: nothing,
      body: z.strictObject({ url: webhookUrl }),
      idempotent: "answer",
      result: endpointView.extend({ secret: z.string() }),
      async handle({ body, actor, keep }) {
        const asked = { id: newUid(), url: body.url, actor };
        const row = await put(asked, (tx, made) => keep(tx, shownOnce(made)));
        return { status: 200, result: shownOnce(row) };
      },
    }),
    call({
      method: "GET",
      path: "/v1/webhooks",
      summary: "List webhooks",
      scope: "stream:read",
      params: nothing,
      query: nothing,
      result: z.array(endpointView),
      handle: async () => ({ status: 200, result: (await records.endpoints()).map(shown) }),
    }),
    call({
      method: "DELETE",
      path: "/v1/webhooks/:id",
      summary: "Remove one of the webhooks",
      detail: "What was not delivered yet is forgotten.",
      scope: "stream:write",
      params: onEndpoint,
      query: nothing,
      async handle({ params, actor }) {
        return (await remove(params.id, actor)) ? { status: 204, behind: [] } : notFound;
      },
    }),
    call({
      method: "GET",
      path: "/v1/webhooks/:id/deliveries",
      summary: "See what a webhook got",
      detail: "The newest first, with the last error; kept for a week after they were delivered or given up.",
      scope: "stream:read",
      params: onEndpoint,
      query: z.object({ limit: z.coerce.number().pipe(z.int().min(1).max(500)).default(100) }),
      result: z.array(noticeView),
      async handle({ params, query }) {
        if (!(await records.endpoint(params.id))) return notFound;
        const rows = await records.notices(params.id, query.limit);
        const result = rows.map((row) => ({
          id: row.id,
          type: row.type,
          liveInput: row.live_input,
          state: row.state as "waiting",
          attempts: row.attempts,
          created: row.created,
          finished: row.finished,
          nextAttempt: row.state === "waiting" ? row.next_at : null,
          lastError: row.last_error,
          body: JSON.parse(row.payload) as unknown,
        }));
        return { status: 200, result };
      },
    }),
    call({
      method: "POST",
      path: "/v1/webhooks/:id/replay",
      summary: "Send again",
      detail:
        "What was given up, or with `since` everything from that moment on, in the order in which it happened.",
      scope: "stream:write",
      params: onEndpoint,
      query: nothing,
      body: z.strictObject({
        since: z.iso.datetime({ error: "must be a moment like 2026-01-31T12:00:00.000Z" }).optional(),
      }),
      idempotent: "answer",
      result: z.object({ count: z.number() }),
      async handle({ params, body, actor, keep }) {
        if (!(await records.endpoint(params.id))) return notFound;
        const since = body.since && new Date(body.since).toISOString();
        const { result } = await records.write(async (tx) => {
          await tx.audit(actor, "webhook.replay", params.id);
          const done = { count: await replay(tx, params.id, since) };
          await keep(tx, done);
          return done;
        });
        replayed();
        return { status: 200, result };
      },
    }),
  ];
}
