import { open } from "node:fs/promises";
import { join } from "node:path";
import { Failure } from "../lib/errors.ts";
import type { Gap } from "../live/recordings.ts";
import { Contents, type Row } from "./contents.ts";
import { gapsOf } from "./gaps.ts";
import { type Entry, encodeEntry, journalHead, readJournal } from "./journal.ts";
import { type Place, readRange } from "./read.ts";

/** A recording made of a stretch of another one: the same segments under numbers of its own. */
export interface ClipPlan {
  /** Its journal, whole. */
  readonly journal: Uint8Array;
  readonly files: readonly {
    /** Rendition and number of the new file. */
    readonly name: string;
    readonly file: number;
    /** What of the old recording it is made of, in order: init segment first. */
    readonly ranges: readonly Range[];
  }[];
  /** Where it begins, in seconds from the old recording's beginning. */
  readonly startSeconds: number;
  readonly gaps: readonly Gap[];
  readonly seconds: number;
  readonly bytes: number;
}

interface Range {
  readonly name: string;
  readonly file: number;
  readonly offset: number;
  length: number;
}

/** What is copied at a time. */
const pieceBytes = 1 << 20;

/**
 * Plans the clip `video` of the recording that `journal` is of, from `from` to `to` in seconds from its beginning: from the
 * segment with a keyframe at or before `from`, to the one that `to` is in. Undefined where that stretch has nothing.
 */
export function planClip(
  journal: Uint8Array,
  { video, from, to, atMs }: { video: string; from: number; to: number; atMs: number },
): ClipPlan | undefined {
  const source = new Contents();
  const entries: { entry: Entry; row: number }[] = [];
  // Which number the rendition's open segment has.
  const numbers: number[] = [];
  for (const { entry } of readJournal(journal)) {
    if (!source.apply(entry)) break;
    if (entry.type === "open") numbers[entry.rendition] = entry.number;
    if ("rendition" in entry || entry.type === "line")
      entries.push({ entry, row: "rendition" in entry ? (numbers[entry.rendition] ?? -1) : -1 });
  }
  const { begin, reels } = source;
  const reference = source.reel("source") ?? source.reel("audio");
  const range =
    reference && begin && numbersIn(reference.rows, reference.inits[0]!.track.timescale, { from, to });
  if (!range || begin.temporary) return undefined;
  const [first, last] = range;
  const rows = reels.map((reel) => new Map(reel.rows.map((row) => [row.number, row])));
  const inside = (rendition: number, number: number): boolean =>
    number >= first && number <= last && (rows[rendition]?.has(number) ?? false);

  const clip = new Contents();
  const frames: Uint8Array[] = [journalHead];
  const files: { name: string; file: number; ranges: Range[] }[] = [];
  const put = (entry: Entry): void => {
    if (!clip.apply(entry)) throw new Failure("bad_media", `a clip cannot have ${entry.type} here`);
    frames.push(encodeEntry(entry));
  };
  const { timescale } = reference.inits[0]!.track;
  const msOf = (ticks: number): number => (ticks * 1000) / timescale;
  const [start, end] = [first, last].map((number) => reference.rows.find((row) => row.number === number)!);
  const [fromMs, toMs] = [msOf(start!.dts), msOf(end!.dts + end!.duration)];
  const startedMs = Math.round(begin.epochMs + fromMs);
  put({ ...begin, video, startedMs });

  /** By old rendition: its new one, what goes into its newest file, and where the old bytes are. */
  const lanes = reels.map(() => ({
    index: -1,
    file: -1,
    head: undefined as (Entry & { type: "file" }) | undefined,
    written: undefined as (Entry & { type: "file" }) | undefined,
    ranges: [] as Range[],
    at: 0,
  }));
  let indices = 0;
  for (const { entry, row: number } of entries) {
    if (entry.type === "line") {
      if (entry.endMs > fromMs && entry.startMs < toMs) put(entry);
      continue;
    }
    const { rendition } = entry as { readonly rendition: number };
    const lane = lanes[rendition]!;
    const { name } = reels[rendition]!;
    if (entry.type === "file") {
      lane.head = entry;
      lane.at = entry.initBytes;
    } else if (entry.type === "open" && inside(rendition, number)) {
      const head = lane.head!;
      if (lane.written !== head) {
        if (lane.index < 0) lane.index = indices++;
        lane.written = head;
        lane.file++;
        lane.ranges = [{ name, file: head.file, offset: 0, length: head.initBytes }];
        files.push({ name, file: lane.file, ranges: lane.ranges });
        put({ ...head, rendition: lane.index, file: lane.file, discontinuity: entry.discontinuity });
      }
      put({ ...entry, rendition: lane.index, number: number - first + 1 });
    } else if (entry.type === "part") {
      if (inside(rendition, number)) {
        put({ ...entry, rendition: lane.index });
        const before = lane.ranges.at(-1)!;
        const joins = before.file === lane.head!.file && before.offset + before.length === lane.at;
        if (joins) before.length += entry.byteLength;
        else if (entry.byteLength > 0)
          lane.ranges.push({ name, file: lane.head!.file, offset: lane.at, length: entry.byteLength });
      }
      lane.at += entry.byteLength;
    } else if (entry.type === "close" && inside(rendition, number)) put({ ...entry, rendition: lane.index });
    else if (entry.type === "captions" && lane.index >= 0) put({ ...entry, rendition: lane.index });
  }
  put({ type: "end", atMs });
  return {
    ...{ journal: Buffer.concat(frames), files, seconds: clip.seconds, bytes: clip.bytes },
    startSeconds: clip.beginning - source.beginning,
    gaps: gapsOf(clip),
  };
}

/** The numbers of the first and the last segment of the stretch. */
function numbersIn(
  rows: readonly Row[],
  timescale: number,
  { from, to }: { from: number; to: number },
): readonly [number, number] | undefined {
  const zero = rows[0]?.dts ?? 0;
  let first = rows.findIndex(({ dts, duration }) => dts - zero + duration > from * timescale);
  const last = rows.findLast(({ dts, gap }) => dts - zero < to * timescale && !gap);
  if (first < 0 || !last) return undefined;
  while (first > 0 && !rows[first]!.independent && !rows[first]!.gap) first--;
  // Nothing is shown of a gap at the beginning.
  while (first < rows.length && rows[first]!.gap) first++;
  const start = rows[first];
  return start && start.number <= last.number ? [start.number, last.number] : undefined;
}

/** Copies what a clip is made of into `folder`, which is there and empty, and writes its journal last. */
export async function copyClip(plan: ClipPlan, from: Place, folder: string): Promise<void> {
  const write = async (name: string, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
    const file = await open(join(folder, name), "wx", 0o600);
    try {
      for await (const piece of pieces) await file.writeFile(piece);
      await file.datasync();
    } finally {
      await file.close();
    }
  };
  for (const { name, file, ranges } of plan.files) await write(`${name}-${file}.mp4`, piecesOf(from, ranges));
  await write("journal", [plan.journal]);
}

async function* piecesOf(place: Place, ranges: readonly Range[]): AsyncGenerator<Uint8Array> {
  for (const { name, file, offset, length } of ranges)
    for (let at = 0; at < length; at += pieceBytes) {
      const size = Math.min(pieceBytes, length - at);
      const piece = await readRange(place, name, { file, offset: offset + at, length: size });
      if (!piece) throw new Failure("not_found", "These media are not there any more");
      yield piece;
    }
}
