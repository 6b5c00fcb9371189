import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { acceptsGzip } from "./caching.ts";
import type { Exchange } from "./exchange.ts";
import { Pages } from "./pages.ts";

const early = "globalThis.early = true;\n";
const script = "export const answer = 42;\n".repeat(1000);
const picture = Buffer.from([0x89, 0x50, 0x4e, 0x47]);
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pages-"));
  await writeFile(join(folder, "player-1a2b.js"), script);
  await writeFile(join(folder, "icon-1a2b.png"), picture);
  await writeFile(join(folder, "iframe.html"), `<!doctype html><link rel="icon">${" ".repeat(2000)}</head>`);
  await writeFile(join(folder, "early.js"), early);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Answer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
}

async function ask(encoding: string | undefined, what: (pages: Pages, exchange: Exchange) => Promise<void>) {
  let answer: Answer | undefined;
  const exchange = {
    headers: encoding === undefined ? {} : { "accept-encoding": encoding },
    reply: (status: number, headers: OutgoingHttpHeaders, body: readonly Uint8Array[] = []) => {
      answer = { status, headers, body: Buffer.concat(body) };
    },
  };
  await what(new Pages(folder), exchange as unknown as Exchange);
  return answer!;
}
const asset = (name: string) => (pages: Pages, exchange: Exchange) => pages.asset(exchange, name);

test("a script goes out small to who takes gzip, whole to others, and caches keep the two apart", async () => {
  const small = await ask("gzip, deflate, br", asset("player-1a2b.js"));
  expect(small.status).toBe(200);
  expect(small.headers).toMatchObject({
    "content-encoding": "gzip",
    vary: "accept-encoding",
    "cache-control": "public, max-age=31536000, immutable",
  });
  expect(small.body.length).toBeLessThan(script.length / 10);
  expect(gunzipSync(small.body).toString()).toBe(script);

  const whole = await ask(undefined, asset("player-1a2b.js"));
  expect(whole.headers).not.toHaveProperty("content-encoding");
  expect(whole.headers.vary).toBe("accept-encoding");
  expect(whole.body.toString()).toBe(script);
});

test("a picture is compressed already", async () => {
  const { headers, body } = await ask("gzip", asset("icon-1a2b.png"));
  expect(headers).not.toHaveProperty("content-encoding");
  expect(body).toEqual(picture);
});

test("the page for frames is small too and may be embedded anywhere", async () => {
  const { headers } = await ask("gzip", (pages, exchange) => pages.page(exchange, "iframe", {}));
  expect(headers["content-encoding"]).toBe("gzip");
  expect(headers["content-security-policy"]).toContain("frame-ancestors *");
});

test("what its player asks first stands in a page, and the one script beside it that may run there", async () => {
  const state = { status: "</script><script>alert(1)</script>" };
  const { headers, body } = await ask("gzip", (pages, exchange) => pages.page(exchange, "iframe", { state }));
  const scripts = [...body.toString().matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];
  expect(scripts.map(([, attributes]) => attributes)).toEqual([
    ' type="application/json" id="first-answer"',
    "",
  ]);
  expect(JSON.parse(scripts[0]![2]!)).toMatchObject({ answer: state });
  expect(scripts[1]![2]).toBe(early);
  const hash = createHash("sha256").update(early).digest("base64");
  expect(headers["content-security-policy"]).toContain(`script-src 'self' 'sha256-${hash}';`);
  expect(body.indexOf("<script>")).toBeLessThan(body.indexOf("<link"));
});

test("a file that is not there is missed", async () => {
  expect((await ask("gzip", asset("other.js"))).status).toBe(404);
});

test.for<[string | undefined, boolean]>([
  [undefined, false],
  ["", false],
  ["gzip", true],
  ["br;q=1.0, gzip;q=0.8", true],
  ["deflate, GZIP", true],
  ["gzip;q=0", false],
  ["gzip; q=0.0, br", false],
  ["br", false],
])("Accept-Encoding %j takes gzip: %s", ([header, takes]) => {
  expect(acceptsGzip(header)).toBe(takes);
});
