import { createHmac } from "node:crypto";
import type { Networks } from "../lib/address.ts";
import { messageOf } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { postOutside } from "../lib/outside.ts";
import type { Keys } from "./keys.ts";
import { type Endpoint, forgetNotices, type Notice, settle } from "./store/outbox.ts";
import type { Records } from "./store/records.ts";

const minute = 60_000;
/** What passes between attempts: soon at first, for that a receiver restarts, then hourly for a day. */
export const retryMs: readonly number[] = [
  ...[5_000, 30_000, 2 * minute, 10 * minute],
  ...Array<number>(24).fill(60 * minute),
];
const answerMs = 10_000;
/** At once to one endpoint, for different inputs: one that hangs holds up nobody else's. */
const lanesPerEndpoint = 8;
const keepDays = 7;

export interface WebhookOptions {
  readonly records: Records;
  readonly keys: Keys;
  /** Networks that are not the public internet and may be posted to all the same. */
  readonly allowed: Networks;
  readonly log: Log;
  readonly retryMs?: readonly number[] | undefined;
}

/** Headers that prove to a receiver who sends: Cloudflare's form and that of standardwebhooks.com in one. */
function signed(
  secret: string,
  message: { readonly id: string; readonly body: string; readonly nowSeconds: number },
): Record<string, string> {
  const { id, body, nowSeconds } = message;
  const hex = createHmac("sha256", secret).update(`${nowSeconds}.${body}`).digest("hex");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const base64 = createHmac("sha256", key).update(`${id}.${nowSeconds}.${body}`).digest("base64");
  return {
    "webhook-id": id,
    "webhook-timestamp": String(nowSeconds),
    // Both systems call their header so. One takes it apart at commas, the other at blanks.
    "webhook-signature": `time=${nowSeconds},sig1=${hex}, v1,${base64}`,
  };
}

export interface Webhooks extends Running {
  /** Something may be waiting; `afresh` also where an attempt was to come later. */
  wake(afresh?: boolean): void;
}

/** Delivers what the outbox holds: of each input in order, of different inputs side by side, until somebody took it or a day is over. */
export function startWebhooks(options: WebhookOptions): Webhooks {
  return new Dispatcher(options);
}

class Dispatcher implements Webhooks {
  readonly closed: Promise<void>;
  readonly #options: WebhookOptions;
  readonly #done = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  readonly #lanes = new Map<string, Promise<void>>();
  readonly #running = new Map<string, number>();
  readonly #retry: readonly number[];
  /** Until when nothing of an input is due, epoch ms, so that it is not asked for at each wake. */
  readonly #asleep = new Map<string, number>();
  #leftOut = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #looking = false;
  #again = false;
  readonly #sweep: NodeJS.Timeout;

  constructor(options: WebhookOptions) {
    this.#options = options;
    this.#retry = options.retryMs ?? retryMs;
    this.closed = this.#done.promise;
    this.#sweep = setInterval(() => this.#forget(), 3_600_000).unref();
    this.wake();
  }

  wake(afresh = false): void {
    if (afresh) this.#asleep.clear();
    this.#again = true;
    if (!this.#looking && !this.#stop.signal.aborted) void this.#look();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearInterval(this.#sweep);
    await Promise.allSettled(this.#lanes.values());
    this.#done.resolve();
    return this.closed;
  }

  async #look(): Promise<void> {
    this.#looking = true;
    while (this.#again && !this.#stop.signal.aborted) {
      this.#again = false;
      this.#leftOut = false;
      try {
        for (const { endpoint, live_input } of await this.#options.records.waiting()) {
          const key = `${endpoint} ${live_input}`;
          const busy = this.#running.get(endpoint) ?? 0;
          if ((this.#asleep.get(key) ?? 0) > Date.now()) continue;
          if (this.#lanes.has(key) || busy >= lanesPerEndpoint) {
            this.#leftOut = true;
            continue;
          }
          this.#asleep.delete(key);
          this.#running.set(endpoint, busy + 1);
          const lane = this.#lane(endpoint, live_input)
            .catch((error) => this.#failed(error))
            .finally(() => {
              this.#lanes.delete(key);
              this.#running.set(endpoint, (this.#running.get(endpoint) ?? 1) - 1);
            })
            .then(() => {
              // What came while it ended, or was left out because there were too many.
              if (this.#leftOut) this.wake();
            });
          this.#lanes.set(key, lane);
        }
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#looking = false;
  }

  /** Delivers of one input to one endpoint until nothing is due. */
  async #lane(endpointId: string, input: string): Promise<void> {
    const { records, log } = this.#options;
    while (!this.#stop.signal.aborted) {
      const notice = await records.nextNotice(endpointId, input);
      if (!notice) return;
      const dueMs = Date.parse(notice.next_at) - Date.now();
      if (dueMs > 0) {
        this.#asleep.set(`${endpointId} ${input}`, Date.now() + dueMs);
        this.#wakeIn(dueMs);
        return;
      }
      const endpoint = await records.endpoint(endpointId);
      if (!endpoint) return;
      const error = await this.#post(endpoint, notice);
      // Stopped in the middle: it goes out again, under the same id.
      if (this.#stop.signal.aborted && error !== undefined) return;
      if (error === undefined) {
        await records.write((tx) => settle(tx, notice.seq, { state: "delivered" }));
        continue;
      }
      const waitMs = this.#retry[notice.attempts];
      const state = waitMs === undefined ? "dead" : "waiting";
      const nextAt = new Date(Date.now() + (waitMs ?? 0) * (0.9 + Math.random() / 5)).toISOString();
      log.warn({ endpoint: endpointId, id: notice.id, error, state }, "webhook was not taken");
      await records.write((tx) => settle(tx, notice.seq, { state, error, nextAt }));
    }
  }

  /** undefined when it was taken, else why not. */
  async #post(endpoint: Endpoint, { id, payload }: Notice): Promise<string | undefined> {
    const { keys, allowed } = this.#options;
    const nowSeconds = Math.floor(Date.now() / 1000);
    try {
      const { status } = await postOutside(new URL(endpoint.url), {
        headers: {
          "content-type": "application/json",
          "user-agent": "Sluice-Webhooks/1",
          ...signed(keys.unseal(endpoint.secret), { id, body: payload, nowSeconds }),
        },
        body: payload,
        timeoutMs: answerMs,
        allowed,
        signal: this.#stop.signal,
      });
      if (status >= 200 && status < 300) return undefined;
      return status >= 300 && status < 400
        ? `answered ${status}; redirects are not followed`
        : `answered ${status}`;
    } catch (error) {
      return messageOf(error);
    }
  }

  #wakeIn(ms: number): void {
    const at = Date.now() + ms;
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.wake();
    }, ms + 1).unref();
  }

  #forget(): void {
    this.#options.records.write((tx) => forgetNotices(tx, keepDays)).catch((error) => this.#failed(error));
  }

  #failed(error: unknown): void {
    if (!this.#stop.signal.aborted) this.#options.log.error({ err: error }, "webhooks wait for the store");
    this.#wakeIn(5_000);
  }
}
