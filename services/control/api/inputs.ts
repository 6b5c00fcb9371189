import { z } from "../../lib/schema.ts";
import type { LadderName } from "../../live/ladder.ts";
import { newUid } from "../keys.ts";
import {
  type InputBody,
  inputBody,
  inputSummary,
  inputView,
  merged,
  newInput,
  summarize,
  viewInput,
} from "../resources.ts";
import { keepPolicies } from "../store/grants.ts";
import type { LiveInput } from "../store/inputs.ts";
import { behindNotes, type Call, call, codes, type Deps, type Note, notFound } from "./call.ts";
import { listQuery, yes } from "./queries.ts";
import { repeatHours } from "./repeats.ts";

const base = "/client/v4/accounts/:account/stream/live_inputs";
const account = z.string().min(1).max(64);
export const inAccount = z.object({ account });
/** An input's or a video's uid in a path. */
export const onOne = z.object({ account, uid: z.string().max(64) });
/** No parameters. */
export const nothing = z.object({});

/** The calls about live inputs, in Cloudflare Stream's shapes. */
export function inputCalls({ records, keys, urls, defaults, settled }: Deps): readonly Call[] {
  const context = () => ({ keys, urls, timeoutSeconds: defaults.timeoutSeconds });
  const view = async (input: LiveInput) => viewInput(input, await records.status(input.uid), context());
  const answer = async (input: LiveInput, version: number, body: InputBody = {}) => ({
    status: 200 as const,
    result: await view(input),
    notes: [...noEffectNotes(body, defaults.ladder), ...behindNotes(await settled(version))],
  });

  return [
    call({
      method: "POST",
      path: base,
      summary: "Create a live input",
      detail:
        "Answers once the ingest servers let an encoder in with the new key. The same Idempotency-Key within six hours gives the same live input again.",
      scope: "stream:write",
      params: inAccount,
      query: nothing,
      body: inputBody,
      // A live input that was changed since is answered as it is now, so its answer is not what is kept.
      idempotent: "itself",
      result: inputView,
      example: { meta: { name: "Main stage" } },
      async handle({ params, body, idempotencyKey, actor }) {
        const { result: made, version } = await records.write(async (tx) => {
          if (idempotencyKey !== undefined) {
            const since = new Date(Date.now() - repeatHours * 3_600_000).toISOString();
            const before = await tx.made(params.account, idempotencyKey, since);
            if (before) return before;
          }
          const input = await tx.create(newUid(), newInput(body));
          if (idempotencyKey !== undefined) await tx.remember(params.account, idempotencyKey, input.uid);
          await tx.audit(actor, "live_input.create", input.uid);
          return input;
        });
        if (made === "deleted")
          return {
            status: 409,
            errors: [
              {
                code: codes.conflict,
                message: "The live input that this Idempotency-Key made is deleted; use a new key.",
              },
            ],
          };
        return answer(made, version, body);
      },
    }),
    call({
      method: "GET",
      path: base,
      summary: "List live inputs",
      detail:
        "Newest first, without their keys. A page is what was made `before` the last one of the page before; none of the filters is Cloudflare's own.",
      scope: "stream:read",
      params: inAccount,
      query: listQuery.extend({
        enabled: yes.describe("Only those that let encoders in, or only the others."),
        search: z.string().max(500).optional().describe("Part of the name or the uid."),
      }),
      result: z.object({
        liveInputs: z.array(inputSummary),
        range: z.number().optional(),
        total: z.number().optional(),
      }),
      async handle({ query }) {
        const filter = {
          creator: query.creator,
          search: query.search,
          enabled: query.enabled && query.enabled === "true",
          after: query.after ?? query.start,
          before: query.before ?? query.end,
        };
        const page = { limit: query.limit, oldestFirst: query.asc === "true" };
        const liveInputs = (await records.inputs({ ...filter, ...page })).map(summarize);
        if (query.include_counts !== "true") return { status: 200, result: { liveInputs } };
        const total = await records.inputCount(filter);
        return { status: 200, result: { liveInputs, range: liveInputs.length, total } };
      },
    }),
    call({
      method: "GET",
      path: `${base}/:uid`,
      summary: "Get a live input with its keys",
      scope: "stream:read",
      params: onOne,
      query: nothing,
      result: inputView,
      async handle({ params }) {
        const input = await records.input(params.uid);
        return input ? { status: 200, result: await view(input) } : notFound;
      },
    }),
    call({
      method: "PUT",
      path: `${base}/:uid`,
      summary: "Update a live input",
      detail: "Changes only the fields that are given. `enabled: false` ends the publish that is under way.",
      scope: "stream:write",
      params: onOne,
      query: nothing,
      body: inputBody,
      result: inputView,
      example: { enabled: false },
      async handle({ params, body, actor }) {
        const { result: input, version } = await records.write(async (tx) => {
          const updated = await tx.update(params.uid, (present) => merged(present, body));
          if (updated) await tx.audit(actor, "live_input.update", params.uid);
          return updated;
        });
        return input ? answer(input, version, body) : notFound;
      },
    }),
    call({
      method: "POST",
      path: `${base}/:uid/rotate_keys`,
      summary: "Make a new stream key",
      detail: "The old key is wrong at once, and whoever publishes with it is disconnected.",
      scope: "stream:write",
      params: onOne,
      query: nothing,
      result: inputView,
      async handle({ params, actor }) {
        const { result: input, version } = await records.write(async (tx) => {
          const rotated = await tx.rotate(params.uid);
          if (rotated) await tx.audit(actor, "live_input.rotate_keys", params.uid);
          return rotated;
        });
        return input ? answer(input, version) : notFound;
      },
    }),
    call({
      method: "DELETE",
      path: `${base}/:uid`,
      summary: "Delete a live input",
      detail:
        "Ends the publish that is under way. Answers 204 without a body; the header `x-sluice-behind` names a role that has not confirmed it yet.",
      scope: "stream:write",
      params: onOne,
      query: nothing,
      async handle({ params, actor }) {
        const { result: existed, version } = await records.write(async (tx) => {
          const input = await tx.find(params.uid);
          if (input) await keepPolicies(tx, input.uid, input.recording);
          const removed = await tx.remove(params.uid);
          if (removed) await tx.audit(actor, "live_input.delete", params.uid);
          return removed;
        });
        return existed ? { status: 204, behind: await settled(version) } : notFound;
      },
    }),
  ];
}

function noEffectNotes({ ladder }: InputBody, usual: LadderName): Note[] {
  const messages: string[] = [];
  if (ladder && ladder !== "none" && usual === "none")
    messages.push(
      "Nothing is encoded here: the server's own setting `ladder` is none, or it lacks ffmpeg or Redis. The ladder of this input is kept for when that changes.",
    );
  return messages.map((message) => ({ code: codes.noEffect, message }));
}
