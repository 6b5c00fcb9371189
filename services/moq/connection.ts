import { Inbox, type ReceiveStream, roomBytes, type SendStream, unheardBytes } from "./transport.ts";

/** How many bytes were taken; `status` is 0 where it was not refused. */
export type Sent = { readonly status: number; readonly written: number };

/** What the binding says of a connection. */
export interface Event {
  readonly eventType: number;
  readonly connHandle: number;
  readonly streamId: number;
  readonly data?: Uint8Array;
  readonly fin?: boolean;
  readonly meta?: {
    readonly errorCode?: number;
    readonly errorReason?: string;
    readonly remoteAddr?: string;
    readonly remotePort?: number;
  };
}

/** Kinds of `Event`. */
export const events = {
  session: 1,
  stream: 2,
  data: 4,
  finished: 5,
  reset: 6,
  closed: 7,
  drain: 8,
  error: 10,
  handshake: 11,
  shutdown: 15,
  blocked: 16,
  writeReady: 18,
} as const;

/** A stream that the peer did not allow yet is tried again after this long. */
const creditMs = 20;
/** For so long after its first bytes a stream may be refused for want of credit; its bytes are kept until then. */
const refusableMs = 500;
/** H3_INTERNAL_ERROR (RFC 9114 8.1). */
const internalError = 0x102;
/** Streams of one peer that are open at a time. */
const maxPeerStreams = 256;

/** One QUIC connection: streams by number, and what becomes of them. */
export class Connection {
  readonly remote: { readonly host: string; readonly port: number };
  readonly #link: Link;
  readonly #sending = new Map<number, Sending>();
  readonly #receiving = new Map<number, Receiving>();
  readonly #server: boolean;
  readonly #broke: ((error: unknown) => void) | undefined;
  #nextUni: number;
  #nextBi: number;
  #queued = 0;
  #retry: NodeJS.Timeout | undefined;
  #ended = false;
  #isBroken = false;
  onStream: ((id: number, receive: ReceiveStream, send: SendStream | undefined) => void) | undefined;
  onClosed: ((reason: string) => void) | undefined;
  /** Whoever has the use of it has failed: it is to be closed. */
  onBroken: (() => void) | undefined;

  constructor(options: {
    readonly link: Link;
    readonly remote: Connection["remote"];
    readonly server: boolean;
    /** Hears what its user throws, once. Without it that is thrown on. */
    readonly broke?: ((error: unknown) => void) | undefined;
  }) {
    const { link, remote, server, broke } = options;
    this.#link = link;
    this.remote = remote;
    this.#server = server;
    this.#broke = broke;
    this.#nextUni = server ? 3 : 2;
    this.#nextBi = server ? 1 : 0;
  }

  /** Runs what is done with it; what that throws ends this connection and no other. */
  run(what: () => void): void {
    try {
      what();
    } catch (error) {
      if (!this.#broke) throw error;
      if (this.#isBroken) return;
      this.#isBroken = true;
      this.#broke(error);
      this.run(() => (this.onBroken ? this.onBroken() : this.close(internalError, "")));
    }
  }

  /** Bytes that wait in all streams. */
  get queued(): number {
    return this.#queued;
  }

  /** Of streams that wait, the one of lower `rank` goes first. */
  openUni(rank = 0): SendStream {
    const id = this.#nextUni;
    this.#nextUni += 4;
    return this.#send(id, rank);
  }

  openBi(): { readonly id: number; readonly send: SendStream; readonly receive: ReceiveStream } {
    const id = this.#nextBi;
    this.#nextBi += 4;
    return { id, send: this.#send(id), receive: this.#receive(id) };
  }

  /** Ends it for both sides; `onClosed` follows. */
  close(code: number, reason: string): void {
    // The binding may have given its number to another one since.
    if (!this.#ended) this.run(() => this.#link.close(code, reason.slice(0, 200)));
  }

  /** One event of the binding that is about this connection. */
  on(event: Event): void {
    this.run(() => this.#on(event));
  }

  #on({ eventType, streamId: id, data, fin, meta }: Event): void {
    switch (eventType) {
      case events.stream:
      case events.data:
        return this.#data(id, data ?? new Uint8Array(0), fin === true);
      case events.finished:
        return this.#data(id, new Uint8Array(0), true);
      case events.reset:
        return this.#gone(id);
      case events.blocked:
        return this.#sending.get(id)?.block();
      case events.drain:
        return this.#ready(this.#sending.get(id));
      case events.writeReady:
        for (const stream of this.#sending.values()) this.#ready(stream);
        return;
      case events.error: {
        // Kinds of it are told apart by text alone.
        const text = `${meta?.errorReason ?? ""}`;
        if (/StreamLimit/i.test(text)) this.#refused(id);
        else if (/StreamReset/i.test(text)) this.#gone(id);
        else if (/StreamStopped/i.test(text)) this.#sending.get(id)?.stopped();
        return;
      }
      case events.closed:
        this.end(meta?.errorReason || "the connection is closed");
    }
  }

  /** The connection is gone. */
  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#retry);
    // Before its streams: that they end is not their fault.
    this.run(() => this.onClosed?.(reason));
    for (const stream of this.#sending.values()) stream.drop();
    for (const stream of [...this.#receiving.values()]) this.run(() => stream.inbox.gone());
    this.#receiving.clear();
    this.#queued = 0;
  }

  /** Streams that may go on, until the end of this turn: then the first in rank goes first, in whatever order it was heard. */
  readonly #drained = new Set<Sending>();

  #ready(stream: Sending | undefined): void {
    if (!stream) return;
    if (stream.queued === 0) return stream.flush();
    if (this.#drained.size === 0)
      queueMicrotask(() => {
        const all = [...this.#drained].sort((a, b) => a.rank - b.rank);
        this.#drained.clear();
        for (const one of all) one.flush();
      });
    this.#drained.add(stream);
  }

  #send(id: number, rank = 0): Sending {
    const wire: Wire = {
      send: (bytes, fin) => {
        let taken = bytes.length;
        if (this.#ended) return taken;
        // Whoever writes may be on the way to others.
        this.run(() => {
          const { status, written } = this.#link.send(id, bytes, fin);
          taken = status === 0 ? written : 0;
        });
        return taken;
      },
      reset: (code) => this.#ended || this.run(() => void this.#link.closeStream(id, code)),
      count: (more) => {
        this.#queued += more;
      },
      over: () => this.#sending.delete(id),
    };
    // A stream of the peer needs no credit of his to be answered.
    const stream = new Sending(wire, (id & 1) === (this.#server ? 1 : 0), rank);
    this.#sending.set(id, stream);
    return stream;
  }

  #receive(id: number): ReceiveStream {
    const receiving: Receiving = { inbox: new Inbox(), done: false };
    this.#receiving.set(id, receiving);
    return {
      listen: (on) => receiving.inbox.listen(on),
      stop: (code) => {
        if (receiving.done || this.#ended) return;
        receiving.done = true;
        this.#link.closeStream(id, code);
      },
    };
  }

  #data(id: number, bytes: Uint8Array, fin: boolean): void {
    if (this.#ended) return;
    let receiving = this.#receiving.get(id);
    if (!receiving) {
      // Ours, or one that is over already.
      if ((id & 1) === (this.#server ? 1 : 0) || this.#over.has(id)) return;
      if (this.#receiving.size >= maxPeerStreams)
        return this.close(0x107, "too many streams are open at a time");
      const receive = this.#receive(id);
      receiving = this.#receiving.get(id)!;
      this.onStream?.(id, receive, id & 2 ? undefined : this.#send(id));
    }
    if (receiving.done) return this.#finish(id, fin);
    if (!receiving.inbox.data(bytes, fin, unheardBytes)) this.close(0x107, "more came than was asked for");
    this.#finish(id, fin);
  }

  /** Numbers of streams that are over, as their last events may come late. */
  readonly #over = new Set<number>();

  #finish(id: number, fin: boolean): void {
    if (!fin) return;
    this.#receiving.delete(id);
    this.#over.add(id);
    if (this.#over.size > 512) this.#over.delete(this.#over.values().next().value!);
  }

  #gone(id: number): void {
    const receiving = this.#receiving.get(id);
    this.#finish(id, true);
    if (receiving && !receiving.done) receiving.inbox.gone();
  }

  #refused(id: number): void {
    const stream = this.#sending.get(id);
    if (!stream) return;
    if (!stream.refuse()) return this.close(0x102, "a stream was refused too late");
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      // In order of their numbers, which is the order in which the peer allows them.
      for (const one of [...this.#sending.values()]) one.again();
    }, creditMs);
  }
}

interface Receiving {
  readonly inbox: Inbox;
  done: boolean;
}

/** What a connection is to the binding. */
export interface Link {
  send(stream: number, bytes: Buffer, fin: boolean): Sent;
  closeStream(stream: number, code: number): boolean;
  close(code: number, reason: string): void;
}

interface Wire {
  /** Sends and returns how many bytes were taken; an end goes with the last. */
  readonly send: (bytes: Buffer, fin: boolean) => number;
  readonly reset: (code: number) => unknown;
  readonly count: (more: number) => void;
  readonly over: () => void;
}

/** The sending half of one stream. */
class Sending implements SendStream {
  readonly #to: Wire;
  #queue: { bytes: Buffer; fin: boolean }[] = [];
  #queued = 0;
  #blocked = false;
  #ended = false;
  #over = false;
  /** What was sent while the peer may still refuse the stream; undefined once it cannot. */
  #kept: { bytes: Buffer; fin: boolean }[] | undefined;
  #refused = false;
  #keeping = false;
  #resetWith: number | undefined;
  #waiting: (() => void)[] = [];
  onStopped: (() => void) | undefined;

  readonly rank: number;

  /** `mayBeRefused`: the peer has to allow it first. */
  constructor(to: Wire, mayBeRefused: boolean, rank: number) {
    this.#to = to;
    this.rank = rank;
    if (mayBeRefused) this.#kept = [];
  }

  get queued(): number {
    return this.#queued;
  }

  room(): Promise<void> {
    if (this.#queued < roomBytes || this.#over) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  write(bytes: Uint8Array, fin = false): void {
    if (this.#ended) return;
    this.#ended = fin;
    const whole = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // What flows goes on at once: this is done for each object and each subscriber.
    if (!this.#blocked && !this.#refused && !this.#kept && this.#queue.length === 0 && whole.length > 0) {
      const taken = this.#to.send(whole, fin);
      if (taken >= whole.length) {
        if (fin) this.#finish();
        return;
      }
      this.#blocked = true;
      return this.#push({ bytes: whole.subarray(taken), fin });
    }
    this.#push({ bytes: whole, fin });
    if (!this.#blocked && !this.#refused) this.flush();
  }

  reset(code: number): void {
    if (this.#over) return;
    this.#ended = true;
    this.#clear();
    // A number that was skipped would be missing from the peer's count for ever: it is opened, then reset.
    if (this.#refused) {
      this.#resetWith = code;
      this.#kept = this.#kept?.slice(0, 1);
      return;
    }
    this.#to.reset(code);
    this.#finish();
  }

  /** The binding holds as much as it should. */
  block(): void {
    this.#blocked = true;
  }

  /** Sends what waits. */
  flush(): void {
    this.#blocked = false;
    if (this.#refused) return;
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      const taken = this.#to.send(next.bytes, next.fin);
      const whole = taken >= next.bytes.length && (taken > 0 || next.bytes.length === 0);
      if (taken > 0 || whole) this.#keep(whole ? next : { bytes: next.bytes.subarray(0, taken), fin: false });
      this.#count(-Math.min(taken, next.bytes.length));
      if (!whole) {
        next.bytes = next.bytes.subarray(taken);
        this.#blocked = true;
        return;
      }
      this.#queue.shift();
      if (next.fin && !this.#kept) return this.#finish();
    }
  }

  /** The peer did not allow the stream: what was sent is lost and goes again. False when it is not here any more. */
  refuse(): boolean {
    if (!this.#kept) return false;
    if (this.#refused) return true;
    this.#refused = true;
    const again = this.#kept;
    this.#kept = [];
    for (const piece of again) this.#count(piece.bytes.length);
    this.#queue.unshift(...again);
    return true;
  }

  again(): void {
    if (!this.#refused) return;
    this.#refused = false;
    this.flush();
  }

  stopped(): void {
    this.#clear();
    this.#ended = true;
    this.#finish();
    this.onStopped?.();
  }

  /** The connection is gone. */
  drop(): void {
    this.#clear();
    this.#ended = true;
    this.#over = true;
  }

  #push(piece: { bytes: Buffer; fin: boolean }): void {
    this.#queue.push(piece);
    this.#count(piece.bytes.length);
  }

  #keep(piece: { bytes: Buffer; fin: boolean }): void {
    if (!this.#kept) return;
    this.#kept.push(piece);
    if (this.#keeping) return;
    this.#keeping = true;
    // What the binding has to say by then comes between a timer and an immediate.
    setTimeout(() => setImmediate(() => this.#sure()), refusableMs).unref();
  }

  /** The peer has the stream. */
  #sure(): void {
    this.#keeping = false;
    if (this.#refused || !this.#kept) return;
    const ended = this.#kept.at(-1)?.fin === true;
    this.#kept = undefined;
    if (this.#resetWith !== undefined) {
      this.#to.reset(this.#resetWith);
      this.#finish();
    } else if (ended) this.#finish();
  }

  #clear(): void {
    this.#count(-this.#queued);
    this.#queue = [];
  }

  #count(more: number): void {
    this.#queued += more;
    this.#to.count(more);
    if (this.#queued < roomBytes && this.#waiting.length > 0) for (const go of this.#waiting.splice(0)) go();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#to.over();
  }
}
