import { accountOf } from "../lib/address.ts";

const firstDelayMs = 250;
const longestDelayMs = 5_000;
const forgetMs = 60_000;
const remembered = 4_096;

export interface Guesses {
  /** Notes a wrong key that came from there. */
  failed(address: string, nowMs: number): void;
  /** How long the answer to the next key from there is held back, right or wrong; 0 where there was no recent failure. */
  delayMs(address: string, nowMs: number): number;
}

/** Remembers who tried wrong keys, by account of addresses: a minute after the last one it is forgotten. Bounded; the oldest give way. */
export function createGuesses(): Guesses {
  const failures = new Map<string, { readonly count: number; readonly atMs: number }>();
  const recent = (account: string, nowMs: number) => {
    const known = failures.get(account);
    return known && nowMs - known.atMs < forgetMs ? known.count : 0;
  };
  return {
    failed(address, nowMs) {
      const account = accountOf(address);
      const count = recent(account, nowMs) + 1;
      // Re-inserted, so that the map's order is the order of the last failures.
      failures.delete(account);
      failures.set(account, { count, atMs: nowMs });
      if (failures.size > remembered) failures.delete(failures.keys().next().value!);
    },
    delayMs(address, nowMs) {
      const count = recent(accountOf(address), nowMs);
      return count === 0 ? 0 : Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(count - 1, 10));
    },
  };
}
