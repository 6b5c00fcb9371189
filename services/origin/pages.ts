import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { acceptsGzip, cacheControl, type Kind } from "./caching.ts";
import type { Exchange } from "./exchange.ts";
import type { Refusal } from "./guard.ts";
import { refuse } from "./refusal.ts";

/** By extension; `text` is what becomes smaller when it is compressed. */
const types: Readonly<Record<string, { readonly type: string; readonly text: boolean }>> = {
  ".js": { type: "text/javascript; charset=utf-8", text: true },
  ".css": { type: "text/css; charset=utf-8", text: true },
  // Declarations for an editor, not a module for a browser.
  ".ts": { type: "text/plain; charset=utf-8", text: true },
  ".html": { type: "text/html; charset=utf-8", text: true },
  ".svg": { type: "image/svg+xml", text: true },
  ".json": { type: "application/json", text: true },
  ".map": { type: "application/json", text: true },
  ".woff2": { type: "font/woff2", text: false },
  ".png": { type: "image/png", text: false },
};

/**
 * No inline script but our own by its hash, nothing from elsewhere but a poster; `blob:` is how Media Source and hls.js's worker are addressed,
 * `data:` in media how hls.js begins a text track.
 */
const policy =
  "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; media-src 'self' blob: data:; worker-src 'self' blob:; font-src 'self'; base-uri 'none'; form-action 'none'";

const notBuilt = "The player is not built; run npm start, which builds it";

interface File {
  readonly plain: Buffer;
  /** Undefined for what is compressed already. */
  readonly gzip: Buffer | undefined;
}

/** The player's built pages and assets, read and compressed once each. */
export class Pages {
  readonly #folder: string;
  readonly #files = new Map<string, Promise<File | undefined>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** To whom is not let in the page goes out with the refusal's status. */
  async page(
    exchange: Exchange,
    name: "iframe" | "watch",
    {
      allowedOrigins = [],
      refusal,
      state,
    }: {
      readonly allowedOrigins?: readonly string[];
      readonly refusal?: Refusal;
      /** What its player would ask for first: stands in the page. */
      readonly state?: object;
    },
  ): Promise<void> {
    const file = await this.#read(`${name}.html`);
    if (!file && refusal) return refuse(exchange, refusal.status, refusal.message, refusal.headers);
    if (!file) return refuse(exchange, 503, notBuilt);
    // The watch page is for its own window; the iframe is for the pages that its owner names, or for any.
    const hosts = allowedOrigins.flatMap((host) => [`https://${host}`, `http://${host}`]).join(" ");
    const frames = name === "watch" ? "'self'" : hosts || "*";
    const early = state && (await this.#read("early.js"))?.plain;
    const shown = state ? { plain: withState(file.plain, state, early), gzip: undefined } : file;
    const hash = early && ` 'sha256-${createHash("sha256").update(early).digest("base64")}'`;
    send(exchange, shown, `${name}.html`, refusal ? "error" : "page", refusal?.status, {
      ...refusal?.headers,
      // Media over QUIC is on a port of its own.
      "content-security-policy": `${policy}; script-src 'self'${hash ?? ""}; connect-src 'self'${ownPorts(exchange)}; frame-ancestors ${frames}`,
      "referrer-policy": "no-referrer",
    });
  }

  async asset(exchange: Exchange, name: string): Promise<void> {
    const file = await this.#read(name);
    if (!file)
      return refuse(exchange, 404, "There is no such file", {}, { kind: "missing media", targetDuration: 0 });
    send(exchange, file, name, "asset");
  }

  async script(exchange: Exchange, name: string): Promise<void> {
    const file = await this.#read(name);
    if (!file) return refuse(exchange, 503, notBuilt);
    send(exchange, file, name, "script");
  }

  #read(name: string): Promise<File | undefined> {
    let file = this.#files.get(name);
    if (!file) {
      file = read(join(this.#folder, name));
      this.#files.set(name, file);
      // A file that is not there yet may be built later.
      void file.then((found) => found ?? this.#files.delete(name));
    }
    return file;
  }
}

/**
 * A page with what its player reads in `player/first.ts`, as a script of a type that no browser runs, and with what is done before
 * that player is here: both stand before everything that is fetched.
 */
function withState(page: Buffer, state: object, early: Buffer | undefined): Buffer {
  const json = JSON.stringify({ nowMs: Date.now(), answer: state }).replaceAll("<", "\\u003c");
  const found = [page.indexOf("<link"), page.indexOf("</head>")].filter((place) => place >= 0);
  if (found.length === 0) return page;
  const at = Math.min(...found);
  const script = Buffer.from(`<script type="application/json" id="first-answer">${json}</script>`);
  const now = early ? [Buffer.from("<script>"), early, Buffer.from("</script>")] : [];
  return Buffer.concat([page.subarray(0, at), script, ...now, page.subarray(at)]);
}

/** Every port of the name that the page was asked for by, as a source of a content security policy. */
function ownPorts({ headers }: Exchange): string {
  const [name] = /^[a-z0-9.-]+/i.exec(String(headers[":authority"] ?? headers.host ?? "")) ?? [];
  return name ? ` https://${name}:*` : "";
}

async function read(path: string): Promise<File | undefined> {
  let plain: Buffer;
  try {
    plain = await readFile(path);
  } catch {
    return undefined;
  }
  // On the thread pool: half a megabyte takes longer than a part may wait.
  return { plain, gzip: types[extname(path)]?.text ? await promisify(gzip)(plain, { level: 9 }) : undefined };
}

function send(
  exchange: Exchange,
  file: File,
  name: string,
  kind: Kind,
  status = 200,
  more: OutgoingHttpHeaders = {},
): void {
  const headers = {
    "content-type": types[extname(name)]?.type ?? "application/octet-stream",
    "cache-control": cacheControl(kind, 0),
    ...more,
  };
  if (!file.gzip) return exchange.reply(status, headers, [file.plain]);
  const vary = { ...headers, vary: "accept-encoding" };
  if (!acceptsGzip(exchange.headers["accept-encoding"])) return exchange.reply(status, vary, [file.plain]);
  exchange.reply(status, { ...vary, "content-encoding": "gzip" }, [file.gzip]);
}
