import { backoffMs } from "../lib/retry.ts";

const firstMs = 200;
const capMs = 5_000;
const windowMs = 30_000;
const loopExits = 5;

/** When to start a child again, and whether its exits are a crash loop: five within thirty seconds. */
export interface Pace {
  readonly delayMs: number;
  readonly loop: boolean;
}

/** The pace after the child's last exit. `exits` are the times (ms) of all exits, oldest first, the last one included. */
export function paceAfter(exits: readonly number[], random: () => number = Math.random): Pace {
  const last = exits.at(-1) ?? 0;
  // The n-th exit within the window waits longer than the one before; a child that ran for long starts again at once.
  const recent = exits.filter((at) => last - at < windowMs).length;
  return { delayMs: Math.round(backoffMs(recent - 1, firstMs, capMs, random)), loop: recent >= loopExits };
}
