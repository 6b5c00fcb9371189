import { doneCodes, type Location, requestErrors, resetCodes, type TrackName } from "./codec/messages.ts";
import { encodeObject, type StreamObject, type SubgroupHeader } from "./codec/objects.ts";
import type { Integers } from "./codec/wire.ts";
import { before, Reader, type RelayOptions, type Right, type Run, type RunObject } from "./reader.ts";
import type {
  FetchAsked,
  GroupSink,
  Refused,
  StatusAsked,
  SubscribeAsked,
  Subscription,
} from "./requests.ts";
import type { Peer } from "./session.ts";

/** A track stays subscribed to for so long after its last reader left. */
const lingerMs = 5_000;
/** Groups of one track that are kept at the least, however little room there is: the current one and the one before. */
const keptGroups = 2;

export interface TrackLimits extends RelayOptions {
  readonly kept: (more: number) => void;
  readonly over: () => void;
}

/** One track: what the publisher sends of it, kept for a while, and whoever reads it. */
export class Track {
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
          reply.write({ ...object, ...at, priority: header.priority });
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
        const encode = (integers: Integers, gap: number) => {
          const { payload, status } = object;
          const extensions = header.extensions ? (object.extensions ?? new Uint8Array(0)) : undefined;
          const encoded = encodeObject(payload, { gap, extensions, status, integers });
          // The binding takes nothing else, and a view for each subscriber would cost more than the rest.
          return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
        };
        const gap = object.object - last - 1;
        const { integers } = this.#peer.draft;
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
        for (const reader of this.#readers) reader.object(run, one);
        isNew = false;
        other = undefined;
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
    const early: StreamObject[] = [];
    let over: "end" | "gone" | undefined;
    const write = (object: StreamObject) => reply?.write(object);
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
          for (const object of early.splice(0)) write(object);
          finish();
        },
        refused: (why) => asked.reject(why),
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
  }
}

/** Draft 16 9.16: what FETCH_OK says is the end. */
function after(largest: Location, asked: Location): Location {
  const end = { group: largest.group, object: largest.object + 1 };
  return before(end, asked) || (asked.object === 0 && asked.group >= largest.group) ? end : asked;
}
