import { doneCodes, type Location, resetCodes } from "./codec/messages.ts";
import type { StreamObject, SubgroupHeader } from "./codec/objects.ts";
import type { Integers } from "./codec/wire.ts";
import type { Outgoing } from "./requests.ts";
import type { SendStream } from "./transport.ts";

/** Who may read a namespace. `watch` is called at once and may end what was allowed; it returns its end. */
export interface Right {
  watch(revoked: () => void): () => void;
}

/** What a relay may hold. */
export interface RelayOptions {
  /** Bytes of objects that all tracks together keep. */
  readonly cacheBytes: number;
  /** Bytes that may wait for one subscriber before he loses groups. */
  readonly queuedBytes: number;
  /** For so long viewers of a track whose publisher is lost wait for another way to it. */
  readonly graceMs: number;
  readonly count?: (what: "objects" | "bytes" | "resets" | "subscriptions" | "fetched", more: number) => void;
}

/** One object as it was, and as it goes out in each way to write numbers: made once, for the first who reads it so. */
export interface RunObject {
  readonly id: number;
  readonly object: StreamObject;
  wire(integers: Integers): Uint8Array;
  /** As the first object of its stream. */
  first(integers: Integers): Uint8Array;
}

/** The objects of one stream of the publisher: a group, or a part of one. */
export interface Run {
  readonly header: SubgroupHeader;
  /** Subscriptions that it comes from; for a moment none, when one was lost and another is to go on with it. */
  readonly from: Set<object>;
  /** As they go out, one after the other. */
  readonly objects: RunObject[];
  bytes: number;
  state: "growing" | "whole" | "broken";
}

/** One subscriber of one track. The publisher never waits for it. */
export class Reader {
  readonly #outgoing: Outgoing;
  #start: Location;
  readonly #endGroup: number | undefined;
  readonly #queuedBytes: number;
  readonly #count: RelayOptions["count"];
  readonly #left: () => void;
  /** Of a relay: how far it says that it is from the publisher. */
  readonly hops: number | undefined;
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
    readonly hops: number | undefined;
    readonly left: () => void;
  }) {
    this.#outgoing = options.outgoing;
    this.#start = options.start;
    this.#endGroup = options.endGroup;
    this.#queuedBytes = options.queuedBytes;
    this.#count = options.count;
    this.#left = options.left;
    this.hops = options.hops;
    this.#outgoing.onEnd = () => this.#leave();
  }

  /** Reads for as long as this right lasts. */
  watch(right: Right): void {
    this.#watching = right.watch(() => this.done(doneCodes.unauthorized, "This token is not valid any more"));
    if (this.#over) this.#watching();
  }

  /** Groups of another publisher follow, whose numbers are others. */
  restart(): void {
    this.#start = { group: 0, object: 0 };
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
    const whole = group !== this.#start.group || this.#start.object === 0;
    const stream = this.#outgoing.open(whole ? run.header : { ...run.header, first: false });
    this.#streams.set(run, stream);
    stream.onStopped = () => {
      if (this.#streams.has(run)) this.#streams.set(run, undefined);
    };
  }

  /** What is there of a group already. */
  catchUp(run: Run): void {
    this.begin(run);
    for (const object of run.objects) this.object(run, object);
    if (run.state !== "growing") this.end(run);
  }

  object(run: Run, object: RunObject): void {
    const { id } = object;
    if (run.header.group === this.#start.group && id < this.#start.object) {
      this.#skipped.add(run);
      return;
    }
    const stream = this.#streams.get(run);
    if (!stream) return;
    const { integers } = this.#outgoing.draft;
    // The first that is sent says its number, whatever came before it.
    const wire = this.#skipped.delete(run) ? object.first(integers) : object.wire(integers);
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

  /** Of whose objects the first ones are before what was asked for. */
  readonly #skipped = new WeakSet<Run>();
  readonly #slow = new Map<Run, SendStream>();

  done(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#watching?.();
    this.#outgoing.done(code, reason, resetCodes.cancelled);
    this.#left();
  }

  /** Reading has failed: his session ends. */
  broke(error: unknown): void {
    this.#outgoing.broke(error);
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

/** Whether `a` comes before `b` in a track. */
export function before(a: Location, b: Location): boolean {
  return a.group < b.group || (a.group === b.group && a.object < b.object);
}
