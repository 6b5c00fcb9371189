import { createPrivateKey, X509Certificate } from "node:crypto";
import { type FSWatcher, watch } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { createSecureContext } from "node:tls";
import { replaceFile } from "../services/lib/durable.ts";
import { Failure } from "../services/lib/errors.ts";
import type { Running } from "../services/lib/lifecycle.ts";
import type { Log } from "../services/lib/log.ts";

/** A certificate chain and its private key, both PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** The certificate in force; it changes without a restart when its files do. */
export interface Certificates extends Running {
  current(): Pair;
  /** Calls `listener` after each change. Returns its end. */
  onChange(listener: (pair: Pair) => void): () => void;
}

const day = 86_400_000;
/** What browsers still accept as the life of a certificate, and when it is renewed. */
const long = { file: "self-signed.pem", lifeDays: 397, renewDays: 30 };
/** W3C WebTransport 6.10: one that is known by its hash alone lives for less than two weeks in all. */
const short = { file: "webtransport.pem", lifeDays: 12, renewDays: 4 };
type Life = typeof long;
/** Two files are rarely replaced in the same instant. */
const settleMs = 300;

/**
 * The pair at `cert` and `key` when given, reloaded when the files change (a bad new pair is said and not taken), else a self-signed
 * one for this machine in `dir`, made at first run and renewed before it ends. A bad first pair is a `Failure`.
 */
export async function openCertificates(options: {
  readonly dir: string;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** A self-signed one is for browsers that are told its hash. */
  readonly byHash?: boolean | undefined;
  readonly log: Log;
}): Promise<Certificates> {
  const { cert, key, log } = options;
  const life = options.byHash ? short : long;
  const source: Source =
    cert !== undefined && key !== undefined
      ? { files: [cert, key], load: () => loadPair(cert, key) }
      : {
          files: [join(options.dir, life.file)],
          load: () => loadSelfSigned(options.dir, life, log),
        };
  return follow(source, await source.load(), log);
}

interface Source {
  readonly files: readonly string[];
  readonly load: () => Promise<Pair>;
}

function follow(source: Source, first: Pair, log: Log): Certificates {
  let pair = first;
  let timer: NodeJS.Timeout | undefined;
  const listeners = new Set<(pair: Pair) => void>();
  const done = Promise.withResolvers<void>();
  const reload = async () => {
    try {
      const fresh = await source.load();
      if (fresh.cert === pair.cert && fresh.key === pair.key) return;
      pair = fresh;
      log.info({ validTo: new X509Certificate(fresh.cert).validTo }, "certificate reloaded");
      for (const listener of listeners) listener(fresh);
    } catch (error) {
      log.warn({ problem: sentence(error) }, "the new certificate is not usable, the old one stays");
    }
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(reload, settleMs);
  };
  // Folders and not files: a renewal puts a new file, or a new symlink, in place of the old.
  const watchers: FSWatcher[] = [...new Set(source.files.map(dirname))].map((folder) => watch(folder, soon));
  for (const watcher of watchers)
    watcher.on("error", (error) => log.warn({ problem: error.message }, "certificate files are not watched"));
  const daily = setInterval(reload, day);
  daily.unref();
  return {
    closed: done.promise,
    current: () => pair,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      clearTimeout(timer);
      clearInterval(daily);
      for (const watcher of watchers) watcher.close();
      done.resolve();
    },
  };
}

/** Reads and proves a pair: both parse, they belong together, TLS takes them. */
export async function loadPair(certFile: string, keyFile: string): Promise<Pair> {
  // One after the other, so that of two that are missing the same is always named.
  const cert = await readPem(certFile, "tlsCert");
  const key = await readPem(keyFile, "tlsKey");
  return prove({ cert, key }, `${certFile} and ${keyFile}`);
}

async function readPem(file: string, name: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new Failure(
      "bad_request",
      `${name}: ${file} cannot be read (${sentence(error)}); give a PEM file that this user may read`,
    );
  }
}

function prove(pair: Pair, whence: string): Pair {
  const wrong = (why: string, cause?: unknown) => new Failure("bad_request", `${whence}: ${why}`, { cause });
  try {
    if (!new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key)))
      throw wrong("the key does not belong to the certificate");
    createSecureContext(pair);
    return pair;
  } catch (error) {
    throw error instanceof Failure
      ? error
      : wrong(`not a certificate and its key in PEM (${sentence(error)})`, error);
  }
}

async function loadSelfSigned(dir: string, life: Life, log: Log): Promise<Pair> {
  // One file for both, so that two processes that renew at once leave a pair that belongs together.
  const file = join(dir, life.file);
  try {
    const pem = await readFile(file, "utf8");
    const pair = prove(split(pem), file);
    if (Date.parse(new X509Certificate(pair.cert).validTo) - Date.now() > life.renewDays * day) return pair;
  } catch (error) {
    if (!isMissing(error)) log.warn({ problem: sentence(error) }, "the self-signed certificate is made anew");
  }
  const pair = await makeSelfSigned(Date.now(), life.lifeDays);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await replaceFile(file, `${pair.key}\n${pair.cert}\n`);
  log.info("self-signed certificate made");
  return pair;
}

/** A fresh self-signed ECDSA P-256 pair for localhost and this machine's name, valid from `now` (epoch ms). */
export async function makeSelfSigned(now: number, lifeDays = long.lifeDays): Promise<Pair> {
  // Loaded only in the one start of the year that needs it.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const name = /^[a-z0-9.-]+$/i.test(hostname()) ? hostname() : "localhost";
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=Sluice (self-signed)",
    // A day back: a viewer's clock may be slow.
    notBefore: new Date(now - day),
    notAfter: new Date(now + lifeDays * day),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        ...(name === "localhost" ? [] : [{ type: "dns" as const, value: name }]),
        { type: "ip", value: "127.0.0.1" },
        { type: "ip", value: "::1" },
      ]),
    ],
  });
  const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    cert: certificate.toString("pem"),
    key: `-----BEGIN PRIVATE KEY-----\n${key.match(/.{1,64}/g)!.join("\n")}\n-----END PRIVATE KEY-----`,
  };
}

function split(pem: string): Pair {
  const block = (label: string) =>
    new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`).exec(pem)?.[0] ?? "";
  return { key: block("PRIVATE KEY"), cert: block("CERTIFICATE") };
}

const isMissing = (error: unknown) => error instanceof Error && "code" in error && error.code === "ENOENT";
const sentence = (error: unknown) => (error instanceof Error ? error.message : String(error));
