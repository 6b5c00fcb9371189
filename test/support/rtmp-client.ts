import { once } from "node:events";
import net, { type Socket } from "node:net";
import tls from "node:tls";
import { AmfReader, type AmfValue, writeAmf } from "../../services/packager/amf.ts";

/** One RTMP message as an encoder would send it. */
export interface RtmpMessage {
  /** 8 audio, 9 video, 18 data, 20 command, 1 chunk size. */
  readonly type: number;
  /** Milliseconds; only the low 32 bits go on the wire. */
  readonly timestampMs: number;
  readonly payload: Uint8Array;
  /** Chunk stream; by default 4 for audio, 5 for video, 6 for data, 3 for commands, 2 for control. */
  readonly chunkStream?: number;
  readonly streamId?: number;
  /** Sends `timestampMs` as a delta to the message before on this chunk stream (message header type 1). */
  readonly delta?: boolean;
}

const chunkStreams: Readonly<Record<number, number>> = { 8: 4, 9: 5, 18: 6, 20: 3 };

/** A message as chunks of `chunkBytes`, with the extended timestamp where it is needed. */
export function chunked(message: RtmpMessage, chunkBytes: number): Buffer {
  const { type, payload, delta = false } = message;
  const id = message.chunkStream ?? chunkStreams[type] ?? 2;
  const timestamp = message.timestampMs % 2 ** 32;
  const extended = timestamp >= 0xffffff;
  const out: Uint8Array[] = [];
  for (let at = 0; at === 0 || at < payload.length; at += chunkBytes) {
    const first = at === 0;
    const header = Buffer.alloc(first ? (delta ? 8 : 12) : 1);
    header[0] = ((first ? (delta ? 1 : 0) : 3) << 6) | id;
    if (first) {
      header.writeUIntBE(extended ? 0xffffff : timestamp, 1, 3);
      header.writeUIntBE(payload.length, 4, 3);
      header[7] = type;
      if (!delta) header.writeUInt32LE(message.streamId ?? (type === 1 ? 0 : 1), 8);
    }
    out.push(header);
    if (extended) {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(timestamp);
      out.push(bytes);
    }
    out.push(payload.subarray(at, at + chunkBytes));
  }
  return Buffer.concat(out);
}

/** A command with its transaction number and arguments. */
export function command(name: string, transaction: number, ...values: AmfValue[]): RtmpMessage {
  return { type: 20, timestampMs: 0, payload: writeAmf([name, transaction, ...values]), streamId: 0 };
}

/** C0 and C1 of the simple handshake; C2 is any 1,536 bytes. */
export function greeting(): Buffer {
  return Buffer.concat([Buffer.of(3), Buffer.alloc(1536, 7)]);
}

/** What an encoder sends from connect to publish, in FFmpeg's order. */
export function publishCommands(app: string, key: string): RtmpMessage[] {
  const tcUrl = `rtmp://127.0.0.1/${app}`;
  return [
    command("connect", 1, { app, type: "nonprivate", flashVer: "FMLE/3.0 (compatible; test)", tcUrl }),
    command("releaseStream", 2, null, key),
    command("FCPublish", 3, null, key),
    command("createStream", 4, null),
    { ...command("publish", 5, null, key, "live"), streamId: 1 },
  ];
}

export function chunkSizeMessage(chunkBytes: number): RtmpMessage {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(chunkBytes);
  return { type: 1, timestampMs: 0, payload, streamId: 0 };
}

/** H.264 and AAC messages that are right on the outside; `bytes` is the size of the frame within. */
export const media = {
  /** Baseline, 320x180. */
  avcConfig: Buffer.from(
    "17000000000142c00dffe100176742c00dda05067e7c0440000003004000000f03c50aa801000468ce0fc8",
    "hex",
  ),
  /** AAC-LC, 48 kHz, stereo. */
  aacConfig: Buffer.from("af001190", "hex"),
  keyframe: (bytes: number, compositionMs = 0) => avcFrame(0x17, 0x65, bytes, compositionMs),
  frame: (bytes: number, compositionMs = 0) => avcFrame(0x27, 0x41, bytes, compositionMs),
  audio: (bytes: number) => Buffer.concat([Buffer.of(0xaf, 1), Buffer.alloc(bytes, 0x21)]),
  metadata: (value: AmfValue): Uint8Array => writeAmf(["@setDataFrame", "onMetaData", value]),
} as const;

function avcFrame(first: number, nal: number, bytes: number, compositionMs: number): Buffer {
  const payload = Buffer.alloc(5 + 4 + bytes, 0x55);
  payload[0] = first;
  payload[1] = 1;
  payload.writeIntBE(compositionMs, 2, 3);
  payload.writeUInt32BE(bytes, 5);
  payload[9] = nal;
  return payload;
}

export interface Reply {
  readonly name: string;
  readonly transaction: number;
  readonly values: readonly AmfValue[];
}

/** How the server answered a publish: `NetStream.Publish.Start`, or why not. */
export interface PublishAnswer {
  readonly code: string;
  readonly description: string;
}

export interface RtmpClient {
  readonly socket: Socket;
  /** Settles when the socket is gone, whoever closed it. */
  readonly closed: Promise<void>;
  /** C0 to C2; resolves when the server's part has come. */
  handshake(): Promise<void>;
  /** connect to publish; resolves with the server's verdict, also when the socket closes without one. */
  publish(app: string, key: string): Promise<PublishAnswer>;
  send(message: RtmpMessage): void;
  video(timestampMs: number, payload: Uint8Array): void;
  audio(timestampMs: number, payload: Uint8Array): void;
  /** Any bytes, as they are. */
  raw(bytes: Uint8Array): void;
  /** The next command of this name that has not been asked for yet; rejects when the socket closes first. */
  reply(name: string): Promise<Reply>;
  /** As an encoder whose user pressed stop. */
  finish(): Promise<void>;
  /** As an encoder that lost power: a reset, without a word. */
  drop(): Promise<void>;
}

/** Connects to an RTMP server; `localAddress` chooses who the server sees. No bytes are sent yet. */
export async function connectRtmp(options: {
  readonly port: number;
  readonly host?: string;
  readonly localAddress?: string;
  readonly tls?: tls.ConnectionOptions;
  /** Our chunk size, announced at publish. */
  readonly chunkBytes?: number;
}): Promise<RtmpClient> {
  const { port, host = "127.0.0.1", localAddress, chunkBytes = 4096 } = options;
  const to = { port, host, ...(localAddress && { localAddress }) };
  const socket = options.tls ? tls.connect({ ...to, ...options.tls }) : net.connect(to);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await once(socket, options.tls ? "secureConnect" : "connect");
  socket.on("error", () => undefined);
  socket.setNoDelay(true);
  const inbox = createInbox(socket);
  let outChunk = 128;
  const client: RtmpClient = {
    socket,
    closed,
    async handshake() {
      client.raw(greeting());
      await inbox.handshaken;
      client.raw(Buffer.alloc(1536, 7));
    },
    async publish(app, key) {
      await client.handshake();
      client.send(chunkSizeMessage(chunkBytes));
      outChunk = chunkBytes;
      for (const message of publishCommands(app, key)) client.send(message);
      const info = (await client.reply("onStatus").catch(() => undefined))?.values[1];
      if (!info || typeof info !== "object" || !("code" in info))
        return { code: "", description: "closed without an answer" };
      return { code: String(info.code), description: String(info.description) };
    },
    send: (message) => client.raw(chunked(message, outChunk)),
    video: (timestampMs, payload) => client.send({ type: 9, timestampMs, payload }),
    audio: (timestampMs, payload) => client.send({ type: 8, timestampMs, payload }),
    raw(bytes) {
      if (socket.writable) socket.write(bytes);
    },
    reply: (name) => inbox.take(name),
    async finish() {
      client.send(command("FCUnpublish", 6, null, "key"));
      client.send(command("deleteStream", 7, null, 1));
      socket.end();
      await closed;
    },
    async drop() {
      socket.resetAndDestroy();
      await closed;
    },
  };
  return client;
}

/** The server's handshake and commands. Our servers answer in whole type 0 chunks of up to 65,535 bytes. */
function createInbox(socket: Socket) {
  const shaken = Promise.withResolvers<void>();
  shaken.promise.catch(() => undefined);
  const replies: Reply[] = [];
  let waiting: { name: string; resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];
  let held = Buffer.alloc(0);
  let greeted = false;
  socket.on("data", (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    if (!greeted) {
      if (held.length < 1 + 2 * 1536) return;
      held = held.subarray(1 + 2 * 1536);
      greeted = true;
      shaken.resolve();
    }
    while (held.length >= 12) {
      const length = held.readUIntBE(4, 3);
      if (held.length < 12 + length) return;
      if (held[7] === 20) accept(held.subarray(12, 12 + length));
      held = held.subarray(12 + length);
    }
  });
  socket.once("close", () => {
    const gone = new Error("the server closed the connection");
    shaken.reject(gone);
    for (const { reject } of waiting) reject(gone);
    waiting = [];
  });
  function accept(payload: Buffer): void {
    const reader = new AmfReader(payload);
    const name = String(reader.read());
    const transaction = Number(reader.read());
    const values: AmfValue[] = [];
    while (!reader.done) values.push(reader.read());
    const reply = { name, transaction, values };
    const at = waiting.findIndex((w) => w.name === name);
    if (at < 0) replies.push(reply);
    else waiting.splice(at, 1)[0]!.resolve(reply);
  }
  return {
    handshaken: shaken.promise,
    take(name: string): Promise<Reply> {
      const at = replies.findIndex((r) => r.name === name);
      if (at >= 0) return Promise.resolve(replies.splice(at, 1)[0]!);
      if (socket.destroyed) return Promise.reject(new Error("the server closed the connection"));
      return new Promise((resolve, reject) => waiting.push({ name, resolve, reject }));
    },
  };
}
