import { mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Arrivals } from "../../test/support/arrivals.ts";
import { type InternalServer, listenInternal, readJson, sendJson } from "../lib/http.ts";
import { createLog } from "../lib/log.ts";
import { Kept } from "./kept.ts";
import { openSnapshot, type Snapshot } from "./snapshot.ts";

interface Input {
  readonly uid: string;
  readonly enabled: boolean;
}

const log = createLog("test", "silent", false);
const a = { uid: "a", enabled: true };
const b = { uid: "b", enabled: true };

let folder: string;
let control: InternalServer | undefined;
let links: Arrivals<ServerResponse>;
let acks: Arrivals<unknown>;
let opened: Snapshot<Input>[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "snap-"));
  links = new Arrivals();
  acks = new Arrivals();
  opened = [];
});

afterEach(async () => {
  await Promise.all(opened.map((one) => one.close()));
  await control?.close();
  control = undefined;
  await rm(folder, { recursive: true });
});

const address = () => `unix:${join(folder, "c.sock")}`;
const file = () => join(folder, "snapshot", "ingest.json");
const saved = async () => {
  const { version, inputs } = await new Kept<Input>(file()).read();
  return { version, inputs: Object.fromEntries(inputs) };
};

function follow(): Snapshot<Input> {
  const one = openSnapshot<Input>({ role: "ingest", node: "n1", control: address(), file: file(), log });
  opened.push(one);
  return one;
}

async function listen(): Promise<void> {
  control = await listenInternal(address(), async (request, response) => {
    if (request.url === "/internal/slice?role=ingest&node=n1") {
      response.writeHead(200);
      return links.add(response);
    }
    acks.add(await readJson(request));
    sendJson(response, 204);
  });
}

const say = (link: ServerResponse, ...lines: object[]) =>
  link.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
const ack = (version: number) => ({ role: "ingest", node: "n1", version });

test("the whole comes first, then deltas; each is on disk before it is acknowledged", async () => {
  await listen();
  const snapshot = follow();
  const changes = new Arrivals<string[]>();
  snapshot.onChange((uids) => changes.add([...uids]));
  const link = await links.next();
  say(link, { version: 7, whole: { inputs: { a } } });
  await snapshot.ready;
  expect(await acks.next()).toEqual(ack(7));
  expect(await saved()).toEqual({ version: 7, inputs: { a } });
  expect((await stat(file())).mode & 0o777).toBe(0o600);

  say(link, { version: 8, set: { b }, remove: ["a"] });
  expect(await acks.next()).toEqual(ack(8));
  expect(await saved()).toEqual({ version: 8, inputs: { b } });
  expect([...snapshot.values()]).toEqual([b]);
  expect([await changes.next(), await changes.next()]).toEqual([["a"], ["a", "b"]]);
});

test("lines that come together are one write and one acknowledgement", async () => {
  await listen();
  const snapshot = follow();
  say(
    await links.next(),
    { version: 1, whole: { inputs: {} } },
    { version: 2, set: { a } },
    { version: 3, set: { b } },
  );
  expect(await acks.next()).toEqual(ack(3));
  expect(snapshot.version).toBe(3);
});

test("what came last is on disk although control is gone before it heard of what came before", async () => {
  control = await listenInternal(address(), async (request, response) => {
    if (request.url?.startsWith("/internal/slice")) {
      response.writeHead(200);
      return links.add(response);
    }
    acks.add(await readJson(request));
  });
  const snapshot = follow();
  const changes = new Arrivals<string[]>();
  const link = await links.next();
  say(link, { version: 1, whole: { inputs: { a } } });
  await acks.next();
  snapshot.onChange((uids) => changes.add([...uids]));
  say(link, { version: 2, set: { b } });
  await changes.next();
  await control.close();
  await expect.poll(saved, { interval: 5 }).toEqual({ version: 2, inputs: { a, b } });
});

test("what comes while the copy is written and acknowledged counts at once", async () => {
  const asked = new Arrivals<ServerResponse>();
  control = await listenInternal(address(), async (request, response) => {
    if (request.url?.startsWith("/internal/slice")) {
      response.writeHead(200);
      return links.add(response);
    }
    acks.add(await readJson(request));
    asked.add(response);
  });
  const snapshot = follow();
  const changes = new Arrivals<string[]>();
  snapshot.onChange((uids) => changes.add([...uids]));
  const link = await links.next();
  say(link, { version: 1, whole: { inputs: { a } } });
  expect(await changes.next()).toEqual(["a"]);
  const first = await asked.next();
  say(link, { version: 2, set: { b } }, { version: 3, remove: ["a"] });
  expect(await changes.next()).toEqual(["b", "a"]);
  expect(snapshot.get("a")).toBeUndefined();
  sendJson(first, 204);
  sendJson(await asked.next(), 204);
  expect([await acks.next(), await acks.next()]).toEqual([ack(1), ack(3)]);
  expect(await saved()).toEqual({ version: 3, inputs: { b } });
});

test("a line may come in pieces", async () => {
  await listen();
  follow();
  const link = await links.next();
  const line = Buffer.from(
    `${JSON.stringify({ version: 1, whole: { inputs: { a: { ...a, name: "é" } } } })}\n`,
  );
  const split = line.indexOf(0xc3) + 1;
  link.write(line.subarray(0, split), () => link.write(line.subarray(split)));
  expect(await acks.next()).toEqual(ack(1));
  expect(await saved()).toEqual({ version: 1, inputs: { a: { ...a, name: "é" } } });
});

test("with control away a restart works from the copy on disk at once, and says how old control's word is", async () => {
  await listen();
  const first = follow();
  say(await links.next(), { version: 5, whole: { inputs: { a } } });
  await acks.next();
  await first.close();
  await control?.close();
  const minuteAgo = new Date(Date.now() - 60_000);
  await utimes(file(), minuteAgo, minuteAgo);

  const second = follow();
  await second.ready;
  expect(second.get("a")).toEqual(a);
  expect(second.contactMs).toBeGreaterThan(59_000);

  await listen();
  say(await links.next(), { version: 5, whole: { inputs: { a } } });
  await acks.next();
  expect(second.contactMs).toBeLessThan(10_000);
});

test("another store's lower version is taken whole", async () => {
  await listen();
  const snapshot = follow();
  const link = await links.next();
  say(link, { version: 90, whole: { inputs: { a } } });
  await acks.next();
  link.destroy();
  say(await links.next(), { version: 2, whole: { inputs: { b } } });
  expect(await acks.next()).toEqual(ack(2));
  expect(snapshot.version).toBe(2);
  expect([...snapshot.values()]).toEqual([b]);
});

test.for([
  { name: "a version that goes backwards", lines: [{ version: 3, set: { b } }] },
  { name: "a change without a new version", lines: [{ version: 4, set: { b } }] },
  { name: "a line without a version", lines: [{ set: { b } }] },
])("$name ends the link, and the whole is asked for again", async ({ lines }) => {
  await listen();
  const snapshot = follow();
  const link = await links.next();
  say(link, { version: 4, whole: { inputs: { a } } });
  await acks.next();
  say(link, ...lines);
  say(await links.next(), { version: 4, whole: { inputs: { a } } });
  await acks.next();
  expect([...snapshot.values()]).toEqual([a]);
});

test("a copy on disk that cannot be read is left alone until control answers", async () => {
  await listen();
  const first = follow();
  say(await links.next(), { version: 1, whole: { inputs: { a } } });
  await acks.next();
  await first.close();
  await writeFile(file(), '{"version":1,"inp');
  const second = follow();
  say(await links.next(), { version: 1, whole: { inputs: { a } } });
  await second.ready;
  expect(second.get("a")).toEqual(a);
});

test("the same records again are no change", async () => {
  await listen();
  const snapshot = follow();
  const changes: string[][] = [];
  snapshot.onChange((uids) => changes.push([...uids]));
  const link = await links.next();
  say(link, { version: 1, whole: { inputs: { a } } });
  await acks.next();
  link.destroy();
  say(await links.next(), { version: 2, whole: { inputs: { a } } });
  await acks.next();
  expect(changes).toEqual([["a"]]);
});

test("a change that is none here is acknowledged and not written, behind what is", async () => {
  await listen();
  const snapshot = follow();
  const link = await links.next();
  say(link, { version: 1, whole: { inputs: { a } } });
  await acks.next();
  say(link, { version: 2, set: { a }, remove: ["z"] });
  expect(await acks.next()).toEqual(ack(2));
  expect([snapshot.version, (await saved()).version]).toEqual([2, 1]);
  say(link, { version: 3, set: { a, b } }, { version: 4, remove: ["z"] });
  expect(await acks.next()).toEqual(ack(4));
  expect(await saved()).toEqual({ version: 3, inputs: { a, b } });
});

test("a line with nothing new is contact and no acknowledgement", async () => {
  await listen();
  const snapshot = follow();
  const link = await links.next();
  say(link, { version: 4, whole: { inputs: { a } } });
  await acks.next();
  say(link, { version: 4 });
  say(link, { version: 5, remove: ["a"] });
  expect(await acks.next()).toEqual(ack(5));
  expect(snapshot.get("a")).toBeUndefined();
});

test("closed before anything came, ready says so", async () => {
  const snapshot = follow();
  await snapshot.close();
  await expect(snapshot.ready).rejects.toThrow("closed before the first snapshot");
});
