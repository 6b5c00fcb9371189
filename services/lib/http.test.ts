import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import type { Server } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, expect, test, vi } from "vitest";
import { Failure } from "./errors.ts";
import {
  type InternalHandler,
  listenInternal,
  openInternal,
  parseAddress,
  readJson,
  requestInternal,
  sendJson,
} from "./http.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-http-"));
afterAll(() => rmSync(folder, { recursive: true }));

let sockets = 0;
const socket = () => `unix:${join(folder, `${sockets++}.sock`)}`;
const secret = "a long enough secret";

const echo: InternalHandler = async (request, response) => {
  if (request.url === "/refuse") throw new Failure("conflict", "somebody else is here");
  if (request.url === "/break") throw new Error("a mistake of ours");
  if (request.url === "/nothing") return sendJson(response, 204);
  if (request.url === "/endless") return void response.writeHead(200).write("first\n");
  sendJson(response, 200, {
    method: request.method,
    body: request.method === "POST" ? await readJson(request, 100) : null,
  });
};

test.for([
  { address: "unix:/run/a.sock", place: { socketPath: "/run/a.sock" } },
  { address: "http://10.0.0.2:7000", place: { host: "10.0.0.2", port: 7000 } },
  { address: "http://[::1]:7000", place: { host: "::1", port: 7000 } },
])("$address is an address", ({ address, place }) => expect(parseAddress(address)).toEqual(place));

test.for(["", "unix:a.sock", "https://a:1", "http://a:1/path", "a:1"])("%j is not", (address) =>
  expect(() => parseAddress(address)).toThrow(/write unix:\/path\/x.sock or http:\/\/host:port/),
);

test.for([
  { name: "a unix socket", address: socket },
  { name: "TCP", address: () => "http://127.0.0.1:0" },
])(
  "over $name requests are answered, failures keep their code, and bodies are bounded",
  async ({ address }) => {
    const server = await listenInternal(address(), echo, { secret });
    const ask = (path: string, json?: unknown) => requestInternal(server.address, path, { secret, json });
    expect(await ask("/x", { a: 1 })).toEqual({ status: 200, json: { method: "POST", body: { a: 1 } } });
    expect(await ask("/x")).toEqual({ status: 200, json: { method: "GET", body: null } });
    expect(await ask("/nothing")).toEqual({ status: 204, json: undefined });
    expect(await ask("/refuse")).toEqual({
      status: 409,
      json: { code: "conflict", message: "somebody else is here" },
    });
    expect(await ask("/break")).toMatchObject({ status: 500, json: { code: "internal" } });
    expect(await ask("/x", "y".repeat(200))).toMatchObject({ status: 413, json: { code: "too_large" } });
    await server.close();
  },
);

test("over TCP a wrong or missing secret is refused, and a listener without one does not open", async () => {
  const server = await listenInternal("http://127.0.0.1:0", echo, { secret });
  for (const wrong of [undefined, "another secret than that"])
    expect(await requestInternal(server.address, "/x", { secret: wrong })).toMatchObject({ status: 401 });
  await server.close();
  await expect(listenInternal("http://127.0.0.1:0", echo)).rejects.toThrow(/set internalSecret/);
});

test("an endless answer streams, ends with its signal, and is cut when the server closes", async () => {
  const server = await listenInternal(socket(), echo);
  const stop = new AbortController();
  const aborted = await openInternal(server.address, "/endless", { signal: stop.signal });
  aborted.once("data", () => stop.abort());
  await expect(text(aborted)).rejects.toThrow();
  const cut = await openInternal(server.address, "/endless");
  cut.once("data", () => void server.close());
  await expect(text(cut)).rejects.toThrow();
  await server.closed;
});

test("opening what is refused throws the other role's failure", async () => {
  const server = await listenInternal(socket(), echo);
  await expect(openInternal(server.address, "/refuse")).rejects.toMatchObject({
    code: "conflict",
    message: "somebody else is here",
  });
  await server.close();
});

test("nobody there is unavailable", async () => {
  await expect(requestInternal(socket(), "/x")).rejects.toMatchObject({ code: "unavailable" });
});

test.for([
  { name: "comes too late", path: "/silent" },
  { name: "breaks off", path: "/half" },
])("an answer that $name is unavailable; one that the caller gave up is as he ended it", async ({ path }) => {
  const server = await listenInternal(socket(), (request, response) => {
    if (request.url === "/silent") return;
    response.writeHead(200, { "content-length": 100 }).write("{");
    setImmediate(() => response.destroy());
  });
  await expect(requestInternal(server.address, path, { answerMs: 100 })).rejects.toMatchObject({
    code: "unavailable",
  });
  const ended = requestInternal(server.address, "/silent", { signal: AbortSignal.timeout(20) });
  await expect(ended).rejects.not.toBeInstanceOf(Failure);
  await server.close();
});

test("a dead owner's socket file is replaced, with rights for this user only; a live one's is left alone", async () => {
  const address = socket();
  const path = address.slice("unix:".length);
  const dead = createServer() as unknown as Server;
  await new Promise<void>((resolve) => dead.listen(path, resolve));
  await expect(listenInternal(address, echo)).rejects.toMatchObject({ code: "EADDRINUSE" });
  await new Promise((resolve) => dead.close(resolve));
  const server = await listenInternal(address, echo);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await server.close();
  expect(existsSync(path)).toBe(false);
});

test("an answer that is known to take long is waited for", async () => {
  const held = Promise.withResolvers<void>();
  const address = socket();
  const server = await listenInternal(
    address,
    (_request, response) => {
      setImmediate(held.resolve);
      void released.promise.then(() => sendJson(response, 200, { late: true }));
    },
    { secret },
  );
  const released = Promise.withResolvers<void>();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const asked = requestInternal(address, "/", { secret, answerMs: 60_000 });
    await held.promise;
    vi.advanceTimersByTime(30_000);
    released.resolve();
    expect((await asked).json).toEqual({ late: true });
  } finally {
    vi.useRealTimers();
    server.close();
  }
});
