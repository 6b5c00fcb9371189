import type { Running } from "../lib/lifecycle.ts";

/** Whoever can wait waits while more than this waits to be sent. */
export const roomBytes = 1 << 20;

/** Bytes of a stream that are kept before somebody listens: who sends more is not to. */
export const unheardBytes = 1 << 20;

/** The sending half of a stream. Bytes are kept until they can be sent, so nobody who writes waits. */
export interface SendStream {
  /** Takes whole messages or objects; they must not change afterwards. Nothing follows `fin`. */
  write(bytes: Uint8Array, fin?: boolean): void;
  /** Bytes that wait here because the peer or the network does not take more. */
  readonly queued: number;
  /** Settles when less than `roomBytes` wait, or it is over: for who has much to send and can wait. */
  room(): Promise<void>;
  /** Ends it so that the peer knows that something is missing; what waits is dropped. */
  reset(code: number): void;
  /** The peer wants no more of it. */
  onStopped?: (() => void) | undefined;
}

/** The receiving half of a stream. What comes before somebody listens is kept. */
export interface ReceiveStream {
  /** Hands over everything that has come and what comes, in order; `bytes` are valid for as long as they are held. */
  listen(on: {
    readonly data: (bytes: Uint8Array, fin: boolean) => void;
    /** The peer reset it, or the session ended before it did. */
    readonly gone: () => void;
  }): void;
  /** Tells the peer that nobody reads on. */
  stop(code: number): void;
}

export interface BiStream {
  readonly send: SendStream;
  readonly receive: ReceiveStream;
}

/** How a session ended. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** One peer, whatever carries its streams: WebTransport, raw QUIC or a socket between two roles. */
export interface Session {
  /** What both sides speak, like `moqt-16`; empty when nobody said. */
  readonly protocol: string;
  readonly remote: { readonly host: string; readonly port: number };
  /** QUIC alone: what is asked for comes with SETUP, not before. */
  readonly native?: boolean;
  /** Opened at once; what is written waits until the peer allows the stream. Of streams that wait, the one of lower `rank` goes first. */
  openUni(rank?: number): SendStream;
  openBi(): BiStream;
  /** Bytes that wait in all streams. */
  readonly queued: number;
  /** Called for each stream that the peer opens. Streams that came before are handed over first. */
  serve(on: {
    readonly uni: (stream: ReceiveStream) => void;
    readonly bi: (stream: BiStream) => void;
    /** Once, whoever ended it. */
    readonly closed: (how: Closed) => void;
  }): void;
  close(code: number, reason: string): void;
}

/** A peer that asks for a session. One of the two answers must be given. */
export interface Incoming {
  /** As in a URL: path and query. */
  readonly path: string;
  /** Host and port as the peer named them. */
  readonly authority: string;
  /** Of the page that asks, where it is one. */
  readonly origin: string | undefined;
  readonly agent: string;
  readonly remote: { readonly host: string; readonly port: number };
  /** The protocols that it speaks, the best first; empty when it does not say. */
  readonly offered: readonly string[];
  /** `protocol` is one of those offered, or undefined. */
  accept(protocol: string | undefined): Session;
  reject(status: number): void;
}

/** What listens for sessions. */
export interface Listener extends Running {
  readonly port: number;
}

/** Keeps what comes for whoever listens later. */
export class Inbox implements Pick<ReceiveStream, "listen"> {
  #waiting: { bytes: Uint8Array; fin: boolean }[] = [];
  #bytes = 0;
  #gone = false;
  #on: Parameters<ReceiveStream["listen"]>[0] | undefined;

  /** False when more than `limit` bytes wait for a listener. */
  data(bytes: Uint8Array, fin: boolean, limit: number): boolean {
    if (this.#on) this.#on.data(bytes, fin);
    else {
      this.#waiting.push({ bytes, fin });
      this.#bytes += bytes.length;
    }
    return this.#on !== undefined || this.#bytes <= limit;
  }

  gone(): void {
    if (this.#on) this.#on.gone();
    else this.#gone = true;
  }

  listen(on: Parameters<ReceiveStream["listen"]>[0]): void {
    this.#on = on;
    for (const { bytes, fin } of this.#waiting.splice(0)) on.data(bytes, fin);
    if (this.#gone) on.gone();
  }
}
