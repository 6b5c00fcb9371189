import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import { encodeMessage } from "./codec/control.ts";
import { draft16, drafts } from "./codec/drafts.ts";
import { doneCodes, requestErrors } from "./codec/messages.ts";
import { encodeObject } from "./codec/objects.ts";
import { sessionErrors } from "./codec/wire.ts";
import { PipeSession } from "./pipe.ts";
import type { Outgoing, PublishAsked } from "./requests.ts";
import { Peer, type PeerEvents } from "./session.ts";
import type { Closed } from "./transport.ts";

const track = { namespace: ["live"], name: "video" };

function pair(protocol: string, server: PeerEvents): { client: Peer; server: Peer } {
  const [a, b] = duplexPair();
  return {
    client: new Peer({ transport: new PipeSession(a, "client", protocol), side: "client", on: {} }),
    server: new Peer({ transport: new PipeSession(b, "server", protocol), side: "server", on: server }),
  };
}

/** Sends one group of these objects. */
function group(outgoing: Outgoing, id: number, texts: readonly string[]): void {
  const stream = outgoing.open({
    ...{ group: id, subgroup: 0, priority: 1, extensions: false, endOfGroup: true },
  });
  const { integers } = outgoing.draft;
  for (const text of texts) stream.write(encodeObject(Buffer.from(text), { integers }));
  stream.write(new Uint8Array(0), true);
}

/** What is heard of a pushed track, a line each. */
class Heard {
  readonly lines: string[] = [];
  #waiting: (() => void)[] = [];

  say(line: string): void {
    this.lines.push(line);
    for (const check of this.#waiting.splice(0)) check();
  }

  async until(line: string): Promise<void> {
    while (!this.lines.includes(line)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  take(asked: PublishAsked, params = { forward: true }): () => void {
    return asked.accept(
      {
        group: ({ group }) => ({
          object: ({ object, payload }) => this.say(`${group}.${object} ${Buffer.from(payload).toString()}`),
          end: () => this.say(`end ${group}`),
          gone: () => this.say(`gone ${group}`),
        }),
        done: (code) => this.say(`done ${code}`),
      },
      params,
    );
  }
}

describe.for(drafts)("a track that is pushed, in draft $number", ({ protocol }) => {
  test("comes whole, what was sent before the answer too, up to its end", async () => {
    const heard = new Heard();
    const asked = Promise.withResolvers<PublishAsked>();
    const { client } = pair(protocol, { publish: asked.resolve });
    const { answer, outgoing } = client.publish(track, { forward: true });
    group(outgoing, 1, ["a", "b"]);
    const one = await asked.promise;
    expect(one.track).toEqual(track);
    heard.take(one);
    expect(await answer).toBeUndefined();
    group(outgoing, 2, ["c"]);
    await heard.until("end 2");
    outgoing.done(doneCodes.trackEnded, "", 0);
    await heard.until(`done ${doneCodes.trackEnded}`);
    expect(heard.lines).toEqual([
      ...["1.0 a", "1.1 b", "end 1", "2.0 c", "end 2"],
      `done ${doneCodes.trackEnded}`,
    ]);
  });

  test("is sent in the way that its taker wishes", async () => {
    const { client } = pair(protocol, { publish: (asked) => new Heard().take(asked, { forward: false }) });
    const { answer, outgoing } = client.publish(track);
    await answer;
    expect(outgoing.params.forward).toBe(false);
  });

  test("is refused with a reason, of which its publisher hears", async () => {
    const { client } = pair(protocol, {
      publish: (asked) => asked.reject({ code: requestErrors.uninterested, reason: "no need" }),
    });
    const { answer, outgoing } = client.publish(track);
    const ended = new Promise<void>((resolve) => {
      outgoing.onEnd = resolve;
    });
    expect(await answer).toMatchObject({ code: requestErrors.uninterested, reason: "no need" });
    await ended;
  });

  test("is refused where nobody takes any", async () => {
    const { client } = pair(protocol, {});
    expect(await client.publish(track).answer).toMatchObject({ code: requestErrors.notSupported });
  });

  test("ends when its taker has enough, and others go on", async () => {
    const heard = new Heard();
    let end = () => {};
    const { client } = pair(protocol, {
      publish: (asked) => {
        const stop = heard.take(asked);
        if (asked.track.name === track.name) end = stop;
      },
    });
    const { answer, outgoing } = client.publish(track);
    const other = client.publish({ ...track, name: "audio" });
    await Promise.all([answer, other.answer]);
    const ended = new Promise<void>((resolve) => {
      outgoing.onEnd = resolve;
    });
    end();
    await ended;
    group(other.outgoing, 7, ["sound"]);
    await heard.until("end 7");
  });

  test("ends with its session", async () => {
    const heard = new Heard();
    const { client } = pair(protocol, { publish: (asked) => void heard.take(asked) });
    await client.publish(track).answer;
    client.close("noError", "");
    await heard.until(`done ${doneCodes.internal}`);
  });
});

test("two pushed tracks of one alias end the session", async () => {
  const [a, b] = duplexPair();
  new Peer({
    ...{ transport: new PipeSession(b, "server", draft16.protocol), side: "server" },
    on: { publish: (asked) => void new Heard().take(asked) },
  });
  const transport = new PipeSession(a, "client", draft16.protocol);
  const closed = new Promise<Closed>((resolve) =>
    transport.serve({ uni: () => {}, bi: () => {}, closed: resolve }),
  );
  const { send } = transport.openBi();
  send.write(encodeMessage(draft16, { type: "client-setup", options: {} }));
  for (const id of [0, 2])
    send.write(
      encodeMessage(draft16, {
        ...{ type: "publish", id, track: { ...track, name: `${id}` }, alias: 5 },
        ...{ params: {}, extensions: new Uint8Array(0) },
      }),
    );
  expect((await closed).code).toBe(sessionErrors.duplicateTrackAlias);
});
