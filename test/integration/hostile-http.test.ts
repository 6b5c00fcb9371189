import http2 from "node:http2";
import net, { type Socket } from "node:net";
import tls from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { long } from "../support/long.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

let sluice: Sluice;
beforeAll(async () => {
  sluice = await startSluice();
});
afterAll(() => sluice?.stop());

const host = "127.0.0.1";
const port = (which: "http" | "https") => Number(new URL(sluice.ready[which]).port);
const plain = () => net.connect({ host, port: port("http") });
const secure = () =>
  tls.connect({ host, port: port("https"), rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });

/** Sends `first`, then `drop` twice a second until the other side has had enough; answers with what it said and when. */
function drip(socket: Socket, first: string, drop: string): Promise<{ said: string; seconds: number }> {
  return new Promise((resolve) => {
    const from = performance.now();
    let said = "";
    socket.write(first);
    const timer = setInterval(() => socket.write(drop), 500);
    socket.on("data", (data) => {
      said += data;
    });
    socket.on("error", () => undefined);
    socket.once("close", () => {
      clearInterval(timer);
      resolve({ said, seconds: (performance.now() - from) / 1000 });
    });
  });
}

const upload =
  "POST /client/v4/accounts/local/stream/live_inputs HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";

test("headers that come drop by drop end their connection, over TLS too, and nobody else waits", async () => {
  const first = "GET /time HTTP/1.1\r\nhost: x\r\n";
  const attacks = [drip(plain(), first, "a: b\r\n"), drip(secure(), first, "a: b\r\n")];
  expect((await fetch(`${sluice.ready.http}/time`)).status).toBe(200);
  for (const { said, seconds } of await Promise.all(attacks)) {
    expect(said).toMatch(/^(HTTP\/1\.1 408|$)/);
    expect(seconds).toBeGreaterThan(5);
    expect(seconds).toBeLessThan(25);
  }
});

test("a flood of headers ends its connection with 431, over TLS too", async () => {
  const flood = `GET /time HTTP/1.1\r\nhost: x\r\n${"a: ".padEnd(1_000, "b").concat("\r\n").repeat(100)}\r\n`;
  for (const { said, seconds } of await Promise.all([drip(plain(), flood, ""), drip(secure(), flood, "")])) {
    expect(said).toMatch(/^HTTP\/1\.1 431/);
    expect(seconds).toBeLessThan(5);
  }
});

test("over HTTP/2 a flood of headers ends its connection with 431", async () => {
  const session = http2.connect(sluice.ready.https, {
    rejectUnauthorized: false,
    maxSendHeaderBlockLength: 1 << 20,
  });
  session.on("error", () => undefined);
  const ended = new Promise<void>((resolve) => session.once("close", resolve));
  const headers = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`x-${i}`, "b".repeat(1_000)]));
  const status = await new Promise<number | string>((resolve) => {
    const stream = session.request({ ":path": "/time", ...headers });
    stream.once("response", (fields) => resolve(fields[":status"] ?? 0));
    stream.once("error", (error) => resolve(error.message));
    stream.once("close", () => resolve("closed"));
    session.once("close", () => resolve("session closed"));
    stream.end();
  });
  expect(status).toBe(431);
  await ended;
  expect((await fetch(`${sluice.ready.http}/time`)).status).toBe(200);
});

test.runIf(long)("bodies that come drop by drop end their connection, whatever they come over", async () => {
  const session = http2.connect(sluice.ready.https, { rejectUnauthorized: false });
  const stream = session.request({
    ":path": "/client/v4/accounts/local/stream/live_inputs",
    ":method": "POST",
  });
  const timer = setInterval(() => stream.write("x"), 500);
  stream.on("error", () => undefined);
  const from = performance.now();
  const ended = new Promise<void>((resolve) => session.once("close", resolve));
  const both = await Promise.all([drip(plain(), upload, "x"), drip(secure(), upload, "x"), ended]);
  clearInterval(timer);
  expect((performance.now() - from) / 1000).toBeLessThan(60);
  for (const one of both) if (one) expect(one.seconds).toBeLessThan(60);
});
