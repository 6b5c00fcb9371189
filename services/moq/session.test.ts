import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import { encodeMessage } from "./codec/control.ts";
import { draft16 } from "./codec/drafts.ts";
import type { Message } from "./codec/messages.ts";
import { sessionErrors } from "./codec/wire.ts";
import { PipeSession } from "./pipe.ts";
import { Relay } from "./relay.ts";
import { Peer } from "./session.ts";
import type { Closed } from "./transport.ts";

const namespace = ["a".repeat(32)];
const bytes = (text: string) => Buffer.from(text);
const limits = { cacheBytes: 1 << 20, queuedBytes: 1 << 20, graceMs: 0 };

describe("a session", () => {
  /** What the server answers to a client that sends these bytes. */
  async function answerTo(messages: readonly Message[]): Promise<Closed> {
    const [a, b] = duplexPair();
    const relay = new Relay(limits);
    new Peer({
      transport: new PipeSession(b, "server", "moqt-16"),
      side: "server",
      on: {
        ...relay.subscriber(() => ({ watch: () => () => {} })),
        closed: ({ reason }) => {
          said = reason;
        },
      },
    });
    // A pipe carries none.
    let said = "";
    const transport = new PipeSession(a, "client", "moqt-16");
    const closed = new Promise<Closed>((resolve) =>
      transport.serve({ uni: () => {}, bi: () => {}, closed: resolve }),
    );
    const { send } = transport.openBi();
    for (const message of messages) send.write(encodeMessage(draft16, message));
    return { ...(await closed), reason: said };
  }
  const setup: Message = { type: "client-setup", options: { maxRequestId: 10 } };
  const subscribe = (id: number): Message => ({
    ...{ type: "subscribe", id, track: { namespace, name: "v" }, params: {} },
  });

  test("takes requests that overtake one another, as some have a stream of their own", async () => {
    const { reason } = await answerTo([setup, subscribe(2), subscribe(0), subscribe(0)]);
    expect(reason).toBe("Request 0 came, 4 is next");
  });

  test.for<{ name: string; messages: readonly Message[]; code: keyof typeof sessionErrors }>([
    { name: "no SETUP first", messages: [subscribe(0)], code: "protocolViolation" },
    { name: "SETUP twice", messages: [setup, setup], code: "protocolViolation" },
    { name: "a request twice", messages: [setup, subscribe(0), subscribe(0)], code: "invalidRequestId" },
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
