import { cutShort, joined, Reader, sessionErrors, Writer } from "./codec/wire.ts";
import type { Connection } from "./connection.ts";
import { decodeFields, encodeFields } from "./qpack.ts";
import { connectQuic, type ListenOptions, listenQuic, type Trust } from "./quic.ts";
import {
  type BiStream,
  type Closed,
  Inbox,
  type Incoming,
  type Listener,
  type ReceiveStream,
  type SendStream,
  type Session,
  unheardBytes,
} from "./transport.ts";

/** Frames and streams (RFC 9114 7.2, 6.2; draft-ietf-webtrans-http3). */
const frames = { data: 0x00, headers: 0x01, settings: 0x04 } as const;
const streams = { control: 0x00, encoder: 0x02, decoder: 0x03, bidi: 0x41, uni: 0x54 } as const;
const closeCapsule = 0x2843;

/** RFC 9114 8.1, and of WebTransport. */
const errors = {
  none: 0x100,
  general: 0x101,
  internal: 0x102,
  streamCreation: 0x103,
  criticalStream: 0x104,
  frameUnexpected: 0x105,
  frame: 0x106,
  excessiveLoad: 0x107,
  missingSettings: 0x10a,
  rejected: 0x10b,
  message: 0x10e,
  bufferedRejected: 0x3994bd84,
} as const;

/**
 * What we can: no dynamic table, extended CONNECT, datagrams, and WebTransport under each number that a browser in use looks for:
 * drafts 2, 7 and 13 to 15.
 */
const settings: readonly (readonly [id: number, value: number])[] = [
  [0x01, 0],
  [0x07, 0],
  [0x08, 1],
  [0x33, 1],
  [0xffd277, 1],
  [0x2b603742, 1],
  [0x2b603743, 1],
  [0xc671706a, 1],
  [0x14e9cd29, 1],
];
/** RFC 9114 7.2.4.1: of the form 0x1f * N + 0x21, which nobody may know. */
const grease = 0x1f * 0x2a + 0x21;

/** A frame that says nothing. */
const nothing = new Writer().varint(grease).varint(0).done();

const maxFieldBytes = 16 << 10;
const maxSettingsBytes = 4 << 10;
const maxCapsuleBytes = 4 << 10;
const maxReason = 1024;
/** A connection that has asked for no session by then goes. */
const sessionMs = 5_000;

const frame = (type: number, payload: Uint8Array) => new Writer().varint(type).sized(payload).done();

/** What a WebTransport code is among codes of HTTP/3 streams. */
const streamCode = (code: number) => 0x52e4a40fa8db + code + Math.floor(code / 0x1e);

export interface WebTransportOptions extends ListenOptions {
  /** Must answer each. */
  readonly onSession: (incoming: Incoming) => void;
}

/** Listens for WebTransport sessions over HTTP/3. A `Failure` where QUIC is not to be had or the port is taken. */
export function listenWebTransport(options: WebTransportOptions): Listener {
  const done = Promise.withResolvers<void>();
  const quic = listenQuic({
    ...options,
    alpn: ["h3"],
    crowded: errors.excessiveLoad,
    onConnection: (connection) => {
      new Http3(connection, options.onSession);
    },
  });
  return {
    port: quic.port,
    closed: done.promise,
    async close() {
      await quic.close();
      done.resolve();
    },
  };
}

/** One HTTP/3 connection with at most one session. */
class Http3 {
  readonly #connection: Connection;
  readonly #onSession: WebTransportOptions["onSession"];
  readonly #late: NodeJS.Timeout;
  #hasControl = false;
  #asked = false;
  #session: WebSession | undefined;

  constructor(connection: Connection, onSession: WebTransportOptions["onSession"]) {
    this.#connection = connection;
    this.#onSession = onSession;
    this.#late = setTimeout(() => this.#fail(errors.none, "no session was asked for"), sessionMs);
    connection.onStream = (id, receive, send) => this.#stream(id, receive, send);
    connection.onClosed = (reason) => {
      clearTimeout(this.#late);
      this.#session?.end({ code: 0, reason });
    };
    connection.onBroken = () => {
      if (this.#session) this.#session.close(sessionErrors.internal, "");
      else this.#fail(errors.internal, "");
    };
    openControl(connection);
  }

  #fail(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }

  #stream(id: number, receive: ReceiveStream, send: SendStream | undefined): void {
    sortStream(receive, send, (kind) => {
      if (!kind) send?.reset(errors.message);
      if (kind?.type === "request") return { data: this.#request(id, send!) };
      if (kind?.type === "control") return { data: this.#control() };
      // Without a dynamic table there is nothing to say on the rest; what is unknown is there to be ignored.
      if (kind?.type !== "session") return undefined;
      const session = this.#session;
      if (session && session.id === kind.id) return session.takes(receive, send);
      receive.stop(errors.bufferedRejected);
      send?.reset(errors.bufferedRejected);
      return undefined;
    });
  }

  #control(): (bytes: Uint8Array, fin: boolean) => void {
    if (this.#hasControl) {
      this.#fail(errors.streamCreation, "there is a control stream already");
      return () => {};
    }
    this.#hasControl = true;
    let first = true;
    const read = frameReader({
      limit: () => maxSettingsBytes,
      frame: (type) => {
        if (first && type !== frames.settings) this.#fail(errors.missingSettings, "settings come first");
        else if (!first && (type === frames.settings || type === frames.data || type === frames.headers))
          this.#fail(errors.frameUnexpected, "this frame has no place here");
        first = false;
      },
      tooLarge: () => this.#fail(errors.excessiveLoad, "a frame is too large"),
    });
    return (bytes, fin) => {
      read(bytes);
      if (fin) this.#fail(errors.criticalStream, "the control stream has ended");
    };
  }

  /** RFC 9220 and draft-ietf-webtrans-http3: the stream of a CONNECT is its session's, and says when that ends. */
  #request(id: number, send: SendStream): (bytes: Uint8Array, fin: boolean) => void {
    let session: WebSession | undefined;
    let asked = false;
    const capsules = capsuleReader((how) => session?.end(how));
    const answer = (status: number, extra: readonly (readonly [string, string])[], fin: boolean) =>
      send.write(frame(frames.headers, encodeFields([[":status", String(status)], ...extra])), fin);
    const read = frameReader({
      limit: (type) => (type === frames.headers ? maxFieldBytes : 1 << 20),
      frame: (type, payload) => {
        if (type === frames.data && session) capsules(payload);
        else if (type === frames.data && !asked) this.#fail(errors.frameUnexpected, "data before fields");
        else if (type === frames.headers && !asked) {
          asked = true;
          let fields: ReadonlyMap<string, string>;
          try {
            fields = decodeFields(payload);
          } catch {
            return this.#fail(errors.message, "the fields cannot be read");
          }
          if (fields.get(":method") !== "CONNECT" || !/^webtransport/.test(fields.get(":protocol") ?? ""))
            return answer(404, [], true);
          if (this.#asked) return answer(429, [], true);
          this.#asked = true;
          clearTimeout(this.#late);
          this.#onSession({
            path: fields.get(":path") ?? "/",
            authority: fields.get(":authority") ?? "",
            origin: fields.get("origin"),
            agent: fields.get("user-agent") ?? "",
            remote: this.#connection.remote,
            offered: protocolsOf(fields.get("wt-available-protocols")),
            accept: (protocol) => {
              session = new WebSession(this.#connection, { id, protocol: protocol ?? "", connect: send });
              this.#session = session;
              answer(
                200,
                [
                  ...(fields.has("sec-webtransport-http3-draft02")
                    ? [["sec-webtransport-http3-draft", "draft02"] as const]
                    : []),
                  ...(protocol === undefined ? [] : [["wt-protocol", `"${protocol}"`] as const]),
                ],
                false,
              );
              return session;
            },
            reject: (status) => answer(status, [], true),
          });
        }
      },
      tooLarge: () => this.#fail(errors.excessiveLoad, "a frame is too large"),
    });
    return (bytes, fin) => {
      read(bytes);
      if (fin) session?.end({ code: 0, reason: "" });
    };
  }
}

function openControl(connection: Connection): SendStream {
  const values = new Writer();
  for (const [id, value] of settings) values.varint(id).varint(value);
  values.varint(grease).varint(7);
  const control = connection.openUni();
  control.write(joined(Uint8Array.of(streams.control), frame(frames.settings, values.done())));
  control.write(nothing);
  return control;
}

type Kind =
  | { readonly type: "session"; readonly id: number }
  | { readonly type: "request" | "control" | "other" };

/** Undefined while too little has come. */
function kindOf(from: Reader, bidi: boolean): Kind | undefined {
  try {
    const type = from.loose();
    if (type === (bidi ? streams.bidi : streams.uni)) return { type: "session", id: from.varint() };
    if (bidi) return { type: "request" };
    return { type: type === streams.control ? "control" : "other" };
  } catch (error) {
    if (error === cutShort) return undefined;
    return { type: "other" };
  }
}

/** What takes the bytes of a stream. */
interface Taker {
  readonly data: (bytes: Uint8Array, fin: boolean) => void;
  readonly gone?: () => void;
}

/**
 * A stream says what it is with its first bytes: `takerOf` is told what, once, and gives what takes the rest, or nothing. It is told
 * `undefined` when a stream with an answer ends before.
 */
function sortStream(
  receive: ReceiveStream,
  send: SendStream | undefined,
  takerOf: (kind: Kind | undefined) => Taker | undefined,
): void {
  let head: Uint8Array = new Uint8Array(0);
  let taker: Taker | undefined;
  receive.listen({
    data: (bytes, fin) => {
      if (taker) return taker.data(bytes, fin);
      head = head.length > 0 ? joined(head, bytes) : bytes;
      const from = new Reader(head);
      const kind = kindOf(from, send !== undefined);
      if (!kind) {
        if (fin && send) takerOf(undefined);
        return;
      }
      taker = takerOf(kind) ?? { data: () => {} };
      // A request begins with its frame's type, which was only looked at.
      taker.data(kind.type === "request" ? head : head.subarray(from.at), fin);
    },
    gone: () => taker?.gone?.(),
  });
}

/** Structured field list of strings (RFC 9651). */
function protocolsOf(field: string | undefined): string[] {
  return [...(field ?? "").matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text!.replace(/\\(.)/g, "$1"));
}

/** Whole frames of a stream as its bytes come; those of kinds that nobody knows are passed over without being kept. */
function frameReader(on: {
  readonly limit: (type: number) => number;
  readonly frame: (type: number, payload: Uint8Array) => void;
  readonly tooLarge: () => void;
}): (bytes: Uint8Array) => void {
  let rest: Uint8Array = new Uint8Array(0);
  let skip = 0;
  const known = new Set<number>(Object.values(frames));
  return (bytes) => {
    rest = rest.length > 0 ? joined(rest, bytes) : bytes;
    for (;;) {
      const passed = Math.min(skip, rest.length);
      skip -= passed;
      rest = rest.subarray(passed);
      if (skip > 0 || rest.length === 0) return;
      const from = new Reader(rest);
      try {
        const type = from.loose();
        const length = from.loose();
        if (known.has(type)) {
          if (length > on.limit(type)) return on.tooLarge();
          const payload = from.take(length);
          rest = rest.subarray(from.at);
          on.frame(type, payload);
        } else {
          rest = rest.subarray(from.at);
          skip = length;
          on.frame(type, new Uint8Array(0));
        }
      } catch (error) {
        if (error !== cutShort) throw error;
        rest = rest.slice();
        return;
      }
    }
  };
}

/** Capsules of a session (RFC 9297), of which one matters: its end. */
function capsuleReader(end: (how: Closed) => void): (bytes: Uint8Array) => void {
  let rest: Uint8Array = new Uint8Array(0);
  return (bytes) => {
    rest = rest.length > 0 ? joined(rest, bytes) : bytes;
    for (;;) {
      const from = new Reader(rest);
      try {
        const type = from.loose();
        const length = from.loose();
        if (length > maxCapsuleBytes) return end({ code: 0, reason: "a capsule is too large" });
        const payload = from.take(length);
        rest = rest.subarray(from.at);
        if (type !== closeCapsule || payload.length < 4) continue;
        const code = new DataView(payload.buffer, payload.byteOffset).getUint32(0);
        return end({ code, reason: Buffer.from(payload.subarray(4, 4 + maxReason)).toString("utf8") });
      } catch (error) {
        if (error !== cutShort) throw error;
        rest = rest.slice();
        return;
      }
    }
  };
}

type Serving = Parameters<Session["serve"]>[0];

/** A session over one HTTP/3 connection, of which it has the use alone. */
class WebSession implements Session {
  readonly id: number;
  readonly protocol: string;
  readonly remote: Session["remote"];
  readonly #connection: Connection;
  readonly #connect: SendStream;
  readonly #uniPrefix: Uint8Array;
  readonly #biPrefix: Uint8Array;
  #on: Serving | undefined;
  #waiting: (() => void)[] = [];
  #closed: Closed | undefined;

  constructor(
    connection: Connection,
    { id, protocol, connect }: { id: number; protocol: string; connect: SendStream },
  ) {
    this.id = id;
    this.protocol = protocol;
    this.remote = connection.remote;
    this.#connection = connection;
    this.#connect = connect;
    this.#uniPrefix = new Writer().varint(streams.uni).varint(id).done();
    this.#biPrefix = new Writer().varint(streams.bidi).varint(id).done();
  }

  get queued(): number {
    return this.#connection.queued;
  }

  openUni(rank?: number): SendStream {
    return begun(this.#connection.openUni(rank), this.#uniPrefix);
  }

  openBi(): BiStream {
    const { send, receive } = this.#connection.openBi();
    return { send: begun(send, this.#biPrefix), receive: coded(receive) };
  }

  serve(on: Serving): void {
    this.#on = on;
    for (const handOver of this.#waiting.splice(0)) handOver();
    if (this.#closed) on.closed(this.#closed);
  }

  /** A stream of the peer that belongs to this session. What comes on it is handed to the two functions. */
  takes(receive: ReceiveStream, send: SendStream | undefined) {
    const inbox = new Inbox();
    const stream: ReceiveStream = {
      listen: (on) => inbox.listen(on),
      stop: (code) => receive.stop(streamCode(code)),
    };
    const handOver = () => {
      if (send) this.#on?.bi({ send: begun(send, undefined), receive: stream });
      else this.#on?.uni(stream);
    };
    if (this.#on) handOver();
    else this.#waiting.push(handOver);
    return {
      data: (bytes: Uint8Array, fin: boolean) => {
        if (bytes.length === 0 && !fin) return;
        if (!inbox.data(bytes, fin, unheardBytes))
          this.#connection.close(errors.excessiveLoad, "more came than was asked for");
      },
      gone: () => inbox.gone(),
    };
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    const text = Buffer.from(reason).subarray(0, maxReason);
    const payload = joined(Uint8Array.of(code >>> 24, code >>> 16, code >>> 8, code), text);
    const capsule = new Writer().varint(closeCapsule).sized(payload).done();
    this.#connect.write(frame(frames.data, capsule), true);
    this.end({ code, reason });
  }

  /** Whoever ended it: the connection follows, once the peer may have read why. */
  end(how: Closed): void {
    if (this.#closed) return;
    this.#closed = how;
    setTimeout(() => this.#connection.close(errors.none, ""), 100).unref();
    this.#on?.closed(how);
  }
}

/** A stream of a session: the first bytes say so, and codes are translated. */
function begun(send: SendStream, prefix: Uint8Array | undefined): SendStream {
  let first = prefix;
  return {
    write(bytes, fin) {
      send.write(first ? joined(first, bytes) : bytes, fin);
      first = undefined;
    },
    get queued() {
      return send.queued;
    },
    room: () => send.room(),
    reset(code) {
      // A stream without its first bytes would belong to no session.
      if (first) send.write(first);
      first = undefined;
      send.reset(streamCode(code));
    },
    get onStopped() {
      return send.onStopped;
    },
    set onStopped(stopped) {
      send.onStopped = stopped;
    },
  };
}

const coded = (receive: ReceiveStream): ReceiveStream => ({
  listen: (on) => receive.listen(on),
  stop: (code) => receive.stop(streamCode(code)),
});

/** A client's session with a server. Rejects where there is none to be had. */
export async function connectWebTransport(options: {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly protocols: readonly string[];
  /** A server that says nothing for so long is gone; half a minute where it is not said. */
  readonly aliveMs?: number;
  /** Of the page that asks, where there is one. */
  readonly origin?: string | undefined;
  /** See `connectQuic`. */
  readonly trust?: Trust | undefined;
  /** `host:port` as the server is to hear it; where it is not said, what is connected to. */
  readonly authority?: string | undefined;
}): Promise<Session> {
  const { host, port, path, protocols, aliveMs, origin, trust } = options;
  const quic = await connectQuic({ host, port, alpn: ["h3"], aliveMs, trust });
  const { connection } = quic;
  const opened = Promise.withResolvers<Session>();
  const request = connection.openBi();
  let session: WebSession | undefined;
  connection.onStream = (_id, receive, send) =>
    sortStream(receive, send, (kind) =>
      kind?.type === "session" ? session?.takes(receive, send) : undefined,
    );
  connection.onClosed = (reason) => {
    clearInterval(asking);
    void quic.close();
    opened.reject(new Error(reason));
    session?.end({ code: 0, reason });
  };
  const control = openControl(connection);
  // It is acknowledged, or it is known by the silence that nobody is there. The binding has a ping, which waits for its thread.
  const asking = aliveMs === undefined ? undefined : setInterval(() => control.write(nothing), aliveMs / 4);
  const capsules = capsuleReader((how) => session?.end(how));
  const read = frameReader({
    limit: () => 1 << 20,
    frame: (type, payload) => {
      if (type === frames.data) capsules(payload);
      if (type !== frames.headers || session) return;
      let fields: ReadonlyMap<string, string>;
      try {
        fields = decodeFields(payload);
      } catch (error) {
        connection.close(errors.message, "");
        return opened.reject(error);
      }
      if (fields.get(":status") !== "200") {
        connection.close(errors.none, "");
        return opened.reject(new Error(`the server answered ${fields.get(":status")}`));
      }
      const protocol = protocolsOf(fields.get("wt-protocol"))[0] ?? "";
      session = new WebSession(connection, { id: request.id, protocol, connect: request.send });
      opened.resolve(session);
    },
    tooLarge: () => connection.close(errors.excessiveLoad, ""),
  });
  request.receive.listen({
    data: (bytes, fin) => {
      read(bytes);
      if (fin) session?.end({ code: 0, reason: "" });
    },
    gone: () => session?.end({ code: 0, reason: "reset" }),
  });
  const { authority = `${host.includes(":") ? `[${host}]` : host}:${port}` } = options;
  request.send.write(
    frame(
      frames.headers,
      encodeFields([
        [":method", "CONNECT"],
        [":scheme", "https"],
        [":authority", authority],
        [":path", path],
        [":protocol", "webtransport"],
        ["sec-webtransport-http3-draft02", "1"],
        ...(origin === undefined ? [] : [["origin", origin] as const]),
        ["wt-available-protocols", protocols.map((one) => `"${one}"`).join(", ")],
      ]),
    ),
  );
  return opened.promise;
}
