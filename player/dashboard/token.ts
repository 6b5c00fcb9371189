/** A rule as it is being written; `values` is what a person types. */
export interface RuleDraft {
  readonly type: "any" | "ip.src" | "ip.geoip.country" | "ip.geoip.asnum";
  readonly action: "allow" | "block";
  readonly values: string;
}

/** A token as it is being put together. */
export interface TokenDraft {
  readonly seconds: number;
  /** As an input of type datetime-local has it, in the reader's zone; empty is at once. */
  readonly notBefore: string;
  readonly downloadable: boolean;
  readonly viewerId: string;
  readonly maxSessions: string;
  readonly rules: readonly RuleDraft[];
  /** A signing key of one's own; both empty is the server's. */
  readonly keyId: string;
  readonly pem: string;
}

/** What the API is asked for. */
export function tokenBodyOf(draft: TokenDraft, nowSeconds: number): Readonly<Record<string, unknown>> {
  const nbf = draft.notBefore ? Math.floor(Date.parse(draft.notBefore) / 1_000) : undefined;
  return {
    exp: nowSeconds + draft.seconds,
    ...(nbf !== undefined && { nbf }),
    ...(draft.downloadable && { downloadable: true }),
    ...(draft.viewerId.trim() && { viewerId: draft.viewerId.trim() }),
    ...(draft.maxSessions.trim() && { maxSessions: Number(draft.maxSessions) }),
    ...(draft.rules.length && { accessRules: draft.rules.map(ruleOf) }),
    ...((draft.keyId.trim() || draft.pem.trim()) && { id: draft.keyId.trim(), pem: draft.pem.trim() }),
  };
}

function ruleOf({ type, action, values }: RuleDraft): Readonly<Record<string, unknown>> {
  const list = values.split(/[\s,]+/).filter(Boolean);
  if (type === "ip.src") return { type, action, ip: list };
  if (type === "ip.geoip.country") return { type, action, country: list.map((one) => one.toUpperCase()) };
  if (type === "ip.geoip.asnum")
    return { type, action, asnum: list.map((one) => Number(one.replace(/^AS/i, ""))) };
  return { type, action };
}

/** What a token says, for a person to check; undefined when it is none. */
export function claimsOf(token: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const text = atob(token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
