import { constants } from "node:http2";
import { type Cmcd, cmcdOf, maxCmcdBytes, parseCmcd } from "../lib/cmcd.ts";
import type { Directory } from "../live/directory.ts";
import type { Programme } from "../live/programme.ts";
import type { Recordings } from "../live/recordings.ts";
import type { Protocol } from "../live/tally.ts";
import { type Visitor, visitorOf } from "../live/visitor.ts";
import { cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";
import { clockMs, type Viewers, type Watched } from "./viewers.ts";

export interface AttendanceOptions {
  readonly viewers: Viewers;
  readonly directory: Directory;
  readonly recordings: Pick<Recordings, "ownerOf"> | undefined;
  /** Whether a live input keeps it to itself how many watch. */
  readonly isSecret: (input: string) => boolean;
  /** Called for each report of a player. */
  readonly reported: () => void;
}

/** Reports that a player held back, and sends at once. */
const maxReports = 64;
const maxReportBytes = 16_384;
/** A report has to be here by then; over HTTP/1.1 the server itself sees to that. */
const bodyMs = 30_000;
/** Apple's players name the playback; more than a UUID is not theirs. */
const appleSession = "x-playback-session-id";
const maxName = 64;

/** Who watches, told by requests and by reports of players. */
export class Attendance {
  readonly #options: AttendanceOptions;

  constructor(options: AttendanceOptions) {
    this.#options = options;
  }

  /** Somebody asks for media of `programme`, or for what lists it. `viewer` is whom a token was signed for. */
  saw(
    exchange: Exchange,
    {
      programme,
      protocol,
      viewer,
    }: { programme: Programme; protocol?: Protocol; viewer: string | undefined },
  ): void {
    const { viewers } = this.#options;
    const cmcd = cmcdOf(exchange.query, exchange.headers);
    const visitor = visiting(exchange, cmcd, viewer);
    const nowMs = clockMs();
    viewers.saw(programme, { visitor, protocol, patienceMs: patienceOf(exchange, programme) }, nowMs);
    if (cmcd) viewers.said(programme, visitor, cmcd, nowMs);
  }

  /** As at Cloudflare: how many watch what is on air now. */
  answerViews(exchange: Exchange, playback: string): void {
    const { directory, viewers, isSecret } = this.#options;
    const watched = this.#watched(playback);
    if (watched && isSecret(watched.input))
      return refuse(exchange, 404, "How many watch this is not made public");
    const video = directory.current(playback)?.video ?? playback;
    const liveViewers = viewers.count(video);
    exchange.reply(200, { "content-type": "application/json", "cache-control": cacheControl("count", 0) }, [
      Buffer.from(JSON.stringify({ liveViewers })),
    ]);
  }

  /** What a player reports (CTA-5004-B, event mode): a line each, whatever its type of content. */
  async takeReports(exchange: Exchange, playback: string, viewer: string | undefined): Promise<void> {
    const text = await bodyOf(exchange);
    if (text === undefined) {
      const seconds = bodyMs / 1000;
      refuse(exchange, 413, `A report has at most ${maxReportBytes} bytes, and is here within ${seconds} s`);
      // RFC 9113 8.1: the rest of it is not wanted.
      exchange.raw.http2?.close(constants.NGHTTP2_NO_ERROR);
      return;
    }
    const watched = this.#watched(playback);
    const { viewers, reported } = this.#options;
    for (const line of text.split("\n", maxReports)) {
      if (line.length === 0 || line.length > maxCmcdBytes) continue;
      const cmcd = parseCmcd(line);
      // Without a name nobody can be told from the others at that place.
      if (!watched || cmcd.session === undefined) continue;
      reported();
      viewers.reported(watched, visiting(exchange, cmcd, viewer), cmcd, clockMs());
    }
    exchange.reply(204, { "cache-control": "no-store" });
  }

  #watched(playback: string): Watched | undefined {
    const { directory, recordings } = this.#options;
    const broadcast = directory.named(playback);
    if (broadcast) return broadcast;
    const input = recordings?.ownerOf(playback);
    return input === undefined ? undefined : { video: playback, input };
  }
}

function visiting({ headers, peer }: Exchange, cmcd: Cmcd | undefined, viewer: string | undefined): Visitor {
  const apple = cmcd?.session === undefined ? headers[appleSession] : undefined;
  const session = typeof apple === "string" && apple.length <= maxName ? apple : cmcd?.session;
  return visitorOf({ session, viewer, address: peer, agent: headers["user-agent"] ?? "" });
}

/**
 * How long after this request the next one is due. Players of low latency ask several times a second; others for the list
 * once in a target duration, and for what they buffer ahead of a recording whenever there is room.
 */
function patienceOf({ query }: Exchange, { state, targetDuration }: Programme): number {
  if (state === "ended") return 30_000;
  if (query.includes("_HLS_msn=")) return 1_500 * Math.max(2, targetDuration);
  return 2_500 * targetDuration;
}

/** undefined for one that is too large, or does not come. */
function bodyOf(exchange: Exchange): Promise<string | undefined> {
  const { request } = exchange.raw;
  if (request.readableEnded) return Promise.resolve("");
  return new Promise((settle) => {
    const late = setTimeout(() => resolve(undefined), bodyMs);
    const resolve = (body: string | undefined) => {
      clearTimeout(late);
      settle(body);
    };
    const pieces: Buffer[] = [];
    let bytes = 0;
    request.on("data", (piece: Buffer) => {
      bytes += piece.length;
      if (bytes <= maxReportBytes) pieces.push(piece);
      else resolve(undefined);
    });
    request.once("end", () => resolve(Buffer.concat(pieces).toString("latin1")));
    request.once("error", () => resolve(undefined));
    exchange.onGone(() => resolve(undefined));
  });
}
