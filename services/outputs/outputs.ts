import { networksOf } from "../lib/address.ts";
import { Failure } from "../lib/errors.ts";
import { type Running, Scope } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import type { Events } from "../live/events.ts";
import type { OutputTarget } from "../live/output.ts";
import { followPublishes, type OnAir } from "../live/publishes.ts";
import type { Snapshot } from "../live/snapshot.ts";
import { Channel } from "./channel.ts";
import { Output, type OutputOptions } from "./output.ts";

export interface OutputsOptions {
  readonly snapshot: Pick<Snapshot<OutputTarget>, "ready" | "get" | "values" | "onChange">;
  readonly events: Pick<Events, "send">;
  /** Ingest's internal address. */
  readonly ingest: string;
  readonly secret: string | undefined;
  /** Networks off the internet that may be sent to, as addresses and CIDRs. */
  readonly allowPrivateTargets: readonly string[];
  readonly log: Log;
  readonly metrics: Metrics;
  /** See `OutputOptions`. */
  readonly relayed?: OutputOptions["relayed"];
  readonly limits?: OutputOptions["limits"];
  readonly queueMs?: OutputOptions["queueMs"];
  readonly retry?: OutputOptions["retry"];
}

/** Sends what is on air on to where its owners want it. Resolves once control's first word is known. */
export async function startOutputs(options: OutputsOptions): Promise<Running> {
  const { snapshot, log } = options;
  await snapshot.ready;
  const scope = new Scope(4_000, (name, error) => log.error({ name, err: error }, "did not close"));
  const desk = scope.own("outputs", new Desk(options));
  const { ingest, secret } = options;
  scope.own(
    "publishes",
    followPublishes({ ingest, secret, heard: (publishes) => desk.heard(publishes), log }),
  );
  return scope;
}

interface Run {
  readonly target: OutputTarget;
  readonly output: Output;
}

/** Which outputs run: those that are enabled, of live inputs that are on air. */
class Desk {
  readonly #options: OutputsOptions;
  readonly #allowed;
  readonly #onAir = new Map<string, OnAir>();
  readonly #channels = new Map<string, Channel>();
  readonly #running = new Map<string, Run>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #stopFollowing: () => void;
  readonly #count: OutputOptions["count"];
  #greeted = false;

  constructor(options: OutputsOptions) {
    this.#options = options;
    const allowed = networksOf(options.allowPrivateTargets);
    if (!allowed)
      throw new Failure(
        "bad_request",
        "allowPrivateTargets: must be addresses and networks, like 10.0.0.0/8",
      );
    this.#allowed = allowed;
    const { metrics, snapshot } = options;
    metrics.gauge("sluice_outputs_connected", "Outputs that are connected to their targets", {
      read: () => [...this.#running.values()].filter(({ output }) => output.connected).length,
    });
    const counters = {
      lost: metrics.counter("sluice_output_groups_lost_total", "Groups of pictures that slow targets lost"),
      failed: metrics.counter(
        "sluice_output_attempts_failed_total",
        "Connections to targets that failed or broke",
      ),
      bytes: metrics.counter(
        "sluice_output_sent_bytes_total",
        "Bytes sent on connections to targets that are over",
      ),
    };
    this.#count = (what, by) => counters[what](by);
    this.#stopFollowing = snapshot.onChange((uids) => {
      for (const uid of uids) this.#settle(uid);
    });
  }

  heard(publishes: readonly OnAir[]): void {
    for (const publish of publishes) {
      this.#onAir.set(publish.uid, publish);
      this.#channels.get(publish.uid)?.play(publish);
    }
    const uids = new Set(publishes.map(({ uid }) => uid));
    for (const { uid, input } of this.#options.snapshot.values()) {
      if (uids.has(input)) this.#settle(uid);
      // Whoever ran before may have been killed while it was connected.
      else if (!this.#greeted && !this.#onAir.has(input))
        this.#options.events.send({
          type: "output.changed",
          uid: input,
          output: uid,
          state: "disconnected",
          reason: "idle",
        });
    }
    this.#greeted = true;
  }

  async close(): Promise<void> {
    this.#stopFollowing();
    for (const channel of [...this.#channels.values()]) channel.close();
    await Promise.all(this.#leaving);
  }

  /** Starts, stops or starts anew the output of this uid, as it should be now. */
  #settle(uid: string): void {
    const target = this.#options.snapshot.get(uid);
    const running = this.#running.get(uid);
    const same =
      target?.enabled === true &&
      running?.target.url === target.url &&
      running.target.streamKey === target.streamKey;
    if (same) return;
    if (running) {
      this.#running.delete(uid);
      this.#leave(running.output.close("disabled"));
      this.#release(running.target.input);
    }
    if (!target?.enabled) return;
    const channel = this.#channelOf(target.input);
    if (channel) this.#start(target, channel);
  }

  #start(target: OutputTarget, channel: Channel): void {
    const { events, log, limits, queueMs, retry, relayed } = this.#options;
    const about = { type: "output.changed", uid: target.input, output: target.uid } as const;
    const output = new Output({
      ...{ target, channel, log, limits, queueMs, retry, relayed },
      allowed: this.#allowed,
      count: this.#count,
      report: (condition) => events.send({ ...about, ...condition }),
    });
    this.#running.set(target.uid, { target, output });
  }

  /** What is on air of a live input, read from now on if it was not; undefined when nothing is. */
  #channelOf(input: string): Channel | undefined {
    const known = this.#channels.get(input);
    const onAir = this.#onAir.get(input);
    if (known || !onAir) return known;
    const { ingest, secret, log, snapshot } = this.#options;
    const channel = new Channel({
      ...{ ingest, secret, log, input },
      timeoutSeconds: () =>
        Math.max(0, ...[...snapshot.values()].map((one) => (one.input === input ? one.timeoutSeconds : 0))),
      gone: () => {
        if (this.#channels.get(input) !== channel) return;
        this.#channels.delete(input);
        // The next publish of it is told of anew.
        if (this.#onAir.get(input)?.publish === channel.publish) this.#onAir.delete(input);
        // Their good-byes take a moment, and the next publish does not wait for them.
        for (const [uid, { target, output }] of this.#running) {
          if (target.input !== input) continue;
          this.#running.delete(uid);
          this.#leave(output.closed);
        }
      },
    });
    this.#channels.set(input, channel);
    channel.play(onAir);
    return channel;
  }

  /** A channel that nobody listens to is not read. */
  #release(input: string): void {
    for (const { target } of this.#running.values()) if (target.input === input) return;
    const channel = this.#channels.get(input);
    if (!channel) return;
    const onAir = this.#onAir.get(input);
    channel.close();
    // It is still on air, for an output that is switched on again.
    if (onAir) this.#onAir.set(input, onAir);
  }

  #leave(closed: Promise<void>): void {
    this.#leaving.add(closed);
    void closed.finally(() => this.#leaving.delete(closed));
  }
}
