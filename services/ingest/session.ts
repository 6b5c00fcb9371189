import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { Failure } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { createProtocol, type Protocol } from "./protocol.ts";

export interface SessionLimits {
  /** From the connection to the end of the handshake, and to a publish. */
  readonly handshakeMs: number;
  readonly publishMs: number;
  /** A publish without media for so long is over. */
  readonly idleMs: number;
  /** How long a peer that has been told something has to read it and close. */
  readonly lingerMs: number;
}

export const sessionLimits: SessionLimits = {
  handshakeMs: 5_000,
  publishMs: 10_000,
  idleMs: 15_000,
  lingerMs: 2_000,
};

/** How a publish ended: the encoder said so, it vanished, another encoder took its place, or we ended it. */
export type EndReason = "clean" | "lost" | "replaced" | "refused";

/** Where the media of an accepted publish goes. */
export interface Sink {
  /** As `Handler.media`. Throws BadMedia when the publisher must change something. */
  media(type: number, timestampMs: number, tag: Uint8Array): void;
  /** Called once; nothing comes after it. `detail` is for the log, `code` says what was wrong with the media. */
  end(reason: EndReason, detail: string, code?: BadMedia["code"]): void;
}

/** A refusal: `message` is for the encoder's log, `why` is a constant for ours. */
export interface Refusal {
  readonly code: "Denied" | "BadName";
  readonly message: string;
  readonly why: string;
}

/** Decides, once a session, whether a publish command is obeyed. */
export type Decide = (
  session: Session,
  app: string,
  name: string,
) => Sink | Refusal | Promise<Sink | Refusal>;

/** One encoder's connection, from its first byte to the end of its socket. */
export interface Session {
  /** Address and port of the encoder. */
  readonly peer: string;
  readonly address: string;
  readonly encoder: string;
  readonly received: number;
  /** False once it is over and only its socket may be left. */
  readonly open: boolean;
  /** When media last came, or the publish was accepted (performance.now). */
  readonly lastMediaMs: number;
  /** Ends the session: the encoder is told `message`, the sink `reason`. */
  end(reason: EndReason, message: string, code?: BadMedia["code"]): void;
  /** Cuts the connection without a word, as a network would: encoders come back after that. */
  cut(): void;
}

export interface SessionOptions {
  readonly decide: Decide;
  readonly limits: SessionLimits;
  readonly log: Log;
  /** Told of every end before a publish: a word for the metrics. */
  readonly onRefused: (why: string) => void;
}

/** Runs the session on a fresh socket, which it owns. */
export function openSession(socket: Socket, options: SessionOptions): Session {
  return new Connection(socket, options);
}

/** A peer that does not read its answers is not an encoder. */
const unreadBytes = 1 << 20;

type State =
  /** The handshake and the commands before publish. */
  | "greeting"
  | "deciding"
  | "publishing"
  /** Over: what still comes is not read, the socket is about to go. */
  | "over";

class Connection implements Session {
  readonly peer: string;
  readonly address: string;
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  readonly #protocol: Protocol;
  #state: State = "greeting";
  #sink: Sink | undefined;
  #lastMediaMs = performance.now();
  #nowMs = this.#lastMediaMs;
  #timer: NodeJS.Timeout | undefined;
  #publishTimer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.address = socket.remoteAddress ?? "";
    this.peer = `${this.address}:${socket.remotePort ?? 0}`;
    this.#protocol = createProtocol({
      send: (bytes) => this.#send(bytes),
      publish: (app, name) => this.#publish(app, name),
      media: (type, timestampMs, tag) => {
        this.#lastMediaMs = this.#nowMs;
        this.#sink?.media(type, timestampMs, tag);
      },
      unpublish: () => this.#unpublish(),
    });
    const { handshakeMs, publishMs } = options.limits;
    this.#timer = setTimeout(() => {
      if (!this.#protocol.handshaken) this.#drop("no handshake in time");
    }, handshakeMs);
    this.#publishTimer = setTimeout(() => this.#drop("no publish in time"), publishMs);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on("data", (bytes) => this.#receive(bytes as Buffer));
    // "close" follows.
    socket.on("error", () => undefined);
    socket.on("close", () => this.#socketClosed());
  }

  get encoder(): string {
    return this.#protocol.encoder;
  }

  get received(): number {
    return this.#protocol.received;
  }

  get open(): boolean {
    return this.#state !== "over";
  }

  get lastMediaMs(): number {
    return this.#lastMediaMs;
  }

  end(reason: EndReason, message: string, code?: BadMedia["code"]): void {
    if (this.#state === "over") return;
    this.#protocol.refuse(reason === "replaced" ? "BadName" : "Denied", message);
    this.#over(reason, message, code);
    this.#linger();
  }

  cut(): void {
    this.#over("lost", "this server stops");
    this.#socket.destroy();
  }

  #receive(bytes: Buffer): void {
    if (this.#state === "over") return;
    this.#nowMs = performance.now();
    try {
      this.#protocol.push(bytes);
    } catch (error) {
      if (error instanceof BadMedia && this.#sink) this.end("refused", error.message, error.code);
      else if (error instanceof Failure) this.#drop(error.message, error.cause);
      else this.#drop(error instanceof BadMedia ? error.message : "unexpected", error);
    }
  }

  #send(bytes: Uint8Array): void {
    if (this.#socket.writable) this.#socket.write(bytes);
    if (this.#socket.writableLength > unreadBytes) this.#drop("does not read its answers");
  }

  #publish(app: string, name: string): void {
    this.#state = "deciding";
    clearTimeout(this.#timer);
    clearTimeout(this.#publishTimer);
    const pending = this.#options.decide(this, app, name);
    // Without a promise the media that came with the command is in the same bytes, and is wanted.
    if (!(pending instanceof Promise)) {
      this.#decided(pending);
      return;
    }
    this.#socket.pause();
    pending.then(
      (verdict) => this.#decided(verdict),
      (error: unknown) => this.#drop("no decision", error),
    );
  }

  #decided(verdict: Sink | Refusal): void {
    if ("message" in verdict) this.#refuse(verdict);
    else if (this.#state === "over") verdict.end("lost", "gone before the answer");
    else this.#begin(verdict);
  }

  #refuse({ code, message, why }: Refusal): void {
    if (this.#state === "over") return;
    this.#protocol.refuse(code, message);
    this.#options.log.info({ peer: this.peer, encoder: this.encoder, why }, "publish refused");
    this.#options.onRefused(why);
    this.#over("refused", why);
    this.#linger();
  }

  #begin(sink: Sink): void {
    this.#sink = sink;
    this.#state = "publishing";
    this.#lastMediaMs = performance.now();
    this.#watchMedia(this.#options.limits.idleMs);
    this.#protocol.accept();
    this.#socket.resume();
  }

  /** One timer for the whole publish, not one for each message. */
  #watchMedia(inMs: number): void {
    this.#timer = setTimeout(() => {
      const leftMs = this.#lastMediaMs + this.#options.limits.idleMs - performance.now();
      if (leftMs > 0) return this.#watchMedia(leftMs);
      this.#over("lost", "no media in time");
      this.#socket.destroy();
    }, Math.ceil(inMs));
  }

  /** The encoder closes the socket itself, and some take it for an error when we are first. */
  #unpublish(): void {
    this.#over("clean", "the encoder stopped");
    this.#linger(false);
  }

  /** A peer that does not keep to the protocol: one line, and the socket goes. */
  #drop(why: string, cause?: unknown): void {
    if (this.#state === "over") return;
    // The end of a publish is told with its reason, though not with what is behind that.
    if (!this.#sink || cause !== undefined) {
      const said = cause === undefined ? {} : { cause: String(cause) };
      this.#options.log.info({ peer: this.peer, bytes: this.received, why, ...said }, "connection dropped");
    }
    if (!this.#sink) this.#options.onRefused("protocol");
    this.#over("lost", why);
    this.#socket.destroy();
  }

  #socketClosed(): void {
    this.#over("lost", "the connection was lost");
    clearTimeout(this.#timer);
  }

  #over(reason: EndReason, detail: string, code?: BadMedia["code"]): void {
    if (this.#state === "over") return;
    this.#state = "over";
    clearTimeout(this.#timer);
    clearTimeout(this.#publishTimer);
    this.#protocol.stop();
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.end(reason, detail, code);
  }

  /** A reset would overtake what was said, so the peer's bytes are read and thrown away until it closes or time is up. */
  #linger(finish = true): void {
    if (finish) this.#socket.end();
    this.#socket.resume();
    this.#timer = setTimeout(() => this.#socket.destroy(), this.#options.limits.lingerMs);
  }
}
