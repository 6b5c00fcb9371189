import { type Running, untilClosed } from "../lib/lifecycle.ts";
import { linesFrom } from "../lib/lines.ts";
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
  const { ingest: address, secret, heard, log } = options;
  return untilClosed(async (signal) => {
    for (let failures = 0; !signal.aborted; ) {
      try {
        const asked = { address, path: "/internal/publishes", secret, signal, quietMs };
        for await (const lines of linesFrom<readonly OnAir[]>(asked)) {
          failures = 0;
          for (const publishes of lines) heard(publishes);
        }
      } catch (error) {
        // One line when it begins; publishes that are under way have their feeds.
        if (!signal.aborted && failures === 0)
          log.warn({ err: error }, "ingest cannot be asked what is on air");
      }
      await pause(backoffMs(failures++, 100, 2_000), signal);
    }
  });
}
