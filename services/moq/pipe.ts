import type { Duplex } from "node:stream";
import { joined } from "./codec/wire.ts";
import {
  type Closed,
  Inbox,
  type ReceiveStream,
  roomBytes,
  type SendStream,
  type Session,
} from "./transport.ts";

/** What a frame is: one byte of kind, four of stream, four of length or code, then bytes. */
const kinds = { data: 1, fin: 2, reset: 3, stop: 4, close: 5 } as const;
const headBytes = 9;
const maxFrameBytes = 32 << 20;
const pieceBytes = 1 << 20;
const maxReason = 1024;
/** A role that reads no more must not fill the memory of the one that writes. */
const maxQueued = 64 << 20;

type Serving = Parameters<Session["serve"]>[0];

interface Incoming {
  readonly inbox: Inbox;
  stopped: boolean;
}

/**
 * A session over one socket between two roles: the streams of QUIC on bytes in order, without their independence. Numbers of
 * streams are as in QUIC. What the peer may not send ends it.
 */
export class PipeSession implements Session {
  readonly protocol: string;
  readonly remote = { host: "", port: 0 };
  readonly #socket: Duplex;
  readonly #side: 0 | 1;
  readonly #receiving = new Map<number, Incoming>();
  readonly #sending = new Map<number, SendStream & { ended: boolean }>();
  #nextUni: number;
  #nextBi: number;
  #rest: Uint8Array = new Uint8Array(0);
  #on: Serving | undefined;
  #early: (() => void)[] = [];
  #closed: Closed | undefined;
  #lastSeen = [-1, -1];

  constructor(socket: Duplex, side: "client" | "server", protocol: string) {
    this.protocol = protocol;
    this.#socket = socket;
    this.#side = side === "client" ? 0 : 1;
    this.#nextUni = 2 + this.#side;
    this.#nextBi = this.#side;
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    socket.on("error", (error) => this.#end({ code: 0, reason: error.message }));
    socket.on("close", () => this.#end({ code: 0, reason: "the socket is closed" }));
    socket.on("end", () => socket.destroy());
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  openUni(): SendStream {
    const id = this.#nextUni;
    this.#nextUni += 4;
    return this.#send(id);
  }

  openBi() {
    const id = this.#nextBi;
    this.#nextBi += 4;
    return { send: this.#send(id), receive: this.#receive(id) };
  }

  serve(on: Serving): void {
    this.#on = on;
    for (const handOver of this.#early.splice(0)) handOver();
    if (this.#closed) on.closed(this.#closed);
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#frame(kinds.close, 0, code, Buffer.from(reason.slice(0, maxReason)));
    this.#end({ code, reason });
  }

  #frame(kind: number, stream: number, value: number, bytes?: Uint8Array): void {
    if (this.#closed || this.#socket.destroyed) return;
    if (this.#socket.writableLength > maxQueued) {
      this.#socket.destroy();
      return this.#end({ code: 0, reason: "the other side does not read" });
    }
    const head = Buffer.allocUnsafe(headBytes);
    head[0] = kind;
    head.writeUInt32BE(stream, 1);
    head.writeUInt32BE(value >>> 0, 5);
    this.#socket.cork();
    this.#socket.write(head);
    if (bytes && bytes.length > 0) this.#socket.write(bytes);
    // Everything that one turn has to say goes out at once.
    process.nextTick(() => this.#socket.uncork());
  }

  #send(id: number): SendStream {
    const session = this;
    const stream = {
      ended: false,
      onStopped: undefined as (() => void) | undefined,
      write(bytes: Uint8Array, fin = false) {
        if (stream.ended) return;
        let at = 0;
        for (; bytes.length - at > pieceBytes; at += pieceBytes)
          session.#frame(kinds.data, id, pieceBytes, bytes.subarray(at, at + pieceBytes));
        const last = bytes.subarray(at);
        session.#frame(fin ? kinds.fin : kinds.data, id, last.length, last);
        if (fin) stream.over();
      },
      get queued() {
        return 0;
      },
      room: () => session.#room(),
      reset(code: number) {
        if (stream.ended) return;
        session.#frame(kinds.reset, id, code);
        stream.over();
      },
      over() {
        stream.ended = true;
        session.#sending.delete(id);
      },
    };
    this.#sending.set(id, stream);
    return stream;
  }

  #room(): Promise<void> {
    const socket = this.#socket;
    if (socket.writableLength < roomBytes || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        socket.off("drain", done).off("close", done);
        resolve();
      };
      socket.on("drain", done).on("close", done);
    });
  }

  #receive(id: number): ReceiveStream {
    const incoming: Incoming = { inbox: new Inbox(), stopped: false };
    this.#receiving.set(id, incoming);
    return {
      listen: (on) => incoming.inbox.listen(on),
      stop: (code) => {
        if (incoming.stopped) return;
        incoming.stopped = true;
        this.#frame(kinds.stop, id, code);
      },
    };
  }

  #take(bytes: Uint8Array): void {
    this.#rest = this.#rest.length > 0 ? joined(this.#rest, bytes) : bytes;
    while (this.#rest.length >= headBytes && !this.#closed) {
      const view = new DataView(this.#rest.buffer, this.#rest.byteOffset, headBytes);
      const [kind, stream, value] = [view.getUint8(0), view.getUint32(1), view.getUint32(5)];
      const length = kind === kinds.reset || kind === kinds.stop ? 0 : kind === kinds.close ? -1 : value;
      if (length > maxFrameBytes) return this.#broken("a frame is too large");
      if (length === -1) {
        const reason = Buffer.from(this.#rest.subarray(headBytes, headBytes + maxReason)).toString("utf8");
        return this.#end({ code: value, reason });
      }
      if (this.#rest.length < headBytes + length) break;
      const payload = this.#rest.subarray(headBytes, headBytes + length);
      this.#rest = this.#rest.subarray(headBytes + length);
      this.#frameOf(kind, stream, payload);
    }
  }

  #frameOf(kind: number, id: number, payload: Uint8Array): void {
    if (kind === kinds.stop) {
      const stream = this.#sending.get(id);
      stream?.onStopped?.();
      stream?.reset(0);
      return;
    }
    if (kind !== kinds.data && kind !== kinds.fin && kind !== kinds.reset)
      return this.#broken("a frame is of no kind");
    let incoming = this.#receiving.get(id);
    if (!incoming) {
      const own = (id & 1) === this.#side;
      const row = id & 2 ? 1 : 0;
      // Of a stream that is over already.
      if (own || id <= this.#lastSeen[row]!) return;
      this.#lastSeen[row] = id;
      const receive = this.#receive(id);
      incoming = this.#receiving.get(id)!;
      const handOver =
        row === 1
          ? () => this.#on?.uni(receive)
          : (
              (send) => () =>
                this.#on?.bi({ send, receive })
            )(this.#send(id));
      if (this.#on) handOver();
      else this.#early.push(handOver);
    }
    if (kind !== kinds.data) this.#receiving.delete(id);
    if (incoming.stopped) return;
    if (kind === kinds.reset) incoming.inbox.gone();
    else incoming.inbox.data(payload, kind === kinds.fin, Number.POSITIVE_INFINITY);
  }

  #broken(why: string): void {
    this.close(3, why);
  }

  #end(how: Closed): void {
    if (this.#closed) return;
    this.#closed = how;
    this.#socket.end(() => this.#socket.destroy());
    // Before its streams: that they end is not their fault.
    this.#on?.closed(how);
    for (const { inbox, stopped } of this.#receiving.values()) if (!stopped) inbox.gone();
    this.#receiving.clear();
  }
}
