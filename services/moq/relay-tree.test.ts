import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import { doneCodes, requestErrors } from "./codec/messages.ts";
import { encodeObject } from "./codec/objects.ts";
import { isRelay, pathTo } from "./network.ts";
import { PipeSession } from "./pipe.ts";
import { epochParams, Relay } from "./relay.ts";
import type { Outgoing } from "./requests.ts";
import { Peer, type PeerEvents } from "./session.ts";

const namespace = ["a".repeat(32)];
const limits = { cacheBytes: 1 << 20, queuedBytes: 1 << 20, graceMs: 5_000 };
const name = "video";

function pair(client: PeerEvents, server: PeerEvents): [Peer, Peer] {
  const [a, b] = duplexPair();
  return [
    new Peer({ transport: new PipeSession(a, "client", "moqt-16"), side: "client", on: client }),
    new Peer({ transport: new PipeSession(b, "server", "moqt-16"), side: "server", on: server }),
  ];
}

/** A publisher by hand. */
async function publisher(relay: Relay, epoch: number) {
  let outgoing: Outgoing | undefined;
  const asked = Promise.withResolvers<void>();
  const [peer] = pair(
    {
      subscribe: (one) => {
        outgoing = one.accept({ largest: undefined });
        asked.resolve();
      },
    },
    relay.publisher(),
  );
  await peer.publishNamespace(namespace, { params: epochParams(epoch) }).answer;
  const group = (id: number) => {
    const stream = outgoing!.open({
      ...{ group: id, subgroup: 0, priority: 1, extensions: false, endOfGroup: true },
    });
    return {
      object: (text: string) => stream.write(encodeObject(Buffer.from(text))),
      end: () => stream.write(new Uint8Array(0), true),
    };
  };
  return { peer, asked: asked.promise, group };
}

/** Lets `relay` take everything from the last of `over` that works; what each hop costs counts from the far end. */
function takes(relay: Relay, over: readonly { readonly from: Relay; readonly distance: number }[]) {
  const links = over.map(({ from, distance }) => {
    const [client, server] = pair({ goaway: () => relay.changed() }, from.network());
    return { client, server, distance };
  });
  relay.join({
    offer: () => {},
    namespaces: () => [],
    hop: (_namespace, epoch) => {
      const link = links.find(({ client }) => !client.closed && !client.leaving);
      if (!link || epoch !== undefined) return undefined;
      const { client, distance } = link;
      return {
        ...{ target: "origin", epoch: 1, node: `${links.indexOf(link)}`, distance },
        peer: () => Promise.resolve(client),
        turnedAway: () => {},
      };
    },
  });
  return links;
}

class Viewer {
  readonly peer: Peer;
  readonly heard: string[] = [];
  #waiting: (() => void)[] = [];

  constructor(relay: Relay) {
    [this.peer] = pair(
      {},
      relay.subscriber(() => ({ watch: () => () => {} })),
    );
    this.peer.subscribe(
      { namespace, name },
      { filter: { from: "largest object" } },
      {
        ok: () => this.#say("ok"),
        refused: ({ code }) => this.#say(`refused ${code}`),
        group: ({ group }) => ({
          object: ({ object, payload }) => this.#say(`${group}.${object} ${Buffer.from(payload).toString()}`),
          end: () => this.#say(`end ${group}`),
          gone: () => this.#say(`gone ${group}`),
        }),
        done: (code) => this.#say(`done ${code}`),
      },
    );
  }

  #say(what: string): void {
    this.heard.push(what);
    for (const check of this.#waiting.splice(0)) check();
  }

  async until(line: string): Promise<void> {
    while (!this.heard.includes(line)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

describe("relays in a row", () => {
  test("pass a track on, subscribed to once", async () => {
    const [first, second, third] = [new Relay(limits), new Relay(limits), new Relay(limits)];
    const origin = await publisher(first, 1);
    takes(second, [{ from: first, distance: 1 }]);
    takes(third, [{ from: second, distance: 2 }]);
    const viewers = [new Viewer(third), new Viewer(third)];
    await origin.asked;
    const group = origin.group(1);
    group.object("a");
    group.end();
    for (const viewer of viewers) await viewer.until("end 1");
    expect(viewers[0]!.heard).toEqual(["ok", "1.0 a", "end 1"]);
    expect([first.subscriptions, second.subscriptions, third.subscriptions]).toEqual([1, 1, 2]);
  });

  test("go on with the same group by another way when one is lost, without an object missing or twice", async () => {
    const [first, second, third] = [new Relay(limits), new Relay(limits), new Relay(limits)];
    const origin = await publisher(first, 1);
    takes(second, [{ from: first, distance: 1 }]);
    const [over] = takes(third, [
      { from: second, distance: 2 },
      { from: first, distance: 1000 },
    ]);
    const viewer = new Viewer(third);
    await origin.asked;
    const group = origin.group(1);
    group.object("a");
    await viewer.until("1.0 a");
    over!.server.close("noError", "killed");
    group.object("b");
    await viewer.until("1.1 b");
    group.object("c");
    group.end();
    await viewer.until("end 1");
    expect(viewer.heard).toEqual(["ok", "1.0 a", "1.1 b", "1.2 c", "end 1"]);
  });

  test("move to another way when one asks them to, before it ends", async () => {
    const [first, second, third] = [new Relay(limits), new Relay(limits), new Relay(limits)];
    const origin = await publisher(first, 1);
    takes(second, [{ from: first, distance: 1 }]);
    const [over] = takes(third, [
      { from: second, distance: 2 },
      { from: first, distance: 1000 },
    ]);
    const viewer = new Viewer(third);
    await origin.asked;
    const group = origin.group(1);
    group.object("a");
    await viewer.until("1.0 a");
    over!.server.goAway();
    await expect.poll(() => second.subscriptions).toBe(0);
    // What was left is still open, and nobody takes anything over it.
    expect(over!.server.closed).toBe(false);
    group.object("b");
    over!.server.close("noError", "stopped");
    group.object("c");
    group.end();
    await viewer.until("end 1");
    expect(viewer.heard).toEqual(["ok", "1.0 a", "1.1 b", "1.2 c", "end 1"]);
  });

  test("stay where they are while the one that asks them to go is the only way", async () => {
    const [first, second] = [new Relay(limits), new Relay(limits)];
    const origin = await publisher(first, 1);
    const [over] = takes(second, [{ from: first, distance: 1 }]);
    const viewer = new Viewer(second);
    await origin.asked;
    const group = origin.group(1);
    group.object("a");
    await viewer.until("1.0 a");
    over!.server.goAway();
    group.object("b");
    group.end();
    await viewer.until("end 1");
    expect(viewer.heard).toEqual(["ok", "1.0 a", "1.1 b", "end 1"]);
  });

  test("turn away a relay that is no farther from the publisher, so that nobody waits in a circle", async () => {
    const [first, second] = [new Relay({ ...limits, graceMs: 0 }), new Relay({ ...limits, graceMs: 0 })];
    takes(first, [{ from: second, distance: 5 }]);
    takes(second, [{ from: first, distance: 5 }]);
    const viewer = new Viewer(first);
    await viewer.until(`refused ${requestErrors.doesNotExist}`);
  });
});

describe("of two publishers of a namespace", () => {
  test("the one of the higher epoch is heard, whoever came first, and the other when that one leaves", async () => {
    const relay = new Relay(limits);
    const later = await publisher(relay, 2000);
    const earlier = await publisher(relay, 1000);
    const viewer = new Viewer(relay);
    await later.asked;
    const first = later.group(2000);
    first.object("later");
    first.end();
    await viewer.until("end 2000");
    later.peer.close("noError", "");
    await earlier.asked;
    const second = earlier.group(1000);
    second.object("earlier");
    second.end();
    await viewer.until("end 1000");
    expect(viewer.heard).toEqual(["ok", "2000.0 later", "end 2000", "1000.0 earlier", "end 1000"]);
  });

  test("one that comes with a higher epoch takes over from one that is heard", async () => {
    const relay = new Relay(limits);
    const earlier = await publisher(relay, 1000);
    const viewer = new Viewer(relay);
    await earlier.asked;
    earlier.group(1).object("earlier");
    await viewer.until("1.0 earlier");
    const later = await publisher(relay, 2000);
    await later.asked;
    // What will never be whole says so.
    await viewer.until("gone 1");
    later.group(1).object("later");
    await viewer.until("1.0 later");
    expect(viewer.heard).not.toContain(`done ${doneCodes.internal}`);
  });
});

test("a viewer waits for another way no longer than it takes, then the track ends", async () => {
  const relay = new Relay({ ...limits, graceMs: 50 });
  const origin = await publisher(relay, 1);
  const viewer = new Viewer(relay);
  await origin.asked;
  await viewer.until("ok");
  origin.peer.close("noError", "");
  await viewer.until(`done ${doneCodes.internal}`);
});

describe("a relay lets in", () => {
  const asked = { node: "a.example:1", secret: "shared", nowMs: 1_000_000 };
  const path = pathTo(asked.node, { from: "b.example:1", secret: "shared", nowMs: asked.nowMs });
  test.for([
    { who: "one that knows the secret", ...asked, path, may: true },
    { who: "nobody with another secret", ...asked, secret: "other", path, may: false },
    { who: "nobody who asked for another relay", ...asked, node: "c.example:1", path, may: false },
    { who: "nobody with what was said long ago", ...asked, nowMs: asked.nowMs + 120_000, path, may: false },
    { who: "nobody who says nothing", ...asked, path: "/relay?", may: false },
    {
      who: "nobody who changed his name",
      ...asked,
      path: path.replace("b.example", "x.example"),
      may: false,
    },
  ])("$who", ({ path, may, ...options }) => expect(isRelay(path, options)).toBe(may));
});
