import { duplexPair } from "node:stream";
import { beforeAll, describe, expect, test } from "vitest";
import { doneCodes, type Message, requestErrors } from "./codec/messages.ts";
import { encodeObject, type StreamObject, type SubgroupHeader } from "./codec/objects.ts";
import { PipeSession } from "./pipe.ts";
import type { Right } from "./reader.ts";
import { Relay } from "./relay.ts";
import type { Outgoing, PublishAsked, SubscribeAsked } from "./requests.ts";
import { Peer, type PeerEvents } from "./session.ts";
import type { Closed, SendStream, Session } from "./transport.ts";

const namespace = ["a".repeat(32)];
const bytes = (text: string) => Buffer.from(text);
const limits = { cacheBytes: 1 << 20, queuedBytes: 1 << 20, graceMs: 0 };
const always: Right = { watch: () => () => {} };

/** What viewers speak, and what the publisher does. */
let spoken = "moqt-16";
let upstream = "moqt-16";

/** Both ends of a session. */
function pair(client: PeerEvents, server: PeerEvents, protocol = spoken): [Peer, Peer] {
  const [a, b] = duplexPair();
  return [
    new Peer({ transport: new PipeSession(a, "client", protocol), side: "client", on: client }),
    new Peer({ transport: new PipeSession(b, "server", protocol), side: "server", on: server }),
  ];
}

/** An origin with one live input, by hand. */
class Origin {
  readonly peer: Peer;
  readonly asked: SubscribeAsked[] = [];
  readonly outgoing = new Map<string, Outgoing>();
  readonly ended: string[] = [];
  /** What is fetched of it does not come to an end. */
  takesItsTime = false;

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
          if (!this.takesItsTime) return reply.end();
          reply.write({ group: 0, object: 0, payload: bytes("old"), priority: 1 });
          reply.onEnd = () => this.ended.push("fetch");
        },
      },
      relay.publisher(),
      upstream,
    );
  }

  async announce(): Promise<void> {
    expect(await this.peer.publishNamespace(namespace).answer).toBeUndefined();
  }

  group(id: number, texts: readonly string[], { whole = true, name = "video" } = {}) {
    const stream = this.outgoing.get(name)!.open({
      ...{ group: id, subgroup: 0, priority: 1, extensions: false, endOfGroup: true },
    });
    const { integers } = this.peer.draft;
    for (const text of texts) stream.write(encodeObject(bytes(text), { integers }));
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

  /** Settles when it hears something more. */
  next(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async until(line: string): Promise<void> {
    while (!this.heard.includes(line)) await this.next();
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

/** The viewer's end of a session with a relay that does `on` with it, and `changed` with the streams that it opens. */
function over(
  on: PeerEvents,
  changed = (stream: SendStream): SendStream => stream,
  queued = () => 0,
): Session {
  const [a, b] = duplexPair();
  const transport = new PipeSession(b, "server", spoken);
  const own: Session = {
    ...{ protocol: transport.protocol, remote: transport.remote },
    get queued() {
      return queued();
    },
    openUni: () => changed(transport.openUni()),
    openBi: () => transport.openBi(),
    serve: (to) => transport.serve(to),
    close: (code, reason) => transport.close(code, reason),
  };
  new Peer({ transport: own, side: "server", on });
  return new PipeSession(a, "client", spoken);
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

describe.for([
  { viewers: "moqt-16", publisher: "moqt-16" },
  { viewers: "moqt-18", publisher: "moqt-16" },
  { viewers: "moqt-19", publisher: "moqt-18" },
  { viewers: "moqt-14", publisher: "moqt-16" },
])("a relay of $publisher whose viewers speak $viewers", ({ viewers, publisher }) => {
  beforeAll(() => {
    spoken = viewers;
    upstream = publisher;
  });

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
    const relay = new Relay({ ...limits, cacheBytes: 3000 });
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
    const relay = new Relay({ ...limits, queuedBytes: 1000 });
    const origin = new Origin(relay);
    await origin.announce();
    const brisk = new Viewer(relay);
    brisk.subscribe("video");
    await brisk.until("ok nothing");
    // A session whose network takes nothing while `stuck`.
    let stuck = false;
    const slow = over(
      relay.subscriber(() => always),
      (stream) => ({
        write: (bytes, fin) => stream.write(bytes, fin),
        reset: (code) => stream.reset(code),
        room: () => stream.room(),
        get queued() {
          return stuck ? 5000 : 0;
        },
      }),
      () => (stuck ? 5000 : 0),
    );
    const viewer = new Viewer(relay, undefined, slow);
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

  test("whoever it fails at is ended with an internal error, and neither others nor the publisher notice", async () => {
    const { relay, origin, viewer: brisk, open } = await watched();
    const faults: string[] = [];
    const broke = (error: unknown) => faults.push(String(error));
    const fault = () => {
      throw new Error("a fault of ours");
    };
    // At what it asks, and at what is sent to it in the publisher's turn.
    const asking = new Viewer(relay, undefined, over({ ...relay.subscriber(fault), broke }));
    asking.subscribe("video");
    await asking.until("closed 1");
    let fails = false;
    const reading = new Viewer(
      relay,
      undefined,
      over({ ...relay.subscriber(() => always), broke }, (stream) => ({
        write: (bytes, fin) => (fails ? fault() : stream.write(bytes, fin)),
        reset: (code) => stream.reset(code),
        room: () => stream.room(),
        queued: 0,
      })),
    );
    reading.subscribe("video");
    await reading.until("2.0 c");
    fails = true;
    open.write(encodeObject(bytes("d")), true);
    await reading.until("closed 1");
    await brisk.until("end 2");
    origin.group(3, ["e"]);
    await brisk.until("end 3");
    expect(faults).toEqual(["Error: a fault of ours", "Error: a fault of ours"]);
    expect(origin.peer.closed).toBe(false);
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

  test("ends a fetch whose right ends, also one that joins", async () => {
    const { relay, origin } = await watched();
    origin.takesItsTime = true;
    const watching = new Set<() => void>();
    const viewer = new Viewer(relay, () => ({
      watch: (revoked) => {
        watching.add(revoked);
        return () => watching.delete(revoked);
      },
    }));
    const range = { start: { group: 0, object: 0 }, end: { group: 1, object: 0 } };
    viewer.fetch({ kind: "standalone", track: { namespace, name: "video" }, ...range });
    await viewer.until("fetched 0.0 old");
    const { id } = viewer.subscribe("video");
    await viewer.until("2.0 c");
    viewer.fetch({ kind: "relative", joining: id, start: 5 });
    while (viewer.heard.filter((line) => line === "fetched 0.0 old").length < 2) await viewer.next();
    expect(watching.size).toBe(3);
    for (const revoke of [...watching]) revoke();
    await viewer.until(`done ${doneCodes.unauthorized}`);
    while (viewer.heard.filter((line) => line === "fetch gone").length < 2) await viewer.next();
    expect(watching.size).toBe(0);
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
    const viewer = new Viewer(relay);
    viewer.peer.subscribeNamespace(
      spoken === "moqt-14" ? namespace : [],
      {},
      {
        ok: () => viewer.say("ok"),
        refused: ({ code }) => viewer.say("refused", code),
        come: (name) => viewer.say("come", ...name),
        go: (name) => viewer.say("go", ...name),
      },
    );
    await viewer.until("ok");
    const announced = origin.peer.publishNamespace(namespace);
    await announced.answer;
    announced.end();
    await viewer.until(`go ${namespace[0]}`);
    expect(viewer.heard).toEqual(["ok", `come ${namespace[0]}`, `go ${namespace[0]}`]);
  });
});

test("tracks that are wanted with the session come before anything is asked, and stop for who does not take them", async () => {
  [spoken, upstream] = ["moqt-18", "moqt-18"];
  const { relay, origin, open } = await watched();
  const before = relay.subscriptions;
  const heard: string[] = [];
  let wake = () => {};
  const until = async (line: string) => {
    while (!heard.includes(line)) await new Promise<void>((resolve) => (wake = resolve));
  };
  const say = (line: string) => {
    heard.push(line);
    wake();
  };
  const asked: PublishAsked[] = [];
  const client: PeerEvents = {
    publish: (one) => {
      asked.push(one);
      say(`asked ${one.track.name}`);
    },
  };
  const [a, b] = duplexPair();
  const transport = new PipeSession(b, "server", "moqt-18");
  const server = new Peer({ transport, side: "server", pipelines: true, on: {} });
  // Nothing has come from the client yet. Of a track that is not known here nothing is sent.
  relay.push(
    server,
    ["video", "unknown"].map((name) => ({ namespace, name })),
    always,
  );
  expect(relay.subscriptions).toBe(before + 1);
  new Peer({ transport: new PipeSession(a, "client", "moqt-18"), side: "client", on: client });
  await until("asked video");
  asked[0]!.accept({
    group: ({ group }) => ({
      object: ({ object, payload }) => say(`${group}.${object} ${Buffer.from(payload).toString()}`),
      end: () => say(`end ${group}`),
      gone: () => say(`gone ${group}`),
    }),
    done: (code) => say(`done ${code}`),
  });
  open.write(encodeObject(bytes("d"), { integers: origin.peer.draft.integers }), true);
  await until("end 2");
  expect(heard).toEqual(["asked video", "2.0 c", "2.1 d", "end 2"]);

  const [c, d] = duplexPair();
  const other = new Peer({
    ...{ transport: new PipeSession(d, "server", "moqt-18"), side: "server", pipelines: true, on: {} },
  });
  relay.push(other, [{ namespace, name: "video" }], always);
  expect(relay.subscriptions).toBe(before + 2);
  new Peer({ transport: new PipeSession(c, "client", "moqt-18"), side: "client", on: client });
  while (asked.length < 2) await new Promise<void>((resolve) => (wake = resolve));
  asked[1]!.reject({ code: requestErrors.uninterested, reason: "no" });
  await expect.poll(() => relay.subscriptions).toBe(before + 1);
  expect(other.closed).toBe(false);
});
