import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import http2api from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { listenInternal } from "../lib/http.ts";
import { type Exchange, http1, http2 } from "./exchange.ts";
import { passToControl } from "./passthrough.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A control that dies in the middle of each answer, and a public port before it. */
async function open(protocol: "HTTP/1.1" | "HTTP/2"): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-pass-"));
  const control = await listenInternal(`unix:${join(folder, "control.sock")}`, (_request, response) => {
    response.writeHead(200, { "content-length": 100 }).write("half of it");
    setImmediate(() => response.destroy());
  });
  const handler = (exchange: Exchange) => passToControl(exchange, control.address, undefined);
  const server = protocol === "HTTP/2" ? http2api.createServer() : http.createServer(http1(handler));
  if (protocol === "HTTP/2") (server as http2api.Http2Server).on("stream", http2(handler));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(
    () => rmSync(folder, { recursive: true }),
    () => control.close(),
    () => new Promise((resolve) => server.close(resolve)),
  );
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("over HTTP/1.1 an answer that control did not bring to its end ends for the caller, as broken", async () => {
  const url = await open("HTTP/1.1");
  const answer = await new Promise<http.IncomingMessage>((resolve, reject) =>
    http.get(`${url}/v1/tokens`, { agent: false }, resolve).on("error", reject),
  );
  await expect(text(answer)).rejects.toThrow();
});

test("and over HTTP/2", async () => {
  const session = http2api.connect(await open("HTTP/2"));
  cleanups.push(() => session.destroy());
  const stream = session.request({ ":path": "/v1/tokens" });
  const [, body] = await Promise.allSettled([
    new Promise((resolve) => stream.once("response", resolve)),
    text(stream),
  ]);
  expect([body?.status, stream.rstCode]).not.toEqual(["fulfilled", 0]);
});
