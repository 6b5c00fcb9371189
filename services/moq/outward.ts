import { Failure, messageOf } from "../lib/errors.ts";
import { upgradeInternal } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import { resolveOutside } from "../lib/outside.ts";
import { keyPlace, type OpenRelayed, type OutputEnded, type RelayedPush } from "../live/output.ts";
import type { SetupOptions } from "./codec/messages.ts";
import { pipeProtocol, tracksPath } from "./door.ts";
import { knownRoots } from "./identity.ts";
import { connectNative } from "./native.ts";
import { PipeSession } from "./pipe.ts";
import { notSpoken } from "./quic.ts";
import { Relay } from "./relay.ts";
import { keyOf } from "./routes.ts";
import { Peer, type PeerEvents, protocols, tellsOfFault } from "./session.ts";
import type { Source } from "./track.ts";
import type { Session } from "./transport.ts";
import { connectWebTransport } from "./webtransport.ts";

const openMs = 15_000;
/** A relay that says nothing for so long is gone. */
const aliveMs = 10_000;
/** For what is under way when a broadcast has ended. */
const farewellMs = 1_000;
/** A broadcast that is gone from our own relay may come back, as after a restart of the origin. */
const returnMs = 3_000;
/** What is kept for one relay that comes late, and what may wait for it. */
const cacheBytes = 32 << 20;
const queuedBytes = 8 << 20;

/** Offers broadcasts of the relay at `relay`, an internal address, to relays of others. */
export function outward(own: {
  readonly relay: string;
  readonly secret: string | undefined;
  readonly log: Log;
}): OpenRelayed {
  const broke = tellsOfFault(own.log);
  return async (options) => {
    const { place, input, streamKey, allowed, attempt, signal } = options;
    const { host, hostname } = place.url;
    const clean = (text: string) => withoutKey(text, streamKey);
    const stop = AbortSignal.any([signal, AbortSignal.timeout(openMs)]);
    const late = new Promise<never>((_resolve, reject) => {
      const why = `${hostname} has not answered within ${openMs / 1000} s; see whether its address and UDP port are right`;
      stop.addEventListener("abort", () => reject(new Failure("unavailable", why)), { once: true });
    });
    late.catch(() => undefined);
    const opened: Peer[] = [];
    const keep = async (opening: Promise<Peer>) => {
      // What comes too late is closed as it comes.
      void opening.then(
        (peer) => (stop.aborted ? peer.close("noError", "") : opened.push(peer)),
        () => undefined,
      );
      return Promise.race([opening, late]);
    };
    try {
      const broadcast = new Broadcast(input);
      const inner = await keep(openInner(own, broadcast, stop));
      await Promise.race([broadcast.here, late]);
      const { port, addresses } = await resolveOutside(place.url, allowed);
      const offer = new Offer(inner, { input, namespace: place.namespace ?? [input], broadcast });
      const address = addresses[attempt % addresses.length]!;
      const outer = await keep(
        openOuter({ place, streamKey, address, port, on: { ...offer.events, broke } }),
      );
      const refused = await Promise.race([offer.announce(outer), late]);
      if (refused) throw new Failure("unauthorized", `${host} refuses the broadcast (${refused})`);
      return offer.push(clean, host);
    } catch (error) {
      for (const peer of opened) peer.close("noError", "");
      const code = error instanceof Failure ? error.code : "unavailable";
      const reason =
        code === "forbidden" ? "forbidden" : code === "unauthorized" ? "refused" : ("unreachable" as const);
      return { reason, error: clean(sentence(messageOf(error))) };
    }
  };
}

/** Whether our own relay has a live input's broadcast. */
class Broadcast {
  readonly input: string;
  readonly #here = Promise.withResolvers<void>();
  readonly here = this.#here.promise;
  #gone: NodeJS.Timeout | undefined;
  onGone: () => void = () => {};

  constructor(input: string) {
    this.input = input;
  }

  follow(peer: Peer): void {
    const is = (namespace: readonly string[]) => keyOf(namespace) === keyOf([this.input]);
    peer.subscribeNamespace(
      [this.input],
      {},
      {
        ok: () => {},
        refused: () => this.#leave(),
        come: (namespace) => {
          if (!is(namespace)) return;
          clearTimeout(this.#gone);
          this.#here.resolve();
        },
        go: (namespace) => {
          if (is(namespace)) this.#gone = setTimeout(() => this.#leave(), returnMs).unref();
        },
        gone: () => this.#leave(),
      },
    );
  }

  #leave(): void {
    clearTimeout(this.#gone);
    this.onGone();
  }
}

/** A session with our own relay. */
async function openInner(
  { relay, secret }: { readonly relay: string; readonly secret: string | undefined },
  broadcast: Broadcast,
  signal: AbortSignal,
): Promise<Peer> {
  const socket = await upgradeInternal(relay, tracksPath, { protocol: pipeProtocol, secret, signal });
  const ready = Promise.withResolvers<Peer>();
  new Peer({
    transport: new PipeSession(socket, "client", pipeProtocol),
    side: "client",
    on: {
      ready: (peer) => {
        broadcast.follow(peer);
        ready.resolve(peer);
      },
      closed: ({ reason }) => ready.reject(new Failure("unavailable", `The relay here is away: ${reason}`)),
    },
  });
  return ready.promise;
}

interface Outer {
  readonly place: Parameters<OpenRelayed>[0]["place"];
  readonly streamKey: string;
  readonly address: string;
  readonly port: number;
  readonly on: PeerEvents;
}

/** A session with the relay of somebody else, in the first of our drafts that it speaks. */
async function openOuter({ place, streamKey, address, port, on }: Outer): Promise<Peer> {
  const { url } = place;
  const asked = `${url.pathname}${url.search}`;
  const path = asked.replace(keyPlace, () => encodeURIComponent(streamKey));
  const name = url.hostname.replace(/^\[|\]$/g, "");
  const trust = { name, roots: knownRoots() };
  const authority = url.host;
  const native = url.protocol === "moqt:";
  const to = { host: address, port, trust };
  const transport = native
    ? await firstSpoken((protocol) => connectNative({ ...to, protocol, pingMs: aliveMs / 2 }))
    : await connectWebTransport({ ...to, path, authority, protocols, aliveMs });
  const token = { use: "value", type: 0, value: Buffer.from(streamKey) } as const;
  const setup: SetupOptions = {
    ...(native && { path, authority }),
    // A key that has no place in the URL.
    ...(path === asked && { tokens: [token] }),
  };
  const ready = Promise.withResolvers<Peer>();
  new Peer({
    ...{ transport, side: "client", setup },
    on: {
      ...on,
      ready: ready.resolve,
      closed: (how) => {
        ready.reject(
          new Failure(
            how.code === 2 ? "unauthorized" : "unavailable",
            `${url.host} ended the session (${how.reason || how.code})`,
          ),
        );
        on.closed?.(how);
      },
    },
  });
  return ready.promise;
}

/** QUIC alone agrees on a draft by ALPN, and the binding does not say on which: so one is offered after the other. */
async function firstSpoken(connect: (protocol: string) => Promise<Session>): Promise<Session> {
  for (const protocol of protocols)
    try {
      return await connect(protocol);
    } catch (error) {
      if (messageOf(error) !== notSpoken) throw error;
    }
  throw new Failure(
    "unavailable",
    `none of the drafts that are spoken here (${protocols.join(", ")}) is spoken there`,
  );
}

/** A broadcast of our own relay under a name that another one knows it by. */
class Offer {
  readonly events: PeerEvents;
  readonly #inner: Peer;
  readonly #namespace: readonly string[];
  readonly #broadcast: Broadcast;
  readonly #relay: Relay;
  readonly #done = Promise.withResolvers<OutputEnded | undefined>();
  #withdraw: (() => void) | undefined;
  #outer: Peer | undefined;
  #bytes = 0;
  #lost: (reason: string) => void = () => {};

  constructor(
    inner: Peer,
    {
      input,
      namespace,
      broadcast,
    }: { readonly input: string; readonly namespace: readonly string[]; readonly broadcast: Broadcast },
  ) {
    this.#inner = inner;
    this.#namespace = namespace;
    this.#broadcast = broadcast;
    this.#relay = new Relay({
      ...{ cacheBytes, queuedBytes, graceMs: 0 },
      count: (what, more) => {
        if (what === "bytes") this.#bytes += more;
      },
    });
    const source = renamed(inner, [input]);
    const is = (asked: readonly string[]) => keyOf(asked) === keyOf(namespace);
    this.#relay.join({
      offer: () => {},
      namespaces: () => [namespace],
      hop: (asked) =>
        is(asked) && !inner.closed
          ? { target: input, epoch: 1, node: "", distance: 0, peer: () => source, turnedAway: () => {} }
          : undefined,
    });
    this.events = {
      ...this.#relay.subscriber((asked) => (is(asked) ? { watch: () => () => {} } : undefined)),
      goaway: () => this.#lost("asks us to come back"),
      closed: ({ code, reason }) => this.#lost(`ended the session (${reason || code})`),
    };
  }

  /** Says what is to be had here; why it is not wanted, or undefined. */
  async announce(outer: Peer): Promise<string | undefined> {
    this.#outer = outer;
    const { answer, end } = outer.publishNamespace(this.#namespace, {
      cancelled: ({ reason }) => this.#lost(`wants the broadcast no more (${reason})`),
    });
    this.#withdraw = end;
    const refused = await answer;
    return refused && (refused.reason || `code ${refused.code}`);
  }

  push(clean: (text: string) => string, host: string): RelayedPush {
    const offer = this;
    const outer = this.#outer!;
    const end = (ended: OutputEnded | undefined) => {
      this.#done.resolve(ended);
      for (const peer of [outer, this.#inner]) peer.close("noError", "");
    };
    this.#lost = (why) => end({ reason: "lost", error: clean(`${host} ${why}.`) });
    this.#broadcast.onGone = () => end({ reason: "lost", error: "The relay here has lost the broadcast." });
    // Both may have gone while nobody looked.
    if (outer.closed) this.#lost("ended the session");
    if (this.#inner.closed) this.#broadcast.onGone();
    return {
      get sentBytes() {
        return offer.#bytes;
      },
      closed: this.#done.promise,
      finish: () =>
        void setTimeout(() => {
          this.#withdraw?.();
          // The word for that may go out.
          setTimeout(() => end(undefined), farewellMs / 10);
        }, farewellMs),
      cut: () => end(undefined),
    };
  }
}

/** Tracks of a session under another namespace. */
function renamed(peer: Peer, namespace: readonly string[]): Source {
  return {
    get closed() {
      return peer.closed;
    },
    get leaving() {
      return peer.leaving;
    },
    draft: peer.draft,
    subscribe: (track, params, events) => peer.subscribe({ ...track, namespace }, params, events),
    fetch: (range, params, events) =>
      peer.fetch(
        range.kind === "standalone" ? { ...range, track: { ...range.track, namespace } } : range,
        params,
        events,
      ),
  };
}

/** What another server said may repeat the key. */
function withoutKey(text: string, streamKey: string): string {
  // One of a few letters is no secret, and would be found in every word.
  const secrets = streamKey.length < 6 ? [] : [streamKey, encodeURIComponent(streamKey)];
  return secrets
    .reduce((left, secret) => left.replaceAll(secret, "[key]"), text)
    .replace(/[^\x20-\x7e]/g, "?")
    .slice(0, 400);
}

const sentence = (text: string) => (/[.!?]$/.test(text) ? text : `${text}.`);
