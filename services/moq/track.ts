import {
  doneCodes,
  type Location,
  type Params,
  requestErrors,
  resetCodes,
  type TrackName,
} from "./codec/messages.ts";
import { encodeObject, type StreamObject, type SubgroupHeader } from "./codec/objects.ts";
import type { Integers } from "./codec/wire.ts";
import { before, Reader, type RelayOptions, type Right, type Run, type RunObject } from "./reader.ts";
import type {
  FetchAsked,
  FetchReply,
  GroupSink,
  Outgoing,
  Refused,
  StatusAsked,
  SubscribeAsked,
  Subscription,
} from "./requests.ts";
import type { Peer } from "./session.ts";

/** Bytes of a fetch that wait for its reader before the publisher is asked for no more. */
const fetchBytes = 4 << 20;
/** A track stays subscribed to for so long after its last reader left. */
const lingerMs = 5_000;
/** Groups of one track that are kept at the least, however little room there is: the current one and the one before. */
const keptGroups = 2;
/** While nothing comes, a way is looked for this often, besides whenever one is heard of. */
const seekMs = 100;
/** A group of which a lost way brought the beginning waits for the rest from another for so long. */
const orphanMs = 1_000;

/** What of a session tracks are taken through. */
export type Source = Pick<Peer, "subscribe" | "fetch" | "closed" | "leaving" | "draft">;

/** What of a session tracks are pushed through. */
export type Pushes = Pick<Peer, "publish" | "closed">;

/** Where a track can be taken from. */
export interface Way {
  /** Of the publisher: tracks of another one are other tracks. */
  readonly target: string;
  /** Of the way itself. */
  readonly key: string;
  /** What all hops to the publisher cost; 0 when he is at this relay. */
  readonly distance: number;
  peer(): Promise<Source> | Source;
  /** Whoever was asked has no way himself. */
  turnedAway(): void;
}

export interface TrackOptions extends RelayOptions {
  readonly kept: (more: number) => void;
  readonly over: () => void;
  /** The best way now. */
  readonly way: () => Way | undefined;
}

/** One subscription upstream, or the attempt at one. */
interface Upstream {
  readonly way: Way;
  peer: Source | undefined;
  subscription: Subscription | undefined;
  over: boolean;
}

/** What stands for a distance among the tokens of a request between relays. */
const hopsText = "hops:";

/** What a relay says with its requests of where it stands: only who is nearer to the publisher may answer, so no way is a circle. */
const hopsParams = ({ distance }: Way): Params =>
  distance === 0 ? {} : { tokens: [{ use: "value", type: 0, value: Buffer.from(`${hopsText}${distance}`) }] };

/** The distance that a relay said, of a peer that is one. */
export function hopsOf(tokens: readonly string[]): number | undefined {
  const text = tokens.find((one) => one.startsWith(hopsText));
  return text === undefined ? undefined : Number(text.slice(hopsText.length)) || 0;
}

/** What answers a relay that is as near to the publisher itself. */
export const noNearer: Refused = {
  code: requestErrors.uninterested,
  reason: "This relay is no nearer to the publisher",
  retryMs: 100,
};
/** What answers who asks for what nobody publishes. */
export const away: Refused = {
  code: requestErrors.doesNotExist,
  reason: "There is no such broadcast now",
  retryMs: 1000,
};

/** One track: what the publisher sends of it, kept for a while, and whoever reads it. */
export class Track {
  readonly #name: TrackName;
  readonly #limits: TrackOptions;
  /** What it comes from, and what it is to come from next; readers notice nothing of a change. */
  #current: Upstream | undefined;
  #next: Upstream | undefined;
  #target: string | undefined;
  #distance = 0;
  #again: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #runs: Run[] = [];
  #largest: Location | undefined;
  readonly #readers = new Set<Reader>();
  #waiting: (() => void)[] | undefined = [];
  #refused: Refused | undefined;
  #ended: { readonly code: number; readonly reason: string } | undefined;
  #linger: NodeJS.Timeout | undefined;

  constructor(name: TrackName, limits: TrackOptions) {
    this.#name = name;
    this.#limits = limits;
    this.look();
    this.#leave();
  }

  /** Ways have changed: another publisher is meant, or there is a better way to the same. */
  look(): void {
    if (this.#ended || this.#refused) return;
    const way = this.#limits.way();
    if (!way) return this.#current ? undefined : this.#seek();
    const { way: now, peer } = this.#current ?? {};
    // From who leaves the track moves to whoever else has it, while it still comes.
    const stays = peer?.leaving !== true;
    if (now && now.target === way.target && (now.key === way.key || (stays && now.distance <= way.distance)))
      return;
    if (this.#next?.way.key === way.key && this.#next.way.distance === way.distance) return;
    void this.#attach(way);
  }

  /** Looks again in a moment. Where nothing comes, another way has to turn up in a while. */
  #seek(): void {
    if (this.#ended || this.#refused) return;
    if (!this.#current) this.#deadline ??= setTimeout(() => this.#giveUp(), this.#limits.graceMs);
    if (this.#next) return;
    this.#again ??= setTimeout(() => {
      this.#again = undefined;
      this.look();
    }, seekMs);
  }

  #giveUp(): void {
    if (this.#waiting) this.#refuse(away);
    else this.#end(doneCodes.internal, "The publisher has left");
  }

  async #attach(way: Way): Promise<void> {
    const upstream: Upstream = { way, peer: undefined, subscription: undefined, over: false };
    this.#drop(this.#next);
    this.#next = upstream;
    try {
      const found = way.peer();
      const peer = found instanceof Promise ? await found : found;
      if (upstream.over) return;
      if (peer.closed) return this.#lost(upstream);
      upstream.peer = peer;
      this.#subscribe(upstream, peer);
    } catch {
      this.#lost(upstream);
    }
  }

  #subscribe(upstream: Upstream, peer: Source): void {
    const { way } = upstream;
    // What was heard last may have an end that was not.
    const resumes = this.#largest && way.target === this.#target;
    upstream.subscription = peer.subscribe(
      this.#name,
      {
        ...hopsParams(way),
        ...{ forward: true, order: "ascending" },
        filter: resumes
          ? { from: "absolute", start: { group: this.#largest!.group, object: 0 } }
          : { from: "largest object" },
      },
      {
        ok: ({ largest }) => this.#promote(upstream, largest),
        refused: (why) => {
          if (upstream.over) return;
          if (why.code === requestErrors.uninterested) way.turnedAway();
          else if (!this.#current && this.#waiting) return this.#refuse(why);
          this.#lost(upstream);
        },
        group: (header) => this.#run(header, upstream),
        done: (code, reason) => {
          if (upstream.over) return;
          if (upstream === this.#current && code === doneCodes.trackEnded) return this.#end(code, reason);
          this.#lost(upstream);
        },
      },
    );
  }

  /** From here on the track comes from this one. */
  #promote(upstream: Upstream, largest: Location | undefined): void {
    if (upstream.over) return;
    const { way } = upstream;
    clearTimeout(this.#deadline);
    clearTimeout(this.#again);
    [this.#deadline, this.#again] = [undefined, undefined];
    this.#drop(this.#current);
    this.#current = upstream;
    if (this.#next === upstream) this.#next = undefined;
    if (this.#target !== undefined && this.#target !== way.target) {
      for (const run of this.#runs) this.#break(run);
      this.#forgetAll();
      this.#each((reader) => reader.restart());
    }
    this.#target = way.target;
    this.#distance = way.distance;
    this.#largest ??= largest;
    // Whoever said that he is no farther away than this would wait for us as we would for him.
    for (const reader of [...this.#readers])
      if (reader.hops !== undefined && reader.hops <= way.distance)
        reader.done(doneCodes.goingAway, noNearer.reason);
    const orphans = this.#runs.filter((run) => run.state === "growing" && run.from.size === 0);
    if (orphans.length > 0)
      setTimeout(() => {
        for (const run of orphans) if (run.from.size === 0) this.#break(run);
      }, orphanMs).unref();
    this.#settle();
  }

  #lost(upstream: Upstream): void {
    if (upstream.over) return;
    this.#drop(upstream);
    const wasCurrent = this.#current === upstream;
    if (wasCurrent) this.#current = undefined;
    if (this.#next === upstream) this.#next = undefined;
    // An attempt that failed is not made again at once; of a loss, it may not be known in this turn whose it was.
    if (wasCurrent) queueMicrotask(() => this.look());
    this.#seek();
  }

  #drop(upstream: Upstream | undefined): void {
    if (!upstream || upstream.over) return;
    upstream.over = true;
    upstream.subscription?.end();
    for (const run of this.#runs) run.from.delete(upstream);
  }

  #refuse(why: Refused): void {
    this.#refused = why;
    this.#stop();
    this.#limits.over();
    this.#settle();
  }

  #stop(): void {
    for (const timer of [this.#deadline, this.#again, this.#linger]) clearTimeout(timer);
    this.#drop(this.#current);
    this.#drop(this.#next);
    [this.#current, this.#next] = [undefined, undefined];
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** `hops`: of a relay that asks, how far from the publisher it is. */
  subscribe(asked: SubscribeAsked, right: Right, hops?: number): void {
    this.#whenKnown(asked, () => {
      if (hops !== undefined && hops <= this.#distance) return asked.reject(noNearer);
      const { filter } = asked.params;
      const { start, largest } = this.#startOf(filter);
      const endGroup = filter?.from === "absolute" ? filter.endGroup : undefined;
      this.#read(asked.accept({ largest }), { start, endGroup, right, hops });
    });
  }

  /** From the current group on, without being asked for it; the `place` among all that are pushed says what goes first. */
  push(peer: Pushes, right: Right, place: number): void {
    if (this.#waiting || this.#refused || this.#ended || peer.closed) return;
    const { start, largest } = this.#startOf({ from: "largest object" });
    const { outgoing } = peer.publish(this.#name, { forward: true, ...(largest && { largest }) });
    outgoing.update({ priority: place });
    this.#read(outgoing, { start, endGroup: undefined, right, hops: undefined });
  }

  #read(
    outgoing: Outgoing,
    options: {
      readonly start: Location;
      readonly endGroup: number | undefined;
      readonly right: Right;
      readonly hops: number | undefined;
    },
  ): void {
    const { queuedBytes, count } = this.#limits;
    const reader = new Reader({
      ...options,
      ...{ outgoing, queuedBytes, count },
      left: () => {
        this.#readers.delete(reader);
        this.#leave();
      },
    });
    this.#readers.add(reader);
    clearTimeout(this.#linger);
    this.#limits.count?.("subscriptions", 1);
    reader.watch(options.right);
    for (const run of this.#runs) reader.catchUp(run);
    if (this.#ended) reader.done(this.#ended.code, this.#ended.reason);
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
      const oldest = Math.min(...this.#runs.map(({ header }) => header.group));
      // Object 0 stands for all of the group (draft 16 9.16.1).
      const until = end.object === 0 ? { group: end.group + 1, object: 0 } : end;
      if (!before(start, until))
        return asked.reject({ code: requestErrors.invalidRange, reason: "The range ends before it begins" });
      const isHere = ({ header, state }: Run) =>
        header.group < start.group || header.group >= until.group || state !== "broken";
      if (start.group < oldest || !this.#runs.every(isHere)) return this.#fetchUpstream(asked, start, end);
      const reply = asked.accept({ end: after(largest, end), endOfTrack: this.#ended !== undefined });
      const way = asked.params.order === "descending" ? -1 : 1;
      for (const { header, objects } of this.#runs.toSorted(
        (a, b) => way * (a.header.group - b.header.group),
      ))
        for (const { id, object } of objects) {
          const at = { group: header.group, object: id };
          if (before(at, start) || !before(at, until)) continue;
          this.#limits.count?.("fetched", object.payload.length);
          reply.write({ ...object, ...at, priority: header.priority });
        }
      reply.end();
    });
  }

  /** Gives up the oldest group that can be spared. */
  dropOldest(): boolean {
    const groups = new Set(this.#runs.map(({ header }) => header.group));
    if (groups.size <= keptGroups) return false;
    this.#forget(Math.min(...groups));
    return true;
  }

  #forget(group: number): void {
    for (const run of this.#runs) if (run.header.group === group) this.#limits.kept(-run.bytes);
    this.#runs = this.#runs.filter((run) => run.header.group !== group);
  }

  #forgetAll(): void {
    for (const run of this.#runs) this.#limits.kept(-run.bytes);
    this.#runs = [];
    this.#largest = undefined;
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

  #run(header: SubgroupHeader, upstream: Upstream): GroupSink {
    const { group, subgroup } = header;
    const known = this.#runs.find(
      ({ header: one }) => one.group === group && subgroup !== undefined && one.subgroup === subgroup,
    );
    const run: Run = known ?? { header, from: new Set(), objects: [], bytes: 0, state: "growing" };
    run.from.add(upstream);
    if (!known) {
      this.#runs.push(run);
      this.#each((reader) => reader.begin(run));
    }
    return {
      object: (object) => {
        const last = run.objects.at(-1)?.id ?? -1;
        if (run.state !== "growing" || object.object <= last) return;
        const encode = (integers: Integers, gap: number) => {
          const { payload, status } = object;
          const extensions = header.extensions ? (object.extensions ?? new Uint8Array(0)) : undefined;
          const encoded = encodeObject(payload, { gap, extensions, status, integers });
          // The binding takes nothing else, and a view for each subscriber would cost more than the rest.
          return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
        };
        const gap = object.object - last - 1;
        const { integers } = upstream.peer!.draft;
        const wire = encode(integers, gap);
        const at = { group: header.group, object: object.object };
        if (!this.#largest || before(this.#largest, at)) this.#largest = at;
        // Its payload is in the wire form too: one copy is kept. For who writes numbers in the other way it is made again, once for
        // all who read as it comes.
        const payload = wire.subarray(wire.length - object.payload.length);
        let other: Buffer | undefined;
        let isNew = true;
        const one: RunObject = {
          id: object.object,
          object: { ...object, payload },
          wire: (asked) => {
            if (asked === integers) return wire;
            const again = other ?? encode(asked, gap);
            if (isNew) other = again;
            return again;
          },
          first: (asked) => encode(asked, object.object),
        };
        run.objects.push(one);
        run.bytes += wire.length;
        this.#each((reader) => reader.object(run, one));
        isNew = false;
        other = undefined;
        this.#limits.kept(wire.length);
      },
      end: () => {
        if (run.state !== "growing") return;
        run.state = "whole";
        this.#each((reader) => reader.end(run));
      },
      gone: () => {
        run.from.delete(upstream);
        // When all of the session goes, that is known by the end of this turn, and another may have the rest.
        queueMicrotask(() => {
          if (run.from.size === 0 && !upstream.over) this.#break(run);
        });
      },
    };
  }

  /** What goes wrong with one reader ends his session: the publisher, whose turn this is, and the others do not notice. */
  #each(tell: (reader: Reader) => void): void {
    for (const reader of this.#readers)
      try {
        tell(reader);
      } catch (error) {
        reader.broke(error);
      }
  }

  /** The rest of it will not come. */
  #break(run: Run): void {
    if (run.state !== "growing") return;
    run.state = "broken";
    this.#each((reader) => reader.end(run));
  }

  #end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = { code, reason };
    this.#stop();
    this.#limits.over();
    this.#settle();
    this.#each((reader) => reader.done(code, reason));
    this.#forgetAll();
  }

  #leave(): void {
    clearTimeout(this.#linger);
    if (this.#readers.size > 0 || this.#ended) return;
    this.#linger = setTimeout(() => {
      if (this.#readers.size > 0 || this.#ended) return;
      this.#end(doneCodes.subscriptionEnded, "Nobody reads it");
    }, lingerMs);
    this.#linger.unref();
  }

  /** Asks the publisher, and asks again from where it stands when the reader was slower for a while. */
  #fetchUpstream(asked: FetchAsked, start: Location, end: Location): void {
    const { order } = asked.params;
    let reply: FetchReply | undefined;
    let cancel = () => {};
    const ask = (start: Location, end: Location): void => {
      const early: StreamObject[] = [];
      let over: "end" | "gone" | undefined;
      let left = false;
      let last: Location | undefined;
      const write = (object: StreamObject) => {
        if (left || !reply) return;
        // In descending order only whole groups can be asked for again.
        const again = order === "descending" ? object.group !== last?.group : true;
        if (last && again && reply.queued > fetchBytes) {
          left = true;
          cancel();
          const rest =
            order === "descending"
              ? { start, end: { group: object.group, object: 0 } }
              : { start: { group: object.group, object: object.object }, end };
          return void reply.room().then(() => ask(rest.start, rest.end));
        }
        last = object;
        this.#limits.count?.("fetched", object.payload.length);
        reply.write(object);
      };
      const finish = () => {
        if (left) return;
        if (over === "end") reply?.end();
        else if (over === "gone") reply?.cancel(resetCodes.internal);
      };
      const { peer, way } = this.#current ?? {};
      if (!peer || !way) return reply ? reply.cancel(resetCodes.internal) : asked.reject(away);
      cancel = peer.fetch(
        { kind: "standalone", track: this.#name, start, end },
        { ...hopsParams(way), order },
        {
          ok: (answer) => {
            if (!reply) {
              reply = asked.accept(answer);
              reply.onEnd = () => {
                left = true;
                cancel();
              };
            }
            for (const object of early.splice(0)) write(object);
            finish();
          },
          refused: (why) => (reply ? reply.cancel(resetCodes.internal) : asked.reject(why)),
          object: (object) => {
            if (reply) write(object);
            else early.push(object);
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
    };
    ask(start, end);
  }
}

/** Draft 16 9.16: what FETCH_OK says is the end. */
function after(largest: Location, asked: Location): Location {
  const end = { group: largest.group, object: largest.object + 1 };
  return before(end, asked) || (asked.object === 0 && asked.group >= largest.group) ? end : asked;
}
