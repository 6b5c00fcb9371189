import type { Socket } from "node:net";
import tls from "node:tls";
import { z } from "../lib/schema.ts";
import type { Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";

/** What a certificate authority is to find here: by token over HTTP (RFC 8555 8.3), by domain over TLS (RFC 8737). */
export interface Shown {
  readonly http: Readonly<Record<string, string>>;
  readonly tls: Readonly<Record<string, { readonly cert: string; readonly key: string }>>;
}

/** What control sends of it. */
export const shownShape = z.object({
  http: z.record(z.string().max(256), z.string().max(1_024)),
  tls: z.record(z.string().max(256), z.object({ cert: z.string(), key: z.string() })),
});

const protocol = "acme-tls/1";
/** An ALPN entry: its length and its name. */
const entry = Buffer.from(`\n${protocol}`);
const helloMs = 5_000;
/** A TLS record, RFC 8446 5.1. */
const maxHello = 5 + (1 << 14);

/** Shows an authority what it wants to see, for the few seconds in which there is something to show. */
export class Challenges {
  #http: ReadonlyMap<string, string> = new Map();
  #tls: ReadonlyMap<string, tls.SecureContext> = new Map();
  readonly #server = tls.createServer({
    ALPNProtocols: [protocol],
    handshakeTimeout: helloMs,
    SNICallback: (name, done) => {
      const found = this.#tls.get(name.toLowerCase());
      if (found) done(null, found);
      else done(new Error("there is no challenge for this name"));
    },
  });

  constructor() {
    // RFC 8737 3: nothing is said once the handshake is done.
    this.#server.on("secureConnection", (socket) => socket.on("error", () => undefined).end());
    this.#server.on("tlsClientError", (_error, socket) => socket.destroy());
  }

  /** This, and nothing else, is shown from now on. */
  show({ http, tls: pairs }: Shown): void {
    this.#http = new Map(Object.entries(http));
    this.#tls = new Map(
      Object.entries(pairs).map(([name, pair]) => [name.toLowerCase(), tls.createSecureContext(pair)]),
    );
  }

  answer(exchange: Exchange, token: string): void {
    const text = this.#http.get(token);
    if (text === undefined) return refuse(exchange, 404, "There is no such challenge");
    exchange.reply(200, { "content-type": "application/octet-stream", "cache-control": "no-store" }, [
      Buffer.from(text),
    ]);
  }

  /** A connection to the TLS port: an authority's is answered here, any other goes to `next` with all that it sent. */
  admit(socket: Socket, next: (socket: Socket) => void): void {
    // Nobody pays for this but in the few seconds of a check.
    if (this.#tls.size === 0) return next(socket);
    let hello = Buffer.alloc(0);
    const late = setTimeout(() => socket.destroy(), helloMs);
    const failed = () => socket.destroy();
    const look = () => {
      const piece: Buffer | null = socket.read();
      if (piece) hello = Buffer.concat([hello, piece]);
      const record = hello.length < 5 ? 5 : 5 + hello.readUInt16BE(3);
      if (hello[0] === 0x16 && hello.length < Math.min(record, maxHello) && !socket.readableEnded) return;
      if (hello.length === 0 && !socket.readableEnded) return;
      clearTimeout(late);
      socket.off("readable", look).off("error", failed);
      socket.unshift(hello);
      if (hello.includes(entry)) this.#server.emit("connection", socket);
      else next(socket);
    };
    socket.on("error", failed).on("readable", look);
    socket.once("close", () => clearTimeout(late));
  }
}
