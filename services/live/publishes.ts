import { openInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";

/** A publish on air: where its feed is at the ingest that was asked. */
export interface OnAir {
  readonly uid: string;
  readonly publish: string;
  readonly path: string;
}

/** Ingest writes a line at least this often, so that whoever follows knows a dead link. */
export const publishHeartbeatMs = 5_000;
const quietMs = 20_000;
const maxLineBytes = 1 << 20;

/** One line of `GET /internal/publishes`: publishes that are on air or begin; none is a sign of life. */
export function publishLine(publishes: readonly OnAir[]): string {
  return `${JSON.stringify(publishes)}\n`;
}

/** Hears of every publish on air at an ingest, those of before included, until closed; of one perhaps twice. */
export function followPublishes(options: {
  readonly ingest: string;
  readonly secret: string | undefined;
  /** Also called with none: then ingest has said everything that it knew. */
  readonly heard: (publishes: readonly OnAir[]) => void;
  readonly log: Log;
}): Running {
  const { ingest, secret, heard, log } = options;
  const stop = new AbortController();
  const run = async () => {
    let failures = 0;
    while (!stop.signal.aborted) {
      try {
        await follow({ ingest, secret, signal: stop.signal }, (publishes) => {
          failures = 0;
          heard(publishes);
        });
      } catch (error) {
        // One line when it begins; publishes that are under way have their feeds.
        if (!stop.signal.aborted && failures === 0)
          log.warn({ err: error }, "ingest cannot be asked what is on air");
      }
      await pause(backoffMs(failures++, 100, 2_000), stop.signal);
    }
  };
  const closed = run();
  return {
    closed,
    close() {
      stop.abort();
      return closed;
    },
  };
}

async function follow(
  to: { readonly ingest: string; readonly secret: string | undefined; readonly signal: AbortSignal },
  heard: (publishes: readonly OnAir[]) => void,
): Promise<void> {
  const { ingest, secret } = to;
  const quiet = new AbortController();
  const signal = AbortSignal.any([to.signal, quiet.signal]);
  const watchdog = setTimeout(() => quiet.abort(new Error("ingest went quiet")), quietMs);
  try {
    const body = await openInternal(ingest, "/internal/publishes", { signal, secret });
    let held = "";
    for await (const text of body.setEncoding("utf8") as AsyncIterable<string>) {
      watchdog.refresh();
      const lines = (held + text).split("\n");
      held = lines.pop()!;
      if (held.length > maxLineBytes) throw new Error("a line of ingest is too long");
      for (const line of lines) heard(JSON.parse(line) as OnAir[]);
    }
  } finally {
    clearTimeout(watchdog);
  }
}
