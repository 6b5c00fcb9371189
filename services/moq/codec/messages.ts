/** One object's place: groups count up over a track, objects within a group from 0. */
export interface Location {
  readonly group: number;
  readonly object: number;
}

/** Fields and name are bytes, one character each (`textOf`). */
export interface TrackName {
  readonly namespace: readonly string[];
  readonly name: string;
}

/** Draft 16 9.2.2.1. `value` is the token itself. */
export type Token =
  | { readonly use: "delete"; readonly alias: number }
  | { readonly use: "register"; readonly alias: number; readonly type: number; readonly value: Uint8Array }
  | { readonly use: "alias"; readonly alias: number }
  | { readonly use: "value"; readonly type: number; readonly value: Uint8Array };

/** Which objects a subscription wants (draft 16 5.1.2). */
export type Filter =
  | { readonly from: "next group" }
  | { readonly from: "largest object" }
  | { readonly from: "absolute"; readonly start: Location; readonly endGroup?: number | undefined };

export type GroupOrder = "ascending" | "descending";

/** What a request or its answer may say besides; absent is the default of the draft. */
export interface Params {
  readonly tokens?: readonly Token[] | undefined;
  readonly deliveryTimeoutMs?: number | undefined;
  readonly expiresMs?: number | undefined;
  readonly largest?: Location | undefined;
  readonly forward?: boolean | undefined;
  /** 0 goes first, 255 last. */
  readonly priority?: number | undefined;
  readonly filter?: Filter | undefined;
  readonly order?: GroupOrder | undefined;
  readonly newGroup?: number | undefined;
  /** Draft 18 10.2: for all of a subgroup, `deliveryTimeoutMs` being for each object. */
  readonly subgroupTimeoutMs?: number | undefined;
  /** Draft 18 10.2: how long to wait for a publisher of the track. */
  readonly rendezvousMs?: number | undefined;
  /** Draft 18 10.2: how long to wait for objects of a FETCH that are not at hand. */
  readonly fillMs?: number | undefined;
  /** Draft 18 10.2: what a subscription to namespaces is about from now on. */
  readonly prefix?: readonly string[] | undefined;
}

/** What the two sides say of themselves first. Unknown options are passed over. */
export interface SetupOptions {
  readonly path?: string | undefined;
  readonly authority?: string | undefined;
  readonly maxRequestId?: number | undefined;
  readonly maxTokenCacheBytes?: number | undefined;
  readonly tokens?: readonly Token[] | undefined;
  readonly implementation?: string | undefined;
  /** Draft 14 9.3: versions that a client speaks, or the one that the server chose. */
  readonly versions?: readonly number[] | undefined;
}

export type FetchRange =
  | {
      readonly kind: "standalone";
      readonly track: TrackName;
      readonly start: Location;
      /** One past the last object; object 0 means the whole of this group. */
      readonly end: Location;
    }
  | { readonly kind: "relative" | "absolute"; readonly joining: number; readonly start: number };

/** What a request is; answers say it too, for drafts that have a type for each. */
export type RequestKind =
  | "subscribe"
  | "fetch"
  | "publish"
  | "publish-namespace"
  | "subscribe-namespace"
  | "subscribe-tracks"
  | "track-status"
  | "update";

/** Control messages of every draft, in one shape; what a draft has no field for is not sent. */
export type Message =
  | { readonly type: "client-setup"; readonly options: SetupOptions }
  | { readonly type: "server-setup"; readonly options: SetupOptions }
  /** Of either side, in drafts that have one. */
  | { readonly type: "setup"; readonly options: SetupOptions }
  | {
      readonly type: "goaway";
      readonly uri: string;
      /** How long the sender waits; 0 is not said. */
      readonly timeoutMs?: number | undefined;
      /** Requests from this one on were not looked at; absent on the stream of a request. */
      readonly firstRefused?: number | undefined;
    }
  | { readonly type: "max-request-id"; readonly max: number }
  | { readonly type: "requests-blocked"; readonly max: number }
  | {
      readonly type: "request-ok";
      readonly id: number;
      readonly of?: RequestKind | undefined;
      readonly params: Params;
      /** Draft 18 10.5: properties of the track, to TRACK_STATUS. */
      readonly extensions?: Uint8Array | undefined;
    }
  | {
      readonly type: "request-error";
      readonly id: number;
      readonly of?: RequestKind | undefined;
      readonly code: number;
      /** Undefined: do not try again. */
      readonly retryMs?: number | undefined;
      readonly reason: string;
      /** Draft 18 10.6.1: where to ask instead. */
      readonly redirect?: { readonly uri: string; readonly track: TrackName } | undefined;
    }
  | {
      readonly type: "subscribe";
      readonly id: number;
      readonly track: TrackName;
      readonly params: Params;
    }
  | {
      readonly type: "subscribe-ok";
      readonly id: number;
      readonly alias: number;
      readonly params: Params;
      readonly extensions: Uint8Array;
    }
  | {
      readonly type: "request-update";
      readonly id: number;
      readonly existing: number;
      readonly params: Params;
    }
  | { readonly type: "unsubscribe"; readonly id: number }
  | {
      readonly type: "publish";
      readonly id: number;
      readonly track: TrackName;
      readonly alias: number;
      readonly params: Params;
      readonly extensions: Uint8Array;
    }
  | { readonly type: "publish-ok"; readonly id: number; readonly params: Params }
  | {
      readonly type: "publish-done";
      readonly id: number;
      readonly code: number;
      /** Streams opened for it; from 2^53 on: not known. */
      readonly streams: number;
      readonly reason: string;
    }
  | { readonly type: "fetch"; readonly id: number; readonly range: FetchRange; readonly params: Params }
  | {
      readonly type: "fetch-ok";
      readonly id: number;
      readonly endOfTrack: boolean;
      readonly end: Location;
      readonly params: Params;
      readonly extensions: Uint8Array;
    }
  | { readonly type: "fetch-cancel"; readonly id: number }
  | {
      readonly type: "track-status";
      readonly id: number;
      readonly track: TrackName;
      readonly params: Params;
    }
  | {
      readonly type: "publish-namespace";
      readonly id: number;
      readonly namespace: readonly string[];
      readonly params: Params;
    }
  /** Of `id`; draft 14 says the namespace instead. */
  | {
      readonly type: "publish-namespace-done";
      readonly id: number;
      readonly namespace?: readonly string[] | undefined;
    }
  | {
      readonly type: "publish-namespace-cancel";
      readonly id: number;
      readonly namespace?: readonly string[] | undefined;
      readonly code: number;
      readonly reason: string;
    }
  | {
      readonly type: "subscribe-namespace";
      readonly id: number;
      readonly prefix: readonly string[];
      /** Draft 16 9.25: what is asked for; other drafts ask for namespaces alone. */
      readonly wants: "publish" | "namespace" | "both";
      readonly params: Params;
    }
  | {
      readonly type: "subscribe-tracks";
      readonly id: number;
      readonly prefix: readonly string[];
      readonly params: Params;
    }
  /** Of `id`; draft 14 says the prefix, later ones end the stream. */
  | { readonly type: "unsubscribe-namespace"; readonly id: number; readonly prefix: readonly string[] }
  | { readonly type: "namespace"; readonly id: number; readonly suffix: readonly string[] }
  | { readonly type: "namespace-done"; readonly id: number; readonly suffix: readonly string[] }
  | {
      readonly type: "publish-blocked";
      readonly id: number;
      readonly suffix: readonly string[];
      readonly name: string;
    };

/** Requests by the message that makes them. */
export const requestKinds: Readonly<Partial<Record<Message["type"], RequestKind>>> = {
  subscribe: "subscribe",
  fetch: "fetch",
  publish: "publish",
  "track-status": "track-status",
  "publish-namespace": "publish-namespace",
  "subscribe-namespace": "subscribe-namespace",
  "subscribe-tracks": "subscribe-tracks",
};

/** Numbers of REQUEST_ERROR (draft 16 14.5.2), which the codec turns into those of the draft that is spoken. */
export const requestErrors = {
  internal: 0x0,
  unauthorized: 0x1,
  timeout: 0x2,
  notSupported: 0x3,
  malformedToken: 0x4,
  expiredToken: 0x5,
  /** From draft 18 on. */
  goingAway: 0x6,
  /** From draft 18 on. */
  excessiveLoad: 0x9,
  doesNotExist: 0x10,
  invalidRange: 0x11,
  malformedTrack: 0x12,
  duplicateSubscription: 0x19,
  uninterested: 0x20,
  prefixOverlap: 0x30,
  namespaceTooLarge: 0x31,
  invalidJoiningRequest: 0x32,
} as const;

/** Numbers of PUBLISH_DONE (draft 16 14.5.3), which the codec turns into those of the draft that is spoken. */
export const doneCodes = {
  internal: 0x0,
  unauthorized: 0x1,
  trackEnded: 0x2,
  subscriptionEnded: 0x3,
  goingAway: 0x4,
  expired: 0x5,
  tooFarBehind: 0x6,
  updateFailed: 0x8,
} as const;

/** Numbers of a reset stream (draft 16 14.5.4). */
export const resetCodes = {
  internal: 0x0,
  cancelled: 0x1,
  deliveryTimeout: 0x2,
  sessionClosed: 0x3,
  goingAway: 0x4,
  tooFarBehind: 0x5,
} as const;
