import type { OutgoingHttpHeaders } from "node:http";
import type { Movie, Recordings } from "../live/recordings.ts";
import { cacheControl } from "./caching.ts";
import { nothingThere, stretchOf } from "./clips.ts";
import type { Exchange } from "./exchange.ts";
import { rangeOf } from "./range.ts";
import { refuse } from "./refusal.ts";

/** Each holds about a second of media; more than this at once are asked to come back. */
const mostAtOnce = 256;

export interface MoviesOptions {
  readonly recordings: Pick<Recordings, "movie">;
  /** Told of a file that could not be sent to its end. */
  readonly failed: (error: unknown, path: string) => void;
}

/** Recordings and stretches of them as MP4 files, made while they are sent. */
export class MovieDoor {
  readonly #options: MoviesOptions;
  #sending = 0;

  constructor(options: MoviesOptions) {
    this.#options = options;
  }

  /** All of a recording that is over. */
  async download(exchange: Exchange, video: string): Promise<void> {
    const movie = await this.#options.recordings.movie(video);
    if (!movie) return refuse(exchange, 404, "Nothing is recorded of this video");
    this.#send(exchange, movie, fileName(exchange.query, `${video}.mp4`));
  }

  /** The stretch that the query names. */
  async clip(exchange: Exchange, video: string): Promise<void> {
    const stretch = stretchOf(exchange.query);
    if (typeof stretch === "string") return refuse(exchange, 400, stretch);
    const movie = await this.#options.recordings.movie(video, stretch);
    if (!movie) return refuse(exchange, 404, nothingThere);
    this.#send(exchange, movie, fileName(exchange.query, undefined));
  }

  #send(exchange: Exchange, movie: Movie, name: string | undefined): void {
    const { length, etag, settled } = movie;
    const headers: OutgoingHttpHeaders = {
      "content-type": "video/mp4",
      "cache-control": cacheControl(settled ? "file" : "growing file", 0),
      "accept-ranges": "bytes",
      etag,
      // Whoever plays it does not wait behind whoever watches live.
      priority: "u=5",
      ...(name !== undefined && { "content-disposition": `attachment; filename="${name}"` }),
    };
    if (matches(exchange.headers["if-none-match"], etag)) return exchange.reply(304, headers);
    // RFC 9110 13.1.5: another version is sent whole.
    const asked = exchange.headers["if-range"];
    const range = asked === undefined || asked === etag ? rangeOf(exchange.headers.range, length) : "all";
    if (range === "none")
      return refuse(exchange, 416, "There are no such bytes", { "content-range": `bytes */${length}` });
    if (this.#sending >= mostAtOnce)
      return refuse(exchange, 503, "Too many files are being sent; try again", { "retry-after": "10" });
    const whole = range === "all";
    const { from, to } = whole ? { from: 0, to: length - 1 } : range;
    const part = { ...headers, "content-length": to - from + 1 };
    const fields = whole ? part : { ...part, "content-range": `bytes ${from}-${to}/${length}` };
    void this.#stream(exchange, movie.read(from, to), whole ? 200 : 206, fields);
  }

  /** One piece after the other, each when the one before it has gone out. */
  async #stream(
    exchange: Exchange,
    pieces: AsyncIterable<Uint8Array>,
    status: number,
    headers: OutgoingHttpHeaders,
  ): Promise<void> {
    let gone = false;
    let wake = Promise.withResolvers<void>();
    const body = exchange.stream(status, headers, {
      drained: () => wake.resolve(),
      gone: () => {
        gone = true;
        wake.resolve();
      },
    });
    if (!body) return;
    this.#sending++;
    try {
      for await (const piece of pieces) {
        if (gone) return;
        wake = Promise.withResolvers();
        if (!body.write([piece])) await wake.promise;
      }
      body.end();
    } catch (error) {
      this.#options.failed(error, exchange.path);
      body.abort();
    } finally {
      this.#sending--;
    }
  }
}

/** What the file is to be called: as asked, without anything that a file system or a header could misread. */
function fileName(query: string, usual: string | undefined): string | undefined {
  const asked = new URLSearchParams(query).get("filename");
  if (asked === null) return usual;
  const safe = asked
    .replace(/[^\w. -]+/g, "_")
    .replace(/^\.+/, "")
    .slice(0, 120);
  const name = safe.replace(/\.mp4$/i, "") || "video";
  return `${name}.mp4`;
}

/** RFC 9110 13.1.2: weak comparison with a list. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((one) => one.trim().replace(/^W\//, "") === etag || one.trim() === "*");
}
