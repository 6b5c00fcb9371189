import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { Failure } from "../lib/errors.ts";

/** The algorithms that a key can stand for; which one is a property of the key, never of a token. */
export const algorithms = ["RS256", "ES256", "EdDSA"] as const;
export type Algorithm = (typeof algorithms)[number];

/** A key in the fields of RFC 7517, all of which are text here. */
export type Jwk = Readonly<Record<string, string>>;

/** A public key that tokens may be signed for. */
export interface VerifyKey {
  readonly alg: Algorithm;
  readonly key: KeyObject;
}

/** A private key with what its tokens say about it. */
export interface SigningKey {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly key: KeyObject;
}

const least = { rsaBits: 2048 };
/** What a public key of each kind consists of (RFC 7518 6.2, 6.3; RFC 8037 2). */
const fields = { RSA: ["kty", "n", "e"], EC: ["kty", "crv", "x", "y"], OKP: ["kty", "crv", "x"] } as const;

/** A key pair in the form that Cloudflare hands out: RSA of 2048 bits. The private half is for the caller alone. */
export function generateKeys(): {
  readonly pem: string;
  readonly privateJwk: Jwk;
  readonly publicJwk: Jwk;
} {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: least.rsaBits });
  return {
    pem: privateKey.export({ type: "pkcs1", format: "pem" }) as string,
    privateJwk: privateKey.export({ format: "jwk" }) as Jwk,
    publicJwk: publicKey.export({ format: "jwk" }) as Jwk,
  };
}

/** The Ed25519 key that 32 secret bytes stand for: the same secret, the same key, and nothing to store. */
export function keyFromSeed(seed: Buffer): KeyObject {
  // RFC 8410 7: the DER of a PKCS #8 Ed25519 key is this head and then the seed.
  const head = Buffer.from("302e020100300506032b657004220420", "hex");
  return createPrivateKey({ key: Buffer.concat([head, seed]), format: "der", type: "pkcs8" });
}

/** A public key that somebody uploads, as PEM or JWK, without whatever else it carried. Throws `Failure` with what to send instead. */
export function readPublicKey(given: string | Jwk): { readonly jwk: Jwk; readonly alg: Algorithm } {
  if (typeof given === "string" ? /PRIVATE KEY/.test(given) : "d" in given)
    throw new Failure("bad_request", "holds a private key: send the public half, and make a new pair");
  let key: KeyObject;
  try {
    key = typeof given === "string" ? createPublicKey(given) : createPublicKey({ key: given, format: "jwk" });
  } catch (error) {
    throw new Failure("bad_request", "is not a public key in PEM or JWK", { cause: error });
  }
  const alg = algorithmOf(key);
  const whole = key.export({ format: "jwk" }) as Jwk;
  const jwk = Object.fromEntries(
    fields[whole.kty as keyof typeof fields].map((name) => [name, whole[name]!]),
  );
  return { jwk, alg };
}

/** A private key from PEM or from base64 of PEM, as Cloudflare hands it out. */
export function readPrivateKey(text: string): { readonly key: KeyObject; readonly alg: Algorithm } {
  const pem = text.includes("-----BEGIN") ? text : Buffer.from(text, "base64").toString("utf8");
  try {
    const key = createPrivateKey(pem);
    return { key, alg: algorithmOf(key) };
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure("bad_request", "is not a private key in PEM", { cause: error });
  }
}

/** The public half of a private key. */
export function publicHalf(key: KeyObject): Jwk {
  return createPublicKey(key).export({ format: "jwk" }) as Jwk;
}

/** A stored public key, ready to verify with. */
export function verifyKey(jwk: Jwk, alg: Algorithm): VerifyKey {
  return { alg, key: createPublicKey({ key: jwk, format: "jwk" }) };
}

/** Whether both are halves of one pair. */
export function sameKey(privateKey: KeyObject, jwk: Jwk): boolean {
  const own = createPublicKey(privateKey).export({ type: "spki", format: "der" }) as Buffer;
  const other = createPublicKey({ key: jwk, format: "jwk" }).export({
    type: "spki",
    format: "der",
  }) as Buffer;
  return own.equals(other);
}

function algorithmOf(key: KeyObject): Algorithm {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (
    key.asymmetricKeyType === "rsa" &&
    (modulusLength ?? 0) >= least.rsaBits &&
    (modulusLength ?? 0) <= 8192
  )
    return "RS256";
  if (key.asymmetricKeyType === "ec" && namedCurve === "prime256v1") return "ES256";
  if (key.asymmetricKeyType === "ed25519") return "EdDSA";
  throw new Failure("bad_request", "must be RSA of 2048 bits or more, EC P-256 or Ed25519");
}
