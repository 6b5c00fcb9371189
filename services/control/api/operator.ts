import { randomBytes } from "node:crypto";
import { Failure } from "../../lib/errors.ts";
import { z } from "../../lib/schema.ts";
import { sha256Hex } from "../keys.ts";
import { type Call, call, codes, type Deps, notFound, type Refusal, scopes } from "./call.ts";
import { nothing } from "./inputs.ts";

const tokenName = z
  .string({ error: "must be text" })
  .regex(/^[\w.-]{1,64}$/, { error: "must be 1 to 64 letters, digits, dots, dashes or underscores" });
/** An API token as the API shows it. */
export const tokenView = z.object({ name: z.string(), scopes: z.array(z.string()), created: z.string() });
export const auditView = z.object({
  at: z.string(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
});
/** What is on air, as it is this second. */
export const healthView = z.object({
  kbps: z.number(),
  fps: z.number(),
  gopSeconds: z.number().describe("Between the last two keyframes."),
  uploadRatio: z
    .number()
    .describe("Seconds of media that came in the last second: below 1 the encoder's upload is too slow."),
  lagSeconds: z.number().describe("How far the upload has fallen behind since the publish began."),
  droppedFrames: z.number().describe("Frames that the encoder left out in this broadcast."),
  viewers: z.number(),
  viewersBy: z.object({ hls: z.number(), dash: z.number(), moq: z.number() }),
  seconds: z.number().describe("How long it is on air."),
  state: z.string(),
  advice: z.string().optional().describe("What to change in the encoder."),
});
/** How a live input did, step by step. */
export const historyView = z.object({
  stepSeconds: z.number(),
  next: z.number().describe("`since` of the next call."),
  points: z.array(
    z.object({
      at: z.number().describe("End of the step, epoch ms."),
      kbps: z.number(),
      fps: z.number(),
      gopSeconds: z.number(),
      droppedFrames: z.number().describe("Frames that the encoder left out in this step."),
      uploadRatio: z.number().describe("Seconds of media that came per second."),
      lagSeconds: z.number(),
      viewers: z.number(),
      connected: z.boolean().describe("False where the encoder was away for any of it."),
    }),
  ),
});
const limit = z.coerce.number().pipe(z.int().min(1).max(1_000)).default(100);
const moment = z.coerce.number().pipe(z.int({ error: "must be epoch milliseconds" }).min(0).max(8.64e15));
const onInput = z.object({ uid: z.string().max(64) });
const away: Refusal = {
  status: 503,
  errors: [{ code: codes.unavailable, message: "The origin does not answer; try again in a moment." }],
};

/** What Cloudflare's API has no word for: API tokens, the audit log, and what is on air now. */
export function operatorCalls({ records, askOrigin }: Deps): readonly Call[] {
  return [
    call({
      method: "POST",
      path: "/v1/tokens",
      summary: "Make an API token",
      detail: "Shown once; only its hash is kept.",
      scope: "admin",
      params: nothing,
      query: nothing,
      body: z.strictObject({
        name: tokenName,
        scopes: z.array(z.enum(scopes, { error: `must be one of ${scopes.join(", ")}` })).min(1),
      }),
      idempotent: "answer",
      result: tokenView.extend({ token: z.string() }),
      async handle({ body, actor, keep }) {
        const token = randomBytes(32).toString("base64url");
        const { result } = await records.write(async (tx) => {
          if (await tx.hasToken(body.name)) return undefined;
          await tx.audit(actor, "token.create", body.name);
          const made = { ...(await tx.setToken(body.name, sha256Hex(token), body.scopes)), token };
          await keep(tx, made);
          return made;
        });
        return result ? { status: 200, result } : taken;
      },
    }),
    call({
      method: "GET",
      path: "/v1/tokens",
      summary: "List API tokens",
      scope: "admin",
      params: nothing,
      query: nothing,
      result: z.array(tokenView),
      handle: async () => ({ status: 200, result: [...(await records.tokens())] }),
    }),
    call({
      method: "DELETE",
      path: "/v1/tokens/:name",
      summary: "Revoke an API token",
      detail: "The administrator's own is revoked by removing its file and starting again.",
      scope: "admin",
      params: z.object({ name: z.string().max(64) }),
      query: nothing,
      async handle({ params, actor }) {
        if (params.name === "admin") return ownToken;
        const { result: existed } = await records.write(async (tx) => {
          const removed = await tx.removeToken(params.name);
          if (removed) await tx.audit(actor, "token.delete", params.name);
          return removed;
        });
        return existed ? { status: 204, behind: [] } : notFound;
      },
    }),
    call({
      method: "GET",
      path: "/v1/audit",
      summary: "Read the audit log",
      detail: "Who changed what, the newest first.",
      scope: "admin",
      params: nothing,
      query: z.object({ limit }),
      result: z.array(auditView),
      handle: async ({ query }) => ({ status: 200, result: [...(await records.auditLog(query.limit))] }),
    }),
    call({
      method: "GET",
      path: "/v1/live_inputs/:uid/health",
      summary: "See how a live input is doing",
      detail: "null while it is not on air.",
      scope: "stream:read",
      params: onInput,
      query: nothing,
      result: healthView.nullable(),
      async handle({ params }) {
        if (!(await records.input(params.uid))) return notFound;
        const asked = await reached(() => askOrigin("/internal/status"));
        if (asked?.status !== 200) return away;
        const live = asked.json as readonly { readonly uid: string }[];
        const one = live.find(({ uid }) => uid === params.uid);
        return { status: 200, result: one ? (one as never) : null };
      },
    }),
    call({
      method: "GET",
      path: "/v1/live_inputs/:uid/health/history",
      summary: "See how a live input did",
      detail:
        "A point for each step that it was on air: of a second for ten minutes, of ten seconds for a day. To follow it, pass `next` as `since` once a second.",
      scope: "stream:read",
      params: onInput,
      query: z.object({
        step: z.enum(["1", "10", "60"], { error: "must be 1, 10 or 60" }).default("10").describe("Seconds."),
        since: moment.optional().describe("Only later points, epoch ms."),
        until: moment.optional().describe("No later points, epoch ms."),
      }),
      result: historyView,
      async handle({ params, query }) {
        if (!(await records.input(params.uid))) return notFound;
        const { step, since, until } = query;
        const asked = new URLSearchParams({ step, since: String(since ?? 0) });
        if (until !== undefined) asked.set("until", String(until));
        const said = await reached(() => askOrigin(`/internal/health/${params.uid}?${asked}`));
        if (said?.status !== 200) return away;
        const points = said.json as { readonly at: number }[];
        const result = { stepSeconds: Number(step), next: points.at(-1)?.at ?? since ?? 0, points };
        return { status: 200, result: result as never };
      },
    }),
    call({
      method: "POST",
      path: "/v1/live_inputs/:uid/complete",
      summary: "End a broadcast now",
      detail:
        "Players are told that it is over, without the wait for an encoder that may come back; the encoder is disconnected. The next publish is another broadcast.",
      scope: "stream:write",
      params: onInput,
      query: nothing,
      async handle({ params, actor }) {
        if (!(await records.input(params.uid))) return notFound;
        const asked = await reached(() => askOrigin(`/internal/complete/${params.uid}`, {}));
        if (asked === undefined) return away;
        if (asked.status === 404) return idle;
        if (asked.status !== 204) return away;
        await records.write((tx) => tx.audit(actor, "live_input.complete", params.uid));
        return { status: 204, behind: [] };
      },
    }),
  ];
}

const taken: Refusal = {
  status: 409,
  errors: [{ code: codes.conflict, message: "There is a token of this name; delete it first." }],
};
const ownToken: Refusal = {
  status: 409,
  errors: [
    {
      code: codes.conflict,
      message: "This is the administrator's own token: remove the file admin-token and start again.",
    },
  ],
};
const idle: Refusal = {
  status: 409,
  errors: [{ code: codes.conflict, message: "This live input is not on air." }],
};

/** undefined when the other role does not answer. */
async function reached<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Failure && error.code === "unavailable") return undefined;
    throw error;
  }
}
