import { setTimeout as wait } from "node:timers/promises";

/** How long to wait before attempt `attempt` (0 is the first retry): doubling from `firstMs` to `capMs`, half of it random. */
export function backoffMs(attempt: number, firstMs: number, capMs: number, random = Math.random): number {
  const full = Math.min(capMs, firstMs * 2 ** Math.min(attempt, 30));
  return full / 2 + (full / 2) * random();
}

/** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { signal }).catch(() => undefined);
}
