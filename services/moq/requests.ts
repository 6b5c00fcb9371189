import type { FetchRange, Location, Message, Params, RequestKind, TrackName } from "./codec/messages.ts";
import {
  encodeFetchHeader,
  encodeSubgroupHeader,
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
  update(params: Params): void;
  end(): void;
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
  send(message: Message): void;
  openUni(): SendStream;
  /** Bytes that wait in all streams of the session. */
  readonly queued: number;
  /** The request is over. */
  release(id: number): void;
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
  accept(answer: { readonly largest: Location | undefined }): void;
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
  /** The peer wants no more, or changed what it wants. */
  onEnd: (() => void) | undefined;
  onUpdate: (() => void) | undefined;

  constructor(wire: Wire, asked: Pick<Asked, "id" | "track" | "params">, largest: Location | undefined) {
    this.#wire = wire;
    this.id = asked.id;
    this.track = asked.track;
    this.#params = asked.params;
    this.largest = largest;
  }

  get params(): Params {
    return this.#params;
  }

  /** Bytes that wait for this peer, in whatever stream. */
  get queued(): number {
    return this.#wire.queued;
  }

  /** A stream for (a part of) one group, its header written. */
  open(header: Omit<SubgroupHeader, "alias">): SendStream {
    const stream = this.#wire.openUni();
    this.#opened++;
    this.#streams.add(stream);
    // One alias for each request: no two tracks of a session ever share one.
    stream.write(encodeSubgroupHeader({ ...header, alias: this.id }));
    return {
      write: (bytes, fin) => {
        stream.write(bytes, fin);
        if (fin) this.#streams.delete(stream);
      },
      get queued() {
        return stream.queued;
      },
      reset: (code) => {
        stream.reset(code);
        this.#streams.delete(stream);
      },
      get onStopped() {
        return stream.onStopped;
      },
      set onStopped(stopped) {
        stream.onStopped = stopped;
      },
    };
  }

  /** PUBLISH_DONE: streams that are open are reset with `reset`, nothing more follows. */
  done(code: number, reason: string, reset: number): void {
    if (this.#over) return;
    this.#close(reset);
    this.#wire.send({ type: "publish-done", id: this.id, code, streams: this.#opened, reason });
    this.#wire.release(this.id);
  }

  /** The peer takes it back. */
  cancel(reset: number): void {
    if (this.#over) return;
    this.#close(reset);
    this.#wire.release(this.id);
    this.onEnd?.();
  }

  /** The session is gone. */
  drop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#streams.clear();
    this.onEnd?.();
  }

  update(params: Params): void {
    this.#params = { ...this.#params, ...params };
    this.onUpdate?.();
  }

  #close(reset: number): void {
    this.#over = true;
    for (const stream of [...this.#streams]) stream.reset(reset);
    this.#streams.clear();
  }
}

/** The answer to a FETCH: objects in order on one stream. */
export class FetchReply {
  readonly id: number;
  readonly #wire: Wire;
  readonly #stream: SendStream;
  #over = false;
  onEnd: (() => void) | undefined;

  constructor(wire: Wire, id: number) {
    this.#wire = wire;
    this.id = id;
    this.#stream = wire.openUni();
    this.#stream.write(encodeFetchHeader(id));
    this.#stream.onStopped = () => this.cancel(0);
  }

  get queued(): number {
    return this.#stream.queued;
  }

  write(bytes: Uint8Array): void {
    if (!this.#over) this.#stream.write(bytes);
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.write(new Uint8Array(0), true);
    this.#wire.release(this.id);
  }

  cancel(reset: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.reset(reset);
    this.#wire.release(this.id);
    this.onEnd?.();
  }

  drop(): void {
    this.#over = true;
    this.onEnd?.();
  }
}

/** Requests of ours that wait for an answer, or live on after it. */
export type Pending =
  | { readonly kind: "subscribe"; readonly events: SubscriptionEvents; alias?: number }
  | { readonly kind: "fetch"; readonly events: FetchEvents; answered?: boolean; ended?: boolean }
  | {
      readonly kind: Exclude<RequestKind, "subscribe" | "fetch">;
      readonly settle: (why: Refused | undefined) => void;
    };
