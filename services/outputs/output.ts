import type { Networks } from "../lib/address.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import {
  type OutputEnded as Ended,
  type OpenRelayed,
  type OutputReason,
  type OutputState,
  type OutputTarget,
  type RelayedPush,
  readOutputUrl,
} from "../live/output.ts";
import type { Entry } from "../packager/track.ts";
import type { Channel, Piece } from "./channel.ts";
import type { Setup } from "./piece.ts";
import { openPush, type Push, type PushLimits } from "./push.ts";

/** What an output is doing, as its owner is told. */
export interface Condition {
  readonly state: OutputState;
  readonly reason: OutputReason;
  readonly error?: string | undefined;
}

export interface OutputOptions {
  readonly target: OutputTarget;
  readonly channel: Channel;
  readonly allowed: Networks;
  /** For relays of Media over QUIC; undefined where this server has none of its own to take tracks from. */
  readonly relayed?: OpenRelayed | undefined;
  readonly log: Log;
  readonly report: (condition: Condition) => void;
  /** Groups of pictures that a slow target lost, attempts that came to nothing, bytes that were sent. */
  readonly count: (what: "lost" | "failed" | "bytes", by: number) => void;
  readonly limits?: PushLimits | undefined;
  /** How long something may wait to be sent. */
  readonly queueMs?: number | undefined;
  readonly retry?: { readonly firstMs: number; readonly capMs: number } | undefined;
}

/** What a target may leave untaken, and how long, before it loses groups of pictures. */
const maxQueuedMs = 3_000;
const maxQueuedBytes = 16 << 20;
/** After so long without a loss a target is not called slow any more. */
const slowMs = 60_000;
/** A connection that lasted so long was a good one: the next attempt comes soon. */
const goodMs = 30_000;
/** A target that leaves so soon may not have liked what it got. */
const hastyMs = 10_000;
const farewellMs = 1_000;
const usualRetry = { firstMs: 1_000, capMs: 30_000 };

/** Keeps one live input going to one target for as long as it is on air. */
export class Output {
  readonly #options: OutputOptions;
  readonly #stop = new AbortController();
  readonly closed: Promise<void>;
  #wake = Promise.withResolvers<void>();
  #push: Push | undefined;
  #relayed: RelayedPush | undefined;
  #queue: { readonly piece: Piece; readonly sinceMs: number }[] = [];
  #queuedBytes = 0;
  #ready = false;
  /** Nothing is sent until the next keyframe. */
  #skipping = true;
  #sent = new Map<string, Setup>();
  #inForce: readonly Setup[] | undefined;
  /** The channel's time of the first piece: what the target is told begins near 0 and never goes back. */
  #baseMs: number | undefined;
  #lostGroups = 0;
  #lossAtMs = Number.NEGATIVE_INFINITY;
  #told: Condition | undefined;
  /** The setups that the target does not take: nothing is tried before there are others. */
  #untaken: readonly Setup[] | undefined;
  /** The connection was asked for as one of enhanced RTMP. */
  #enhanced = false;
  /** We have ended a connection for another one. */
  #anew = false;

  constructor(options: OutputOptions) {
    this.#options = options;
    this.closed = this.#run();
  }

  get connected(): boolean {
    return this.#push !== undefined || this.#relayed !== undefined;
  }

  /** Says good-bye to the target; what is on its way is sent first where the broadcast has `ended`. */
  close(why: "idle" | "disabled", ended = false): Promise<void> {
    if (!this.#stop.signal.aborted) {
      if (ended && this.#push) this.#drain(this.#push);
      else this.#push?.finish();
      this.#relayed?.finish();
      this.#stop.abort();
      this.#wake.resolve();
      this.#report({ state: "disconnected", reason: why });
    }
    return this.closed;
  }

  async #run(): Promise<void> {
    const { channel, retry = usualRetry } = this.#options;
    const { signal } = this.#stop;
    const leave = channel.listen({
      piece: (piece) => this.#take(piece),
      changed: () => this.#wake.resolve(),
      over: () => void this.close("idle", true),
    });
    let attempt = 0;
    let failures = 0;
    while (!signal.aborted) {
      if (!channel.live || this.#untaken === channel.setups) {
        this.#wake = Promise.withResolvers<void>();
        await this.#wake.promise;
        continue;
      }
      if (failures === 0 && this.#told?.state !== "reconnecting")
        this.#report({ state: "connecting", reason: "connecting" });
      const opened = await this.#open(attempt++);
      if (signal.aborted) {
        if ("cut" in opened) opened.cut();
        break;
      }
      const beganMs = performance.now();
      let ended: Ended | undefined;
      if ("send" in opened) ended = await this.#send(opened);
      else if ("cut" in opened) ended = await this.#relay(opened);
      else ended = opened;
      if (signal.aborted) break;
      if (performance.now() - beganMs > goodMs) failures = 0;
      if (!ended) continue;
      // Targets do not wait for an encoder as long as we do: that one is away is no fault of theirs.
      if (!channel.live) {
        this.#report({ state: "disconnected", reason: "idle" });
        continue;
      }
      this.#options.count("failed", 1);
      const hopeless = ended.reason === "forbidden" || ended.reason === "unsupported_codec";
      if (hopeless) this.#untaken = channel.setups;
      this.#report({ state: hopeless ? "errored" : "reconnecting", ...ended });
      if (!hopeless) await pause(backoffMs(failures++, retry.firstMs, retry.capMs), signal);
    }
    leave();
  }

  #open(attempt: number): Promise<Push | RelayedPush | Ended> {
    const { target, channel, allowed, limits, relayed } = this.#options;
    const { input, streamKey } = target;
    const { signal } = this.#stop;
    const place = readOutputUrl(target.url);
    if (!place)
      return Promise.resolve({
        reason: "forbidden",
        error: "Its URL is neither one of an RTMP server nor of a relay; make it again.",
      });
    if (place.kind === "moq")
      return (
        relayed?.({ place, input, streamKey, allowed, attempt, signal }) ??
        Promise.resolve({
          reason: "forbidden",
          error: "Media over QUIC is off on this server; set moq to true, or use an RTMP server.",
        })
      );
    this.#enhanced = channel.setups.some((setup) => setup.enhanced);
    return openPush({
      to: { ...place, streamKey },
      allowed,
      attempt,
      enhanced: this.#enhanced,
      signal,
      ...(limits && { limits }),
    });
  }

  /** Waits for the end of a session with a relay, which takes what it wants itself; undefined when there is nothing to tell anybody. */
  async #relay(relayed: RelayedPush): Promise<Ended | undefined> {
    const { target, log, count } = this.#options;
    const { host } = readOutputUrl(target.url)!.url;
    const fields = { input: target.input, output: target.uid, host };
    const beganMs = performance.now();
    this.#relayed = relayed;
    log.info(fields, "output opened");
    const again = this.#told?.state === "reconnecting";
    this.#report({ state: "connected", reason: again ? "reconnected" : "connected" });
    const ended = await relayed.closed;
    this.#relayed = undefined;
    const { sentBytes: bytes } = relayed;
    count("bytes", bytes);
    const seconds = Math.round((performance.now() - beganMs) / 1000);
    log.info({ ...fields, reason: ended?.reason ?? "ours", bytes, seconds }, "output closed");
    return ended;
  }

  /** Sends on a fresh connection until it ends; undefined when there is nothing to tell anybody. */
  async #send(push: Push): Promise<Ended | undefined> {
    const { channel, target, log, count } = this.#options;
    const host = readOutputUrl(target.url)!.url.host;
    const fields = { input: target.input, output: target.uid, host };
    const beganMs = performance.now();
    const codec = untaken(push, channel.setups);
    if (codec) {
      push.cut();
      return {
        reason: "unsupported_codec",
        error: `${host} does not take ${codec}; set the encoder to H.264 and AAC, or disable this output.`,
      };
    }
    this.#push = push;
    this.#anew = false;
    this.#sent = new Map();
    this.#inForce = undefined;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#skipping = true;
    this.#ready = true;
    push.onDrain = () => {
      this.#ready = true;
      this.#flush();
    };
    log.info(fields, "output opened");
    const again = this.#told?.state === "reconnecting";
    this.#report({ state: "connected", reason: again ? "reconnected" : "connected" });
    for (const piece of channel.gop) this.#take(piece);
    const ended = await push.closed;
    this.#push = undefined;
    const ms = performance.now() - beganMs;
    count("bytes", push.sentBytes);
    log.info(
      {
        ...fields,
        reason: ended?.reason ?? "ours",
        bytes: push.sentBytes,
        seconds: Math.round(ms / 1000),
        lost: this.#lostGroups,
      },
      "output closed",
    );
    this.#queue = [];
    if (this.#anew) return undefined;
    if (this.#untaken === channel.setups && this.#told?.state === "errored") return undefined;
    const enhanced = channel.setups.flatMap(({ entries, enhanced }) => (enhanced ? entries : []));
    if (ended?.reason === "lost" && ms < hastyMs && enhanced.length > 0)
      return {
        reason: "lost",
        error: `${host} closed the connection soon after it got ${enhanced.map(nameOf).join(" and ")}; if that happens again, set the encoder to H.264 and AAC.`,
      };
    return (
      ended ??
      (this.#stop.signal.aborted ? undefined : { reason: "lost", error: `${host} closed the connection.` })
    );
  }

  #take(piece: Piece): void {
    const push = this.#push;
    if (!push) return;
    if (this.#skipping && !piece.key) return;
    this.#skipping = false;
    const nowMs = performance.now();
    this.#queue.push({ piece, sinceMs: nowMs });
    this.#queuedBytes += piece.payload.length;
    this.#flush();
    const oldest = this.#queue[0];
    const { queueMs = maxQueuedMs } = this.#options;
    // By the wall: an encoder that sends what it had to hold back comes in a burst, and no target is slow for that.
    if (oldest && (nowMs - oldest.sinceMs > queueMs || this.#queuedBytes > maxQueuedBytes)) this.#lose();
    else if (this.#told?.reason === "slow" && nowMs - this.#lossAtMs > slowMs)
      this.#report({ state: "connected", reason: "connected" });
  }

  /** Gives up everything before the newest keyframe, or up to the next one where none waits. */
  #lose(): void {
    const newest = this.#queue.findLastIndex(({ piece }) => piece.key);
    const kept = newest > 0 ? this.#queue.slice(newest) : [];
    this.#lostGroups += 1;
    this.#options.count("lost", 1);
    this.#queue = kept;
    this.#queuedBytes = kept.reduce((bytes, { piece }) => bytes + piece.payload.length, 0);
    this.#skipping = kept.length === 0;
    this.#lossAtMs = performance.now();
    this.#report({
      state: "connected",
      reason: "slow",
      error:
        "The target takes less than the encoder sends, so it misses some groups of pictures; lower the bitrate of the encoder, or see to the network.",
    });
  }

  #flush(): void {
    const push = this.#push;
    while (push && this.#ready) {
      const next = this.#queue.shift();
      if (!next) return;
      const { piece } = next;
      this.#queuedBytes -= piece.payload.length;
      this.#ready = this.#pass(push, piece);
    }
  }

  /** One piece to the target, behind what has to be known for it; false when the next one has to wait. */
  #pass(push: Push, piece: Piece): boolean {
    this.#baseMs ??= piece.atMs;
    // Sound may lie a little before the first picture.
    const atMs = Math.max(0, piece.atMs - this.#baseMs);
    let more = true;
    if (piece.setups !== this.#inForce) {
      this.#inForce = piece.setups;
      for (const setup of piece.setups) {
        if (this.#sent.get(setup.name) === setup) continue;
        if (setup.enhanced && !this.#enhanced) {
          // Whether it takes that has to be asked first.
          this.#anew = true;
          push.finish();
          return false;
        }
        this.#sent.set(setup.name, setup);
        const codec = untaken(push, [setup]);
        if (codec) {
          this.#refuseCodec(push, codec);
          return false;
        }
        const payload = push.takesWrapped ? setup.payload : setup.plain;
        if (payload) more = push.send(setup.type, atMs, payload);
      }
    }
    const payload = push.takesWrapped ? piece.payload : piece.plain;
    return payload ? push.send(piece.type, atMs, payload) : more;
  }

  /** The encoder has changed to what this target does not take. */
  #refuseCodec(push: Push, codec: string): void {
    const { channel, target } = this.#options;
    const { host } = readOutputUrl(target.url)!.url;
    this.#untaken = channel.setups;
    this.#report({
      state: "errored",
      reason: "unsupported_codec",
      error: `${host} does not take ${codec}; set the encoder to H.264 and AAC, or disable this output.`,
    });
    push.finish();
  }

  /** Lets what is queued go out before the good-bye, for a moment. */
  #drain(push: Push): void {
    const late = setTimeout(() => push.finish(), farewellMs);
    const look = () => {
      this.#ready = true;
      this.#flush();
      if (this.#queue.length > 0) return;
      clearTimeout(late);
      push.finish();
    };
    push.onDrain = look;
    if (this.#queue.length === 0) look();
  }

  #report(condition: Condition): void {
    const { state, reason, error } = this.#told ?? {};
    if (state === condition.state && reason === condition.reason && error === condition.error) return;
    this.#told = condition;
    this.#options.report(condition);
  }
}

/** The codec among these that the server says it does not take. */
function untaken(push: Push, setups: readonly Setup[]): string | undefined {
  const entry = setups
    // What it hears nothing of it need not take.
    .flatMap((setup) => (push.takesWrapped || setup.plain ? setup.entries : []))
    .find((one) => push.takes(one) === false);
  return entry && nameOf(entry);
}

const names: Partial<Record<Entry, string>> = {
  avc1: "H.264",
  hvc1: "HEVC",
  av01: "AV1",
  vp09: "VP9",
  mp4a: "AAC",
  fLaC: "FLAC",
  "ac-3": "AC-3",
  "ec-3": "E-AC-3",
};

function nameOf(entry: Entry): string {
  return names[entry] ?? entry;
}
