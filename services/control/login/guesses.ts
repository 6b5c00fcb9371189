import { accountOf } from "../../lib/address.ts";

interface Budget {
  readonly burst: number;
  readonly everySeconds: number;
}

/** From one address, and from all of them together: a guesser with many addresses is slow too. */
const place: Budget = { burst: 5, everySeconds: 30 };
const everybody: Budget = { burst: 40, everySeconds: 3 };
const maxPlaces = 10_000;

/** How often a password may be tried. A right one costs nothing. */
export class Guesses {
  /** When each place would have its whole budget again, ms. */
  readonly #places = new Map<string, number>();
  #everybody = 0;

  /** Takes one try of `address`; answers with the seconds to wait first, 0 when it may be tried now. */
  take(address: string, nowMs: number): number {
    const key = accountOf(address);
    const own = after(this.#places.get(key) ?? 0, place, nowMs);
    const all = after(this.#everybody, everybody, nowMs);
    const waitMs = Math.max(own.waitMs, all.waitMs);
    if (waitMs > 0) return Math.ceil(waitMs / 1000);
    if (!this.#places.has(key) && this.#places.size >= maxPlaces) this.#forget(nowMs);
    this.#places.set(key, own.fullMs);
    this.#everybody = all.fullMs;
    return 0;
  }

  /** The try was right: as if it had not been. */
  forgive(address: string): void {
    this.#places.delete(accountOf(address));
    this.#everybody -= everybody.everySeconds * 1000;
  }

  #forget(nowMs: number): void {
    for (const [key, fullMs] of this.#places) if (fullMs <= nowMs) this.#places.delete(key);
    for (const key of this.#places.keys()) {
      if (this.#places.size < maxPlaces) break;
      this.#places.delete(key);
    }
  }
}

/** One try more: until when the budget is being refilled, and how long to wait when there is none left. */
function after(fullMs: number, { burst, everySeconds }: Budget, nowMs: number) {
  const next = Math.max(fullMs, nowMs) + everySeconds * 1000;
  return { fullMs: next, waitMs: next - nowMs - burst * everySeconds * 1000 };
}
