import { randomBytes } from "node:crypto";
import { generateKeys, readPrivateKey, readPublicKey, type SigningKey, sameKey } from "../../auth/keys.ts";
import { readRules } from "../../auth/rules.ts";
import { maxLifeSeconds, readToken, signToken } from "../../auth/token.ts";
import { Failure } from "../../lib/errors.ts";
import { z } from "../../lib/schema.ts";
import { newUid } from "../keys.ts";
import { addKey, maxKeys, removeKey, revoke } from "../store/grants.ts";
import { behindNotes, type Call, call, codes, type Deps, notFound, type Refusal } from "./call.ts";
import { inAccount, nothing, onOne } from "./inputs.ts";

const base = "/client/v4/accounts/:account/stream";
const defaultLifeSeconds = 3_600;
/** A revoked token cannot live longer than this from now on, so neither need its revocation. */
const revokedSeconds = maxLifeSeconds + 60;

const moment = z
  .union([z.number(), z.string()], { error: "must be seconds since 1970" })
  .refine((given) => /^\d{1,12}$/.test(String(given)), { error: "must be whole seconds since 1970" })
  .transform(Number);
const tokenBody = z
  .object({
    id: z.string({ error: "must be the id of a signing key" }).max(128),
    pem: z.string({ error: "must be the private key of `id`, as it was handed out" }).max(16_384),
    exp: moment.describe("When it ends, seconds since 1970; an hour from now when absent, at most 24 hours."),
    nbf: moment.describe("When it begins."),
    downloadable: z.boolean({ error: "must be true or false" }),
    accessRules: z.array(z.unknown(), { error: "must be a list of rules" }).max(20).refine(readRules, {
      error:
        "must be rules like {type: any | ip.src | ip.geoip.country | ip.geoip.asnum, action: allow | block, ip | country | asnum: [...]}",
    }),
    flags: z.record(z.string(), z.unknown()),
    viewerId: z.string({ error: "must be text" }).min(1).max(128).describe("Who watches, for a revocation."),
    viewerVersion: z.int({ error: "must be a whole number" }).min(0),
    maxSessions: z
      .int({ error: "must be a whole number from 1 to 1000" })
      .min(1)
      .max(1_000)
      .describe(
        "From how many places it may be used within a minute, over HTTP and over QUIC each: a viewer with two kinds of addresses comes from one over the one and from the other over the other.",
      ),
  })
  .partial();

/** A signing key in a list. */
export const keyId = z.object({ id: z.string(), created: z.string() });
const publicKey = z.union([z.string().max(16_384), z.record(z.string(), z.string().max(4_096))], {
  error: "must be a public key as PEM or JWK",
});

/** The calls about who may watch: signing keys, tokens, revocations. */
export function accessCalls({ records, keys, settled }: Deps): readonly Call[] {
  const kept = async (version: number) => behindNotes(await settled(version));
  return [
    call({
      method: "POST",
      path: `${base}/keys`,
      summary: "Create a signing key",
      detail:
        "The private key is shown once, as base64 of PEM and of JWK; only its public half is kept. Better: make the pair yourself and send its public half to `POST /v1/keys`.",
      scope: "stream:write",
      params: inAccount,
      query: nothing,
      idempotent: "answer",
      result: keyId.extend({ pem: z.string(), jwk: z.string() }),
      async handle({ actor, keep }) {
        const { pem, privateJwk, publicJwk } = generateKeys();
        const kid = newUid();
        const base64 = (text: string) => Buffer.from(text).toString("base64");
        const jwk = base64(JSON.stringify({ use: "sig", alg: "RS256", kid, ...privateJwk }));
        const { result, version } = await records.write(async (tx) => {
          const added = await addKey(tx, { kid, alg: "RS256", jwk: publicJwk });
          if (typeof added === "string") return added;
          await tx.audit(actor, "key.create", kid);
          const made = { id: kid, pem: base64(pem), jwk, created: added.created };
          await keep(tx, made);
          return made;
        });
        if (typeof result === "string") return refused(result, kid);
        return { status: 200, result, notes: await kept(version) };
      },
    }),
    call({
      method: "GET",
      path: `${base}/keys`,
      summary: "List signing keys",
      scope: "stream:read",
      params: inAccount,
      query: nothing,
      result: z.array(keyId),
      async handle() {
        const rows = await records.signingKeys();
        return { status: 200, result: rows.map(({ kid, created }) => ({ id: kid, created })) };
      },
    }),
    call({
      method: "DELETE",
      path: `${base}/keys/:id`,
      summary: "Revoke a signing key",
      detail: "Every token that it signed is refused from now on, also in requests that are being held.",
      scope: "stream:write",
      params: inAccount.extend({ id: z.string().max(128) }),
      query: nothing,
      result: z.literal("Revoked"),
      async handle({ params, actor }) {
        const { result: existed, version } = await records.write(async (tx) => {
          const removed = await removeKey(tx, params.id);
          if (removed) await tx.audit(actor, "key.delete", params.id);
          return removed;
        });
        if (!existed) return notFound;
        return { status: 200, result: "Revoked" as const, notes: await kept(version) };
      },
    }),
    call({
      method: "POST",
      path: "/v1/keys",
      summary: "Upload a public key",
      detail:
        "For tokens that you sign yourself with RS256, ES256 (P-256) or EdDSA (Ed25519); the algorithm follows from the key. The private half never leaves you.",
      scope: "stream:write",
      params: nothing,
      query: nothing,
      body: z.strictObject({
        publicKey,
        id: z
          .string()
          .regex(/^[\w.-]{1,128}$/, {
            error: "must be 1 to 128 letters, digits, dots, dashes or underscores",
          })
          .optional(),
      }),
      idempotent: "answer",
      result: keyId.extend({ alg: z.string() }),
      async handle({ body, actor, keep }) {
        try {
          const { jwk, alg } = readPublicKey(body.publicKey);
          const kid = body.id ?? newUid();
          if (kid === keys.own.kid) return refused("taken", kid);
          const { result, version } = await records.write(async (tx) => {
            const added = await addKey(tx, { kid, alg, jwk });
            if (typeof added === "string") return added;
            await tx.audit(actor, "key.upload", kid);
            const made = { id: kid, alg, created: added.created };
            await keep(tx, made);
            return made;
          });
          if (typeof result === "string") return refused(result, kid);
          return { status: 200, result, notes: await kept(version) };
        } catch (error) {
          if (error instanceof Failure) return wrong("/publicKey", `publicKey ${error.message}.`);
          throw error;
        }
      },
    }),
    call({
      method: "POST",
      path: `${base}/:uid/token`,
      summary: "Make a token for a video or a live input",
      detail:
        "Stands in place of the uid in every playback URL. Signed with the server's key, or with yours when `id` and `pem` are given.",
      scope: "stream:write",
      params: onOne,
      query: nothing,
      body: tokenBody,
      result: z.object({ token: z.string() }),
      example: { exp: 1_893_456_000, accessRules: [{ type: "any", action: "allow" }] },
      async handle({ params, body }) {
        const { uid } = params;
        if (!(await records.input(uid)) && !(await records.video(uid))) return notFound;
        const nowSeconds = Math.floor(Date.now() / 1000);
        const exp = body.exp ?? nowSeconds + defaultLifeSeconds;
        if (exp <= nowSeconds || exp > nowSeconds + maxLifeSeconds)
          return wrong("/exp", "exp must lie within the next 24 hours.");
        if (body.nbf !== undefined && body.nbf >= exp) return wrong("/nbf", "nbf must lie before exp.");
        const by = await signer(body.id, body.pem);
        if ("status" in by) return by;
        const claims = {
          sub: uid,
          exp,
          ...(body.nbf !== undefined && { nbf: body.nbf }),
          ...(body.downloadable !== undefined && { downloadable: body.downloadable }),
          ...(body.accessRules && { accessRules: body.accessRules }),
          ...(body.viewerId !== undefined && { vid: body.viewerId, ver: body.viewerVersion ?? 0 }),
          ...(body.maxSessions !== undefined && { maxSessions: body.maxSessions }),
          // Two tokens of one second can be revoked one by one.
          jti: randomBytes(9).toString("base64url"),
        };
        return { status: 200, result: { token: signToken(claims, by) } };
      },
    }),
    call({
      method: "POST",
      path: "/v1/revocations",
      summary: "Revoke a token or a viewer",
      detail:
        "A token by itself, or every token whose `viewerId` and `viewerVersion` fit. Counts within a second, also for requests that are being held. A key is revoked by deleting it.",
      scope: "stream:write",
      params: nothing,
      query: nothing,
      body: z.union(
        [
          z.strictObject({ token: z.string().max(4_096) }),
          z.strictObject({
            viewerId: z.string().min(1).max(128),
            versionsLessThanOrEqualTo: z
              .int()
              .min(0)
              .default(2 ** 31 - 1),
          }),
        ],
        { error: "must be {token} or {viewerId, versionsLessThanOrEqualTo}" },
      ),
      result: z.object({ until: z.string().describe("When it is forgotten; no such token lives longer.") }),
      async handle({ body, actor }) {
        const token = "token" in body ? readToken(body.token) : undefined;
        if ("token" in body && !token) return wrong("/token", "token is not a token.");
        const what =
          "viewerId" in body
            ? { viewer: body.viewerId, version: body.versionsLessThanOrEqualTo }
            : { token: token!.id };
        const { result, version } = await records.write(async (tx) => {
          await tx.audit(actor, "revocation.create", "viewerId" in body ? body.viewerId : token!.id);
          return revoke(tx, what, revokedSeconds);
        });
        return { status: 200, result, notes: await kept(version) };
      },
    }),
  ];

  /** Whose key signs: the caller's when he sends one that is known here. */
  async function signer(id: string | undefined, pem: string | undefined): Promise<SigningKey | Refusal> {
    if (id === undefined && pem === undefined) return keys.own;
    if (id === undefined || pem === undefined)
      return wrong(id === undefined ? "/id" : "/pem", "id and pem belong together: send both or none.");
    const known = await records.signingKey(id);
    if (!known) return wrong("/id", "id is not a signing key of this installation.");
    try {
      const { key, alg } = readPrivateKey(pem);
      return sameKey(key, known) ? { kid: id, alg, key } : wrong("/pem", "pem is not the private key of id.");
    } catch (error) {
      if (error instanceof Failure) return wrong("/pem", `pem ${error.message}.`);
      throw error;
    }
  }
}

function refused(why: "full" | "taken", kid: string): Refusal {
  const message =
    why === "full"
      ? `There are ${maxKeys} signing keys; delete one that is not used.`
      : `There is a key ${kid} already.`;
  return { status: 409, errors: [{ code: codes.conflict, message }] };
}

function wrong(pointer: string, message: string): Refusal {
  return { status: 400, errors: [{ code: codes.badRequest, message, source: { pointer } }] };
}
