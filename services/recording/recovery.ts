import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { Contents } from "./contents.ts";
import { forgetForwarded, readForwarded } from "./forwarded.ts";
import { type Entry, isJournal, type Read, readJournal } from "./journal.ts";
import { fileName, mediaFile } from "./read.ts";

export interface Recovered {
  readonly contents: Contents;
  /** The last segments of each rendition as they were written, by its index; enough for any playlist. */
  readonly newest: readonly (readonly Written[])[];
  /** Bytes of the journal that count. */
  readonly journalBytes: number;
  /** Why the rest does not count; undefined where nothing is wrong. */
  readonly torn: string | undefined;
}

/** A segment in the words of the journal. */
export interface Written {
  readonly open: Entry & { type: "open" };
  readonly parts: (Entry & { type: "part" })[];
}

const newestSegments = 48;
/** The first entry is shorter. */
const headBytes = 4096;

/**
 * Reads the journal in `folder` up to the first entry that is torn, or whose media are: what was made durable is taken at
 * the journal's word unless `all`, what came after is held against its checksum. Undefined when there is no journal.
 */
export function readRecording(folder: string, { all = false } = {}): Recovered | undefined {
  const path = join(folder, "journal");
  if (!existsSync(path)) return undefined;
  const bytes = readFileSync(path);
  if (!isJournal(bytes)) return undefined;
  const reads = [...readJournal(bytes)];
  const durable = all ? 0 : durableBytes(reads);
  const contents = new Contents();
  const newest: Written[][] = [];
  const media = new MediaFiles(folder, reads);
  try {
    let good = reads[0]?.start ?? bytes.length;
    for (const { entry, start, end } of reads) {
      const wrong = start >= durable ? media.wrong(contents, entry) : undefined;
      if (wrong) return { contents, newest, journalBytes: good, torn: wrong };
      if (!contents.apply(entry))
        return { contents, newest, journalBytes: good, torn: `an entry at byte ${start} cannot follow` };
      remember(newest, entry);
      good = end;
    }
    const torn = good < bytes.length ? `the journal is torn at byte ${good}` : undefined;
    return contents.begin && { contents, newest, journalBytes: good, torn };
  } finally {
    media.close();
  }
}

/** Whether there is more in a recording's folder than heads of files. */
export function hasMedia(folder: string): boolean {
  if (!existsSync(folder)) return false;
  return readdirSync(folder).some(
    (name) => mediaFile.test(name) && statSync(join(folder, name)).size > headBytes,
  );
}

/** What a journal begins with; undefined where there is none. */
export function beginOf(folder: string): (Entry & { type: "begin" }) | undefined {
  let fd: number;
  try {
    fd = openSync(join(folder, "journal"), "r");
  } catch {
    return undefined;
  }
  try {
    const bytes = new Uint8Array(headBytes);
    const read = readSync(fd, bytes);
    const first = readJournal(bytes.subarray(0, read)).next().value?.entry;
    return first?.type === "begin" ? first : undefined;
  } finally {
    closeSync(fd);
  }
}

/** Cuts what does not count off the journal and the media files, so that writing can go on behind it. */
export function truncateRecording(folder: string, { contents, journalBytes }: Recovered): void {
  truncateSync(join(folder, "journal"), journalBytes);
  for (const { name, file, fileBytes } of contents.reels) {
    const path = join(folder, fileName(name, file));
    if (existsSync(path)) truncateSync(path, fileBytes);
  }
  for (const found of readdirSync(folder)) {
    const [, name, number] = mediaFile.exec(found) ?? [];
    if (name === undefined) continue;
    const reel = contents.reel(name);
    if (!reel || Number(number) > reel.file) rmSync(join(folder, found));
  }
  // What is written next may have the name of a file that does not count any more.
  forgetForwarded(folder, (found) => {
    const [, name = "", number] = mediaFile.exec(found) ?? [];
    const newest = contents.reel(name)?.file ?? -1;
    return Number(number) > newest || (Number(number) === newest && existsSync(join(folder, found)));
  });
}

function durableBytes(reads: readonly Read[]): number {
  for (let i = reads.length - 1; i >= 0; i--) {
    const { entry } = reads[i]!;
    if (entry.type === "durable") return entry.upTo;
  }
  return 0;
}

function droppedFiles(reads: readonly Read[]): ReadonlySet<string> {
  const dropped = new Set<string>();
  const names: string[] = [];
  for (const { entry } of reads) {
    if (entry.type === "file") names[entry.rendition] = entry.name;
    else if (entry.type === "drop") dropped.add(fileName(names[entry.rendition] ?? "", entry.file));
  }
  return dropped;
}

function remember(newest: Written[][], entry: Entry): void {
  if (entry.type === "open") {
    newest[entry.rendition] ??= [];
    const list = newest[entry.rendition]!;
    list.push({ open: entry, parts: [] });
    if (list.length > 2 * newestSegments) list.splice(0, newestSegments);
  } else if (entry.type === "part") newest[entry.rendition]?.at(-1)?.parts.push(entry);
}

/** The media files of a recording, read where a checksum is to be held against them. */
export class MediaFiles {
  readonly #folder: string;
  /** Files that are not here, and need not be. */
  readonly #gone: ReadonlySet<string>;
  readonly #open = new Map<string, number>();

  /** Those that the journal of these entries speaks of. */
  constructor(folder: string, journal: readonly Read[]) {
    this.#folder = folder;
    this.#gone = new Set([...droppedFiles(journal), ...readForwarded(folder).files.keys()]);
  }

  /** What is wrong with the bytes that this entry speaks of; undefined when they are as it says. */
  wrong(contents: Contents, entry: Entry): string | undefined {
    if (entry.type === "file") {
      const name = fileName(entry.name, entry.file);
      return this.#matches(name, 0, entry.initBytes, entry.initCrc)
        ? undefined
        : `the head of ${name} is not whole`;
    }
    if (entry.type !== "part" || entry.byteLength === 0) return undefined;
    const reel = contents.reels[entry.rendition];
    if (!reel) return undefined;
    const name = fileName(reel.name, reel.file);
    return this.#matches(name, reel.fileBytes, entry.byteLength, entry.crc)
      ? undefined
      : `${name} is not whole at byte ${reel.fileBytes}`;
  }

  /** Checksum of what is in a file there; undefined where it ends before that, or is not there. */
  crcOf(name: string, offset: number, length: number): number | undefined {
    let fd = this.#open.get(name);
    try {
      if (fd === undefined) {
        fd = openSync(join(this.#folder, name), "r");
        this.#open.set(name, fd);
      }
      const bytes = Buffer.allocUnsafe(length);
      return readSync(fd, bytes, 0, length, offset) === length ? crc32(bytes) : undefined;
    } catch {
      return undefined;
    }
  }

  close(): void {
    for (const fd of this.#open.values()) closeSync(fd);
    this.#open.clear();
  }

  #matches(name: string, offset: number, length: number, crc: number): boolean {
    return this.#gone.has(name) || this.crcOf(name, offset, length) === crc;
  }
}
