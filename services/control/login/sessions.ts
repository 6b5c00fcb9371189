import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { sha256Hex } from "../keys.ts";
import type { PublicUrls } from "../resources.ts";
import type { Inputs } from "../store/inputs.ts";
import { forgetPasses, putPass, removePass } from "../store/passes.ts";
import type { Records } from "../store/records.ts";

/** A session ends this long after the login, whatever happens in it. */
export const sessionSeconds = 7 * 24 * 3_600;
const linkSeconds = 3_600;
/** What a session is called in the audit log, and where a call has to know that a browser asks. */
export const dashboardActor = "dashboard";

/** A session as its browser knows it; only a hash of `id` is kept here. */
export interface Session {
  /** Secret: the cookie. */
  readonly id: string;
  readonly expires: string;
}

/** Opens a session; sessions and links that are over are forgotten on the way. */
export async function openSession(records: Records, how: "password" | "link"): Promise<Session> {
  const id = randomBytes(32).toString("base64url");
  const { result: expires } = await records.write(async (tx) => {
    await forgetPasses(tx);
    await tx.audit(dashboardActor, `login.${how}`, "admin");
    return putPass(tx, { sha256: sha256Hex(id), kind: "session", seconds: sessionSeconds });
  });
  return { id, expires };
}

/** The session of this cookie, while it lasts. */
export async function findSession(records: Records, id: string | undefined): Promise<Session | undefined> {
  if (id === undefined) return undefined;
  const pass = await records.pass(sha256Hex(id), "session");
  return pass && { id, expires: pass.expires };
}

/** Ends this session, or every one there is. */
export async function endSessions(records: Records, id: string | "all"): Promise<void> {
  await records.write(async (tx) => {
    await removePass(tx, { kind: "session", sha256: id === "all" ? undefined : sha256Hex(id) });
    await tx.audit(dashboardActor, id === "all" ? "logout.all" : "logout", "admin");
  });
}

/** A code that opens one session within the hour, for a link in a terminal. */
export async function makeLink(tx: Inputs): Promise<{ readonly code: string; readonly expires: string }> {
  const code = randomBytes(24).toString("base64url");
  await forgetPasses(tx);
  const expires = await putPass(tx, { sha256: sha256Hex(code), kind: "link", seconds: linkSeconds });
  return { code, expires };
}

/** Where the dashboard is. A link's code is behind a #, which browsers keep to themselves: it is in no log of a proxy. */
export function dashboardUrl(urls: PublicUrls, link?: { readonly code: string }): string {
  return `${(urls.http ?? "").replace(/\/+$/, "")}/dashboard${link ? `#link=${link.code}` : ""}`;
}

/** Uses a link up; false when it was used before, is too old or never was one. */
export async function useLink(records: Records, code: string): Promise<boolean> {
  const { result } = await records.write((tx) => removePass(tx, { kind: "link", sha256: sha256Hex(code) }));
  return result;
}

/** What a page has to send beside the cookie: another site's page can make the browser send the one, but not know the other. */
export function csrfOf({ id }: Pick<Session, "id">): string {
  return createHmac("sha256", id).update("csrf").digest("base64url");
}

/** Whether `given` is the session's; in constant time. */
export function csrfIs(session: Pick<Session, "id">, given: unknown): boolean {
  const digest = (text: string) => createHmac("sha256", "csrf").update(text).digest();
  return typeof given === "string" && timingSafeEqual(digest(given), digest(csrfOf(session)));
}
