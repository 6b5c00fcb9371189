import { firstOf } from "../packager/search.ts";
import type { Line } from "../packager/subtitles.ts";
import type { Part, Segment, Track } from "../packager/track.ts";
import { type Draft, type Entry, readJournal } from "./journal.ts";
import { pictureBytes } from "./samples.ts";

/** A segment as it lies on disk. Its parts are not in memory: `lengths` says where they are. */
export interface Row extends Segment {
  readonly file: number;
  /** Of its first byte in the file. */
  readonly offset: number;
  /** Bytes of each part. */
  readonly lengths: readonly number[];
}

interface Growing extends Row {
  lead?: number | undefined;
  duration: number;
  gap: boolean;
  byteLength: number;
  lengths: number[];
  keyBytes?: number | undefined;
}

/** An init segment: the first `bytes` of its file. */
export interface StoredInit {
  readonly version: number;
  readonly track: Track;
  readonly file: number;
  readonly bytes: number;
}

/** What a recording holds of one rendition. */
export interface Reel {
  readonly name: string;
  /** Its number in the journal. */
  readonly index: number;
  /** Discontinuities of the broadcast before its first segment. */
  readonly discontinuity: number;
  /** The newest of each version. */
  readonly inits: StoredInit[];
  /** Complete segments, oldest first. Numbers may be missing where nothing could be written. */
  readonly rows: Row[];
  open: Growing | undefined;
  /** The newest file and how long it is. */
  file: number;
  fileBytes: number;
  /** Of all files that are there. */
  bytes: number;
  /** Bits per second of the largest segment; seconds and bytes of all that have media. */
  peak: number;
  mediaSeconds: number;
  mediaBytes: number;
  /** Channels of the captions in its pictures. */
  captions: readonly string[];
}

/** Segments that a pause of the writer may leave out: half a day of them. */
const mostMissing = 50_000;

const none: readonly Part[] = Object.freeze([]);

/** What is in the files of one recording: the sum of its journal's entries, the same while it grows as after a restart. */
export class Contents {
  readonly reels: Reel[] = [];
  begin: (Entry & { type: "begin" }) | undefined;
  /** What was said; undefined where nothing was. */
  words: { readonly language: string | undefined; readonly lines: Line[] } | undefined;
  #newest = 0;
  /** When it ended, in milliseconds since 1970; undefined while it may grow. */
  endedMs: number | undefined;

  /** The rendition of that name. */
  reel(name: string): Reel | undefined {
    return this.reels.find((reel) => reel.name === name);
  }

  get bytes(): number {
    return this.reels.reduce((sum, reel) => sum + reel.bytes, 0);
  }

  /** Seconds on the broadcast's clock at which the first of its renditions begins. */
  get beginning(): number {
    const starts = this.reels.flatMap(({ rows, inits }) => {
      const timescale = inits[0]?.track.timescale;
      return rows[0] && timescale ? [rows[0].dts / timescale] : [];
    });
    return starts.length > 0 ? Math.min(...starts) : 0;
  }

  /** Seconds from the first segment's start to the last one's end, of the rendition that lasts longest. */
  get seconds(): number {
    let longest = 0;
    for (const { rows, inits } of this.reels) {
      const [first, last] = [rows[0], rows.at(-1)];
      const timescale = inits[0]?.track.timescale;
      if (first && last && timescale)
        longest = Math.max(longest, (last.dts + last.duration - first.dts) / timescale);
    }
    return longest;
  }

  /** Adds what one more entry says. False when it cannot follow those before it: then it and all after it do not count. */
  apply(entry: Draft): boolean {
    if (entry.type === "begin") {
      if (this.begin) return false;
      this.begin = entry;
      return true;
    }
    if (!this.begin || this.endedMs !== undefined) return false;
    switch (entry.type) {
      case "file":
        return this.#file(entry);
      case "restart":
        for (const reel of this.reels) this.#close(reel);
        return true;
      case "end":
        for (const reel of this.reels) this.#close(reel);
        this.endedMs = entry.atMs;
        return true;
      case "durable":
        return true;
      case "line": {
        const { startMs, endMs, text, pieces, language } = entry;
        this.words ??= { language, lines: [] };
        this.words.lines.push({ startMs, endMs, text, pieces });
        return true;
      }
    }
    const reel = this.reels[entry.rendition];
    if (!reel) return false;
    switch (entry.type) {
      case "open": {
        const { number, discontinuity, version, dts, independent, gap } = entry;
        const last = reel.open ?? reel.rows.at(-1);
        if (last && number <= last.number) return false;
        if (number > this.#newest + mostMissing) return false;
        this.#newest = Math.max(this.#newest, number);
        this.#close(reel);
        reel.open = {
          ...{ number, discontinuity, version, dts, independent, gap },
          ...{ duration: 0, byteLength: 0, parts: none },
          ...{ file: reel.file, offset: reel.fileBytes, lengths: [] },
        };
        return true;
      }
      case "part": {
        const { open } = reel;
        if (!open || open.file !== reel.file) return false;
        open.duration += entry.duration;
        // A segment that lacks a part cannot be had whole.
        open.gap ||= entry.gap;
        open.byteLength += entry.byteLength;
        if (open.lengths.length === 0 && open.independent && reel.inits.at(-1)?.track.kind === "video")
          open.keyBytes = entry.samples ? pictureBytes(entry.samples) : entry.keyBytes;
        open.lengths.push(entry.byteLength);
        reel.fileBytes += entry.byteLength;
        reel.bytes += entry.byteLength;
        return true;
      }
      case "close":
        if (reel.open) reel.open.lead = entry.lead;
        this.#close(reel);
        return true;
      case "captions":
        reel.captions = entry.channels;
        return true;
      case "drop": {
        const left = reel.rows.filter((row) => row.file !== entry.file);
        for (const row of reel.rows) if (row.file === entry.file) reel.bytes -= row.byteLength;
        reel.rows.splice(0, reel.rows.length, ...left);
        return true;
      }
    }
  }

  #file(entry: Draft & { type: "file" }): boolean {
    const { rendition, name, discontinuity, file, initBytes, version, track } = entry;
    let reel = this.reels[rendition];
    if (!reel) {
      if (rendition !== this.reels.length || this.reel(name)) return false;
      reel = {
        ...{ name, index: rendition, discontinuity, inits: [], rows: [], open: undefined },
        ...{ file: -1, fileBytes: 0, bytes: 0, peak: 0, mediaSeconds: 0, mediaBytes: 0, captions: [] },
      };
      this.reels.push(reel);
    }
    if (reel.name !== name || file <= reel.file) return false;
    this.#close(reel);
    reel.file = file;
    reel.fileBytes = initBytes;
    reel.bytes += initBytes;
    const init = { version, track, file, bytes: initBytes };
    const known = reel.inits.findIndex((one) => one.version === version);
    if (known < 0) reel.inits.push(init);
    else reel.inits[known] = init;
    return true;
  }

  #close(reel: Reel): void {
    const row = reel.open;
    reel.open = undefined;
    if (!row || row.lengths.length === 0) return;
    reel.rows.push(row);
    if (row.byteLength === 0) return;
    const seconds = row.duration / reel.inits.at(-1)!.track.timescale;
    reel.mediaSeconds += seconds;
    reel.mediaBytes += row.byteLength;
    if (seconds > 0) reel.peak = Math.max(reel.peak, (row.byteLength * 8) / seconds);
  }
}

/** How long others wait for a journal that is read: of half a day it has a million entries. */
const turnMs = 4;

/** What a journal says, media unseen, read in turns with whatever else this process does. */
export async function contentsOf(journal: Uint8Array): Promise<Contents> {
  const contents = new Contents();
  let from = performance.now();
  let count = 0;
  for (const { entry } of readJournal(journal)) {
    if (!contents.apply(entry)) break;
    if (++count % 64 > 0 || performance.now() - from < turnMs) continue;
    await new Promise((resolve) => setImmediate(resolve));
    from = performance.now();
  }
  return contents;
}

/** The segment of this number; undefined when the recording lacks it. */
export function rowOf({ rows }: Reel, number: number): Row | undefined {
  const row = rows[firstOf(rows.length, (i) => rows[i]!.number >= number)];
  return row?.number === number ? row : undefined;
}
