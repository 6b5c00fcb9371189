import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLog } from "../lib/log.ts";
import { type Control, startControl } from "./control.ts";

const base = "/client/v4/accounts/any/stream";
const inputs = `${base}/live_inputs`;

let folder: string;
let control: Control;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "control-"));
  control = await startControl({
    dataDir: join(folder, "data"),
    address: `unix:${join(folder, "c.sock")}`,
    publicUrls: { rtmp: "rtmp://h:1935", rtmps: "rtmps://h:1936", http: "http://h:8080" },
    defaults: { timeoutSeconds: 10, ladder: "default" },
    log: createLog("test", "silent", false),
  });
});

afterAll(async () => {
  await control.close();
  await rm(folder, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: the envelope is what the tests look into
  readonly json: any;
}

function ask(
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = { authorization: `Bearer ${control.ready.apiToken}` },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socketPath = control.address.slice("unix:".length);
    const sent = request({ socketPath, method, path, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("end", () => {
        const json = response.headers["content-type"]?.startsWith("application/json")
          ? JSON.parse(text)
          : undefined;
        resolve({ status: response.statusCode!, headers: response.headers, text, json });
      });
    });
    sent.on("error", reject).end(typeof body === "string" ? body : body && JSON.stringify(body));
  });
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const create = async (body: object = {}) => (await ask("POST", inputs, body)).json.result;

test("the first start makes a live input to publish to", async () => {
  const { json } = await ask("GET", `${inputs}/${control.ready.uid}`);
  expect(json).toMatchObject({
    success: true,
    errors: [],
    messages: [],
    result: {
      uid: control.ready.uid,
      meta: { name: "Default" },
      enabled: true,
      status: null,
      keysRotatedAt: null,
      deleteRecordingAfterDays: null,
      rtmps: { url: "rtmps://h:1936/live/", streamKey: control.ready.streamKey },
      rtmp: { url: "rtmp://h:1935/live/", streamKey: control.ready.streamKey },
      playback: {
        hls: `http://h:8080/${control.ready.uid}/manifest/video.m3u8`,
        dash: `http://h:8080/${control.ready.uid}/manifest/video.mpd`,
      },
      recording: { mode: "automatic", timeoutSeconds: 10, requireSignedURLs: false, allowedOrigins: [] },
    },
  });
  for (const absent of ["srt", "webRTC", "srtPlayback", "webRTCPlayback", "rtmpsPlayback"])
    expect(json.result).not.toHaveProperty(absent);
});

test("a live input is made, listed without its key, changed in part, given a new key and deleted", async () => {
  const made = await create({
    meta: { name: "a", own: [1] },
    recording: { timeoutSeconds: 30 },
    ladder: [{ height: 480 }],
    unknown: true,
  });
  expect(made).toMatchObject({
    meta: { name: "a", own: [1] },
    recording: { timeoutSeconds: 30 },
    ladder: [{ height: 480 }],
  });

  const list = (await ask("GET", `${inputs}?include_counts=true`)).json.result;
  expect([list.range, list.total]).toEqual([list.liveInputs.length, list.liveInputs.length]);
  const listed = list.liveInputs.find((one: { uid: string }) => one.uid === made.uid);
  expect(Object.keys(listed).sort()).toEqual([
    "created",
    "deleteRecordingAfterDays",
    "enabled",
    "meta",
    "modified",
    "uid",
  ]);

  const put = (await ask("PUT", `${inputs}/${made.uid}`, { enabled: false })).json.result;
  expect(put).toEqual({ ...made, enabled: false, modified: put.modified });

  const rotated = (await ask("POST", `${inputs}/${made.uid}/rotate_keys`)).json.result;
  expect(rotated.rtmps.streamKey).not.toBe(made.rtmps.streamKey);
  expect(rotated.keysRotatedAt).toBe(rotated.modified);

  const gone = await ask("DELETE", `${inputs}/${made.uid}`);
  expect([gone.status, gone.text, gone.headers["content-type"]]).toEqual([204, "", undefined]);
  expect((await ask("GET", `${inputs}/${made.uid}`)).status).toBe(404);
  expect((await ask("DELETE", `${inputs}/${made.uid}`)).status).toBe(404);
});

test("the same Idempotency-Key makes one live input, also when two ask at once; after its deletion it is a conflict", async () => {
  const headers = { ...bearer(control.ready.apiToken), "idempotency-key": "k1" };
  const both = await Promise.all([1, 2].map(() => ask("POST", inputs, { meta: { name: "once" } }, headers)));
  const uid = both[0]!.json.result.uid;
  expect(both.map((one) => one.json.result.uid)).toEqual([uid, uid]);
  await ask("DELETE", `${inputs}/${uid}`);
  const late = await ask("POST", inputs, {}, headers);
  expect([late.status, late.headers["x-should-retry"], late.json.errors[0].code]).toEqual([
    409,
    "false",
    10009,
  ]);
  const long = await ask("POST", inputs, {}, { ...headers, "idempotency-key": "k".repeat(256) });
  expect(long.status).toBe(400);
});

test.for([
  {
    name: "an output",
    path: () => `${inputs}/${control.ready.uid}/outputs`,
    body: { url: "rtmp://x.example/live", streamKey: "s" },
    other: { url: "rtmp://y.example/live", streamKey: "s" },
  },
  {
    name: "an API token",
    path: () => "/v1/tokens",
    body: { name: "repeated", scopes: ["stream:read"] },
    other: { name: "repeated", scopes: ["stream:write"] },
  },
  {
    name: "a webhook",
    path: () => "/v1/webhooks",
    body: { url: "https://x.example/hook" },
    other: { url: "https://y.example/hook" },
  },
  { name: "a signing key", path: () => `${base}/keys`, body: {}, other: undefined },
  { name: "a link into the dashboard", path: () => "/v1/admin/links", body: {}, other: undefined },
])("the same Idempotency-Key makes $name once, and answers the same each time", async (one) => {
  const headers = { ...admin(), "idempotency-key": one.name };
  const post = (given: object = one.body) => ask("POST", one.path(), given, headers);
  const [first, second] = await Promise.all([post(), post()]);
  const third = await post();
  expect([first.status, second.status, third.status]).toEqual([200, 200, 200]);
  expect(second.json.result).toEqual(first.json.result);
  expect(third.json.result).toEqual(first.json.result);
  if (one.other) {
    const other = await post(one.other);
    expect([other.status, other.headers["x-should-retry"]]).toEqual([409, "false"]);
  }
  if (one.name === "an API token") await ask("DELETE", "/v1/tokens/repeated");
});

test("what an Idempotency-Key is kept of can be read by nobody who has the store, and a refusal is not kept", async () => {
  const headers = { ...admin(), "idempotency-key": "secret" };
  const path = `${inputs}/${control.ready.uid}/outputs`;
  expect((await ask("POST", path, { url: "no URL", streamKey: "s" }, headers)).status).toBe(400);
  const body = { url: "rtmp://x.example/live", streamKey: "not-to-be-read" };
  expect((await ask("POST", path, body, headers)).status).toBe(200);
  const files = readdirSync(join(folder, "data")).filter((file) => file.startsWith("sluice.db"));
  expect(files.length).toBeGreaterThan(0);
  for (const file of files)
    expect(readFileSync(join(folder, "data", file)).includes("not-to-be-read")).toBe(false);
});

test("what is wrong is named field by field", async () => {
  const { status, json } = await ask("PUT", `${inputs}/${control.ready.uid}`, {
    meta: 3,
    recording: { timeoutSeconds: 99_999, allowedOrigins: ["https://x.example/page"] },
  });
  expect(status).toBe(400);
  expect(json).toMatchObject({ result: null, success: false, messages: [] });
  expect(json.errors).toEqual([
    { code: 10005, message: "meta must be a JSON object.", source: { pointer: "/meta" } },
    {
      code: 10005,
      message: "recording.timeoutSeconds must be a whole number of seconds from 0 to 3600.",
      source: { pointer: "/recording/timeoutSeconds" },
    },
    {
      code: 10005,
      message: "recording.allowedOrigins.0 must be hosts like example.com, *.example.com or localhost:3000.",
      source: { pointer: "/recording/allowedOrigins/0" },
    },
  ]);
});

const admin = () => bearer(control.ready.apiToken);

test.for<{ name: string; ask: () => Promise<Answer>; status: number; code: number }>([
  { name: "no token", ask: () => ask("GET", inputs, undefined, {}), status: 401, code: 10000 },
  { name: "a wrong token", ask: () => ask("GET", inputs, undefined, bearer("x")), status: 401, code: 10000 },
  {
    name: "another scheme",
    ask: () => ask("GET", inputs, undefined, { authorization: `Basic ${control.ready.apiToken}` }),
    status: 401,
    code: 10000,
  },
  {
    name: "no token for a path that is none",
    ask: () => ask("GET", "/v1/none", undefined, {}),
    status: 401,
    code: 10000,
  },
  { name: "a path that is none", ask: () => ask("GET", "/v1/none"), status: 404, code: 7003 },
  { name: "a method that is none", ask: () => ask("PATCH", inputs), status: 404, code: 7003 },
  { name: "a uid that is none", ask: () => ask("PUT", `${inputs}/none`, {}), status: 404, code: 10003 },
  {
    name: "a new key for nothing",
    ask: () => ask("POST", `${inputs}/none/rotate_keys`),
    status: 404,
    code: 10003,
  },
  { name: "videos of nothing", ask: () => ask("GET", `${inputs}/none/videos`), status: 404, code: 10003 },
  { name: "a video that is none", ask: () => ask("GET", `${base}/none`), status: 404, code: 10003 },
  { name: "torn JSON", ask: () => ask("POST", inputs, '{"meta'), status: 400, code: 10005 },
  { name: "a body that is no object", ask: () => ask("POST", inputs, "[]"), status: 400, code: 10005 },
  { name: "a limit out of range", ask: () => ask("GET", `${base}?limit=1001`), status: 400, code: 10005 },
  {
    name: "a body that is too large",
    ask: () => ask("POST", inputs, "x".repeat(70_000)),
    status: 413,
    code: 10012,
  },
  { name: "a path with a broken escape", ask: () => ask("GET", `${inputs}/%zz`), status: 400, code: 10005 },
])("$name -> $status", async (c) => {
  const { status, json } = await c.ask();
  expect([status, json.errors[0].code, json.success]).toEqual([status, c.code, false]);
  expect(status).toBe(c.status);
});

test("a store that takes no writes is said to be so, reads go on", async () => {
  const db = new DatabaseSync(join(folder, "data", "sluice.db"));
  db.exec("ALTER TABLE audit RENAME TO lost");
  const refused = await ask("POST", inputs, {});
  expect([refused.status, refused.json.errors[0].message]).toEqual([
    503,
    "the store refuses writes: no such table: audit.",
  ]);
  expect(control.troubles()).toEqual(["the store refuses writes: no such table: audit"]);
  expect((await ask("GET", inputs)).status).toBe(200);
  db.exec("ALTER TABLE lost RENAME TO audit");
  db.close();
  expect((await ask("POST", inputs, {})).status).toBe(200);
  expect(control.troubles()).toEqual([]);
});

test("a token that the origin passes beside the roles' own secret counts", async () => {
  const headers = {
    authorization: "Bearer between-roles",
    "x-sluice-authorization": admin().authorization,
  };
  expect((await ask("GET", inputs, undefined, headers)).status).toBe(200);
});

test("an empty body that is called JSON is no body, as the official client sends it", async () => {
  const { uid } = await create();
  const headers = { ...admin(), "content-type": "application/json" };
  expect((await ask("POST", `${inputs}/${uid}/rotate_keys`, "", headers)).status).toBe(200);
});

test("every call is in the OpenAPI document and on the page, which needs no token and no script", async () => {
  const { json } = await ask("GET", "/docs/openapi.json", undefined, {});
  expect(json.openapi).toBe("3.1.0");
  const calls = Object.entries(
    json.paths as Record<string, Record<string, { description?: string }>>,
  ).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { description }]) => ({
      name: `${method} ${path.replace("/client/v4/accounts/{account}/stream", "")}`,
      served: !description?.startsWith("Answers 501"),
    })),
  );
  const served = calls.filter((one) => one.served).map((one) => one.name);
  expect(served.sort()).toEqual([
    "delete /keys/{id}",
    "delete /live_inputs/{uid}",
    "delete /live_inputs/{uid}/outputs/{output}",
    "delete /v1/tokens/{name}",
    "delete /v1/webhooks/{id}",
    "delete /webhook",
    "delete /{uid}",
    "delete /{uid}/captions/{language}",
    "get ",
    "get /keys",
    "get /live_inputs",
    "get /live_inputs/{uid}",
    "get /live_inputs/{uid}/outputs",
    "get /live_inputs/{uid}/outputs/{output}",
    "get /live_inputs/{uid}/videos",
    "get /storage-usage",
    "get /v1/analytics",
    "get /v1/audit",
    "get /v1/live_inputs/{uid}/analytics",
    "get /v1/live_inputs/{uid}/health",
    "get /v1/live_inputs/{uid}/health/history",
    "get /v1/tokens",
    "get /v1/videos/{uid}/analytics",
    "get /v1/videos/{uid}/gaps",
    "get /v1/webhooks",
    "get /v1/webhooks/{id}/deliveries",
    "get /webhook",
    "get /{uid}",
    "get /{uid}/captions",
    "get /{uid}/captions/{language}",
    "get /{uid}/captions/{language}/vtt",
    "get /{uid}/downloads",
    "get /{uid}/embed",
    "post /clip",
    "post /keys",
    "post /live_inputs",
    "post /live_inputs/{uid}/outputs",
    "post /live_inputs/{uid}/rotate_keys",
    "post /v1/admin/links",
    "post /v1/keys",
    "post /v1/live_inputs/{uid}/complete",
    "post /v1/revocations",
    "post /v1/tokens",
    "post /v1/videos/index",
    "post /v1/webhooks",
    "post /v1/webhooks/{id}/replay",
    "post /{uid}",
    "post /{uid}/downloads",
    "post /{uid}/token",
    "put /live_inputs/{uid}",
    "put /live_inputs/{uid}/outputs/{output}",
    "put /v1/admin/password",
    "put /webhook",
    "put /{uid}/captions/{language}",
  ]);
  const body = json.paths["/client/v4/accounts/{account}/stream/live_inputs"].post.requestBody;
  expect(
    body.content["application/json"].schema.properties.recording.properties.timeoutSeconds,
  ).toMatchObject({
    type: "integer",
    minimum: 0,
    maximum: 3600,
  });
  const page = await ask("GET", "/docs", undefined, {});
  expect(page.headers["content-security-policy"]).toContain("default-src 'none'");
  expect(page.text).not.toMatch(/<script|src=|@import/);
  expect(page.text.match(/<h2 id=/g)).toHaveLength(calls.length + 1);
  expect(page.text).toContain("recording.timeoutSeconds");
});

test("an unknown internal call is refused in the roles' own form", async () => {
  const { status, json } = await ask("GET", "/internal/none", undefined, {});
  expect([status, json.code]).toEqual([404, "not_found"]);
  const slice = await ask("GET", "/internal/slice?role=constructor&node=n", undefined, {});
  expect(slice.status).toBe(400);
});

test("a token may do what its scopes say, until it is revoked; who changed what is written down", async () => {
  const made = await ask("POST", "/v1/tokens", { name: "reader", scopes: ["stream:read"] });
  const { token } = made.json.result;
  const as = bearer(token);
  expect((await ask("GET", inputs, undefined, as)).status).toBe(200);
  const write = await ask("POST", inputs, {}, as);
  expect([write.status, write.json.errors[0].code]).toEqual([403, 10001]);
  expect((await ask("GET", "/v1/tokens", undefined, as)).status).toBe(403);
  expect((await ask("POST", "/v1/tokens", { name: "reader", scopes: ["admin"] })).status).toBe(409);
  const list = (await ask("GET", "/v1/tokens")).json.result;
  expect(list.map((one: { name: string }) => one.name)).toEqual(["admin", "reader"]);
  expect(JSON.stringify(list)).not.toContain(token);
  expect((await ask("DELETE", "/v1/tokens/reader")).status).toBe(204);
  expect((await ask("GET", inputs, undefined, as)).status).toBe(401);
  expect((await ask("DELETE", "/v1/tokens/admin")).status).toBe(409);
  const audit = (await ask("GET", "/v1/audit?limit=2")).json.result;
  expect(audit).toMatchObject([
    { actor: "admin", action: "token.delete", subject: "reader" },
    { actor: "admin", action: "token.create", subject: "reader" },
  ]);
});

test.for([
  ["POST", "/v1/keys", { publicKey: "x" }, "/publicKey"],
  ["POST", "/v1/keys", { publicKey: { kty: "RSA", d: "x" } }, "/publicKey"],
  ["POST", "/v1/tokens", { name: "a b", scopes: ["stream:read"] }, "/name"],
  ["POST", "/v1/tokens", { name: "a", scopes: ["root"] }, "/scopes/0"],
  ["POST", "/v1/webhooks", { url: "ftp://x" }, "/url"],
  ["POST", "/v1/webhooks", { url: "https://user:pass@x/" }, "/url"],
  ["POST", "/v1/webhooks", { url: "https://x/", unknown: 1 }, ""],
  ["POST", "/v1/revocations", { token: "x" }, "/token"],
  ["PUT", `${base}/webhook`, {}, "/notificationUrl"],
] as const)("%s %s %o is refused at %s", async ([method, path, body, pointer]) => {
  const { status, json } = await ask(method, path, body);
  expect([status, json.errors[0].source.pointer]).toEqual([400, pointer]);
  expect(json.errors[0].message).toMatch(/\.$/);
});

test.for([
  [{ exp: 1 }, "/exp"],
  [{ exp: Math.floor(Date.now() / 1000) + 90_000 }, "/exp"],
  [{ exp: "soon" }, "/exp"],
  [{ nbf: Math.floor(Date.now() / 1000) + 80_000 }, "/nbf"],
  [{ id: "x" }, "/pem"],
  [{ id: "x", pem: "y" }, "/id"],
  [{ accessRules: [{ type: "any", action: "maybe" }] }, "/accessRules"],
  [{ accessRules: [{ type: "ip.src", action: "allow", ip: ["1.2.3.4/99"] }] }, "/accessRules"],
  [{ maxSessions: 0 }, "/maxSessions"],
] as const)("no token is made with %o", async ([body, pointer]) => {
  const { status, json } = await ask("POST", `${base}/${control.ready.uid}/token`, body);
  expect([status, json.errors[0].source.pointer]).toEqual([400, pointer]);
});

test("what is on air cannot be told while no origin is known", async () => {
  expect((await ask("GET", `/v1/live_inputs/${control.ready.uid}/health`)).status).toBe(503);
  expect((await ask("POST", `/v1/live_inputs/${control.ready.uid}/complete`)).status).toBe(503);
  expect((await ask("POST", "/v1/live_inputs/none/complete")).status).toBe(404);
});

test("as many recordings as a disk has are put back at once, with what they lack", async () => {
  const uidOf = (i: number) => i.toString(16).padStart(32, "0");
  const gapsOf = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      ...{ rendition: "source", from: 2 * i, to: 2 * i, at: 4 * i, seconds: 2.0000000000001 },
    }));
  const recordings = Array.from({ length: 500 }, (_, i) => ({
    ...{ uid: uidOf(i + 1), input: uidOf(0), startedMs: 1_790_000_000_000, endedMs: 1_790_000_100_000 },
    ...{ seconds: 99.99999999999, bytes: 123_456_789, gaps: gapsOf(i === 0 ? 20_000 : 1) },
  }));
  const answer = await ask("POST", "/v1/videos/index", { recordings });
  expect([answer.status, answer.json.result]).toEqual([200, { restored: 500 }]);
  const gaps = await ask("GET", `/v1/videos/${uidOf(1)}/gaps`);
  expect(gaps.json.result.length).toBe(20_000);
  expect((await ask("POST", "/v1/videos/index", { recordings })).json.result).toEqual({ restored: 0 });
});
