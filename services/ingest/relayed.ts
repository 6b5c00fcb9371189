import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../lib/errors.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { audioTag, FlvReader, readScript, scriptTag, videoTag } from "../packager/flv.ts";
import { tagHeadBytes, tagTailBytes } from "./protocol.ts";
import {
  type Decide,
  type EndReason,
  type Refusal,
  type Session,
  type Sink,
  sessionLimits,
} from "./session.ts";

const types = { audio: audioTag, video: videoTag, script: scriptTag } as const;

/** One encoder's session that another role holds: its media comes as FLV over an internal socket, and what it is told goes back as a line. */
export class RelayedSession implements Session {
  readonly peer: string;
  readonly address: string;
  readonly encoder: string;
  readonly #socket: Duplex;
  readonly #reader = new FlvReader();
  #sink: Sink | undefined;
  #open = true;
  #clean = false;
  #silence: NodeJS.Timeout | undefined;
  received = 0;
  lastMediaMs = performance.now();

  constructor(request: IncomingMessage, socket: Duplex, decide: Decide) {
    const asked = new URL(request.url ?? "/", "http://internal").searchParams;
    this.peer = asked.get("peer") ?? "";
    this.address = asked.get("address") ?? "";
    this.encoder = asked.get("agent") ?? "";
    this.#socket = socket;
    socket.on("error", () => undefined);
    socket.on("close", () => this.#over(this.#clean ? "clean" : "lost", "the encoder's session is over"));
    socket.on("end", () => socket.destroy());
    void Promise.resolve(decide(this, "live", asked.get("key") ?? "")).then(
      (verdict) => this.#decided(verdict),
      () => this.#socket.destroy(),
    );
  }

  get open(): boolean {
    return this.#open;
  }

  end(reason: EndReason, message: string, code?: BadMedia["code"]): void {
    if (!this.#open) return;
    this.#say(message);
    this.#over(reason, message, code);
    this.#socket.end();
  }

  cut(): void {
    this.#over("lost", "this server stops");
    this.#socket.destroy();
  }

  #decided(verdict: Sink | Refusal): void {
    if ("message" in verdict) {
      this.#say(verdict.message);
      this.#over("refused", verdict.why);
      this.#socket.end();
      return;
    }
    if (!this.#open) return verdict.end("lost", "gone before the answer");
    this.#sink = verdict;
    this.lastMediaMs = performance.now();
    this.#listen();
    this.#say("ok");
    this.#socket.on("data", (bytes: Buffer) => this.#take(bytes));
  }

  /** As for RTMP: a publish without media for so long is over. */
  #listen(): void {
    const leftMs = this.lastMediaMs + sessionLimits.idleMs - performance.now();
    if (leftMs <= 0) return this.end("lost", "No media came in time");
    this.#silence = setTimeout(() => this.#listen(), Math.ceil(leftMs));
  }

  #say(line: string): void {
    if (this.#socket.writable) this.#socket.write(`${line.replaceAll("\n", " ")}\n`);
  }

  #take(bytes: Buffer): void {
    if (!this.#open) return;
    this.received += bytes.length;
    this.lastMediaMs = performance.now();
    try {
      for (const { type, timestampMs, payload } of this.#reader.push(bytes)) {
        if (type === "script" && readScript(payload).name === "onPublishEnd") {
          this.#clean = true;
          continue;
        }
        const tag = Buffer.allocUnsafeSlow(tagHeadBytes + payload.length + tagTailBytes);
        tag.set(payload, tagHeadBytes);
        this.#sink?.media(types[type], timestampMs, tag);
      }
    } catch (error) {
      if (error instanceof BadMedia) return this.end("refused", error.message, error.code);
      // A mistake of ours ends this publish, not those of others.
      this.end("lost", messageOf(error));
    }
  }

  #over(reason: EndReason, detail: string, code?: BadMedia["code"]): void {
    if (!this.#open) return;
    this.#open = false;
    clearTimeout(this.#silence);
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.end(reason, detail, code);
  }
}
