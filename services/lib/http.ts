import { createHash, timingSafeEqual } from "node:crypto";
import { chmod, unlink } from "node:fs/promises";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { Duplex } from "node:stream";
import { Failure, type FailureCode, messageOf } from "./errors.ts";
import type { Running } from "./lifecycle.ts";

/** Answers one request of another role. A thrown `Failure` becomes its status with `{code, message}`; anything else a 500. */
export type InternalHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** An internal listener; `address` is what the other roles connect to (the real port when 0 was asked for). */
export interface InternalServer extends Running {
  readonly address: string;
}

const connectMs = 5_000;
const answerMs = 10_000;
const answerBytes = 64 << 20;
const bodyBytes = 1 << 20;

/** An internal address, taken apart. */
export type Place = { readonly socketPath: string } | { readonly host: string; readonly port: number };

/** `unix:/path/x.sock` or `http://host:port`; anything else is a `Failure` that says so. */
export function parseAddress(address: string): Place {
  if (address.startsWith("unix:/")) return { socketPath: address.slice("unix:".length) };
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== "http:" || url.pathname !== "/" || url.search)
    throw new Failure(
      "bad_request",
      `"${address}" is not an internal address: write unix:/path/x.sock or http://host:port`,
    );
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || 80) };
}

/**
 * Serves other roles at `address`. On a unix socket the folder's rights are the guard; over TCP every request must
 * carry `secret` as a bearer token, and a TCP address without a secret is refused. `close` ends open answers too.
 */
export async function listenInternal(
  address: string,
  handler: InternalHandler,
  options: {
    readonly secret?: string | undefined;
    /** Takes over the sockets of those who ask for another protocol, which has been agreed to by then. */
    readonly upgrade?: ((request: IncomingMessage, socket: Duplex) => void) | undefined;
  } = {},
): Promise<InternalServer> {
  const place = parseAddress(address);
  const tcp = "port" in place;
  if (tcp && !options.secret)
    throw new Failure(
      "bad_request",
      `${address} is reachable over TCP: set internalSecret to the same long random text for every role`,
    );
  const server = http.createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, (request, response) => {
    if (tcp && !bearerIs(request, options.secret!)) {
      const refusal = new Failure("unauthorized", "internalSecret is missing or differs between the roles");
      return sendFailure(response, refusal);
    }
    void answer(handler, request, response);
  });
  const { upgrade } = options;
  if (upgrade)
    server.on("upgrade", (request, socket, head) => {
      if (tcp && !bearerIs(request, options.secret!)) return void socket.destroy();
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${request.headers.upgrade}\r\n\r\n`,
      );
      if (head.length > 0) socket.unshift(head);
      upgrade(request, socket);
    });
  return bind(server, place);
}

/** Binds `server` to a unix socket (rights 0600, a dead owner's file removed) or a host and port; `close` cuts open answers. */
export async function bind(server: http.Server, place: Place): Promise<InternalServer> {
  const unix = "socketPath" in place;
  if (unix) await removeStaleSocket(place.socketPath);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(unix ? { path: place.socketPath } : { host: place.host, port: place.port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  if (unix) await chmod(place.socketPath, 0o600);
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  return {
    address: unix
      ? `unix:${place.socketPath}`
      : `http://${bracket(place.host)}:${(server.address() as AddressInfo).port}`,
    closed,
    close() {
      server.close();
      server.closeAllConnections();
      return closed;
    },
  };
}

/** One call to another role: JSON there, JSON back (`json` is undefined for an empty answer). Throws `Failure` "unavailable" when nobody answers, or not in time, or not to the end. */
export async function requestInternal(
  address: string,
  path: string,
  options: {
    readonly method?: string;
    readonly json?: unknown;
    readonly signal?: AbortSignal | undefined;
    readonly secret?: string | undefined;
    /** An API token, for a call of the API: beside the roles' own secret. */
    readonly apiToken?: string;
    /** For a call that is known to take long. */
    readonly answerMs?: number;
  } = {},
): Promise<{ readonly status: number; readonly json: unknown }> {
  const headersMs = options.answerMs ?? answerMs;
  const late = AbortSignal.timeout(headersMs);
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
  try {
    const response = await send(address, path, { ...options, signal, headersMs });
    const body = await readBody(response, answerBytes);
    return {
      status: response.statusCode ?? 0,
      json: body.length ? parseJson(body, `${path} of ${address}`) : undefined,
    };
  } catch (error) {
    // What the caller has ended is his own affair.
    if (error instanceof Failure || options.signal?.aborted) throw error;
    const why = late.aborted ? `no answer within ${headersMs / 1000} s` : messageOf(error);
    throw new Failure("unavailable", `${address} does not answer: ${why}`, { cause: error });
  }
}

/** Opens an endless answer of another role and hands over its body; not 200 is a `Failure`. Aborting `signal` destroys the body. */
export async function openInternal(
  address: string,
  path: string,
  options: { readonly signal?: AbortSignal | undefined; readonly secret?: string | undefined } = {},
): Promise<IncomingMessage> {
  const response = await send(address, path, { ...options, headersMs: answerMs });
  if (response.statusCode === 200) return response;
  const body = await readBody(response, bodyBytes);
  throw failureOf(response.statusCode ?? 0, body);
}

/** The request's JSON body, at most `limit` bytes; too much or not JSON is a `Failure`. */
export async function readJson(request: IncomingMessage, limit = bodyBytes): Promise<unknown> {
  return parseJson(await readBody(request, limit), "the request");
}

/** Ends `response` with a JSON body, or with 204 when `body` is undefined. */
export function sendJson(response: ServerResponse, status: number, body?: unknown): void {
  if (response.headersSent || response.destroyed) return;
  if (body === undefined) return void response.writeHead(204).end();
  const text = JSON.stringify(body);
  response
    .writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) })
    .end(text);
}

/** Ends `response` with the failure's status and `{code, message}`; a response already under way is cut. */
function sendFailure(response: ServerResponse, failure: Failure): void {
  if (response.headersSent) return void response.destroy();
  sendJson(response, failure.status, { code: failure.code, message: failure.message });
}

async function answer(
  handler: InternalHandler,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await handler(request, response);
  } catch (error) {
    if (error instanceof Failure) return sendFailure(response, error);
    if (response.headersSent) return void response.destroy();
    sendJson(response, 500, {
      code: "internal",
      message: error instanceof Error ? error.message : String(error),
    });
  }
}

/** A socket to another role that speaks `protocol` from here on; a `Failure` when there is none. */
export function upgradeInternal(
  address: string,
  path: string,
  options: { readonly protocol: string; readonly secret?: string | undefined; readonly signal: AbortSignal },
): Promise<Duplex> {
  const { protocol, secret, signal } = options;
  return new Promise((resolve, reject) => {
    const request = http.request({
      ...parseAddress(address),
      path,
      headers: {
        connection: "upgrade",
        upgrade: protocol,
        ...(secret && { authorization: `Bearer ${secret}` }),
      },
      agent: false,
      timeout: connectMs,
      signal,
    });
    const refuse = (why: string) =>
      reject(new Failure("unavailable", `${address} does not speak ${protocol}: ${why}`));
    request.once("upgrade", (_response, socket, head) => {
      socket.setTimeout(0);
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    request.once("response", (response) => {
      response.resume();
      refuse(`it answers ${response.statusCode}`);
    });
    request.once("timeout", () => request.destroy(new Error("no answer")));
    request.once("error", (error) => refuse(error.message));
    request.end();
  });
}

interface Sent {
  readonly method?: string;
  readonly json?: unknown;
  readonly signal?: AbortSignal | undefined;
  readonly secret?: string | undefined;
  readonly apiToken?: string;
  /** Bound for the answer's header; the body has none. */
  readonly headersMs?: number;
}

function send(address: string, path: string, options: Sent): Promise<IncomingMessage> {
  const place = parseAddress(address);
  const body = options.json === undefined ? undefined : JSON.stringify(options.json);
  const headers: Record<string, string | number> = {};
  if (options.secret) headers.authorization = `Bearer ${options.secret}`;
  if (options.apiToken) headers["x-sluice-authorization"] = `Bearer ${options.apiToken}`;
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    headers["content-length"] = Buffer.byteLength(body);
  }
  return new Promise((resolve, reject) => {
    // One connection a call: a kept one may be half closed by a role that was restarted, and a POST must not be sent twice.
    const request = http.request({
      ...place,
      path,
      method: options.method ?? (body === undefined ? "GET" : "POST"),
      headers,
      agent: false,
      ...(options.signal && { signal: options.signal }),
    });
    const { headersMs = answerMs } = options;
    const late = setTimeout(
      () => request.destroy(new Error(`no answer within ${headersMs / 1000} s`)),
      headersMs,
    );
    request.once("response", (response) => {
      clearTimeout(late);
      resolve(response);
    });
    request.on("error", (error) => {
      clearTimeout(late);
      reject(
        options.signal?.aborted
          ? error
          : new Failure("unavailable", `${address} does not answer: ${error.message}`, { cause: error }),
      );
    });
    request.end(body);
  });
}

async function readBody(source: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limit) throw new Failure("too_large", `the body is larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

function parseJson(body: Buffer, whose: string): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new Failure("bad_request", `the body of ${whose} is not JSON`, { cause: error });
  }
}

const codes: Readonly<Record<number, FailureCode>> = {
  400: "bad_request",
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  413: "too_large",
  422: "bad_media",
  429: "limit",
};

/** What a role's refusal says, as the failure that it threw there. */
function failureOf(status: number, body: Buffer): Failure {
  let message = `answered ${status}`;
  try {
    const said: unknown = JSON.parse(body.toString("utf8"));
    if (said && typeof said === "object" && "message" in said) message = String(said.message);
  } catch {
    // Not ours: the status has to do.
  }
  return new Failure(codes[status] ?? "unavailable", message);
}

function bearerIs(request: IncomingMessage, secret: string): boolean {
  const given = request.headers.authorization;
  // Digests have one length, so the comparison is constant in time whatever came.
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return given !== undefined && timingSafeEqual(digest(given), digest(`Bearer ${secret}`));
}

const bracket = (host: string) => (host.includes(":") ? `[${host}]` : host);

/** A role that was killed leaves its socket file behind, and bind would fail on it. A live listener is left alone. */
async function removeStaleSocket(path: string): Promise<void> {
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (!alive) await unlink(path).catch(() => undefined);
}
