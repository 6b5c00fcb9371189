import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { loadConfig } from "../../services/config.ts";
import { startControl } from "../../services/control/control.ts";
import { createLog } from "../../services/lib/log.ts";
import { runOperate } from "../../services/operate.ts";
import { ask } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { runSluice, type Sluice, startSluice } from "../support/sluice.ts";

let sluice: Sluice;
const encoders: Publisher[] = [];
beforeAll(async () => {
  sluice = await startSluice();
});
afterAll(async () => {
  for (const encoder of encoders) await encoder.kill();
  await sluice.stop();
});

const type = (...words: string[]) => runSluice([...words, "--data", sluice.dataDir]);
async function json(...words: string[]) {
  const { code, output } = await type(...words, "--json");
  expect(code, output).toBe(0);
  return JSON.parse(output);
}
const base = () => sluice.ready.http;

async function get(path: string): Promise<number> {
  const [response] = (await once(http.get(`${base()}${path}`), "response")) as [http.IncomingMessage];
  response.resume();
  return response.statusCode!;
}

test("from the command line a live input is made, gets a new key, and tokens for it are signed and revoked", async () => {
  const made = await json("input", "create", "Main stage");
  expect(made).toMatchObject({ meta: { name: "Main stage" }, rtmp: { streamKey: expect.any(String) } });
  expect((await json("input", "list")).map((one: { uid: string }) => one.uid)).toContain(made.uid);
  const shown = await type("input");
  expect(shown.output).toContain(`Stream Key  ${made.rtmp.streamKey}`);
  const rotated = await json("keys", "rotate", made.uid);
  expect(rotated.rtmp.streamKey).not.toBe(made.rtmp.streamKey);

  const { token } = await json("token", "sign", made.uid, "--expires", "60");
  expect(await get(`/${token}/lifecycle`)).toBe(200);
  expect((await type("token", "sign", made.uid)).output).toMatch(/^eyJ\S+\n$/);
  await json("token", "revoke", token);
  expect(await get(`/${token}/lifecycle`)).toBe(403);

  await expect(inside("token", "revoke")).rejects.toThrow(
    "say which token to revoke, or with --viewer whose",
  );
  const hers = await json("token", "sign", made.uid, "--viewer", "ann");
  await json("token", "revoke", "--viewer", "ann");
  expect(await get(`/${hers.token}/lifecycle`)).toBe(403);

  const key = await json("keys", "create");
  expect((await json("keys", "list")).map((one: { id: string }) => one.id)).toEqual([key.id]);
  expect(await json("keys", "delete", key.id)).toBe("Revoked");
});

/** What a command prints with --json, without a process of its own for each. */
async function inside(...words: string[]) {
  const config = loadConfig({ env: {}, flags: { data: sluice.dataDir } });
  const print = vi.spyOn(console, "log").mockReturnValue();
  try {
    expect(await runOperate(config, { words, json: true })).toBe(0);
    return JSON.parse(String(print.mock.lastCall));
  } finally {
    print.mockRestore();
  }
}

test("from the command line outputs, videos and webhooks come, are listed and go", async () => {
  const { uid } = await inside("input", "create", "Sent on");
  const made = await inside("output", "add", uid, "rtmps://live.example.com/app", "very-secret");
  expect(made).toMatchObject({
    url: "rtmps://live.example.com/app",
    streamKey: "very-secret",
    enabled: true,
  });
  const shown = await type("output", "list", uid);
  expect(shown.output).toContain(`${made.uid}  rtmps://live.example.com/app\n  not tried yet`);
  expect(shown.output).not.toContain("very-secret");
  expect(await inside("output", "disable", uid, made.uid)).toMatchObject({ enabled: false });
  expect((await inside("output", "list", uid))[0]).toMatchObject({
    uid: made.uid,
    enabled: false,
    status: null,
  });
  expect(await inside("output", "rm", uid, made.uid)).toBe(null);
  expect(await inside("output", "list", uid)).toEqual([]);
  await expect(inside("output", "add", uid, "http://x/y", "k")).rejects.toThrow(/^url must be a server URL/);

  expect(await inside("input", "disable", uid)).toMatchObject({ enabled: false });
  expect(await inside("input", "show", uid)).toMatchObject({ uid, enabled: false });
  expect(await inside("input", "delete", uid)).toBe(null);
  await expect(inside("input", "show", uid)).rejects.toThrow(/no such live input/);

  expect(await inside("video", "list", uid)).toEqual([]);
  await expect(inside("video", "delete", uid)).rejects.toThrow(/no such/);
  const hook = await inside("webhook", "add", "https://example.com/hook");
  expect(hook.secret).toMatch(/^whsec_/);
  expect(await inside("webhook", "list")).toMatchObject([{ id: hook.id }]);
  expect(await inside("webhook", "log", hook.id)).toEqual([]);
  expect(await inside("webhook", "replay", hook.id)).toEqual({ count: 0 });
  await expect(inside("webhook", "replay", hook.id, "yesterday")).rejects.toThrow(/^since must be a moment/);
  await expect(inside("webhook", "log", "none")).rejects.toThrow(/no such/);
  expect(await inside("webhook", "rm", hook.id)).toBe(null);
});

test("a link into the dashboard is had from the command line, and a password that is none is refused", async () => {
  const { url } = await inside("admin", "link");
  expect(url).toMatch(/\/dashboard#link=[\w-]{32}$/);
  const code = new URL(url).hash.slice("#link=".length);
  const login = await fetch(`${base()}/dashboard/api/session`, {
    method: "POST",
    body: JSON.stringify({ link: code }),
  });
  expect(login.status).toBe(200);
  expect(login.headers.getSetCookie()).toEqual([
    expect.stringMatching(/^sluice=.*HttpOnly; SameSite=Strict$/),
  ]);
  const empty = await type("admin", "password");
  expect(empty.code).toBe(1);
  expect(empty.output).toMatch(/at least 10 characters/);
});

test("the command line reaches a control that other machines reach too", async () => {
  const data = await mkdtemp(join(tmpdir(), "operate-"));
  const secret = "what all machines here know of one another";
  const control = await startControl({
    ...{
      dataDir: data,
      address: "http://127.0.0.1:0",
      secret,
      publicUrls: { rtmp: "rtmp://h", rtmps: "rtmps://h" },
    },
    defaults: { timeoutSeconds: 10, ladder: "none" },
    log: createLog("test", "silent", false),
  });
  const print = vi.spyOn(console, "log").mockReturnValue();
  try {
    const flags = { data, controlAddress: control.address, internalSecret: secret };
    const config = loadConfig({ env: {}, flags });
    expect(await runOperate(config, { words: ["input", "create", "Far"], json: true })).toBe(0);
    expect(JSON.parse(String(print.mock.lastCall))).toMatchObject({ meta: { name: "Far" } });
    const stranger = { ...config, internalSecret: undefined };
    await expect(runOperate(stranger, { words: ["input"], json: true })).rejects.toThrow();
  } finally {
    print.mockRestore();
    await control.close();
    await rm(data, { recursive: true });
  }
});

test("what is not known or not complete says what there is", async () => {
  const unknown = await type("keys", "melt");
  expect(unknown.code).toBe(2);
  expect(unknown.output).toContain("sluice keys rotate UID");
  expect((await type("token", "sign")).code).toBe(2);
  expect((await type("token", "sign", "x", "--expires", "soon")).code).toBe(2);
  const none = await type("keys", "rotate", "none");
  expect([none.code, none.output]).toEqual([1, "There is no such live input, output or video.\n"]);
});

test("a broadcast is looked at and ended by the API: the encoder goes and viewers are told", async () => {
  const { uid, streamKey, rtmp } = sluice.ready;
  const health = () => ask(sluice.ready, `GET /v1/live_inputs/${uid}/health`);
  expect(await health()).toMatchObject({ status: 200, result: null });
  expect((await ask(sluice.ready, `POST /v1/live_inputs/${uid}/complete`)).status).toBe(409);
  const encoder = publish({ url: `${rtmp}/${streamKey}` });
  encoders.push(encoder);
  await live();
  await expect.poll(health, { timeout: 20_000 }).toMatchObject({ result: { uid, state: "live" } });
  expect((await ask(sluice.ready, `POST /v1/live_inputs/${uid}/complete`)).status).toBe(204);
  await encoder.ended;
  const lifecycle = await fetch(`${base()}/${uid}/lifecycle`).then((answer) => answer.json());
  expect(lifecycle).toMatchObject({ live: false, status: "ended" });
  // What is on air is looked at once a second.
  await expect.poll(health, { timeout: 20_000 }).toMatchObject({ result: null });

  async function live(): Promise<void> {
    for (;;) {
      const answer = await fetch(`${base()}/${uid}/lifecycle?wait=idle`);
      if (((await answer.json()) as { live: boolean }).live) return;
    }
  }
});
