import { duplexPair } from "node:stream";
import { describe, expect, test, vi } from "vitest";
import { encodeMessage } from "./codec/control.ts";
import { type Draft, draft18, drafts } from "./codec/drafts.ts";
import {
  doneCodes,
  type Filter,
  type Message,
  type Params,
  requestErrors,
  resetCodes,
} from "./codec/messages.ts";
import { encodeObject, type StreamObject } from "./codec/objects.ts";
import { sessionErrors } from "./codec/wire.ts";
import { PipeSession } from "./pipe.ts";
import type { FetchAsked, Outgoing, SubscribeAsked } from "./requests.ts";
import { Peer, type PeerEvents } from "./session.ts";
import type { Closed, SendStream, Session } from "./transport.ts";

const track = { namespace: ["live"], name: "video" };
const bytes = (text: string) => Buffer.from(text);

/** Client and server of one session. */
function pair(protocol: string, server: PeerEvents, client: PeerEvents = {}): [Peer, Peer] {
  const [a, b] = duplexPair();
  return [
    new Peer({ transport: new PipeSession(a, "client", protocol), side: "client", on: client }),
    new Peer({ transport: new PipeSession(b, "server", protocol), side: "server", on: server }),
  ];
}

/** A subscription that says what it hears. */
function subscribed(peer: Peer, params: Params = {}) {
  const ok = Promise.withResolvers<void>();
  const refused = Promise.withResolvers<number>();
  const done = Promise.withResolvers<number>();
  const ended = Promise.withResolvers<string>();
  const objects: string[] = [];
  const { id, update, end } = peer.subscribe(track, params, {
    ok: () => ok.resolve(),
    refused: ({ code }) => refused.resolve(code),
    group: () => ({
      object: ({ payload }: StreamObject) => objects.push(Buffer.from(payload).toString()),
      end: () => ended.resolve("end"),
      gone: () => ended.resolve("gone"),
    }),
    done: (code) => done.resolve(code),
  });
  return {
    id,
    update,
    end,
    objects,
    ...{ ok: ok.promise, refused: refused.promise, done: done.promise, ended: ended.promise },
  };
}

/** A server that takes every subscription, and the first of them. */
function taking(largest = { group: 7, object: 3 }) {
  const first = Promise.withResolvers<Outgoing>();
  const asked: SubscribeAsked[] = [];
  const on: PeerEvents = {
    subscribe: (one) => {
      asked.push(one);
      first.resolve(one.accept({ largest }));
    },
  };
  return { on, asked, first: first.promise };
}

describe.for(drafts)("in draft $number", ({ number, protocol, ownStream }) => {
  const silent = number === 14;

  test.for<{ name: string; filter: Filter }>([
    { name: "the next group", filter: { from: "next group" } },
    { name: "the largest object", filter: { from: "largest object" } },
    { name: "a place", filter: { from: "absolute", start: { group: 5, object: 2 } } },
    { name: "a range", filter: { from: "absolute", start: { group: 5, object: 2 }, endGroup: 9 } },
  ])("a subscription from $name is asked for as such, with priority and order", async ({ filter }) => {
    const { on, asked, first } = taking();
    const [client] = pair(protocol, on);
    subscribed(client, { filter, priority: 200, order: "descending", forward: true });
    await first;
    expect(asked[0]!.params).toMatchObject({ filter, priority: 200, order: "descending", forward: true });
  });

  test("an update changes what it says and leaves the rest", async () => {
    const { on, first } = taking();
    const [client] = pair(protocol, on);
    const { update } = subscribed(client, {
      filter: { from: "absolute", start: { group: 1, object: 0 } },
      priority: 9,
    });
    const outgoing = await first;
    const changed = new Promise<void>((resolve) => {
      outgoing.onUpdate = resolve;
    });
    const answer = new Promise((resolve) => update({ forward: false }, resolve));
    expect(await answer).toBeUndefined();
    await changed;
    expect(outgoing.params).toMatchObject({ forward: false, priority: 9 });
  });

  test("a change that is not possible is refused, and from draft 18 on ends the subscription", async () => {
    if (silent) return;
    const { on, first } = taking();
    const [client] = pair(protocol, on);
    const { update, done } = subscribed(client);
    await first;
    const tokens = [{ use: "alias", alias: 5 }] as const;
    const why = await new Promise<{ code: number } | undefined>((resolve) => update({ tokens }, resolve));
    expect(why?.code).toBe(requestErrors.malformedToken);
    if (number >= 18) expect(await done).toBe(doneCodes.updateFailed);
  });

  test("TRACK_STATUS says where a track stands", async () => {
    const [client] = pair(protocol, {
      trackStatus: (asked) => asked.accept({ largest: { group: 300, object: 4 } }),
    });
    expect(await client.trackStatus(track)).toEqual({ largest: { group: 300, object: 4 } });
  });

  test.for(["doesNotExist", "invalidRange", "unauthorized", "expiredToken", "internal"] as const)(
    "a subscription that is refused with %s hears that",
    async (code) => {
      const reject = (asked: SubscribeAsked) => asked.reject({ code: requestErrors[code], reason: "no" });
      const [client] = pair(protocol, { subscribe: reject });
      expect(await subscribed(client).refused).toBe(requestErrors[code]);
    },
  );

  test.for([
    "trackEnded",
    "subscriptionEnded",
    "goingAway",
    "expired",
    "tooFarBehind",
    "unauthorized",
  ] as const)("a subscription that ends with %s hears that", async (code) => {
    const { on, first } = taking();
    const [client] = pair(protocol, on);
    const { done } = subscribed(client);
    (await first).done(doneCodes[code], "", resetCodes.cancelled);
    expect(await done).toBe(doneCodes[code]);
  });

  test("a request that nobody answers here is NOT_SUPPORTED", async () => {
    const [client] = pair(protocol, {});
    expect(await subscribed(client).refused).toBe(requestErrors.notSupported);
    expect(await client.trackStatus(track)).toMatchObject({ code: requestErrors.notSupported });
    expect(await client.publishNamespace(["a"]).answer).toMatchObject({ code: requestErrors.notSupported });
  });

  test("who takes a subscription back is not sent to any more", async () => {
    const { on, first } = taking();
    const [client] = pair(protocol, on);
    const { end } = subscribed(client);
    const outgoing = await first;
    const left = new Promise<void>((resolve) => {
      outgoing.onEnd = resolve;
    });
    end();
    await left;
  });

  test("two requests about the same namespaces overlap", async () => {
    const [client] = pair(protocol, {
      subscribeNamespace: (asked) => {
        asked.accept();
        return undefined;
      },
    });
    const follow = (prefix: readonly string[]) =>
      new Promise<"ok" | number>((resolve) => {
        client.subscribeNamespace(
          prefix,
          {},
          {
            ...{
              ok: () => resolve("ok"),
              refused: ({ code }) => resolve(code),
              come: () => {},
              go: () => {},
            },
          },
        );
      });
    expect(await follow(["a", "b"])).toBe("ok");
    expect(await follow(["a"])).toBe(requestErrors.prefixOverlap);
    expect(await follow(["c"])).toBe("ok");
  });

  test("a joining FETCH waits for the subscription that it joins", async () => {
    const asked = Promise.withResolvers<SubscribeAsked>();
    const fetched = Promise.withResolvers<FetchAsked>();
    const [client] = pair(protocol, { subscribe: asked.resolve, fetch: fetched.resolve });
    const { id } = subscribed(client, { filter: { from: "largest object" } });
    client.fetch(
      { kind: "relative", joining: id, start: 1 },
      {},
      { ok: () => {}, refused: () => {}, object: () => {}, end: () => {}, gone: () => {} },
    );
    const accepted = (await asked.promise).accept({ largest: { group: 7, object: 3 } });
    expect((await fetched.promise).joined).toBe(accepted);
  });

  test("a FETCH that joins what sends nothing, or is nothing, is refused", async () => {
    const { on, first } = taking();
    const [client] = pair(protocol, {
      ...on,
      fetch: (asked) =>
        asked.joined ?? asked.reject({ code: requestErrors.invalidJoiningRequest, reason: "" }),
    });
    const { id } = subscribed(client, { filter: { from: "largest object" }, forward: false });
    await first;
    const refused = (joining: number) =>
      new Promise<number>((resolve) => {
        client.fetch(
          { kind: "relative", joining, start: 1 },
          {},
          {
            ok: () => {},
            refused: ({ code }) => resolve(code),
            object: () => {},
            end: () => {},
            gone: () => {},
          },
        );
      });
    expect(await refused(id)).toBe(requestErrors.invalidRange);
    // A request that there was, and that was none to join.
    expect(await refused(id + 2)).toBe(requestErrors.invalidJoiningRequest);
  });

  test("after GOAWAY what is open goes on; then the session ends", async () => {
    const went = Promise.withResolvers<string>();
    const closed = Promise.withResolvers<Closed>();
    const { on, first } = taking();
    const [client, server] = pair(protocol, on, { goaway: went.resolve, closed: closed.resolve });
    const { objects, ended } = subscribed(client);
    const outgoing = await first;
    server.goAway({ uri: "https://other.example/", withinMs: 50 });
    expect(await went.promise).toBe("https://other.example/");
    const stream = outgoing.open({ group: 8, subgroup: 0, priority: 1, extensions: false, endOfGroup: true });
    stream.write(encodeObject(bytes("a")), true);
    await ended;
    expect(objects).toEqual(["a"]);
    if (number >= 18) expect(await subscribed(client).refused).toBe(requestErrors.goingAway);
    expect((await closed.promise).code).toBe(sessionErrors.goawayTimeout);
  });

  test("a client that sends a server elsewhere, or leaves twice, ends its session", async () => {
    const closed = Promise.withResolvers<Closed>();
    const ready = Promise.withResolvers<void>();
    const [client] = pair(protocol, { closed: closed.resolve }, { ready: () => ready.resolve() });
    await ready.promise;
    client.goAway({ uri: "https://elsewhere.example/" });
    expect((await closed.promise).code).toBe(sessionErrors.protocolViolation);
  });

  test("no more than 64 requests are open at a time, whoever sets the limit", async () => {
    let open = 0;
    let most = 0;
    const [client] = pair(protocol, {
      subscribe: (asked) => {
        most = Math.max(most, ++open);
        asked.accept({ largest: undefined });
      },
    });
    const all = Array.from({ length: 100 }, () => subscribed(client));
    await all[63]!.ok;
    if (ownStream === "all") expect(await all[64]!.refused).toBe(requestErrors.excessiveLoad);
    expect(most).toBe(64);
    all[0]!.end();
  });

  test("what waits for longer than a subscriber has patience is reset", async () => {
    const [a, b] = duplexPair();
    const resets: number[] = [];
    const real = new PipeSession(b, "server", protocol);
    // A network that takes nothing.
    const stuck: Session = {
      ...{ protocol, remote: real.remote, queued: 100 },
      openBi: () => real.openBi(),
      serve: (on) => real.serve(on),
      close: (code, reason) => real.close(code, reason),
      openUni: () => {
        const stream = real.openUni();
        const own: SendStream = {
          write: (data, fin) => stream.write(data, fin),
          room: () => stream.room(),
          queued: 100,
          reset: (code) => {
            resets.push(code);
            stream.reset(code);
          },
        };
        return own;
      },
    };
    const { on, first } = taking();
    new Peer({ transport: stuck, side: "server", on });
    const client = new Peer({ transport: new PipeSession(a, "client", protocol), side: "client", on: {} });
    const { ended } = subscribed(client, { deliveryTimeoutMs: 5 });
    const stream = (await first).open({
      group: 8,
      subgroup: 0,
      priority: 1,
      extensions: false,
      endOfGroup: true,
    });
    stream.write(encodeObject(bytes("a")));
    expect(await ended).toBe("gone");
    expect(resets).toEqual([resetCodes.deliveryTimeout]);
  });

  test("sessions that end in the middle of everything leave nothing open", async () => {
    const { on, first } = taking();
    const [client, server] = pair(protocol, on);
    const { done } = subscribed(client);
    const outgoing = await first;
    const left = vi.fn();
    outgoing.onEnd = left;
    client.close("noError", "");
    await done;
    await vi.waitFor(() => expect(left).toHaveBeenCalled());
    expect(server.closed).toBe(true);
  });
});

describe("streams of requests", () => {
  type Do = (transport: PipeSession, write: (message: Message, stream?: SendStream) => void) => void;
  const subscribe = (id: number): Message => ({ type: "subscribe", id, track, params: {} });

  /** What a server answers to a client that does this after SETUP. */
  async function answerTo(draft: Draft, act: Do): Promise<Closed> {
    const [a, b] = duplexPair();
    new Peer({ transport: new PipeSession(b, "server", draft.protocol), side: "server", on: taking().on });
    const transport = new PipeSession(a, "client", draft.protocol);
    const closed = new Promise<Closed>((resolve) =>
      transport.serve({ uni: () => {}, bi: () => {}, closed: resolve }),
    );
    const control = transport.openUni();
    control.write(encodeMessage(draft, { type: "setup", options: {} }));
    act(transport, (message, stream = transport.openBi().send) =>
      stream.write(encodeMessage(draft, message)),
    );
    return closed;
  }

  test.for<{ name: string; code: keyof typeof sessionErrors; act: Do }>([
    {
      ...{ name: "a request twice", code: "invalidRequestId" },
      act: (_transport, write) => {
        write(subscribe(0));
        write(subscribe(0));
      },
    },
    {
      ...{ name: "a request with a number of the server", code: "invalidRequestId" },
      act: (_transport, write) => write(subscribe(1)),
    },
    {
      ...{ name: "an answer where a request is due", code: "protocolViolation" },
      act: (transport) => transport.openBi().send.write(Buffer.from("07000100", "hex")),
    },
    {
      ...{ name: "a second request on one stream", code: "protocolViolation" },
      act: (transport, write) => {
        const { send } = transport.openBi();
        write(subscribe(0), send);
        write(subscribe(2), send);
      },
    },
    {
      ...{ name: "two control streams", code: "protocolViolation" },
      act: (transport, write) => write({ type: "setup", options: {} }, transport.openUni()),
    },
    {
      ...{ name: "a stream of no kind", code: "protocolViolation" },
      act: (transport) => transport.openUni().write(Buffer.from("07", "hex")),
    },
    {
      ...{ name: "a path where the transport has said it", code: "invalidPath" },
      act: (transport, write) => write({ type: "setup", options: { path: "/a" } }, transport.openUni()),
    },
  ])("end the session with $code at $name", async ({ name, code, act }) => {
    if (name.startsWith("a path")) {
      const [a, b] = duplexPair();
      new Peer({ transport: new PipeSession(b, "server", "moqt-18"), side: "server", on: {} });
      const transport = new PipeSession(a, "client", "moqt-18");
      const closed = new Promise<Closed>((resolve) =>
        transport.serve({ uni: () => {}, bi: () => {}, closed: resolve }),
      );
      act(transport, (message, stream) => stream!.write(encodeMessage(draft18, message)));
      expect((await closed).code).toBe(sessionErrors[code]);
      return;
    }
    expect((await answerTo(draft18, act)).code).toBe(sessionErrors[code]);
  });

  test("may come before SETUP, and out of order", async () => {
    const [a, b] = duplexPair();
    const asked: number[] = [];
    const three = Promise.withResolvers<void>();
    new Peer({
      ...{ transport: new PipeSession(b, "server", "moqt-18"), side: "server" },
      on: {
        subscribe: ({ id, reject }) => {
          asked.push(id);
          reject({ code: requestErrors.doesNotExist, reason: "" });
          if (asked.length === 3) three.resolve();
        },
      },
    });
    const transport = new PipeSession(a, "client", "moqt-18");
    transport.serve({ uni: () => {}, bi: () => {}, closed: () => {} });
    for (const id of [4, 0, 2]) transport.openBi().send.write(encodeMessage(draft18, subscribe(id)));
    transport.openUni().write(encodeMessage(draft18, { type: "setup", options: {} }));
    await three.promise;
    expect(asked).toEqual([4, 0, 2]);
  });

  test("padding is passed over", async () => {
    const [a, b] = duplexPair();
    const ready = Promise.withResolvers<void>();
    const server = new Peer({
      ...{ transport: new PipeSession(b, "server", "moqt-18"), side: "server" },
      on: { ready: () => ready.resolve() },
    });
    const transport = new PipeSession(a, "client", "moqt-18");
    transport.serve({ uni: () => {}, bi: () => {}, closed: () => {} });
    transport.openUni().write(Buffer.concat([Buffer.from("f0132b3e28", "hex"), Buffer.alloc(100)]), true);
    transport.openUni().write(encodeMessage(draft18, { type: "setup", options: {} }));
    await ready.promise;
    expect(server.closed).toBe(false);
  });
});
