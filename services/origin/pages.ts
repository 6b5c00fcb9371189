import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";

const types: Readonly<Record<string, string>> = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".map": "application/json",
  ".woff2": "font/woff2",
  ".png": "image/png",
};

/** No inline script, nothing from elsewhere; `blob:` is how Media Source and hls.js's worker are addressed. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'";

/** The player's built pages and assets, read once each. */
export class Pages {
  readonly #folder: string;
  readonly #files = new Map<string, Promise<Buffer | undefined>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async page(exchange: Exchange, name: "iframe" | "watch", allowedOrigins: readonly string[]): Promise<void> {
    const body = await this.#read(`${name}.html`);
    if (!body) return refuse(exchange, 503, "The player is not built; run npm start, which builds it");
    // The watch page is for its own window; the iframe is for the pages that its owner names, or for any.
    const hosts = allowedOrigins.flatMap((host) => [`https://${host}`, `http://${host}`]).join(" ");
    const frames = name === "watch" ? "'self'" : hosts || "*";
    exchange.reply(
      200,
      {
        "content-type": types[".html"],
        "cache-control": cacheControl("page", 0),
        "content-security-policy": `${policy}; frame-ancestors ${frames}`,
        "referrer-policy": "no-referrer",
      },
      [body],
    );
  }

  async asset(exchange: Exchange, name: string): Promise<void> {
    const body = await this.#read(name);
    if (!body) return refuse(exchange, 404, "There is no such file", {}, "missing media");
    exchange.reply(
      200,
      {
        "content-type": types[extname(name)] ?? "application/octet-stream",
        "cache-control": cacheControl("asset", 0),
      },
      [body],
    );
  }

  #read(name: string): Promise<Buffer | undefined> {
    let file = this.#files.get(name);
    if (!file) {
      file = readFile(join(this.#folder, name)).catch(() => undefined);
      this.#files.set(name, file);
      // A file that is not there yet may be built later.
      void file.then((body) => body ?? this.#files.delete(name));
    }
    return file;
  }
}
