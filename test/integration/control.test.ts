import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Control, startControl } from "../../services/control/control.ts";
import { requestInternal } from "../../services/lib/http.ts";
import { Scope } from "../../services/lib/lifecycle.ts";
import { createLog } from "../../services/lib/log.ts";
import { openEvents } from "../../services/live/events.ts";
import {
  type IngestInput,
  type OriginInput,
  openSnapshot,
  type Snapshot,
} from "../../services/live/snapshot.ts";
import { type Asked, ask } from "../support/api.ts";

// Processes start slowly on a busy machine, and nothing here is about speed.
vi.setConfig({ testTimeout: 60_000 });
const log = createLog("test", "silent", false);

let folder: string;
let scope: Scope;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-"));
  scope = new Scope(5_000, (name, error) => {
    throw new Error(`${name} does not close`, { cause: error });
  });
});

afterEach(async () => {
  await scope.close();
  await rm(folder, { recursive: true });
});

const address = () => `unix:${join(folder, "control.sock")}`;
const data = () => join(folder, "data");

async function start(dataDir = data()): Promise<Control> {
  const control = await startControl({
    dataDir,
    address: address(),
    publicUrls: { rtmp: "rtmp://h:1935" },
    defaults: { timeoutSeconds: 10, ladder: "default" },
    log,
  });
  return scope.own("control", control);
}

function follow<Input extends { readonly uid: string }>(role: string, node = "n1"): Snapshot<Input> {
  const file = join(folder, "snapshot", `${role}.json`);
  return scope.own(role, openSnapshot<Input>({ role, node, control: address(), file, log }));
}

/** Resolves once `is` holds, looked at now and after each change. */
function when<Input>(snapshot: Snapshot<Input>, is: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    if (is()) return resolve();
    const end = snapshot.onChange(() => {
      if (!is()) return;
      end();
      resolve();
    });
  });
}

/** Over the socket of control alone. */
const askAs = (apiToken: string, asked: Asked, body?: object) =>
  ask({ http: address(), apiToken }, asked, body);

test("what the API answers, the roles have already: made, disabled, given a new key, deleted", async () => {
  const control = await start();
  const { apiToken, uid: first } = control.ready;
  const ingest = follow<IngestInput>("ingest");
  const origin = follow<OriginInput>("origin");
  await Promise.all([ingest.ready, origin.ready]);
  expect([...ingest.values()].map((input) => input.uid)).toEqual([first]);
  // Not yet acknowledged perhaps: the next change waits for both in any case.

  const made = (await askAs(apiToken, "POST /live_inputs", { meta: { name: "Show" } })).result;
  const shown = ingest.get(made.uid);
  expect(shown).toMatchObject({ uid: made.uid, enabled: true });
  expect(shown?.keyHash).toMatch(/^[0-9a-f]{64}$/);
  expect(origin.get(made.uid)).toEqual({
    uid: made.uid,
    name: "Show",
    profile: "low",
    record: false,
    enabled: true,
    timeoutSeconds: 10,
    requireSignedURLs: false,
    allowedOrigins: [],
    hideLiveViewerCount: false,
  });
  const onDisk = await readFile(join(folder, "snapshot", "ingest.json"), "utf8");
  expect(onDisk).toContain(made.uid);
  expect(onDisk).not.toContain(made.rtmp.streamKey);

  await askAs(apiToken, `PUT /live_inputs/${made.uid}`, { enabled: false, recording: { timeoutSeconds: 3 } });
  expect(ingest.get(made.uid)?.enabled).toBe(false);
  expect(origin.get(made.uid)).toMatchObject({ enabled: false, timeoutSeconds: 3 });

  const rotated = await askAs(apiToken, `POST /live_inputs/${made.uid}/rotate_keys`);
  expect(rotated.messages).toEqual([]);
  expect(ingest.get(made.uid)?.keyHash).not.toBe(shown?.keyHash);

  await askAs(apiToken, `DELETE /live_inputs/${made.uid}`);
  expect([ingest.get(made.uid), origin.get(made.uid)]).toEqual([undefined, undefined]);
  expect(ingest.version).toBe(origin.version);
});

test("control away: a role starts again from its copy, and catches up when control is back", async () => {
  let control = await start();
  const { uid, apiToken } = control.ready;
  const before = follow<IngestInput>("ingest");
  await before.ready;
  await askAs(apiToken, `POST /live_inputs/${uid}/rotate_keys`);
  const { version } = before;
  await before.close();
  await control.close();

  const after = follow<IngestInput>("ingest");
  await after.ready;
  expect(after.get(uid)?.enabled).toBe(true);
  expect(after.version).toBe(version);

  control = await start();
  expect(control.ready).toMatchObject({ uid, apiToken });
  await askAs(apiToken, `PUT /live_inputs/${uid}`, { enabled: false });
  await when(after, () => after.get(uid)?.enabled === false);
  expect(after.version).toBe(version + 1);
});

test("a link that broke starts with the whole again, with what was missed in it", async () => {
  const first = await start();
  const { uid, apiToken } = first.ready;
  const origin = follow<OriginInput>("origin");
  await origin.ready;
  await first.close();
  // Changed while nobody followed: in a run of control whose address the role does not know.
  const elsewhere = await startControl({
    dataDir: data(),
    address: `unix:${join(folder, "else.sock")}`,
    publicUrls: {},
    defaults: { timeoutSeconds: 20, ladder: "default" },
    log,
  });
  await elsewhere.close();
  const second = await start();
  await askAs(apiToken, `PUT /live_inputs/${uid}`, { meta: { name: "later" } });
  await when(origin, () => origin.get(uid)?.name === "later");
  expect(second.ready.uid).toBe(uid);
});

test("control's store replaced by another: the roles take the new one whole though its version is lower", async () => {
  const first = await start();
  for (let i = 0; i < 5; i++) await askAs(first.ready.apiToken, "POST /live_inputs", {});
  const ingest = follow<IngestInput>("ingest");
  await ingest.ready;
  expect([...ingest.values()]).toHaveLength(6);
  await first.close();
  const second = await start(join(folder, "other"));
  await when(ingest, () => ingest.get(second.ready.uid) !== undefined);
  expect([...ingest.values()]).toHaveLength(1);
  expect(ingest.version).toBeLessThan(6);
});

test("a role that does not confirm is named within two seconds, and the change is made", async () => {
  const control = await start();
  const { uid, apiToken } = control.ready;
  // Reads its slice and never acknowledges, as a stopped process would.
  const hung = await new Promise<() => void>((resolve, reject) => {
    const socketPath = address().slice("unix:".length);
    const sent = request({ socketPath, path: "/internal/slice?role=ingest&node=hung" }, (response) => {
      response.once("data", () => resolve(() => sent.destroy()));
    });
    sent.on("error", reject).end();
  });
  const began = performance.now();
  const put = await askAs(apiToken, `PUT /live_inputs/${uid}`, { enabled: false });
  expect(performance.now() - began).toBeLessThan(4_000);
  expect(put.result.enabled).toBe(false);
  expect(put.messages).toMatchObject([{ code: 20001, message: expect.stringContaining("ingest (hung)") }]);
  // An acknowledgement of what was never sent is not one.
  await requestInternal(address(), "/internal/ack", { json: { role: "ingest", node: "hung", version: 999 } });
  const gone = await askAs(apiToken, `DELETE /live_inputs/${uid}`);
  expect(gone.headers["x-sluice-behind"]).toBe("ingest (hung)");
  hung();
});

test("nobody waits for a role that a change says nothing to", async () => {
  const control = await start();
  const { uid, apiToken } = control.ready;
  const about = { role: "outputs", node: "hung" };
  // Confirms what it is told first and nothing then.
  const hung = await new Promise<() => void>((resolve, reject) => {
    const socketPath = address().slice("unix:".length);
    const path = `/internal/slice?${new URLSearchParams(about)}`;
    const sent = request({ socketPath, path }, (response) => {
      response.once("data", async (line) => {
        const { version } = JSON.parse(String(line));
        await requestInternal(address(), "/internal/ack", { json: { ...about, version } });
        resolve(() => sent.destroy());
      });
    });
    sent.on("error", reject).end();
  });
  expect((await askAs(apiToken, `PUT /live_inputs/${uid}`, { meta: { name: "B" } })).messages).toEqual([]);
  const output = { url: "rtmp://a.example/live", streamKey: "k" };
  const made = await askAs(apiToken, `POST /live_inputs/${uid}/outputs`, output);
  expect(made.messages).toMatchObject([{ code: 20001, message: expect.stringContaining("outputs (hung)") }]);
  hung();
});

test("facts take effect once, in order, over duplicates and an absence of control", async () => {
  let control = await start();
  const { uid, apiToken } = control.ready;
  const video = "ab".repeat(16);
  const at = Date.now();
  const head = (n: number) => ({ id: `x.${n}`, at: at + n });
  const report = {
    role: "ingest",
    node: "n1",
    events: [
      { ...head(0), type: "publish.started", uid, publish: "p1", peer: "127.0.0.1" },
      { ...head(1), type: "publish.ended", uid, publish: "p1", reason: "lost" },
      { ...head(2), type: "later.invention", uid, of: "a newer version" },
    ],
  };
  for (let i = 0; i < 3; i++)
    expect((await requestInternal(address(), "/internal/events", { json: report })).status).toBe(204);
  const current = async () => (await askAs(apiToken, `GET /live_inputs/${uid}`)).result.status.current;
  expect(await current()).toEqual({
    state: "disconnected",
    reason: "reconnecting",
    statusEnteredAt: new Date(at + 1).toISOString(),
    statusLastSeen: new Date(at + 1).toISOString(),
  });

  await control.close();
  const file = join(folder, "events");
  const events = openEvents({ role: "origin", node: "n1", control: address(), file, log });
  events.send({ type: "publish.started", uid, publish: "p2", peer: "127.0.0.1" });
  events.send({ type: "broadcast.started", uid, video });
  await events.close();
  const again = scope.own(
    "events",
    openEvents({ role: "origin", node: "n1", control: address(), file, log }),
  );
  expect(again.pending).toBe(2);
  control = await start();
  await again.close();
  expect(again.pending).toBe(0);
  // The report of before once more: p2 stays connected.
  await requestInternal(address(), "/internal/events", { json: report });
  expect(await current()).toMatchObject({ state: "connected", reason: "reconnected" });
  const list = await askAs(apiToken, `GET ?include_counts=true&live_input_id=${uid}`);
  expect(list).toMatchObject({ range: 1, total: 1 });
  expect(list.result).toMatchObject([
    { uid: video, liveInput: uid, readyToStream: true, duration: -1, status: { state: "live-inprogress" } },
  ]);
  const bad = await requestInternal(address(), "/internal/events", {
    json: { ...report, events: [{ ...head(9), type: "publish.started", uid }] },
  });
  expect(bad.status).toBe(400);
});

test("kill -9 in the middle of writes takes none that was acknowledged", async () => {
  const { child, ready } = await spawnControl();
  const exited = once(child, "exit");
  const acknowledged: string[] = [];
  const writers = Array.from({ length: 4 }, async () => {
    for (;;) {
      const { result } = await askAs(ready.apiToken, "POST /live_inputs", { meta: { name: "kept" } });
      acknowledged.push(result.uid);
      // The others are somewhere between their request and their commit.
      if (acknowledged.length === 40) child.kill("SIGKILL");
    }
  });
  await Promise.allSettled(writers);
  await exited;
  expect(acknowledged.length).toBeGreaterThanOrEqual(40);

  const control = await start();
  // Only the link for the first login is of one start.
  expect({ ...control.ready, dashboard: ready.dashboard }).toEqual(ready);
  const { result } = await askAs(ready.apiToken, "GET /live_inputs");
  const kept = new Set(result.liveInputs.map((input: { uid: string }) => input.uid));
  expect(acknowledged.filter((uid) => !kept.has(uid))).toEqual([]);
});

async function spawnControl(): Promise<{ child: ChildProcess; ready: Control["ready"] }> {
  const script = new URL("../support/control-child.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, data(), address()], { stdio: ["pipe", "pipe", "inherit"] });
  scope.own("child", { close: () => child.kill("SIGKILL") });
  for await (const line of createInterface({ input: child.stdout! }))
    return { child, ready: JSON.parse(line) };
  throw new Error("control did not start");
}
