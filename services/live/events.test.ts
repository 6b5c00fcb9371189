import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Arrivals } from "../../test/support/arrivals.ts";
import { type InternalServer, listenInternal, readJson, sendJson } from "../lib/http.ts";
import { createLog } from "../lib/log.ts";
import { type Events, type Fact, openEvents, type SentFact } from "./events.ts";

const log = createLog("test", "silent", false);

let folder: string;
let control: InternalServer | undefined;
let events: Events | undefined;
let batches: Arrivals<readonly SentFact[]>;
let statuses: number[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "events-"));
  batches = new Arrivals();
  statuses = [];
});

afterEach(async () => {
  await events?.close();
  await control?.close();
  events = control = undefined;
  await rm(folder, { recursive: true });
});

const address = () => `unix:${join(folder, "c.sock")}`;
const file = () => join(folder, "ingest.events");

function open(maxBytes?: number): Events {
  events = openEvents({
    role: "ingest",
    node: "n1",
    control: address(),
    file: file(),
    log,
    ...(maxBytes && { maxBytes }),
  });
  return events;
}

/** Answers with `statuses` in turn, then 204. */
async function listen(): Promise<void> {
  control = await listenInternal(address(), async (request, response) => {
    const { role, node, events } = (await readJson(request)) as {
      role: string;
      node: string;
      events: SentFact[];
    };
    expect([role, node]).toEqual(["ingest", "n1"]);
    const status = statuses.shift() ?? 204;
    response.once("finish", () => batches.add(events));
    sendJson(response, status, status === 204 ? undefined : { code: "x", message: "y" });
  });
}

const started = (publish: string): Fact => ({ type: "publish.started", uid: "u", publish, peer: "p" });
const advice = (seconds: number): Fact => ({ type: "gop.long", uid: "u", seconds, advice: "shorter" });
const publishes = (batch: readonly SentFact[]) =>
  batch.map((event) => ("publish" in event ? event.publish : event.type));

/** Takes batches until `count` events came. */
async function take(count: number): Promise<SentFact[]> {
  const all: SentFact[] = [];
  while (all.length < count) all.push(...(await batches.next()));
  return all;
}

test("facts arrive in order with a moment and ids that differ", async () => {
  await listen();
  const box = open();
  const before = Date.now();
  for (const name of ["1", "2", "3"]) box.send(started(name));
  const all = await take(3);
  expect(publishes(all)).toEqual(["1", "2", "3"]);
  expect(new Set(all.map((event) => event.id)).size).toBe(3);
  expect(all.every((event) => event.at >= before && event.at <= Date.now())).toBe(true);
});

test("what control refused or never answered comes again with the same id", async () => {
  statuses = [503];
  await listen();
  open().send(started("1"));
  const [first] = await batches.next();
  const [second] = await batches.next();
  expect(second).toEqual(first);
});

test("facts of a time without control survive a restart of their role", async () => {
  const box = open();
  box.send(started("1"));
  box.send(started("2"));
  await box.close();
  await listen();
  const again = open();
  again.send(started("3"));
  const all = await take(3);
  expect(publishes(all)).toEqual(["1", "2", "3"]);
  expect(new Set(all.map((event) => event.id)).size).toBe(3);
});

test("a torn last line costs that line alone", async () => {
  await writeFile(
    file(),
    `${JSON.stringify({ id: "x.0", at: 1, ...started("1") })}\n{"id":"x.1","at":2,"type":"publ`,
  );
  await listen();
  open().send(started("3"));
  expect(publishes(await take(2))).toEqual(["1", "3"]);
});

test("what is delivered leaves the file", async () => {
  await listen();
  const box = open();
  box.send(started("1"));
  await batches.next();
  await box.close();
  expect(await readFile(file(), "utf8")).toBe("");
});

test("close delivers what it can", async () => {
  await listen();
  const box = open();
  for (let i = 0; i < 450; i++) box.send(started(String(i)));
  await box.close();
  expect(box.pending).toBe(0);
  expect(publishes(await take(450))).toEqual(Array.from({ length: 450 }, (_, i) => String(i)));
});

test("one that control cannot read is given up, its neighbours are not", async () => {
  statuses = [400, 204, 400, 400];
  await listen();
  const box = open();
  for (const name of ["1", "bad", "3"]) box.send(started(name));
  // All three, then one by one: "1" is taken, then "bad" and "3" together are refused, then "bad" alone.
  expect(publishes(await batches.next())).toEqual(["1", "bad", "3"]);
  expect(publishes(await batches.next())).toEqual(["1"]);
  expect(publishes(await batches.next())).toEqual(["bad", "3"]);
  expect(publishes(await batches.next())).toEqual(["bad"]);
  expect(publishes(await batches.next())).toEqual(["3"]);
});

test("past its bound advice goes first, and what began or ended stays", async () => {
  const box = open(2_000);
  box.send(started("first"));
  for (let i = 0; i < 50; i++) box.send(advice(i));
  box.send(started("last"));
  const kept = box.pending;
  expect(kept).toBeLessThan(25);
  await box.close();
  expect((await readFile(file(), "utf8")).length).toBeLessThan(5_000);
  await listen();
  open(2_000);
  const all = await take(kept);
  expect(publishes(all).at(0)).toBe("first");
  expect(publishes(all).at(-1)).toBe("last");
  expect(all.at(-2)).toMatchObject({ type: "gop.long", seconds: 49 });
});
