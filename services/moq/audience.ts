import type { ServerResponse } from "node:http";
import { type AudienceLine, audienceBeatMs, type Present } from "../live/audience.ts";

/** Whoever does not read what is said is not listening. */
const unreadBytes = 8 << 20;

/** Who watches here, for the origins whose broadcasts these are. */
export class Audience {
  /** How many subscriptions each has. */
  readonly #present = new Map<string, { readonly one: Present; count: number }>();
  readonly #listeners = new Set<ServerResponse>();
  readonly #beat = setInterval(() => this.#say({}), audienceBeatMs).unref();

  /** Somebody subscribes to a track; returns the end of that. */
  enter(one: Present): () => void {
    const key = `${one.uid} ${one.key}`;
    const known = this.#present.get(key);
    if (known) known.count++;
    else {
      this.#present.set(key, { one, count: 1 });
      this.#say({ came: one });
    }
    let over = false;
    return () => {
      const entry = this.#present.get(key);
      if (over || !entry) return;
      over = true;
      if (--entry.count > 0) return;
      this.#present.delete(key);
      this.#say({ left: entry.one });
    };
  }

  /** Tells `response` who is here, and who comes and goes, for as long as it listens. */
  follow(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
    response.write(`${JSON.stringify({ all: [...this.#present.values()].map(({ one }) => one) })}\n`);
    this.#listeners.add(response);
    response.once("close", () => this.#listeners.delete(response));
  }

  close(): void {
    clearInterval(this.#beat);
    for (const response of this.#listeners) response.end();
  }

  #say(line: AudienceLine): void {
    const text = `${JSON.stringify(line)}\n`;
    for (const response of this.#listeners) {
      response.write(text);
      if (response.writableLength > unreadBytes) response.destroy();
    }
  }
}
