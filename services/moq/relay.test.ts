import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import { draft16 } from "./codec/draft16.ts";
import { doneCodes, type Message, requestErrors } from "./codec/messages.ts";
import { encodeObject, type StreamObject, type SubgroupHeader } from "./codec/objects.ts";
import { sessionErrors } from "./codec/wire.ts";
import { PipeSession } from "./pipe.ts";
import type { Right } from "./reader.ts";
import { Relay } from "./relay.ts";
import type { Outgoing, SubscribeAsked } from "./requests.ts";
import { Peer, type PeerEvents } from "./session.ts";
import type { Closed, Session } from "./transport.ts";

const namespace = ["a".repeat(32)];
const bytes = (text: string) => Buffer.from(text);
const limits = { cacheBytes: 1 << 20, queuedBytes: 1 << 20 };
const always: Right = { watch: () => () => {} };

/** Both ends of a session. */
function pair(client: PeerEvents, server: PeerEvents): [Peer, Peer] {
  const [a, b] = duplexPair();
  return [
    new Peer({ transport: new PipeSession(a, "client", "moqt-16"), side: "client", on: client }),
    new Peer({ transport: new PipeSession(b, "server", "moqt-16"), side: "server", on: server }),
  ];
}

/** An origin with one live input, by hand. */
class Origin {
  readonly peer: Peer;
  readonly asked: SubscribeAsked[] = [];
  readonly outgoing = new Map<string, Outgoing>();
  readonly ended: string[] = [];

  constructor(relay: Relay) {
    [this.peer] = pair(
      {
        subscribe: (asked) => {
          this.asked.push(asked);
          const { name } = asked.track;
          if (name === "none") return asked.reject({ code: requestErrors.doesNotExist, reason: "no" });
          const outgoing = asked.accept({ largest: undefined });
          outgoing.onEnd = () => this.ended.push(name);
          this.outgoing.set(name, outgoing);
        },
        fetch: (asked) => {
          const reply = asked.accept({ end: { group: 1, object: 1 }, endOfTrack: false });
          reply.end();
        },
      },
      relay.publisher(),
    );
  }

  async announce(): Promise<void> {
    expect(await this.peer.publishNamespace(namespace).answer).toBeUndefined();
  }

  group(id: number, texts: readonly string[], { whole = true, name = "video" } = {}) {
    const stream = this.outgoing.get(name)!.open({
      ...{ group: id, subgroup: 0, priority: 1, extensions: false, endOfGroup: true },
    });
    for (const text of texts) stream.write(encodeObject(bytes(text)));
    if (whole) stream.write(new Uint8Array(0), true);
    return stream;
  }
}

/** A viewer who remembers everything. */
class Viewer {
  readonly peer: Peer;
  readonly heard: string[] = [];
  closed: Closed | undefined;
  #waiting: (() => void)[] = [];

  constructor(relay: Relay, may = (): Right | undefined => always, transport?: Session) {
    const on: PeerEvents = { closed: (how) => this.say("closed", how.code) };
    if (transport) this.peer = new Peer({ transport, side: "client", on });
    else [this.peer] = pair(on, relay.subscriber(may));
  }

  say(...what: unknown[]): void {
    this.heard.push(what.join(" "));
    for (const check of this.#waiting.splice(0)) check();
  }

  async until(line: string): Promise<void> {
    while (!this.heard.includes(line)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  subscribe(name: string, params = {}) {
    return this.peer.subscribe(
      { namespace, name },
      { filter: { from: "largest object" }, ...params },
      {
        ok: ({ largest }) => this.say("ok", largest ? `${largest.group}.${largest.object}` : "nothing"),
        refused: ({ code }) => this.say("refused", code),
        group: ({ group }: SubgroupHeader) => ({
          object: ({ object, payload }: StreamObject) =>
            this.say(`${group}.${object}`, Buffer.from(payload).toString()),
          end: () => this.say("end", group),
          gone: () => this.say("gone", group),
        }),
        done: (code) => this.say("done", code),
      },
    );
  }

  fetch(range: Extract<Message, { type: "fetch" }>["range"]): void {
    this.peer.fetch(
      range,
      {},
      {
        ok: ({ end }) => this.say("fetch", `${end.group}.${end.object}`),
        refused: ({ code }) => this.say("fetch refused", code),
        object: ({ group, object, payload }) =>
          this.say(`fetched ${group}.${object}`, Buffer.from(payload).toString()),
        end: () => this.say("fetch end"),
        gone: () => this.say("fetch gone"),
      },
    );
  }
}

async function onAir() {
  const relay = new Relay(limits);
  const origin = new Origin(relay);
  await origin.announce();
  return { relay, origin };
}

/** Two viewers of which the first has seen groups 1 and the beginning of 2. */
async function watched() {
  const { relay, origin } = await onAir();
  const viewer = new Viewer(relay);
  viewer.subscribe("video");
  await viewer.until("ok nothing");
  origin.group(1, ["a", "b"]);
  const open = origin.group(2, ["c"], { whole: false });
  await viewer.until("2.0 c");
  return { relay, origin, viewer, open };
}

describe("a relay", () => {
  test("passes a track on as it comes, group by group", async () => {
    const { viewer, open } = await watched();
    open.write(encodeObject(bytes("d")), true);
    await viewer.until("end 2");
    expect(viewer.heard).toEqual(["ok nothing", "1.0 a", "1.1 b", "end 1", "2.0 c", "2.1 d", "end 2"]);
  });

  test("subscribes once for any number of viewers", async () => {
    const { relay, origin, viewer } = await watched();
    const others = Array.from({ length: 20 }, () => new Viewer(relay));
    for (const other of others) other.subscribe("video");
    for (const other of others) await other.until("2.0 c");
    expect(origin.asked).toHaveLength(1);
    expect(relay.subscriptions).toBe(21);
    viewer.peer.close("noError", "");
    for (const other of others.slice(1)) other.peer.close("noError", "");
    origin.group(3, ["e"]);
    await others[0]!.until("3.0 e");
    expect(relay.subscriptions).toBe(1);
  });

  test("gives who comes late the current group from its first object", async () => {
    const { relay, open } = await watched();
    const late = new Viewer(relay);
    late.subscribe("video");
    open.write(encodeObject(bytes("d")), true);
    await late.until("end 2");
    // What it calls the largest is the last of the group before, so that a joining fetch fits to it.
    expect(late.heard).toEqual(["ok 1.1", "2.0 c", "2.1 d", "end 2"]);
  });

  test("answers a joining fetch with what comes before, without overlap", async () => {
    const { relay } = await watched();
    const late = new Viewer(relay);
    const { id } = late.subscribe("video");
    late.fetch({ kind: "relative", joining: id, start: 0 });
    await late.until("fetch end");
    await late.until("2.0 c");
    expect(late.heard.filter((line) => line.startsWith("fetched"))).toEqual([
      "fetched 1.0 a",
      "fetched 1.1 b",
    ]);
    expect(late.heard).toContain("fetch 1.2");
  });

  test("answers a fetch of a range from what it keeps, and asks the publisher for the rest", async () => {
    const { relay } = await watched();
    const late = new Viewer(relay);
    const track = { namespace, name: "video" };
    late.fetch({ kind: "standalone", track, start: { group: 1, object: 1 }, end: { group: 2, object: 0 } });
    await late.until("fetch end");
    expect(late.heard).toEqual(["fetch 2.1", "fetched 1.1 b", "fetched 2.0 c", "fetch end"]);
    late.heard.length = 0;
    late.fetch({ kind: "standalone", track, start: { group: 0, object: 0 }, end: { group: 1, object: 0 } });
    await late.until("fetch end");
    expect(late.heard).toContain("fetch 1.1");
    late.fetch({ kind: "standalone", track, start: { group: 9, object: 0 }, end: { group: 9, object: 0 } });
    await late.until(`fetch refused ${requestErrors.invalidRange}`);
  });

  test("begins with the next group, or at a place, where that is asked for", async () => {
    const { relay, origin, open } = await watched();
    const next = new Viewer(relay);
    next.subscribe("video", { filter: { from: "next group" } });
    await next.until("ok 2.0");
    const some = new Viewer(relay);
    some.subscribe("video", { filter: { from: "absolute", start: { group: 1, object: 1 }, endGroup: 2 } });
    await some.until("2.0 c");
    open.write(encodeObject(bytes("d")), true);
    origin.group(3, ["e"]);
    await next.until("end 3");
    await some.until(`done ${doneCodes.subscriptionEnded}`);
    expect(next.heard).toEqual(["ok 2.0", "3.0 e", "end 3"]);
    expect(some.heard).not.toContain("1.0 a");
  });

  test("resets a group whose publisher did", async () => {
    const { viewer, open } = await watched();
    open.reset(0);
    await viewer.until("gone 2");
  });

  test("keeps no more than it may, and at least the newest two groups", async () => {
    const relay = new Relay({ cacheBytes: 3000, queuedBytes: 1 << 20 });
    const origin = new Origin(relay);
    await origin.announce();
    const viewer = new Viewer(relay);
    viewer.subscribe("video");
    await viewer.until("ok nothing");
    for (let id = 1; id < 10; id++) origin.group(id, ["x".repeat(1000)]);
    await viewer.until("end 9");
    expect(relay.bytes).toBeLessThanOrEqual(3000);
    expect(relay.bytes).toBeGreaterThanOrEqual(2000);
  });

  test("takes groups from who does not read, by a reset, and goes on with the next; others notice nothing", async () => {
    const relay = new Relay({ cacheBytes: 1 << 20, queuedBytes: 1000 });
    const origin = new Origin(relay);
    await origin.announce();
    const brisk = new Viewer(relay);
    brisk.subscribe("video");
    await brisk.until("ok nothing");
    // A session whose network takes nothing while `stuck`.
    const [a, b] = duplexPair();
    const transport = new PipeSession(b, "server", "moqt-16");
    let stuck = false;
    const slow: Session = {
      protocol: transport.protocol,
      remote: transport.remote,
      get queued() {
        return stuck ? 5000 : 0;
      },
      openUni: () => {
        const stream = transport.openUni();
        return {
          write: (bytes, fin) => stream.write(bytes, fin),
          reset: (code) => stream.reset(code),
          get queued() {
            return stuck ? 5000 : 0;
          },
        };
      },
      openBi: () => transport.openBi(),
      serve: (on) => transport.serve(on),
      close: (code, reason) => transport.close(code, reason),
    };
    new Peer({ transport: slow, side: "server", on: relay.subscriber(() => always) });
    const viewer = new Viewer(relay, undefined, new PipeSession(a, "client", "moqt-16"));
    viewer.subscribe("video");
    await viewer.until("ok nothing");
    const one = origin.group(1, ["a"], { whole: false });
    await viewer.until("1.0 a");
    stuck = true;
    one.write(encodeObject(bytes("b")), true);
    await viewer.until("gone 1");
    stuck = false;
    origin.group(2, ["c"]);
    await viewer.until("end 2");
    await brisk.until("end 2");
    expect(viewer.heard).not.toContain("1.1 b");
    expect(brisk.heard).toEqual(["ok nothing", "1.0 a", "1.1 b", "end 1", "2.0 c", "end 2"]);
  });

  test("says what it has not, and what nobody may see", async () => {
    const { relay } = await onAir();
    const viewer = new Viewer(relay);
    viewer.subscribe("none");
    await viewer.until(`refused ${requestErrors.doesNotExist}`);
    const stranger = new Viewer(relay, () => undefined);
    stranger.subscribe("video");
    await stranger.until(`refused ${requestErrors.unauthorized}`);
    const early = new Viewer(new Relay(limits));
    early.subscribe("video");
    await early.until(`refused ${requestErrors.doesNotExist}`);
  });

  test("ends a subscription whose right ends", async () => {
    const { relay, origin } = await watched();
    let revoke = () => {};
    const viewer = new Viewer(relay, () => ({
      watch: (revoked) => {
        revoke = revoked;
        return () => {};
      },
    }));
    viewer.subscribe("video");
    await viewer.until("2.0 c");
    revoke();
    await viewer.until(`done ${doneCodes.unauthorized}`);
    origin.group(3, ["e"]);
    expect(relay.subscriptions).toBe(1);
  });

  test("tells viewers when the publisher ends a track, or is gone", async () => {
    const { origin, viewer } = await watched();
    origin.outgoing.get("video")!.done(doneCodes.trackEnded, "", 0);
    await viewer.until(`done ${doneCodes.trackEnded}`);
    const { origin: other, viewer: second, relay } = await watched();
    other.peer.close("noError", "");
    await second.until(`done ${doneCodes.internal}`);
    second.subscribe("video");
    await second.until(`refused ${requestErrors.doesNotExist}`);
    expect(relay.bytes).toBe(0);
  });

  test("tells of namespaces that come and go", async () => {
    const relay = new Relay(limits);
    const origin = new Origin(relay);
    const heard: string[] = [];
    const [a, b] = duplexPair();
    new Peer({
      transport: new PipeSession(b, "server", "moqt-16"),
      side: "server",
      on: relay.subscriber(() => always),
    });
    const transport = new PipeSession(a, "client", "moqt-16");
    const control = transport.openBi();
    control.send.write(draft16.encode({ type: "client-setup", options: { maxRequestId: 10 } }));
    const { send, receive } = transport.openBi();
    send.write(
      draft16.encode({ type: "subscribe-namespace", id: 0, prefix: [], wants: "namespace", params: {} }),
    );
    const wake = Promise.withResolvers<void>();
    const { ControlReader } = await import("./codec/draft16.ts");
    const reader = new ControlReader(draft16);
    receive.listen({
      data: (data) => {
        for (const message of reader.push(data)) heard.push(message.type);
        if (heard.length === 3) wake.resolve();
      },
      gone: () => {},
    });
    const announced = origin.peer.publishNamespace(namespace);
    await announced.answer;
    announced.end();
    await wake.promise;
    expect(heard).toEqual(["request-ok", "namespace", "namespace-done"]);
  });
});

describe("a session", () => {
  /** What the server answers to a client that sends these bytes. */
  async function answerTo(messages: readonly Message[]): Promise<Closed> {
    const [a, b] = duplexPair();
    const relay = new Relay(limits);
    new Peer({
      transport: new PipeSession(b, "server", "moqt-16"),
      side: "server",
      on: relay.subscriber(() => always),
    });
    const transport = new PipeSession(a, "client", "moqt-16");
    const closed = new Promise<Closed>((resolve) =>
      transport.serve({ uni: () => {}, bi: () => {}, closed: resolve }),
    );
    const { send } = transport.openBi();
    for (const message of messages) send.write(draft16.encode(message));
    return closed;
  }
  const setup: Message = { type: "client-setup", options: { maxRequestId: 10 } };
  const subscribe = (id: number): Message => ({
    ...{ type: "subscribe", id, track: { namespace, name: "v" }, params: {} },
  });

  test.for<{ name: string; messages: readonly Message[]; code: keyof typeof sessionErrors }>([
    { name: "no SETUP first", messages: [subscribe(0)], code: "protocolViolation" },
    { name: "SETUP twice", messages: [setup, setup], code: "protocolViolation" },
    { name: "a request out of order", messages: [setup, subscribe(2)], code: "invalidRequestId" },
    {
      name: "a request of the other side's numbers",
      messages: [setup, subscribe(1)],
      code: "invalidRequestId",
    },
    {
      name: "a MAX_REQUEST_ID that falls",
      messages: [setup, { type: "max-request-id", max: 4 }],
      code: "protocolViolation",
    },
    {
      name: "an answer to nothing",
      messages: [setup, { type: "request-ok", id: 1, params: {} }],
      code: "invalidRequestId",
    },
    {
      name: "an update of nothing",
      messages: [setup, { type: "request-update", id: 0, existing: 6, params: {} }],
      code: "protocolViolation",
    },
    {
      name: "two tokens of one alias",
      messages: [
        setup,
        {
          ...{ type: "subscribe", id: 0, track: { namespace, name: "v" } },
          params: {
            tokens: [
              { use: "register", alias: 1, type: 0, value: bytes("x") },
              { use: "register", alias: 1, type: 0, value: bytes("y") },
            ],
          },
        },
      ],
      code: "duplicateTokenAlias",
    },
    {
      name: "more tokens than may be registered",
      messages: [
        setup,
        {
          ...{ type: "subscribe", id: 0, track: { namespace, name: "v" } },
          params: { tokens: [{ use: "register", alias: 1, type: 0, value: Buffer.alloc(20_000) }] },
        },
      ],
      code: "tokenCacheOverflow",
    },
  ])("ends with $code at $name", async ({ messages, code }) => {
    expect((await answerTo(messages)).code).toBe(sessionErrors[code]);
  });

  test("waits for the peer's leave when it has made as many requests as it may", async () => {
    const { relay } = await onAir();
    const viewer = new Viewer(relay);
    for (let i = 0; i < 200; i++) viewer.subscribe("none");
    await viewer.until(`refused ${requestErrors.doesNotExist}`);
    while (viewer.heard.length < 200) await new Promise<void>((resolve) => setImmediate(resolve));
    expect(new Set(viewer.heard)).toEqual(new Set([`refused ${requestErrors.doesNotExist}`]));
  });

  test("hands over tokens of SETUP and of a request", async () => {
    const seen: (readonly string[])[] = [];
    const [a, b] = duplexPair();
    const asked = Promise.withResolvers<void>();
    new Peer({
      transport: new PipeSession(b, "server", "moqt-16"),
      side: "server",
      on: {
        subscribe: ({ tokens, reject }) => {
          seen.push(tokens);
          reject({ code: 0, reason: "" });
          asked.resolve();
        },
      },
    });
    const client = new Peer({
      transport: new PipeSession(a, "client", "moqt-16"),
      side: "client",
      setup: { tokens: [{ use: "register", alias: 3, type: 0, value: bytes("one") }] },
      on: {},
    });
    client.subscribe(
      { namespace, name: "v" },
      {
        tokens: [
          { use: "value", type: 0, value: bytes("two") },
          { use: "alias", alias: 3 },
        ],
      },
      {
        ok: () => {},
        refused: () => {},
        group: () => ({ object() {}, end() {}, gone() {} }),
        done: () => {},
      },
    );
    await asked.promise;
    expect(seen).toEqual([["two", "one", "one"]]);
  });
});
