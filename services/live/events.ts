import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { requestInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { BadMedia } from "../packager/bad-media.ts";
import type { OutputReason, OutputState } from "./output.ts";

/** Media that cannot be taken. */
export interface WrongMedia {
  readonly code: BadMedia["code"];
  /** One sentence for the owner: what to change. */
  readonly advice: string;
}

/** What a role tells control. `uid` is the live input's; `publish` one encoder connection; `video` one broadcast. */
export type Fact =
  | {
      readonly type: "publish.started";
      readonly uid: string;
      readonly publish: string;
      readonly peer: string;
    }
  | {
      readonly type: "publish.ended";
      readonly uid: string;
      readonly publish: string;
      readonly reason: "clean" | "lost" | "replaced" | "refused";
      /** What was wrong with what it sent, where that is why it was refused. */
      readonly wrong?: WrongMedia | undefined;
    }
  | { readonly type: "broadcast.started"; readonly uid: string; readonly video: string }
  | {
      readonly type: "broadcast.ended";
      readonly uid: string;
      readonly video: string;
      /** What is recorded of it; absent where nothing is. */
      readonly recorded?: { readonly seconds: number; readonly bytes: number } | undefined;
    }
  | {
      readonly type: "gop.long";
      readonly uid: string;
      readonly seconds: number;
      /** One sentence for the owner: what to change. */
      readonly advice: string;
    }
  /** A rung that the machine is too slow for, or has no encoder for, is not made any more; `rungs` are left. */
  | {
      readonly type: "ladder.degraded";
      readonly uid: string;
      readonly video: string;
      readonly rung: string;
      readonly rungs: readonly string[];
      readonly why: string;
      readonly advice: string;
    }
  /** The disk does not take a recording; live goes on from memory. */
  | {
      readonly type: "recording.paused";
      readonly uid: string;
      readonly video: string;
      readonly why: string;
      readonly advice: string;
    }
  /** It does again; `advice` is what need not be followed any more. */
  | {
      readonly type: "recording.resumed";
      readonly uid: string;
      readonly video: string;
      readonly advice: string;
    }
  /** What is recorded of a broadcast that is over, where the disk took some of it only after its end was told. */
  | {
      readonly type: "recording.settled";
      readonly uid: string;
      readonly video: string;
      readonly seconds: number;
      readonly bytes: number;
    }
  /** A recording was mended while nobody could be told: its length and size, and its gaps are those that are told from here on. */
  | {
      readonly type: "recording.mended";
      readonly uid: string;
      readonly video: string;
      readonly seconds: number;
      readonly bytes: number;
    }
  /** Segments of a recording that nothing can be seen of: their numbers, both included, and seconds from its start. */
  | {
      readonly type: "recording.gap";
      readonly uid: string;
      readonly video: string;
      readonly rendition: string;
      readonly from: number;
      readonly to: number;
      readonly atSeconds: number;
      readonly seconds: number;
    }
  /** No rung is encoded; `why` is the encoder's own word, or that there is none. */
  | {
      readonly type: "ladder.failed";
      readonly uid: string;
      readonly video: string;
      readonly why: string;
      readonly advice: string;
    }
  /** An output of a live input is in another state than before; `error` says to its owner what is wrong. */
  | {
      readonly type: "output.changed";
      readonly uid: string;
      readonly output: string;
      readonly state: OutputState;
      readonly reason: OutputReason;
      readonly error?: string | undefined;
    }
  /** There is one now; `advice` is what need not be followed any more. */
  | {
      readonly type: "ladder.resumed";
      readonly uid: string;
      readonly video: string;
      readonly advice: string;
    };

/** A fact on its way: `id` is unique for its node, `at` is epoch milliseconds. */
export type SentFact = { readonly id: string; readonly at: number } & Fact;

export interface EventsOptions {
  readonly role: string;
  /** Names this process among its likes. */
  readonly node: string;
  /** Control's internal address. */
  readonly control: string;
  /** What is not delivered yet, on disk; its folder is made when missing. */
  readonly file: string;
  readonly secret?: string | undefined;
  readonly log: Log;
  /** Bound of what is held while control is away. */
  readonly maxBytes?: number;
}

/** Facts on their way to control: kept over its absence and over a restart of this process, delivered in order, at least once. */
export interface Events extends Running {
  /** Holds `fact` until control has it. Returns at once and never throws. */
  send(fact: Fact): void;
  /** How many control does not have yet. */
  readonly pending: number;
}

interface Held {
  readonly event: SentFact;
  readonly line: string;
  readonly bytes: number;
}

const batchEvents = 200;
const farewellMs = 1_000;

/** Opens the file and delivers until closed; `close` makes one last attempt of at most a second. */
export function openEvents(options: EventsOptions): Events {
  return new Outbox(options);
}

class Outbox implements Events {
  readonly closed: Promise<void>;
  readonly #options: EventsOptions;
  readonly #maxBytes: number;
  readonly #prefix = `${Date.now().toString(36)}${randomBytes(4).toString("hex")}`;
  readonly #stop = new AbortController();
  readonly #cut = new AbortController();
  #wake = Promise.withResolvers<void>();
  #held: Held[] = [];
  #heldBytes = 0;
  #fileBytes = 0;
  #fd: number | undefined;
  #count = 0;
  #dropped = 0;

  constructor(options: EventsOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? 4 * 1024 * 1024;
    this.#load();
    this.closed = this.#run();
  }

  get pending(): number {
    return this.#held.length;
  }

  send(fact: Fact): void {
    const event: SentFact = { id: `${this.#prefix}.${this.#count++}`, at: Date.now(), ...fact };
    const line = `${JSON.stringify(event)}\n`;
    this.#hold(event, line);
    if (this.#heldBytes > this.#maxBytes) this.#drop();
    this.#append(line);
    this.#wake.resolve();
  }

  close(): Promise<void> {
    if (!this.#stop.signal.aborted) {
      this.#stop.abort();
      this.#wake.resolve();
      const late = setTimeout(() => this.#cut.abort(), farewellMs);
      void this.closed.finally(() => clearTimeout(late));
    }
    return this.closed;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let failures = 0;
    for (;;) {
      if (this.#held.length === 0) {
        if (this.#stop.signal.aborted) break;
        this.#wake = Promise.withResolvers<void>();
        await this.#wake.promise;
        continue;
      }
      try {
        // After a refusal one by one, so that only the event that control cannot read is lost.
        await this.#deliver(failures > 0 ? 1 : batchEvents);
        failures = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) break;
        if (failures === 0)
          log.warn({ err: error, pending: this.#held.length }, "control has not taken events yet");
        await pause(backoffMs(failures++, 100, 5_000), this.#stop.signal);
      }
    }
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  async #deliver(limit: number): Promise<void> {
    const { control, log, node, role, secret } = this.#options;
    const batch = this.#held.slice(0, limit);
    const { status } = await requestInternal(control, "/internal/events", {
      method: "POST",
      json: { role, node, events: batch.map((held) => held.event) },
      signal: this.#cut.signal,
      secret,
    });
    const unreadable = status === 400 || status === 413 || status === 422;
    if (status >= 300 && !(unreadable && batch.length === 1))
      throw new Error(`control answered ${status} to events`);
    if (unreadable) log.error({ event: batch[0]!.event, status }, "control cannot read this event; dropped");
    // Events may have been dropped from the middle meanwhile: what went is known by identity, not by place.
    const gone = new Set(batch);
    this.#held = this.#held.filter((held) => !gone.has(held));
    this.#heldBytes = this.#held.reduce((bytes, held) => bytes + held.bytes, 0);
    if (this.#held.length === 0 && this.#fileBytes > 0) this.#empty();
    else if (this.#fileBytes > 2 * this.#maxBytes) this.#rewrite();
  }

  #hold(event: SentFact, line: string): void {
    const bytes = Buffer.byteLength(line);
    this.#held.push({ event, line, bytes });
    this.#heldBytes += bytes;
  }

  /** Advice can be missed; what began and what ended cannot, until nothing else is left to give up. */
  #drop(): void {
    const advice = this.#held.findIndex((held) => held.event.type === "gop.long");
    const [lost] = this.#held.splice(Math.max(0, advice), 1);
    this.#heldBytes -= lost!.bytes;
    // One line each thousand: an outage that fills 4 MB must not fill the log as well.
    if (this.#dropped++ % 1_000 === 0)
      this.#options.log.warn(
        { dropped: this.#dropped, type: lost!.event.type, pending: this.#held.length },
        "too many events wait for control; the oldest is dropped",
      );
  }

  /** Into the page cache, not to the platter: it survives the end of this process, and a power cut ends the facts with it. */
  #append(line: string): void {
    try {
      this.#fd ??= this.#open("a");
      this.#fileBytes += writeSync(this.#fd, line);
      if (this.#fileBytes > 2 * this.#maxBytes) this.#rewrite();
    } catch (error) {
      this.#options.log.warn({ err: error, file: this.#options.file }, "events are kept in memory only");
    }
  }

  #open(flags: string): number {
    mkdirSync(dirname(this.#options.file), { recursive: true, mode: 0o700 });
    return openSync(this.#options.file, flags, 0o600);
  }

  #empty(): void {
    try {
      if (this.#fd !== undefined) ftruncateSync(this.#fd, 0);
      this.#fileBytes = 0;
    } catch (error) {
      this.#options.log.warn({ err: error }, "delivered events stay in the file and will be sent again");
    }
  }

  /** Delivered lines lie before the held ones; once they are most of the file it is written anew. */
  #rewrite(): void {
    const { file, log } = this.#options;
    try {
      const text = this.#held.map((held) => held.line).join("");
      const fresh = openSync(`${file}.new`, "w", 0o600);
      writeSync(fresh, text);
      closeSync(fresh);
      renameSync(`${file}.new`, file);
      if (this.#fd !== undefined) closeSync(this.#fd);
      this.#fd = this.#open("a");
      this.#fileBytes = Buffer.byteLength(text);
    } catch (error) {
      log.warn({ err: error, file }, "the file of waiting events cannot be rewritten");
    }
  }

  #load(): void {
    const { file, log } = this.#options;
    try {
      if (!existsSync(file)) return;
      const text = readFileSync(file, "utf8");
      for (const line of text.split("\n")) {
        if (!line) continue;
        try {
          const event = JSON.parse(line) as SentFact;
          if (typeof event.id !== "string" || typeof event.type !== "string") continue;
          this.#hold(event, `${line}\n`);
        } catch {
          // A kill in the middle of a write leaves half a line at the end.
        }
      }
      this.#fd = this.#open("a");
      this.#fileBytes = Buffer.byteLength(text);
      // The next line must not continue a torn one.
      if (text && !text.endsWith("\n")) this.#fileBytes += writeSync(this.#fd, "\n");
      while (this.#heldBytes > this.#maxBytes) this.#drop();
    } catch (error) {
      log.warn({ err: error, file }, "events of the last run cannot be read");
    }
  }
}
