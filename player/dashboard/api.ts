import { signal } from "@preact/signals";
import type { Session } from "./types.ts";

/** Where Cloudflare's calls are; any account is this installation. */
export const stream = "/client/v4/accounts/local/stream";
const sessionPath = "/dashboard/api/session";

/** Who is signed in; undefined until the first answer. */
export const session = signal<Session | undefined>(undefined);

/** What a call was refused with: a sentence, and one for each field of the body that it is about. */
export class Refused extends Error {
  readonly status: number;
  /** By the field's JSON pointer: /recording/timeoutSeconds. */
  readonly fields: ReadonlyMap<string, string>;

  constructor(status: number, errors: readonly Problem[]) {
    super(errors.map(({ message }) => message).join(" ") || `The server answers ${status}.`);
    this.status = status;
    this.fields = new Map(
      errors.flatMap(({ source, message }) => (source ? [[source.pointer, message] as const] : [])),
    );
  }
}

interface Problem {
  readonly message: string;
  readonly source?: { readonly pointer: string };
}

interface Envelope {
  readonly result?: unknown;
  readonly errors?: readonly Problem[];
  readonly messages?: readonly { readonly message: string }[];
}

/** One call of the API as whoever is signed in. Throws `Refused`; a session that has ended brings the login back. */
export async function call<R>(
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<R> {
  return (await ask(method, path, body, signal)).result as R;
}

/** Keys of what was sent and never answered: who presses again means the same thing, which may have been made already. */
const unanswered = new Map<string, string>();

function newKey(): string {
  // Pages over plain HTTP have no randomUUID.
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("-");
}

async function ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Envelope> {
  const { csrf } = session.value ?? {};
  const what = JSON.stringify([path, body]);
  const key = method === "POST" ? (unanswered.get(what) ?? newKey()) : undefined;
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(path, {
      method,
      cache: "no-store",
      credentials: "same-origin",
      headers: {
        ...(csrf && { "x-sluice-csrf": csrf }),
        ...(key && { "idempotency-key": key }),
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (key) unanswered.set(what, key);
    throw new Refused(0, [{ message: "The server cannot be reached. Look at the network, then try again." }]);
  }
  unanswered.delete(what);
  const envelope = readEnvelope(text);
  if (answer.ok) return envelope;
  // The session is over; whatever is on the screen stays behind the login.
  if (answer.status === 401 && session.value?.signedIn) session.value = { ...session.value, signedIn: false };
  throw new Refused(answer.status, envelope.errors ?? []);
}

function readEnvelope(text: string): Envelope {
  try {
    return text ? (JSON.parse(text) as Envelope) : {};
  } catch {
    return {};
  }
}

/** Looks whether somebody is signed in; with the code of a link, signs in first. Throws `Refused`. */
export async function openSession(link?: string): Promise<void> {
  try {
    if (link) return await signIn({ link });
  } catch (error) {
    // An old link in the history of someone who is signed in harms nobody.
    session.value = await call<Session>("GET", sessionPath);
    if (!session.value.signedIn) throw error;
    return;
  }
  session.value = await call<Session>("GET", sessionPath);
}

/** Throws `Refused` with what to do when it is not right. */
export async function signIn(by: { readonly password: string } | { readonly link: string }): Promise<void> {
  session.value = await call<Session>("POST", sessionPath, by);
}

/** Ends this session, or with `all` every one there is. */
export async function signOut(all = false): Promise<void> {
  session.value = await call<Session>("DELETE", `${sessionPath}${all ? "?all=true" : ""}`);
}

/** Any error as a sentence. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
