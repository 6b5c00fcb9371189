import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { Failure } from "../lib/errors.ts";
import type { Broadcast } from "../live/broadcast.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { FlvReader } from "../packager/flv.ts";

/** How long a worker that was granted may take to begin. */
const beginMs = 3_000;
/** A worker that says nothing on any of its streams at so many looks in a row is gone; it promises a word twice a second. */
const mostSilent = 25;
/** How long one that delivered may take to ask again: its ffmpeg is started anew within tenths of a second. */
const returnMs = 1_000;

/**
 * Who may write the rungs of one broadcast: the worker that was granted last. An epoch is a number that the ledger has
 * on disk; whoever comes with a lower one has lost its job, whatever it believes.
 */
export class RungGate {
  #epoch = 0;
  #writing = new AbortController();
  #writers = 0;
  /** Who was granted last, and everyone who ever was. */
  #writer: string | undefined;
  readonly #formerly = new Set<string>();
  #revoked = false;
  #silent = 0;
  /** From when on another may be asked while nobody delivers, in ms since 1970. */
  nextMs = 0;
  readonly #refused: () => void;

  /** `refused` hears of each stream that came with an epoch of the past, or was cut off because another has one. */
  constructor(refused: () => void) {
    this.#refused = refused;
  }

  /** True while a worker delivers. */
  get busy(): boolean {
    return this.#writers > 0 && !this.#revoked;
  }

  /** The last one granted; 0 before the first. */
  get epoch(): number {
    return this.#epoch;
  }

  /**
   * To be called ten times a second; true when the worker that delivers has fallen silent. Counts calls and not time: what came
   * while this process itself stood still is read before the next one.
   */
  look(): boolean {
    this.#silent = this.busy ? this.#silent + 1 : 0;
    return this.#silent > mostSilent;
  }

  /** Nobody writes until the next grant: what is written is not wanted any more. */
  revoke(): void {
    this.#revoked = true;
    this.#silent = 0;
    this.nextMs = 0;
    this.#writing.abort();
  }

  /** False for a writer that lost the rungs to another: what broke its streams was that, and it must not take them back. */
  mayHave(writer: string): boolean {
    return writer === this.#writer || !this.#formerly.has(writer);
  }

  /** From now on only `epoch` writes, which is `writer`'s; streams of lower ones are cut off. */
  grant(epoch: number, writer: string): void {
    this.#epoch = epoch;
    this.#writer = writer;
    this.#formerly.add(writer);
    this.#revoked = false;
    this.nextMs = Date.now() + beginMs;
    this.#writing.abort();
    this.#writing = new AbortController();
  }

  /** Takes one rung as FLV until its end. Throws `Failure` for a stale epoch and for media that cannot be used. */
  async take(body: IncomingMessage, broadcast: Broadcast, name: string, epoch: number): Promise<void> {
    if (epoch !== this.#epoch || this.#revoked || !broadcast.wanted.some((rung) => rung.name === name)) {
      this.#refused();
      throw new Failure("conflict", "Another worker encodes this broadcast now");
    }
    const { signal } = this.#writing;
    const reader = new FlvReader();
    let failure: Failure | undefined;
    broadcast.beginRung(name);
    this.#writers++;
    try {
      this.#silent = 0;
      body.on("data", (bytes: Buffer) => {
        if (!signal.aborted) this.#silent = 0;
        if (failure) return;
        if (signal.aborted) failure = new Failure("conflict", "Another worker encodes this broadcast now");
        else failure = push(reader, bytes, broadcast, name);
        if (failure) body.resume();
      });
      const ended = once(body, "close");
      const cut = new Promise<void>((resolve) =>
        signal.addEventListener("abort", () => resolve(), { once: true }),
      );
      await Promise.race([once(body, "end").catch(() => {}), ended, cut]);
    } finally {
      if (--this.#writers === 0 && !this.#revoked) this.nextMs = Date.now() + returnMs;
    }
    if (signal.aborted) {
      this.#refused();
      failure ??= new Failure("conflict", "Another worker encodes this broadcast now");
    }
    if (failure) throw failure;
  }
}

function push(reader: FlvReader, bytes: Buffer, broadcast: Broadcast, name: string): Failure | undefined {
  try {
    for (const tag of reader.push(bytes)) broadcast.pushRung(name, tag);
    return undefined;
  } catch (error) {
    if (error instanceof BadMedia) return new Failure("bad_media", error.message);
    throw error;
  }
}
