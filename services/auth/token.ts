import { createHash, sign, verify } from "node:crypto";
import type { Algorithm, SigningKey, VerifyKey } from "./keys.ts";
import { type Rule, readRules } from "./rules.ts";

/** Longer than any token of ours with five rules; what is longer is not looked at. */
const maxTokenLength = 4_096;
/** No token may say that it lives longer than this from now on; a revocation is forgotten after it. */
export const maxLifeSeconds = 86_400;

const shape = /^[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,4096}\.[A-Za-z0-9_-]{1,1400}$/;

/** What a token says, in the form that the gate compares. Moments are seconds since 1970. */
export interface Claims {
  readonly sub: string;
  readonly exp: number;
  readonly nbf: number | undefined;
  readonly downloadable: boolean;
  readonly rules: readonly Rule[];
  /** Who watches, and the version of this permission: what a revocation of a viewer names. */
  readonly viewer: string | undefined;
  readonly version: number;
  /** How many places may watch with it at once. */
  readonly maxSessions: number | undefined;
}

/** A token taken apart; nothing of it is to be believed before `verified`. */
export interface Token {
  readonly kid: string;
  readonly alg: string;
  /** SHA-256 of what is signed, hex: names the token whatever form its signature has. */
  readonly id: string;
  readonly claims: Claims;
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/** Whether a piece of a path is meant as a token. */
export function looksLikeToken(text: string): boolean {
  // Nearly all that is asked about are uids, several times a request.
  return text.includes(".") && text.length <= maxTokenLength && shape.test(text);
}

/** Takes a token apart; undefined when it is none that could ever be accepted. */
export function readToken(text: string): Token | undefined {
  if (!looksLikeToken(text)) return undefined;
  const [head, payload, signature] = text.split(".") as [string, string, string];
  const header = readObject(head);
  const body = readObject(payload);
  if (!header || !body || "crit" in header) return undefined;
  const kid = header.kid ?? body.kid;
  if (typeof kid !== "string" || kid === "" || kid.length > 128) return undefined;
  // Both places are customary; two that disagree are somebody's trick.
  if (header.kid !== undefined && body.kid !== undefined && header.kid !== body.kid) return undefined;
  const claims = readClaims(body);
  if (!claims || typeof header.alg !== "string") return undefined;
  const signed = Buffer.from(`${head}.${payload}`, "ascii");
  return {
    kid,
    alg: header.alg,
    id: createHash("sha256").update(signed).digest("hex"),
    claims,
    signed,
    signature: Buffer.from(signature, "base64url"),
  };
}

/** Whether the key signed it, with the key's own algorithm (RFC 8725 3.1: never with what the token claims). */
export function verified({ alg, signed, signature }: Token, by: VerifyKey): boolean {
  if (alg !== by.alg) return false;
  try {
    if (by.alg === "EdDSA") return verify(null, signed, by.key, signature);
    if (by.alg === "ES256")
      return verify("sha256", signed, { key: by.key, dsaEncoding: "ieee-p1363" }, signature);
    return verify("sha256", signed, by.key, signature);
  } catch {
    return false;
  }
}

/** A signed token of these claims. */
export function signToken(claims: Readonly<Record<string, unknown>>, by: SigningKey): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: by.alg, kid: by.kid })}.${part({ ...claims, kid: by.kid })}`;
  return `${text}.${signatureOf(Buffer.from(text), by).toString("base64url")}`;
}

function signatureOf(bytes: Buffer, { alg, key }: { alg: Algorithm; key: SigningKey["key"] }): Buffer {
  if (alg === "EdDSA") return sign(null, bytes, key);
  return alg === "ES256"
    ? sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" })
    : sign("sha256", bytes, key);
}

function readClaims(body: Readonly<Record<string, unknown>>): Claims | undefined {
  const { sub, vid } = body;
  const exp = seconds(body.exp);
  const nbf = body.nbf === undefined || body.nbf === null ? undefined : seconds(body.nbf);
  const version = body.ver === undefined ? 0 : seconds(body.ver);
  const rules = readRules(body.accessRules);
  const maxSessions = body.maxSessions === undefined ? undefined : seconds(body.maxSessions);
  if (typeof sub !== "string" || !/^[0-9a-f]{32}$/.test(sub) || exp === undefined || !rules) return undefined;
  if (version === undefined || (body.nbf != null && nbf === undefined)) return undefined;
  if (vid !== undefined && (typeof vid !== "string" || vid === "" || vid.length > 128)) return undefined;
  if (body.maxSessions !== undefined && (maxSessions === undefined || maxSessions < 1)) return undefined;
  return {
    sub,
    exp,
    nbf,
    downloadable: body.downloadable === true,
    rules,
    viewer: vid,
    version,
    maxSessions,
  };
}

/** Cloudflare's own examples carry moments as text. */
function seconds(value: unknown): number | undefined {
  const number = typeof value === "string" && /^\d{1,15}(\.\d{1,9})?$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) && number >= 0 ? number : undefined;
}

function readObject(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return value !== null && typeof value === "object" && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
