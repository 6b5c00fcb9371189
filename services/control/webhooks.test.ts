import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { tellerOf } from "../../test/support/stores.ts";
import { networksOf } from "../lib/address.ts";
import { createLog } from "../lib/log.ts";
import type { Fact, WrongMedia } from "../live/events.ts";
import { keysFrom, openMaster } from "./keys.ts";
import { putEndpoint, replay } from "./store/outbox.ts";
import { Records } from "./store/records.ts";
import { retryMs, startWebhooks, type Webhooks } from "./webhooks.ts";

interface Got {
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

let folder: string;
let records: Records;
let keys: ReturnType<typeof keysFrom>;
let server: http.Server;
let webhooks: Webhooks | undefined;
let got: Got[];
let answer: (got: Got, response: http.ServerResponse) => void;
const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
const log = createLog("test", "silent", false);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hooks-"));
  records = await Records.open({ file: join(folder, "s.db") });
  keys = keysFrom(await openMaster(join(folder, "secret"), records));
  got = [];
  answer = (_, response) => response.end("ok");
  server = http.createServer(async (request, response) => {
    let body = "";
    for await (const piece of request.setEncoding("utf8")) body += piece;
    const one = { path: request.url!, headers: request.headers, body };
    got.push(one);
    answer(one, response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
});
afterEach(async () => {
  await webhooks?.close();
  webhooks = undefined;
  server.close();
  server.closeAllConnections();
  await records.close();
  await rm(folder, { recursive: true });
});

const urlOf = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
const endpoint = (id: string, url = urlOf(`/${id}`)) =>
  records.write((tx) => putEndpoint(tx, { id, url, sealedSecret: keys.seal(secret) }));
const tell = tellerOf(() => records);
const started = (uid: string, publish: string): Fact => ({
  type: "publish.started",
  uid,
  publish,
  peer: "p",
});
const ended = (uid: string, publish: string): Fact => ({
  type: "publish.ended",
  uid,
  publish,
  reason: "clean",
});
const advice = "what to change";
const refusedFor = (code: WrongMedia["code"]): Fact => ({
  ...{ type: "publish.ended", uid: "u", publish: "1", reason: "refused" },
  wrong: { code, advice },
});
function start(retry: readonly number[] = [5, 5, 5, 5, 5], allowed = "127.0.0.0/8"): void {
  webhooks = startWebhooks({ records, keys, allowed: networksOf([allowed])!, log, retryMs: retry });
  records.onWrite = () => webhooks!.wake();
}
const states = async (id: string) => (await records.notices(id, 1_000)).map((notice) => notice.state);
const delivered = (id: string, many: number) =>
  vi.waitFor(async () => {
    const now = await states(id);
    expect([now.length, now.every((state) => state === "delivered")]).toEqual([many, true]);
  }, 10_000);
const typeOf = ({ body }: Got) => JSON.parse(body).data.event_type as string;

test("an event is a POST that both Cloudflare's receivers and those of Standard Webhooks verify", async () => {
  await endpoint("a");
  start();
  await tell(
    started("u", "1"),
    { type: "gop.long", uid: "u", seconds: 8.3, advice: "set 2 s" },
    ended("u", "1"),
  );
  await delivered("a", 3);
  expect(got.map(typeOf)).toEqual(["live_input.connected", "live_input.errored", "live_input.disconnected"]);
  expect(JSON.parse(got[1]!.body)).toMatchObject({
    text: "set 2 s",
    data: {
      notification_name: "Stream Live Input",
      input_id: "u",
      live_input_errored: { error: { code: "ERR_GOP_OUT_OF_RANGE", message: "set 2 s" } },
    },
    ts: expect.any(Number),
  });
  for (const { headers, body } of got) {
    expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toEqual(JSON.parse(body));
    // As Cloudflare's documentation takes it apart.
    const fields = Object.fromEntries(
      String(headers["webhook-signature"])
        .split(",")
        .map((one) => one.split("=")),
    );
    const own = createHmac("sha256", secret).update(`${fields.time}.${body}`).digest("hex");
    expect(fields.sig1).toBe(own);
  }
});

test("the end of a broadcast that was recorded is a video that is ready; of one that was not, nothing", async () => {
  await endpoint("a");
  start();
  const recorded = { seconds: 12.5, bytes: 1_000 };
  await tell(
    { type: "broadcast.started", uid: "u", video: "v1" },
    { type: "broadcast.ended", uid: "u", video: "v1" },
    { type: "broadcast.started", uid: "u", video: "v2" },
    { type: "broadcast.ended", uid: "u", video: "v2", recorded },
  );
  await delivered("a", 1);
  expect(JSON.parse(got[0]!.body)).toMatchObject({
    uid: "v2",
    liveInput: "u",
    readyToStream: true,
    status: { state: "ready" },
    duration: 12.5,
  });
});

test.for<{ name: string; fact: Fact; code: string; after?: string }>([
  {
    name: "video in a codec that is not taken",
    fact: refusedFor("unsupported_video_codec"),
    code: "ERR_UNSUPPORTED_VIDEO_CODEC",
    after: "live_input.disconnected",
  },
  {
    name: "audio in a codec that is not taken",
    fact: refusedFor("unsupported_audio_codec"),
    code: "ERR_UNSUPPORTED_AUDIO_CODEC",
    after: "live_input.disconnected",
  },
  {
    name: "media that is damaged",
    fact: refusedFor("bad_config"),
    code: "ERR_BAD_MEDIA",
    after: "live_input.disconnected",
  },
  {
    name: "keyframes too far apart",
    fact: { type: "gop.long", uid: "u", seconds: 8.3, advice },
    code: "ERR_GOP_OUT_OF_RANGE",
  },
  {
    name: "a disk that is full",
    fact: { type: "recording.paused", uid: "u", video: "v", why: "ENOSPC: no space left", advice },
    code: "ERR_STORAGE_QUOTA_EXHAUSTED",
  },
  {
    name: "a disk that fails",
    fact: { type: "recording.paused", uid: "u", video: "v", why: "EIO: i/o error, write", advice },
    code: "ERR_RECORDING_PAUSED",
  },
  {
    name: "a machine that is too slow",
    fact: { type: "ladder.failed", uid: "u", video: "v", why: "no worker", advice },
    code: "ERR_CAPACITY",
  },
])("the owner is told of $name with $code", async ({ fact, code, after }) => {
  await endpoint("a");
  start();
  await tell(started("u", "1"), fact);
  await delivered("a", after ? 3 : 2);
  const [, error, then] = got.map(({ body }) => JSON.parse(body).data);
  expect(error).toMatchObject({
    event_type: "live_input.errored",
    live_input_errored: { error: { code, message: advice } },
  });
  expect(then?.event_type).toBe(after);
});

test("a publish that another replaced is no disconnection", async () => {
  await endpoint("a");
  start();
  await tell(
    started("u", "1"),
    started("u", "2"),
    { ...ended("u", "1"), reason: "replaced" } as Fact,
    ended("u", "2"),
  );
  await delivered("a", 3);
  expect(got.map(typeOf)).toEqual([
    "live_input.connected",
    "live_input.connected",
    "live_input.disconnected",
  ]);
});

test("what fails comes again under the same id, and nothing of that input overtakes it", async () => {
  await endpoint("a");
  let failures = 3;
  answer = (_, response) => void response.writeHead(failures-- > 0 ? 500 : 204).end();
  start();
  await tell(started("u", "1"), ended("u", "1"));
  await delivered("a", 2);
  expect(got.map(typeOf)).toEqual([...Array(4).fill("live_input.connected"), "live_input.disconnected"]);
  expect(new Set(got.map(({ headers }) => headers["webhook-id"])).size).toBe(2);
});

test("a receiver that hangs holds up no other, and no input another", async () => {
  await endpoint("slow");
  await endpoint("quick");
  answer = ({ path, body }, response) => {
    if (path === "/slow" && JSON.parse(body).data.input_id === "u") return;
    response.end();
  };
  start();
  await tell(started("u", "1"), started("v", "2"), ended("u", "1"));
  await delivered("quick", 3);
  await vi.waitFor(async () =>
    expect((await states("slow")).toSorted()).toEqual(["delivered", "waiting", "waiting"]),
  );
});

test("a redirect is a failure and is not followed; after the last attempt it is given up, and sent again on demand", async () => {
  await endpoint("a");
  answer = (_, response) => void response.writeHead(302, { location: urlOf("/elsewhere") }).end();
  start([1, 1]);
  await tell(started("u", "1"));
  await vi.waitFor(async () => expect(await states("a")).toEqual(["dead"]));
  expect(got.map(({ path }) => path)).toEqual(["/a", "/a", "/a"]);
  expect((await records.notices("a", 1))[0]?.last_error).toContain("302");
  answer = (_, response) => response.end();
  const { result } = await records.write((tx) => replay(tx, "a", undefined));
  webhooks!.wake(true);
  expect(result).toBe(1);
  await delivered("a", 1);
});

test.for([["127.0.0.1"], ["localhost"], ["169.254.169.254"], ["[::ffff:127.0.0.1]"]])(
  "no request is made to %s, which is inside",
  async ([host]) => {
    const { port } = server.address() as AddressInfo;
    await endpoint("a", `http://${host}:${port}/`);
    start([], "203.0.113.0/24");
    await tell(started("u", "1"));
    await vi.waitFor(async () => expect(await states("a")).toEqual(["dead"]));
    expect((await records.notices("a", 1))[0]?.last_error).toContain("not on the public internet");
    expect(got).toEqual([]);
  },
);

test("what was committed before a stop is delivered after it", async () => {
  await endpoint("a");
  await tell(...Array.from({ length: 20 }, (_, i) => started(`u${i % 3}`, String(i))));
  start();
  await delivered("a", 20);
});

test("attempts go on for a day", () => {
  const hours = retryMs.reduce((sum, ms) => sum + ms, 0) / 3_600_000;
  expect(hours).toBeGreaterThanOrEqual(24);
  expect(hours).toBeLessThan(26);
});
