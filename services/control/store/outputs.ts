import type { Kysely, Selectable, Transaction } from "kysely";
import type { SentFact } from "../../live/events.ts";
import type { Inputs, Recording, Writer } from "./inputs.ts";
import { now, type OutputRow, type OutputStateRow, type Tables } from "./tables.ts";

export type Output = Selectable<OutputRow>;
export type OutputStatus = Selectable<OutputStateRow>;

/** What whoever sends has to know of an output; its key is still sealed. */
export interface OutputRecord {
  readonly uid: string;
  readonly input: string;
  readonly url: string;
  readonly sealedKey: string;
  readonly enabled: boolean;
  /** null follows the configured default. */
  readonly timeoutSeconds: number | null;
}

/** As many as Cloudflare allows for one live input. */
export const maxOutputs = 50;
/** What is kept of where an output has been. */
const maxStates = 20;

/** Those of a live input, oldest first, each with its states, newest first. */
export async function outputsOf(
  db: Kysely<Tables>,
  liveInput: string,
): Promise<readonly { readonly output: Output; readonly states: readonly OutputStatus[] }[]> {
  const outputs = await db
    .selectFrom("outputs")
    .selectAll()
    .where("live_input", "=", liveInput)
    .orderBy("created")
    .orderBy("uid")
    .execute();
  if (outputs.length === 0) return [];
  const states = await db
    .selectFrom("output_states")
    .selectAll()
    .where(
      "output",
      "in",
      outputs.map(({ uid }) => uid),
    )
    .orderBy("seq", "desc")
    .execute();
  return outputs.map((output) => ({ output, states: states.filter((state) => state.output === output.uid) }));
}

/** The outputs of these live inputs and those of these uids, as far as there are any; all of them without a choice. */
export async function outputRecords(
  tx: Transaction<Tables>,
  some?: { readonly inputs: readonly string[]; readonly outputs: readonly string[] },
): Promise<readonly OutputRecord[]> {
  let rows = tx
    .selectFrom("outputs")
    .innerJoin("live_inputs", "live_inputs.uid", "outputs.live_input")
    .selectAll("outputs")
    .select("live_inputs.recording")
    .where("live_inputs.deleted", "is", null);
  if (some) {
    // PostgreSQL knows no empty list.
    const [inputs, outputs] = [some.inputs, some.outputs].map((uids) => (uids.length ? uids : [""]));
    rows = rows.where((e) => e.or([e("live_input", "in", inputs!), e("outputs.uid", "in", outputs!)]));
  }
  return (await rows.execute()).map((row) => ({
    uid: row.uid,
    input: row.live_input,
    url: row.url,
    sealedKey: row.stream_key,
    enabled: row.enabled === 1,
    timeoutSeconds: (JSON.parse(row.recording) as Recording).timeoutSeconds,
  }));
}

/** Adds an output; undefined when the live input has as many as it may. The live input must be there. */
export async function addOutput(
  inputs: Inputs,
  output: Pick<Output, "uid" | "live_input" | "url" | "stream_key" | "enabled">,
): Promise<Output | undefined> {
  const { total } = await inputs.tx
    .selectFrom("outputs")
    .select((e) => e.fn.countAll<number>().as("total"))
    .where("live_input", "=", output.live_input)
    .executeTakeFirstOrThrow();
  if (Number(total) >= maxOutputs) return undefined;
  const at = now();
  const row: OutputRow = { ...output, created: at, modified: at };
  await inputs.tx.insertInto("outputs").values(row).execute();
  inputs.tellOutput(output.uid);
  return row;
}

/** Switches an output on or off; undefined when the live input has none of this uid. */
export async function switchOutput(
  inputs: Inputs,
  which: { readonly uid: string; readonly liveInput: string },
  enabled: boolean,
): Promise<Output | undefined> {
  const row = await inputs.tx
    .updateTable("outputs")
    .set({ enabled: enabled ? 1 : 0, modified: now() })
    .where("uid", "=", which.uid)
    .where("live_input", "=", which.liveInput)
    .returningAll()
    .executeTakeFirst();
  if (row) inputs.tellOutput(row.uid);
  return row;
}

/** Takes an output of a live input away, or all of them; returns how many there were. */
export async function removeOutputs(inputs: Inputs, liveInput: string, uid?: string): Promise<number> {
  let rows = inputs.tx.deleteFrom("outputs").where("live_input", "=", liveInput);
  if (uid !== undefined) rows = rows.where("uid", "=", uid);
  const gone = await rows.returning("uid").execute();
  for (const one of gone) {
    await inputs.tx.deleteFrom("output_states").where("output", "=", one.uid).execute();
    inputs.tellOutput(one.uid);
  }
  return gone.length;
}

/** Writes down the state that an output has come to, unless it has it already or is gone. False then. */
export async function applyOutput(
  tx: Writer,
  fact: Extract<SentFact, { type: "output.changed" }>,
): Promise<boolean> {
  const known = await tx
    .selectFrom("outputs")
    .select("uid")
    .where("uid", "=", fact.output)
    .where("live_input", "=", fact.uid)
    .executeTakeFirst();
  if (!known) return false;
  const at = new Date(fact.at).toISOString();
  const last = await tx
    .selectFrom("output_states")
    .selectAll()
    .where("output", "=", fact.output)
    .orderBy("seq", "desc")
    .limit(1)
    .executeTakeFirst();
  const { state, reason, error = null } = fact;
  // What a restarted process says of an output that never had anything to send, or has not since.
  if (!last && state === "disconnected") return false;
  if (
    last?.state === state &&
    (state === "disconnected" || (last.reason === reason && last.error === error))
  ) {
    await tx
      .updateTable("output_states")
      .set({ seen: at, reason })
      .where("output", "=", fact.output)
      .where("seq", "=", last.seq)
      .execute();
    return false;
  }
  const seq = (last?.seq ?? 0) + 1;
  await tx
    .insertInto("output_states")
    .values({ output: fact.output, seq, state, reason, error, entered: at, seen: at })
    .execute();
  await tx
    .deleteFrom("output_states")
    .where("output", "=", fact.output)
    .where("seq", "<=", seq - maxStates)
    .execute();
  return true;
}
