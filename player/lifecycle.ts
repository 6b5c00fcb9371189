import type { Way } from "./engines/moq/dial.ts";
import type { First } from "./first.ts";
import type { Broadcast } from "./state.ts";

export interface Answer {
  readonly isInput: boolean;
  readonly videoUID: string | null;
  readonly live: boolean;
  readonly status: Exclude<Broadcast, "unknown">;
  /** One sentence for the owner of the input, e.g. what to change in the encoder. */
  readonly message: string | null;
  /** How to have it as Media over QUIC; absent where that is not to be had. */
  readonly moq?: Way;
  /** ISO 8601. */
  readonly startedAt: string | null;
}

export interface LifecycleOptions {
  /** Address of the lifecycle answer now, without query. */
  readonly url: () => string;
  /** The answer that is here already, in place of the first question. */
  readonly first?: First | undefined;
  readonly onAnswer: (answer: Answer) => void;
  /** `unready`: the server cannot say now who may watch. */
  readonly onLost: (unready: boolean) => void;
  /** Whoever asks may not watch. */
  readonly onDenied: (why: "expired" | "refused") => void;
  /** The server's clock, in ms since 1970. */
  readonly onDate?: (nowMs: number) => void;
}

/** The origin holds a question for 25 s; past this it is not coming. */
const LOST_MS = 40_000;
/** Least time between two equal answers, in case that something on the way does not hold the question. */
const EQUAL_MS = 2000;
/** Who was refused may be let in later: when his time comes, or another's place is free. */
const REFUSED_MS = 30_000;

/**
 * Asks the origin what the broadcast does: once when told to `ask`, and for as long as it has to `follow`, with a
 * question that the origin holds until the answer changes. Failures are asked again with backoff, for ever.
 */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  readonly #closed = new AbortController();
  #status: string | undefined;
  #following = false;
  #first: First | undefined;
  #pending: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    this.#first = options.first;
    const { signal } = this.#closed;
    const again = () => {
      if (this.#failures > 0 && !this.#pending) this.ask();
    };
    addEventListener("online", again, { signal });
    document.addEventListener("visibilitychange", again, { signal });
  }

  /** Asks now, without being held. */
  ask(): void {
    void this.#ask(false);
  }

  /** Keeps a question at the origin while true. */
  follow(following: boolean): void {
    if (this.#following === following) return;
    this.#following = following;
    const first = this.#first;
    this.#first = undefined;
    if (following) {
      if (first) this.#begin(first);
      if (this.#following && !this.#pending && this.#timer === undefined)
        void this.#ask(this.#status !== undefined);
    } else if (this.#failures === 0) this.#drop();
  }

  close(): void {
    this.#closed.abort();
    this.#drop();
  }

  #begin({ nowMs, answer }: First): void {
    this.#status = answer.status;
    this.#options.onDate?.(nowMs);
    this.#options.onAnswer(answer);
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pending?.abort();
    this.#pending = undefined;
  }

  async #ask(held: boolean): Promise<void> {
    this.#drop();
    if (this.#closed.signal.aborted) return;
    const pending = new AbortController();
    this.#pending = pending;
    const begun = performance.now();
    const before = this.#status;
    let answer: Answer | undefined;
    let status = 0;
    try {
      const query = held && before ? `?wait=${before}` : "";
      const signal = AbortSignal.any([pending.signal, AbortSignal.timeout(LOST_MS)]);
      const response = await fetch(this.#options.url() + query, { signal, cache: "no-store" });
      status = response.status;
      const date = Date.parse(response.headers.get("date") ?? "");
      if (!Number.isNaN(date)) this.#options.onDate?.(date);
      if (response.ok) answer = (await response.json()) as Answer;
    } catch {
      // Told apart below: dropped by us, or lost.
    }
    if (this.#pending !== pending) return;
    this.#pending = undefined;
    let waitMs = 0;
    if (answer) {
      this.#failures = 0;
      this.#status = answer.status;
      this.#options.onAnswer(answer);
      if (held && answer.status === before) waitMs = Math.max(0, EQUAL_MS - (performance.now() - begun));
    } else if (status === 401 || status === 403) {
      this.#status = undefined;
      this.#options.onDenied(status === 401 ? "expired" : "refused");
      if (status === 401 || this.#pending || this.#timer !== undefined) return;
      this.#failures = 1;
      waitMs = REFUSED_MS * (0.75 + Math.random() / 2);
    } else {
      waitMs = Math.min(8000, 500 * 2 ** this.#failures++) * (0.75 + Math.random() / 2);
      this.#options.onLost(status === 503);
    }
    // The listener may have asked, followed or closed by now.
    if (this.#pending || this.#timer !== undefined || this.#closed.signal.aborted) return;
    if (!this.#following && this.#failures === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#ask(this.#failures === 0);
    }, waitMs);
  }
}
