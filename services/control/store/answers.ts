import type { Inputs } from "./inputs.ts";
import { now } from "./tables.ts";

/** An Idempotency-Key of an account, and SHA-256 of who asked for what under it. */
export interface Repeatable {
  readonly account: string;
  readonly key: string;
  readonly request: string;
}

/** What was answered under this key since then; "another" where it was to another request. Forgets what is older. */
export async function answerOf(
  { tx }: Inputs,
  { account, key, request }: Repeatable,
  since: string,
): Promise<{ readonly sealed: string } | "another" | undefined> {
  await tx.deleteFrom("idempotent_answers").where("created", "<", since).execute();
  const row = await tx
    .selectFrom("idempotent_answers")
    .select(["request", "answer"])
    .where("account", "=", account)
    .where("key", "=", key)
    .executeTakeFirst();
  if (!row) return undefined;
  return row.request === request ? { sealed: row.answer } : "another";
}

/** Keeps an answer, in the transaction of what it is about. */
export async function keepAnswer(
  { tx }: Inputs,
  { account, key, request }: Repeatable,
  sealed: string,
): Promise<void> {
  const values = { account, key, request, answer: sealed, created: now() };
  await tx.insertInto("idempotent_answers").values(values).execute();
}
