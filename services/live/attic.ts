import { mkdir, open, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../lib/log.ts";
import type { Segment } from "../packager/track.ts";

/** Where one part lies in its segment. */
interface Range {
  readonly start: number;
  readonly length: number;
}

interface Stored {
  readonly number: number;
  readonly version: number;
  readonly parts: readonly Range[];
  readonly byteLength: number;
  /** Broadcast time in ticks after which nobody may ask for it any more. */
  readonly until: number;
  readonly file: string;
  /** Until it is on disk, and for good where it cannot be. */
  bytes: readonly Uint8Array[] | undefined;
}

/**
 * Segments that have left the playlist and must stay fetchable a while longer (rfc8216bis 6.2.2), on disk instead of in
 * memory: half of what a broadcast would hold, asked for by almost nobody. The folder belongs to one run of the origin.
 */
export class Attic {
  readonly #folder: string;
  readonly #log: Log;

  private constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  /** An empty attic in `folder`; what an earlier run left there is gone. */
  static async open(folder: string, log: Log): Promise<Attic> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new Attic(folder, log);
  }

  /** The place of one rendition's segments. */
  shelf(video: string, rendition: string): Shelf {
    return new Shelf(join(this.#folder, `${video}-${rendition}`), this.#log);
  }
}

/** One rendition's segments in the attic, oldest first. */
export class Shelf {
  readonly #prefix: string;
  readonly #log: Log;
  #stored: Stored[] = [];
  #failed = false;

  constructor(prefix: string, log: Log) {
    this.#prefix = prefix;
    this.#log = log;
  }

  /** Takes over a segment until the broadcast reaches `until`. */
  put(segment: Segment, until: number): void {
    if (segment.gap) return;
    let start = 0;
    const bytes = segment.parts.map((part) => part.bytes);
    const parts = bytes.map(({ length }) => {
      const range = { start, length };
      start += length;
      return range;
    });
    const stored: Stored = {
      number: segment.number,
      version: segment.version,
      byteLength: segment.byteLength,
      parts,
      until,
      file: `${this.#prefix}-${segment.number}.m4s`,
      bytes,
    };
    this.#stored.push(stored);
    void this.#write(stored, bytes);
  }

  /** Lets go of everything whose time is over. */
  expire(edge: number): void {
    while (this.#stored[0] && this.#stored[0].until < edge) this.#drop(this.#stored.shift()!);
  }

  clear(): void {
    for (const stored of this.#stored.splice(0)) this.#drop(stored);
  }

  /** The bytes of a segment or of one of its parts; undefined when it is not here. */
  async read(number: number, version: number, part?: number): Promise<readonly Uint8Array[] | undefined> {
    const stored = this.#stored.find((one) => one.number === number && one.version === version);
    const range =
      part === undefined ? stored && { start: 0, length: stored.byteLength } : stored?.parts[part];
    if (!stored || !range) return undefined;
    if (stored.bytes) return [Buffer.concat(stored.bytes).subarray(range.start, range.start + range.length)];
    try {
      const file = await open(stored.file);
      try {
        const { buffer, bytesRead } = await file.read(
          Buffer.allocUnsafe(range.length),
          0,
          range.length,
          range.start,
        );
        return bytesRead === range.length ? [buffer] : undefined;
      } finally {
        await file.close();
      }
    } catch {
      // Expired while it was asked for.
      return undefined;
    }
  }

  async #write(stored: Stored, bytes: readonly Uint8Array[]): Promise<void> {
    try {
      const file = await open(stored.file, "w", 0o600);
      try {
        await file.writev(bytes);
      } finally {
        await file.close();
      }
      stored.bytes = undefined;
      this.#failed = false;
      // It may have expired meanwhile.
      if (!this.#stored.includes(stored)) await unlink(stored.file);
    } catch (error) {
      // Memory is where it stays then; one line per trouble.
      if (!this.#failed)
        this.#log.warn(
          { err: error, file: stored.file },
          "cannot move old segments to disk; they stay in memory",
        );
      this.#failed = true;
    }
  }

  #drop(stored: Stored): void {
    if (!stored.bytes) unlink(stored.file).catch(() => {});
  }
}
