import { doneCodes, type Location, requestErrors, resetCodes, type TrackName } from "./codec/messages.ts";
import { encodeFetchObject, encodeObject, type StreamObject, type SubgroupHeader } from "./codec/objects.ts";
import type {
  FetchAsked,
  GroupSink,
  NamespaceAsked,
  Outgoing,
  Refused,
  StatusAsked,
  SubscribeAsked,
  Subscription,
} from "./requests.ts";
import type { Peer, PeerEvents } from "./session.ts";
import type { SendStream } from "./transport.ts";

/** Who may read a namespace. `watch` is called at once and may end what was allowed; it returns its end. */
export interface Right {
  watch(revoked: () => void): () => void;
}

export interface RelayOptions {
  /** Bytes of objects that all tracks together keep. */
  readonly cacheBytes: number;
  /** Bytes that may wait for one subscriber before he loses groups. */
  readonly queuedBytes: number;
  readonly count?: (what: "objects" | "bytes" | "resets" | "subscriptions", more: number) => void;
}

/** A track stays subscribed to for so long after its last reader left. */
const lingerMs = 5_000;
/** Groups of one track that are kept at the least, however little room there is: the current one and the one before. */
const keptGroups = 2;

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

/** The objects of one stream of the publisher: a group, or a part of one. */
interface Run {
  readonly header: SubgroupHeader;
  /** As they go out, one after the other. */
  readonly objects: { readonly id: number; readonly wire: Uint8Array; readonly object: StreamObject }[];
  bytes: number;
  state: "growing" | "whole" | "broken";
}

interface TrackLimits extends RelayOptions {
  readonly kept: (more: number) => void;
  readonly over: () => void;
}

/** One track: what the publisher sends of it, kept for a while, and whoever reads it. */
class Track {
  readonly #name: TrackName;
  readonly #peer: Peer;
  readonly #limits: TrackLimits;
  readonly #upstream: Subscription;
  #runs: Run[] = [];
  #largest: Location | undefined;
  readonly #readers = new Set<Reader>();
  #waiting: (() => void)[] | undefined = [];
  #refused: Refused | undefined;
  #ended: { readonly code: number; readonly reason: string } | undefined;
  #linger: NodeJS.Timeout | undefined;

  constructor(name: TrackName, peer: Peer, limits: TrackLimits) {
    this.#name = name;
    this.#peer = peer;
    this.#limits = limits;
    this.#upstream = peer.subscribe(
      name,
      { filter: { from: "largest object" }, forward: true, order: "ascending" },
      {
        ok: ({ largest }) => {
          this.#largest ??= largest;
          this.#settle();
        },
        refused: (why) => {
          this.#refused = why;
          limits.over();
          this.#settle();
        },
        group: (header) => this.#run(header),
        done: (code, reason) => this.#end(code, reason),
      },
    );
    this.#leave();
  }

  get readers(): number {
    return this.#readers.size;
  }

  subscribe(asked: SubscribeAsked, right: Right): void {
    this.#whenKnown(asked, () => {
      const { filter } = asked.params;
      const { start, largest } = this.#startOf(filter);
      const reader = new Reader({
        outgoing: asked.accept({ largest }),
        start,
        endGroup: filter?.from === "absolute" ? filter.endGroup : undefined,
        queuedBytes: this.#limits.queuedBytes,
        count: this.#limits.count,
        left: () => {
          this.#readers.delete(reader);
          this.#leave();
        },
      });
      this.#readers.add(reader);
      clearTimeout(this.#linger);
      this.#limits.count?.("subscriptions", 1);
      reader.watch(right);
      for (const run of this.#runs) reader.catchUp(run);
      if (this.#ended) reader.done(this.#ended.code, this.#ended.reason);
    });
  }

  status(asked: StatusAsked): void {
    this.#whenKnown(asked, () => asked.accept({ largest: this.#largest }));
  }

  /** Objects from `start` up to but without `end`; what is not here any more is asked of the publisher. */
  fetch(asked: FetchAsked, start: Location, end: Location): void {
    this.#whenKnown(asked, () => {
      const largest = this.#largest;
      if (!largest || start.group > largest.group)
        return asked.reject({
          code: requestErrors.invalidRange,
          reason: "Nothing of this range is there yet",
        });
      const oldest = this.#runs[0]?.header.group;
      if (oldest === undefined || start.group < oldest) return this.#fetchUpstream(asked, start, end);
      const reply = asked.accept({ end: after(largest, end), endOfTrack: this.#ended !== undefined });
      // Draft 16 9.16.1: object 0 stands for all of the group.
      const until = end.object === 0 ? { group: end.group + 1, object: 0 } : end;
      for (const { header, objects } of this.#runs.toSorted((a, b) => a.header.group - b.header.group))
        for (const { id, object } of objects) {
          const at = { group: header.group, object: id };
          if (before(at, start) || !before(at, until)) continue;
          reply.write(
            encodeFetchObject(at, object.payload, {
              priority: header.priority ?? 128,
              extensions: object.extensions,
            }),
          );
        }
      reply.end();
    });
  }

  /** Gives up the oldest group that can be spared. */
  dropOldest(): boolean {
    const groups = new Set(this.#runs.map(({ header }) => header.group));
    if (groups.size <= keptGroups) return false;
    this.#drop(Math.min(...groups));
    return true;
  }

  /** The publisher is gone. */
  lose(): void {
    this.#end(doneCodes.internal, "The publisher has left");
  }

  #drop(group: number): void {
    for (const run of this.#runs) if (run.header.group === group) this.#limits.kept(-run.bytes);
    this.#runs = this.#runs.filter((run) => run.header.group !== group);
  }

  #whenKnown(asked: { reject(why: Refused): void }, run: () => void): void {
    const go = () => (this.#refused ? asked.reject(this.#refused) : run());
    if (this.#waiting) this.#waiting.push(go);
    else go();
  }

  #settle(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const go of waiting) go();
  }

  /**
   * Where a subscriber begins. Who asks for what follows the largest object gets the current group from its first object, and is told
   * that the group before was the largest: nothing that he can decode is missing, and a joining fetch neither overlaps nor leaves a hole.
   */
  #startOf(filter: SubscribeAsked["params"]["filter"]): { start: Location; largest: Location | undefined } {
    const newest = this.#largest;
    if (!newest) return { start: { group: 0, object: 0 }, largest: undefined };
    if (filter?.from === "next group")
      return { start: { group: newest.group + 1, object: 0 }, largest: newest };
    if (filter?.from === "absolute") return { start: filter.start, largest: newest };
    const earlier = this.#runs.filter(({ header }) => header.group < newest.group).at(-1);
    const last = earlier?.objects.at(-1);
    return {
      start: { group: newest.group, object: 0 },
      largest: earlier && last && { group: earlier.header.group, object: last.id },
    };
  }

  #run(header: SubgroupHeader): GroupSink {
    const run: Run = { header, objects: [], bytes: 0, state: "growing" };
    this.#runs.push(run);
    for (const reader of this.#readers) reader.begin(run);
    return {
      object: (object) => {
        const last = run.objects.at(-1)?.id ?? -1;
        const encoded = encodeObject(object.payload, {
          gap: object.object - last - 1,
          extensions: header.extensions ? (object.extensions ?? new Uint8Array(0)) : undefined,
        });
        // The binding takes nothing else, and a view for each subscriber would cost more than the rest.
        const wire = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
        const at = { group: header.group, object: object.object };
        if (!this.#largest || before(this.#largest, at)) this.#largest = at;
        // Its payload is in the wire form too: one copy is kept.
        const payload = wire.subarray(wire.length - object.payload.length);
        run.objects.push({ id: object.object, wire, object: { ...object, payload } });
        run.bytes += wire.length;
        for (const reader of this.#readers) reader.object(run, object.object, wire);
        this.#limits.kept(wire.length);
      },
      end: () => {
        run.state = "whole";
        for (const reader of this.#readers) reader.end(run);
      },
      gone: () => {
        run.state = "broken";
        for (const reader of this.#readers) reader.end(run);
      },
    };
  }

  #end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = { code, reason };
    this.#limits.over();
    this.#settle();
    for (const reader of [...this.#readers]) reader.done(code, reason);
    for (const run of this.#runs) this.#limits.kept(-run.bytes);
    this.#runs = [];
    clearTimeout(this.#linger);
  }

  #leave(): void {
    clearTimeout(this.#linger);
    if (this.#readers.size > 0 || this.#ended) return;
    this.#linger = setTimeout(() => {
      if (this.#readers.size > 0 || this.#ended) return;
      this.#upstream.end();
      this.#end(doneCodes.subscriptionEnded, "Nobody reads it");
    }, lingerMs);
    this.#linger.unref();
  }

  #fetchUpstream(asked: FetchAsked, start: Location, end: Location): void {
    let reply: ReturnType<FetchAsked["accept"]> | undefined;
    const early: { at: Location; object: StreamObject }[] = [];
    let over: "end" | "gone" | undefined;
    const write = (at: Location, { payload, extensions }: StreamObject) =>
      reply?.write(encodeFetchObject(at, payload, { extensions }));
    const finish = () => {
      if (over === "end") reply?.end();
      else if (over === "gone") reply?.cancel(resetCodes.internal);
    };
    const cancel = this.#peer.fetch(
      { kind: "standalone", track: this.#name, start, end },
      {},
      {
        ok: (answer) => {
          reply = asked.accept(answer);
          reply.onEnd = () => cancel();
          for (const { at, object } of early.splice(0)) write(at, object);
          finish();
        },
        refused: (why) => asked.reject(why),
        object: (object) => {
          const at = { group: object.group, object: object.object };
          if (reply) write(at, object);
          else early.push({ at, object });
        },
        end: () => {
          over = "end";
          finish();
        },
        gone: () => {
          over = "gone";
          finish();
        },
      },
    );
  }
}

/** One subscriber of one track. The publisher never waits for it. */
class Reader {
  readonly #outgoing: Outgoing;
  readonly #start: Location;
  readonly #endGroup: number | undefined;
  readonly #queuedBytes: number;
  readonly #count: RelayOptions["count"];
  readonly #left: () => void;
  /** Undefined once given up. */
  readonly #streams = new Map<Run, SendStream | undefined>();
  #watching: (() => void) | undefined;
  #over = false;

  constructor(options: {
    readonly outgoing: Outgoing;
    readonly start: Location;
    readonly endGroup: number | undefined;
    readonly queuedBytes: number;
    readonly count: RelayOptions["count"];
    readonly left: () => void;
  }) {
    this.#outgoing = options.outgoing;
    this.#start = options.start;
    this.#endGroup = options.endGroup;
    this.#queuedBytes = options.queuedBytes;
    this.#count = options.count;
    this.#left = options.left;
    this.#outgoing.onEnd = () => this.#leave();
  }

  /** Reads for as long as this right lasts. */
  watch(right: Right): void {
    this.#watching = right.watch(() => this.done(doneCodes.unauthorized, "This token is not valid any more"));
    if (this.#over) this.#watching();
  }

  /** A group begins. */
  begin(run: Run): void {
    const { group } = run.header;
    if (this.#over || group < this.#start.group) return;
    if (this.#endGroup !== undefined && group > this.#endGroup)
      return this.done(doneCodes.subscriptionEnded, "This was the last group");
    this.#giveUp(group);
    if (this.#outgoing.params.forward === false) {
      this.#streams.set(run, undefined);
      return;
    }
    const stream = this.#outgoing.open(run.header);
    this.#streams.set(run, stream);
    stream.onStopped = () => {
      if (this.#streams.has(run)) this.#streams.set(run, undefined);
    };
  }

  /** What is there of a group already. */
  catchUp(run: Run): void {
    this.begin(run);
    for (const { id, wire } of run.objects) this.object(run, id, wire);
    if (run.state !== "growing") this.end(run);
  }

  object(run: Run, id: number, wire: Uint8Array): void {
    if (run.header.group === this.#start.group && id < this.#start.object) return;
    const stream = this.#streams.get(run);
    if (!stream) return;
    // All his streams together: what waits for one that reads nothing has an end.
    if (stream.queued > 0 && this.#outgoing.queued > this.#queuedBytes) return this.#reset(run, stream);
    stream.write(wire);
    this.#count?.("objects", 1);
    this.#count?.("bytes", wire.length);
  }

  end(run: Run): void {
    const stream = this.#streams.get(run);
    this.#streams.delete(run);
    if (!stream) return;
    if (run.state === "whole") stream.write(new Uint8Array(0), true);
    else stream.reset(resetCodes.internal);
    // A stream that is whole may still wait to be sent: it ages with the others.
    if (stream.queued > 0) this.#slow.set(run, stream);
  }

  readonly #slow = new Map<Run, SendStream>();

  done(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#watching?.();
    this.#outgoing.done(code, reason, resetCodes.cancelled);
    this.#left();
  }

  /** What is two groups old and still waits is of no use: a reset, and never an end in the middle of an object. */
  #giveUp(group: number): void {
    for (const [run, stream] of [...this.#streams])
      if (stream && run.header.group < group - 1 && stream.queued > 0) this.#reset(run, stream);
    for (const [run, stream] of [...this.#slow]) {
      if (stream.queued === 0) this.#slow.delete(run);
      else if (run.header.group < group - 1) {
        this.#slow.delete(run);
        this.#reset(run, stream);
      }
    }
  }

  #reset(run: Run, stream: SendStream): void {
    stream.reset(resetCodes.deliveryTimeout);
    this.#count?.("resets", 1);
    if (this.#streams.has(run)) this.#streams.set(run, undefined);
  }

  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    this.#watching?.();
    this.#left();
  }
}

function before(a: Location, b: Location): boolean {
  return a.group < b.group || (a.group === b.group && a.object < b.object);
}

/** Draft 16 9.16: what FETCH_OK says is the end. */
function after(largest: Location, asked: Location): Location {
  const end = { group: largest.group, object: largest.object + 1 };
  return before(end, asked) || (asked.object === 0 && asked.group >= largest.group) ? end : asked;
}
