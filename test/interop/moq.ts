import { parseArgs } from "node:util";
import { requestErrors } from "../../services/moq/codec/messages.ts";
import type { SubscribeAsked, SubscriptionEvents } from "../../services/moq/requests.ts";
import { Peer, type PeerEvents, protocols } from "../../services/moq/session.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";

// The six cases of moq-interop-runner as a client: `RELAY_URL=https://host:port/path node infra/launch.mjs test/interop/moq.ts`
// writes TAP 14; `TESTCASE` takes one of them, `MOQT_DRAFT` another draft than the one that the relay would rather speak.

const namespace = ["moq-test", "interop"];
const track = { namespace, name: "test-track" };
const answerMs = 5_000;

/** How a case went: undefined is well. */
type Verdict = string | undefined;

/** Opens sessions with the relay under test; whatever it opened is closed after its case. */
interface Ground {
  open(on?: PeerEvents): Promise<Peer>;
}

const within = <T>(what: string, waiting: Promise<T>): Promise<T> =>
  Promise.race([
    waiting,
    new Promise<never>((_resolve, reject) => {
      setTimeout(
        () => reject(new Error(`${what} did not come within ${answerMs / 1000} s`)),
        answerMs,
      ).unref();
    }),
  ]);

/** What the relay answers to a subscription: "ok", or the code of its refusal. */
function subscribe(peer: Peer, on: Partial<SubscriptionEvents> = {}): Promise<"ok" | number> {
  return new Promise((resolve) => {
    peer.subscribe(
      track,
      { filter: { from: "largest object" }, forward: true },
      {
        ok: () => resolve("ok"),
        refused: ({ code }) => resolve(code),
        group: () => ({ object() {}, end() {}, gone() {} }),
        done: () => {},
        ...on,
      },
    );
  });
}

/** A publisher whose track anyone may subscribe to. */
function publisher(asked: (subscription: SubscribeAsked) => void): PeerEvents {
  return {
    subscribe: (subscription) => {
      subscription.accept({ largest: undefined });
      asked(subscription);
    },
  };
}

/** The cases by their names there. */
export const cases: Readonly<Record<string, (ground: Ground) => Promise<Verdict>>> = {
  "setup-only": async ({ open }) => {
    const peer = await open();
    return peer.closed ? "the session was closed" : undefined;
  },

  "announce-only": async ({ open }) => {
    const peer = await open();
    const refused = await within("an answer", peer.publishNamespace(namespace).answer);
    return refused && `PUBLISH_NAMESPACE was refused with ${refused.code}: ${refused.reason}`;
  },

  "publish-namespace-done": async ({ open }) => {
    const peer = await open();
    const announced = peer.publishNamespace(namespace);
    const refused = await within("an answer", announced.answer);
    if (refused) return `PUBLISH_NAMESPACE was refused with ${refused.code}: ${refused.reason}`;
    announced.end();
    // What is answered after it shows that it was no violation.
    const code = await within("an answer", subscribe(peer));
    if (peer.closed) return "the session was closed";
    return code === "ok" ? "a track is still to be had" : undefined;
  },

  "subscribe-error": async ({ open }) => {
    const peer = await open();
    const code = await within("an answer", subscribe(peer));
    if (code === "ok") return "a track that nobody has was accepted";
    return code === requestErrors.doesNotExist ? undefined : `the code is ${code}, not DOES_NOT_EXIST`;
  },

  "announce-subscribe": async ({ open }) => {
    const came = Promise.withResolvers<SubscribeAsked>();
    const source = await open(publisher(came.resolve));
    const refused = await within("an answer", source.publishNamespace(namespace).answer);
    if (refused) return `PUBLISH_NAMESPACE was refused with ${refused.code}`;
    const viewer = await open();
    const answer = await within("SUBSCRIBE_OK", subscribe(viewer));
    const asked = await within("the subscription", came.promise);
    if (asked.track.name !== track.name) return "the publisher was asked for another track";
    return answer === "ok" ? undefined : `SUBSCRIBE was refused with ${answer}`;
  },

  "subscribe-before-announce": async ({ open }) => {
    const viewer = await open();
    const early = subscribe(viewer);
    const came = Promise.withResolvers<SubscribeAsked>();
    const source = await open(publisher(came.resolve));
    const refused = await within("an answer", source.publishNamespace(namespace).answer);
    if (refused) return `PUBLISH_NAMESPACE was refused with ${refused.code}`;
    // A relay may wait for the publisher, or refuse what is not there yet.
    const first = await within("an answer", early);
    const answer = first === "ok" ? first : await within("SUBSCRIBE_OK", subscribe(viewer));
    return answer === "ok" ? undefined : `SUBSCRIBE was refused with ${answer} after the announcement`;
  },
};

/** Runs one case with `connect` for its sessions. */
export async function run(
  name: string,
  connect: (on: PeerEvents) => Promise<Peer>,
): Promise<{ readonly verdict: Verdict; readonly ms: number }> {
  const peers: Peer[] = [];
  const began = performance.now();
  const ground: Ground = {
    open: async (on = {}) => {
      const ready = Promise.withResolvers<void>();
      const peer = await connect({
        ...on,
        ready: () => ready.resolve(),
        closed: ({ code, reason }) => ready.reject(new Error(`closed with ${code}: ${reason}`)),
      });
      ready.promise.catch(() => {});
      peers.push(peer);
      await within("SETUP", ready.promise);
      return peer;
    },
  };
  let verdict: Verdict;
  try {
    verdict = await cases[name]!(ground);
  } catch (error) {
    verdict = (error as Error).message;
  }
  for (const peer of peers) peer.close("noError", "");
  return { verdict, ms: Math.round(performance.now() - began) };
}

/** A session with the relay at `url`, in one of these protocols. */
export async function connect(url: string, offered: readonly string[], on: PeerEvents): Promise<Peer> {
  const { hostname, port, pathname, search } = new URL(url);
  const transport = await connectWebTransport({
    ...{ host: hostname.replace(/^\[|\]$/g, ""), port: Number(port || 443), path: `${pathname}${search}` },
    protocols: offered,
  });
  return new Peer({ transport, side: "client", on });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { relay: { type: "string" }, testcase: { type: "string" }, draft: { type: "string" } },
  });
  const url = values.relay ?? process.env.RELAY_URL;
  const only = values.testcase ?? process.env.TESTCASE;
  const draft = values.draft ?? process.env.MOQT_DRAFT;
  if (!url) {
    console.error("Say which relay: RELAY_URL=https://host:port/path, or --relay");
    return 2;
  }
  const names = only ? [only] : Object.keys(cases);
  const unknown = names.find((name) => !cases[name]);
  if (unknown) {
    console.error(`There is no case ${unknown}; there are ${Object.keys(cases).join(", ")}`);
    return 2;
  }
  const offered = draft ? [`moqt-${draft}`] : protocols;
  console.log(`TAP version 14\n1..${names.length}`);
  let failures = 0;
  for (const [i, name] of names.entries()) {
    const { verdict, ms } = await run(name, (on) => connect(url, offered, on));
    if (verdict !== undefined) failures++;
    console.log(`${verdict === undefined ? "ok" : "not ok"} ${i + 1} - ${name}`);
    console.log(`  ---\n  duration_ms: ${ms}`);
    if (verdict !== undefined) console.log(`  message: ${JSON.stringify(verdict)}`);
    console.log("  ...");
  }
  return failures > 0 ? 1 : 0;
}

if (import.meta.main) process.exit(await main());
