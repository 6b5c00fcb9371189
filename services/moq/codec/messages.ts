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
}

/** What the two sides say of themselves first. Unknown options are passed over. */
export interface SetupOptions {
  readonly path?: string | undefined;
  readonly authority?: string | undefined;
  readonly maxRequestId?: number | undefined;
  readonly maxTokenCacheBytes?: number | undefined;
  readonly tokens?: readonly Token[] | undefined;
  readonly implementation?: string | undefined;
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

/** What a request was, for drafts whose answers have a type each. */
export type RequestKind =
  | "subscribe"
  | "fetch"
  | "publish"
  | "publish-namespace"
  | "subscribe-namespace"
  | "track-status"
  | "update";

/** Control messages of every draft, in one shape; what a draft has no field for is not sent. */
export type Message =
  | { readonly type: "client-setup"; readonly options: SetupOptions }
  | { readonly type: "server-setup"; readonly options: SetupOptions }
  | { readonly type: "goaway"; readonly uri: string }
  | { readonly type: "max-request-id"; readonly max: number }
  | { readonly type: "requests-blocked"; readonly max: number }
  | {
      readonly type: "request-ok";
      readonly id: number;
      readonly of?: RequestKind | undefined;
      readonly params: Params;
    }
  | {
      readonly type: "request-error";
      readonly id: number;
      readonly of?: RequestKind | undefined;
      readonly code: number;
      /** Undefined: do not try again. */
      readonly retryMs?: number | undefined;
      readonly reason: string;
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
  | { readonly type: "publish-namespace-done"; readonly id: number }
  | {
      readonly type: "publish-namespace-cancel";
      readonly id: number;
      readonly code: number;
      readonly reason: string;
    }
  | {
      readonly type: "subscribe-namespace";
      readonly id: number;
      readonly prefix: readonly string[];
      /** Draft 16 9.25: what is asked for. */
      readonly wants: "publish" | "namespace" | "both";
      readonly params: Params;
    }
  | { readonly type: "namespace"; readonly suffix: readonly string[] }
  | { readonly type: "namespace-done"; readonly suffix: readonly string[] };
/** Numbers of REQUEST_ERROR (draft 16 14.5.2). */
export const requestErrors = {
  internal: 0x0,
  unauthorized: 0x1,
  timeout: 0x2,
  notSupported: 0x3,
  malformedToken: 0x4,
  expiredToken: 0x5,
  doesNotExist: 0x10,
  invalidRange: 0x11,
  duplicateSubscription: 0x19,
  uninterested: 0x20,
  prefixOverlap: 0x30,
  invalidJoiningRequest: 0x32,
} as const;

/** Numbers of PUBLISH_DONE (draft 16 14.5.3). */
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
} as const;
