import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls, type PeerCertificate } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { makeSelfSigned } from "../../infra/x509.ts";
import { type IngestWorld, startIngestWorld } from "../../test/support/ingest.ts";
import { command, connectRtmp, media, type RtmpClient } from "../../test/support/rtmp-client.ts";
import { requestInternal } from "../lib/http.ts";
import { writeAmf } from "../packager/amf.ts";
import { readScript } from "../packager/flv.ts";
import { sessionLimits } from "./session.ts";

const uid = "a".repeat(32);
let world: IngestWorld;
afterEach(() => world.close());

const client = (options: { localAddress?: string } = {}) =>
  connectRtmp({ port: world.ingest.ports.rtmp!, ...options });

/** Configs, a keyframe and two frames, from `startMs`. */
function begin(to: RtmpClient, startMs = 0): void {
  to.send({ type: 18, timestampMs: 0, payload: media.metadata({ width: 320, height: 180 }) });
  to.video(startMs, media.avcConfig);
  to.audio(startMs, media.aacConfig);
  to.video(startMs, media.keyframe(3000));
  to.audio(startMs + 5, media.audio(200));
  to.video(startMs + 33, media.frame(500));
}

const shape = (tags: readonly { type: string; timestampMs: number }[]) =>
  tags.map((tag) => `${tag.type} ${tag.timestampMs}`);

test("a publish becomes a feed, whole and in order, and a clean end is its last tag", async () => {
  world = await startIngestWorld();
  const key = world.input(uid);
  const encoder = await client();
  expect((await encoder.publish("live", key)).code).toBe("NetStream.Publish.Start");
  begin(encoder);
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 6);
  await encoder.finish();
  expect(await feed.ended).toBe("clean");
  expect(shape(feed.tags)).toEqual([
    "script 0",
    "video 0",
    "audio 0",
    "video 0",
    "audio 5",
    "video 33",
    "script 33",
  ]);
  expect(Buffer.compare(feed.tags[3]!.payload, media.keyframe(3000))).toBe(0);
  expect(world.facts.map((f) => ("reason" in f ? `${f.type} ${f.reason}` : f.type))).toEqual([
    "publish.started",
    "publish.ended clean",
  ]);
});

test("what an encoder says of a moment is passed on, what nobody reads or could read is not", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 6);
  const say = (timestampMs: number, payload: Uint8Array): void =>
    void encoder.send({ type: 18, timestampMs, payload });
  say(40, writeAmf(["@setDataFrame", "onCuePoint", { name: "goal" }]));
  say(41, writeAmf(["onPublishEnd", { reason: "clean" }]));
  say(42, writeAmf(["onStatistics", { bytes: 1 }]));
  say(43, Buffer.concat([writeAmf(["onTextData"]), Buffer.of(3, 0, 9)]));
  say(44, writeAmf(["onCaptionInfo", { type: "708", data: "x".repeat(40_000) }]));
  say(45, writeAmf(["onTextData", { text: "Hello", language: "eng" }]));
  encoder.video(66, media.frame(500));
  await feed.until((tags) => tags.at(-1)?.timestampMs === 66);
  expect(
    feed.tags
      .slice(6)
      .map(({ timestampMs, payload, type }) => [timestampMs, type === "script" && readScript(payload)]),
  ).toEqual([
    [40, { name: "onCuePoint", value: { name: "goal" } }],
    [45, { name: "onTextData", value: { text: "Hello", language: "eng" } }],
    [66, false],
  ]);
});

test("a dropped connection is told apart from a clean end", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 6);
  await encoder.drop();
  expect(await feed.ended).toBe("lost");
  expect(world.facts.at(-1)).toMatchObject({ type: "publish.ended", reason: "lost" });
});

test("an encoder that sends nothing more is given up after the idle time", async () => {
  const session = { ...sessionLimits, idleMs: 150 };
  world = await startIngestWorld({ limits: { connections: 9, connectionsPerAddress: 9, session } });
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  const feed = await world.feed(0);
  expect(await feed.ended).toBe("lost");
  await encoder.closed;
});

test.for([
  { name: "an unknown key", app: "live", key: "nonsense", says: /Stream key not accepted/ },
  { name: "an empty key", app: "live", key: "", says: /Stream key not accepted/ },
  { name: "an unknown application", app: "movies", key: undefined, says: /must end in \/live/ },
  { name: "a disabled input", app: "live", key: undefined, enabled: false, says: /disabled/ },
])("$name is refused with a sentence and then the socket goes", async ({ app, key, enabled, says }) => {
  world = await startIngestWorld();
  const right = world.input(uid, { enabled: enabled ?? true });
  const encoder = await client();
  const answer = await encoder.publish(app, key ?? right);
  expect(answer.code).toBe("NetStream.Publish.Denied");
  expect(answer.description).toMatch(says);
  begin(encoder);
  await encoder.closed;
  expect(world.feeds).toEqual([]);
  expect(world.facts).toEqual([]);
});

test.for(["live", "live/", "/live//"])("application %j with a key and a query is accepted", async (app) => {
  world = await startIngestWorld();
  const encoder = await client();
  const answer = await encoder.publish(app, `${world.input(uid)}?backup=1`);
  expect(answer.code).toBe("NetStream.Publish.Start");
  await encoder.drop();
});

test("after a wrong key the same address waits for its next answer, right or wrong", async () => {
  world = await startIngestWorld();
  const key = world.input(uid);
  const guess = async (what: string) => {
    const started = performance.now();
    const encoder = await client();
    const { code } = await encoder.publish("live", what);
    await encoder.drop();
    return { code, ms: performance.now() - started };
  };
  expect((await guess("wrong")).ms).toBeLessThan(200);
  expect((await guess("wrong again")).ms).toBeGreaterThan(240);
  const right = await guess(key);
  expect(right.ms).toBeGreaterThan(490);
  expect(right.code).toBe("NetStream.Publish.Start");
});

test.for([
  { name: "Sorenson H.263", type: 9, payload: Buffer.from("2200000000", "hex"), says: /H\.263.*H\.264/ },
  { name: "MP3", type: 8, payload: Buffer.from("2f00", "hex"), says: /MP3.*AAC/ },
  { name: "Speex", type: 8, payload: Buffer.from("b200", "hex"), says: /Speex.*AAC/ },
  {
    name: "VVC in enhanced RTMP",
    type: 9,
    payload: Buffer.from("90767663310000", "hex"),
    says: /VVC.*H\.264, HEVC, AV1 or VP9$/,
  },
  {
    name: "a codec that nobody knows",
    type: 9,
    payload: Buffer.from("90ffe9c3a90000", "hex"),
    says: /^codec .* H\.264/,
  },
  {
    name: "MP3 in enhanced RTMP",
    type: 8,
    payload: Buffer.from("902e6d7033", "hex"),
    says: /MP3.*AAC, Opus/,
  },
])("$name is refused at its first message, naming what is supported", async ({ type, payload, says }) => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  encoder.send({ type, timestampMs: 0, payload });
  const { values } = await encoder.reply("onStatus");
  expect(values[1]).toMatchObject({ level: "error", description: expect.stringMatching(says) });
  await encoder.closed;
  const code = type === 9 ? "unsupported_video_codec" : "unsupported_audio_codec";
  const advice = expect.stringMatching(says);
  expect(world.facts.at(-1)).toMatchObject({ reason: "refused", wrong: { code, advice } });
});

test("an encoder is told which codecs and tracks of enhanced RTMP it may send", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  const { values } = await encoder.reply("_result");
  expect(values[0]).toMatchObject({
    fourCcList: ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", "fLaC", "ac-3", "ec-3"],
    videoFourCcInfoMap: { avc1: 4, hvc1: 4, av01: 4, vp09: 4 },
    audioFourCcInfoMap: { mp4a: 4, Opus: 4, fLaC: 4, "ac-3": 4, "ec-3": 4 },
    capsEx: 14,
  });
  expect(values[1]).toMatchObject({ code: "NetConnection.Connect.Success" });
});

test("a second encoder takes over, the first is told and its feed ends", async () => {
  world = await startIngestWorld();
  const key = world.input(uid);
  const first = await client();
  await first.publish("live", key);
  begin(first);
  const second = await client();
  expect((await second.publish("live", key)).code).toBe("NetStream.Publish.Start");
  const { values } = await first.reply("onStatus");
  expect(values[1]).toMatchObject({ code: "NetStream.Publish.BadName" });
  await first.closed;
  expect(await (await world.feed(0)).ended).toBe("replaced");
  begin(second, 1000);
  const feed = await world.feed(1);
  await feed.until((tags) => tags.length >= 6);
  expect(feed.publish).not.toBe(world.feeds[0]!.publish);
  await second.finish();
  expect(await feed.ended).toBe("clean");
});

test("of two live encoders that fight, the fourth newcomer is refused and the one on air goes on", async () => {
  world = await startIngestWorld();
  const key = world.input(uid);
  let onAir = await client({ localAddress: "127.0.0.2" });
  await onAir.publish("live", key);
  begin(onAir);
  for (let i = 0; i < 3; i++) {
    const newcomer = await client({ localAddress: `127.0.0.${3 + (i % 2)}` });
    expect((await newcomer.publish("live", key)).code).toBe("NetStream.Publish.Start");
    await onAir.closed;
    begin(newcomer);
    onAir = newcomer;
  }
  const fourth = await client({ localAddress: "127.0.0.9" });
  const answer = await fourth.publish("live", key);
  expect(answer.code).toBe("NetStream.Publish.BadName");
  expect(answer.description).toMatch(/Another encoder is live/);
  await fourth.closed;
  const feed = await world.feed(3);
  const before = feed.tags.length;
  onAir.video(66, media.frame(400));
  await feed.until((tags) => tags.length > before);
  await onAir.finish();
});

test("play is not offered", async () => {
  world = await startIngestWorld();
  const key = world.input(uid);
  const encoder = await client();
  await encoder.publish("live", key);
  begin(encoder);
  const viewer = await client();
  await viewer.handshake();
  viewer.send(command("connect", 1, { app: "live", tcUrl: "rtmp://127.0.0.1/live" }));
  viewer.send(command("play", 2, null, key));
  await viewer.closed;
  encoder.video(66, media.frame(10));
  await (await world.feed(0)).until((tags) => tags.some((t) => t.timestampMs === 66));
  await encoder.finish();
});

test.for([
  { name: "2^24", wrap: 2 ** 24, feed: [2 ** 24 - 40, 2 ** 24, 2 ** 24 + 40] },
  { name: "2^31", wrap: 2 ** 31, feed: [2 ** 31 - 40, 2 ** 31, 2 ** 31 + 40] },
  { name: "2^32", wrap: 2 ** 32, feed: [2 ** 32 - 40, 0, 40] },
])("timestamps that wrap at $name go on in the feed", async ({ wrap, feed: wanted }) => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  encoder.video(wrap - 80, media.avcConfig);
  encoder.video(wrap - 40, media.keyframe(10_000));
  encoder.video(0, media.frame(10_000));
  encoder.video(40, media.frame(10_000));
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 4);
  expect(feed.tags.slice(-3).map((t) => t.timestampMs)).toEqual(wanted);
  await encoder.finish();
});

test("timestamps as deltas across 2^32 go on", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  encoder.video(2 ** 32 - 80, media.avcConfig);
  encoder.send({ type: 9, timestampMs: 64, payload: media.keyframe(10), delta: true });
  encoder.send({ type: 9, timestampMs: 40, payload: media.frame(10), delta: true });
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 3);
  expect(feed.tags.slice(-2).map((t) => t.timestampMs)).toEqual([2 ** 32 - 16, 24]);
  await encoder.finish();
});

test("the publish is posted again until the origin takes it, and nothing of the first GOP is lost", async () => {
  world = await startIngestWorld();
  world.originAnswers(undefined);
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  encoder.video(66, media.frame(10));
  await world.posted();
  world.originAnswers({ status: 200 });
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 7);
  expect(shape(feed.tags).slice(3)).toEqual(["video 0", "audio 5", "video 33", "video 66"]);
  await encoder.finish();
});

test("an origin that refuses a publish has its sentence said to the encoder", async () => {
  world = await startIngestWorld();
  world.originAnswers({ status: 409, message: "This input is live on another machine." });
  const encoder = await client();
  expect((await encoder.publish("live", world.input(uid))).code).toBe("NetStream.Publish.Start");
  const { values } = await encoder.reply("onStatus");
  expect(values[1]).toMatchObject({ level: "error", description: "This input is live on another machine." });
  await encoder.closed;
});

test("an origin may end a publish later", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  const feed = await world.feed(0);
  const { status } = await requestInternal(world.ingest.address, `/internal/publishes/${feed.publish}`, {
    method: "DELETE",
    json: { code: "bad_media", message: "The picture size changes too often." },
  });
  expect(status).toBe(204);
  const { values } = await encoder.reply("onStatus");
  expect(values[1]).toMatchObject({ description: "The picture size changes too often." });
  await encoder.closed;
});

test("an origin that lost the feed is told of the publish again and starts at the newest keyframe", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  const first = await world.feed(0);
  await first.until((tags) => tags.length >= 6);
  encoder.video(2000, media.keyframe(100));
  encoder.video(2033, media.frame(100));
  await first.until((tags) => tags.length >= 8);
  first.abort();
  const second = await world.feed(1);
  expect(second.publish).toBe(first.publish);
  await second.until((tags) => tags.length >= 5);
  expect(shape(second.tags)).toEqual(["script 2000", "video 2000", "audio 2000", "video 2000", "video 2033"]);
  await encoder.finish();
  expect(await second.ended).toBe("clean");
});

test.for([
  { name: "is disabled", change: { enabled: false }, says: /disabled/, feed: "clean" },
  { name: "gets another key", change: {}, says: /key was changed/, feed: "lost" },
])("a live input that $name loses its publisher", async ({ change, says, feed: reason }) => {
  world = await startIngestWorld();
  const key = world.input(uid);
  const encoder = await client();
  await encoder.publish("live", key);
  begin(encoder);
  const feed = await world.feed(0);
  world.input(uid, change.enabled === false ? { key, enabled: false } : {});
  const { values } = await encoder.reply("onStatus");
  expect(values[1]).toMatchObject({ description: expect.stringMatching(says) });
  expect(await feed.ended).toBe(reason);
  await encoder.closed;
});

test("acknowledgements come, for encoders that stop without them", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  encoder.video(0, media.avcConfig);
  const acknowledged = new Promise<number>((resolve) => {
    encoder.socket.on("data", (bytes: Buffer) => {
      if (bytes[7] === 3) resolve(bytes.readUInt32BE(12));
    });
  });
  for (let i = 0; i < 30; i++) encoder.video(i * 33, i ? media.frame(100_000) : media.keyframe(100_000));
  expect(await acknowledged).toBeGreaterThanOrEqual(2_500_000);
  await encoder.finish();
});

test("connections past the limits are closed at once, per address and in all", async () => {
  world = await startIngestWorld({ limits: { connections: 4, connectionsPerAddress: 3 } });
  const open = (localAddress: string) =>
    connect({ port: world.ingest.ports.rtmp!, host: "127.0.0.1", localAddress });
  const inside = [open("127.0.0.1"), open("127.0.0.1"), open("127.0.0.1")];
  await Promise.all(inside.map((s) => once(s, "connect")));
  const fourth = open("127.0.0.1");
  await once(fourth, "close");
  inside.push(open("127.0.0.2"));
  await once(inside[3]!, "connect");
  const sixth = open("127.0.0.3");
  await once(sixth, "close");
  for (const socket of inside) socket.destroy();
});

test("RTMPS: TLS 1.2 at least, and a new certificate counts without dropping who is on air", async () => {
  world = await startIngestWorld({ rtmpsPort: 0 });
  const port = world.ingest.ports.rtmps!;
  const key = world.input(uid);
  const encoder = await connectRtmp({ port, tls: { rejectUnauthorized: false } });
  expect((await encoder.publish("live", key)).code).toBe("NetStream.Publish.Start");
  begin(encoder);
  const shown = async () => {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { fingerprint256 }: PeerCertificate = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  const before = await shown();
  world.setCertificate(await makeSelfSigned(Date.now()));
  expect(await shown()).not.toBe(before);
  const old = connectTls({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    maxVersion: "TLSv1.1",
    minVersion: "TLSv1",
  });
  await once(old, "error");
  const feed = await world.feed(0);
  encoder.video(66, media.frame(20_000));
  await feed.until((tags) => tags.some((t) => t.timestampMs === 66));
  await encoder.finish();
  expect(await feed.ended).toBe("clean");
});

test("a publish that is over before the origin has come for it is still told in full", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  await encoder.finish();
  const feed = await world.feed(0);
  expect(await feed.ended).toBe("clean");
  expect(feed.tags).toHaveLength(7);
});

test("a place that was taken over TLS, in earnest or not, is free again afterwards", async () => {
  world = await startIngestWorld({ rtmpsPort: 0, limits: { connections: 1, connectionsPerAddress: 1 } });
  const port = world.ingest.ports.rtmps!;
  for (let i = 0; i < 3; i++) {
    const garbage = connect({ port, host: "127.0.0.1" });
    garbage.on("error", () => undefined);
    garbage.write("GET / HTTP/1.0\r\n\r\n");
    await once(garbage.resume(), "close");
    const encoder = await connectRtmp({ port, tls: { rejectUnauthorized: false } });
    await encoder.publish("live", world.input(uid));
    begin(encoder);
    await encoder.finish();
  }
});

test("closing the ingest is a lost connection to everybody", async () => {
  world = await startIngestWorld();
  const encoder = await client();
  await encoder.publish("live", world.input(uid));
  begin(encoder);
  const feed = await world.feed(0);
  await feed.until((tags) => tags.length >= 6);
  const ended = feed.ended;
  await world.ingest.close();
  await encoder.closed;
  expect(await ended).toBe("lost");
});
