import net, { type AddressInfo, type Socket } from "node:net";
import { ChunkReader, type Message } from "../../services/outputs/chunks.ts";
import { type AmfObject, AmfReader, type AmfValue } from "../../services/packager/amf.ts";
import { chunked, command } from "./rtmp-client.ts";

/** An RTMP server that takes every publish and says of itself what it is told to. */
export interface RtmpServer {
  readonly port: number;
  /** Audio, video and data messages of all publishes, in order. */
  readonly media: readonly Message[];
  /** The objects of each `connect`. */
  readonly connects: readonly AmfObject[];
  /** Resolves once `enough` is true of the media. */
  until(enough: (media: readonly Message[]) => boolean): Promise<void>;
  close(): Promise<void>;
}

/** Listens on this machine. `properties` are what its answer to connect says; `refuses` is its answer to a publish, for this key. */
export async function startRtmpServer(
  options: { readonly properties?: AmfObject; readonly refuses?: (key: string) => AmfObject } = {},
): Promise<RtmpServer> {
  const sockets = new Set<Socket>();
  const media: Message[] = [];
  const connects: AmfObject[] = [];
  let check: () => void = () => undefined;
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
    const reader = new ChunkReader();
    let hello = Buffer.alloc(0);
    let shaken = false;
    const say = (name: string, transaction: number, ...values: AmfValue[]) =>
      socket.write(chunked(command(name, transaction, ...values), 128));
    const answer = (payload: Uint8Array) => {
      const amf = new AmfReader(payload);
      const [name, transaction] = [amf.read(), Number(amf.read())];
      const values: AmfValue[] = [];
      while (!amf.done) values.push(amf.read());
      if (name === "connect") {
        connects.push(values[0] as AmfObject);
        say("_result", transaction, options.properties ?? {}, { code: "NetConnection.Connect.Success" });
      } else if (name === "createStream") say("_result", transaction, null, 7);
      else if (name === "releaseStream")
        say("_error", transaction, null, { code: "NetConnection.Call.Failed" });
      else if (name === "publish")
        say(
          "onStatus",
          0,
          null,
          options.refuses?.(String(values[1])) ?? { level: "status", code: "NetStream.Publish.Start" },
        );
    };
    socket.on("data", (bytes: Buffer) => {
      let rest: Uint8Array = bytes;
      if (!shaken) {
        const before = hello.length;
        hello = Buffer.concat([hello, bytes]);
        if (before < 1537 && hello.length >= 1537)
          socket.write(Buffer.concat([hello.subarray(0, 1537), hello.subarray(1, 1537)]));
        if (hello.length < 1 + 2 * 1536) return;
        shaken = true;
        rest = hello.subarray(1 + 2 * 1536);
      }
      for (const message of reader.push(rest))
        if (message.type === 20) answer(message.payload);
        else if ([8, 9, 18].includes(message.type)) media.push(message);
      check();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    media,
    connects,
    until: (enough) =>
      new Promise((resolve) => {
        check = () => {
          if (enough(media)) resolve();
        };
        check();
      }),
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      return closed;
    },
  };
}
