import { Failure } from "../lib/errors.ts";
import { requestInternal } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { Announcement } from "../live/announcement.ts";

export interface Announcer {
  /** Tells how many readers the feed has now. */
  readers(count: number): void;
  close(): void;
}

/** An origin that took the publish and does not read its feed has lost it: restarted, or moved. */
const unreadMs = 1_000;

/**
 * Posts the publish to the origin of its live input until that takes or refuses it, and again whenever nobody has read
 * the feed for a second. `onRefused` is called at most once, and ends it.
 */
export function announce(options: {
  readonly announcement: Announcement;
  readonly originFor: (uid: string) => string;
  readonly secret: string | undefined;
  readonly onRefused: (message: string) => void;
  readonly log: Log;
}): Announcer {
  const { announcement, originFor, secret, onRefused, log } = options;
  const { uid, publish } = announcement;
  const stop = new AbortController();
  const { signal } = stop;
  let readers = 0;
  let attempt = 0;
  let wake: () => void = () => undefined;

  async function post(): Promise<"taken" | "away" | { readonly refused: string }> {
    try {
      const { status, json } = await requestInternal(originFor(uid), "/internal/publishes", {
        method: "POST",
        json: announcement,
        signal,
        secret,
      });
      if (status < 300) return "taken";
      if (status >= 400 && status < 500) return { refused: messageOf(json) };
      throw new Failure("unavailable", `the origin answered ${status}`);
    } catch (error) {
      if (signal.aborted) return "away";
      // One line when it begins; the encoder goes on and the GOP buffer holds the start of what it sends.
      if (attempt === 0) log.warn({ err: error, uid, publish }, "origin does not take a publish; trying on");
      return "away";
    }
  }

  /** Resolves when the feed has had no reader for a while. */
  function unread(): Promise<void> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      wake = () => {
        clearTimeout(timer);
        if (readers > 0) attempt = 0;
        else timer = setTimeout(done, unreadMs);
      };
      signal.addEventListener("abort", done, { once: true });
      wake();
    });
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      const answer = await post();
      if (signal.aborted) return;
      if (typeof answer === "object") return onRefused(answer.refused);
      if (answer === "taken") {
        if (attempt > 0) log.info({ uid, publish, attempt }, "origin took the publish");
        await unread();
      }
      if (attempt++ > 0 || answer === "away") await pause(backoffMs(attempt - 1, 100, 2_000), signal);
    }
  }

  void run();
  return {
    readers(count) {
      readers = count;
      wake();
    },
    close: () => stop.abort(),
  };
}

function messageOf(json: unknown): string {
  const message = json && typeof json === "object" && "message" in json ? json.message : undefined;
  return typeof message === "string" ? message : "The server refused the publish.";
}
