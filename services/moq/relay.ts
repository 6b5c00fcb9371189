import { type Params, requestErrors, resetCodes, type TrackName } from "./codec/messages.ts";
import type { Hop } from "./network.ts";
import type { RelayOptions, Right } from "./reader.ts";
import type { FetchAsked, NamespaceAsked, Outgoing, Refused, SubscribeAsked } from "./requests.ts";
import { keyOf, type Offer } from "./routes.ts";
import type { Peer, PeerEvents } from "./session.ts";
import { away, hopsOf, noNearer, type Pushes, Track, type Way } from "./track.ts";

const unauthorized: Refused = { code: requestErrors.unauthorized, reason: "This needs a valid token" };

/** What other relays have, as far as this one needs it. */
export interface Elsewhere {
  offer(own: readonly Offer[]): void;
  namespaces(): Iterable<readonly string[]>;
  hop(
    namespace: readonly string[],
    epoch: number | undefined,
  ): (Omit<Hop, "peer"> & Pick<Way, "peer">) | undefined;
}

/** A peer that publishes a namespace here. */
interface Publishing {
  readonly peer: Peer;
  readonly namespace: readonly string[];
  readonly epoch: number;
  /** Of this announcement. */
  readonly key: string;
}

/** What stands for an epoch among the tokens of PUBLISH_NAMESPACE. */
const epochText = "epoch:";

/** What a publisher says with a namespace so that of two the later is meant: milliseconds since 1970 at which it began. */
export const epochParams = (epoch: number): Params => ({
  tokens: [{ use: "value", type: 0, value: Buffer.from(`${epochText}${epoch}`) }],
});

/** Passes tracks on without knowing what is in them: one subscription upstream for any number of subscribers. */
export class Relay {
  readonly #options: RelayOptions;
  /** By namespace, the one that is meant last. */
  readonly #here = new Map<string, Publishing[]>();
  readonly #tracks = new Map<string, Track>();
  readonly #followers = new Set<() => void>();
  /** By which a subscription is: also what joins it is by that. */
  readonly #rights = new WeakMap<Outgoing, Right>();
  #elsewhere: Elsewhere | undefined;
  #announcements = 0;
  #bytes = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Bytes of objects kept. */
  get bytes(): number {
    return this.#bytes;
  }

  get subscriptions(): number {
    let count = 0;
    for (const track of this.#tracks.values()) count += track.readers;
    return count;
  }

  /** From now on tracks that nobody publishes here are taken from other relays. `changed` is to be called when these have others. */
  join(elsewhere: Elsewhere): void {
    this.#elsewhere = elsewhere;
    this.changed();
  }

  /** Other relays have other namespaces, or are reached in other ways. */
  changed(): void {
    for (const track of [...this.#tracks.values()]) track.look();
    for (const look of [...this.#followers]) look();
  }

  /** For a peer that has tracks: what it announces can be subscribed to here, until it takes that back or leaves. */
  publisher(): PeerEvents {
    let peer: Peer | undefined;
    const withdraw = (of: (one: Publishing) => boolean) => {
      for (const [key, all] of this.#here) {
        const left = all.filter((one) => one.peer !== peer || !of(one));
        if (left.length === all.length) continue;
        if (left.length > 0) this.#here.set(key, left);
        else this.#here.delete(key);
        this.#offered();
      }
    };
    return {
      ready: (ready) => {
        peer = ready;
      },
      publishNamespace: (asked) => {
        if (!peer) return;
        const { namespace, tokens } = asked;
        const said = Number(tokens.find((one) => one.startsWith(epochText))?.slice(epochText.length));
        const epoch = Number.isSafeInteger(said) && said > 0 ? said : Date.now();
        const key = `here ${++this.#announcements}`;
        const others = (this.#here.get(keyOf(namespace)) ?? []).filter((one) => one.peer !== peer);
        const all = [...others, { peer, namespace, epoch, key }];
        this.#here.set(
          keyOf(namespace),
          all.sort((a, b) => a.epoch - b.epoch),
        );
        asked.accept();
        this.#offered();
      },
      publishNamespaceDone: (namespace) => withdraw((one) => keyOf(one.namespace) === keyOf(namespace)),
      closed: () => withdraw(() => true),
    };
  }

  #offered(): void {
    const own = [...this.#here.values()].map((all) => all.at(-1)!);
    this.#elsewhere?.offer(own.map(({ namespace, epoch }) => ({ namespace, epoch })));
    this.changed();
  }

  #way(namespace: readonly string[]): Way | undefined {
    const here = this.#here.get(keyOf(namespace))?.findLast(({ peer }) => !peer.closed);
    const hop = this.#elsewhere?.hop(namespace, here?.epoch);
    if (hop) {
      const { target, epoch, node, distance } = hop;
      return { ...hop, target: `${target} ${epoch}`, key: `${node} ${target} ${epoch}`, distance };
    }
    if (!here) return undefined;
    const { peer, epoch, key } = here;
    return { target: `here ${epoch}`, key, distance: 0, peer: () => peer, turnedAway: () => {} };
  }

  /** For another relay, which lets in whom it lets in. */
  network(): PeerEvents {
    const always: Right = { watch: () => () => {} };
    return this.#answers(
      () => always,
      (tokens) => hopsOf(tokens) ?? 0,
    );
  }

  /** For a peer that subscribes. `may` says what it is allowed to. */
  subscriber(
    may: (namespace: readonly string[], tokens: readonly string[]) => Right | undefined,
  ): PeerEvents {
    return this.#answers(may, () => undefined);
  }

  #answers(
    may: (namespace: readonly string[], tokens: readonly string[]) => Right | undefined,
    hops: (tokens: readonly string[]) => number | undefined,
  ): PeerEvents {
    const find = (
      asked: Pick<SubscribeAsked, "track" | "tokens">,
    ): { track: Track; right: Right } | Refused => {
      const { namespace } = asked.track;
      // Before anything else: nobody learns what there is by asking.
      const right = may(namespace, asked.tokens);
      if (!right) return unauthorized;
      const distance = hops(asked.tokens);
      const way = this.#way(namespace);
      if (distance !== undefined && (!way || way.distance >= distance)) return noNearer;
      const track = this.#track(asked.track);
      return track ? { track, right } : away;
    };
    return {
      subscribe: (asked) => {
        const found = find(asked);
        if ("code" in found) return asked.reject(found);
        const { track, right } = found;
        const accept: SubscribeAsked["accept"] = (answer) => {
          const outgoing = asked.accept(answer);
          this.#rights.set(outgoing, right);
          return outgoing;
        };
        track.subscribe({ ...asked, accept }, right, hops(asked.tokens));
      },
      trackStatus: (asked) => {
        const found = find(asked);
        if ("code" in found) return asked.reject(found);
        found.track.status(asked);
      },
      fetch: (asked) => this.#fetch(asked, find),
      subscribeNamespace: (asked, tell) => this.#follow(asked, tell, may),
    };
  }

  /**
   * Sends tracks to a peer that has said where it came in which it wants, the first of them first: its answer is not waited for (draft 18
   * 5.1). Those of which it is not known yet how far they are it has to ask for.
   */
  push(peer: Pushes, tracks: readonly TrackName[], right: Right): void {
    for (const [index, name] of tracks.entries()) this.#track(name)?.push(peer, right, index);
  }

  #track(name: TrackName): Track | undefined {
    const key = `${keyOf(name.namespace)}|${name.name}`;
    const known = this.#tracks.get(key);
    if (known) return known;
    if (!this.#way(name.namespace)) return undefined;
    const track: Track = new Track(name, {
      ...this.#options,
      way: () => this.#way(name.namespace),
      kept: (more) => this.#keep(more),
      over: () => {
        if (this.#tracks.get(key) === track) this.#tracks.delete(key);
      },
    });
    this.#tracks.set(key, track);
    return track;
  }

  #keep(more: number): void {
    this.#bytes += more;
    if (this.#bytes <= this.#options.cacheBytes || more <= 0) return;
    // The oldest of every track goes first, until there is room or nobody has any to spare.
    for (let freed = true; freed && this.#bytes > this.#options.cacheBytes; ) {
      freed = false;
      for (const track of this.#tracks.values()) if (track.dropOldest()) freed = true;
    }
  }

  #fetch(
    asked: FetchAsked,
    find: (asked: Pick<SubscribeAsked, "track" | "tokens">) => { track: Track; right: Right } | Refused,
  ): void {
    const { range, joined } = asked;
    if (range.kind === "standalone") {
      const found = find({ track: range.track, tokens: asked.tokens });
      if ("code" in found) return asked.reject(found);
      return found.track.fetch(during(found.right, asked), range.start, range.end);
    }
    const right = joined && this.#rights.get(joined);
    if (!right)
      return asked.reject({ code: requestErrors.invalidJoiningRequest, reason: "There is nothing to join" });
    const track = this.#track(joined.track);
    if (!track) return asked.reject(away);
    const { largest } = joined;
    const first = range.kind === "absolute" ? range.start : (largest?.group ?? 0) - range.start;
    if (!largest || first > largest.group)
      return asked.reject({ code: requestErrors.invalidRange, reason: "There is nothing to fetch" });
    track.fetch(
      during(right, asked),
      { group: Math.max(0, first), object: 0 },
      { group: largest.group, object: largest.object + 1 },
    );
  }

  #follow(
    asked: NamespaceAsked,
    tell: { come(namespace: readonly string[]): void; go(namespace: readonly string[]): void },
    may: (namespace: readonly string[], tokens: readonly string[]) => Right | undefined,
  ): () => void {
    const prefix = asked.namespace;
    const told = new Map<string, readonly string[]>();
    const look = () => {
      const now = new Set<string>();
      for (const namespace of this.#namespaces()) {
        const key = keyOf(namespace);
        if (now.has(key) || !prefix.every((field, i) => namespace[i] === field)) continue;
        if (!told.has(key)) {
          if (!may(namespace, asked.tokens)) continue;
          told.set(key, namespace);
          tell.come(namespace);
        }
        now.add(key);
      }
      for (const [key, namespace] of told)
        if (!now.has(key)) {
          told.delete(key);
          tell.go(namespace);
        }
    };
    asked.accept();
    look();
    this.#followers.add(look);
    return () => this.#followers.delete(look);
  }

  *#namespaces(): Iterable<readonly string[]> {
    for (const all of this.#here.values()) yield all[0]!.namespace;
    yield* this.#elsewhere?.namespaces() ?? [];
  }
}

/** What answers as `asked` does, for as long as this right lasts. */
function during(right: Right, asked: FetchAsked): FetchAsked {
  return {
    ...asked,
    accept: (answer) => {
      const reply = asked.accept(answer);
      reply.onOver = right.watch(() => reply.cancel(resetCodes.cancelled));
      return reply;
    },
  };
}
