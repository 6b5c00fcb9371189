import type { Draft } from "./codec/drafts.ts";
import {
  doneCodes,
  type FetchRange,
  type Location,
  type Message,
  type Params,
  type RequestKind,
  resetCodes,
  type TrackName,
} from "./codec/messages.ts";
import {
  encodeFetchHeader,
  encodeFetchObject,
  encodeSubgroupHeader,
  type FetchedObject,
  type StreamObject,
  type SubgroupHeader,
} from "./codec/objects.ts";
import type { SendStream } from "./transport.ts";

/** What answers a request besides yes. */
export interface Refused {
  /** One of `requestErrors`. */
  readonly code: number;
  readonly reason: string;
  /** Undefined: not to be tried again. */
  readonly retryMs?: number | undefined;
}

/** How a subscription or the objects of one group end. */
export interface GroupSink {
  object(object: StreamObject): void;
  /** All of it has come. */
  end(): void;
  /** The rest will not come. */
  gone(): void;
}

/** What whoever subscribed hears. */
export interface SubscriptionEvents {
  readonly ok: (answer: { readonly largest: Location | undefined }) => void;
  readonly refused: (why: Refused) => void;
  /** A group begins, or a part of one. */
  readonly group: (header: SubgroupHeader) => GroupSink;
  /** Nothing follows but what is under way; `code` is one of `doneCodes`. */
  readonly done: (code: number, reason: string) => void;
}

/** A subscription at the peer. */
export interface Subscription {
  readonly id: number;
  /** Changes what is said in `params`; `settle` hears undefined for yes. */
  update(params: Params, settle?: (why: Refused | undefined) => void): void;
  end(): void;
}

/** What whoever asked for namespaces hears. */
export interface NamespaceEvents {
  readonly ok: () => void;
  readonly refused: (why: Refused) => void;
  readonly come: (namespace: readonly string[]) => void;
  readonly go: (namespace: readonly string[]) => void;
  /** Nothing more is said; what has come is gone. */
  readonly gone?: () => void;
}

/** What TRACK_STATUS says. */
export interface StatusAnswer {
  readonly largest: Location | undefined;
}

export interface FetchEvents {
  readonly ok: (answer: { readonly end: Location; readonly endOfTrack: boolean }) => void;
  readonly refused: (why: Refused) => void;
  readonly object: (object: StreamObject) => void;
  /** Everything that there is has come. */
  readonly end: () => void;
  readonly gone: () => void;
}

/** The part of a session that its requests use. */
export interface Wire {
  readonly draft: Draft;
  send(message: Message): void;
  /** See `Session.openUni`. */
  openUni(rank?: number): SendStream;
  /** Bytes that wait in all streams of the session. */
  readonly queued: number;
  /** The request is over. */
  release(id: number): void;
  /** Whoever answers a request has failed: the session ends. */
  broke(error: unknown): void;
}

/** A request of the peer for a track, waiting for an answer. */
export interface Asked {
  readonly id: number;
  readonly track: TrackName;
  readonly params: Params;
  /** Texts of the tokens that came with it, and with the session. */
  readonly tokens: readonly string[];
  reject(why: Refused): void;
}

export interface SubscribeAsked extends Asked {
  accept(answer: { readonly largest: Location | undefined }): Outgoing;
}

export interface FetchAsked extends Omit<Asked, "track"> {
  readonly range: FetchRange;
  /** Of a joining fetch: what it joins; undefined when that is no subscription of this peer. */
  readonly joined: Outgoing | undefined;
  accept(answer: { readonly end: Location; readonly endOfTrack: boolean }): FetchReply;
}

export interface StatusAsked extends Asked {
  accept(answer: StatusAnswer): void;
}

/** A track that the peer sends without being asked for it. Its objects wait until it is answered. */
export interface PublishAsked extends Asked {
  /** Returns the end: from then on nothing more is wanted of it. */
  accept(events: Pick<SubscriptionEvents, "group" | "done">, params?: Params): () => void;
}

export interface NamespaceAsked extends Omit<Asked, "track"> {
  readonly namespace: readonly string[];
  accept(): void;
}

/** A subscription of the peer: groups go out on streams of it. */
export class Outgoing {
  readonly id: number;
  readonly track: TrackName;
  /** Where the track stood when it began (draft 16 5.1). */
  readonly largest: Location | undefined;
  readonly #wire: Wire;
  #params: Params;
  readonly #streams = new Set<SendStream>();
  #opened = 0;
  #over = false;
  #left = false;
  #onEnd: (() => void) | undefined;
  /** The peer changed what it wants. */
  onUpdate: (() => void) | undefined;
  /** Where the track stands now, for who changes his subscription. */
  largestNow: (() => Location | undefined) | undefined;

  constructor(wire: Wire, asked: Pick<Asked, "id" | "track" | "params">, largest: Location | undefined) {
    this.#wire = wire;
    this.id = asked.id;
    this.track = asked.track;
    this.#params = asked.params;
    this.largest = largest;
  }

  /** The peer wants no more; told also to who listens after that. */
  set onEnd(ended: (() => void) | undefined) {
    this.#onEnd = ended;
    if (ended && this.#left) queueMicrotask(ended);
  }

  get params(): Params {
    return this.#params;
  }

  /** What this peer speaks: objects are to be encoded with its numbers. */
  get draft(): Draft {
    return this.#wire.draft;
  }

  /** Bytes that wait for this peer, in whatever stream. */
  get queued(): number {
    return this.#wire.queued;
  }

  /**
   * A stream for (a part of) one group, its header written. What waits on it for longer than the peer has said is of no use to it: the
   * stream is reset (draft 16 9.2.2.2, draft 18 8).
   */
  open(header: Omit<SubgroupHeader, "alias">): SendStream {
    const stream = this.#wire.openUni(rankOf(header, this.#params));
    this.#opened++;
    let timer: NodeJS.Timeout | undefined;
    const opened = performance.now();
    const one: SendStream = {
      write: (bytes, fin) => {
        stream.write(bytes, fin);
        if (fin) this.#streams.delete(one);
        if (stream.queued > 0)
          timer ??= this.#expire(stream, opened, () => one.reset(resetCodes.deliveryTimeout));
      },
      get queued() {
        return stream.queued;
      },
      room: () => stream.room(),
      reset: (code) => {
        clearTimeout(timer);
        stream.reset(code);
        this.#streams.delete(one);
      },
      get onStopped() {
        return stream.onStopped;
      },
      set onStopped(stopped) {
        stream.onStopped = stopped;
      },
    };
    this.#streams.add(one);
    // One alias for each request: no two tracks of a session ever share one.
    stream.write(encodeSubgroupHeader({ ...header, alias: this.id }, this.draft));
    return one;
  }

  /** Gives up a stream on which something has waited for too long; undefined where the peer set no limit. */
  #expire(stream: SendStream, opened: number, give: () => void): NodeJS.Timeout | undefined {
    const { deliveryTimeoutMs = 0, subgroupTimeoutMs = 0 } = this.#params;
    const left = [
      ...(deliveryTimeoutMs > 0 ? [deliveryTimeoutMs] : []),
      ...(subgroupTimeoutMs > 0 ? [Math.max(0, opened + subgroupTimeoutMs - performance.now())] : []),
    ];
    if (left.length === 0) return undefined;
    return setTimeout(() => stream.queued > 0 && give(), Math.min(...left)).unref();
  }

  /** PUBLISH_DONE: streams that are open are reset with `reset`, nothing more follows. */
  done(code: number, reason: string, reset: number): void {
    if (this.#over) return;
    this.#close(reset);
    this.#wire.send({ type: "publish-done", id: this.id, code, streams: this.#opened, reason });
    this.#wire.release(this.id);
  }

  /** A change of it was refused, with which it ends (draft 18 10.8). */
  fail(): void {
    this.done(doneCodes.updateFailed, "This change is not possible", resetCodes.cancelled);
    this.#leave();
  }

  /** The peer takes it back. */
  cancel(reset: number): void {
    if (this.#over) return;
    this.#close(reset);
    this.#wire.release(this.id);
    this.#leave();
  }

  /** The peer does not want what was pushed. */
  refused(): void {
    if (this.#over) return;
    this.#close(resetCodes.cancelled);
    this.#wire.release(this.id);
    this.#leave();
  }

  /** Whoever writes on it has failed: the session ends. */
  broke(error: unknown): void {
    this.#wire.broke(error);
  }

  /** The session is gone. */
  drop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#streams.clear();
    this.#leave();
  }

  update(params: Params): void {
    this.#params = { ...this.#params, ...params };
    this.onUpdate?.();
  }

  #leave(): void {
    this.#left = true;
    this.#onEnd?.();
  }

  #close(reset: number): void {
    this.#over = true;
    for (const stream of [...this.#streams]) stream.reset(reset);
    this.#streams.clear();
  }
}

const highest = 2 ** 32;

/** What goes first (draft 16 7): the subscriber's priority, then the publisher's, then the order of groups. Below 2^48, above 0. */
function rankOf(
  { priority, group }: Pick<SubgroupHeader, "priority" | "group">,
  params: Pick<Params, "priority" | "order">,
): number {
  const age = group % highest;
  const inOrder = params.order === "descending" ? highest - 1 - age : age;
  return ((params.priority ?? 128) * 256 + (priority ?? 128)) * highest + inOrder + 1;
}

/** The answer to a FETCH: objects in order on one stream. */
export class FetchReply {
  readonly id: number;
  readonly #wire: Wire;
  readonly #stream: SendStream;
  #last: Location | undefined;
  #over = false;
  #left = false;
  #onEnd: (() => void) | undefined;
  #onOver: (() => void) | undefined;

  constructor(wire: Wire, id: number) {
    this.#wire = wire;
    this.id = id;
    this.#stream = wire.openUni();
    this.#stream.write(encodeFetchHeader(id, wire.draft));
    this.#stream.onStopped = () => this.cancel(resetCodes.cancelled);
  }

  /** The peer wants no more; told also to who listens after that. */
  set onEnd(ended: (() => void) | undefined) {
    this.#onEnd = ended;
    if (ended && this.#left) queueMicrotask(ended);
  }

  /** Nothing more goes out on it, whoever ended it; told also to who listens after that. */
  set onOver(over: (() => void) | undefined) {
    this.#onOver = over;
    if (over && this.#over) queueMicrotask(over);
  }

  get queued(): number {
    return this.#stream.queued;
  }

  /** Settles when there is room for more. */
  room(): Promise<void> {
    return this.#stream.room();
  }

  /** Objects go out in the order of their ids, groups in the order that was asked for. */
  write(object: FetchedObject): void {
    if (this.#over) return;
    const bytes = encodeFetchObject(object, this.#wire.draft, this.#last);
    this.#last = { group: object.group, object: object.object };
    this.#stream.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  end(): void {
    if (!this.#close()) return;
    this.#stream.write(new Uint8Array(0), true);
    this.#wire.release(this.id);
  }

  cancel(reset: number): void {
    if (!this.#close()) return;
    this.#stream.reset(reset);
    this.#wire.release(this.id);
    this.#leave();
  }

  drop(): void {
    this.#close();
    this.#leave();
  }

  /** False when it was over before. */
  #close(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#onOver?.();
    return true;
  }

  #leave(): void {
    this.#left = true;
    this.#onEnd?.();
  }
}

/** Requests of ours that wait for an answer, or live on after it. */
export type Pending =
  | { readonly kind: "subscribe"; readonly events: SubscriptionEvents; alias?: number }
  | {
      readonly kind: "fetch";
      readonly events: FetchEvents;
      readonly descends: boolean;
      answered?: boolean;
      ended?: boolean;
    }
  | {
      readonly kind: "subscribe-namespace";
      readonly events: NamespaceEvents;
      readonly prefix: readonly string[];
      readonly here: Set<string>;
    }
  | { readonly kind: "track-status"; readonly settle: (answer: StatusAnswer | Refused) => void }
  | {
      readonly kind: "publish-namespace";
      readonly settle: (why: Refused | undefined) => void;
      readonly cancelled: (why: Refused) => void;
    }
  | {
      readonly kind: Extract<RequestKind, "update" | "publish">;
      /** `wishes` come with a yes. */
      readonly settle: (why: Refused | undefined, wishes?: Params) => void;
    };
