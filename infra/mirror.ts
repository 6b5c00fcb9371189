import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { messageOf } from "../services/lib/errors.ts";
import { requestInternal } from "../services/lib/http.ts";
import { type Running, untilClosed } from "../services/lib/lifecycle.ts";
import type { Log } from "../services/lib/log.ts";
import { backoffMs, pause } from "../services/lib/retry.ts";
import { z } from "../services/lib/schema.ts";
import { type Certificates, keepIssued, loadIssued } from "./certs.ts";
import type { Pair } from "./x509.ts";

const holdMs = 25_000;
const pairShape = z.object({ cert: z.string(), key: z.string() });
const answerShape = z.object({ sealed: z.string() });
const tagBytes = 16;
const ivBytes = 12;

const nameOf = (cert: string) => createHash("sha256").update(cert).digest("hex");

/**
 * What a machine without control is told when it asks for another certificate than the one it has, named by `have`: held until there
 * is one, undefined after a while without. The private key is sealed with the secret that the machines share.
 */
export function certificateFor(
  certificates: Pick<Certificates, "current" | "onChange">,
  secret: string | undefined,
): (have: string) => Promise<object | undefined> {
  const fresh = (have: string) => {
    const { cert, key, trusted } = certificates.current();
    return trusted && nameOf(cert) !== have ? { sealed: seal({ cert, key }, secret) } : undefined;
  };
  return async (have) => {
    const now = fresh(have);
    if (now) return now;
    const changed = Promise.withResolvers<void>();
    const late = setTimeout(changed.resolve, holdMs);
    const end = certificates.onChange(() => fresh(have) && changed.resolve());
    await changed.promise;
    clearTimeout(late);
    end();
    return fresh(have);
  };
}

/** Keeps the certificate in `dir` the one that control has, which is on another machine. */
export function mirrorCertificate(options: {
  readonly dir: string;
  readonly control: string;
  readonly secret: string | undefined;
  readonly log: Log;
}): Running {
  const { dir, control, secret, log } = options;
  return untilClosed(async (signal) => {
    for (let failures = 0; !signal.aborted; ) {
      try {
        const kept = await loadIssued(dir).catch(() => undefined);
        const have = kept ? nameOf(kept.cert) : "";
        const { status, json } = await requestInternal(control, `/internal/certificate?have=${have}`, {
          ...{ secret, signal, answerMs: holdMs + 15_000 },
        });
        if (status === 200) await keepIssued(dir, unseal(answerShape.parse(json).sealed, secret));
        else if (status !== 204) throw new Error(`control answers ${status}`);
        failures = 0;
      } catch (error) {
        if (failures++ === 3)
          log.warn({ problem: messageOf(error) }, "the certificate cannot be had from control");
        await pause(backoffMs(failures, 500, 30_000), signal);
      }
    }
  });
}

const sealing = (secret = "") => Buffer.from(hkdfSync("sha256", secret, "", "certificate", 32));

function seal(pair: Pair, secret: string | undefined): string {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv("aes-256-gcm", sealing(secret), iv);
  const bytes = Buffer.concat([cipher.update(JSON.stringify(pair), "utf8"), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), bytes]).toString("base64url");
}

/** Throws when it was sealed with another secret, or changed since. */
function unseal(sealed: string, secret: string | undefined): Pair {
  const bytes = Buffer.from(sealed, "base64url");
  const iv = bytes.subarray(0, ivBytes);
  const decipher = createDecipheriv("aes-256-gcm", sealing(secret), iv, { authTagLength: tagBytes });
  decipher.setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes));
  const text = Buffer.concat([decipher.update(bytes.subarray(ivBytes + tagBytes)), decipher.final()]);
  return pairShape.parse(JSON.parse(text.toString("utf8")));
}
