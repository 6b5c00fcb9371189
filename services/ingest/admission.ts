/** Who a connection counts for: an IPv4 address, or the /64 that one subscriber of IPv6 has to himself. */
export function accountOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped) return mapped;
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("%")[0]!.toLowerCase().split("::");
  const before = head ? head.split(":") : [];
  const after = tail ? tail.split(":") : [];
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array<string>(zeros).fill("0"), ...after];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

const firstDelayMs = 250;
const longestDelayMs = 5_000;
const forgetMs = 60_000;
const remembered = 4_096;

export interface Guesses {
  /** Notes a wrong key. */
  failed(account: string, nowMs: number): void;
  /** How long the answer to this account's next key is held back, right or wrong; 0 for one without a recent failure. */
  delayMs(account: string, nowMs: number): number;
}

/** Remembers who tried wrong keys: a minute after the last one it is forgotten. Bounded; the oldest give way. */
export function createGuesses(): Guesses {
  const failures = new Map<string, { readonly count: number; readonly atMs: number }>();
  const recent = (account: string, nowMs: number) => {
    const known = failures.get(account);
    return known && nowMs - known.atMs < forgetMs ? known.count : 0;
  };
  return {
    failed(account, nowMs) {
      const count = recent(account, nowMs) + 1;
      // Re-inserted, so that the map's order is the order of the last failures.
      failures.delete(account);
      failures.set(account, { count, atMs: nowMs });
      if (failures.size > remembered) failures.delete(failures.keys().next().value!);
    },
    delayMs(account, nowMs) {
      const count = recent(account, nowMs);
      return count === 0 ? 0 : Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(count - 1, 10));
    },
  };
}
