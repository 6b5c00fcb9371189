/** What a player can read of a token by itself; whether it is true the server says. */
export interface Claims {
  /** Of what it opens. */
  readonly sub: string;
  /** Milliseconds since 1970. */
  readonly untilMs: number;
}

/** The claims of a signed token (RFC 7519); undefined for what is none. */
export function readClaims(token: string): Claims | undefined {
  const [, payload] = /^[\w-]+\.([\w-]{1,4096})\.[\w-]+$/.exec(token) ?? [];
  if (payload === undefined) return undefined;
  try {
    const text = atob(payload.replaceAll("-", "+").replaceAll("_", "/"));
    const { sub, exp } = JSON.parse(text) as { readonly sub?: unknown; readonly exp?: unknown };
    // Cloudflare's own examples carry moments as text.
    const seconds = typeof exp === "string" ? Number(exp) : exp;
    if (typeof sub !== "string" || typeof seconds !== "number" || !Number.isFinite(seconds)) return undefined;
    return { sub, untilMs: seconds * 1000 };
  } catch {
    return undefined;
  }
}

/**
 * The address under `base`, a playback, of one that was made under another token for the same thing: players keep the addresses
 * that they have read. Others stay as they are.
 */
export function addressNow(url: string, base: string): string {
  const at = base.lastIndexOf("/") + 1;
  if (!url.startsWith(base.slice(0, at))) return url;
  const end = url.indexOf("/", at);
  const id = url.slice(at, end < 0 ? undefined : end);
  const sub = subOf(base.slice(at));
  return subOf(id) === sub ? base + (end < 0 ? "" : url.slice(end)) : url;
}

/** What this opens: a token its subject, a uid itself. */
const subOf = (id: string) => readClaims(id)?.sub ?? id;

/** A minute before its end another is asked for, and earlier in the life of one that is short. */
const LEAD_MS = 60_000;
const LEAD_SHARE = 0.4;
const LEAST_AGAIN_MS = 2_000;
const AGAIN_MS = 15_000;
/** Clocks that differ by less are taken for equal: the server's date has whole seconds. */
const SAME_CLOCK_MS = 3_000;

/** How long before the next question, with so much of the token's life left. */
export function askAfterMs(leftMs: number): number {
  return Math.max(0, leftMs - Math.min(LEAD_MS, leftMs * LEAD_SHARE));
}

/** How long before a question that brought nothing is asked again. */
export function againAfterMs(leftMs: number): number {
  return leftMs <= 0 ? AGAIN_MS : Math.min(AGAIN_MS, Math.max(LEAST_AGAIN_MS, leftMs / 3));
}

export interface RenewalOptions {
  /** The uid or the token that is played now. */
  readonly id: string;
  /** Asks whoever gives tokens; undefined when there is nobody, or he has none. */
  readonly ask: () => Promise<string | undefined> | undefined;
  /** Another token for the same is here. */
  readonly fresh: (token: string) => void;
}

/** Has a fresh token for what is played before the one that it is played with ends. */
export class Renewal {
  readonly #options: RenewalOptions;
  readonly #sub: string;
  #untilMs: number | undefined;
  /** What the server's clock shows beyond this one. */
  #aheadMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#sub = subOf(options.id);
    this.#untilMs = readClaims(options.id)?.untilMs;
    this.#schedule();
  }

  /** The server has said what time it is, in ms since 1970. */
  clock(nowMs: number): void {
    const ahead = nowMs - Date.now();
    const before = this.#aheadMs;
    this.#aheadMs = Math.abs(ahead) < SAME_CLOCK_MS ? 0 : ahead;
    if (Math.abs(before - this.#aheadMs) >= SAME_CLOCK_MS) this.#schedule();
  }

  /** Asks now: what is here is not taken any more. */
  ask(): void {
    if (this.#closed) return;
    // Asked again when no answer comes, or none that is of use.
    this.#wait(againAfterMs(this.#leftMs()));
    void this.#options.ask()?.then(
      (token) => this.#take(token),
      () => {},
    );
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #leftMs(): number {
    return (this.#untilMs ?? 0) - (Date.now() + this.#aheadMs);
  }

  #schedule(): void {
    if (this.#untilMs !== undefined) this.#wait(askAfterMs(this.#leftMs()));
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    // A browser's timers end at 2^31 ms.
    if (!this.#closed) this.#timer = setTimeout(() => this.ask(), Math.min(ms, 2 ** 31 - 1));
  }

  #take(token: string | undefined): void {
    if (this.#closed || token === undefined) return;
    const claims = readClaims(token);
    if (claims?.sub !== this.#sub) return console.warn("The token that was given is for something else");
    if (claims.untilMs <= Date.now() + this.#aheadMs)
      return console.warn("The token that was given has expired");
    // Two questions may bring the same, and an older one last.
    if (claims.untilMs <= (this.#untilMs ?? 0)) return;
    this.#untilMs = claims.untilMs;
    this.#schedule();
    this.#options.fresh(token);
  }
}
