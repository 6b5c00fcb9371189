import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { plainAddress } from "../lib/address.ts";
import { createDoorman } from "../lib/doorman.ts";
import { Failure, messageOf } from "../lib/errors.ts";
import { Connection, type Event, events, type Link, type Sent } from "./connection.ts";

/** What of the binding is used: quiche with its own I/O thread. It says more than this; nothing else is relied on. */
interface Binding {
  readonly NativeQuicServer: new (options: object, events: Events) => NativeServer;
  readonly NativeQuicClient: new (options: object, events: Events) => NativeClient;
}

type Events = (error: Error | null, events: readonly Event[]) => void;

interface Native {
  requestShutdown(): boolean;
  joinWorker(): void;
  ackEventBatch(count: number): void;
}

interface NativeServer extends Native {
  listen(port: number, host: string): { readonly port: number };
  streamSend(connection: number, stream: number, bytes: Buffer, fin: boolean): Sent;
  streamClose(connection: number, stream: number, code: number): boolean;
  closeSession(connection: number, code: number, reason: string): boolean;
}

interface NativeClient extends Native {
  connect(address: string, serverName: string): unknown;
  streamSend(stream: number, bytes: Buffer, fin: boolean): Sent;
  streamClose(stream: number, code: number): boolean;
  close(code: number, reason: string): boolean;
  ping(): boolean;
}

const idleMs = 30_000;
const shutdownMs = 3_000;
let binding: Binding | undefined;

/** The native part, loaded when it is first needed; a `Failure` where this system has none. */
function load(): Binding {
  if (binding) return binding;
  try {
    // Past the package's own API, which knows only streams that the client opens.
    const require = createRequire(import.meta.url);
    const folder = dirname(require.resolve("@currentspace/http3"));
    binding = require(join(folder, "..", "index.js")) as Binding;
    return binding;
  } catch (error) {
    throw new Failure(
      "unavailable",
      `QUIC is not to be had on this system (${messageOf(error).split("\n")[0]})`,
    );
  }
}

/** What whoever listens is told, whatever is spoken on its connections. */
export interface ListenOptions {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** UDP; 0 takes a free one. */
  readonly port: number;
  /** True: only peers on this machine. The socket is bound to all addresses in any case, see `listenQuic`. */
  readonly loopback: boolean;
  readonly maxConnections: number;
  readonly maxPerAddress: number;
  /** Told what the user of a connection throws, which ends that connection alone. Without it that is thrown on. */
  readonly broke?: ((error: unknown, remote: Connection["remote"]) => void) | undefined;
}

export interface QuicOptions extends ListenOptions {
  readonly alpn: readonly string[];
  /** The code that one is closed with whose address has that many. */
  readonly crowded: number;
  readonly onConnection: (connection: Connection) => void;
}

/** A UDP port that takes QUIC connections. */
export interface QuicServer {
  readonly port: number;
  close(): Promise<void>;
}

const onThisMachine = (host: string) => host === "::1" || /^127\./.test(host);

/**
 * Listens for QUIC. A `Failure` where there is no binding or the port is taken. An unspecified address it must be: bound to
 * one of its own, the binding takes the MTU of the loopback device for that of the network and sends packets of 16 KB.
 */
export function listenQuic(options: QuicOptions): QuicServer {
  const { NativeQuicServer } = load();
  const connections = new Map<number, Connection>();
  // The binding counts them all.
  const { maxPerAddress, crowded, onConnection, broke } = options;
  const doorman = createDoorman({ connections: Number.POSITIVE_INFINITY, perAddress: maxPerAddress });
  const leaving = new Map<number, () => void>();
  const done = Promise.withResolvers<void>();
  const native = new NativeQuicServer(
    {
      key: Buffer.from(options.key),
      cert: Buffer.from(options.cert),
      alpn: [...options.alpn],
      // io_uring sends for two thirds of the cost, but leaves a port taken for a while after its end: a renewed certificate would have none.
      runtimeMode: "portable",
      enableDatagrams: true,
      disableRetry: true,
      maxIdleTimeoutMs: idleMs,
      maxConnections: options.maxConnections,
      initialMaxStreamsBidi: 128,
      initialMaxData: 4 << 20,
      initialMaxStreamDataBidiLocal: 1 << 20,
    },
    (_error, batch) => {
      try {
        for (const event of batch) take(event);
      } finally {
        native.ackEventBatch(batch.length);
      }
    },
  );
  const take = (event: Event) => {
    const { eventType, connHandle: handle, meta } = event;
    if (eventType === events.shutdown) return done.resolve();
    if (eventType === events.session) {
      const host = plainAddress(meta?.remoteAddr ?? "");
      if (options.loopback && !onThisMachine(host)) return void native.closeSession(handle, 0x10b, "");
      const link: Link = {
        send: (stream, bytes, fin) => native.streamSend(handle, stream, bytes, fin),
        closeStream: (stream, code) => native.streamClose(handle, stream, code),
        close: (code, reason) => native.closeSession(handle, code, reason),
      };
      const remote = { host, port: meta?.remotePort ?? 0 };
      const told = broke && ((error: unknown) => broke(error, remote));
      connections.set(handle, new Connection({ link, remote, server: true, broke: told }));
      return;
    }
    // Room for writes of every connection.
    if (eventType === events.writeReady && handle === 0) {
      for (const connection of connections.values()) connection.on(event);
      return;
    }
    const connection = connections.get(handle);
    if (!connection) return;
    if (eventType === events.handshake) {
      const leave = doorman.enter(connection.remote.host);
      if (leave) {
        leaving.set(handle, leave);
        connection.run(() => onConnection(connection));
      } else connection.close(crowded, "");
    }
    if (eventType === events.closed) {
      connections.delete(handle);
      leaving.get(handle)?.();
      leaving.delete(handle);
    }
    connection.on(event);
  };
  const port = bind(native, options.port);
  return {
    port,
    async close() {
      for (const connection of connections.values()) connection.close(0x100, "");
      native.requestShutdown();
      await Promise.race([done.promise, late()]);
      for (const connection of connections.values()) connection.end("closed here");
      connections.clear();
      native.joinWorker();
    },
  };
}

function bind(native: NativeServer, port: number): number {
  try {
    return native.listen(port, "::").port;
  } catch (error) {
    try {
      return native.listen(port, "0.0.0.0").port;
    } catch {
      throw new Failure("unavailable", `UDP port ${port} cannot be listened on (${messageOf(error)})`);
    }
  }
}

function late(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, shutdownMs).unref();
  });
}

/** What a server has to show: a certificate that is for `name` (DNS) and leads to one of `roots` (PEM). */
export interface Trust {
  readonly name: string;
  readonly roots: string;
}

/** Why a connection fails whose server speaks another protocol. */
export const notSpoken = "it does not speak this protocol";

/** What TLS says by an alert (RFC 8446 6.2), as a sentence goes on after the server's name. */
const alerts: Readonly<Record<number, string>> = {
  42: "its certificate is for another name",
  43: "its certificate is of a kind that is not known here",
  44: "its certificate was revoked",
  45: "its certificate has expired, or is not good yet",
  46: "its certificate cannot be used",
  48: "its certificate is signed by nobody who is trusted for it",
  120: notSpoken,
};
const alertBase = 0x100;

/**
 * Connects to a QUIC server. Its certificate is looked at where `trust` says what it has to be; without that it may be anybody's,
 * which is for tests. Rejects when it is another, and when there is no answer within
 * the idle time. With `aliveMs` that is short: who sends something more often than that knows by it that a peer is gone.
 */
export async function connectQuic(options: {
  readonly host: string;
  readonly port: number;
  readonly alpn: readonly string[];
  readonly aliveMs?: number | undefined;
  readonly trust?: Trust | undefined;
  readonly pingMs?: number | undefined;
}): Promise<{ readonly connection: Connection; close(): Promise<void> }> {
  const { NativeQuicClient } = load();
  const { trust } = options;
  let shaken = false;
  const ready = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const native = new NativeQuicClient(
    {
      alpn: [...options.alpn],
      rejectUnauthorized: trust !== undefined,
      ...(trust && { ca: Buffer.from(trust.roots) }),
      // io_uring sends for two thirds of the cost, but leaves a port taken for a while after its end: a renewed certificate would have none.
      runtimeMode: "portable",
      enableDatagrams: true,
      maxIdleTimeoutMs: options.aliveMs ?? idleMs,
      initialMaxStreamsBidi: 128,
      initialMaxData: 16 << 20,
      initialMaxStreamDataBidiLocal: 4 << 20,
    },
    (_error, batch) => {
      try {
        for (const event of batch) {
          if (event.eventType === events.shutdown) done.resolve();
          else if (event.eventType === events.handshake) {
            shaken = true;
            ready.resolve();
          } else if (event.eventType === events.closed && !shaken) {
            const why = alerts[(event.meta?.errorCode ?? 0) - alertBase];
            connection.end(why ?? (event.meta?.errorReason || "it does not answer"));
          } else connection.on(event);
        }
      } finally {
        native.ackEventBatch(batch.length);
      }
    },
  );
  const link: Link = {
    send: (stream, bytes, fin) => native.streamSend(stream, bytes, fin),
    closeStream: (stream, code) => native.streamClose(stream, code),
    close: (code, reason) => native.close(code, reason),
  };
  const remote = { host: options.host, port: options.port };
  const connection = new Connection({ link, remote, server: false });
  connection.onClosed = (reason) => ready.reject(new Failure("unavailable", reason));
  native.connect(
    options.host.includes(":") ? `[${options.host}]:${options.port}` : `${options.host}:${options.port}`,
    trust?.name ?? "localhost",
  );
  const { pingMs } = options;
  const pings = pingMs === undefined ? undefined : setInterval(() => native.ping(), pingMs).unref();
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= (async () => {
      clearInterval(pings);
      connection.close(0x100, "");
      native.requestShutdown();
      await Promise.race([done.promise, late()]);
      connection.end("closed here");
      native.joinWorker();
    })();
    return closing;
  };
  try {
    await ready.promise;
  } catch (error) {
    await close();
    throw error;
  }
  return { connection, close };
}
