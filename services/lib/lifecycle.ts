/** Everything that runs: `close` is idempotent, `closed` settles when nothing of it is left. */
export interface Running {
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

/** Something that runs until it is closed, as `signal` tells it. `run` must not reject. */
export function untilClosed(run: (signal: AbortSignal) => Promise<void>): Running {
  const stop = new AbortController();
  const closed = run(stop.signal);
  return {
    closed,
    close() {
      stop.abort();
      return closed;
    },
  };
}

/** Owns what a role started and closes it newest first, each within the deadline. */
export class Scope implements Running {
  readonly #owned: { name: string; close: () => Promise<unknown> | unknown }[] = [];
  readonly #done = Promise.withResolvers<void>();
  readonly #deadlineMs: number;
  readonly #onStuck: (name: string, error?: unknown) => void;
  #closing: Promise<void> | undefined;

  constructor(deadlineMs: number, onStuck: (name: string, error?: unknown) => void) {
    this.#deadlineMs = deadlineMs;
    this.#onStuck = onStuck;
  }

  get closed(): Promise<void> {
    return this.#done.promise;
  }

  /** Hands `owned` to the scope; returned for use in an expression. After close it is closed at once. */
  own<T extends { close: () => Promise<unknown> | unknown }>(name: string, owned: T): T {
    if (this.#closing) void owned.close();
    else this.#owned.push({ name, close: () => owned.close() });
    return owned;
  }

  close(): Promise<void> {
    this.#closing ??= this.#run();
    return this.#closing;
  }

  async #run(): Promise<void> {
    for (const { name, close } of this.#owned.reverse()) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<"late">((resolve) => {
        timer = setTimeout(resolve, this.#deadlineMs, "late");
      });
      try {
        if ((await Promise.race([close(), late])) === "late") this.#onStuck(name);
      } catch (error) {
        this.#onStuck(name, error);
      } finally {
        clearTimeout(timer);
      }
    }
    this.#done.resolve();
  }
}
