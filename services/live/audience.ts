import { type Running, untilClosed } from "../lib/lifecycle.ts";
import { linesFrom } from "../lib/lines.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { Visitor } from "./visitor.ts";

/** Where a relay says who watches: a line whenever somebody comes or goes, all of them in the first. */
export const audiencePath = "/internal/audience";
/** A relay writes at least this often. */
export const audienceBeatMs = 5_000;
const quietMs = 4 * audienceBeatMs;

/** Somebody who watches the live input `uid`. */
export interface Present extends Visitor {
  readonly uid: string;
}

/** `all` stands in the first line; nothing at all is a sign of life. */
export interface AudienceLine {
  readonly all?: readonly Present[];
  readonly came?: Present;
  readonly left?: Present;
}

export interface AudienceOptions {
  /** The relay's internal address. */
  readonly relay: string;
  readonly secret: string | undefined;
  readonly log: Log;
  readonly came: (one: Present) => void;
  readonly left: (one: Present) => void;
}

/** Follows who watches at a relay until closed. While it cannot be reached nobody does. */
export function followAudience(options: AudienceOptions): Running {
  const { relay: address, secret, log } = options;
  return untilClosed(async (signal) => {
    for (let failures = 0; !signal.aborted; failures++) {
      const here: Present[] = [];
      try {
        const asked = { address, path: audiencePath, secret, signal, quietMs };
        for await (const lines of linesFrom<AudienceLine>(asked)) {
          failures = 0;
          for (const line of lines) take(line, here, options);
        }
      } catch (error) {
        if (!signal.aborted && failures === 5)
          log.warn({ err: error }, "the relay does not say who watches; its viewers are not counted");
      }
      for (const one of here) options.left(one);
      await pause(backoffMs(failures, 100, 2_000), signal);
    }
  });
}

function take({ all = [], came, left }: AudienceLine, here: Present[], options: AudienceOptions): void {
  for (const one of came ? [...all, came] : all) {
    here.push(one);
    options.came(one);
  }
  if (!left) return;
  const at = here.findIndex(({ uid, key }) => uid === left.uid && key === left.key);
  if (at < 0) return;
  // The last one takes its place: order means nothing.
  const last = here.pop()!;
  if (at < here.length) here[at] = last;
  options.left(left);
}
