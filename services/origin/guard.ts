import type { OutgoingHttpHeaders } from "node:http";
import { type Admission, type Client, type Denial, Gate } from "../auth/gate.ts";
import { openGround } from "../auth/ground.ts";
import type { Geo } from "../auth/rules.ts";
import type { GateRecord, OriginInput, Snapshot } from "../live/snapshot.ts";
import { Answer, type Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";

export interface GuardOptions {
  readonly inputs: Pick<Snapshot<OriginInput>, "get" | "onChange">;
  readonly records: Pick<Snapshot<GateRecord>, "get" | "values" | "onChange" | "contactMs">;
  readonly geo: Geo;
  /** Signed playback is refused once control was not heard for this long. */
  readonly staleMs: number;
  /** The live input that a video belongs to, where that is known here. */
  readonly ownerOf: (video: string) => string | undefined;
  readonly refused: (reason: Denial["reason"]) => void;
}

/** A viewer who was let in: what answers him, and what he may see. */
export interface Admitted extends Pick<Admission, "uid" | "downloadable" | "allowedOrigins" | "viewer"> {
  /** Answers as the one that came, marked so that only this viewer keeps what is guarded. */
  readonly exchange: Exchange;
}

/** What a viewer who is not let in is told. */
export interface Refusal {
  readonly status: number;
  readonly message: string;
  readonly headers: OutgoingHttpHeaders;
}

/** A held request lasts less; its end is watched only when its token ends within this time. */
const longestMs = 60_000;
const keysSeconds = 300;

/** Lets viewers in, and shows those out whose right ended while they were waiting for an answer. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #gate: Gate;
  readonly #inside = new Set<Visit>();
  readonly #ground: ReturnType<typeof openGround>;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#ground = openGround({ ...options, changed: () => this.#recheck() });
    this.#gate = new Gate(this.#ground);
  }

  /**
   * Lets a viewer in by a uid or a token, to the one video of it that the path names, if any; undefined when he was refused and told so,
   * by a sentence or in `tell`'s way.
   */
  admit(
    exchange: Exchange,
    {
      playback,
      video,
      tell,
    }: {
      readonly playback: string;
      readonly video: string | undefined;
      readonly tell: ((refusal: Refusal) => void) | undefined;
    },
  ): Admitted | undefined {
    const visit = new Visit(exchange, playback, video);
    const nowMs = Date.now();
    const first = this.#gate.admit(playback, visit, nowMs, video);
    if ("status" in first) {
      this.#deny(exchange, first, tell);
      return undefined;
    }
    this.#inside.add(visit);
    const leftMs = first.untilMs - nowMs;
    const end = leftMs < longestMs ? setTimeout(() => this.#look(visit), leftMs + 1) : undefined;
    const again =
      first.againMs === undefined ? undefined : setInterval(() => this.#look(visit), first.againMs);
    exchange.onGone(() => {
      clearTimeout(end);
      clearInterval(again);
      this.#inside.delete(visit);
    });
    return {
      uid: first.uid,
      downloadable: first.downloadable,
      allowedOrigins: first.allowedOrigins,
      viewer: first.viewer,
      exchange: first.guarded ? guarded(exchange, visit, first) : exchange,
    };
  }

  /** The public halves of all keys in force (RFC 7517), for caches at the edge that check tokens themselves. */
  publish(exchange: Exchange): void {
    const keys = [...this.#options.records.values()].flatMap((record) =>
      record.kind === "key"
        ? [{ ...record.jwk, kid: record.uid.slice("key:".length), alg: record.alg, use: "sig" }]
        : [],
    );
    exchange.reply(
      200,
      { "content-type": "application/jwk-set+json", "cache-control": `public, max-age=${keysSeconds}` },
      [Buffer.from(JSON.stringify({ keys }))],
    );
  }

  /** What is known of addresses has changed. */
  geoChanged(): void {
    this.#gate.geoChanged();
    this.#recheck();
  }

  close(): void {
    this.#ground.end();
  }

  #deny(
    exchange: Exchange,
    { status, reason, message }: Denial,
    tell: (refusal: Refusal) => void = (refusal) =>
      refuse(exchange, refusal.status, refusal.message, refusal.headers),
  ): void {
    this.#options.refused(reason);
    tell({
      status,
      message,
      headers: {
        ...(status === 401 && {
          "www-authenticate": 'Bearer error="invalid_token", error_description="expired"',
        }),
        ...(status === 503 && { "retry-after": "5" }),
      },
    });
  }

  #recheck(): void {
    for (const visit of [...this.#inside]) this.#look(visit);
  }

  /** Whether this viewer may still be here; else he is shown out. */
  #look(visit: Visit): void {
    const { exchange, playback, video } = visit;
    const now = this.#gate.admit(playback, visit, Date.now(), video);
    if (!("status" in now)) return;
    this.#inside.delete(visit);
    // What is under way ends in the middle, what still waits is told.
    exchange.cut();
    this.#deny(exchange, now);
  }
}

/** Who asks, until he is answered. Most are let in without a look at more than the address that they ask for. */
class Visit implements Client {
  readonly exchange: Exchange;
  readonly playback: string;
  readonly video: string | undefined;

  constructor(exchange: Exchange, playback: string, video: string | undefined) {
    this.exchange = exchange;
    this.playback = playback;
    this.video = video;
  }

  get address(): string {
    return this.exchange.peer;
  }

  get agent(): string {
    return this.exchange.headers["user-agent"] ?? "";
  }

  get page(): string | undefined {
    const { origin, referer } = this.exchange.headers;
    // A page that shows media without CORS sends no Origin, but says where it is from.
    return origin ?? (referer && URL.canParse(referer) ? new URL(referer).origin : undefined);
  }

  get host(): string {
    const { headers } = this.exchange;
    return String(headers[":authority"] ?? headers.host ?? "");
  }
}

/** What is the same for all who have a token of some kind. */
const ofOne = new WeakMap<Answer, Answer>();

/** The same answers for one viewer alone: no shared cache keeps them, and only an allowed page may read them. */
function guarded(exchange: Exchange, client: Client, { allowedOrigins }: Admission): Exchange {
  const restricted = allowedOrigins.length > 0;
  const mark = (headers: OutgoingHttpHeaders): OutgoingHttpHeaders => ({
    ...headers,
    "cache-control": String(headers["cache-control"] ?? "no-store").replace(/\bpublic\b/, "private"),
    ...(restricted && {
      "access-control-allow-origin": exchange.headers.origin ?? `https://${client.host}`,
      vary: headers.vary ? `${headers.vary}, origin` : "origin",
    }),
  });
  const { method, path, query, headers, peer, raw } = exchange;
  return {
    ...{ method, path, query, headers, peer, raw },
    reply: (status, headers, body) => exchange.reply(status, mark(headers), body),
    send(answer) {
      if (restricted) return exchange.reply(200, mark(answer.headers), [answer.body]);
      const own = ofOne.get(answer) ?? new Answer(mark(answer.headers), answer.body);
      ofOne.set(answer, own);
      exchange.send(own);
    },
    stream: (status, headers, on) => exchange.stream(status, mark(headers), on),
    onGone: (gone) => exchange.onGone(gone),
    cut: () => exchange.cut(),
  };
}
