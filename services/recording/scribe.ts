import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { messageOf } from "../lib/errors.ts";
import type { Files } from "./files.ts";
import { type Draft, type Entry, encodeEntry, journalHead } from "./journal.ts";
import { mapSamples } from "./samples.ts";

/** How often what was written is made to survive a power cut: after each segment, after each part, or by the system alone. */
export type Durability = "segment" | "part" | "none";

/** Entries of one recording that belong together, with the bytes that they speak of, one after the other. */
export interface Job {
  readonly tape: number;
  readonly ticket: number;
  /** Where the recording's files are. */
  readonly folder: string;
  /** A file that exists while the recording may grow. */
  readonly marker: string;
  /** Nobody needs it after this process, or after its broadcast. */
  readonly temporary: boolean;
  readonly items: readonly Draft[];
  readonly bytes: Uint8Array;
}

/** What the thread says: how far it is, which recording it had to give up, and which ones are closed for good. */
export type Said =
  | { readonly type: "written"; readonly ticket: number }
  | { readonly type: "failed"; readonly tape: number; readonly why: string }
  | { readonly type: "durable"; readonly tape: number; readonly bytes: number }
  | { readonly type: "closed"; readonly tape: number };

interface Media {
  readonly fd: number;
  readonly path: string;
  length: number;
  /** How much of it the journal speaks of. */
  told: number;
}

interface Reeling {
  readonly folder: string;
  readonly marker: string;
  readonly temporary: boolean;
  journal: Media | undefined;
  /** How much of the journal is as it was written: what a disk that refused has left behind it does not count. */
  journalBytes: number | undefined;
  /** Files that may have more than the journal says, since the disk refused. */
  tails: readonly Media[];
  readonly media: Map<number, Media>;
  /** Files that another has followed, until they are synced. */
  readonly full: Media[];
  newFiles: boolean;
  /** The folder itself and the marker are new. */
  newFolder: boolean;
  failed: boolean;
  syncing: boolean;
  /** The last entry, held until everything before it is on the platter. */
  end: Entry | undefined;
}

/**
 * Writes recordings, on a thread of its own: synchronously, so that the order is that of the jobs, while at most one
 * sync is under way and nothing waits for it.
 */
export class Scribe {
  readonly #files: Files;
  readonly #durability: Durability;
  readonly #say: (said: Said) => void;
  readonly #tapes = new Map<number, Reeling>();
  /** Recordings with something to sync, in the order in which they asked. */
  readonly #unsynced = new Set<number>();
  #running = false;

  constructor(files: Files, durability: Durability, say: (said: Said) => void) {
    this.#files = files;
    this.#durability = durability;
    this.#say = say;
  }

  take(job: Job): void {
    if (job.items.length > 0) this.#carryOut(job);
    this.#say({ type: "written", ticket: job.ticket });
  }

  #carryOut(job: Job): void {
    let tape = this.#tapes.get(job.tape);
    const first = job.items[0]?.type;
    try {
      if (!tape || (tape.failed && (first === "begin" || first === "restart")))
        tape = this.#open(job, first === "begin");
      if (tape.failed) return;
      this.#write(tape, job);
    } catch (error) {
      if (tape) this.#give(tape);
      this.#say({ type: "failed", tape: job.tape, why: messageOf(error) });
      return;
    }
    if (!tape.end && (tape.temporary || !this.#wantsSync(job))) return;
    this.#unsynced.add(job.tape);
    void this.#sync();
  }

  #wantsSync({ items }: Job): boolean {
    if (this.#durability === "none") return false;
    const after = this.#durability === "part" ? "part" : "close";
    return items.some(({ type }) => type === after);
  }

  #open(job: Job, anew: boolean): Reeling {
    const before = this.#tapes.get(job.tape);
    const tape: Reeling = {
      ...{ folder: job.folder, marker: job.marker, temporary: job.temporary, journal: undefined },
      ...{ journalBytes: anew ? undefined : before?.journalBytes, tails: before?.tails ?? [] },
      ...{ media: new Map(), full: [] },
      ...{ newFiles: true, newFolder: anew, failed: true, syncing: false, end: undefined },
    };
    this.#tapes.set(job.tape, tape);
    const path = join(job.folder, "journal");
    if (anew) {
      this.#files.makeFolder(job.folder);
      this.#files.touch(job.marker);
    }
    const journal = { fd: this.#files.open(path, anew ? "w" : "r+"), path, length: 0, told: 0 };
    try {
      for (const tail of tape.tails) this.#cut(tail);
      if (anew) this.#append(journal, journalHead);
      else if (tape.journalBytes !== undefined) this.#writeAgain(journal, tape.journalBytes);
      else journal.length = this.#files.size(journal.fd);
    } catch (error) {
      this.#files.close(journal.fd);
      throw error;
    }
    tape.journal = journal;
    tape.journalBytes = journal.length;
    tape.tails = [];
    tape.failed = false;
    return tape;
  }

  /** Takes off a file what the journal does not have. */
  #cut({ path, told }: Media): void {
    if (told === 0) return this.#files.remove(path);
    const fd = this.#files.open(path, "r+");
    try {
      if (this.#files.size(fd) > told) this.#files.truncate(fd, told);
    } finally {
      this.#files.close(fd);
    }
  }

  /**
   * Writes a journal over itself after the disk refused to go on with it, and cuts off what is behind: a failed sync may have
   * dropped pages that later syncs take for written, and a failed write may have left half an entry.
   */
  #writeAgain(journal: Media, bytes: number): void {
    const whole = this.#files.read(journal.fd, bytes);
    if (whole.length < bytes) throw new Error("the journal cannot be read back");
    this.#files.write(journal.fd, whole, 0);
    this.#files.truncate(journal.fd, bytes);
    journal.length = bytes;
  }

  #write(tape: Reeling, { items, bytes }: Job): void {
    const frames: Uint8Array[] = [];
    let at = 0;
    const take = (length: number): Uint8Array => {
      at += length;
      return bytes.subarray(at - length, at);
    };
    for (const item of items) {
      switch (item.type) {
        case "file": {
          const init = take(item.initBytes);
          this.#begin(tape, item, init);
          frames.push(encodeEntry({ ...item, initCrc: crc32(init) }));
          break;
        }
        case "part": {
          const part = take(item.byteLength);
          const file = tape.media.get(item.rendition);
          if (part.length > 0 && file) this.#append(file, part);
          const samples = mapSamples(part) ?? new Uint8Array();
          frames.push(encodeEntry({ ...item, crc: crc32(part), samples }));
          break;
        }
        case "end":
          tape.end = item;
          break;
        default:
          frames.push(encodeEntry(item));
      }
    }
    if (tape.journal && frames.length > 0) this.#append(tape.journal, Buffer.concat(frames));
    tape.journalBytes = tape.journal?.length;
    for (const media of [...tape.full, ...tape.media.values()]) media.told = media.length;
    if (!this.#syncs(tape)) for (const { fd } of tape.full.splice(0)) this.#files.close(fd);
  }

  #begin(tape: Reeling, { rendition, name, file }: Draft & { type: "file" }, init: Uint8Array): void {
    const before = tape.media.get(rendition);
    if (before) tape.full.push(before);
    const path = join(tape.folder, `${name}-${file}.mp4`);
    const media = { fd: this.#files.open(path, "w"), path, length: 0, told: 0 };
    tape.media.set(rendition, media);
    tape.newFiles = true;
    this.#append(media, init);
  }

  /** Whole or, after a failure, not at all. */
  #append(media: Media, bytes: Uint8Array): void {
    try {
      this.#files.write(media.fd, bytes, media.length);
      media.length += bytes.length;
    } catch (error) {
      try {
        this.#files.truncate(media.fd, media.length);
      } catch {
        // Recovery finds the torn end by its checksum.
      }
      throw error;
    }
  }

  /** Lets go of a recording that cannot be written: what is on disk stays as it is until it begins anew. */
  #give(tape: Reeling): void {
    if (!tape.failed) tape.tails = [...tape.tails, ...tape.full, ...tape.media.values()];
    tape.failed = true;
    if (!tape.syncing) this.#close(tape);
  }

  #close(tape: Reeling): void {
    for (const { fd } of [tape.journal, ...tape.media.values(), ...tape.full].filter((one) => !!one)) {
      try {
        this.#files.close(fd);
      } catch {
        // Nothing more can be done for it.
      }
    }
    tape.journal = undefined;
    tape.media.clear();
    tape.full.length = 0;
  }

  /** Whether what is written is made to survive a power cut. */
  #syncs({ temporary }: Reeling): boolean {
    return this.#durability !== "none" && !temporary;
  }

  /** Folders that have got names since they were synced, the inner ones first. */
  #newFolders(tape: Reeling): string[] {
    const { newFiles, newFolder, folder, marker } = tape;
    tape.newFiles = false;
    tape.newFolder = false;
    if (newFolder) return [folder, dirname(marker), dirname(folder)];
    return newFiles ? [folder] : [];
  }

  async #sync(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    for (const id of this.#unsynced) {
      this.#unsynced.delete(id);
      const tape = this.#tapes.get(id);
      if (!tape || tape.failed || !tape.journal) continue;
      tape.syncing = true;
      try {
        await this.#settle(id, tape, tape.journal);
      } catch (error) {
        // A failed sync says nothing about the bytes, and the next one would lie: these files are not touched again.
        if (!tape.failed) this.#say({ type: "failed", tape: id, why: messageOf(error) });
        this.#give(tape);
      }
      tape.syncing = false;
      if (tape.failed) this.#close(tape);
    }
    this.#running = false;
  }

  /** What is written by now becomes durable; a recording that has ended is closed. */
  async #settle(id: number, tape: Reeling, journal: Media): Promise<void> {
    const { end } = tape;
    if (this.#syncs(tape)) {
      const upTo = journal.length;
      const full = tape.full.slice();
      // As they are now: while a sync runs, files are added and followed by others.
      const files = [...full, ...tape.media.values()];
      const folders = this.#newFolders(tape);
      for (const folder of folders) await this.#files.syncFolder(folder);
      for (const { fd } of files) await this.#files.sync(fd);
      if (tape.failed) return;
      this.#append(journal, encodeEntry({ type: "durable", upTo }));
      tape.journalBytes = journal.length;
      await this.#files.sync(journal.fd);
      if (tape.failed) return;
      this.#say({ type: "durable", tape: id, bytes: upTo });
      for (const media of full) this.#files.close(media.fd);
      tape.full.splice(0, full.length);
    }
    if (!end) return;
    this.#append(journal, encodeEntry(end));
    if (this.#syncs(tape)) await this.#files.sync(journal.fd);
    this.#close(tape);
    // What is temporary is in the way for as long as its files are.
    if (!tape.temporary) this.#files.remove(tape.marker);
    this.#tapes.delete(id);
    this.#say({ type: "closed", tape: id });
  }
}
