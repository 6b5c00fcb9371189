import type { Engine } from "./engines/engine.ts";
import { sessionName } from "./engines/moq/dial.ts";
import type { Phase } from "./state.ts";

/** How often a player says how it does. The server takes one for gone that is silent for a little more than twice that. */
const EVERY_MS = 5_000;
/** A stall that the encoder's absence explains is known as such by then. */
const DOUBT_MS = 500;

/** CTA-5004-B `sta`: starting, playing, out of media, paused, waiting, ended, failed; and q, left. */
export type PlayState = "s" | "p" | "r" | "a" | "w" | "e" | "f" | "q";

/** What a phase is in a report; undefined where nobody watches anything yet. */
export function playStateOf(phase: Phase): PlayState | undefined {
  switch (phase) {
    case "starting":
      return "s";
    case "playing":
      return "p";
    case "buffering":
    case "retrying":
      return "r";
    case "paused":
      return "a";
    case "reconnecting":
      return "w";
    case "ended":
      return "e";
    case "failed":
      return "f";
    default:
      return undefined;
  }
}

/** What a report says besides. */
export interface Figures {
  readonly bufferSeconds: number;
  readonly playbackRate: number;
  readonly engine: Pick<Engine, "name" | "latency" | "clockLatency" | "rendition" | "throughput"> | undefined;
  /** From the wish to play to the first picture, once. */
  readonly startupMs?: number | undefined;
}

/** One line (CTA-5004-B, event mode): keys in the order of the alphabet, as the standard asks. */
export function reportOf(
  session: string,
  { event, state, atMs }: { readonly event: "ps" | "t"; readonly state: PlayState; readonly atMs: number },
  { bufferSeconds, playbackRate, engine, startupMs }: Figures,
): string {
  const whole = (value: number | undefined): number | undefined =>
    value === undefined || !Number.isFinite(value) || value < 0 ? undefined : Math.round(value);
  const latency = engine?.latency === undefined ? undefined : (engine.clockLatency ?? engine.latency);
  const said: readonly (readonly [string, string | number | undefined])[] = [
    ["bl", whole(bufferSeconds * 1000)],
    ["br", whole((engine?.rendition.bitsPerSecond ?? Number.NaN) / 1000)],
    ["e", event],
    ["ltc", whole((latency ?? Number.NaN) * 1000)],
    ["msd", whole(startupMs)],
    ["mtp", whole((engine?.throughput ?? Number.NaN) / 1000)],
    ["pr", Math.round(playbackRate * 100) / 100],
    ["sf", engine?.name.includes("HLS") ? "h" : "o"],
    ["sid", `"${session}"`],
    ["sta", state],
    ["ts", Math.round(atMs)],
    ["v", 2],
  ];
  return said.flatMap(([key, value]) => (value === undefined ? [] : `${key}=${value}`)).join(",");
}

/**
 * Tells the server that somebody watches, and how well, by a request of its own: what is said in the addresses of media
 * would give each viewer copies of his own in every shared cache, and what a cache answers its origin never hears of.
 */
export class Reporter {
  /** Names this viewer in whatever else it loads: over HTTP and over QUIC he is one. */
  readonly session = sessionName();
  readonly #url: () => string;
  readonly #figures: () => Figures;
  #state: PlayState | undefined;
  #begunMs: number | undefined;
  #begun = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  #doubt: ReturnType<typeof setTimeout> | undefined;

  /** Both are asked for at each report: tokens in the address are renewed. */
  constructor(url: () => string, figures: () => Figures) {
    this.#url = url;
    this.#figures = figures;
  }

  /** What the viewer is looking at now. */
  show(phase: Phase): void {
    const state = playStateOf(phase);
    clearTimeout(this.#doubt);
    if (state === "r" && this.#state === "p") {
      this.#doubt = setTimeout(() => this.#enter(state), DOUBT_MS);
      return;
    }
    this.#enter(state);
  }

  /** He has left, as far as one can tell. */
  leave(): void {
    clearTimeout(this.#doubt);
    if (this.#state !== undefined) this.#enter("q");
    this.#enter(undefined);
  }

  #enter(state: PlayState | undefined): void {
    if (state === this.#state) return;
    this.#state = state;
    clearInterval(this.#timer);
    if (state === undefined) return;
    if (state === "s") this.#begunMs ??= performance.now();
    const first = state === "p" && !this.#begun;
    this.#begun ||= first;
    this.#send(
      "ps",
      state,
      first && this.#begunMs !== undefined ? performance.now() - this.#begunMs : undefined,
    );
    // Who is done says so once.
    if (state === "e" || state === "f" || state === "q") return;
    this.#timer = setInterval(() => this.#send("t", state), EVERY_MS);
  }

  #send(event: "ps" | "t", state: PlayState, startupMs?: number): void {
    const figures = { ...this.#figures(), startupMs };
    const body = `${reportOf(this.session, { event, state, atMs: Date.now() }, figures)}\n`;
    const headers = { "content-type": "application/cmcd" };
    // Kept alive, so that the last one goes out when the page has gone; whether it arrives changes nothing here.
    fetch(this.#url(), { method: "POST", body, headers, keepalive: true, cache: "no-store" }).catch(() => {});
  }
}
