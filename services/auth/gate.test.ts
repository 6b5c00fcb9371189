import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { type Client, Gate, type Ground, matches } from "./gate.ts";
import {
  generateKeys,
  publicHalf,
  readPrivateKey,
  readPublicKey,
  type VerifyKey,
  verifyKey,
} from "./keys.ts";
import { readToken, signToken } from "./token.ts";

const input = "0123456789abcdef0123456789abcdef";
const other = "fedcba9876543210fedcba9876543210";
const nowMs = Date.UTC(2026, 10, 22);
const now = nowMs / 1000;

const made = generateKeys();
const rsa = { kid: "k1", ...readPrivateKey(made.pem) };
const ec = {
  kid: "k2",
  ...readPrivateKey(pemOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey)),
};
const ed = { kid: "k3", ...readPrivateKey(pemOf(generateKeyPairSync("ed25519").privateKey)) };
const stranger = { kid: "k1", ...readPrivateKey(generateKeys().pem) };

const keys = new Map<string, VerifyKey>();
const revokedTokens = new Set<string>();
const revokedViewers = new Map<string, number>();
let stale = false;
let policy = { requireSignedURLs: true, allowedOrigins: [] as string[] };
/** Of a video of `input`. */
const video = "c".repeat(32);
let ofVideo = policy;
let geo: Ground["geo"] = {};

const client: Client = { address: "192.0.2.7", agent: "test", page: undefined, host: "s.example" };

beforeEach(() => {
  keys.clear();
  for (const key of [rsa, ec, ed]) keys.set(key.kid, verifyKey(publicHalf(key.key), key.alg));
  revokedTokens.clear();
  revokedViewers.clear();
  stale = false;
  policy = { requireSignedURLs: true, allowedOrigins: [] };
  geo = {};
});

function open(): Gate {
  const ground: Ground = {
    key: (kid) => keys.get(kid),
    tokenRevoked: (id) => revokedTokens.has(id),
    viewerRevoked: (viewer) => revokedViewers.get(viewer),
    policy: (uid) => (uid === input || uid === other ? policy : uid === video ? ofVideo : undefined),
    stale: () => stale,
    get geo() {
      return geo;
    },
  };
  return new Gate(ground);
}

const good = { sub: input, exp: now + 3_600 };
const admitted = { uid: input, guarded: true };
const look = (token: string, as: Partial<Client> = {}, gate = open()) =>
  gate.admit(token, { ...client, ...as }, nowMs);

function pemOf(key: KeyObject): string {
  return key.export({ format: "pem", type: "pkcs8" }) as string;
}

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
/** A token put together by hand, signed as `make` says. */
function forged(header: object, claims: object, make: (text: string) => Buffer): string {
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${make(text).toString("base64url")}`;
}
const byRsa = (text: string) => sign("sha256", Buffer.from(text), rsa.key);

describe("who holds a good token is let in", () => {
  test.for([
    ["RS256", rsa],
    ["ES256", ec],
    ["EdDSA", ed],
  ] as const)("%s", ([, key]) => expect(look(signToken(good, key))).toMatchObject(admitted));

  test.for<[string, object]>([
    ["numbers as text, as the samples of Cloudflare have them", { exp: `${now + 60}`, nbf: `${now - 60}` }],
    ["a clock that is 20 s ahead", { nbf: now + 20 }],
    ["downloadable", { downloadable: true }],
    ["a rule that admits", { accessRules: [{ type: "ip.src", action: "allow", ip: ["192.0.2.0/24"] }] }],
    ["no rule matches", { accessRules: [{ type: "ip.src", action: "block", ip: ["198.51.100.0/24"] }] }],
    [
      "the first rule that matches counts",
      {
        accessRules: [
          { type: "ip.src", action: "allow", ip: ["192.0.2.7"] },
          { type: "any", action: "block" },
        ],
      },
    ],
  ])("%s", ([, claims]) => {
    const verdict = look(signToken({ ...good, ...claims }, rsa));
    expect(verdict).toMatchObject(admitted);
  });

  test("kid may stand in the payload alone", () => {
    const token = forged({ alg: "RS256" }, { ...good, kid: "k1" }, byRsa);
    expect(look(token)).toMatchObject(admitted);
  });
});

describe("abuse", () => {
  const none = forged({ alg: "none", kid: "k1" }, good, () => Buffer.from("x"));
  const publicPem = publicKeyPem();
  const valid = signToken(good, rsa);
  test.for<[name: string, token: string, status: number, reason: string, as?: Partial<Client>]>([
    ["alg none", none, 403, "signature"],
    ["alg none without a signature", none.replace(/[^.]*$/, ""), 403, "unknown"],
    [
      "HS256 with the public key as the secret",
      forged({ alg: "HS256", kid: "k1" }, good, (text) =>
        createHmac("sha256", publicPem).update(text).digest(),
      ),
      403,
      "signature",
    ],
    [
      "RS384",
      forged({ alg: "RS384", kid: "k1" }, good, (t) => sign("sha384", Buffer.from(t), rsa.key)),
      403,
      "signature",
    ],
    ["another algorithm than the key's", forged({ alg: "ES256", kid: "k1" }, good, byRsa), 403, "signature"],
    ["another's key under this kid", signToken(good, stranger), 403, "signature"],
    ["an unknown kid", signToken(good, { ...rsa, kid: "nobody" }), 403, "key"],
    [
      "two kids that disagree",
      forged({ alg: "RS256", kid: "k1" }, { ...good, kid: "k2" }, byRsa),
      403,
      "token",
    ],
    ["no kid", forged({ alg: "RS256" }, good, byRsa), 403, "token"],
    [
      "a critical extension",
      forged({ alg: "RS256", kid: "k1", crit: ["b64"], b64: false }, good, byRsa),
      403,
      "token",
    ],
    ["changed claims", swapClaims(valid, { ...good, sub: other }), 403, "signature"],
    ["expired", signToken({ ...good, exp: now - 1 }, rsa), 401, "expired"],
    ["expired, as text", signToken({ ...good, exp: `${now - 1}` }, rsa), 401, "expired"],
    ["no exp", signToken({ sub: input }, rsa), 403, "token"],
    ["exp is no number", signToken({ ...good, exp: "soon" }, rsa), 403, "token"],
    ["exp lies in two days", signToken({ ...good, exp: now + 172_800 }, rsa), 403, "token"],
    ["not yet", signToken({ ...good, nbf: now + 60 }, rsa), 403, "early"],
    ["a sub that is none", signToken({ ...good, sub: "../../etc" }, rsa), 403, "token"],
    ["a sub that nobody knows", signToken({ ...good, sub: "a".repeat(32) }, rsa), 403, "unknown"],
    ["rules that are no rules", signToken({ ...good, accessRules: "all" }, rsa), 403, "token"],
    [
      "a rule of a kind that is not known",
      signToken({ ...good, accessRules: [{ type: "x", action: "allow" }] }, rsa),
      403,
      "token",
    ],
    [
      "a network that is none",
      signToken({ ...good, accessRules: [{ type: "ip.src", action: "block", ip: ["1.2.3.4/33"] }] }, rsa),
      403,
      "token",
    ],
    [
      "blocked by address",
      signToken({ ...good, accessRules: [{ type: "ip.src", action: "block", ip: ["192.0.2.0/24"] }] }, rsa),
      403,
      "rule",
    ],
    [
      "an IPv4 rule and the same viewer in IPv6 clothes",
      signToken(
        { ...good, accessRules: [{ type: "ip.src", action: "block", ip: ["::ffff:192.0.2.0/120"] }] },
        rsa,
      ),
      403,
      "rule",
    ],
    [
      "an IPv4 allow-list and a viewer over IPv6",
      signToken(
        {
          ...good,
          accessRules: [
            { type: "ip.src", action: "allow", ip: ["192.0.2.0/24"] },
            { type: "any", action: "block" },
          ],
        },
        rsa,
      ),
      403,
      "rule",
      { address: "2001:db8::1" },
    ],
    [
      "a country rule without a database",
      signToken(
        { ...good, accessRules: [{ type: "ip.geoip.country", action: "allow", country: ["DE"] }] },
        rsa,
      ),
      403,
      "rule",
    ],
    [
      "a network rule without a database",
      signToken(
        { ...good, accessRules: [{ type: "ip.geoip.asnum", action: "block", asnum: [64_496] }] },
        rsa,
      ),
      403,
      "rule",
    ],
    ["no token", input, 403, "token needed"],
    ["an unknown uid", "b".repeat(32), 403, "unknown"],
  ])("%s", ([, token, status, reason, as]) => expect(look(token, as)).toMatchObject({ status, reason }));

  test("what is refused says the same whether something is there or not", () => {
    const sentences = ["b".repeat(32), input, signToken({ ...good, sub: other }, stranger)].map(
      (playback) => {
        const verdict = look(playback);
        return "status" in verdict && `${verdict.status} ${verdict.message}`;
      },
    );
    expect(new Set(sentences).size).toBe(1);
  });

  test("a token passes or fails as it stands: another form of its signature is the same token to a revocation", () => {
    revokedTokens.add(readToken(valid)!.id);
    expect(look(valid)).toMatchObject({ status: 403, reason: "revoked" });
    expect(look(`${valid}A`)).toMatchObject({ status: 403 });
    // The last character of 342 carries four bits that nobody reads.
    const twin = valid.slice(0, -1) + String.fromCharCode(valid.charCodeAt(valid.length - 1) + 1);
    expect(look(twin)).toMatchObject({ status: 403 });
  });

  function publicKeyPem(): string {
    return Buffer.from(JSON.stringify(made.publicJwk)).toString("utf8");
  }
  function swapClaims(token: string, claims: object): string {
    const [head, , signature] = token.split(".");
    return `${head}.${part(claims)}.${signature}`;
  }
});

describe("what changes counts at the next request, whatever was decided before", () => {
  const token = signToken({ ...good, vid: "ann", ver: 2 }, rsa);
  let gate: Gate;
  beforeEach(() => {
    gate = open();
    expect(look(token, {}, gate)).toMatchObject(admitted);
  });
  test("the key goes", () => {
    keys.delete("k1");
    expect(look(token, {}, gate)).toMatchObject({ status: 403, reason: "key" });
  });
  test("the key is another one under the same name", () => {
    keys.set("k1", verifyKey(publicHalf(stranger.key), "RS256"));
    expect(look(token, {}, gate)).toMatchObject({ status: 403, reason: "signature" });
  });
  test("the viewer is revoked, up to a version", () => {
    revokedViewers.set("ann", 1);
    expect(look(token, {}, gate)).toMatchObject(admitted);
    revokedViewers.set("ann", 2);
    expect(look(token, {}, gate)).toMatchObject({ status: 403, reason: "revoked" });
    expect(look(signToken({ ...good, vid: "ann", ver: 3 }, rsa), {}, gate)).toMatchObject(admitted);
    expect(look(signToken({ ...good, vid: "bob", ver: 0 }, rsa), {}, gate)).toMatchObject(admitted);
  });
  test("the token is revoked, and no other", () => {
    revokedTokens.add(readToken(token)!.id);
    expect(look(token, {}, gate)).toMatchObject({ status: 403, reason: "revoked" });
    expect(look(signToken(good, rsa), {}, gate)).toMatchObject(admitted);
  });
  test("control was not heard for too long", () => {
    stale = true;
    expect(look(token, {}, gate)).toMatchObject({ status: 503, reason: "stale" });
    policy = { requireSignedURLs: false, allowedOrigins: [] };
    expect(look(input, {}, gate)).toMatchObject({ uid: input, guarded: false });
  });
  test("its time is over", () =>
    expect(gate.admit(token, client, nowMs + 3_600_000)).toMatchObject({ status: 401, reason: "expired" }));
});

test("a place that the database knows is judged, one that it does not know matches no rule", () => {
  geo = { country: (address) => (address.startsWith("192.") ? "DE" : undefined), asn: () => 64_496 };
  const german = signToken(
    {
      ...good,
      accessRules: [
        { type: "ip.geoip.country", action: "allow", country: ["de"] },
        { type: "any", action: "block" },
      ],
    },
    rsa,
  );
  expect(look(german)).toMatchObject(admitted);
  expect(look(german, { address: "10.0.0.1" })).toMatchObject({ status: 403, reason: "rule" });
  const byNetwork = signToken(
    { ...good, accessRules: [{ type: "ip.geoip.asnum", action: "block", asnum: ["64496"] }] },
    rsa,
  );
  expect(look(byNetwork)).toMatchObject({ status: 403, reason: "rule" });
});

test("a token for two places admits two of fifty, and the two go on", () => {
  const gate = open();
  const token = signToken({ ...good, maxSessions: 2 }, rsa);
  const at = (i: number, ms = nowMs) => gate.admit(token, { ...client, address: `10.0.${i}.1` }, ms);
  const first = Array.from({ length: 50 }, (_, i) => "uid" in at(i));
  expect(first.filter(Boolean)).toHaveLength(2);
  expect([at(0), at(1), at(2)]).toMatchObject([admitted, admitted, { status: 403, reason: "sessions" }]);
  // The same household over another address of its block is the same place.
  expect(gate.admit(token, { ...client, address: "10.0.0.200" }, nowMs)).toMatchObject(admitted);
  at(0, nowMs + 61_000);
  expect(at(2, nowMs + 61_000)).toMatchObject(admitted);
});

test("who stays with such a token has to ask again before his place is given away", () => {
  const gate = open();
  const token = signToken({ ...good, maxSessions: 1 }, rsa);
  const at = (i: number, ms: number) => gate.admit(token, { ...client, address: `10.0.${i}.1` }, nowMs + ms);
  const first = at(0, 0);
  const { againMs = 0 } = first as { readonly againMs?: number };
  for (let ms = againMs; ms <= 180_000; ms += againMs) expect(at(0, ms)).toMatchObject(admitted);
  expect(at(1, 185_000)).toMatchObject({ status: 403, reason: "sessions" });
  expect(look(signToken(good, rsa), {}, gate)).not.toHaveProperty("againMs");
});

test.for([
  { name: "one that demands nothing", own: {}, playback: input, page: undefined, said: "in" },
  { name: "none of that name", own: undefined, playback: input, page: undefined, said: "in" },
  {
    name: "a guarded one",
    own: { requireSignedURLs: true },
    playback: input,
    page: undefined,
    said: "token needed",
  },
  {
    name: "a guarded one, with a token",
    own: { requireSignedURLs: true },
    playback: "token",
    page: undefined,
    said: "in",
  },
  {
    name: "one for some pages",
    own: { allowedOrigins: ["a.example"] },
    playback: input,
    page: "https://a.example",
    said: "in",
  },
  {
    name: "one for other pages",
    own: { allowedOrigins: ["a.example"] },
    playback: "token",
    page: "https://b.example",
    said: "origin",
  },
])("an open live input leads to $name of its videos: $said", ({ own, playback, page, said }) => {
  policy = { requireSignedURLs: false, allowedOrigins: [] };
  ofVideo = { ...policy, ...own };
  const by = playback === "token" ? signToken(good, rsa) : playback;
  const found = open().admit(by, { ...client, page }, nowMs, own ? video : "b".repeat(32));
  expect("status" in found ? found.reason : "in").toBe(said);
  if (!("status" in found) && own?.allowedOrigins) expect(found.guarded).toBe(true);
});

describe("pages that may show it", () => {
  beforeEach(() => {
    policy = {
      requireSignedURLs: false,
      allowedOrigins: ["example.com", "*.shop.example", "localhost:3000"],
    };
  });
  test.for([
    [undefined, true],
    ["https://example.com", true],
    ["https://a.shop.example", true],
    ["https://a.b.shop.example", true],
    ["http://localhost:3000", true],
    ["https://s.example", true],
    ["https://shop.example", false],
    ["https://evilshop.example", false],
    ["https://example.com.evil.test", false],
    ["https://sub.example.com", false],
    ["http://localhost:4000", false],
    ["null", false],
  ] as const)("%s: %s", ([page, allowed]) => {
    const verdict = open().admit(input, { ...client, page }, nowMs);
    expect("uid" in verdict).toBe(allowed);
    if ("uid" in verdict) expect(verdict.guarded).toBe(true);
  });
  test("a wildcard is not the name itself", () => expect(matches("*.x.com", "x.com")).toBe(false));
});

test.for([
  ["a private key", made.pem, /private/],
  ["a private JWK", made.privateJwk, /private/],
  ["RSA of 1024 bits", shortRsa(), /2048/],
  ["a curve that is not offered", curve(), /P-256/],
  ["a secret", { kty: "oct", k: "AAAA" }, /PEM or JWK/],
] as const)("uploading %s is refused", ([, given, sentence]) =>
  expect(() => readPublicKey(given as string)).toThrow(sentence),
);

function shortRsa(): string {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  return publicKey.export({ format: "pem", type: "spki" }) as string;
}
function curve(): string {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  return publicKey.export({ format: "pem", type: "spki" }) as string;
}
