import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createLog } from "../../lib/log.ts";
import { type Control, startControl } from "../control.ts";

// A password costs what argon2id costs, several times over on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const session = "/dashboard/api/session";
const inputs = "/client/v4/accounts/any/stream/live_inputs";
const password = "correct horse battery";

let folder: string;
let control: Control;
const start = () =>
  startControl({
    dataDir: join(folder, "data"),
    address: `unix:${join(folder, "c.sock")}`,
    publicUrls: { http: "http://h:8080" },
    defaults: { timeoutSeconds: 10, ladder: "default" },
    log: createLog("test", "silent", false),
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "login-"));
  control = await start();
});
afterAll(async () => {
  await control.close();
  await rm(folder, { recursive: true });
});

type Headers = Readonly<Record<string, string>>;
interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // biome-ignore lint/suspicious/noExplicitAny: the envelope is what the tests look into
  readonly json: any;
}

function ask(method: string, path: string, body?: unknown, headers: Headers = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socketPath = control.address.slice("unix:".length);
    const sent = request({ socketPath, method, path, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("end", () => {
        const isJson = response.headers["content-type"]?.startsWith("application/json");
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          json: isJson ? JSON.parse(text) : text,
        });
      });
    });
    sent.on("error", reject).end(body && JSON.stringify(body));
  });
}

let visitor = 0;
/** Each from an address of its own, so that what one test guesses is not another's. */
const from = (): Headers => ({ "x-forwarded-for": `198.51.100.${++visitor}` });
const admin = (): Headers => ({ authorization: `Bearer ${control.ready.apiToken}` });
const link = async (): Promise<string> => {
  const { json } = await ask("POST", "/v1/admin/links", undefined, admin());
  return new URL(json.result.url).hash.slice("#link=".length);
};
/** A browser after its login: its cookie, and what its page sends beside it. */
async function login(body: object, headers: Headers = from()) {
  const answer = await ask("POST", session, body, headers);
  const set = String(answer.headers["set-cookie"] ?? "");
  const cookie = { cookie: set.split(";")[0]! };
  return { ...answer, set, cookie, page: { ...cookie, "x-sluice-csrf": answer.json.result?.csrf ?? "" } };
}

test("the link of the first start opens the dashboard once", async () => {
  const { dashboard } = control.ready;
  expect(dashboard).toMatch(/^http:\/\/h:8080\/dashboard#link=[\w-]{32}$/);
  const code = dashboard.split("=")[1]!;
  const first = await login({ link: code });
  expect(first.status).toBe(200);
  expect(first.json.result).toMatchObject({ signedIn: true, passwordSet: false });
  expect((await ask("GET", inputs, undefined, first.page)).status).toBe(200);

  const again = await login({ link: code });
  expect(again.status).toBe(401);
  expect(again.set).toBe("");
  expect(again.json.errors[0].message).toMatch(/used before.*sluice admin link/);
});

test("the cookie is out of reach of scripts and other sites, lasts a week, and over HTTPS never leaves it", async () => {
  const plain = await login({ link: await link() });
  expect(plain.set).toMatch(/^sluice=[\w-]{43}; Path=\/; Max-Age=604800; HttpOnly; SameSite=Strict$/);
  const secure = await login({ link: await link() }, { "x-forwarded-proto": "https" });
  expect(secure.set).toMatch(
    /^__Host-sluice=[\w-]{43}; Path=\/; Max-Age=604800; HttpOnly; SameSite=Strict; Secure$/,
  );
  const over = { ...secure.page, "x-forwarded-proto": "https" };
  expect((await ask("GET", inputs, undefined, over)).status).toBe(200);
  expect((await ask("GET", inputs, undefined, secure.page)).status).toBe(401);
});

test("a cookie alone does nothing, whatever is asked", async () => {
  const { cookie, page } = await login({ link: await link() });
  const without: readonly (readonly [string, Headers])[] = [
    ["no CSRF header", cookie],
    ["an empty one", { ...cookie, "x-sluice-csrf": "" }],
    [
      "another's",
      { ...cookie, "x-sluice-csrf": (await login({ link: await link() })).page["x-sluice-csrf"] },
    ],
    ["another site's page", { ...page, "sec-fetch-site": "cross-site" }],
    ["another port's page", { ...page, "sec-fetch-site": "same-site" }],
    ["the header without the cookie", { "x-sluice-csrf": page["x-sluice-csrf"] }],
  ];
  for (const [name, headers] of without)
    for (const method of ["GET", "POST"])
      expect((await ask(method, inputs, undefined, headers)).status, `${method} with ${name}`).toBe(401);
  expect((await ask("DELETE", session, undefined, cookie)).status).toBe(401);
  const own = { ...page, "sec-fetch-site": "same-origin" };
  expect((await ask("GET", inputs, undefined, own)).status).toBe(200);
});

test("another site's page cannot sign anybody in", async () => {
  const code = await link();
  const tried = await login({ link: code }, { ...from(), "sec-fetch-site": "cross-site" });
  expect(tried.status).toBe(403);
  expect((await login({ link: code })).status).toBe(200);
});

test("a password is set, asked for, and changed only by who knows it; each change ends the sessions before it", async () => {
  const early = await login({ link: await link() });
  expect((await login({ password })).status).toBe(401);
  const weak = await ask("PUT", "/v1/admin/password", { password: "123" }, early.page);
  expect(weak.status).toBe(400);
  expect(weak.json.errors[0].source).toEqual({ pointer: "/password" });

  expect((await ask("PUT", "/v1/admin/password", { password }, early.page)).status).toBe(204);
  expect((await ask("GET", inputs, undefined, early.page)).status).toBe(401);
  expect((await login({ password: "correct horse batterz" })).status).toBe(401);
  const right = await login({ password });
  expect(right.json.result).toMatchObject({ signedIn: true, passwordSet: true });

  const change = (body: object, headers: Headers) => ask("PUT", "/v1/admin/password", body, headers);
  const next = "another fine phrase";
  expect((await change({ password: next }, right.page)).status).toBe(400);
  expect((await change({ password: next, current: "wrong" }, right.page)).status).toBe(400);
  expect((await change({ password: next, current: password }, right.page)).status).toBe(204);
  expect((await login({ password })).status).toBe(401);
  // Whoever holds the administrator's token is on the machine, where a lost password is replaced.
  expect((await change({ password }, admin())).status).toBe(204);
  expect((await login({ password })).status).toBe(200);
});

test("after five wrong passwords an address has to wait, others and links do not", async () => {
  const guesser = from();
  for (let guess = 0; guess < 5; guess++)
    expect((await login({ password: `guess number ${guess}` }, guesser)).status).toBe(401);
  const held = await login({ password }, guesser);
  expect(held.status).toBe(429);
  expect(Number(held.headers["retry-after"])).toBeGreaterThan(0);
  expect(held.json.errors[0].message).toMatch(/wait \d+ s/);
  expect((await login({ password })).status).toBe(200);
  expect((await login({ link: await link() }, guesser)).status).toBe(200);
});

test("a session ends with its logout, all of them together where that is asked, and all after their week", async () => {
  const [one, two, three] = [await login({ password }), await login({ password }), await login({ password })];
  const out = await ask("DELETE", session, undefined, one.page);
  expect(out.json.result.signedIn).toBe(false);
  expect(String(out.headers["set-cookie"])).toMatch(/^sluice=; Path=\/; Max-Age=0;/);
  expect((await ask("GET", inputs, undefined, one.page)).status).toBe(401);
  expect((await ask("GET", session, undefined, two.cookie)).json.result.signedIn).toBe(true);

  await ask("DELETE", `${session}?all=true`, undefined, two.page);
  expect((await ask("GET", inputs, undefined, three.page)).status).toBe(401);

  const last = await login({ password });
  const db = new DatabaseSync(join(folder, "data", "sluice.db"));
  db.prepare("update passes set expires = ?").run(new Date(Date.now() - 1_000).toISOString());
  db.close();
  expect((await ask("GET", inputs, undefined, last.page)).status).toBe(401);
  expect((await ask("GET", session, undefined, last.cookie)).json.result).toEqual({
    signedIn: false,
    passwordSet: true,
  });
});

test("a session outlives control, which keeps nothing that would open one; with a password set no link is printed", async () => {
  const before = await login({ password });
  await control.close();
  control = await start();
  expect(control.ready.dashboard).toBe("http://h:8080/dashboard");
  expect((await ask("GET", inputs, undefined, before.page)).status).toBe(200);
  const db = new DatabaseSync(join(folder, "data", "sluice.db"), { readOnly: true });
  const kept = JSON.stringify([
    db.prepare("select * from passes").all(),
    db.prepare("select * from settings").all(),
    db.prepare("select * from audit").all(),
  ]);
  db.close();
  expect(kept).not.toContain(password);
  expect(kept).not.toContain(before.cookie.cookie.split("=")[1]);
  expect(kept).toContain("login.password");
});

test("who signed in may do everything and is named in the audit log", async () => {
  const { page } = await login({ password });
  const made = await ask("POST", inputs, { meta: { name: "From the dashboard" } }, page);
  expect(made.status).toBe(200);
  const { json } = await ask("GET", "/v1/audit?limit=5", undefined, page);
  expect(json.result).toContainEqual(
    expect.objectContaining({
      actor: "dashboard",
      action: "live_input.create",
      subject: made.json.result.uid,
    }),
  );
});

test.for(["/dashboard", "/dashboard/inputs/0", "/dashboard/"])(
  "without a build %s says what to do",
  async (path) => {
    const { status, json } = await ask("GET", path);
    expect(status).toBe(503);
    expect(json.errors[0].message).toMatch(/npm start/);
  },
);
