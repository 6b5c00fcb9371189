import { requestErrors, type TrackName } from "./codec/messages.ts";
import type { RelayOptions, Right } from "./reader.ts";
import type { FetchAsked, NamespaceAsked, Refused, SubscribeAsked } from "./requests.ts";
import type { Peer, PeerEvents } from "./session.ts";
import { Track } from "./track.ts";

const away: Refused = {
  code: requestErrors.doesNotExist,
  reason: "There is no such broadcast now",
  retryMs: 1000,
};
const unauthorized: Refused = { code: requestErrors.unauthorized, reason: "This needs a valid token" };

const keyOf = (namespace: readonly string[]) => namespace.map((field) => `${field.length}:${field}`).join("");

/** Passes tracks on without knowing what is in them: one subscription upstream for any number of subscribers. */
export class Relay {
  readonly #options: RelayOptions;
  readonly #routes = new Map<string, { readonly peer: Peer; readonly namespace: readonly string[] }>();
  readonly #tracks = new Map<string, Track>();
  readonly #listeners = new Set<(namespace: readonly string[], here: boolean) => void>();
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

  /** For a peer that has tracks: what it announces can be subscribed to here, until it takes that back or leaves. */
  publisher(): PeerEvents {
    const announced: string[] = [];
    let peer: Peer | undefined;
    return {
      ready: (ready) => {
        peer = ready;
      },
      publishNamespace: (asked) => {
        if (!peer) return;
        const { namespace } = asked;
        const key = keyOf(namespace);
        this.#forget(key);
        this.#routes.set(key, { peer, namespace });
        announced.push(key);
        asked.accept();
        for (const listener of this.#listeners) listener(namespace, true);
      },
      publishNamespaceDone: (namespace) => {
        const key = keyOf(namespace);
        if (this.#routes.get(key)?.peer === peer) this.#forget(key);
      },
      closed: () => {
        for (const key of announced) if (this.#routes.get(key)?.peer === peer) this.#forget(key);
      },
    };
  }

  /** For a peer that subscribes. `may` says what it is allowed to. */
  subscriber(
    may: (namespace: readonly string[], tokens: readonly string[]) => Right | undefined,
  ): PeerEvents {
    const find = (
      asked: Pick<SubscribeAsked, "track" | "tokens">,
    ): { track: Track; right: Right } | Refused => {
      const { namespace } = asked.track;
      // Before anything else: nobody learns what there is by asking.
      const right = may(namespace, asked.tokens);
      if (!right) return unauthorized;
      const track = this.#track(asked.track);
      return track ? { track, right } : away;
    };
    return {
      subscribe: (asked) => {
        const found = find(asked);
        if ("code" in found) return asked.reject(found);
        found.track.subscribe(asked, found.right);
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

  #track(name: TrackName): Track | undefined {
    const key = `${keyOf(name.namespace)}|${name.name}`;
    const known = this.#tracks.get(key);
    if (known) return known;
    const route = this.#routes.get(keyOf(name.namespace));
    if (!route) return undefined;
    const track = new Track(name, route.peer, {
      ...this.#options,
      kept: (more) => this.#keep(more),
      over: () => this.#tracks.delete(key),
    });
    this.#tracks.set(key, track);
    return track;
  }

  #forget(key: string): void {
    const route = this.#routes.get(key);
    if (!route) return;
    this.#routes.delete(key);
    for (const [name, track] of [...this.#tracks])
      if (name.startsWith(`${key}|`)) {
        this.#tracks.delete(name);
        track.lose();
      }
    for (const listener of this.#listeners) listener(route.namespace, false);
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
      return found.track.fetch(asked, range.start, range.end);
    }
    if (!joined)
      return asked.reject({ code: requestErrors.invalidJoiningRequest, reason: "There is nothing to join" });
    const track = this.#track(joined.track);
    if (!track) return asked.reject(away);
    const { largest } = joined;
    const first = range.kind === "absolute" ? range.start : (largest?.group ?? 0) - range.start;
    if (!largest || first > largest.group)
      return asked.reject({ code: requestErrors.invalidRange, reason: "There is nothing to fetch" });
    track.fetch(
      asked,
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
    const told = new Set<string>();
    const look = (namespace: readonly string[], here: boolean) => {
      const key = keyOf(namespace);
      if (!here) {
        if (told.delete(key)) tell.go(namespace);
        return;
      }
      if (told.has(key) || !prefix.every((field, i) => namespace[i] === field)) return;
      if (!may(namespace, asked.tokens)) return;
      told.add(key);
      tell.come(namespace);
    };
    asked.accept();
    for (const { namespace } of this.#routes.values()) look(namespace, true);
    this.#listeners.add(look);
    return () => this.#listeners.delete(look);
  }
}
