import type { Log } from "../../lib/log.ts";
import type { z } from "../../lib/schema.ts";
import type { LadderName } from "../../live/ladder.ts";
import type { Keys } from "../keys.ts";
import type { PublicUrls } from "../resources.ts";
import type { Inputs } from "../store/inputs.ts";
import type { Records } from "../store/records.ts";

/** What the calls work with. */
export interface Deps {
  readonly records: Records;
  readonly keys: Keys;
  readonly defaults: { readonly timeoutSeconds: number; readonly ladder: LadderName };
  readonly urls: PublicUrls;
  /** A recording is to go, now or on another day than before. */
  readonly doomed: () => void;
  /** Waits until the roles have this version; names those that have not. */
  readonly settled: (version: number) => Promise<readonly string[]>;
  /** Webhooks were put back to be sent again. */
  readonly replayed: () => void;
  /** A call to the origin; throws `Failure` "unavailable" when it does not answer. */
  readonly askOrigin: (
    path: string,
    json?: unknown,
    answerMs?: number,
  ) => Promise<{ readonly status: number; readonly json: unknown }>;
  /** Where the player's and the dashboard's built pages are. */
  readonly pages?: string | undefined;
  readonly log: Log;
}

/** What a token may do; one with "admin" may do everything. */
export const scopes = ["stream:read", "stream:write", "admin"] as const;
export type Scope = (typeof scopes)[number];

/** One thing that is wrong with a request; `pointer` leads to the field of the body. */
export interface Problem {
  readonly code: number;
  readonly message: string;
  readonly source?: { readonly pointer: string };
}

export interface Note {
  readonly code: number;
  readonly message: string;
}

export type Reply<R> =
  | { readonly status: 200; readonly result: R; readonly notes?: readonly Note[]; readonly counts?: Counts }
  /** Text of another kind than the envelope. */
  | { readonly status: 200; readonly text: string; readonly type: string }
  /** No body at all: the official client cannot read an empty one that is called JSON. */
  | { readonly status: 204; readonly behind: readonly string[] }
  | Refusal;

export interface Refusal {
  readonly status: 400 | 401 | 403 | 404 | 409 | 413 | 429 | 500 | 501 | 503;
  readonly errors: readonly Problem[];
}

/** How many of how many, when the caller asked. */
export interface Counts {
  readonly range: number;
  readonly total: number;
}

/** Codes of the envelope's errors; Cloudflare's numbers where it has one for the case. */
export const codes = {
  unauthorized: 10000,
  forbidden: 10001,
  internal: 10002,
  unavailable: 10004,
  notFound: 10003,
  badRequest: 10005,
  conflict: 10009,
  tooLarge: 10012,
  tooMany: 10429,
  noSuchCall: 7003,
  /** The call exists at Cloudflare and not here, or not yet. */
  notImplemented: 10021,
  /** A note, not an error: the change is made and a role has not confirmed it. */
  behind: 20001,
  /** A note: the setting is kept and has no effect yet. */
  noEffect: 20002,
} as const;

export interface Asked<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly idempotencyKey: string | undefined;
  /** The name of the token that asks. */
  readonly actor: string;
  /**
   * Where its `answer` is idempotent: keeps what it will answer, in the transaction that makes it, for whoever repeats the request under
   * its Idempotency-Key. Does nothing without one.
   */
  readonly keep: (tx: Inputs, result: unknown) => Promise<void>;
}

/** One call of the API: what serves it, checks it and documents it. */
export interface Call<P = unknown, Q = unknown, B = unknown, R = unknown> {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With `:name` for each of `params`. */
  readonly path: string;
  readonly summary: string;
  /** What to know beyond the schema, one or two sentences. */
  readonly detail?: string;
  readonly scope: Scope;
  readonly params: z.ZodType<P>;
  readonly query: z.ZodType<Q>;
  readonly body?: z.ZodType<B>;
  /** How large it may be, where it is a file. */
  readonly bodyBytes?: number;
  /** Makes something, and only once for an Idempotency-Key: `answer` by what it keeps, `itself` by what it looks up. */
  readonly idempotent?: "answer" | "itself";
  /** undefined when it answers 204. */
  readonly result?: z.ZodType<R>;
  readonly example?: unknown;
  handle(asked: Asked<P, Q, B>): Promise<Reply<R>>;
}

/** Checks a call's types and forgets them, so that calls fit one list. */
export function call<P, Q, B, R>(definition: Call<P, Q, B, R>): Call {
  return definition as unknown as Call;
}

/** The same answer for what is not there and for what never was. */
export const notFound: Refusal = {
  status: 404,
  errors: [{ code: codes.notFound, message: "There is no such live input, output or video." }],
};

/** Says who has not confirmed a change yet; empty when all have. */
export function behindNotes(behind: readonly string[]): Note[] {
  return behind.map((who) => ({
    code: codes.behind,
    message: `The change is saved, but ${who} has not confirmed it within 2 s; it follows as soon as it can.`,
  }));
}
