import { blockOf } from "../lib/address.ts";
import type { VerifyKey } from "./keys.ts";
import { type Geo, judge } from "./rules.ts";
import { looksLikeToken, maxLifeSeconds, readToken, type Token, verified } from "./token.ts";

/** What the owner of a live input or a video demands of viewers. */
export interface Policy {
  readonly requireSignedURLs: boolean;
  /** Hosts of pages that may show it, as `example.com`, `*.example.com` or `localhost:3000`; empty is everywhere. */
  readonly allowedOrigins: readonly string[];
}

/** What the gate decides by; each is asked at every request, so a change counts at once. */
export interface Ground {
  key(kid: string): VerifyKey | undefined;
  /** Whether this token, by its `id`, was revoked. */
  tokenRevoked(id: string): boolean;
  /** The newest version of a viewer's permission that is revoked. */
  viewerRevoked(viewer: string): number | undefined;
  /** undefined when nothing is known under this uid. */
  policy(uid: string): Policy | undefined;
  /** True when control was not heard for so long that revocations may be missing. */
  stale(): boolean;
  readonly geo: Geo;
}

/** Who asks. `page` is the origin of the page that asks, where the browser says so; `agent` its program. */
export interface Client {
  readonly address: string;
  readonly agent: string;
  readonly page: string | undefined;
  /** Own host and port as the client named it: our own pages may always ask. */
  readonly host: string;
}

/** May watch. `uid` is what stands for the token from here on. */
export interface Admission {
  readonly uid: string;
  readonly downloadable: boolean;
  /** When it ends by itself, epoch ms; Infinity without a token. */
  readonly untilMs: number;
  /** It takes one of few places: who stays for long asks again this often, ms, or his place is somebody else's. */
  readonly againMs?: number | undefined;
  /** What comes out must not be kept by a cache that others use. */
  readonly guarded: boolean;
  readonly allowedOrigins: readonly string[];
  /** Whom the token was signed for, where it says so. */
  readonly viewer?: string | undefined;
}

/** May not. `reason` is for counters and logs; the answer says only what an honest caller can change. */
export interface Denial {
  readonly status: 401 | 403 | 503;
  readonly reason:
    | "unknown"
    | "token needed"
    | "token"
    | "key"
    | "signature"
    | "expired"
    | "early"
    | "revoked"
    | "rule"
    | "sessions"
    | "origin"
    | "stale";
  readonly message: string;
}

interface Entry {
  readonly token: Token;
  /** The key that verified it: another record under the same name verifies anew. */
  readonly by: VerifyKey;
  readonly verdicts: Map<string, boolean>;
  /** When each place was last seen, for tokens that limit them. */
  readonly places: Map<string, number>;
}

/** One sentence for all: whoever holds nothing learns nothing, not even whether something is there. */
const no = "This is not available to you: it needs a valid token, or it does not exist";
const denied = (reason: Denial["reason"]): Denial => ({ status: 403, reason, message: no });

/** Clocks of those who sign differ; an end is an end. */
const earlySeconds = 30;
const sessionMs = 60_000;
const againMs = 20_000;
const maxEntries = 20_000;
const maxPlaces = 1_000;

/** Decides who may watch, at every request; what a token's signature and rules say is worked out once. */
export class Gate {
  readonly #ground: Ground;
  #young = new Map<string, Entry>();
  #old = new Map<string, Entry>();

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** `playback` is a uid or a token in its place; `video`, what of a live input is asked for, where that is said. */
  admit(playback: string, client: Client, nowMs: number, video?: string): Admission | Denial {
    const found = looksLikeToken(playback)
      ? this.#byToken(playback, client, nowMs)
      : this.#byUid(playback, client);
    return "status" in found || video === undefined || video === found.uid
      ? found
      : this.#within(found, video, client);
  }

  /** Forgets which verdicts depended on where addresses lie. */
  geoChanged(): void {
    this.#young.clear();
    this.#old.clear();
  }

  /** What a video demands of its own counts for who comes to it by its live input, too. */
  #within(found: Admission, video: string, client: Client): Admission | Denial {
    const policy = this.#ground.policy(video);
    // There is no such video, as whoever looks for it will say.
    if (!policy) return found;
    const { requireSignedURLs, allowedOrigins } = policy;
    if (requireSignedURLs && found.untilMs === Number.POSITIVE_INFINITY) return denied("token needed");
    if (allowedOrigins.length === 0) return found;
    if (client.page !== undefined && !mayShow(allowedOrigins, client)) return denied("origin");
    return { ...found, allowedOrigins, guarded: true };
  }

  #byUid(uid: string, client: Client): Admission | Denial {
    const policy = this.#ground.policy(uid);
    if (!policy) return denied("unknown");
    if (policy.requireSignedURLs) return denied("token needed");
    return this.#open(uid, policy, client, undefined);
  }

  #byToken(text: string, client: Client, nowMs: number): Admission | Denial {
    const entry = this.#find(text);
    if ("status" in entry) return entry;
    const { token, verdicts } = entry;
    const { claims } = token;
    const ground = this.#ground;
    if (ground.tokenRevoked(token.id)) return denied("revoked");
    if (claims.viewer !== undefined) {
      const revoked = ground.viewerRevoked(claims.viewer);
      if (revoked !== undefined && claims.version <= revoked) return denied("revoked");
    }
    // Whoever holds a signed token may know that its time is over: that is what an honest player has to hear.
    if (nowMs >= claims.exp * 1000)
      return { status: 401, reason: "expired", message: "This token has expired; ask for a new one" };
    if (claims.exp * 1000 > nowMs + (maxLifeSeconds + earlySeconds) * 1000) return denied("token");
    if (claims.nbf !== undefined && nowMs < (claims.nbf - earlySeconds) * 1000) return denied("early");
    let allowed = verdicts.get(client.address);
    if (allowed === undefined) {
      allowed = judge(claims.rules, client.address, ground.geo) === "allow";
      if (verdicts.size >= maxPlaces) verdicts.clear();
      verdicts.set(client.address, allowed);
    }
    if (!allowed) return denied("rule");
    const policy = ground.policy(claims.sub);
    if (!policy) return denied("unknown");
    if (ground.stale())
      return {
        status: 503,
        reason: "stale",
        message: "The server cannot check tokens at the moment; try again later",
      };
    if (claims.maxSessions !== undefined && !this.#seat(entry, client, nowMs, claims.maxSessions))
      return denied("sessions");
    return this.#open(claims.sub, policy, client, claims);
  }

  /** The token behind this text, with its signature checked by the key that is in force now. */
  #find(text: string): Entry | Denial {
    let entry = this.#young.get(text);
    if (!entry) {
      entry = this.#old.get(text);
      if (entry) this.#keep(text, entry);
    }
    const token = entry?.token ?? readToken(text);
    if (!token) return denied("token");
    const by = this.#ground.key(token.kid);
    if (!by) return denied("key");
    if (entry?.by === by) return entry;
    if (!verified(token, by)) return denied("signature");
    const fresh: Entry = { token, by, verdicts: new Map(), places: entry?.places ?? new Map() };
    this.#keep(text, fresh);
    return fresh;
  }

  #keep(text: string, entry: Entry): void {
    if (this.#young.size >= maxEntries / 2) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(text, entry);
  }

  /** A place is an address block and a program; the newest beyond the limit stays outside. */
  #seat({ places }: Entry, client: Client, nowMs: number, limit: number): boolean {
    const place = `${blockOf(client.address)} ${client.agent}`;
    if (!places.has(place)) {
      for (const [other, at] of places) if (nowMs - at > sessionMs) places.delete(other);
      if (places.size >= Math.min(limit, maxPlaces)) return false;
    }
    places.set(place, nowMs);
    return true;
  }

  #open(
    uid: string,
    policy: Policy,
    client: Client,
    claims: Token["claims"] | undefined,
  ): Admission | Denial {
    const { allowedOrigins } = policy;
    if (allowedOrigins.length > 0 && client.page !== undefined && !mayShow(allowedOrigins, client))
      return denied("origin");
    return {
      uid,
      downloadable: claims?.downloadable ?? !policy.requireSignedURLs,
      untilMs: claims ? claims.exp * 1000 : Number.POSITIVE_INFINITY,
      ...(claims?.maxSessions !== undefined && { againMs }),
      guarded: claims !== undefined || allowedOrigins.length > 0,
      allowedOrigins,
      ...(claims?.viewer !== undefined && { viewer: claims.viewer }),
    };
  }
}

function mayShow(allowed: readonly string[], { page, host }: Client): boolean {
  const own = page === undefined || !URL.canParse(page) ? undefined : new URL(page).host;
  return own !== undefined && (own === host || allowed.some((pattern) => matches(pattern, own)));
}

/** `*.x.com` is every name below x.com at any depth, and not x.com itself; a port counts when one is given. */
export function matches(pattern: string, host: string): boolean {
  const [name = "", port] = splitPort(pattern.toLowerCase());
  const [other = "", otherPort] = splitPort(host.toLowerCase());
  if (port !== otherPort) return false;
  return name.startsWith("*.")
    ? other.length > name.length - 1 && other.endsWith(name.slice(1))
    : name === other;
}

function splitPort(host: string): [string, string | undefined] {
  const found = /^(.*?)(?::(\d+))?$/.exec(host)!;
  return [found[1]!, found[2]];
}
