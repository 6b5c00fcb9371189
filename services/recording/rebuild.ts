import { closeSync, fsyncSync, openSync, renameSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { type Entry, encodeEntry, journalHead } from "./journal.ts";
import { type Found, type MediaFile, mediaOf, read } from "./salvage.ts";
import { mapSamples } from "./samples.ts";

interface Part {
  readonly number: number;
  readonly discontinuity: number;
  /** In ticks: where its first chunk begins, or would where that is damaged. */
  readonly at: number;
  readonly chunks: Found[];
}

interface Start {
  readonly number: number;
  readonly discontinuity: number;
  readonly at: number;
}

const no = "0".repeat(32);
/** As in the profile that most broadcasts have: at the first keyframe from here on. */
const minSeconds = 1;
/** A segment has an end, also where no keyframe comes. */
const maxSeconds = 10;
/** Numbers that one hole takes: more than half a day of them are none. */
const mostMissing = 40_000;

/**
 * Writes the journal of a recording anew from its media files alone. Segments are cut again at keyframes, so their numbers
 * are those of before only where nothing was missing. What is no whole chunk is a gap, and cut off where a file ends with it.
 * `known` is how it began, where that can still be read. False when there are no media.
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
  const starts = startsOf(segments, timescale);
  const [first, last] = [segments[0]!, segments.at(-1)!];
  const seconds = last.chunks.at(-1)!.dts / timescale - first.chunks[0]!.dts / timescale;
  const endMs = Math.round(statSync(join(folder, fileOf(renditions, reference, last))).mtimeMs);
  const startedMs = Math.max(0, Math.round(endMs - seconds * 1000));
  const longest = segments.reduce((most, { chunks }) => Math.max(most, secondsOf(chunks, timescale)), 0);
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
      const { key, dts, lead } = chunks[0]!;
      journal.put({
        ...{ type: "open", rendition, number, discontinuity: breaks, dts, independent: key, gap: false },
        version: versionOf(files, file),
      });
      for (const run of runsOf(chunks)) {
        const [head, tail] = [run[0]!, run.at(-1)!];
        const bytes = read(fd, head.offset, tail.offset + tail.bytes - head.offset);
        const { lost: gap, key: independent } = head;
        journal.put({
          ...{ type: "part", rendition, duration: tail.dts + tail.duration - head.dts, independent, gap },
          samples: (gap ? undefined : mapSamples(bytes)) ?? new Uint8Array(),
          ...{ byteLength: bytes.length, crc: crc32(bytes) },
        });
      }
      journal.put({ type: "close", rendition, lead });
    }
    closeSync(fd);
  }
}

/** What of a segment is there, and what is not, by turns. */
function runsOf(chunks: readonly Found[]): Found[][] {
  const runs: Found[][] = [];
  for (const chunk of chunks) {
    const run = runs.at(-1);
    // Damage is read a piece at a time.
    if (run && !chunk.lost && !run[0]!.lost) run.push(chunk);
    else runs.push([chunk]);
  }
  return runs;
}

/** Files with the same init are of one version. */
function versionOf(files: readonly MediaFile[], file: number): number {
  const own = files.find((one) => one.file === file)!;
  return files.findIndex(({ init }) => Buffer.compare(init, own.init) === 0);
}

/** Cuts the rendition that has the numbers. */
function cut(files: readonly MediaFile[], timescale: number): Part[] {
  const chunks = files.flatMap((file) => file.chunks);
  const lengths = partsOf(chunks, { timescale, usual: maxSeconds })
    .filter((part) => part.chunks.every(({ lost }) => !lost))
    .map((part) => secondsOf(part.chunks, timescale))
    .sort((a, b) => a - b);
  return partsOf(chunks, { timescale, usual: lengths[lengths.length >> 1] || maxSeconds });
}

/** `usual` are the seconds of a segment: where nobody knows where they were cut, they are taken to have been as long. */
function partsOf(
  chunks: readonly Found[],
  { timescale, usual }: { timescale: number; usual: number },
): Part[] {
  const parts: Part[] = [];
  let discontinuity = 0;
  let number = 0;
  const begin = (chunk: Found, at = chunk.dts): void => {
    parts.push({ number: ++number, discontinuity, at, chunks: [chunk] });
  };
  for (let i = 0; i < chunks.length; i++) {
    const chunk = chunks[i]!;
    const open = parts.at(-1);
    const before = chunks[i - 1];
    const start = open ? open.chunks[0]!.dts : chunk.dts;
    const seconds = (chunk.dts - start) / timescale;
    const broken = before !== undefined && before.dts + before.duration !== chunk.dts;
    if (broken) {
      discontinuity++;
      number += Math.min(mostMissing, Math.max(1, Math.round(seconds / usual))) - 1;
    }
    const elsewhere = broken || before?.file !== chunk.file;
    if (chunk.lost) {
      // Up to the next picture that needs none, with what the segment began with.
      const stop = chunks.findIndex(
        ({ lost, key, file }, at) => at > i && (file !== chunk.file || (key && !lost)),
      );
      const damaged = chunks.slice(i, stop < 0 ? chunks.length : stop);
      const all = elsewhere || !open ? damaged : [...open.chunks, ...damaged];
      if (!elsewhere && open) number = parts.pop()!.number - 1;
      const last = all.at(-1)!;
      const ticks = last.dts + last.duration - all[0]!.dts;
      const slots = Math.max(1, Math.round(ticks / timescale / usual));
      let slot = -1;
      for (const one of all) {
        const at = Math.floor(((one.dts - all[0]!.dts) * slots) / ticks) || 0;
        if (at > slot) begin(one, all[0]!.dts + (at * ticks) / slots);
        else parts.at(-1)!.chunks.push(one);
        slot = Math.max(slot, at);
      }
      i += damaged.length - 1;
      continue;
    }
    const ends =
      !open || elsewhere || before?.lost || (chunk.key && seconds >= minSeconds) || seconds >= maxSeconds;
    if (ends) begin(chunk);
    else open.chunks.push(chunk);
  }
  return parts;
}

/** Where every number begins, in seconds: of those that have nothing, in even steps. */
function startsOf(parts: readonly Part[], timescale: number): Start[] {
  return parts.flatMap(({ number, discontinuity, at }, i) => {
    const next = parts[i + 1];
    const count = next ? next.number - number : 1;
    const step = next ? (next.at - at) / count : 0;
    return Array.from({ length: count }, (_, k) => ({
      ...{ number: number + k, discontinuity },
      at: (at + k * step) / timescale,
    }));
  });
}

/** Cuts another rendition where that one was: each chunk goes where its middle lies. */
function fitted(files: readonly MediaFile[], starts: readonly Start[]): Part[] {
  const parts: Part[] = [];
  let at = 0;
  for (const { chunks, track, file } of files)
    for (const chunk of chunks) {
      const middle = (chunk.dts + chunk.duration / 2) / track.timescale;
      while (starts[at + 1] && starts[at + 1]!.at <= middle) at++;
      const { number, discontinuity } = starts[at]!;
      const open = parts.at(-1);
      if (open && open.chunks[0]!.file === file && open.number >= number) open.chunks.push(chunk);
      // A number is used once: what begins a file in mid-segment is of the next one.
      else {
        const own = Math.max(number, (open?.number ?? 0) + 1);
        parts.push({ number: own, discontinuity, at: chunk.dts, chunks: [chunk] });
      }
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
