import { createPrivateKey, X509Certificate } from "node:crypto";
import { type FSWatcher, watch } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createSecureContext } from "node:tls";
import { replaceFile } from "../services/lib/durable.ts";
import { Failure, messageOf } from "../services/lib/errors.ts";
import type { Running } from "../services/lib/lifecycle.ts";
import type { Log } from "../services/lib/log.ts";
import { makeSelfSigned, type Pair } from "./x509.ts";

/** A pair, and whether those who connect are to know who signed it. */
export interface Certificate extends Pair {
  readonly trusted: boolean;
}

/** The certificate in force; it changes without a restart when its files do. */
export interface Certificates extends Running {
  current(): Certificate;
  /** Calls `listener` after each change. Returns its end. */
  onChange(listener: (pair: Certificate) => void): () => void;
}

const day = 86_400_000;
/** What browsers still accept as the life of a certificate, and when it is renewed. */
const long = { file: "self-signed.pem", lifeDays: 397, renewDays: 30 };
/** W3C WebTransport 6.10: one that is known by its hash alone lives for less than two weeks in all. */
const short = { file: "webtransport.pem", lifeDays: 12, renewDays: 4 };
type Life = typeof long;
/** Two files are rarely replaced in the same instant. */
const settleMs = 300;

/** Where the certificate of `domain` lies with its key, in one file, so that they are always of one kind. */
const issuedFile = (dir: string) => join(dir, "issued.pem");

export interface CertificateOptions {
  readonly dir: string;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Names for which an authority is asked for a certificate; another part of Sluice does that and writes `issuedFile`. */
  readonly domains?: readonly string[] | undefined;
  /** A self-signed one is for browsers that are told its hash. */
  readonly byHash?: boolean | undefined;
  readonly log: Log;
}

/**
 * The pair at `cert` and `key` when given; else the one that was issued for `domains`, while there is one that is good; else a
 * self-signed one for this machine in `dir`, made at first run and renewed before it ends. Files that change are reloaded (a bad new
 * pair is said and not taken). A bad first pair is a `Failure`.
 */
export async function openCertificates(options: CertificateOptions): Promise<Certificates> {
  const { cert, key, domains, dir, log } = options;
  const life = options.byHash ? short : long;
  const selfSigned = async () => ({ ...(await loadSelfSigned(dir, life, log)), trusted: false });
  const source: Source =
    cert !== undefined && key !== undefined
      ? { files: [cert, key], load: async () => ({ ...(await loadPair(cert, key)), trusted: true }) }
      : {
          files: [join(dir, life.file)],
          load: async () => {
            const issued = domains?.length ? await loadIssued(dir) : undefined;
            return issued ? { ...issued, trusted: true } : selfSigned();
          },
        };
  const first = await source.load().catch((error: unknown) => {
    if (cert !== undefined && key !== undefined) throw error;
    log.warn({ problem: messageOf(error) }, "the certificate that was issued is not usable");
    return selfSigned();
  });
  return follow(source, first, log);
}

/** What was issued and is good at this moment; undefined where there is nothing. A damaged file is a `Failure`. */
export async function loadIssued(dir: string): Promise<Pair | undefined> {
  try {
    const pair = split(await readFile(issuedFile(dir), "utf8"));
    const { validTo } = new X509Certificate(prove(pair, issuedFile(dir)).cert);
    return Date.parse(validTo) > Date.now() ? pair : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Puts `pair` where `loadIssued` finds it, on disk before this returns and for this user's eyes alone. */
export async function keepIssued(dir: string, { cert, key }: Pair): Promise<void> {
  prove({ cert, key }, "the certificate that was issued");
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await replaceFile(issuedFile(dir), `${key.trim()}\n${cert.trim()}\n`);
}

interface Source {
  readonly files: readonly string[];
  readonly load: () => Promise<Certificate>;
}

function follow(source: Source, first: Certificate, log: Log): Certificates {
  let pair = first;
  let timer: NodeJS.Timeout | undefined;
  const listeners = new Set<(pair: Certificate) => void>();
  const done = Promise.withResolvers<void>();
  const reload = async () => {
    try {
      const fresh = await source.load();
      if (fresh.cert === pair.cert && fresh.key === pair.key) return;
      pair = fresh;
      log.info({ validTo: new X509Certificate(fresh.cert).validTo }, "certificate reloaded");
      for (const listener of listeners) listener(fresh);
    } catch (error) {
      log.warn({ problem: messageOf(error) }, "the new certificate is not usable, the old one stays");
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
  // What came between the first look and the watch.
  soon();
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
      `${name}: ${file} cannot be read (${messageOf(error)}); give a PEM file that this user may read`,
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
      : wrong(`not a certificate and its key in PEM (${messageOf(error)})`, error);
  }
}

async function loadSelfSigned(dir: string, life: Life, log: Log): Promise<Pair> {
  // One file for both, so that two processes that renew at once leave a pair that belongs together.
  const file = join(dir, life.file);
  try {
    const pem = await readFile(file, "utf8");
    const pair = prove(split(pem), file);
    const made = new X509Certificate(pair.cert);
    // One of earlier versions cannot be checked by who was given it.
    const isRoot = life !== short || made.checkIssued(made);
    if (isRoot && Date.parse(made.validTo) - Date.now() > life.renewDays * day) return pair;
  } catch (error) {
    if (!isMissing(error))
      log.warn({ problem: messageOf(error) }, "the self-signed certificate is made anew");
  }
  const pair = await makeSelfSigned(Date.now(), life.lifeDays);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await replaceFile(file, `${pair.key}\n${pair.cert}\n`);
  log.info("self-signed certificate made");
  return pair;
}

function split(pem: string): Pair {
  const blocks = (label: string) =>
    pem.match(new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, "g"))?.join("\n") ?? "";
  return { key: blocks("PRIVATE KEY"), cert: blocks("CERTIFICATE") };
}

const isMissing = (error: unknown) => error instanceof Error && "code" in error && error.code === "ENOENT";
