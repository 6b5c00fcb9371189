import type { IncomingMessage, OutgoingHttpHeaders, RequestListener, ServerResponse } from "node:http";
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Readable } from "node:stream";
import { remembered } from "../lib/remembered.ts";

/** One request and its one answer, over HTTP/1.1 or HTTP/2: what routes see. */
export interface Exchange {
  readonly method: string;
  readonly path: string;
  /** Without its `?`. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  readonly peer: string;
  /** Answers once; `body` is written piece by piece. HEAD sends the headers alone. */
  reply(status: number, headers: OutgoingHttpHeaders, body?: readonly Uint8Array[]): void;
  /** Answers once, with 200 and what many are answered with. */
  send(answer: Answer): void;
  /**
   * Answers once, with a body that comes over time; undefined where there is nothing to write: HEAD, or a client that
   * has left. `drained` is called when a full body takes more, `gone` when it ended in any way.
   */
  stream(
    status: number,
    headers: OutgoingHttpHeaders,
    on: { readonly drained: () => void; readonly gone: () => void },
  ): Body | undefined;
  /** Calls `gone` when the client leaves before it was answered. */
  onGone(gone: () => void): void;
  /** Ends an answer that is under way; nothing when there is none. */
  cut(): void;
  /** The streams themselves, for an answer that is passed through from elsewhere. */
  readonly raw: {
    readonly request: Readable;
    readonly http1?: ServerResponse;
    readonly http2?: ServerHttp2Stream;
  };
}

/** What is left to write of an answer. */
export interface Body {
  /** In one write; false when the client should be waited for. */
  write(pieces: readonly Uint8Array[]): boolean;
  end(): void;
  /** Ends it so that the client knows that something is missing. */
  abort(): void;
}

/** What many are answered with: its header is put together once, and a short body goes out with it in one write. */
export class Answer {
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
  #fields: string[] | undefined;
  #text: string | undefined;

  constructor(headers: OutgoingHttpHeaders, body: Buffer) {
    this.headers = headers;
    this.body = body;
  }

  /** Names and values by turns, as node:http takes them. */
  get fields(): string[] {
    this.#fields ??= Object.entries({
      ...everywhere,
      ...lasting,
      "content-length": this.body.length,
      ...this.headers,
    }).flatMap(([name, value]) => [name, String(value)]);
    return this.#fields;
  }

  /**
   * The bytes as characters: node:http joins a header to a body of these, and to no other. undefined for a body whose characters
   * would have to be copied.
   */
  get text(): string | undefined {
    if (this.body.length > oneWriteBytes) return undefined;
    this.#text ??= this.body.toString("latin1");
    return this.#text;
  }
}

export type Handler = (exchange: Exchange) => void | Promise<void>;

/** For players on any page: nothing here depends on who asks, and no request needs a preflight. */
const everywhere: OutgoingHttpHeaders = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "Age, Date, Content-Length, Content-Encoding, Content-Range, ETag",
  "timing-allow-origin": "*",
  "cross-origin-resource-policy": "cross-origin",
  "x-content-type-options": "nosniff",
};

/** A connection that says nothing for this long goes; longer than any held answer. */
export const idleMs = 60_000;

/** How long a connection stays, over HTTP/1.1: node:http says so itself only where it sets a timer of its own for each answer. */
const lasting: OutgoingHttpHeaders = { "keep-alive": `timeout=${idleMs / 1000}` };

/** What Linux and node take from a string at once, header included. */
const oneWriteBytes = 14_000;

/** Who really asks, from the socket's peer and the header X-Forwarded-For. */
export type ClientAddress = (peer: string, forwarded: string | undefined) => string;
const byPeer: ClientAddress = (peer) => peer;

/** What all names and values of a request's header may come to. */
export const maxHeaderBytes = 16_384;

function bytesIn(headers: IncomingHttpHeaders): number {
  let bytes = 0;
  for (const name in headers) bytes += name.length + String(headers[name]).length;
  return bytes;
}

/** A listener for node:http. */
export function http1(handle: Handler, client = byPeer): RequestListener {
  return (request, response) => void handle(new Http1(request, response, client));
}

class Http1 implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  readonly peer: string;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  #gone: (() => void)[] | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, client: ClientAddress) {
    const { path, query } = targetOf(request.url ?? "/");
    this.method = request.method ?? "GET";
    this.path = path;
    this.query = query;
    this.headers = request.headers;
    this.peer = client(request.socket.remoteAddress ?? "", forwardedFor(request.headers));
    this.#request = request;
    this.#response = response;
  }

  get raw(): Exchange["raw"] {
    return { request: this.#request, http1: this.#response };
  }

  reply(status: number, headers: OutgoingHttpHeaders, body: readonly Uint8Array[] = []): void {
    const response = this.#response;
    if (response.headersSent || response.destroyed) return;
    response.writeHead(status, { ...everywhere, ...lasting, ...sizeOf(status, body), ...headers });
    if (this.method === "HEAD" || body.length === 0) return void response.end();
    if (body.length === 1) return void response.end(body[0]);
    // One write for many pieces.
    response.cork();
    for (const piece of body) response.write(piece);
    response.end();
    response.uncork();
  }

  send(answer: Answer): void {
    const response = this.#response;
    if (response.headersSent || response.destroyed) return;
    response.writeHead(200, answer.fields);
    if (this.method === "HEAD") return void response.end();
    const { text } = answer;
    if (text === undefined) response.end(answer.body);
    else response.end(text, "latin1");
  }

  stream(...[status, headers, { drained, gone }]: Parameters<Exchange["stream"]>): Body | undefined {
    const response = this.#response;
    if (response.headersSent || response.destroyed) return undefined;
    response.writeHead(status, { ...everywhere, ...lasting, ...headers });
    if (this.method === "HEAD") return void response.end();
    response.on("drain", drained);
    this.onGone(gone);
    return {
      write(pieces) {
        response.cork();
        let free = true;
        for (const piece of pieces) free = response.write(piece);
        response.uncork();
        return free;
      },
      end: () => response.end(),
      abort: () => response.destroy(),
    };
  }

  onGone(gone: () => void): void {
    if (this.#gone) return void this.#gone.push(gone);
    const all = [gone];
    this.#gone = all;
    // It comes once; `once` would cost a wrapper each time.
    this.#response.on("close", () => {
      for (const one of all) one();
    });
  }

  cut(): void {
    if (this.#response.headersSent) this.#response.destroy();
  }
}

/** A listener for the `stream` event of node:http2: half again as fast as its compatibility API. */
export function http2(
  handle: Handler,
  client = byPeer,
): (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void {
  return (stream, headers) => {
    // A client that resets its stream is no error of ours.
    stream.on("error", () => {});
    // Node says the limit to the client and does not hold him to it.
    if (bytesIn(headers) > maxHeaderBytes) {
      stream.respond({ ":status": 431 }, { endStream: true });
      return stream.session?.close();
    }
    void handle(new Http2(stream, headers, client));
  };
}

class Http2 implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  readonly peer: string;
  readonly #stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, client: ClientAddress) {
    const { path, query } = targetOf(String(headers[":path"] ?? "/"));
    this.method = String(headers[":method"] ?? "GET");
    this.path = path;
    this.query = query;
    this.headers = headers;
    this.peer = client(stream.session?.socket.remoteAddress ?? "", forwardedFor(headers));
    this.#stream = stream;
  }

  get raw(): Exchange["raw"] {
    return { request: this.#stream, http2: this.#stream };
  }

  reply(status: number, fields: OutgoingHttpHeaders, body: readonly Uint8Array[] = []): void {
    const stream = this.#stream;
    if (stream.headersSent || stream.destroyed) return;
    const bare = this.method === "HEAD" || body.length === 0;
    stream.respond(
      { ":status": status, ...everywhere, ...sizeOf(status, body), ...fields },
      { endStream: bare },
    );
    if (bare) return;
    for (let i = 0; i < body.length - 1; i++) stream.write(body[i]);
    stream.end(body.at(-1));
  }

  send({ headers, body }: Answer): void {
    this.reply(200, headers, [body]);
  }

  stream(...[status, fields, { drained, gone }]: Parameters<Exchange["stream"]>): Body | undefined {
    const stream = this.#stream;
    if (stream.headersSent || stream.destroyed) return undefined;
    const bare = this.method === "HEAD";
    stream.respond({ ":status": status, ...everywhere, ...fields }, { endStream: bare });
    if (bare) return undefined;
    stream.on("drain", drained);
    stream.once("close", gone);
    return {
      write(pieces) {
        stream.cork();
        let free = true;
        for (const piece of pieces) free = stream.write(piece);
        stream.uncork();
        return free;
      },
      end: () => stream.end(),
      abort: () => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    };
  }

  onGone(gone: () => void): void {
    this.#stream.once("close", gone);
  }

  cut(): void {
    if (this.#stream.headersSent) this.#stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** Node joins repeated fields of this name by commas; an array is for those that it does not know. */
function forwardedFor(headers: IncomingHttpHeaders): string | undefined {
  const value = headers["x-forwarded-for"];
  return Array.isArray(value) ? value.join(",") : value;
}

/** All who are held ask for the same address: what else is remembered by its path and query is found without reading them again. */
const targetsKept = 512;
const targetOf = remembered(targetsKept, (url) => {
  const at = url.indexOf("?");
  return at < 0 ? { path: url, query: "" } : { path: url.slice(0, at), query: url.slice(at + 1) };
});

/** RFC 9110 8.6: 204 has no length, and that of a 304 would be the one of what it stands for. */
function sizeOf(status: number, body: readonly Uint8Array[]): OutgoingHttpHeaders {
  if (status === 204 || status === 304) return {};
  let length = 0;
  for (const piece of body) length += piece.length;
  return { "content-length": length };
}
