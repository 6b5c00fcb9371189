import http, { type OutgoingHttpHeaders } from "node:http";
import { constants } from "node:http2";
import { parseAddress } from "../lib/http.ts";
import type { Exchange } from "./exchange.ts";

/** HTTP/1.1 says these of one connection; they are not passed on. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
  "proxy-connection",
  "te",
  "trailer",
  "host",
  // Said by `bodyOf` for what follows.
  "content-length",
]);
const answerMs = 30_000;
/** A body has to be here by then; over HTTP/1.1 the server itself sees to that. */
const bodyMs = 30_000;

/** How the body of a request is told to control: nothing is sent there without saying where it ends, for what followed would be taken for another request, of a role. */
function bodyOf({ headers, raw }: Exchange): Record<string, string> | undefined {
  if (raw.http2) return raw.http2.endAfterHeaders ? undefined : { "transfer-encoding": "chunked" };
  if (headers["transfer-encoding"]) return { "transfer-encoding": "chunked" };
  // Node holds a client to the length that it says.
  const length = headers["content-length"];
  return Number(length) ? { "content-length": length! } : undefined;
}

/** Hands a request to control as it is, and its answer back. With control away the answer is 503 and a sentence. */
export function passToControl(exchange: Exchange, address: string, secret: string | undefined): void {
  const place = parseAddress(address);
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(exchange.headers))
    if (value !== undefined && !name.startsWith(":") && !hopByHop.has(name))
      headers[name] = value as string | string[];
  headers["x-forwarded-for"] = exchange.peer;
  headers["x-forwarded-host"] = String(exchange.headers[":authority"] ?? exchange.headers.host ?? "");
  // A proxy in front that took TLS off says so; whoever lies about it only keeps his own cookie from himself.
  const { encrypted } = (exchange.raw.request as { socket?: { encrypted?: boolean } }).socket ?? {};
  const secure = exchange.raw.http2 || encrypted || exchange.headers["x-forwarded-proto"] === "https";
  headers["x-forwarded-proto"] = secure ? "https" : "http";
  // Between machines every internal request carries the shared secret; the caller's own token travels beside it.
  if (secret && "port" in place) {
    if (headers.authorization) headers["x-sluice-authorization"] = headers.authorization;
    headers.authorization = `Bearer ${secret}`;
  }
  const body = bodyOf(exchange);
  Object.assign(headers, body);
  const path = exchange.query ? `${exchange.path}?${exchange.query}` : exchange.path;
  const upstream = http.request({ ...place, method: exchange.method, path, headers, timeout: answerMs });
  upstream.on("timeout", () => upstream.destroy(new Error("late")));
  upstream.on("error", () => {
    const body = {
      result: null,
      success: false,
      errors: [
        {
          code: 10013,
          message: "The control role is away; playback and publishing go on. Try again in a moment.",
        },
      ],
      messages: [],
    };
    exchange.reply(
      503,
      { "content-type": "application/json", "cache-control": "no-store", "retry-after": "2" },
      [Buffer.from(JSON.stringify(body))],
    );
  });
  upstream.on("response", (answer) => {
    // Half an answer is not to be taken for one that is slow.
    answer.once("close", () => answer.complete || exchange.cut());
    const fields: OutgoingHttpHeaders = {};
    for (const name in answer.headers)
      if (name === "content-length" || !hopByHop.has(name)) fields[name] = answer.headers[name];
    const { http1, http2 } = exchange.raw;
    if (http2) {
      if (http2.destroyed) return void answer.resume();
      http2.respond({ ":status": answer.statusCode ?? 502, ...fields });
      answer.pipe(http2);
    } else if (http1) {
      http1.writeHead(answer.statusCode ?? 502, fields);
      answer.pipe(http1);
    }
  });
  const { request, http2: stream } = exchange.raw;
  const late = setTimeout(() => {
    if (!stream) return;
    upstream.destroy();
    stream.session?.close();
    stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }, bodyMs);
  request.once("end", () => clearTimeout(late));
  exchange.onGone(() => {
    clearTimeout(late);
    upstream.destroy();
  });
  if (body) return void request.pipe(upstream);
  upstream.end();
  request.resume();
}
