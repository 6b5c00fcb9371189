import type { OutgoingHttpHeaders } from "node:http";
import { Failure } from "../lib/errors.ts";
import { remembered } from "../lib/remembered.ts";
import type { Broadcast } from "../live/broadcast.ts";
import type { Directory } from "../live/directory.ts";
import type { Programme, Readable } from "../live/programme.ts";
import type { Recordings } from "../live/recordings.ts";
import { parseDirectives } from "../packager/reload.ts";
import type { Attendance } from "./attendance.ts";
import { cacheControl } from "./caching.ts";
import type { Challenges } from "./challenges.ts";
import { stretchOf } from "./clips.ts";
import type { Exchange, Handler } from "./exchange.ts";
import { arrived, grow, type Wanted } from "./growing.ts";
import type { Guard, Refusal } from "./guard.ts";
import { answerLifecycle, lifecycleFinder, type Way } from "./lifecycle.ts";
import type { Manifests } from "./manifests.ts";
import type { MovieDoor } from "./movies.ts";
import type { Pages } from "./pages.ts";
import { passToControl } from "./passthrough.ts";
import type { Mode, Playlists } from "./playlists.ts";
import { cut, rangeOf } from "./range.ts";
import { refuse } from "./refusal.ts";
import { type Route, routeOf } from "./route.ts";
import { answerText } from "./text.ts";
import type { Thumbnails } from "./thumbnails.ts";

export interface ServerOptions {
  readonly directory: Directory;
  readonly playlists: Playlists;
  readonly manifests: Manifests;
  readonly pages: Pages;
  readonly attendance: Attendance;
  /** Who may watch. */
  readonly guard: Guard;
  /** What a certificate authority is shown. */
  readonly challenges: Challenges;
  /** How to have Media over QUIC. */
  readonly moq?: ((broadcast: Broadcast | undefined) => Way | undefined) | undefined;
  /** Whether viewers may go back in what is on air. */
  readonly dvr: boolean;
  /** Control's internal address and the secret between machines. */
  readonly control: string;
  readonly secret: string | undefined;
  readonly recordings: Pick<Recordings, "find" | "ownerOf"> | undefined;
  /** Whether captions were uploaded for a video, which then only its recording has. */
  readonly captioned?: ((video: string) => boolean) | undefined;
  /** Pictures of what can be watched; absent where nobody can decode. */
  readonly thumbnails: Thumbnails | undefined;
  /** Files made of recordings; absent where nothing is recorded. */
  readonly movies: MovieDoor | undefined;
  readonly failed: (error: unknown, path: string) => void;
  readonly answered: (to: string) => void;
}

const notRecorded =
  "There is no such recording; a live input that is not on air has its recordings under the videos' uids";
/** How long a playlist request may wait for a broadcast to have its first part. */
const firstPartMs = 10_000;

/** Everything the public ports answer. */
export function createHandler(options: ServerOptions): Handler {
  // No async function, nor is `route` one: its frame would stay in memory for each of the many that are held.
  return (exchange) => {
    const fail = (error: unknown): void => {
      // Whoever keeps the bytes has said so in the log, once.
      if (error instanceof Failure && error.code === "unavailable")
        return refuse(exchange, 503, error.message, { "retry-after": "1" });
      options.failed(error, exchange.path);
      refuse(exchange, 500, "Something failed here; the server's log has the details");
    };
    try {
      return route(exchange, options)?.catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}

function route(asked: Exchange, options: ServerOptions): Promise<void> | undefined | void {
  let exchange = asked;
  let to = routeOf(exchange.path);
  options.answered(to?.to ?? "nothing");
  if (!to) return refuse(exchange, 404, "There is nothing here");
  if (to.to === "control") return passToControl(exchange, options.control, options.secret);
  if (exchange.method === "OPTIONS")
    return exchange.reply(204, {
      "access-control-allow-methods": to.to === "report" ? "POST" : "GET, HEAD",
      "access-control-allow-headers": "*",
      "access-control-max-age": "86400",
    });
  const isRead = exchange.method === "GET" || exchange.method === "HEAD";
  if (to.to === "report" && exchange.method !== "POST")
    return refuse(exchange, 405, "Players POST what they report", { allow: "POST, OPTIONS" });
  if (to.to !== "report" && !isRead)
    return refuse(exchange, 405, "Only GET and HEAD are answered here", { allow: "GET, HEAD, OPTIONS" });
  const { directory, pages, guard, attendance } = options;
  let allowedOrigins: readonly string[] = [];
  let downloadable = false;
  let viewer: string | undefined;
  if ("playback" in to) {
    // A person gets the player, which says it in words and can be given a fresh token.
    const page =
      to.to === "page" && /\btext\/html\b/.test(exchange.headers.accept ?? "") ? to.page : undefined;
    const tell = page ? (refusal: Refusal) => void pages.page(asked, page, { refusal }) : undefined;
    const { playback } = to;
    const video = "video" in to ? to.video : undefined;
    const admitted = guard.admit(exchange, { playback, video, tell });
    if (!admitted) return;
    exchange = admitted.exchange;
    ({ allowedOrigins, downloadable, viewer } = admitted);
    // From here on a token is what it stands for.
    if (admitted.uid !== playback) to = { ...to, playback: admitted.uid };
  }
  switch (to.to) {
    case "root":
      return exchange.reply(302, { location: "/docs", "cache-control": "no-store" });
    case "challenge":
      return options.challenges.answer(exchange, to.token);
    case "keys":
      return guard.publish(exchange);
    case "asset":
      return pages.asset(exchange, to.name);
    case "page":
      return page(exchange, options, to, allowedOrigins);
    case "sdk":
      return pages.script(exchange, to.name);
    case "lifecycle":
      return answerLifecycle(exchange, directory, to.playback, options);
    case "views":
      return attendance.answerViews(exchange, to.playback);
    case "report":
      return attendance.takeReports(exchange, to.playback, viewer);
    case "time":
      // ISO/IEC 23009-1 5.8.4.11: what UTCTiming points at.
      return exchange.reply(
        200,
        { "content-type": "text/plain", "cache-control": cacheControl("state", 0) },
        [Buffer.from(new Date().toISOString())],
      );
    case "multivariant":
      return multivariant(exchange, options, to.playback);
    case "manifest":
      return manifest(exchange, options, to.playback, viewer);
    case "download":
      if (!downloadable)
        return refuse(exchange, 403, "This token does not allow downloads; ask for one with `downloadable`");
      return file(exchange, options, to.playback, (movies, video) =>
        directory.video(video) && directory.video(video)!.state !== "ended"
          ? refuse(exchange, 409, "This video is on air; its download is here when the broadcast is over")
          : movies.download(exchange, video),
      );
    case "thumbnail":
    case "storyboard":
    case "sprite":
      return picture(exchange, options, to);
    case "clip list":
      return clipList(exchange, options, to.playback);
    case "clip":
      return file(exchange, options, to.playback, (movies, video) => movies.clip(exchange, video));
    case "playlist": {
      const broadcast = isHere(options, to.video) ? directory.video(to.video) : undefined;
      const rendition = broadcast && listedOf(broadcast, to);
      // What is on air is answered, or waited for, without a promise for each who asks.
      return broadcast && rendition && shows(broadcast, to.playback)
        ? playlist(exchange, options, { to, viewer, broadcast, rendition })
        : playlistOf(exchange, options, to, viewer);
    }
    default:
      return bytes(exchange, options, to, viewer);
  }
}

type To<Kind extends NonNullable<Route>["to"]> = Extract<Route, { readonly to: Kind }>;

async function page(
  exchange: Exchange,
  options: ServerOptions,
  { page, playback }: To<"page">,
  allowedOrigins: readonly string[],
): Promise<void> {
  const state = (await lifecycleFinder(options.directory, playback, options))();
  return options.pages.page(exchange, page, { allowedOrigins, state });
}

async function picture(
  exchange: Exchange,
  { directory, recordings, thumbnails }: ServerOptions,
  to: To<"thumbnail" | "storyboard" | "sprite">,
): Promise<void> {
  const programme: Programme | undefined =
    directory.named(to.playback) ?? (await recordings?.find(to.playback));
  if (!programme) return refuse(exchange, 404, notRecorded);
  if (!thumbnails) return refuse(exchange, 503, "There is no ffmpeg here to make pictures with");
  if (to.to === "thumbnail") return thumbnails.thumbnail(exchange, programme, to.form);
  if (to.to === "sprite") return thumbnails.sprite(exchange, programme, to);
  return thumbnails.storyboard(exchange, programme);
}

async function clipList(exchange: Exchange, options: ServerOptions, playback: string): Promise<void> {
  const clip = stretchOf(exchange.query);
  if (typeof clip === "string") return refuse(exchange, 400, clip);
  const broadcast: Programme | undefined =
    options.directory.named(playback) ?? (await options.recordings?.find(playback));
  if (!broadcast?.lasting) return refuse(exchange, 404, notRecorded);
  const mode = { ...modeOf(exchange.query, options), clip };
  return options.playlists.multivariant(exchange, broadcast, mode);
}

/** A media playlist of what has to be looked for, or waited for, first. */
async function playlistOf(
  exchange: Exchange,
  options: ServerOptions,
  to: To<"playlist">,
  viewer: string | undefined,
): Promise<void> {
  const broadcast = await find(exchange, options, to.playback, to.video);
  if (!broadcast) return;
  const rendition =
    listedOf(broadcast, to) ?? (await firstOf(exchange, broadcast, to.rendition, options.directory));
  if (rendition) return playlist(exchange, options, { to, viewer, broadcast, rendition });
}

/** Whose numbers and times a media playlist has. */
function listedOf(broadcast: Programme, to: To<"playlist">): Readable | undefined {
  return isText(broadcast, to) ? broadcast.reference : broadcast.renditions.get(to.rendition);
}

function isText({ texts }: Programme, { pictures, rendition }: To<"playlist">): boolean {
  return !pictures && texts.has(rendition);
}

function playlist(
  exchange: Exchange,
  options: ServerOptions,
  found: {
    readonly to: To<"playlist">;
    readonly viewer: string | undefined;
    readonly broadcast: Programme;
    readonly rendition: Readable;
  },
): Promise<void> | void {
  const { to, viewer, broadcast, rendition } = found;
  const { pictures } = to;
  const text = isText(broadcast, to) ? to.rendition : undefined;
  const { directives, isClip } = wishOf(exchange.query);
  const mode = modeOf(exchange.query, options);
  if (text === undefined && isClip) {
    const clip = stretchOf(exchange.query);
    if (typeof clip === "string") return refuse(exchange, 400, clip);
    return options.playlists.clip(exchange, broadcast, rendition, { ...mode, clip });
  }
  if ("refuse" in directives) return refuse(exchange, directives.refuse, directives.message);
  options.attendance.saw(exchange, { programme: broadcast, protocol: "hls", viewer });
  if (pictures && rendition.track.kind !== "video") return missing(exchange, broadcast.targetDuration);
  return options.playlists.media(exchange, broadcast, rendition, {
    directives,
    mode: { ...mode, pictures, text },
  });
}

/** Media and what comes before them. */
async function bytes(
  exchange: Exchange,
  options: ServerOptions,
  to: To<"init" | "segment" | "part">,
  viewer: string | undefined,
): Promise<void> {
  const broadcast = await find(exchange, options, to.playback, to.video);
  const rendition = broadcast?.renditions.get(to.rendition);
  if (!broadcast) return;
  const words = broadcast.texts.get(to.rendition);
  if (words) {
    const wanted = to.to === "init" ? to : { ...to, form: to.form ?? ("m4s" as const) };
    if (!(await answerText(exchange, broadcast, words, wanted))) missing(exchange, broadcast.targetDuration);
    return;
  }
  if ("form" in to) return missing(exchange, broadcast.targetDuration);
  if (!rendition) return missing(exchange, broadcast.targetDuration);
  if (to.to === "init") return init(exchange, rendition, to.version);
  options.attendance.saw(exchange, { programme: broadcast, viewer });
  if (to.to === "segment") return segment(exchange, options.directory.video(to.video), rendition, to);
  return part(exchange, broadcast, rendition, to);
}

/** By input the current broadcast, by video that one; 204 where an input is not on air, as players of this API expect. */
async function onAir(
  exchange: Exchange,
  options: ServerOptions,
  playback: string,
  { ready, over }: { ready: (broadcast: Broadcast) => boolean; over: (broadcast: Broadcast) => boolean },
): Promise<Broadcast | undefined> {
  const { directory } = options;
  const idle = () => exchange.reply(204, { "cache-control": "no-store" });
  const broadcast = directory.named(playback);
  if (!broadcast || over(broadcast)) {
    idle();
    return undefined;
  }
  const settled = (): boolean => ready(broadcast) || broadcast.state === "ended";
  if (ready(broadcast) || ((await until(settled, exchange, broadcast, directory)) && ready(broadcast)))
    return broadcast;
  if (broadcast.state === "ended") idle();
  else refuse(exchange, 503, "The broadcast has no media yet", { "retry-after": "1" });
  return undefined;
}

async function multivariant(exchange: Exchange, options: ServerOptions, playback: string): Promise<void> {
  const { recordings, playlists } = options;
  const recorded = isHere(options, playback) ? undefined : await recordings?.find(playback);
  const mode = modeOf(exchange.query, options);
  if (recorded) return playlists.multivariant(exchange, recorded, mode);
  const broadcast = await onAir(exchange, options, playback, {
    ready: ({ listed }) => listed,
    over: ({ state, input }) => state === "ended" && input === playback,
  });
  if (broadcast) playlists.multivariant(exchange, broadcast, mode);
}

async function manifest(
  exchange: Exchange,
  options: ServerOptions,
  playback: string,
  viewer: string | undefined,
): Promise<void> {
  const { recordings, manifests, attendance } = options;
  const recorded = isHere(options, playback) ? undefined : await recordings?.find(playback);
  if (recorded) {
    attendance.saw(exchange, { programme: recorded, protocol: "dash", viewer });
    return manifests.recorded(exchange, recorded);
  }
  const ready = ({ listed, schedule }: Broadcast): boolean => listed && schedule?.playable === true;
  // Who watches asks for it again and again at the same address, and learns of the end there.
  const broadcast = await onAir(exchange, options, playback, { ready, over: () => false });
  if (!broadcast) return;
  attendance.saw(exchange, { programme: broadcast, protocol: "dash", viewer });
  manifests.answer(exchange, broadcast, modeOf(exchange.query, options));
}

/** What can be had of a video as a file: by input its current broadcast, by video that one. */
function file(
  exchange: Exchange,
  { directory, recordings, movies }: ServerOptions,
  playback: string,
  answer: (movies: MovieDoor, video: string) => Promise<void> | void,
): Promise<void> | void {
  const here = directory.named(playback);
  const video = here?.video ?? (recordings?.ownerOf(playback) === undefined ? undefined : playback);
  if (video !== undefined && movies) return answer(movies, video);
  refuse(exchange, 404, notRecorded);
}

/** Whether a broadcast is answered from what is kept of it here, rather than from its recording. */
function isHere({ directory, captioned }: ServerOptions, playback: string): boolean {
  const here = directory.named(playback);
  return here !== undefined && !(here.state === "ended" && captioned?.(here.video));
}

/** A rung's playlist is held until its encoder has begun it; undefined when it was answered otherwise. */
async function firstOf(
  exchange: Exchange,
  broadcast: Programme,
  name: string,
  directory: Directory,
): Promise<Readable | undefined> {
  const planned = (): boolean =>
    broadcast.state !== "ended" && broadcast.rungs.some((rung) => rung.name === name);
  if (planned())
    await until(() => broadcast.renditions.has(name) || !planned(), exchange, broadcast, directory);
  const rendition = broadcast.renditions.get(name);
  if (rendition) return rendition;
  if (planned()) refuse(exchange, 503, "This rendition has no media yet", { "retry-after": "1" });
  else
    refuse(
      exchange,
      404,
      "This broadcast has no such rendition",
      {},
      {
        kind: /(^|&)_HLS_msn=/.test(exchange.query) ? "missing held playlist" : "missing playlist",
        targetDuration: broadcast.targetDuration,
      },
    );
  return undefined;
}

/** Waits for a change of the broadcast that makes `met` true; false when it did not come in time or the client left. */
function until(
  met: () => boolean,
  exchange: Exchange,
  broadcast: Programme,
  directory: Directory,
): Promise<boolean> {
  return new Promise((resolve) => {
    const end = directory.onChange(broadcast.video, check);
    const timer = setTimeout(done, firstPartMs);
    exchange.onGone(done);
    check();
    function check(): void {
      if (met()) done();
    }
    function done(): void {
      clearTimeout(timer);
      end();
      resolve(met());
    }
  });
}

/** As at Cloudflare: `dvrEnabled=true` gives the broadcast so far. A `t` is carried on to every address. */
function modeOf(query: string, { dvr }: Pick<ServerOptions, "dvr">): Mode {
  const asked = wishOf(query);
  return { dvr: dvr && asked.dvr, parameter: asked.parameter };
}

/** All who are held for a part ask for it in the same words. */
const wishesKept = 512;
/** What a query asks of a list. */
const wishOf = remembered(wishesKept, (query) => {
  const asked = new URLSearchParams(query);
  return {
    directives: parseDirectives(query),
    dvr: asked.get("dvrEnabled") === "true",
    parameter: asked.has("t") ? "t" : undefined,
    isClip: asked.has("duration"),
  };
});

/** The video, live or recorded, if this playback may show it; else answers and returns undefined. */
async function find(
  exchange: Exchange,
  options: ServerOptions,
  playback: string,
  video: string,
): Promise<Programme | undefined> {
  const { directory, recordings } = options;
  const recorded = isHere(options, video) ? undefined : await recordings?.find(video);
  const found = recorded ?? directory.video(video);
  if (found && shows(found, playback)) return found;
  missing(exchange);
  return undefined;
}

function shows({ video, input }: Programme, playback: string): boolean {
  return playback === video || playback === input;
}

async function init(exchange: Exchange, rendition: Readable, version: number): Promise<void> {
  const found = await rendition.init(version);
  media(exchange, rendition, found && [found.bytes]);
}

/** rfc8216bis 6.2.6: a hinted part is held until all of it is there, so that clients measure the link and not the encoder. */
async function part(
  exchange: Exchange,
  broadcast: Programme,
  rendition: Readable,
  to: { version: number; number: number; part: number },
): Promise<void> {
  const { number, part: index, version } = to;
  const hinted = (): boolean => {
    const { next } = rendition.shown;
    return next?.number === number && next.part === index && next.version === version;
  };
  if (hinted()) {
    const waited = await rendition.wait(
      () => !hinted(),
      3 * broadcast.targetDuration * 1000,
      (gone) => exchange.onGone(gone),
    );
    if (waited === "gone") return;
  }
  const body = await rendition.part(number, index, version);
  const nothing = body ? undefined : rendition.nothing(number, version, index);
  media(exchange, rendition, nothing ? [nothing] : body);
}

/** A whole segment at once; the one under construction as it comes, and the one after it when it begins. */
async function segment(
  exchange: Exchange,
  live: Broadcast | undefined,
  rendition: Readable,
  to: Wanted & { readonly rendition: string },
): Promise<void> {
  const growing = live?.renditions.get(to.rendition);
  if (live && growing) {
    if (!(await arrived(exchange, live, growing, to))) return;
    if (grow(exchange, growing, to, mediaHeaders(rendition))) return;
  }
  const body = await rendition.segment(to.number, to.version);
  const nothing = body ? undefined : rendition.nothing(to.number, to.version);
  // ISO/IEC 23009-1 A.3.9: a player that computes addresses may be early; no cache may keep that past the segment's beginning.
  if (!body && !nothing && growing?.isAhead(to.number))
    return refuse(exchange, 404, "This segment has not begun; the one before it has to come first");
  media(exchange, rendition, nothing ? [nothing] : body);
}

function media(exchange: Exchange, rendition: Readable, body: readonly Uint8Array[] | undefined): void {
  if (!body) return missing(exchange, rendition.shown.targetDuration);
  const headers = { ...mediaHeaders(rendition), "accept-ranges": "bytes" };
  const length = body.reduce((sum, piece) => sum + piece.length, 0);
  const range = rangeOf(exchange.headers.range, length);
  if (range === "all") return exchange.reply(200, headers, body);
  if (range === "none")
    return refuse(exchange, 416, "There are no such bytes", { "content-range": `bytes */${length}` });
  const { from, to } = range;
  exchange.reply(206, { ...headers, "content-range": `bytes ${from}-${to}/${length}` }, cut(body, range));
}

function mediaHeaders({ track }: Readable): OutgoingHttpHeaders {
  return {
    "content-type": `${track.kind}/mp4`,
    "cache-control": cacheControl("media", 0),
    priority: "u=3",
  };
}

function missing(exchange: Exchange, targetDuration = 0): void {
  const found = { kind: "missing media", targetDuration } as const;
  refuse(exchange, 404, "There is no such media, or not any more", {}, found);
}
