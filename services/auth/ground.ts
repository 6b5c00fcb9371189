import type { Ground, Policy } from "./gate.ts";
import { type Algorithm, algorithms, type VerifyKey, verifyKey } from "./keys.ts";
import type { Geo } from "./rules.ts";

/** What control says of keys, revocations and videos; `uid` is the kind, a colon and a name. */
type Fact = { readonly uid: string } & (
  | { readonly kind: "key"; readonly alg: string; readonly jwk: Readonly<Record<string, string>> }
  | { readonly kind: "token" }
  | { readonly kind: "viewer"; readonly version: number }
  /** Nothing that lets anybody in. */
  | { readonly kind: "captions" }
  | {
      readonly kind: "video";
      readonly requireSignedURLs: boolean | null;
      readonly allowedOrigins: readonly string[] | null;
    }
);

export interface GroundOptions {
  readonly inputs: {
    get(uid: string): Policy | undefined;
    onChange(listener: () => void): () => void;
  };
  readonly records: {
    get(uid: string): Fact | undefined;
    values(): IterableIterator<Fact>;
    onChange(listener: (uids: ReadonlySet<string>) => void): () => void;
    readonly contactMs: number;
  };
  readonly geo: Geo;
  /** Signed playback is refused once control was not heard for this long. */
  readonly staleMs: number;
  /** The live input that a video belongs to, where that is known here. */
  readonly ownerOf: (video: string) => string | undefined;
  /** Something that was allowed may not be so any more. */
  readonly changed: () => void;
}

const closed: Policy = { requireSignedURLs: true, allowedOrigins: [] };

/** What control said last, as a gate decides by it. Call `end` when it is needed no more. */
export function openGround(options: GroundOptions): Ground & { end(): void } {
  const { inputs, records, geo, staleMs, ownerOf, changed } = options;
  const keys = new Map<string, VerifyKey>();
  const readKeys = () => {
    const before = new Map(keys);
    keys.clear();
    for (const record of records.values()) {
      if (record.kind !== "key" || !algorithms.includes(record.alg as Algorithm)) continue;
      const kid = record.uid.slice("key:".length);
      // A record never changes under its name, so verdicts that rest on it stay.
      keys.set(kid, before.get(kid) ?? verifyKey(record.jwk, record.alg as Algorithm));
    }
  };
  /** A video's own policy, else that of its live input. */
  const policy = (uid: string): Policy | undefined => {
    const input = inputs.get(uid);
    if (input) return input;
    const owner = ownerOf(uid);
    const inherited = owner === undefined ? undefined : inputs.get(owner);
    const own = records.get(`video:${uid}`);
    // What is left of a live input that is gone shows nobody what it may have guarded.
    if (own?.kind !== "video") return inherited ?? (owner === undefined ? undefined : closed);
    return {
      // A video whose input is not known is closed unless it says otherwise itself.
      requireSignedURLs: own.requireSignedURLs ?? inherited?.requireSignedURLs ?? true,
      allowedOrigins: own.allowedOrigins ?? inherited?.allowedOrigins ?? [],
    };
  };
  readKeys();
  const ends = [
    inputs.onChange(changed),
    records.onChange((uids) => {
      if ([...uids].some((uid) => uid.startsWith("key:"))) readKeys();
      changed();
    }),
  ];
  return {
    geo,
    key: (kid) => keys.get(kid),
    tokenRevoked: (id) => records.get(`token:${id}`) !== undefined,
    viewerRevoked: (viewer) => {
      const found = records.get(`viewer:${viewer}`);
      return found?.kind === "viewer" ? found.version : undefined;
    },
    policy,
    stale: () => records.contactMs > staleMs,
    end: () => {
      for (const end of ends) end();
    },
  };
}
