import { closeSync, fstatSync, openSync, readdirSync, readSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { configOf, trackOf } from "../packager/codec/codec.ts";
import { Fmp4Reader } from "../packager/fmp4.ts";
import type { Track } from "../packager/track.ts";
import { mediaFile } from "./read.ts";
import { chunkTime, mapSamples, readSamples } from "./samples.ts";

/** A chunk in its file, or bytes that are none; ticks are of the rendition. */
export interface Found {
  readonly file: number;
  readonly offset: number;
  readonly bytes: number;
  readonly dts: number;
  readonly duration: number;
  readonly lead: number;
  readonly key: boolean;
  /** Nothing can be shown of it: it is damaged, or a picture that needs what is. */
  readonly lost: boolean;
}

export interface MediaFile {
  readonly file: number;
  readonly init: Uint8Array;
  readonly track: Track;
  readonly chunks: readonly Found[];
}

const headBytes = 1 << 20;
const chunkBytes = 64 << 20;
const moofBytes = 1 << 20;
/** What is read at a time where a chunk is sought, and the longest damage that is one piece. */
const pieceBytes = 1 << 20;
const pieceSeconds = 0.1;
/** Chunks follow each other to the tick, but for a rung's rounding. */
const slackSeconds = 0.2;

/** Every media file that has a head, by rendition, in the order of their numbers. Ends that are torn are cut off; what is damaged before that is said. */
export function mediaOf(folder: string): Map<string, MediaFile[]> {
  const found: { name: string; file: number }[] = [];
  for (const entry of readdirSync(folder)) {
    const [, name, number] = mediaFile.exec(entry) ?? [];
    if (name !== undefined) found.push({ name, file: Number(number) });
  }
  found.sort((a, b) => a.name.localeCompare(b.name) || a.file - b.file);
  const renditions = new Map<string, MediaFile[]>();
  for (const { name, file } of found) {
    const media = mediaFileOf(join(folder, `${name}-${file}.mp4`), file);
    if (media) renditions.set(name, [...(renditions.get(name) ?? []), media]);
  }
  return renditions;
}

function mediaFileOf(path: string, file: number): MediaFile | undefined {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const head = headOf(fd, size);
    if (head === undefined) return undefined;
    const init = read(fd, 0, head);
    const all: Found[] = [];
    let at = head;
    for (let chunk = chunkAt(fd, { file, at, size }); ; chunk = chunkAt(fd, { file, at, size })) {
      if (!chunk) {
        const next = nextChunk(fd, { file, at: at + 1, size });
        if (next === undefined) break;
        for (; at < next; at = Math.min(next, at + pieceBytes)) all.push(damageAt(file, at, next));
      } else {
        all.push(chunk);
        at += chunk.bytes;
      }
    }
    const good = all.find(({ lost }) => !lost);
    if (!good) {
      // One that was begun when everything stopped.
      if (head === size) rmSync(path);
      return undefined;
    }
    const track = trackIn(init, read(fd, good.offset, good.bytes));
    if (!track) return undefined;
    const chunks = timed(all, track);
    const last = chunks.at(-1)!;
    if (last.offset + last.bytes < size) truncateSync(path, last.offset + last.bytes);
    return { file, init, track, chunks };
  } finally {
    closeSync(fd);
  }
}

function damageAt(file: number, offset: number, end: number): Found {
  const bytes = Math.min(pieceBytes, end - offset);
  return { file, offset, bytes, dts: 0, duration: 0, lead: 0, key: false, lost: true };
}

/** Where the init segment ends; undefined where there is none. */
function headOf(fd: number, size: number): number | undefined {
  let at = 0;
  for (let type = ""; type !== "moov"; ) {
    const box = boxAt(fd, at, size);
    if (!box || box.end > headBytes) return undefined;
    ({ type } = box);
    at = box.end;
  }
  return at;
}

interface Spot {
  readonly file: number;
  readonly at: number;
  readonly size: number;
}

function chunkAt(fd: number, { file, at, size }: Spot): Found | undefined {
  const moof = boxAt(fd, at, size);
  if (moof?.type !== "moof" || moof.end - at > moofBytes) return undefined;
  const mdat = boxAt(fd, moof.end, size);
  if (mdat?.type !== "mdat" || mdat.end - at > chunkBytes) return undefined;
  const bytes = read(fd, at, mdat.end - at);
  const map = mapSamples(bytes);
  const samples = map && readSamples(map);
  const dts = chunkTime(bytes);
  if (!samples?.[0] || dts === undefined) return undefined;
  const duration = samples.reduce((sum, sample) => sum + sample.duration, 0);
  const lead = Math.min(...samples.map(({ shift }) => shift));
  return { file, offset: at, bytes: bytes.length, dts, duration, lead, key: samples[0].key, lost: false };
}

/** Where the next whole chunk begins, from byte `at` on. */
function nextChunk(fd: number, { file, at, size }: Spot): number | undefined {
  // Of a box, the type comes after its length.
  for (let from = at + 4; from < size; from += pieceBytes) {
    const piece = read(fd, from, Math.min(pieceBytes + 3, size - from));
    for (let found = piece.indexOf("moof"); found >= 0; found = piece.indexOf("moof", found + 1))
      if (chunkAt(fd, { file, at: from + found - 4, size })) return from + found - 4;
  }
  return undefined;
}

/** Gives damage its time, and takes chunks for damage whose time is not between that of their neighbours. Damage at the end is left out. */
function timed(all: readonly Found[], track: Track): Found[] {
  const slack = slackSeconds * track.timescale;
  const good: (Found | undefined)[] = [];
  let end = Number.NEGATIVE_INFINITY;
  for (const [i, chunk] of all.entries()) {
    // Whether it is damaged, its neighbour does not say.
    const next = all[i + 1]?.lost === false ? all[i + 1] : undefined;
    const isBefore = chunk.dts < end - slack;
    const isAhead = next && next.dts < chunk.dts + chunk.duration - slack && next.dts >= end - slack;
    good.push(chunk.lost || isBefore || isAhead ? undefined : chunk);
    if (good.at(-1)) end = chunk.dts + chunk.duration;
  }
  const chunks: Found[] = [];
  for (let i = 0; i < all.length; ) {
    const chunk = good[i];
    if (chunk) {
      chunks.push(chunk);
      i++;
      continue;
    }
    let until = i;
    while (until < all.length && !good[until]) until++;
    const next = good[until];
    if (!next) break;
    const before = chunks.at(-1);
    const from = before ? before.dts + before.duration : next.dts;
    chunks.push(...spread(all.slice(i, until), { from, ticks: Math.max(0, next.dts - from), track }));
    i = until;
  }
  let lost = false;
  return chunks.map((chunk) => {
    // Sound needs nothing before it.
    lost = track.kind === "video" && (chunk.lost || (lost && !chunk.key));
    return lost ? { ...chunk, lost } : chunk;
  });
}

/** Divides so many ticks of damage among its bytes, in pieces that segments can be cut at. */
function spread(
  damage: readonly Found[],
  { from, ticks, track }: { from: number; ticks: number; track: Track },
): Found[] {
  const bytes = damage.reduce((sum, one) => sum + one.bytes, 0);
  const { file, offset } = damage[0]!;
  const count = Math.min(
    bytes,
    Math.max(Math.ceil(ticks / (pieceSeconds * track.timescale)), Math.ceil(bytes / pieceBytes), 1),
  );
  const at = (i: number, all: number): number => Math.floor((all * i) / count);
  return Array.from({ length: count }, (_, i) => ({
    ...{ file, offset: offset + at(i, bytes), bytes: at(i + 1, bytes) - at(i, bytes) },
    ...{ dts: from + at(i, ticks), duration: at(i + 1, ticks) - at(i, ticks) },
    ...{ lead: 0, key: false, lost: true },
  }));
}

/** The track of a file, from its head and, where that does not say enough, from its first frame. */
function trackIn(init: Uint8Array, chunk: Uint8Array): Track | undefined {
  try {
    const reader = new Fmp4Reader();
    const events = [...reader.push(init), ...reader.push(chunk)];
    for (const event of events) {
      if (event.type !== "sample") continue;
      const { entry, config, timescale } = event.sample.track;
      const own = config.length > 0 ? config : configOf(entry, event.sample.data, undefined);
      return own && ({ ...trackOf(entry, own, {}), timescale } as Track);
    }
    return undefined;
  } catch {
    return undefined;
  }
}

function boxAt(fd: number, at: number, size: number): { type: string; end: number } | undefined {
  if (at < 0 || at + 8 > size) return undefined;
  const head = read(fd, at, 8);
  const end = at + head.readUInt32BE(0);
  return end >= at + 8 && end <= size ? { type: head.toString("latin1", 4, 8), end } : undefined;
}

/** Bytes of a file that has them. */
export function read(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, at);
  return bytes;
}
