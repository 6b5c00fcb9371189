import { afterEach, describe, expect, test } from "vitest";
import { makeSelfSigned } from "../../infra/x509.ts";
import { Waiters } from "../../test/support/waiters.ts";
import { createLogTo } from "../lib/log.ts";
import type { BoardOptions } from "../lib/redis.ts";
import { identityOf, readIdentity } from "./identity.ts";
import { Network } from "./network.ts";
import { Peer } from "./session.ts";
import { connectWebTransport, listenWebTransport } from "./webtransport.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const [own, stranger] = await Promise.all([makeSelfSigned(Date.now()), makeSelfSigned(Date.now())]);

/** A relay with this certificate, in whose sessions nothing is asked for. Returns its port. */
function relay({ cert, key }: { readonly cert: string; readonly key: string }): number {
  const listener = listenWebTransport({
    ...{ cert, key, port: 0, loopback: true, maxConnections: 10, maxPerAddress: 10 },
    onSession: (incoming) => {
      const [protocol] = incoming.offered;
      new Peer({ transport: incoming.accept(protocol), side: "server", on: {} });
    },
  });
  cleanups.push(() => listener.close());
  return listener.port;
}

/** A network whose directory says what `record` is, and its log. */
function networkWith(node: string, record: object) {
  const lines: { msg: string; relay?: string; why?: string }[] = [];
  const waiters = new Waiters();
  const log = createLogTo(
    (line) => {
      lines.push(JSON.parse(line));
      waiters.wake();
    },
    "relay",
    "info",
  );
  let board: BoardOptions | undefined;
  const network = new Network(
    {
      ...{ redis: "", node: undefined, costs: {}, secret: "a secret", log },
      identity: () => identityOf(own.cert),
      changed: () => {},
    },
    (options) => {
      board = options;
      return { changed() {}, closed: new Promise(() => {}), close: async () => {} };
    },
  );
  cleanups.push(() => network.close());
  const namespaces = [{ namespace: ["show"], epoch: 1 }];
  board!.heard(node, JSON.stringify({ node, costs: {}, namespaces, ...record }));
  return { network, lines, until: (met: () => boolean) => waiters.until(met) };
}

describe("a link to another relay", () => {
  test("opens where the certificate is the one of the directory", async () => {
    const node = `127.0.0.1:${relay(own)}`;
    const { network } = networkWith(node, { identity: identityOf(own.cert) });
    const peer = await network.hop(["show"], undefined)!.peer();
    expect(peer.closed).toBe(false);
    peer.close("noError", "");
  });

  test("opens while a certificate waits for its turn, with the old one and the new one", async () => {
    const identity = identityOf(own.cert, stranger.cert);
    for (const pair of [own, stranger]) {
      const { network } = networkWith(`127.0.0.1:${relay(pair)}`, { identity });
      const peer = await network.hop(["show"], undefined)!.peer();
      peer.close("noError", "");
    }
  });

  test.for([
    {
      name: "is another's",
      identity: identityOf(stranger.cert),
      why: "its certificate is signed by nobody who is trusted for it",
    },
    {
      name: "is for another name",
      identity: { ...identityOf(own.cert), name: "other.example" },
      why: "its certificate is for another name",
    },
    {
      name: "is its own, where an authority's was told",
      identity: { name: "localhost" },
      why: "its certificate is signed by nobody who is trusted for it",
    },
    {
      name: "is its own, and nothing was told",
      identity: undefined,
      why: "its certificate is signed by nobody who is trusted for it",
    },
  ])("is refused where the certificate $name, and the log says so once", async ({ identity, why }) => {
    const node = `localhost:${relay(own)}`;
    const { network, lines, until } = networkWith(node, { identity });
    for (let attempt = 0; attempt < 2; attempt++) {
      const hop = network.hop(["show"], undefined);
      // A hop that failed is left alone for a while.
      if (hop) await expect(hop.peer()).rejects.toThrow(why);
    }
    await until(() => lines.some(({ msg }) => msg === "a relay cannot be taken from"));
    expect(lines.filter(({ msg }) => msg === "a relay cannot be taken from")).toMatchObject([
      { relay: node, why },
    ]);
  });
});

describe("an identity", () => {
  test("survives the directory, and nothing else does", () => {
    const identity = identityOf(own.cert);
    expect(readIdentity(JSON.parse(JSON.stringify(identity)))).toEqual(identity);
    for (const wrong of [undefined, null, 7, {}, { name: 1 }, { name: "x".repeat(300) }])
      expect(readIdentity(wrong)).toBeUndefined();
    expect(readIdentity({ name: "a", roots: "x".repeat(20_000) })).toBeUndefined();
  });
});

test("a client that trusts nobody in particular opens a session all the same", async () => {
  const session = await connectWebTransport({
    ...{ host: "127.0.0.1", port: relay(own), path: "/", protocols: ["moqt-16"] },
  });
  expect(session.protocol).toBe("moqt-16");
  session.close(0, "");
});
