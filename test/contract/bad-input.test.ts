import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Control, startControl } from "../../services/control/control.ts";
import { requestInternal } from "../../services/lib/http.ts";
import { createLog } from "../../services/lib/log.ts";
import { onEachStore } from "../support/stores.ts";

/** JSON Schema, as far as the document uses it. */
interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly additionalProperties?: unknown;
}
interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly content: { readonly "application/json": { readonly schema: Schema } } };
}
interface Sent {
  readonly method: string;
  readonly path: string;
  readonly about: Operation;
}
interface Given {
  readonly method: string;
  readonly path: string;
  readonly body?: string | Buffer | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

const video = "fedcba9876543210fedcba9876543210";
const atOnce = 32;
let control: Control;

function send({ method, path, body, headers = {} }: Given): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socketPath = control.address.slice("unix:".length);
    const all = {
      authorization: `Bearer ${control.ready.apiToken}`,
      ...(body !== undefined && { "content-length": Buffer.byteLength(body) }),
      ...headers,
    };
    const sent = request({ socketPath, method, path, headers: all }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      const { statusCode: status = 0, headers: said } = response;
      response.on("end", () => resolve({ status, type: said["content-type"] ?? "", text }));
    });
    sent.on("error", reject).end(body);
  });
}

/** In place of what a field should have. */
const nasty: readonly unknown[] = [
  ...[null, true, false, 0, -1, 0.5, 2 ** 31, 2 ** 53, 1e308, -1e308],
  ...[
    "",
    " ",
    "a",
    "0",
    "null",
    "x".repeat(5_000),
    "\u0000",
    "\ud800",
    "é".repeat(300),
    "💥",
    "\u202e",
    "../../etc",
  ],
  ...[
    "' OR 1=1 --",
    "%00",
    "9".repeat(400),
    "1970-01-01T00:00:00Z",
    "+275760-09-13T00:00:00.001Z",
    "http://",
    "rtmp://[::1",
  ],
  ...["-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "a.b.c"],
  ...[[], [[]], [null], ["x"], {}, { "": "" }, { __proto__: null, constructor: 1, toString: 2 }],
  ...[{ kty: "RSA", n: "x", e: "y" }, { kty: "OKP" }, JSON.parse('{"__proto__":{"a":1}}')],
  Array.from({ length: 600 }, () => ({ type: "any", action: "allow" })),
];
/** In place of a whole body. */
const bodies: readonly (string | Buffer)[] = [
  ...["{", "[", "nul", '"', "{}}", "undefined", "NaN", '{"a":1,"a":2}', "[]", "3", '"text"', "null", "true"],
  ...[
    "[".repeat(20_000),
    `${'{"a":'.repeat(8_000)}1${"}".repeat(8_000)}`,
    `"${"x".repeat(60_000)}"`,
    "x".repeat(70_000),
  ],
  ...[Buffer.of(0xff, 0xfe, 0x00, 0x80), Buffer.from("\ufeff{}"), Buffer.alloc(2_000)],
];
/** In place of an id in a path, or a value of a query. */
const texts: readonly string[] = [
  ...[
    "",
    "%20",
    "0",
    "-1",
    "1.5",
    "1e999",
    "NaN",
    "true",
    "x".repeat(65),
    "x".repeat(3_000),
    "%00",
    "%ff",
    "%",
    "%zz",
    "%2e%2e",
  ],
  ...[
    "%2f%2f",
    "'%20OR%201=1",
    "%F0%9F%92%A5",
    "null",
    "__proto__",
    "constructor",
    "[]",
    "{}",
    "9".repeat(30),
    "2026-13-40",
  ],
];

/** Every field of a body, with its place in it. */
function fieldsOf(schema: Schema, at: readonly string[] = []): (readonly string[])[] {
  const inside = [schema, ...(schema.anyOf ?? [])].flatMap(({ properties }) =>
    Object.entries(properties ?? {}),
  );
  return inside.flatMap(([name, field]) => [[...at, name], ...fieldsOf(field, [...at, name])]);
}
const within = ([name, ...rest]: readonly string[], value: unknown): unknown =>
  name === undefined ? value : { [name]: within(rest, value) };
const ids = (path: string): string =>
  path
    .replace("{account}", "any")
    .replace("{output}", "o")
    .replace("{uid}", path.includes("live_inputs") ? control.ready.uid : video)
    .replace(/\{[^}]+\}/g, "en");

/** What is sent to one operation: each of these wrong in one thing. */
function* wrongOf({ method, path, about }: Sent): Generator<Given> {
  const json = { "content-type": "application/json" };
  const good = ids(path);
  for (const [name] of path.matchAll(/\{[^}]+\}/g))
    for (const text of texts)
      yield { method, path: ids(path.replace(name, text)), body: "{}", headers: json };
  for (const { name } of (about.parameters ?? []).filter((one) => one.in === "query"))
    for (const text of texts) {
      yield { method, path: `${good}?${name}=${text}` };
      yield { method, path: `${good}?${name}=${text}&${name}=1&${name}[a]=1` };
    }
  for (const key of ["", " ", "k".repeat(255), "k".repeat(256), "\u00ff"])
    yield { method, path: good, body: '{"nothing":1}', headers: { ...json, "idempotency-key": key } };
  if (!about.requestBody) return;
  for (const body of bodies) yield { method, path: good, body, headers: json };
  for (const type of [
    "text/plain",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/vtt",
    "x",
    "",
  ])
    yield { method, path: good, body: "--x\r\n\r\n--x--", headers: { "content-type": type } };
  for (const field of fieldsOf(about.requestBody.content["application/json"].schema))
    for (const value of nasty)
      yield { method, path: good, body: JSON.stringify(within(field, value)), headers: json };
  for (const value of nasty) yield { method, path: good, body: JSON.stringify(value), headers: json };
}

/** What is wrong with an answer; undefined for one that is as it should be. */
function complaint({ status, type, text }: Answer): string | undefined {
  if (status === 204) return text === "" ? undefined : "204 with a body";
  if (status === 200 && !type.startsWith("application/json")) return undefined;
  if (status >= 500 && status !== 501) return `answers ${status}`;
  if (!type.startsWith("application/json") || text === "")
    return `${status} without an envelope: ${type} ${text}`;
  const { success, result, errors, messages } = JSON.parse(text);
  if (!Array.isArray(messages) || !Array.isArray(errors)) return "no envelope";
  if (status === 200) return success === true && errors.length === 0 ? undefined : "200 without success";
  if (success !== false || result !== null || errors.length === 0) return `${status} without an error`;
  for (const { code, message } of errors) {
    if (!Number.isInteger(code)) return "an error without a code";
    if (
      !/^\S.{8,}[.?]$/su.test(message) ||
      /Invalid (input|option)|expected |Too (big|small)|Unrecognized/.test(message)
    )
      return `no sentence: ${message}`;
    if (message.length > 1_000) return `repeats what it was given: ${message.slice(0, 200)}`;
  }
  return undefined;
}

onEachStore((store) => {
  let folder: string;
  let origin: Server;
  let operations: readonly Sent[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "bad-input-"));
    const originPath = join(folder, "o.sock");
    // Has nothing on air and nothing on disk.
    origin = createServer((asked, answer) => {
      asked.resume();
      const none = asked.url?.startsWith("/internal/complete/") === true;
      const said = none ? {} : asked.method === "POST" ? { recorded: null } : [];
      answer.writeHead(none ? 404 : 200, { "content-type": "application/json" }).end(JSON.stringify(said));
    });
    await new Promise<void>((resolve) => origin.listen(originPath, resolve));
    control = await startControl({
      dataDir: folder,
      databaseUrl: await store.databaseUrl(),
      address: `unix:${join(folder, "c.sock")}`,
      originAddress: `unix:${originPath}`,
      publicUrls: { rtmp: "rtmp://h:1935", rtmps: "rtmps://h:1936", http: "http://h:8080" },
      defaults: { timeoutSeconds: 10, ladder: "none" },
      log: createLog("test", "silent", false),
    });
    const began = { id: "e", at: Date.now(), type: "broadcast.started", uid: control.ready.uid, video };
    const told = { json: { role: "o", node: "n", events: [began] } };
    await requestInternal(control.address, "/internal/events", told);
    const { paths } = JSON.parse((await send({ method: "GET", path: "/docs/openapi.json" })).text) as {
      paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
    };
    const all = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, about]) => ({ method: method.toUpperCase(), path, about })),
    );
    // What takes away what the others need comes last.
    operations = all.sort((a, b) => Number(a.method === "DELETE") - Number(b.method === "DELETE"));
  }, 60_000);
  afterAll(async () => {
    await control.close();
    origin.close();
    origin.closeAllConnections();
    await rm(folder, { recursive: true });
  });

  test("whatever a call is given, it answers in the envelope and with a sentence, and never fails", {
    timeout: 180_000,
  }, async () => {
    const found = new Map<string, string>();
    const check = async (operation: Sent, given: Given) => {
      const wrong = complaint(await send(given));
      const what = `${given.path} ${given.body}`.slice(0, 300);
      if (wrong) found.set(`${operation.method} ${operation.path}: ${wrong}`, what);
    };
    for (const operation of operations) {
      const all = [...wrongOf(operation)];
      while (all.length > 0) await Promise.all(all.splice(0, atOnce).map((given) => check(operation, given)));
    }
    expect([...found].slice(0, 20)).toEqual([]);
  });
});
