import { sha256Hex } from "../keys.ts";
import { answerOf, keepAnswer, type Repeatable } from "../store/answers.ts";
import type { Inputs } from "../store/inputs.ts";
import { type Asked, type Call, codes, type Deps, type Reply } from "./call.ts";

/** How long a repeated request gets the answer of the first one. */
export const repeatHours = 6;
const maxKeyBytes = 255;

/**
 * Runs a call that makes something. Under an Idempotency-Key it makes it once: who asks again, also while the first one is
 * under way or after control was killed, gets the answer that the first one has or would have got.
 */
export function repeats({ records, keys }: Pick<Deps, "records" | "keys">) {
  const busy = new Map<string, Promise<unknown>>();

  return async (
    one: Call,
    asked: Omit<Asked<unknown, unknown, unknown>, "keep">,
  ): Promise<Reply<unknown>> => {
    const { idempotencyKey: key, params, query, body, actor } = asked;
    const plain = { ...asked, keep: async () => undefined };
    if (key === undefined || !one.idempotent) return one.handle(plain);
    if (Buffer.byteLength(key) > maxKeyBytes)
      return refuse(400, codes.badRequest, `Idempotency-Key is longer than ${maxKeyBytes} bytes.`);
    if (one.idempotent === "itself") return one.handle(plain);
    const account = String((params as { account?: string }).account ?? "");
    const request = sha256Hex(JSON.stringify([one.method, one.path, params, query, body, actor]));
    const mine: Repeatable = { account, key, request };
    const lane = JSON.stringify([account, key]);
    const turn = (busy.get(lane) ?? Promise.resolve()).then(() => run(one, asked, mine));
    const settled = turn.catch(() => undefined);
    busy.set(lane, settled);
    try {
      return await turn;
    } finally {
      if (busy.get(lane) === settled) busy.delete(lane);
    }
  };

  async function run(
    one: Call,
    asked: Omit<Asked<unknown, unknown, unknown>, "keep">,
    mine: Repeatable,
  ): Promise<Reply<unknown>> {
    const since = new Date(Date.now() - repeatHours * 3_600_000).toISOString();
    const { result: before } = await records.write((tx) => answerOf(tx, mine, since));
    if (before === "another")
      return refuse(
        409,
        codes.conflict,
        "This Idempotency-Key was used for another request; use a new key for each thing that is to be made.",
      );
    if (before) return { status: 200, result: JSON.parse(keys.unseal(before.sealed)) };
    const keep = (tx: Inputs, result: unknown) => keepAnswer(tx, mine, keys.seal(JSON.stringify(result)));
    return one.handle({ ...asked, keep });
  }
}

function refuse(status: 400 | 409, code: number, message: string): Reply<unknown> {
  return { status, errors: [{ code, message }] };
}
