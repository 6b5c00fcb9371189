import { once } from "node:events";
import { Failure, messageOf } from "../lib/errors.ts";
import { openInternal } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import { pause } from "../lib/retry.ts";
import type { OnAir } from "../live/publishes.ts";
import { audioTag, FlvReader, type FlvTag, videoTag } from "../packager/flv.ts";
import { createUnwrapper } from "../packager/timestamps.ts";
import { type PublishEnd, readPiece, type Said, type Setup } from "./piece.ts";

/** Something to be sent at its time, with everything that has to have been sent before it. */
export interface Piece extends Said {
  /** Never goes back over publishes of one broadcast; milliseconds from anywhere. */
  readonly atMs: number;
  readonly setups: readonly Setup[];
}

/** Who hears what is on air. */
export interface Listener {
  piece(piece: Piece): void;
  /** It began, or what it is made of has changed. */
  changed(): void;
  /** It is over: no encoder comes back to it. */
  over(): void;
}

export interface ChannelOptions {
  readonly ingest: string;
  readonly secret: string | undefined;
  readonly input: string;
  /** How long an encoder that vanished is waited for. */
  readonly timeoutSeconds: () => number;
  readonly log: Log;
  readonly gone: (channel: Channel) => void;
}

/** The most that is kept of a group of pictures for a target that connects in the middle of it. */
const maxGopBytes = 16 << 20;
/** A feed that breaks is opened again so soon; ingest then says whether the publish goes on. */
const reopenMs = 200;
/** Timestamps that step back or ahead further begin a new count, as after a reconnect. */
const backMs = 2_000;
const aheadMs = 10_000;
/** Between what an encoder sent last and what its successor sends first, at least. */
const seamMs = 40;

/** What is on air of one live input, over the reconnects of its encoder, for any number of outputs. */
export class Channel {
  readonly #options: ChannelOptions;
  readonly #listeners = new Set<Listener>();
  readonly #now: () => number;
  #reading: AbortController | undefined;
  #publish: string | undefined;
  #setups: readonly Setup[] = [];
  #hasVideo = false;
  #gop: Piece[] = [];
  #gopBytes = 0;
  #live = false;
  #over = false;
  #window: NodeJS.Timeout | undefined;
  #unwrap = createUnwrapper();
  /** To be added to the publish's own time; undefined before its first frame. */
  #offset: number | undefined;
  #lastRaw = 0;
  #lastAt = 0;
  #lastNow = 0;

  constructor(options: ChannelOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /** Media comes now: there is something to connect for. */
  get live(): boolean {
    return this.#live && this.#gop.length > 0;
  }

  /** The publish that is read, or was last. */
  get publish(): string | undefined {
    return this.#publish;
  }

  get setups(): readonly Setup[] {
    return this.#setups;
  }

  /** What came since the newest keyframe; empty while that is not known. */
  get gop(): readonly Piece[] {
    return this.#gop;
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads this publish from now on, in place of the one before. */
  play(onAir: OnAir): void {
    if (this.#over || this.#publish === onAir.publish) return;
    this.#reading?.abort();
    clearTimeout(this.#window);
    const reading = new AbortController();
    this.#reading = reading;
    this.#publish = onAir.publish;
    void this.#read(onAir, reading.signal);
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#live = false;
    this.#reading?.abort();
    clearTimeout(this.#window);
    this.#options.gone(this);
    for (const listener of [...this.#listeners]) listener.over();
  }

  async #read(onAir: OnAir, signal: AbortSignal): Promise<void> {
    const { log, input } = this.#options;
    let end: PublishEnd | "broken" = "broken";
    while (end === "broken" && !signal.aborted) {
      try {
        end = await this.#feed(onAir.path, signal);
      } catch (error) {
        if (signal.aborted) return;
        // The publish is over, or its ingest gone.
        if (error instanceof Failure) end = "lost";
        else log.warn({ err: error, input }, "a feed cannot be sent on");
      }
      if (end === "broken") await pause(reopenMs, signal);
    }
    if (signal.aborted) return;
    this.#live = false;
    if (end === "clean") return this.close();
    this.#window = setTimeout(() => this.close(), this.#options.timeoutSeconds() * 1000);
  }

  async #feed(path: string, signal: AbortSignal): Promise<PublishEnd | "broken"> {
    const { ingest, secret } = this.#options;
    const body = await openInternal(ingest, path, { signal, secret });
    this.#unwrap = createUnwrapper();
    this.#offset = undefined;
    this.#hasVideo = false;
    this.#setups = [];
    this.#gop = [];
    const reader = new FlvReader();
    let end: PublishEnd | undefined;
    let broke: unknown;
    body.on("data", (bytes: Buffer) => {
      if (end || broke) return;
      try {
        for (const tag of reader.push(bytes)) end ??= this.#tag(tag);
      } catch (error) {
        broke = error;
        body.destroy();
      }
    });
    body.on("error", () => undefined);
    await once(body, "close");
    if (broke) {
      // Whoever packages it refuses it too, and tells the encoder.
      this.#options.log.warn(
        { input: this.#options.input, error: messageOf(broke) },
        "a publish has media that cannot be sent on",
      );
      return "lost";
    }
    return end ?? "broken";
  }

  #tag(tag: FlvTag): PublishEnd | undefined {
    const piece = readPiece(tag);
    if (!piece) return undefined;
    if ("end" in piece) return piece.end;
    if ("setup" in piece) {
      this.#setUp(piece.setup);
      return undefined;
    }
    const { said } = piece;
    const before = this.live;
    if (said.type === videoTag) this.#hasVideo = true;
    // Where there are no pictures one may begin at any sound.
    const key = said.key || (said.type === audioTag && !this.#hasVideo);
    const whole: Piece = { ...said, key, atMs: this.#time(tag.timestampMs), setups: this.#setups };
    if (key) {
      this.#gop = [];
      this.#gopBytes = 0;
    }
    if (key || this.#gop.length > 0) {
      this.#gop.push(whole);
      this.#gopBytes += whole.payload.length;
      if (this.#gopBytes > maxGopBytes) this.#gop = [];
    }
    this.#live = true;
    for (const listener of this.#listeners) listener.piece(whole);
    if (this.live !== before) this.#tell();
    return undefined;
  }

  #setUp(setup: Setup): void {
    if (setup.type === videoTag) this.#hasVideo = true;
    const before = this.#setups.find(({ name }) => name === setup.name);
    if (before && Buffer.compare(before.payload, setup.payload) === 0) return;
    // Metadata first, as encoders do; a decoder's configuration does not care where the others are.
    this.#setups = [...this.#setups.filter(({ name }) => name !== setup.name), setup].sort(
      (a, b) => Number(b.name === "onMetaData") - Number(a.name === "onMetaData"),
    );
    // A decoder that is set up anew cannot read what came before.
    if (before && setup.type === videoTag) {
      this.#gop = [];
      this.#gopBytes = 0;
    }
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener.changed();
  }

  /** The publish's time on the clock of the broadcast, which goes on by the wall where the encoder's own does not. */
  #time(timestampMs: number): number {
    const raw = this.#unwrap(timestampMs);
    const now = this.#now();
    const step = raw - this.#lastRaw;
    if (this.#offset === undefined || step < -backMs || step > aheadMs) {
      const passed = this.#lastNow === 0 ? 0 : Math.max(seamMs, now - this.#lastNow);
      this.#offset = Math.round(this.#lastAt + passed) - raw;
    }
    const at = raw + this.#offset;
    this.#lastRaw = raw;
    this.#lastAt = Math.max(this.#lastAt, at);
    this.#lastNow = now;
    return at;
  }
}
