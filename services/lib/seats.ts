/** A place that watches with a token which limits them. Moments are epoch ms. */
export interface Seat {
  /** Names the token and nothing of it. */
  readonly token: string;
  readonly place: string;
  /** When it was first seen; the first keep their places. */
  readonly since: number;
  readonly at: number;
}

/** How long a place is kept for who is not seen. */
const sessionMs = 60_000;
/** A place that is still taken is told again after so long. */
const toldMs = 15_000;
const maxPlaces = 1_000;
const maxTokens = 10_000;

/** Where somebody watches, and with which program; browsers do not name theirs in sessions over QUIC. */
export interface From {
  readonly block: string;
  readonly agent: string;
}

type Places = Map<string, { readonly since: number; at: number; toldAt: number }>;

/** Who sits where, for tokens that limit it: here, and as other processes tell. */
export class Seats {
  /** Others have to hear of this. */
  onTaken: (seat: Seat) => void = () => undefined;
  readonly #tokens = new Map<string, Places>();

  /** Whether `place` may watch, as one of `limit`. Who comes beyond them stays outside, and so does the later of two who came at once to two processes. */
  take(token: string, from: From, { nowMs, limit }: { nowMs: number; limit: number }): boolean {
    const places = this.#placesOf(token);
    const place = placeOf(places, from);
    const known = places.get(place);
    const mine =
      known && nowMs - known.at <= sessionMs
        ? known
        : { since: nowMs, at: nowMs, toldAt: Number.NEGATIVE_INFINITY };
    if (places.size >= Math.min(limit, maxPlaces)) {
      for (const [other, { at }] of places)
        if (other !== place && nowMs - at > sessionMs) places.delete(other);
      let before = 0;
      for (const [other, { since }] of places)
        if (other !== place && (since < mine.since || (since === mine.since && other < place))) before++;
      if (before >= Math.min(limit, maxPlaces)) {
        places.delete(place);
        return false;
      }
    }
    mine.at = nowMs;
    places.set(place, mine);
    if (nowMs - mine.toldAt >= toldMs) {
      mine.toldAt = nowMs;
      this.onTaken({ token, place, since: mine.since, at: nowMs });
    }
    return true;
  }

  /** Another process has seen somebody. */
  heard({ token, place, since, at }: Seat): void {
    const places = this.#placesOf(token);
    const known = places.get(place);
    if (!known && places.size >= 2 * maxPlaces) return;
    // It is known there, so nothing has to be told of it before it is seen here for a while.
    const first = Math.min(since, known?.since ?? since);
    places.set(place, { since: first, at: Math.max(at, known?.at ?? at), toldAt: known?.toldAt ?? at });
  }

  #placesOf(token: string): Places {
    let places = this.#tokens.get(token);
    if (places) return places;
    // The oldest is the most likely to have ended.
    if (this.#tokens.size >= maxTokens) this.#tokens.delete(this.#tokens.keys().next().value!);
    places = new Map();
    this.#tokens.set(token, places);
    return places;
  }
}

/** The same player over HTTP and over QUIC is one place, though it names itself over one of them alone. */
function placeOf(places: Places, { block, agent }: From): string {
  const own = `${block} ${agent}`;
  const nameless = `${block} `;
  if (places.has(own)) return own;
  if (agent !== "") return places.has(nameless) ? nameless : own;
  return [...places.keys()].find((place) => place.startsWith(nameless)) ?? own;
}
