import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hash,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { keyFromSeed, publicHalf, type SigningKey } from "../auth/keys.ts";
import { replaceFile } from "../lib/durable.ts";
import { Failure } from "../lib/errors.ts";
import type { GateRecord } from "../live/snapshot.ts";
import type { LiveInput } from "./store/inputs.ts";
import type { Records } from "./store/records.ts";

/** What is derived from the master secret and never stored, so that a stolen store opens nothing. */
export interface Keys {
  /** Signs the tokens that the API hands out to callers without a key of their own. */
  readonly own: SigningKey;
  /** Its public half, for whoever lets viewers in. */
  readonly ownRecord: GateRecord;

  /** Text as the store may keep it: AES-256-GCM, of use only with the master secret. */
  seal(text: string): string;
  /** The text of `seal`; throws when it was sealed under another secret or changed since. */
  unseal(sealed: string): string;
  streamKey(input: Pick<LiveInput, "uid" | "keyGeneration">): string;
}

/** Stream keys that are kept at hand: whoever shows a live input asks for its key, and it is the same each time. */
const maxStreamKeys = 1_000;

/** Keys derived from `master` as `base64url(HMAC-SHA256(master, uid|generation))`, `k`, uid. */
export function keysFrom(master: KeyObject): Keys {
  const key = keyFromSeed(createHmac("sha256", master).update("viewer tokens").digest());
  const jwk = publicHalf(key);
  const kid = sha256Hex(JSON.stringify(jwk)).slice(0, 32);
  const sealing = createHmac("sha256", master).update("sealed").digest();
  const streamKeys = new Map<string, string>();
  return {
    seal(text) {
      const iv = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", sealing, iv);
      const bytes = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return Buffer.concat([iv, cipher.getAuthTag(), bytes]).toString("base64url");
    },
    unseal(sealed) {
      const bytes = Buffer.from(sealed, "base64url");
      const cipher = createDecipheriv("aes-256-gcm", sealing, bytes.subarray(0, 12), { authTagLength: 16 });
      cipher.setAuthTag(bytes.subarray(12, 28));
      return Buffer.concat([cipher.update(bytes.subarray(28)), cipher.final()]).toString("utf8");
    },
    own: { kid, alg: "EdDSA", key },
    ownRecord: { uid: `key:${kid}`, kind: "key", alg: "EdDSA", jwk },
    streamKey({ uid, keyGeneration }) {
      const name = `${uid}|${keyGeneration}`;
      let known = streamKeys.get(name);
      if (known === undefined) {
        known = `${createHmac("sha256", master).update(name).digest("base64url")}k${uid}`;
        if (streamKeys.size >= maxStreamKeys) streamKeys.delete(streamKeys.keys().next().value!);
        streamKeys.set(name, known);
      }
      return known;
    },
  };
}

/**
 * The master secret in `file`, made at the first start. Throws when the store was written under another one: with a
 * new secret every encoder's key would be wrong, which must not happen because a file got lost.
 */
export async function openMaster(file: string, records: Records): Promise<KeyObject> {
  const known = await records.setting("master_fingerprint");
  let text = await readSecret(file);
  if (text === undefined) {
    if (known)
      throw new Failure(
        "conflict",
        `${file} is missing, and every stream key depends on it: restore it from a backup, or move the store (sluice.db) away to begin anew`,
      );
    text = randomBytes(32).toString("hex");
    await saveSecret(file, text);
  }
  if (!/^[0-9a-f]{64}$/.test(text))
    throw new Failure("conflict", `${file} does not hold 64 hexadecimal digits: restore it from a backup`);
  const master = createSecretKey(Buffer.from(text, "hex"));
  const fingerprint = createHmac("sha256", master).update("fingerprint").digest("hex");
  if (known && known !== fingerprint)
    throw new Failure(
      "conflict",
      `${file} is not the secret that this store was made with: restore both from the same backup`,
    );
  if (!known) await records.write((tx) => tx.set("master_fingerprint", fingerprint));
  return master;
}

/** The administrator's token in `file`, made when missing; the store takes its hash. Removing the file and restarting revokes it. */
export async function openAdminToken(file: string, records: Records): Promise<string> {
  let token = await readSecret(file);
  if (!token) {
    token = randomBytes(32).toString("base64url");
    await saveSecret(file, token);
  }
  const sha256 = sha256Hex(token);
  if (!(await records.token(sha256))) {
    await records.write(async (tx) => {
      await tx.setToken("admin", sha256, ["admin"]);
      await tx.audit("control", "token.set", "admin");
    });
  }
  return token;
}

/** 32 lower-case hexadecimal digits that nobody can guess. */
export function newUid(): string {
  return randomBytes(16).toString("hex");
}

/** Lower-case hex. */
export function sha256Hex(text: string): string {
  return hash("sha256", text);
}

async function readSecret(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function saveSecret(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await replaceFile(file, `${text}\n`, 0o600);
}
