import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { requestInternal } from "../../services/lib/http.ts";

/** SLUICE_WEBHOOK_EVENTS=10000 is the long form. */
const events = Number(process.env.SLUICE_WEBHOOK_EVENTS ?? 400);
const inputs = 8;
const kills = 5;
const seed = Number(process.env.SLUICE_SEED ?? 1);

let folder: string;
let child: ChildProcess | undefined;
let server: http.Server;
/** By live input, the publishes told of in the order of their first acceptance. */
const taken = new Map<string, string[]>();
let faults = 0;

/** The same faults for the same seed. */
let state = seed;
function dice(): number {
  state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
  return state / 2 ** 31;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "chaos-"));
  const seen = new Set<string>();
  server = http.createServer(async (request, response) => {
    const fault = dice();
    if (fault < 0.05) {
      faults++;
      return void request.socket.destroy();
    }
    let body = "";
    for await (const piece of request.setEncoding("utf8")) body += piece;
    const take = () => {
      const id = String(request.headers["webhook-id"]);
      if (seen.has(id)) return;
      seen.add(id);
      const { data, text } = JSON.parse(body) as { data: { input_id: string }; text: string };
      taken.set(data.input_id, [...(taken.get(data.input_id) ?? []), text]);
    };
    if (fault < 0.1) {
      faults++;
      return void response.writeHead(503).end();
    }
    take();
    // Taken, and the answer is lost: it has to come again under the same id.
    if (fault < 0.15) {
      faults++;
      return void request.socket.destroy();
    }
    response.end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
});

afterAll(async () => {
  child?.kill("SIGKILL");
  server.close();
  server.closeAllConnections();
  await rm(folder, { recursive: true });
});

const address = () => `unix:${join(folder, "c.sock")}`;

async function startChild(): Promise<string> {
  const script = new URL("../support/control-child.ts", import.meta.url).pathname;
  const options = JSON.stringify({
    allowPrivateTargets: ["127.0.0.0/8"],
    webhookRetryMs: Array<number>(200).fill(20),
  });
  child = spawn(process.execPath, [script, join(folder, "data"), address(), options], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout! }))
    return (JSON.parse(line) as { apiToken: string }).apiToken;
  throw new Error("control did not start");
}

async function killChild(): Promise<void> {
  const gone = once(child!, "exit");
  child!.kill("SIGKILL");
  await gone;
}

test(`${events} events over a receiver's faults and kill -9 of control: none lost, none out of order`, {
  timeout: 60_000 + events * 60,
}, async () => {
  const token = await startChild();
  const { port } = server.address() as AddressInfo;
  const made = await requestInternal(address(), "/v1/webhooks", {
    json: { url: `http://127.0.0.1:${port}/` },
    secret: token,
  });
  expect(made.status).toBe(200);
  const told = new Map<string, string[]>();
  const perKill = Math.ceil(events / (kills + 1));
  for (let sent = 0; sent < events; ) {
    const batch = Array.from({ length: Math.min(10, events - sent) }, (_, i) => {
      const uid = `input${Math.floor(dice() * inputs)}`;
      const advice = `${sent + i}`;
      told.set(uid, [...(told.get(uid) ?? []), advice]);
      return { id: `e.${sent + i}`, at: Date.now(), type: "gop.long", uid, seconds: 9, advice };
    });
    const report = { role: "origin", node: "n", events: batch };
    // At least once, as a role does: a kill leaves open whether the last report was taken.
    const posted = requestInternal(address(), "/internal/events", { json: report });
    if (Math.floor((sent + batch.length) / perKill) > Math.floor(sent / perKill)) {
      await Promise.all([posted.catch(() => undefined), killChild()]);
      await startChild();
      await requestInternal(address(), "/internal/events", { json: report });
    } else await posted;
    sent += batch.length;
  }
  const total = () => [...taken.values()].reduce((sum, list) => sum + list.length, 0);
  await new Promise<void>((resolve) => {
    const look = setInterval(() => {
      if (total() < events) return;
      clearInterval(look);
      resolve();
    }, 50);
  });
  for (const [uid, list] of told) expect(taken.get(uid), uid).toEqual(list);
  expect(faults).toBeGreaterThan(events / 20);
});
