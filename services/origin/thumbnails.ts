import { Failure } from "../lib/errors.ts";
import { type Fit, fits, type PictureJob, type Pictures } from "../live/pictures.ts";
import type { Programme } from "../live/programme.ts";
import { firstOf } from "../packager/search.ts";
import { type Segment, shownSize } from "../packager/track.ts";
import { timestamp } from "../packager/webvtt.ts";
import { cacheControl } from "./caching.ts";
import { beginningOf, type Reel, reelsOf, secondsOf } from "./clips.ts";
import type { Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";

const maxKeptBytes = 32 << 20;
const maxGifSeconds = 10;
const maxGifBytes = 48 << 20;
const tileWidth = 160;
const across = 5;
const tilesOfSprite = across * across;
const noPicture = "There is no picture at this time";

/** A segment that begins with a keyframe, of one rendition. */
interface Shot extends Reel {
  readonly row: Segment;
}

/** What can be seen of a programme, and from when to when, in seconds of the broadcast. */
interface Sight {
  /** Video renditions, the smallest first. */
  readonly reels: readonly Reel[];
  readonly beginning: number;
  readonly end: number;
}

/** Tiles that fit into one picture: of one rendition and one init segment. */
interface Sprite {
  readonly first: number;
  readonly shots: Shot[];
}

export interface ThumbnailsOptions {
  readonly pictures: Pictures;
  /** The moment that stands for a video, as a share of its length, where its owner has named one. */
  readonly momentOf: (video: string) => number | undefined;
}

/** Thumbnails and storyboards of what is on air and what is recorded, made once each when somebody asks. */
export class Thumbnails {
  readonly #pictures: Pictures;
  readonly #momentOf: ThumbnailsOptions["momentOf"];
  /** `size` is 0 while it is being made. */
  readonly #kept = new Map<string, { readonly made: Promise<Uint8Array>; size: number }>();
  #keptBytes = 0;

  constructor({ pictures, momentOf }: ThumbnailsOptions) {
    this.#pictures = pictures;
    this.#momentOf = momentOf;
  }

  /** One picture, or one that moves. */
  async thumbnail(exchange: Exchange, programme: Programme, form: "jpg" | "gif"): Promise<void> {
    const asked = thumbnailOf(exchange.query, form);
    if (typeof asked === "string") return refuse(exchange, 400, asked);
    const live = programme.state !== "ended";
    const sight = sightOf(programme);
    if (!sight) return refuse(exchange, 404, noPicture);
    const { beginning, end } = sight;
    const { time, width, height, fit, duration, fps } = asked;
    // Of what is on air, what is to be seen now.
    const unasked = live
      ? end - (form === "gif" ? duration : 0)
      : beginning + (end - beginning) * (this.#momentOf(programme.video) ?? 0);
    const at = time === undefined ? unasked : beginning + time;
    const shot = at > end ? undefined : shotAt(sight, at, form === "gif" ? (height ?? 200) : height);
    if (!shot) return refuse(exchange, 404, noPicture);
    const { rendition, row } = shot;
    const key = [programme.video, rendition.name, row.version, row.number, form, width, height, fit];
    const job = {
      form,
      width,
      height: width === undefined && form === "gif" ? (height ?? 200) : height,
      fit,
    };
    // Its owner may name another moment.
    const settled = time !== undefined;
    if (form === "jpg")
      return this.#answer(exchange, { key: key.join(" "), form, settled }, async () => ({
        ...job,
        media: [await initOf(shot), await pictureOf(shot)],
      }));
    const { timescale } = rendition.shown;
    // At the very end, too, it has a picture.
    const start = Math.min(at, end - 1 / fps);
    const from = Math.max(0, start - row.dts / timescale);
    const seconds = Math.min(duration, end - start);
    const moves = { from, seconds, fps };
    return this.#answer(
      exchange,
      { key: [...key, from, seconds, fps].join(" "), form, settled },
      async () => ({
        ...job,
        moves,
        media: await stretchOf(shot, (at + seconds) * timescale),
      }),
    );
  }

  /** The list of all tiles, as cues: what of which picture is shown when. Its note says when the video's second 0 was. */
  storyboard(exchange: Exchange, programme: Programme): void {
    const sight = sightOf(programme);
    const { sprites, interval } = spritesOf(sight);
    if (!sight || sprites.length === 0) return refuse(exchange, 404, noPicture);
    const { beginning, end } = sight;
    const { epochMs } = sprites[0]!.shots[0]!.rendition.shown;
    let text = `WEBVTT\n\nNOTE start=${new Date(epochMs + beginning * 1000).toISOString()}\n`;
    for (const { first, shots } of sprites) {
      const { width, height } = tileOf(shots[0]!);
      for (let i = 0; i < shots.length; i++) {
        const from = (first + i) * interval;
        const to = Math.min(from + interval, end - beginning);
        const place = `${(i % across) * width},${Math.floor(i / across) * height},${width},${height}`;
        const ms = [from, Math.max(to, from + 0.001)].map((seconds) => Math.round(seconds * 1000));
        text += `\n${ms.map(timestamp).join(" --> ")}\n`;
        text += `storyboard/${interval}-${first}-${shots.length}.jpg#xywh=${place}\n`;
      }
    }
    exchange.reply(
      200,
      {
        "content-type": "text/vtt; charset=utf-8",
        "cache-control": cacheControl(programme.state === "ended" ? "file" : "growing file", 0),
      },
      [Buffer.from(text)],
    );
  }

  /** One picture of tiles, by the name that the list gives it. */
  sprite(
    exchange: Exchange,
    programme: Programme,
    asked: { readonly interval: number; readonly first: number; readonly count: number },
  ): Promise<void> | void {
    const { sprites } = spritesOf(sightOf(programme), asked.interval);
    const found = sprites.find(({ first }) => first === asked.first);
    const shots = found?.shots.slice(0, asked.count) ?? [];
    if (asked.count === 0 || shots.length < asked.count) return refuse(exchange, 404, noPicture);
    const { width, height } = tileOf(shots[0]!);
    const down = Math.ceil(asked.count / across);
    const key = `${programme.video} sprite ${asked.interval} ${asked.first} ${asked.count}`;
    return this.#answer(exchange, { key, form: "jpg", settled: true }, async () => ({
      ...{ form: "jpg", width, height, fit: "scale", tiles: { across, down } },
      media: [await initOf(shots[0]!), ...(await Promise.all(shots.map(pictureOf)))],
    }));
  }

  async #answer(
    exchange: Exchange,
    { key, form, settled }: { key: string; form: "jpg" | "gif"; settled: boolean },
    job: () => Promise<PictureJob>,
  ): Promise<void> {
    let made = this.#kept.get(key)?.made;
    if (!made) {
      made = this.#pictures.make(job);
      this.#keep(key, made);
    }
    let bytes: Uint8Array;
    try {
      bytes = await made;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const later = error.code === "limit" || error.code === "unavailable";
      if (later) return refuse(exchange, 503, error.message, { "retry-after": "2" });
      return refuse(exchange, 404, error.message);
    }
    const kind = settled ? "file" : "growing file";
    exchange.reply(
      200,
      {
        "content-type": form === "gif" ? "image/gif" : "image/jpeg",
        "cache-control": cacheControl(kind, 0),
        priority: "u=5",
      },
      [bytes],
    );
  }

  #keep(key: string, made: Promise<Uint8Array>): void {
    const kept = { made, size: 0 };
    this.#kept.set(key, kept);
    made.then(
      ({ length }) => {
        kept.size = length;
        this.#keptBytes += length;
        for (const [old, { size }] of this.#kept) {
          if (this.#keptBytes <= maxKeptBytes) break;
          if (size === 0 || old === key) continue;
          this.#kept.delete(old);
          this.#keptBytes -= size;
        }
      },
      () => this.#kept.delete(key),
    );
  }
}

/** Undefined where there is nothing to see. */
function sightOf(programme: Programme): Sight | undefined {
  const all = reelsOf(programme);
  const reels = all
    .filter(({ rendition: { track } }) => track.kind === "video")
    .sort((a, b) => heightOf(a) - heightOf(b));
  const ends = reels.flatMap(({ rendition, rows }) => {
    const last = rows.at(-1);
    return last ? [(last.dts + last.duration) / rendition.shown.timescale] : [];
  });
  const beginning = beginningOf(all);
  if (beginning === undefined || ends.length === 0) return undefined;
  const shown = reels.filter(({ rendition }) => !rendition.removed);
  return { reels: shown, beginning, end: Math.max(...ends) };
}

function heightOf({ rendition: { track } }: Reel): number {
  return track.kind === "video" ? track.height : 0;
}

/** The picture to be seen `at` this second of the broadcast: a keyframe at or before it, of the smallest rendition that is large enough. */
function shotAt({ reels }: Sight, at: number, height: number | undefined): Shot | undefined {
  const enough = reels.findIndex((one) => height !== undefined && heightOf(one) >= height);
  const order =
    enough < 0 ? reels.toReversed() : [...reels.slice(enough), ...reels.slice(0, enough).reverse()];
  return firstShot(order, at);
}

function firstShot(reels: readonly Reel[], at: number): Shot | undefined {
  for (const reel of reels) {
    const row = rowAt(reel.rows, at * reel.rendition.shown.timescale);
    if (row) return { ...reel, row };
  }
  return undefined;
}

/** The last segment that begins with a keyframe by this tick, else the first one of all. */
function rowAt(rows: readonly Segment[], tick: number): Segment | undefined {
  const after = firstOf(rows.length, (i) => rows[i]!.dts > tick);
  for (let i = after - 1; i >= 0; i--) if (startsPicture(rows[i]!)) return rows[i];
  return rows.find(startsPicture);
}

function startsPicture({ gap, independent, keyBytes }: Segment): boolean {
  return !gap && independent && keyBytes !== undefined;
}

/** Tiles of all of it, `given` seconds or else as far from each other as suits its length. */
function spritesOf(sight: Sight | undefined, given?: number): { sprites: Sprite[]; interval: number } {
  const { reels, beginning, end } = sight ?? { reels: [], beginning: 0, end: 0 };
  const seconds = end - beginning;
  const interval = given ?? intervalOf(seconds);
  const sprites: Sprite[] = [];
  for (let i = 0; i * interval < seconds; i++) {
    const shot = firstShot(reels, beginning + i * interval);
    if (!shot) return { sprites: [], interval };
    const open = sprites.at(-1);
    const last = open?.shots.at(-1);
    const joins =
      open !== undefined &&
      open.shots.length < tilesOfSprite &&
      last?.rendition === shot.rendition &&
      last.row.version === shot.row.version;
    if (joins) open.shots.push(shot);
    else sprites.push({ first: i, shots: [shot] });
  }
  return { sprites, interval };
}

/** Seconds between tiles: a list of some hundred cues, however long it lasts. */
function intervalOf(seconds: number): number {
  if (seconds <= 3_600) return 5;
  return seconds <= 3 * 3_600 ? 10 : 30;
}

function tileOf({ rendition }: Shot): { readonly width: number; readonly height: number } {
  const { track } = rendition;
  const { width, height } = track.kind === "video" ? shownSize(track) : { width: 16, height: 9 };
  return { width: tileWidth, height: Math.max(2, 2 * Math.round((tileWidth * height) / width / 2)) };
}

async function initOf({ rendition, row }: Shot): Promise<Uint8Array> {
  const init = await rendition.init(row.version);
  if (!init) throw new Failure("not_found", noPicture);
  return init.bytes;
}

/** The moof and mdat of a segment's first picture. */
async function pictureOf({ rendition, row }: Shot): Promise<Uint8Array> {
  const part = await rendition.part(row.number, 0, row.version);
  const bytes = part && Buffer.concat(part);
  if (!bytes || row.keyBytes === undefined) throw new Failure("not_found", noPicture);
  return bytes.subarray(0, row.keyBytes);
}

/** The segments from a shot on up to this tick, with their init segment. */
async function stretchOf(shot: Shot, tick: number): Promise<Uint8Array[]> {
  const { rendition, row, rows } = shot;
  const media = [await initOf(shot)];
  let bytes = 0;
  for (const next of rows) {
    if (next.number < row.number) continue;
    if (next.dts >= tick || next.gap || next.version !== row.version || bytes > maxGifBytes) break;
    for (const piece of (await rendition.segment(next.number, next.version)) ?? []) {
      media.push(piece);
      bytes += piece.length;
    }
  }
  return media;
}

/** What a query asks of a thumbnail, or what is wrong with it. */
function thumbnailOf(query: string, form: "jpg" | "gif") {
  const asked = new URLSearchParams(query);
  const size = (name: string): number | undefined => {
    const text = asked.get(name);
    if (text === null) return undefined;
    const value = /^\d{1,4}$/.test(text) ? Number(text) : 0;
    return value >= 16 && value <= most ? value - (value % 2) : Number.NaN;
  };
  const most = form === "gif" ? 640 : 2_000;
  const [width, height] = [size("width"), size("height")];
  if (Number.isNaN(width) || Number.isNaN(height))
    return `\`width\` and \`height\` are pixels, from 16 to ${most}`;
  const time = asked.has("time") ? secondsOf(asked.get("time")!) : undefined;
  if (asked.has("time") && time === undefined)
    return "`time` says which moment is shown: seconds, or like 1h12m27s";
  const fit = (asked.get("fit") ?? "crop") as Fit;
  if (!fits.includes(fit)) return `\`fit\` is one of ${fits.join(", ")}`;
  const duration = secondsOf(asked.get("duration") ?? "5s");
  if (duration === undefined || duration <= 0 || duration > maxGifSeconds)
    return `\`duration\` says how long it moves: like 5s, at most ${maxGifSeconds}s`;
  const fps = Number(/^\d{1,2}$/.test(asked.get("fps") ?? "8") ? (asked.get("fps") ?? 8) : 0);
  if (fps < 1 || fps > 15) return "`fps` is pictures a second, from 1 to 15";
  return { width, height, time, fit, duration, fps };
}
