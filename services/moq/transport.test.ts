import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectSocket, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { makeSelfSigned } from "../../infra/x509.ts";
import { Waiters } from "../../test/support/waiters.ts";
import { connectNative, listenNative } from "./native.ts";
import { PipeSession } from "./pipe.ts";
import { connectQuic, listenQuic } from "./quic.ts";
import type { BiStream, Closed, Incoming, ReceiveStream, Session } from "./transport.ts";
import { connectWebTransport, listenWebTransport } from "./webtransport.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const pair = await makeSelfSigned(Date.now());

/** One end of a session, with everything that came on it. */
class End {
  readonly session: Session;
  readonly uni: ReceiveStream[] = [];
  readonly bi: BiStream[] = [];
  closed: Closed | undefined;
  #listener: ((content: ReturnType<typeof all>) => void) | undefined;
  readonly #waiting = new Waiters();

  constructor(session: Session) {
    this.session = session;
    session.serve({
      uni: (stream) =>
        this.#came(() => {
          this.uni.push(stream);
          this.#listener?.(all(stream));
          this.#listener = undefined;
        }),
      bi: (stream) => this.#came(() => this.bi.push(stream)),
      closed: (how) =>
        this.#came(() => {
          this.closed = how;
        }),
    });
  }

  #came(what: () => unknown): void {
    what();
    this.#waiting.wake();
  }

  until(met: () => boolean): Promise<void> {
    return this.#waiting.until(met);
  }

  /** What comes on the next stream, which is listened to at once: what nobody listens to is bounded. */
  next(): ReturnType<typeof all> {
    return new Promise((resolve) => {
      this.#listener = resolve;
    });
  }
}

/** Everything of a stream until it ends; `gone` when it was reset. */
function all(stream: ReceiveStream): Promise<{ text: string; bytes: number } | "gone"> {
  return new Promise((resolve) => {
    let text = "";
    let count = 0;
    stream.listen({
      data(bytes, fin) {
        if (count < 100) text += Buffer.from(bytes.subarray(0, 100)).toString();
        count += bytes.length;
        if (fin) resolve({ text, bytes: count });
      },
      gone: () => resolve("gone"),
    });
  });
}

const bytes = (text: string) => Buffer.from(text);

async function overWebTransport(): Promise<[End, End]> {
  const incoming = Promise.withResolvers<Incoming>();
  const listener = listenWebTransport({
    ...{ ...pair, port: 0, loopback: true, maxConnections: 100, maxPerAddress: 100 },
    onSession: (one) => incoming.resolve(one),
  });
  cleanups.push(() => listener.close());
  const [client, server] = await Promise.all([
    connectWebTransport({ host: "127.0.0.1", port: listener.port, path: "/x?y=1", protocols: ["a", "b"] }),
    incoming.promise.then((one) => one.accept("b")),
  ]);
  cleanups.push(() => client.close(0, ""));
  return [new End(client), new End(server)];
}

async function overSocket(): Promise<[End, End]> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-pipe-"));
  const path = join(folder, "s");
  const accepted = Promise.withResolvers<Session>();
  const server = createServer((socket) => accepted.resolve(new PipeSession(socket, "server", "b")));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const client = new PipeSession(connectSocket(path), "client", "b");
  cleanups.push(() => client.close(0, ""));
  return [new End(client), new End(await accepted.promise)];
}

describe.for([
  { name: "WebTransport", open: overWebTransport },
  { name: "a socket between roles", open: overSocket },
])("a session over $name", ({ open }) => {
  test("has the protocol that the server chose", async () => {
    const [client, server] = await open();
    expect([client.session.protocol, server.session.protocol]).toEqual(["b", "b"]);
  });

  test("carries streams of both kinds, both ways", async () => {
    const [client, server] = await open();
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      const one = from.session.openUni();
      one.write(bytes("hello "));
      one.write(bytes("there"), true);
      await to.until(() => to.uni.length === 1);
      expect(await all(to.uni[0]!)).toEqual({ text: "hello there", bytes: 11 });
      const two = from.session.openBi();
      two.send.write(bytes("question"), true);
      await to.until(() => to.bi.length === 1);
      expect(await all(to.bi[0]!.receive)).toEqual({ text: "question", bytes: 8 });
      to.bi[0]!.send.write(bytes("answer"), true);
      expect(await all(two.receive)).toEqual({ text: "answer", bytes: 6 });
    }
  });

  test("carries more than fits on the way, whole and in order", async () => {
    const [client, server] = await open();
    const content = client.next();
    const piece = Buffer.alloc(100_000, "x");
    const stream = server.session.openUni();
    for (let i = 0; i < 80; i++) stream.write(piece, i === 79);
    expect(await content).toMatchObject({ bytes: 8_000_000 });
    expect(server.session.queued).toBe(0);
  });

  test("opens a thousand streams, whatever the peer allows at a time", async () => {
    const [client, server] = await open();
    for (let i = 0; i < 1000; i++) server.session.openUni().write(bytes(`stream ${i}`), true);
    const texts = new Set<string>();
    let at = 0;
    while (texts.size < 1000) {
      await client.until(() => client.uni.length > at);
      const found = await all(client.uni[at++]!);
      if (found !== "gone") texts.add(found.text);
    }
    expect(texts.size).toBe(1000);
  });

  test("tells of a stream that was reset, and of a reader who reads no more", async () => {
    const [client, server] = await open();
    const cut = server.session.openUni();
    cut.write(bytes("beginning"));
    await client.until(() => client.uni.length === 1);
    const end = all(client.uni[0]!);
    cut.reset(2);
    expect(await end).toBe("gone");

    const unwanted = server.session.openUni();
    const stopped = new Promise<void>((resolve) => {
      unwanted.onStopped = resolve;
    });
    unwanted.write(bytes("one"));
    await client.until(() => client.uni.length === 2);
    client.uni[1]!.listen({ data: () => {}, gone: () => {} });
    client.uni[1]!.stop(1);
    // Said at the next write.
    const writing = setInterval(() => unwanted.write(bytes("more")), 10);
    await stopped;
    clearInterval(writing);
  });

  test("ends with the code and the reason that the other side gave", async () => {
    const [client, server] = await open();
    server.session.close(0x2, "this token has expired");
    await client.until(() => client.closed !== undefined);
    expect(client.closed).toEqual({ code: 2, reason: "this token has expired" });
    expect(server.closed).toEqual({ code: 2, reason: "this token has expired" });
  });
});

describe("the WebTransport listener", () => {
  test("says what was asked for, and may refuse", async () => {
    const asked: Incoming[] = [];
    const listener = listenWebTransport({
      ...{ ...pair, port: 0, loopback: true, maxConnections: 10, maxPerAddress: 10 },
      onSession: (one) => {
        asked.push(one);
        one.reject(403);
      },
    });
    cleanups.push(() => listener.close());
    const client = connectWebTransport({
      host: "127.0.0.1",
      port: listener.port,
      path: "/abc?t=1",
      protocols: ["moqt-18", "moqt-16"],
    });
    await expect(client).rejects.toThrow(/403/);
    expect(asked[0]).toMatchObject({ path: "/abc?t=1", offered: ["moqt-18", "moqt-16"] });
    expect(asked[0]!.remote.host).toBe("127.0.0.1");
  });

  test("ends connections that send what HTTP/3 has not, and goes on", async () => {
    const sessions: Session[] = [];
    const listener = listenWebTransport({
      ...{ ...pair, port: 0, loopback: true, maxConnections: 10, maxPerAddress: 10 },
      onSession: (one) => sessions.push(one.accept(undefined)),
    });
    cleanups.push(() => listener.close());
    for (const garbage of [
      Buffer.from([0x00, 0x00, 0x00]), // a control stream that begins with DATA
      Buffer.from([0x00, 0x04, 0x80, 0xff, 0xff, 0xff]), // settings of 16 MB
    ]) {
      const { connection, close } = await connectQuic({
        host: "127.0.0.1",
        port: listener.port,
        alpn: ["h3"],
      });
      const closed = new Promise<string>((resolve) => {
        connection.onClosed = resolve;
      });
      connection.openUni().write(garbage);
      await closed;
      await close();
    }
    const client = await connectWebTransport({
      ...{ host: "127.0.0.1", port: listener.port, path: "/", protocols: [] },
    });
    expect(client.protocol).toBe("");
    client.close(0, "");
    expect(sessions).toHaveLength(1);
  });

  test("keeps a MiB of a stream that nobody has begun to read, and ends who sends more", async () => {
    const opened = Promise.withResolvers<Session>();
    const listener = listenWebTransport({
      ...{ ...pair, port: 0, loopback: true, maxConnections: 10, maxPerAddress: 10 },
      onSession: (one) => opened.resolve(one.accept(undefined)),
    });
    cleanups.push(() => listener.close());
    const client = new End(
      await connectWebTransport({ host: "127.0.0.1", port: listener.port, path: "/", protocols: [] }),
    );
    const server = new End(await opened.promise);
    const [little, much] = [client.session.openBi().send, client.session.openBi().send];
    little.write(Buffer.alloc(900_000));
    await server.until(() => server.bi.length === 1);
    expect(client.closed).toBeUndefined();
    const more = setInterval(() => much.write(Buffer.alloc(100_000)), 5);
    await client.until(() => client.closed !== undefined);
    clearInterval(more);
  });

  test("takes so many connections of one address and no more", async () => {
    const listener = listenWebTransport({
      ...{ ...pair, port: 0, loopback: true, maxConnections: 10, maxPerAddress: 2 },
      onSession: (one) => void one.accept(undefined),
    });
    cleanups.push(() => listener.close());
    const open = () =>
      connectWebTransport({ host: "127.0.0.1", port: listener.port, path: "/", protocols: [] });
    const [one, two] = [await open(), await open()];
    await expect(open()).rejects.toThrow();
    one.close(0, "");
    two.close(0, "");
  });
});

describe("whoever fails at a session", () => {
  /** Says again what comes, unless that is not to be had. */
  const echo = (session: Session) =>
    session.serve({
      uni: (stream) =>
        void all(stream).then((what) => {
          if (what !== "gone") session.openUni().write(bytes(what.text), true);
        }),
      bi: ({ receive }) =>
        receive.listen({
          data: () => {
            throw new Error("a fault of ours");
          },
          gone: () => {},
        }),
      closed: () => {},
    });

  test.for(["WebTransport", "QUIC alone"])(
    "over %s ends that one with an internal error, is told of once, and disturbs no other",
    async (over) => {
      const faults: string[] = [];
      const broke = (error: unknown) => faults.push(String(error));
      const common = { ...pair, port: 0, loopback: true, maxConnections: 10, maxPerAddress: 10, broke };
      const web = over === "WebTransport";
      const listener = web
        ? listenWebTransport({ ...common, onSession: (one) => echo(one.accept(undefined)) })
        : listenNative({ ...common, onSession: echo });
      cleanups.push(() => listener.close());
      const to = { host: "127.0.0.1", port: listener.port };
      const [bad, good] = await Promise.all(
        [1, 2].map(async () => {
          const session = web
            ? await connectWebTransport({ ...to, path: "/", protocols: [] })
            : await connectNative({ ...to, protocol: "moqt-18" });
          cleanups.push(() => session.close(0, ""));
          return new End(session);
        }),
      );
      const { send } = bad!.session.openBi();
      send.write(bytes("this"));
      const more = setInterval(() => send.write(bytes("and this")), 1);
      await bad!.until(() => bad!.closed !== undefined);
      clearInterval(more);
      expect(faults).toEqual(["Error: a fault of ours"]);
      // QUIC alone says it with a code that the binding does not hand on.
      if (web) expect(bad!.closed).toEqual({ code: 1, reason: "" });
      const answer = good!.next();
      good!.session.openUni().write(bytes("hello"), true);
      expect(await answer).toEqual({ text: "hello", bytes: 5 });
    },
  );
});

test("a server that answers what nobody can read is one that is not to be had, and ends nothing else", async () => {
  const { port, close } = listenQuic({
    ...{ ...pair, port: 0, loopback: true, alpn: ["h3"], maxConnections: 10, maxPerAddress: 10, crowded: 0 },
    onConnection: (connection) => {
      // HEADERS of a dynamic table that there is not.
      connection.onStream = (_id, receive, send) => {
        receive.listen({ data: () => {}, gone: () => {} });
        send?.write(Buffer.from([0x01, 0x03, 0xff, 0xff, 0xff]));
      };
    },
  });
  cleanups.push(close);
  const asked = connectWebTransport({ host: "127.0.0.1", port, path: "/", protocols: [] });
  await expect(asked).rejects.toThrow(/cannot be read/);
});
