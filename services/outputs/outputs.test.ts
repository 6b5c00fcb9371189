import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type IngestWorld, startIngestWorld } from "../../test/support/ingest.ts";
import { type OutputsWorld, startOutputsWorld } from "../../test/support/outputs.ts";
import { type Line, openLine } from "../../test/support/proxy.ts";
import { connectRtmp, media, type RtmpClient } from "../../test/support/rtmp-client.ts";
import { startRtmpServer } from "../../test/support/rtmp-server.ts";
import { Scope } from "../lib/lifecycle.ts";
import type { FlvTag } from "../packager/flv.ts";

// Nothing here is about speed.
vi.setConfig({ testTimeout: 30_000 });

const input = "a".repeat(32);
const there = "b".repeat(32);
const output = "c".repeat(32);

let scope: Scope;
let here: IngestWorld;
let target: IngestWorld;
let outputs: OutputsWorld;
let line: Line;
/** Of the live input that is sent on, and of the one that it is sent to. */
let key: string;
let secret: string;

beforeEach(async () => {
  scope = new Scope(5_000, (name, error) => {
    throw new Error(`${name} does not close`, { cause: error });
  });
  here = scope.own("here", await startIngestWorld());
  target = scope.own("target", await startIngestWorld());
  line = scope.own("line", await openLine(target.ingest.ports.rtmp!));
  key = here.input(input);
  secret = target.input(there);
  outputs = scope.own("outputs", await startOutputsWorld({ ingest: here.ingest.address }));
});
afterEach(() => scope.close());

const aim = (change: object = {}) =>
  outputs.set(output, {
    ...{ input, url: `rtmp://127.0.0.1:${line.port}/live`, streamKey: secret },
    ...change,
  });

async function publish(): Promise<RtmpClient> {
  const encoder = await connectRtmp({ port: here.ingest.ports.rtmp! });
  expect((await encoder.publish("live", key)).code).toBe("NetStream.Publish.Start");
  return encoder;
}

/** Configs, then a group of pictures of a second with sound, from `startMs`. */
function group(to: RtmpClient, startMs: number, bytes = 500): void {
  for (let i = 0; i < 10; i++) {
    to.video(startMs + i * 100, i === 0 ? media.keyframe(bytes) : media.frame(bytes));
    to.audio(startMs + i * 100 + 5, media.audio(50));
  }
}
function begin(to: RtmpClient): void {
  to.send({ type: 18, timestampMs: 0, payload: media.metadata({ width: 320, height: 180 }) });
  to.video(0, media.avcConfig);
  to.audio(0, media.aacConfig);
}

const videos = (tags: readonly FlvTag[]) => tags.filter(({ type }) => type === "video");
const frames = (tags: readonly FlvTag[]) => videos(tags).filter(({ payload }) => payload[1] === 1);
const isKey = ({ payload }: FlvTag) => payload[0] === 0x17;

/** As a receiver sees it: no timestamp before one that came earlier of the same kind. */
function expectMonotone(tags: readonly FlvTag[]): void {
  for (const type of ["video", "audio"]) {
    const times = tags.filter((tag) => tag.type === type).map(({ timestampMs }) => timestampMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  }
}

test("what the encoder sends arrives at the target as it is, from a keyframe on, and ends when it ends", async () => {
  const encoder = await publish();
  aim();
  begin(encoder);
  group(encoder, 5_000);
  const feed = await target.feed(0);
  await feed.until((tags) => frames(tags).length >= 10);
  group(encoder, 6_000);
  await feed.until((tags) => frames(tags).length >= 20);
  await encoder.finish();
  expect(await feed.ended).toBe("clean");
  const [metadata, video, audio, first] = feed.tags;
  expect([metadata, video, audio, first].map((tag) => tag?.type)).toEqual([
    "script",
    "video",
    "audio",
    "video",
  ]);
  expect(Buffer.compare(video!.payload, media.avcConfig)).toBe(0);
  expect(Buffer.compare(audio!.payload, media.aacConfig)).toBe(0);
  expect(Buffer.compare(first!.payload, media.keyframe(500))).toBe(0);
  expect(frames(feed.tags).map(({ timestampMs }) => timestampMs)).toEqual(
    Array.from({ length: 20 }, (_, i) => i * 100),
  );
  expectMonotone(feed.tags);
  await outputs.until(({ state }) => state === "disconnected");
  expect(outputs.told.map(({ state, reason }) => `${state} ${reason}`)).toEqual([
    "connecting connecting",
    "connected connected",
    "disconnected idle",
  ]);
  expect(outputs.log()).not.toContain(secret);
});

test("an output that is added, disabled and enabled during a broadcast comes and goes with that", async () => {
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  aim();
  const first = await target.feed(0);
  await first.until((tags) => frames(tags).length >= 10);
  aim({ enabled: false });
  expect(await first.ended).toBe("clean");
  await outputs.until(({ reason }) => reason === "disabled");
  aim({ enabled: true });
  const second = await target.feed(1);
  await second.until((tags) => frames(tags).length >= 10);
  outputs.set(output, undefined);
  expect(await second.ended).toBe("clean");
});

test("over an encoder that vanishes and comes back the output stays connected, and its time goes on", async () => {
  aim();
  const before = await publish();
  begin(before);
  group(before, 60_000);
  const feed = await target.feed(0);
  await feed.until((tags) => frames(tags).length >= 10);
  await before.drop();
  const after = await publish();
  begin(after);
  group(after, 0);
  await feed.until((tags) => frames(tags).length >= 20);
  expect(line.connections).toBe(1);
  expectMonotone(feed.tags);
  const back = frames(feed.tags)[10]!;
  expect(isKey(back)).toBe(true);
  expect(back.timestampMs).toBeGreaterThan(900);
  await after.finish();
  expect(await feed.ended).toBe("clean");
});

test("a target that refuses the key is tried again, its words are the error, and the key is in none", async () => {
  aim({ streamKey: "wrong-secret" });
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  const refused = await outputs.until(({ state }) => state === "reconnecting");
  expect(refused).toMatchObject({
    uid: input,
    output,
    reason: "refused",
    error: expect.stringMatching(
      /^127\.0\.0\.1:\d+ refuses the stream key \(.*Stream key not accepted.*\)\.$/,
    ),
  });
  // With the right one it goes on by itself.
  aim();
  const feed = await target.feed(0);
  await feed.until((tags) => frames(tags).length >= 10);
  expect(JSON.stringify(outputs.told)).not.toMatch(/wrong-secret/);
  expect(outputs.log()).not.toMatch(/wrong-secret/);
});

test("a target that vanishes and comes back is found again, at a keyframe and with time that goes on", async () => {
  aim();
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  const first = await target.feed(0);
  await first.until((tags) => frames(tags).length >= 10);
  await line.away(true);
  await outputs.until(({ reason }) => reason === "lost" || reason === "unreachable");
  await outputs.until(({ reason }) => reason === "unreachable");
  await line.away(false);
  group(encoder, 1_000);
  const second = await target.feed(1);
  await second.until((tags) => frames(tags).length >= 10);
  expect(await outputs.until(({ reason }) => reason === "reconnected")).toMatchObject({ state: "connected" });
  const [head] = frames(second.tags);
  expect(isKey(head!)).toBe(true);
  expectMonotone(second.tags);
  expect(second.tags.some((tag) => tag.type === "video" && tag.payload[1] === 0)).toBe(true);
});

/** Outputs in place of those with the usual limits. */
async function restart(options: Omit<Parameters<typeof startOutputsWorld>[0], "ingest">): Promise<void> {
  await outputs.close();
  outputs = scope.own("others", await startOutputsWorld({ ingest: here.ingest.address, ...options }));
}

/** Publishes seconds of large pictures, each once `taken` has the one before, until `enough`. */
async function flood(
  encoder: RtmpClient,
  taken: { until(enough: (tags: readonly FlvTag[]) => boolean): Promise<void> },
  enough: () => boolean,
): Promise<number> {
  let second = 1;
  for (; !enough(); second++) {
    group(encoder, second * 1_000, 100_000);
    await taken.until((tags) => frames(tags).length >= (second + 1) * 10);
  }
  return second;
}

test("a target that takes too little loses whole groups of pictures, and nobody else does", async () => {
  await restart({ queueMs: 100 });
  const other = target.input("d".repeat(32));
  aim();
  outputs.set("e".repeat(32), {
    ...{ input, url: `rtmp://127.0.0.1:${target.ingest.ports.rtmp}/live`, streamKey: other },
  });
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  const feeds = await Promise.all([target.feed(0), target.feed(1)]);
  await Promise.all(feeds.map((feed) => feed.until((tags) => frames(tags).length >= 10)));
  const slow = feeds.find(({ uid }) => uid === there)!;
  const fast = feeds.find((feed) => feed !== slow)!;
  line.stall(true);
  const isSlow = () => outputs.told.find(({ reason }) => reason === "slow");
  const seconds = await flood(encoder, fast, () => isSlow() !== undefined);
  expect(isSlow()).toMatchObject({ state: "connected", output, error: expect.stringMatching(/bitrate/) });
  line.stall(false);
  // What waited goes out, then the next group whole.
  group(encoder, seconds * 1_000);
  group(encoder, (seconds + 1) * 1_000);
  await slow.until((tags) => frames(tags).at(-1)?.payload.length === 509);
  await fast.until((tags) => frames(tags).length === (seconds + 2) * 10);
  const got = frames(slow.tags);
  expectMonotone(slow.tags);
  // Wherever something is missing a keyframe follows.
  for (let i = 1; i < got.length; i++)
    if (got[i]!.timestampMs - got[i - 1]!.timestampMs > 100) expect(isKey(got[i]!)).toBe(true);
  expect(got.length).toBeLessThan((seconds + 2) * 10);
  expectMonotone(fast.tags);
});

test("a target that takes nothing at all is given up and tried anew", async () => {
  await restart({ limits: { openMs: 5_000, stallMs: 300 } });
  aim();
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  await (await target.feed(0)).until((tags) => frames(tags).length >= 10);
  line.stall(true);
  const stalled = outputs.until(({ reason }) => reason === "stalled");
  for (let second = 1; second <= 12; second++) group(encoder, second * 1_000, 100_000);
  expect(await stalled).toMatchObject({ state: "reconnecting" });
  line.stall(false);
  line.cut();
  await outputs.until(({ reason }) => reason === "reconnected");
});

test.for([
  { name: "an address of this machine", url: "rtmp://127.0.0.1/live" },
  { name: "the same in other words", url: "rtmp://0x7f.1/live" },
  { name: "the same as a number", url: "rtmp://2130706433/live" },
  { name: "the same as a name", url: "rtmp://localhost/live" },
  { name: "the same in IPv6", url: "rtmp://[::ffff:127.0.0.1]/live" },
  { name: "an address of a private network", url: "rtmps://10.1.2.3/live" },
  { name: "where clouds keep their secrets", url: "rtmp://169.254.169.254:80/live" },
])("$name is not connected to unless it is allowed", async ({ url }) => {
  await restart({ allowPrivateTargets: [] });
  aim({ url });
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  const told = await outputs.until(({ state }) => state === "errored" || state === "reconnecting");
  expect(told).toMatchObject({
    state: "errored",
    reason: "forbidden",
    error: expect.stringContaining("allowPrivateTargets"),
  });
  expect(line.connections).toBe(0);
});

/** Enhanced RTMP (enhanced-rtmp-v2): a keyframe and its configuration; the bytes within are of no codec. */
const enhanced = {
  config: Buffer.concat([Buffer.of(0x90), Buffer.from("hvc1"), Buffer.alloc(30, 1)]),
  key: Buffer.concat([Buffer.of(0x93), Buffer.from("hvc1"), Buffer.alloc(200, 2)]),
  /** The same picture with an offset in nanoseconds and as track 0 of several. */
  wrapped: Buffer.concat([
    ...[Buffer.of(0x97, 2, 0, 1, 0, 0x06), Buffer.of(0x03), Buffer.from("hvc1"), Buffer.of(0)],
    Buffer.alloc(200, 2),
  ]),
};

test("HEVC goes as it came to a target that takes it, and one that knows of one track gets one", async () => {
  const server = scope.own(
    "server",
    await startRtmpServer({ properties: { videoFourCcInfoMap: { hvc1: 4 }, fourCcList: ["hvc1"] } }),
  );
  aim({ url: `rtmp://127.0.0.1:${server.port}/app/instance?a=b` });
  const encoder = await publish();
  encoder.video(0, enhanced.config);
  encoder.video(0, enhanced.key);
  await server.until((got) => got.length >= 2);
  encoder.video(40, enhanced.wrapped);
  await server.until((got) => got.length >= 3);
  expect(server.connects[0]).toMatchObject({
    app: "app/instance?a=b",
    tcUrl: `rtmp://127.0.0.1:${server.port}/app/instance?a=b`,
    fourCcList: expect.arrayContaining(["hvc1", "av01"]),
  });
  const payloads = server.media.map(({ payload }) => Buffer.from(payload).toString("hex"));
  expect(payloads).toEqual([enhanced.config, enhanced.key, enhanced.key].map((one) => one.toString("hex")));
  expect(server.media.every(({ streamId }) => streamId === 7)).toBe(true);
});

test("what a target says it does not take it does not get, and the owner learns what to change", async () => {
  const server = scope.own("server", await startRtmpServer({ properties: { fourCcList: ["av01"] } }));
  aim({ url: `rtmp://127.0.0.1:${server.port}/app` });
  const encoder = await publish();
  encoder.video(0, enhanced.config);
  encoder.video(0, enhanced.key);
  expect(await outputs.until(({ state }) => state === "errored")).toMatchObject({
    reason: "unsupported_codec",
    error: `127.0.0.1:${server.port} does not take HEVC; set the encoder to H.264 and AAC, or disable this output.`,
  });
  expect(server.media).toEqual([]);
  // With another encoder it is tried again by itself.
  const other = await publish();
  begin(other);
  group(other, 0);
  await server.until((got) => got.length >= 10);
});

test("an old server is not asked for what only new ones know", async () => {
  const server = scope.own("server", await startRtmpServer());
  aim({ url: `rtmp://127.0.0.1:${server.port}/app` });
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  await server.until((got) => got.length >= 10);
  expect(Object.keys(server.connects[0]!).sort()).toEqual(["app", "flashVer", "swfUrl", "tcUrl", "type"]);
});

test("an encoder that comes back with HEVC is asked for anew, where H.264 was sent before", async () => {
  const server = scope.own("server", await startRtmpServer({ properties: { fourCcList: ["hvc1"] } }));
  aim({ url: `rtmp://127.0.0.1:${server.port}/app` });
  const before = await publish();
  begin(before);
  group(before, 0);
  await server.until((got) => got.length >= 10);
  const after = await publish();
  after.video(0, enhanced.config);
  after.video(0, enhanced.key);
  await server.until((got) => Buffer.compare(got.at(-1)!.payload, enhanced.key) === 0);
  expect(server.connects.map((one) => "fourCcList" in one)).toEqual([false, true]);
  expect(outputs.told.filter(({ error }) => error)).toEqual([]);
});

test("a server that repeats the key in its refusal does not have it repeated here", async () => {
  const refuses = (key: string) => ({
    level: "error",
    code: "NetStream.Publish.BadName",
    description: `${key} is in use (${encodeURIComponent(key)})`,
  });
  const server = scope.own("server", await startRtmpServer({ refuses }));
  aim({ url: `rtmp://127.0.0.1:${server.port}/app`, streamKey: "top/secret?x=1" });
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  expect(await outputs.until(({ state }) => state === "reconnecting")).toMatchObject({
    error: `127.0.0.1:${server.port} refuses the stream key (NetStream.Publish.BadName: [key] is in use ([key])).`,
  });
});

test("something that is no RTMP server is said to be none", async () => {
  aim({ url: `rtmp://127.0.0.1:${await httpPort()}/live` });
  const encoder = await publish();
  begin(encoder);
  group(encoder, 0);
  expect(await outputs.until(({ state }) => state === "reconnecting")).toMatchObject({ reason: "refused" });
});

async function httpPort(): Promise<number> {
  const { createServer } = await import("node:net");
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  });
  scope.own("http", { close: () => new Promise((resolve) => server.close(resolve)) });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}
