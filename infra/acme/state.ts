import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../../services/lib/durable.ts";
import { z } from "../../services/lib/schema.ts";

const shape = z.object({
  /** What the certificate was asked for with; another one begins anew. */
  directory: z.string(),
  domains: z.array(z.string()),
  /** In a row, since the last certificate. */
  failures: z.int().min(0),
  /** Epoch ms of those of the last hour. */
  tries: z.array(z.number()),
  /** Epoch ms; nobody is asked before. */
  notBefore: z.number(),
  /** Whether that moment is the authority's wish, which a restart does not shorten. */
  told: z.boolean(),
  /** What to change, as of the last failure. */
  problem: z.string().optional(),
});

/** What is remembered of the tries to get a certificate, so that a restart is no way around an authority's limits. */
export type AcmeState = z.infer<typeof shape>;

const file = (dir: string) => join(dir, "acme.json");

/** The state of `directory` and `domains`; a fresh one when there is none, or one of others. */
export async function loadState(
  dir: string,
  { directory, domains }: Pick<AcmeState, "directory" | "domains">,
): Promise<AcmeState> {
  const fresh = { directory, domains, failures: 0, tries: [], notBefore: 0, told: false };
  try {
    const kept = shape.parse(JSON.parse(await readFile(file(dir), "utf8")));
    const same = kept.directory === directory && kept.domains.join() === domains.join();
    return same ? kept : fresh;
  } catch {
    // A first start, or a file that is of no use: what it holds back is worth no failure.
    return fresh;
  }
}

export async function keepState(dir: string, state: AcmeState): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await replaceFile(file(dir), `${JSON.stringify(state)}\n`);
}

/** The key of our account at one authority, PEM; made at the first need and kept, for this user's eyes alone. */
export async function accountKey(dir: string, directory: string): Promise<string> {
  const { host, pathname } = new URL(directory);
  const name = `${host}${pathname}`.replace(/[^\w.-]+/g, "_");
  const path = join(dir, `account-${name}.pem`);
  try {
    const pem = await readFile(path, "utf8");
    createPrivateKey(pem);
    return pem;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await replaceFile(path, pem);
  return pem;
}
