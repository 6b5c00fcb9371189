import { readdirSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Contents } from "./contents.ts";
import { type Entry, encodeEntry, isLaterEntry, journalHead, type Read, readJournal } from "./journal.ts";
import { fileName, mediaFile } from "./read.ts";
import { MediaFiles } from "./recovery.ts";

/** What is wrong with a recording in its middle, with more behind it that is whole. */
export type Damage =
  /** Parts of media: the journal as it is when their segments are gaps, and how long each file is then. */
  | {
      readonly of: "media";
      readonly parts: number;
      readonly entries: readonly Entry[];
      readonly lengths: ReadonlyMap<string, number>;
    }
  /** The head of a media file, without which none of it can be played. */
  | { readonly of: "head"; readonly name: string }
  | { readonly of: "journal" };

interface Torn {
  parts: number;
  readonly renditions: Set<number>;
  atSeconds: number;
  /** The first file whose head is not whole. */
  head: string | undefined;
}

/** What is damaged within the recording in `folder`; undefined where at most its end is torn. Reads all of it, and changes nothing. */
export function damageOf(folder: string): Damage | undefined {
  const journal = readFileSync(join(folder, "journal"));
  const reads = [...readJournal(journal)];
  if (isLaterEntry(journal, reads.at(-1)?.end ?? journalHead.length) && isLong(folder, reads))
    return { of: "journal" };
  const contents = new Contents();
  const mended: Entry[] = [];
  /** Damage that nothing whole has followed yet, and up to where everything counts. */
  let torn: Torn | undefined;
  let [parts, good] = [0, 0];
  /** Renditions whose pictures need one that is not there, up to the next that needs none. */
  const blind = new Set<number>();
  const media = new MediaFiles(folder, reads);
  try {
    for (const { entry } of reads) {
      const wrong = media.wrong(contents, entry) !== undefined;
      if (entry.type === "file" && wrong) {
        torn ??= { parts: 0, renditions: new Set(), atSeconds: Number.POSITIVE_INFINITY, head: undefined };
        torn.head ??= fileName(entry.name, entry.file);
        torn.renditions.add(entry.rendition);
      }
      const reel = entry.type === "part" ? contents.reels[entry.rendition] : undefined;
      if (entry.type === "part" && reel?.open) {
        const { open, name, file, fileBytes, inits } = reel;
        const atSeconds = (open.dts + open.duration) / inits.at(-1)!.track.timescale;
        if (wrong) {
          torn ??= { parts: 0, renditions: new Set(), atSeconds, head: undefined };
          torn.parts++;
          torn.renditions.add(entry.rendition);
          const crc = media.crcOf(fileName(name, file), fileBytes, entry.byteLength);
          const byteLength = crc === undefined ? 0 : entry.byteLength;
          mended.push({ ...entry, gap: true, byteLength, crc: crc ?? 0, samples: new Uint8Array() });
          if (inits.at(-1)!.track.kind === "video") blind.add(entry.rendition);
        } else if (torn && entry.byteLength > 0) {
          // A moment of another rendition is not worth keeping: that is how an end is torn.
          if (torn.atSeconds === Number.POSITIVE_INFINITY) torn.atSeconds = atSeconds;
          const later = atSeconds >= torn.atSeconds + contents.begin!.targetDuration;
          if (later || (torn.head === undefined && torn.renditions.has(entry.rendition))) {
            if (torn.head !== undefined) return { of: "head", name: torn.head };
            parts += torn.parts;
            torn = undefined;
          }
        }
      }
      if (entry.type === "part" && !wrong) {
        if (entry.independent) blind.delete(entry.rendition);
        const shown = !blind.has(entry.rendition);
        mended.push(shown ? entry : { ...entry, gap: true, samples: new Uint8Array() });
      } else if (entry.type !== "part") mended.push(entry);
      if (!contents.apply(entry)) break;
      if (!torn) good = mended.length;
    }
  } finally {
    media.close();
  }
  if (parts === 0) return undefined;
  // What was made durable stands at other places now.
  const entries = mended.slice(0, good).filter(({ type }) => type !== "durable");
  const lengths = new Map<string, number>();
  const after = new Contents();
  for (const entry of entries) {
    if (entry.type === "file") {
      const before = after.reels[entry.rendition];
      if (before) lengths.set(fileName(before.name, before.file), before.fileBytes);
    }
    after.apply(entry);
  }
  for (const { name, file, fileBytes } of after.reels) lengths.set(fileName(name, file), fileBytes);
  return { of: "media", parts, entries, lengths };
}

/** Whether there is more in the files than the last moments, which a power cut may leave anyhow, behind what the journal has. */
function isLong(folder: string, reads: readonly Read[]): boolean {
  const contents = new Contents();
  for (const { entry } of reads) if (!contents.apply(entry)) break;
  let bytes = 0;
  for (const name of readdirSync(folder))
    if (mediaFile.test(name)) bytes += statSync(join(folder, name)).size;
  const { seconds, begin } = contents;
  // Before the first segment nobody knows how much a second is.
  const perSecond = seconds > 0 ? contents.bytes / seconds : 0;
  return bytes - contents.bytes > perSecond * (begin?.targetDuration ?? 0);
}

/** Makes gaps of damaged media, so that all before and behind them stays. */
export function mendMedia(folder: string, { entries, lengths }: Damage & { of: "media" }): void {
  const path = join(folder, "journal");
  const fresh = `${path}.new`;
  const bytes = Buffer.concat([journalHead, ...entries.map(encodeEntry)]);
  writeFileSync(fresh, bytes, { mode: 0o600, flush: true });
  renameSync(fresh, path);
  for (const [name, length] of lengths) {
    const file = join(folder, name);
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > length) truncateSync(file, length);
  }
}
