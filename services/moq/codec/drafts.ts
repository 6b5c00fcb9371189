import type { Message, RequestKind } from "./messages.ts";
import type { Integers } from "./wire.ts";

/** What differs between the drafts of draft-ietf-moq-transport that are spoken here. */
export interface Draft {
  readonly number: 14 | 16 | 18 | 19;
  /** As WebTransport and ALPN name it. Draft 14 has no name there: it is what speaks who offers none. */
  readonly protocol: string;
  /** As SETUP names it, before names came up. */
  readonly version: number;
  readonly integers: Integers;
  /** Requests that have a stream of their own, on which the answers say no number; the others share one control stream. */
  readonly ownStream: readonly RequestKind[] | "all";
  /** What requests and answers say besides: fields of their own, pairs of which even types are numbers, or types that each have a form. */
  readonly params: "fields" | "pairs" | "typed";
  /** The end of a filter's range counts from its start. */
  readonly relativeEnd: boolean;
  /** GOAWAY: how long may be gone on, and the first request that was not looked at. */
  readonly goaway: { readonly timeout: boolean; readonly firstRefused: boolean };
  /** A namespace may be empty. */
  readonly emptyNamespaces: boolean;
  /** Answers to a FETCH say their places in full, or by flags as places or differences. */
  readonly fetched: "full" | "places" | "differences";
  /** Streams and datagrams may leave out a priority that is the track's own. */
  readonly defaultPriority: boolean;
  /** Streams say whether they begin with the subgroup's first object. */
  readonly firstObject: boolean;
  /** Types of control messages; none for what the draft does not have. */
  readonly types: Readonly<Partial<Record<Message["type"], number>>>;
  /** Types of answers to requests of a kind, where these differ. */
  readonly answers: Readonly<Partial<Record<RequestKind, { readonly ok: number; readonly error: number }>>>;
  /** Codes of PUBLISH_DONE that are other numbers than in draft 16. */
  readonly doneCodes: Readonly<Record<number, number>>;
  /** Codes of REQUEST_ERROR by the kind of request, where they are other numbers than in draft 16. */
  readonly errorCodes: Readonly<Partial<Record<RequestKind, Readonly<Record<number, number>>>>>;
}

/** Draft 16 9. */
export const draft16: Draft = {
  number: 16,
  protocol: "moqt-16",
  version: 0xff000010,
  integers: "quic",
  ownStream: ["subscribe-namespace"],
  params: "pairs",
  relativeEnd: false,
  goaway: { timeout: false, firstRefused: false },
  emptyNamespaces: false,
  fetched: "places",
  defaultPriority: true,
  firstObject: false,
  types: {
    "client-setup": 0x20,
    "server-setup": 0x21,
    goaway: 0x10,
    "max-request-id": 0x15,
    "requests-blocked": 0x1a,
    "request-ok": 0x7,
    "request-error": 0x5,
    subscribe: 0x3,
    "subscribe-ok": 0x4,
    "request-update": 0x2,
    unsubscribe: 0xa,
    publish: 0x1d,
    "publish-ok": 0x1e,
    "publish-done": 0xb,
    fetch: 0x16,
    "fetch-ok": 0x18,
    "fetch-cancel": 0x17,
    "track-status": 0xd,
    "publish-namespace": 0x6,
    namespace: 0x8,
    "publish-namespace-done": 0x9,
    "namespace-done": 0xe,
    "publish-namespace-cancel": 0xc,
    "subscribe-namespace": 0x11,
  },
  answers: {},
  doneCodes: {},
  errorCodes: {},
};

/** Codes of draft 14's errors that every kind of request has. */
const errors14 = { 4: 0x10, 5: 0x12 };
/** The types of draft 16 but for some that another draft does not have. */
function without(...gone: readonly Message["type"][]): Draft["types"] {
  return Object.fromEntries(
    Object.entries(draft16.types).filter(([type]) => !gone.includes(type as Message["type"])),
  );
}

/** Draft 14 8: fields where later drafts have parameters, and answers of a type for each request. */
export const draft14: Draft = {
  ...draft16,
  number: 14,
  protocol: "moqt-14",
  version: 0xff00000e,
  ownStream: [],
  params: "fields",
  fetched: "full",
  defaultPriority: false,
  types: {
    ...without("request-ok", "request-error", "namespace", "namespace-done"),
    "unsubscribe-namespace": 0x14,
  },
  answers: {
    subscribe: { ok: 0x4, error: 0x5 },
    publish: { ok: 0x1e, error: 0x1f },
    fetch: { ok: 0x18, error: 0x19 },
    "track-status": { ok: 0xe, error: 0xf },
    "publish-namespace": { ok: 0x7, error: 0x8 },
    "subscribe-namespace": { ok: 0x12, error: 0x13 },
  },
  errorCodes: {
    subscribe: { ...errors14, 16: 0x4, 17: 0x5 },
    "track-status": { ...errors14, 16: 0x4, 17: 0x5 },
    fetch: { ...errors14, 16: 0x4, 17: 0x5, 50: 0x7 },
    publish: { 32: 0x4 },
    "publish-namespace": { ...errors14, 32: 0x4 },
    "subscribe-namespace": { ...errors14, 16: 0x4, 48: 0x5 },
  },
};

/** Draft 18 10: a stream for each request, whose end takes it back. */
export const draft18: Draft = {
  ...draft16,
  number: 18,
  protocol: "moqt-18",
  version: 0xff000012,
  integers: "ones",
  ownStream: "all",
  params: "typed",
  relativeEnd: true,
  goaway: { timeout: true, firstRefused: true },
  emptyNamespaces: true,
  fetched: "differences",
  firstObject: true,
  types: {
    ...without(
      ...(["client-setup", "server-setup", "max-request-id", "requests-blocked", "unsubscribe"] as const),
      ...(["publish-ok", "fetch-cancel", "publish-namespace-done", "publish-namespace-cancel"] as const),
    ),
    setup: 0x2f00,
    "subscribe-namespace": 0x50,
    "subscribe-tracks": 0x51,
    "publish-blocked": 0xf,
  },
  // EXPIRED and TOO_FAR_BEHIND have changed places.
  doneCodes: { 5: 0x6, 6: 0x5 },
};

/** Draft 19, as far as nobody asks for what it adds: its range filters are forbidden to whom no MAX_FILTER_RANGES was said. */
export const draft19: Draft = {
  ...draft18,
  number: 19,
  protocol: "moqt-19",
  version: 0xff000013,
  goaway: { timeout: true, firstRefused: false },
};

/**
 * All of them, the one that is rather spoken first: clients of this time name 17 to 19 besides 16 and write them wrong, so these
 * are for who speaks nothing else.
 */
export const drafts: readonly Draft[] = [draft16, draft18, draft19, draft14];

/** The draft of a protocol's name; undefined for others. */
export function draftOf(protocol: string): Draft | undefined {
  return drafts.find((draft) => draft.protocol === protocol);
}
