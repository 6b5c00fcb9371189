import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { configOf, trackOf } from "../packager/codec/codec.ts";
import { Fmp4Reader } from "../packager/fmp4.ts";
import type { Track } from "../packager/track.ts";
import { type Entry, encodeEntry, journalHead } from "./journal.ts";
import { mediaFile } from "./read.ts";
import { chunkTime, mapSamples, readSamples } from "./samples.ts";

/** A chunk in its file; ticks are of the rendition. */
interface Found {
  readonly file: number;
  readonly offset: number;
  readonly bytes: number;
  readonly dts: number;
  readonly duration: number;
  readonly lead: number;
  readonly key: boolean;
}

interface MediaFile {
  readonly file: number;
  readonly init: Uint8Array;
  readonly track: Track;
  readonly chunks: readonly Found[];
}

interface Part {
  readonly number: number;
  readonly discontinuity: number;
  readonly chunks: Found[];
}

const no = "0".repeat(32);
/** As in the profile that most broadcasts have: at the first keyframe from here on. */
const minSeconds = 1;
/** A segment has an end, also where no keyframe comes. */
const maxSeconds = 10;
const headBytes = 1 << 20;
const chunkBytes = 64 << 20;

/**
 * Writes the journal of a recording anew from its media files alone. Segments are cut again at keyframes, so their numbers
 * are those of before only where nothing was missing; what a file ends with that is no whole chunk is cut off. `known` is how
 * it began, where that can still be read. False when there are no media.
 */
export function rebuildJournal(
  folder: string,
  video: string,
  known?: (Entry & { type: "begin" }) | undefined,
): boolean {
  const renditions = mediaOf(folder);
  const reference = renditions.get("source") ?? renditions.get("audio") ?? [...renditions.values()][0];
  const timescale = reference?.[0]?.track.timescale;
  if (!reference || timescale === undefined) return false;
  const segments = cut(reference, timescale);
  if (segments.length === 0) return false;
  const starts = segments.map(({ chunks, discontinuity }) => ({
    at: chunks[0]!.dts / timescale,
    discontinuity,
  }));
  const longest = Math.max(...segments.map(({ chunks }) => secondsOf(chunks, timescale)));
  const [first, last] = [segments[0]!, segments.at(-1)!];
  const seconds = last.chunks.at(-1)!.dts / timescale - first.chunks[0]!.dts / timescale;
  const endMs = Math.round(statSync(join(folder, fileOf(renditions, reference, last))).mtimeMs);
  const startedMs = Math.max(0, Math.round(endMs - seconds * 1000));
  const target = Math.max(1, Math.round(longest));
  const journal = new JournalFile(join(folder, "journal"));
  journal.put({
    ...{ type: "begin", video, input: known?.input ?? no, startedMs: known?.startedMs ?? startedMs },
    epochMs: known?.epochMs ?? startedMs - starts[0]!.at * 1000,
    ...{ targetDuration: Math.max(target, known?.targetDuration ?? 0), partTarget: target, temporary: false },
  });
  for (const [rendition, [name, files]] of [...renditions].entries())
    put(journal, folder, {
      rendition,
      name,
      files,
      parts: files === reference ? segments : fitted(files, starts),
    });
  journal.put({ type: "durable", upTo: journal.length });
  journal.put({ type: "end", atMs: endMs });
  journal.close();
  return true;
}

function put(
  journal: JournalFile,
  folder: string,
  {
    rendition,
    name,
    files,
    parts,
  }: { rendition: number; name: string; files: readonly MediaFile[]; parts: readonly Part[] },
): void {
  let next = 0;
  for (const { file, init, track } of files) {
    const { discontinuity } = parts[next] ?? { discontinuity: 0 };
    const [initBytes, initCrc] = [init.length, crc32(init)];
    journal.put({
      ...{ type: "file", rendition, name, file, version: versionOf(files, file), initBytes, initCrc },
      discontinuity,
      track,
    });
    const fd = openSync(join(folder, `${name}-${file}.mp4`), "r");
    for (; parts[next]?.chunks[0]?.file === file; next++) {
      const { number, discontinuity: breaks, chunks } = parts[next]!;
      const [head, tail] = [chunks[0]!, chunks.at(-1)!];
      const bytes = read(fd, head.offset, tail.offset + tail.bytes - head.offset);
      const independent = head.key;
      const { dts } = head;
      journal.put({
        ...{ type: "open", rendition, number, discontinuity: breaks, dts, independent, gap: false },
        version: versionOf(files, file),
      });
      const samples = mapSamples(bytes) ?? new Uint8Array();
      const duration = tail.dts + tail.duration - dts;
      journal.put({
        ...{ type: "part", rendition, duration, independent, gap: false, samples },
        byteLength: bytes.length,
        crc: crc32(bytes),
      });
      journal.put({ type: "close", rendition, lead: head.lead });
    }
    closeSync(fd);
  }
}

/** Files with the same init are of one version. */
function versionOf(files: readonly MediaFile[], file: number): number {
  const own = files.find((one) => one.file === file)!;
  return files.findIndex(({ init }) => Buffer.compare(init, own.init) === 0);
}

/** Cuts the rendition that has the numbers. */
function cut(files: readonly MediaFile[], timescale: number): Part[] {
  const parts: Part[] = [];
  let discontinuity = 0;
  let before: Found | undefined;
  for (const chunk of files.flatMap(({ chunks }) => chunks)) {
    const open = parts.at(-1);
    const broken = before !== undefined && before.dts + before.duration !== chunk.dts;
    if (broken) discontinuity++;
    const seconds = open ? (chunk.dts - open.chunks[0]!.dts) / timescale : 0;
    const ends =
      !open ||
      broken ||
      before?.file !== chunk.file ||
      (chunk.key && seconds >= minSeconds) ||
      seconds >= maxSeconds;
    if (ends) parts.push({ number: parts.length + 1, discontinuity, chunks: [chunk] });
    else open.chunks.push(chunk);
    before = chunk;
  }
  return parts;
}

/** Cuts another rendition where that one was: each chunk goes where its middle lies. */
function fitted(
  files: readonly MediaFile[],
  starts: readonly { at: number; discontinuity: number }[],
): Part[] {
  const parts: Part[] = [];
  let at = 0;
  for (const { chunks, track, file } of files)
    for (const chunk of chunks) {
      const middle = (chunk.dts + chunk.duration / 2) / track.timescale;
      while (starts[at + 1] && starts[at + 1]!.at <= middle) at++;
      const open = parts.at(-1);
      if (open?.number === at + 1 && open.chunks[0]!.file === file) open.chunks.push(chunk);
      // A number is used once: what begins a file in mid-segment is not listed.
      else if (open?.number !== at + 1)
        parts.push({ number: at + 1, discontinuity: starts[at]!.discontinuity, chunks: [chunk] });
    }
  return parts;
}

function secondsOf(chunks: readonly Found[], timescale: number): number {
  const last = chunks.at(-1)!;
  return (last.dts + last.duration - chunks[0]!.dts) / timescale;
}

function fileOf(
  renditions: ReadonlyMap<string, readonly MediaFile[]>,
  files: readonly MediaFile[],
  part: Part,
): string {
  const [name] = [...renditions].find(([, found]) => found === files)!;
  return `${name}-${part.chunks[0]!.file}.mp4`;
}

/** Every media file that has a head, by rendition, in the order of their numbers. Ends that are torn are cut off. */
function mediaOf(folder: string): Map<string, MediaFile[]> {
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
    let at = 0;
    for (let type = ""; type !== "moov"; ) {
      const box = boxAt(fd, at, size);
      if (!box || box.end > headBytes) return undefined;
      ({ type } = box);
      at = box.end;
    }
    const init = read(fd, 0, at);
    const chunks: Found[] = [];
    for (;;) {
      const moof = boxAt(fd, at, size);
      const mdat = moof?.type === "moof" ? boxAt(fd, moof.end, size) : undefined;
      if (mdat?.type !== "mdat" || mdat.end - at > chunkBytes) break;
      const bytes = read(fd, at, mdat.end - at);
      const map = mapSamples(bytes);
      const samples = map && readSamples(map);
      const dts = chunkTime(bytes);
      if (!samples?.[0] || dts === undefined) break;
      const duration = samples.reduce((sum, sample) => sum + sample.duration, 0);
      const lead = Math.min(...samples.map(({ shift }) => shift));
      chunks.push({ file, offset: at, bytes: bytes.length, dts, duration, lead, key: samples[0].key });
      at = mdat.end;
    }
    const firstChunk = chunks[0];
    if (!firstChunk) return undefined;
    if (at < size) truncateSync(path, at);
    const track = trackIn(init, read(fd, firstChunk.offset, firstChunk.bytes));
    return track && { file, init, track, chunks };
  } finally {
    closeSync(fd);
  }
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
  if (at + 8 > size) return undefined;
  const head = read(fd, at, 8);
  const end = at + head.readUInt32BE(0);
  return end >= at + 8 && end <= size ? { type: head.toString("latin1", 4, 8), end } : undefined;
}

function read(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, at);
  return bytes;
}

/** A journal that is there whole when it is closed, and not before. */
class JournalFile {
  length = 0;
  readonly #path: string;
  readonly #fd: number;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(`${path}.new`, "w", 0o600);
    this.#write(journalHead);
  }

  put(entry: Entry): void {
    this.#write(encodeEntry(entry));
  }

  close(): void {
    fsyncSync(this.#fd);
    closeSync(this.#fd);
    renameSync(`${this.#path}.new`, this.#path);
  }

  #write(bytes: Uint8Array): void {
    this.length += writeSync(this.#fd, bytes);
  }
}
