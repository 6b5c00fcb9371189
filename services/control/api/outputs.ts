import { z } from "../../lib/schema.ts";
import { outputReasons, outputStates, outputUrlRule, readOutputUrl } from "../../live/output.ts";
import { newUid } from "../keys.ts";
import {
  addOutput,
  maxOutputs,
  type Output,
  type OutputStatus,
  removeOutputs,
  switchOutput,
} from "../store/outputs.ts";
import { behindNotes, type Call, call, codes, type Deps, notFound } from "./call.ts";
import { nothing, onOne } from "./inputs.ts";

const base = "/client/v4/accounts/:account/stream/live_inputs/:uid/outputs";
const onOutput = onOne.extend({ output: z.string().max(64) });
const enabled = z
  .boolean({ error: "must be true or false" })
  .describe("false disconnects it, and keeps it for later.");
const keyRule = "must be the stream key, 1 to 1000 characters without blanks";
const newOutput = z.object({
  url: z
    .string({ error: outputUrlRule })
    .max(2_000, { error: outputUrlRule })
    .refine((text) => readOutputUrl(text) !== undefined, { error: outputUrlRule })
    .describe(
      "The server URL that the service gives to encoders: rtmp:// or rtmps://. Or a relay of Media over QUIC: https:// for WebTransport, moqt:// for QUIC alone; `{key}` in it stands for the stream key, which else is the token of the session, and `#msf:live-stage` at its end for the namespace live/stage, which else is the live input's uid.",
    ),
  streamKey: z.string({ error: keyRule }).regex(/^\S{1,1000}$/, { error: keyRule }),
  enabled: enabled.default(true),
});

const moment = z.string().describe("RFC 3339, UTC.");
const stateView = z.object({
  state: z.enum(outputStates),
  reason: z.enum(outputReasons),
  statusEnteredAt: moment,
  statusLastSeen: moment,
  error: z.string().optional().describe("What is wrong, and what to change."),
});

/** An output as the API shows it. */
export const outputView = z.object({
  uid: z.string(),
  url: z.string(),
  streamKey: z.string().describe("Secret: whoever has it may publish there."),
  enabled: z.boolean(),
  status: z
    .object({ current: stateView, history: z.array(stateView).describe("What was before, newest first.") })
    .nullable()
    .describe("null before the first attempt. A field of Sluice, not of Cloudflare."),
});

/** The calls about outputs: other services that a live input is sent on to, in Cloudflare Stream's shapes. */
export function outputCalls({ records, keys, settled }: Deps): readonly Call[] {
  const view = (output: Output, states: readonly OutputStatus[]): z.infer<typeof outputView> => {
    const [current, ...history] = states.map(viewState);
    return {
      uid: output.uid,
      url: output.url,
      streamKey: keys.unseal(output.stream_key),
      enabled: output.enabled === 1,
      status: current ? { current, history } : null,
    };
  };
  const find = async (liveInput: string, uid: string) =>
    (await records.outputs(liveInput)).find(({ output }) => output.uid === uid);

  return [
    call({
      method: "POST",
      path: base,
      summary: "Send a live input on to another service",
      detail: `What the encoder sends goes to the RTMP(S) server as it is, without being encoded again, whenever the live input is on air. A relay of Media over QUIC is offered all renditions and the past. A live input has at most ${maxOutputs}. Addresses that are not on the internet have to be named in the server's setting allowPrivateTargets.`,
      scope: "stream:write",
      params: onOne,
      query: nothing,
      body: newOutput,
      idempotent: "answer",
      result: outputView,
      example: { url: "rtmps://a.rtmps.youtube.com/live2", streamKey: "abcd-efgh-ijkl-mnop", enabled: true },
      async handle({ params, body, actor, keep }) {
        const uid = newUid();
        const { result: made, version } = await records.write(async (tx) => {
          if (!(await tx.find(params.uid))) return "no input";
          const output = await addOutput(tx, {
            uid,
            live_input: params.uid,
            url: body.url,
            stream_key: keys.seal(body.streamKey),
            enabled: body.enabled ? 1 : 0,
          });
          if (!output) return undefined;
          await tx.audit(actor, "output.create", uid);
          const result = view(output, []);
          await keep(tx, result);
          return result;
        });
        if (made === "no input") return notFound;
        if (!made) {
          const message = `A live input has at most ${maxOutputs} outputs; delete one that is not needed any more.`;
          return { status: 400, errors: [{ code: codes.badRequest, message }] };
        }
        return { status: 200, result: made, notes: behindNotes(await settled(version)) };
      },
    }),
    call({
      method: "GET",
      path: base,
      summary: "List the outputs of a live input",
      detail: "Oldest first, each with what it is doing and the last error.",
      scope: "stream:read",
      params: onOne,
      query: nothing,
      result: z.array(outputView),
      async handle({ params }) {
        if (!(await records.input(params.uid))) return notFound;
        const all = await records.outputs(params.uid);
        return { status: 200, result: all.map(({ output, states }) => view(output, states)) };
      },
    }),
    call({
      method: "GET",
      path: `${base}/:output`,
      summary: "Get one output",
      scope: "stream:read",
      params: onOutput,
      query: nothing,
      result: outputView,
      async handle({ params }) {
        const found = await find(params.uid, params.output);
        return found ? { status: 200, result: view(found.output, found.states) } : notFound;
      },
    }),
    call({
      method: "PUT",
      path: `${base}/:output`,
      summary: "Switch an output on or off",
      scope: "stream:write",
      params: onOutput,
      query: nothing,
      body: z.object({ enabled }),
      result: outputView,
      example: { enabled: false },
      async handle({ params, body, actor }) {
        const { uid: liveInput, output: uid } = params;
        const { result: output, version } = await records.write(async (tx) => {
          const changed = await switchOutput(tx, { uid, liveInput }, body.enabled);
          if (changed) await tx.audit(actor, "output.update", uid);
          return changed;
        });
        if (!output) return notFound;
        const notes = behindNotes(await settled(version));
        return { status: 200, result: view(output, (await find(liveInput, uid))?.states ?? []), notes };
      },
    }),
    call({
      method: "DELETE",
      path: `${base}/:output`,
      summary: "Delete an output",
      detail:
        "Disconnects it. Answers 204 without a body; the header `x-sluice-behind` names a role that has not confirmed it yet.",
      scope: "stream:write",
      params: onOutput,
      query: nothing,
      async handle({ params, actor }) {
        const { result: removed, version } = await records.write(async (tx) => {
          const count = await removeOutputs(tx, params.uid, params.output);
          if (count > 0) await tx.audit(actor, "output.delete", params.output);
          return count > 0;
        });
        return removed ? { status: 204, behind: await settled(version) } : notFound;
      },
    }),
  ];
}

function viewState({ state, reason, entered, seen, error }: OutputStatus): z.infer<typeof stateView> {
  return {
    state: state as z.infer<typeof stateView>["state"],
    reason: reason as z.infer<typeof stateView>["reason"],
    statusEnteredAt: entered,
    statusLastSeen: seen,
    ...(error !== null && { error }),
  };
}
