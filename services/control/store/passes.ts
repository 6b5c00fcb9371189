import type { Inputs } from "./inputs.ts";
import { now } from "./tables.ts";

/** What lets a person into the dashboard: a session, or a link that makes one and is then used up. */
export type PassKind = "session" | "link";

/** Keeps a pass for so many seconds; answers when it ends. */
export async function putPass(
  { tx }: Inputs,
  pass: { readonly sha256: string; readonly kind: PassKind; readonly seconds: number },
): Promise<string> {
  const { sha256, kind, seconds } = pass;
  const expires = new Date(Date.now() + seconds * 1000).toISOString();
  await tx.insertInto("passes").values({ sha256, kind, created: now(), expires }).execute();
  return expires;
}

/** Takes one away, or all of a kind; false when none was good any more. */
export async function removePass(
  { tx }: Inputs,
  which: { readonly kind: PassKind; readonly sha256: string | undefined },
): Promise<boolean> {
  const { kind, sha256 } = which;
  let some = tx.deleteFrom("passes").where("kind", "=", kind);
  if (sha256 !== undefined) some = some.where("sha256", "=", sha256);
  const rows = await some.returning("expires").execute();
  return rows.some(({ expires }) => expires > now());
}

/** Forgets those that are over. */
export async function forgetPasses({ tx }: Inputs): Promise<void> {
  await tx.deleteFrom("passes").where("expires", "<=", now()).execute();
}
