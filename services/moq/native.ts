import { draft14, draft16, draft18 } from "./codec/drafts.ts";
import { sessionErrors } from "./codec/wire.ts";
import type { Connection } from "./connection.ts";
import { connectQuic, type ListenOptions, listenQuic, type Trust } from "./quic.ts";
import type { BiStream, Closed, Listener, ReceiveStream, SendStream, Session } from "./transport.ts";

/** What the binding does not say of a connection is which of these was agreed on: its first stream shows it, as below. */
const nativeProtocols: readonly string[] = [draft18.protocol, draft16.protocol];

const tooManyConnections = 0x7;
/** A connection that opens no stream for so long has nothing to say. */
const firstStreamMs = 10_000;

export interface NativeOptions extends ListenOptions {
  /** A session has begun; its path comes with SETUP. */
  readonly onSession: (session: Session) => void;
}

/** Listens for MoQT on QUIC alone (draft 16 3.1.2, draft 18 3.1.4). A `Failure` where QUIC is not to be had or the port is taken. */
export function listenNative(options: NativeOptions): Listener {
  const done = Promise.withResolvers<void>();
  const quic = listenQuic({
    ...options,
    alpn: nativeProtocols,
    crowded: tooManyConnections,
    onConnection: (connection) => {
      const late = setTimeout(() => connection.close(0, "no stream was opened"), firstStreamMs).unref();
      let session: NativeSession | undefined;
      connection.onClosed = (reason) => {
        clearTimeout(late);
        session?.end({ code: 0, reason });
      };
      connection.onBroken = () => (session ?? connection).close(sessionErrors.internal, "");
      connection.onStream = (_id, receive, send) => {
        if (!session) {
          clearTimeout(late);
          // Draft 16 begins with a control stream of two directions, draft 18 with one of one direction.
          session = new NativeSession(connection, send ? draft16.protocol : draft18.protocol);
          options.onSession(session);
        }
        session.came(receive, send);
      };
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

/** Draft 14 has another name in ALPN. */
const alpnOf = (protocol: string) => (protocol === draft14.protocol ? "moq-00" : protocol);

/** Connects to a relay over QUIC alone, in this protocol. Rejects where it is not spoken there. */
export async function connectNative(options: {
  readonly host: string;
  readonly port: number;
  readonly protocol: string;
  /** See `connectQuic`. */
  readonly trust?: Trust | undefined;
  /** Keeps the session while nothing is said, with a word this often. */
  readonly pingMs?: number | undefined;
}): Promise<Session> {
  const { connection, close } = await connectQuic({ ...options, alpn: [alpnOf(options.protocol)] });
  const session = new NativeSession(connection, options.protocol);
  connection.onStream = (_id, receive, send) => session.came(receive, send);
  connection.onClosed = (reason) => {
    void close();
    session.end({ code: 0, reason });
  };
  return session;
}

/** A connection whose streams are those of MoQT. */
class NativeSession implements Session {
  readonly protocol: string;
  readonly native = true;
  readonly remote: Session["remote"];
  readonly #connection: Connection;
  #on: Parameters<Session["serve"]>[0] | undefined;
  #early: (() => void)[] = [];
  #closed: Closed | undefined;

  constructor(connection: Connection, protocol: string) {
    this.#connection = connection;
    this.protocol = protocol;
    this.remote = connection.remote;
  }

  get queued(): number {
    return this.#connection.queued;
  }

  openUni(rank?: number): SendStream {
    return this.#connection.openUni(rank);
  }

  openBi(): BiStream {
    return this.#connection.openBi();
  }

  serve(on: Parameters<Session["serve"]>[0]): void {
    this.#on = on;
    for (const handOver of this.#early.splice(0)) handOver();
    if (this.#closed) on.closed(this.#closed);
  }

  /** A stream of the peer. */
  came(receive: ReceiveStream, send: SendStream | undefined): void {
    const handOver = () => (send ? this.#on?.bi({ receive, send }) : this.#on?.uni(receive));
    if (this.#on) handOver();
    else this.#early.push(handOver);
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.end({ code, reason });
    this.#connection.close(code, reason);
  }

  end(how: Closed): void {
    if (this.#closed) return;
    this.#closed = how;
    this.#on?.closed(how);
  }
}
