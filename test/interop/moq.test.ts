import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeSelfSigned } from "../../infra/x509.ts";
import { connectNative, listenNative } from "../../services/moq/native.ts";
import { Relay } from "../../services/moq/relay.ts";
import { Peer, type PeerEvents } from "../../services/moq/session.ts";
import type { Listener, Session } from "../../services/moq/transport.ts";
import { listenWebTransport } from "../../services/moq/webtransport.ts";
import { cases, connect, run } from "./moq.ts";

/** What a peer that may do anything is to a relay: it has tracks and subscribes. */
function both(relay: Relay): PeerEvents {
  const subscriber = relay.subscriber(() => ({ watch: () => () => {} }));
  const publisher = relay.publisher();
  return { ...subscriber, ...publisher };
}

describe.for(["moqt-14", "moqt-16", "moqt-18", "moqt-19"])(
  "the cases of moq-interop-runner in %s",
  (protocol) => {
    let listener: Listener;

    beforeAll(async () => {
      const relay = new Relay({ cacheBytes: 1 << 20, queuedBytes: 1 << 20, graceMs: 0 });
      listener = listenWebTransport({
        ...(await makeSelfSigned(Date.now())),
        ...{ port: 0, loopback: true, maxConnections: 100, maxPerAddress: 100 },
        onSession: (incoming) =>
          void new Peer({ transport: incoming.accept(protocol), side: "server", on: both(relay) }),
      });
    });
    afterAll(() => listener.close());

    test.for(Object.keys(cases))("%s", async (name) => {
      const { verdict } = await run(name, (on) =>
        connect(`https://127.0.0.1:${listener.port}/`, [protocol], on),
      );
      expect(verdict).toBeUndefined();
    });
  },
);

describe.for(["moqt-16", "moqt-18"])("the same over QUIC alone in %s", (protocol) => {
  let listener: Listener;
  const sessions: Session[] = [];

  beforeAll(async () => {
    const relay = new Relay({ cacheBytes: 1 << 20, queuedBytes: 1 << 20, graceMs: 0 });
    listener = listenNative({
      ...(await makeSelfSigned(Date.now())),
      ...{ port: 0, loopback: true, maxConnections: 100, maxPerAddress: 100 },
      onSession: (transport) => {
        sessions.push(transport);
        void new Peer({ transport, side: "server", on: both(relay) });
      },
    });
  });
  afterAll(() => listener.close());

  test.for(Object.keys(cases))("%s", async (name) => {
    const { verdict } = await run(name, async (on) => {
      const transport = await connectNative({ host: "127.0.0.1", port: listener.port, protocol });
      return new Peer({ transport, side: "client", setup: { path: "/" }, on });
    });
    expect(verdict).toBeUndefined();
    expect(sessions.at(-1)!.protocol).toBe(protocol);
  });
});
