import { mkdtempSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type InternalServer, listenInternal } from "./http.ts";
import { linesFrom } from "./lines.ts";

let folder: string;
let server: InternalServer;
let said: PromiseWithResolvers<ServerResponse>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-lines-"));
  said = Promise.withResolvers();
  server = await listenInternal(`unix:${join(folder, "s")}`, (_request, response) => {
    response.writeHead(200).flushHeaders();
    said.resolve(response);
  });
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const lines = (quietMs = 10_000, signal = new AbortController().signal) =>
  linesFrom<unknown>({ address: server.address, path: "/", secret: undefined, signal, quietMs });

test("lines come whole, however their bytes do, and those of one piece together", async () => {
  const from = lines();
  const first = from.next();
  const response = await said.promise;
  for (const piece of ['{"a":', "1}\n[2", ',"ü"]\n3\n"no end']) {
    response.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const all = [...((await first).value as unknown[])];
  while (all.length < 3) all.push(...((await from.next()).value as unknown[]));
  expect(all).toEqual([{ a: 1 }, [2, "ü"], 3]);
  const end = from.next();
  response.end();
  expect(await end).toEqual({ done: true, value: undefined });
});

test("who stops to listen ends the link", async () => {
  const from = lines();
  const first = from.next();
  const response = await said.promise;
  const closed = new Promise((resolve) => response.once("close", resolve));
  response.write("1\n");
  expect((await first).value).toEqual([1]);
  await from.return(undefined);
  await closed;
});

test("a link on which nothing comes is given up, with a word for it", async () => {
  await expect(lines(50).next()).rejects.toMatchObject({ code: "unavailable", message: /went quiet/ });
});
