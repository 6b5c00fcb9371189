import { Failure } from "../lib/errors.ts";
import { type Fit, fits, type PictureJob, type Pictures } from "../live/pictures.ts";
import type { Programme, Readable } from "../live/programme.ts";
import { type Segment, shownSize } from "../packager/track.ts";
import { cacheControl } from "./caching.ts";
import { beginningOf, secondsOf } from "./clips.ts";
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
interface Shot {
  readonly rendition: Readable;
  readonly row: Segment;
}

/** Tiles that fit into one picture: of one rendition and one init segment. */
interface Sprite {
  readonly first: number;
  readonly shots: Shot[];
}

/** Thumbnails and storyboards of what is on air and what is recorded, made once each when somebody asks. */
export class Thumbnails {
  readonly #pictures: Pictures;
  readonly #kept = new Map<string, Promise<Uint8Array>>();
  #keptBytes = 0;

  constructor(pictures: Pictures) {
    this.#pictures = pictures;
  }

  /** One picture, or one that moves. */
  async thumbnail(exchange: Exchange, programme: Programme, form: "jpg" | "gif"): Promise<void> {
    const asked = thumbnailOf(exchange.query, form);
    if (typeof asked === "string") return refuse(exchange, 400, asked);
    const beginning = beginningOf(programme);
    const end = endOf(programme);
    const live = programme.state !== "ended";
    if (beginning === undefined || end === undefined) return refuse(exchange, 404, noPicture);
    const { time, width, height, fit, duration, fps } = asked;
    // Of what is on air, what is to be seen now.
    const at =
      time === undefined ? (live ? end - (form === "gif" ? duration : 0) : beginning) : beginning + time;
    const shot = at > end ? undefined : shotAt(programme, at, form === "gif" ? (height ?? 200) : height);
    if (!shot) return refuse(exchange, 404, noPicture);
    const { rendition, row } = shot;
    const key = [programme.video, rendition.name, row.version, row.number, form, width, height, fit];
    const job = {
      form,
      width,
      height: width === undefined && form === "gif" ? (height ?? 200) : height,
      fit,
    };
    const settled = time !== undefined || !live;
    if (form === "jpg")
      return this.#answer(exchange, { key: key.join(" "), form, settled }, async () => ({
        ...job,
        media: [await initOf(shot), await pictureOf(shot)],
      }));
    const { timescale } = rendition.shown;
    const from = Math.max(0, at - row.dts / timescale);
    const seconds = Math.min(duration, end - at);
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
    const { sprites, interval, beginning, end } = spritesOf(programme);
    if (sprites.length === 0) return refuse(exchange, 404, noPicture);
    const { epochMs } = sprites[0]!.shots[0]!.rendition.shown;
    let text = `WEBVTT\n\nNOTE start=${new Date(epochMs + beginning * 1000).toISOString()}\n`;
    for (const { first, shots } of sprites) {
      const { width, height } = tileOf(shots[0]!);
      for (let i = 0; i < shots.length; i++) {
        const from = (first + i) * interval;
        const to = Math.min(from + interval, end - beginning);
        const place = `${(i % across) * width},${Math.floor(i / across) * height},${width},${height}`;
        text += `\n${clock(from)} --> ${clock(Math.max(to, from + 0.001))}\n`;
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
    const { sprites } = spritesOf(programme, asked.interval);
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
    let made = this.#kept.get(key);
    if (!made) {
      made = job().then((one) => this.#pictures.make(one));
      this.#keep(key, made);
    }
    let bytes: Uint8Array;
    try {
      bytes = await made;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.code === "limit") return refuse(exchange, 503, error.message, { "retry-after": "2" });
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
    this.#kept.set(key, made);
    made.then(
      ({ length }) => {
        this.#keptBytes += length;
        for (const [old, one] of this.#kept) {
          if (this.#keptBytes <= maxKeptBytes || old === key) break;
          this.#kept.delete(old);
          void one.then((bytes) => {
            this.#keptBytes -= bytes.length;
          });
        }
      },
      () => this.#kept.delete(key),
    );
  }
}

/** Where its newest complete segment ends, in seconds of the broadcast. */
function endOf({ renditions }: Programme): number | undefined {
  const ends = [...renditions.values()].flatMap((rendition) => {
    const last = rendition.rows().at(-1);
    return last && rendition.track.kind === "video"
      ? [(last.dts + last.duration) / rendition.shown.timescale]
      : [];
  });
  return ends.length > 0 ? Math.max(...ends) : undefined;
}

/** Video renditions, the smallest first. */
function smallestFirst({ renditions }: Programme): Readable[] {
  return [...renditions.values()]
    .filter(({ track, removed }) => track.kind === "video" && !removed)
    .sort((a, b) => heightOf(a) - heightOf(b));
}

function heightOf({ track }: Readable): number {
  return track.kind === "video" ? track.height : 0;
}

/** The picture to be seen `at` this second of the broadcast: a keyframe at or before it, of the smallest rendition that is large enough. */
function shotAt(programme: Programme, at: number, height: number | undefined): Shot | undefined {
  const all = smallestFirst(programme);
  const enough = all.findIndex((one) => height !== undefined && heightOf(one) >= height);
  const order = enough < 0 ? all.toReversed() : [...all.slice(enough), ...all.slice(0, enough).reverse()];
  for (const rendition of order) {
    const row = rowAt(rendition.rows(), at * rendition.shown.timescale);
    if (row) return { rendition, row };
  }
  return undefined;
}

/** The last segment that begins with a keyframe by this tick, else the first one of all. */
function rowAt(rows: readonly Segment[], tick: number): Segment | undefined {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle]!.dts <= tick) low = middle + 1;
    else high = middle;
  }
  for (let i = low - 1; i >= 0; i--) if (startsPicture(rows[i]!)) return rows[i];
  return rows.find(startsPicture);
}

function startsPicture({ gap, independent, keyBytes }: Segment): boolean {
  return !gap && independent && keyBytes !== undefined;
}

function spritesOf(programme: Programme, given?: number) {
  const beginning = beginningOf(programme) ?? 0;
  const end = endOf(programme) ?? beginning;
  const seconds = end - beginning;
  const interval = given ?? intervalOf(seconds);
  const sprites: Sprite[] = [];
  const renditions = smallestFirst(programme);
  const lists = renditions.map((rendition) => ({ rendition, rows: rendition.rows() }));
  for (let i = 0; i * interval < seconds; i++) {
    const at = beginning + i * interval;
    let shot: Shot | undefined;
    for (const { rendition, rows } of lists) {
      const row = rowAt(rows, at * rendition.shown.timescale);
      if (row) {
        shot = { rendition, row };
        break;
      }
    }
    if (!shot) return { sprites: [], interval, beginning, end };
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
  return { sprites, interval, beginning, end };
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
  const { rendition, row } = shot;
  const media = [await initOf(shot)];
  let bytes = 0;
  for (const next of rendition.rows()) {
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

/** A time in WebVTT. */
function clock(seconds: number): string {
  const ms = Math.round(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const [h, m, s] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
  return `${two(h)}:${two(m)}:${two(s)}.${String(ms % 1000).padStart(3, "0")}`;
}
