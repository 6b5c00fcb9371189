import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { writeAmf } from "../../services/packager/amf.ts";
import { bytesOf } from "../support/bytes.ts";
import { belowOf } from "../support/random.ts";
import {
  chunked,
  chunkSizeMessage,
  command,
  connectRtmp,
  greeting,
  media,
  publishCommands,
  type RtmpClient,
} from "../support/rtmp-client.ts";
import { type Arena, attacked, attackMutated, openArena } from "./hostile.ts";

// One arena and one bystander for everything: what any of it does to others shows at the end.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
let arena: Arena;
beforeAll(async () => {
  arena = await openArena();
});
afterAll(() => arena.close());

let attackers = 0;
const attacker = () => {
  attackers++;
  return connectRtmp({
    port: arena.port,
    localAddress: `127.2.${attackers >> 8}.${attackers & 255}`,
    chunkBytes: 4096,
  });
};

const invoke = (payload: Uint8Array, type = 20) =>
  chunked({ type, timestampMs: 0, payload, streamId: 0 }, 128);
const connected = () => chunked(command("connect", 1, { app: "live", tcUrl: "rtmp://127.0.0.1/live" }), 128);
const nested = (open: string, depth: number) => Buffer.from(open.repeat(depth), "hex");
const many = (count: number, bytes: Uint8Array) => Buffer.concat(Array<Uint8Array>(count).fill(bytes));

/** A header that announces `length` bytes of `type` on a chunk stream, and one byte. */
const announced = (chunkStream: number, length: number, type: number) => {
  const header = Buffer.alloc(13);
  header[0] = chunkStream;
  header.writeUIntBE(length, 4, 3);
  header[7] = type;
  return header;
};

test.for([
  {
    name: "a connect without tcUrl",
    bytes: () => chunked(command("connect", 1, { app: "live" }), 128),
    open: true,
  },
  {
    name: "a connect with a senseless tcUrl",
    bytes: () => chunked(command("connect", 1, { app: "live", tcUrl: ":" }), 128),
    open: true,
  },
  { name: "a connect without an object", bytes: () => chunked(command("connect", 1, null), 128) },
  {
    name: "a connect with a number for an application",
    bytes: () => chunked(command("connect", 1, { app: 7 }), 128),
  },
  { name: "two connects", bytes: () => many(2, connected()) },
  {
    name: "a publish without a name",
    bytes: () => Buffer.concat([connected(), chunked(command("publish", 2, null), 128)]),
  },
  {
    name: "a publish with a number for a name",
    bytes: () => Buffer.concat([connected(), chunked(command("publish", 2, null, 5), 128)]),
  },
  { name: "a publish without a connect", bytes: () => chunked(command("publish", 2, null, "x"), 128) },
  { name: "a play", bytes: () => Buffer.concat([connected(), chunked(command("play", 2, null, "x"), 128)]) },
  {
    name: "a play without a name",
    bytes: () => Buffer.concat([connected(), chunked(command("play", 2, null), 128)]),
  },
  {
    name: "a command named constructor",
    bytes: () => chunked(command("constructor", 1, null), 128),
    open: true,
  },
  {
    name: "a command named __proto__",
    bytes: () => chunked(command("__proto__", 1, { __proto__: null, a: 1 }), 128),
    open: true,
  },
  {
    name: "an empty command",
    bytes: () => Buffer.concat([invoke(Buffer.alloc(0)), connected()]),
    open: true,
  },
  {
    name: "an empty data message",
    bytes: () => Buffer.concat([invoke(Buffer.alloc(0), 18), connected()]),
    open: true,
  },
  {
    name: "an empty chunk size",
    bytes: () => Buffer.concat([invoke(Buffer.alloc(0), 1), connected()]),
    open: true,
  },
  {
    name: "an empty window size",
    bytes: () => Buffer.concat([invoke(Buffer.alloc(0), 5), connected()]),
    open: true,
  },
  { name: "an empty video message", bytes: () => Buffer.concat([invoke(Buffer.alloc(0), 9), connected()]) },
  { name: "a short chunk size", bytes: () => invoke(Buffer.alloc(2), 1) },
  { name: "a chunk size of 0", bytes: () => chunked(chunkSizeMessage(0), 128) },
  { name: "a chunk size of 2^31", bytes: () => chunked(chunkSizeMessage(2 ** 31), 128) },
  { name: "a string cut short", bytes: () => invoke(bytesOf("02ffff41")) },
  {
    name: "an unknown AMF type in an object",
    bytes: () => invoke(bytesOf("02000161 003ff0000000000000 03000161 22")),
  },
  { name: "a command in AMF3", bytes: () => invoke(bytesOf("110a0b01"), 17) },
  { name: "an AMF3 command of one byte", bytes: () => invoke(bytesOf("00"), 17) },
  { name: "data in AMF3 before a publish", bytes: () => invoke(bytesOf("00020001"), 15), open: true },
  { name: "objects nested 15,000 deep", bytes: () => invoke(nested("03000161", 15_000)) },
  { name: "arrays nested 13,000 deep", bytes: () => invoke(nested("0a00000001", 13_000)) },
  { name: "an array of 4 billion values", bytes: () => invoke(bytesOf("0affffffff05")) },
  {
    name: "60,000 nulls",
    bytes: () =>
      invoke(Buffer.concat([bytesOf("02000161 003ff0000000000000 0a0000ea60"), Buffer.alloc(60_000, 5)])),
  },
  { name: "a message of 16 MB", bytes: () => announced(3, 0xffffff, 20) },
  {
    name: "60 chunk streams",
    bytes: () =>
      Buffer.concat(Array.from({ length: 60 }, (_, i) => announced(3 + i, 60_000, 20).subarray(0, 12))),
  },
  {
    name: "half-finished messages on 16 chunk streams",
    bytes: () =>
      Buffer.concat(
        Array.from({ length: 16 }, (_, i) =>
          Buffer.concat([announced(3 + i, 60_000, 20).subarray(0, 12), Buffer.alloc(128)]),
        ),
      ),
  },
  {
    name: "a message that shrinks half way",
    bytes: () =>
      Buffer.concat([announced(3, 1000, 20).subarray(0, 12), Buffer.alloc(128), announced(3, 10, 20)]),
  },
  {
    name: "a message that grows half way",
    bytes: () =>
      Buffer.concat([announced(3, 200, 20).subarray(0, 12), Buffer.alloc(128), announced(3, 60_000, 20)]),
  },
  { name: "a chunk stream that begins in the middle", bytes: () => Buffer.of(0xc5, 1, 2, 3) },
  {
    name: "video before a publish",
    bytes: () =>
      Buffer.concat([connected(), chunked({ type: 9, timestampMs: 0, payload: media.keyframe(10) }, 128)]),
  },
  { name: "an aggregate message", bytes: () => invoke(Buffer.alloc(20), 22) },
  {
    name: "20,000 createStream commands",
    bytes: () => many(20_000, chunked(command("createStream", 2, null), 128)),
  },
  {
    name: "5,000 plays",
    bytes: () => Buffer.concat([connected(), many(5_000, chunked(command("play", 2, null, "x"), 128))]),
  },
  {
    name: "a timestamp just below 2^32",
    bytes: () =>
      Buffer.concat([
        connected(),
        chunked({ ...command("createStream", 2, null), timestampMs: 0xfffffff0 }, 128),
      ]),
    open: true,
  },
])("$name", async ({ bytes, open }) => {
  const client = await attacker();
  const began = performance.now();
  await client.handshake();
  client.raw(bytes());
  if (open) {
    // Harmless, so the connection goes on: a connect that follows is answered.
    client.raw(chunked(command("createStream", 77, null), 128));
    while ((await client.reply("_result")).transaction !== 77);
    client.socket.destroy();
  }
  await client.closed;
  // For what it said, and not because its time was up.
  expect(performance.now() - began).toBeLessThan(1900);
  expect((await arena.quiet()).publishes).toBe(1);
});

test.for([
  { name: "another version", bytes: Buffer.concat([Buffer.of(6), Buffer.alloc(1536)]) },
  { name: "HTTP", bytes: Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
  { name: "TLS", bytes: Buffer.from("16030100c8010000c40303", "hex") },
  { name: "a megabyte of noise", bytes: noise(1 << 20) },
  { name: "a megabyte of noise after the handshake", bytes: Buffer.concat([greeting(), noise(1 << 20)]) },
])("$name instead of RTMP is closed at once", async ({ bytes }) => {
  const client = await attacker();
  client.raw(bytes);
  await client.closed;
  await arena.quiet();
});

function noise(length: number): Buffer {
  const random = belowOf(length);
  return Buffer.from(Array.from({ length }, () => random(256)));
}

/** An attacker who has a key. */
async function insider(): Promise<RtmpClient> {
  const client = await attacker();
  const { code } = await client.publish("live", attacked.key);
  expect(code).toBe("NetStream.Publish.Start");
  return client;
}

test.for([
  {
    name: "a second publish on one connection",
    bytes: () => chunked(command("publish", 9, null, attacked.key), 4096),
  },
  {
    name: "120 MB announced in unfinished messages",
    bytes: () =>
      Buffer.concat(
        Array.from({ length: 12 }, (_, i) =>
          Buffer.concat([announced(10 + i, 8_000_000, 9).subarray(0, 12), Buffer.alloc(4096)]),
        ),
      ),
  },
  { name: "video over the limit", bytes: () => announced(5, 9_000_000, 9) },
  {
    name: "video of one byte",
    bytes: () => chunked({ type: 9, timestampMs: 0, payload: Buffer.of(0x17) }, 4096),
  },
  {
    name: "video cut short",
    bytes: () => chunked({ type: 9, timestampMs: 0, payload: Buffer.of(0x17, 1, 0) }, 4096),
  },
  {
    name: "an unknown enhanced codec",
    bytes: () => chunked({ type: 9, timestampMs: 0, payload: bytesOf("90 ff ff ff ff 00") }, 4096),
  },
])("from somebody with a key: $name ends that connection", async ({ bytes }) => {
  const client = await insider();
  client.raw(bytes());
  await client.closed;
  expect((await arena.quiet()).publishes).toBe(1);
});

test("from somebody with a key: script tags of every kind do not come through as the end of the publish", async () => {
  const client = await insider();
  for (const name of ["onPublishEnd", "onFI", "@clearDataFrame", "|RtmpSampleAccess", "constructor"])
    client.send({ type: 18, timestampMs: 0, payload: writeAmf([name, { reason: "clean" }]) });
  await client.finish();
  await arena.quiet();
});

test("strangers who are slow are hung up on at their deadlines", async () => {
  const silent = await attacker();
  const dripping = await attacker();
  const handshaken = await attacker();
  const half = await attacker();
  await handshaken.handshake();
  await half.handshake();
  half.raw(connected());
  const first = greeting();
  let at = 0;
  const drip = setInterval(() => dripping.raw(first.subarray(at, ++at)), 20);
  const began = performance.now();
  await Promise.all([silent.closed, dripping.closed]);
  expect(performance.now() - began).toBeLessThan(900);
  clearInterval(drip);
  await Promise.all([handshaken.closed, half.closed]);
  await arena.quiet();
});

test("a publisher that drips signs of life instead of media is given up", async () => {
  const client = await insider();
  const drip = setInterval(() => client.raw(invoke(Buffer.alloc(0), 9)), 50);
  await client.closed;
  clearInterval(drip);
  expect((await arena.quiet()).publishes).toBe(1);
});

test("a thousand idle connections take no more than their places", async () => {
  const before = await arena.quiet();
  const sockets: Socket[] = [];
  for (let i = 0; i < 1000; i++) {
    const socket = connect({ port: arena.port, host: "127.0.0.1", localAddress: `127.3.0.${1 + (i % 50)}` });
    socket.on("error", () => undefined);
    sockets.push(socket);
    if (i % 100 === 99) await Promise.race([once(socket, "connect"), once(socket, "close")]);
  }
  const during = await arena.figures();
  expect(during.connections).toBeLessThanOrEqual(200);
  expect(during.external - before.external).toBeLessThan(16 << 20);
  await Promise.all(sockets.map((socket) => socket.destroyed || once(socket, "close")));
  const after = await arena.quiet();
  expect(after.heap - before.heap).toBeLessThan(4 << 20);
});

test("a wrong key, a second publisher and a player leave the bystander alone", async () => {
  for (const commands of [
    publishCommands("live", "bystander-not-quite"),
    publishCommands("live", "1".repeat(32)),
    [...publishCommands("live", "").slice(0, 4), command("play", 5, null, "bystander")],
  ]) {
    const client = await attacker();
    await client.handshake();
    for (const message of commands) client.send(message);
    client.video(0, media.keyframe(100));
    await client.closed;
  }
  expect((await arena.quiet()).publishes).toBe(1);
});

test("three hundred damaged sessions crash nothing and leave nothing", async () => {
  await attackMutated(arena, 100, 7);
  const before = await arena.quiet();
  await attackMutated(arena, 300, 8);
  const after = await arena.quiet();
  expect(after.accepted - before.accepted).toBeGreaterThan(20);
  expect(after.publishes).toBe(1);
  // Ended feeds stay for seconds; a leaked session would show as a connection.
  expect(after.heap - before.heap).toBeLessThan(8 << 20);
});

test("after all of that the bystander has lost no frame", async () => {
  const { sent, arrived, ended } = await arena.finish();
  expect(arrived).toBe(sent);
  expect(sent).toBeGreaterThan(100);
  expect(ended).toBe(1);
});
