import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Gap, TapeAbout } from "../live/recordings.ts";
import type { Summary, Tape, TapeReel } from "../live/tape.ts";
import { joined } from "../packager/codec/bits.ts";
import type { Output, RenditionName } from "../packager/outlet.ts";
import type { Step } from "../packager/segmenter.ts";
import type { Line } from "../packager/subtitles.ts";
import type { Segment, Track } from "../packager/track.ts";
import { Contents, type Reel, rowOf } from "./contents.ts";
import { GapWatch } from "./gaps.ts";
import type { Draft } from "./journal.ts";
import { fileName, type Place, readRow } from "./read.ts";
import { withoutHoles } from "./rows.ts";

export interface DiskTapeOptions {
  readonly about: TapeAbout;
  readonly place: Place;
  /** A file that exists while the recording may grow, and while a temporary one is there. */
  readonly marker: string;
  /** What an earlier run has written of it. */
  readonly contents: Contents | undefined;
  readonly maxFileBytes: number;
  readonly hasRoom: () => boolean;
  /** How long a tape that failed waits before it tries the disk again. */
  readonly againMs: number;
  /** Hands entries and their bytes to the thread; `written` is called once it has taken them. Settles then, or when that takes too long. */
  readonly post: (what: Posted) => Promise<void>;
  readonly failed: (why: string) => void;
  readonly ended: () => Promise<void>;
  /** The disk takes it again after it did not, or what an earlier run has begun. */
  readonly resumed: () => void;
  /** A gap of what is recorded is complete. */
  readonly gap: (gap: Gap) => void;
  /** A file is written that nothing will be added to. */
  readonly sealed: () => void;
  /** All of it is written, and it stays; `late`: some of that only after its end was said. */
  readonly over: (how: { readonly late: boolean }) => void;
  readonly gone: () => void;
}

/** What a tape hands to the thread. */
export interface Posted {
  readonly items: readonly Draft[];
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly written: () => void;
  /** Nothing follows, so whoever waits is given more time. */
  readonly last: boolean;
}

/** The writer's side of one rendition. */
interface Lane {
  readonly name: string;
  index: number;
  file: number;
  fileBytes: number;
  fileVersion: number;
  /** Channels of the captions in its pictures, until the journal has them. */
  captions: readonly string[] | undefined;
  readonly inits: Map<number, { track: Track; bytes: Uint8Array; discontinuity: number }>;
  chunks: Uint8Array[];
  /** The first of them is one picture. */
  single: boolean;
  /** Of the open segment: where it begins, and from there to its earliest presentation. */
  dts: number;
  lead: number | undefined;
  /** The open segment is being written; false after a pause, up to the next one. */
  writing: boolean;
}

/** Of words, while the disk does not take them. */
const maxSaid = 1_000;

/** A temporary tape forgets whole files, so they are small. */
const temporaryFileBytes = 4 * 1024 * 1024;

/** One broadcast on disk: turns its outputs into entries and bytes, and reads them back. */
export class DiskTape implements Tape {
  /** What is written. */
  readonly contents: Contents;
  readonly #options: DiskTapeOptions;
  readonly #lanes = new Map<RenditionName, Lane>();
  /** Constants of the broadcast, until the first entry carries them. */
  #start: { partTarget: number; epochMs: number } | undefined;
  #begun = false;
  /** Raised with every failure: what was handed in before it does not count. */
  #generation = 0;
  #pausedAt: number | undefined;
  #refused = false;
  /** Its owner knows that nothing is recorded. */
  #paused: boolean;
  #over = false;
  /** When it ended, and when the disk is asked to take that again. */
  #endedMs = 0;
  #again: NodeJS.Timeout | undefined;
  /** Jobs that the thread has not answered: until it has, nobody knows where each rendition stands. */
  #unanswered = 0;
  readonly #gaps = new GapWatch();
  #durableBytes = 0;
  /** How many renditions the journal has, or will have. */
  #indices = 0;
  #items: Draft[] = [];
  /** Words, until there is a journal to write them to. */
  #said: Draft[] = [];
  #bytes: Uint8Array[] = [];

  constructor(options: DiskTapeOptions) {
    this.#options = options;
    this.contents = options.contents ?? new Contents();
    this.#paused = options.contents !== undefined;
    // What an earlier run has written is continued like what the disk refused for a while.
    if (options.contents) this.#pausedAt = Number.NEGATIVE_INFINITY;
    for (const reel of this.contents.reels) this.#laneOf(reel.name);
  }

  /** How far the journal is on the platter, in bytes. */
  get durableBytes(): number {
    return this.#durableBytes;
  }

  get summary(): Summary {
    return { seconds: this.contents.seconds, bytes: this.contents.bytes };
  }

  write(outputs: readonly Output[]): Promise<void> | undefined {
    if (this.#over) return undefined;
    this.#take(outputs);
    return this.#flush();
  }

  #take(outputs: readonly Output[]): void {
    for (const output of outputs) {
      if (output.type === "start") this.#start = output;
      else if (output.type === "init") {
        const { version, track, bytes, discontinuity } = output;
        this.#laneOf(output.name).inits.set(version, { track, bytes, discontinuity });
      } else if (output.type === "captions") this.#laneOf(output.name).captions = output.channels;
      else this.#step(this.#laneOf(output.name), output.step);
    }
  }

  say({ startMs, endMs, text, pieces = false }: Line, language: string | undefined): void {
    this.#said.push({ type: "line", startMs, endMs, text, pieces, ...(language && { language }) });
    if (this.#said.length > maxSaid) this.#said.shift();
  }

  end(last: readonly Output[], nowMs: number): Promise<void> | undefined {
    if (this.#over) return undefined;
    this.#take(last);
    this.#over = true;
    this.#endedMs = nowMs;
    // Nothing was begun, and nothing is on its way.
    if (!this.contents.begin && this.#unanswered === 0 && this.#items.length === 0) {
      this.#options.gone();
      return undefined;
    }
    let late = false;
    const said = this.#end().then(() => {
      late = this.contents.endedMs === undefined;
    });
    void this.#options.ended().then(async () => {
      await said;
      if (this.lasting) this.#options.over({ late });
      this.#options.gone();
      this.sealed();
    });
    return said;
  }

  /** Asks for the last entry to be written; again after the disk did not take it. */
  async #end(): Promise<void> {
    const atMs = this.#endedMs;
    if (this.#pausedAt !== undefined) this.#items.push({ type: "restart", atMs });
    this.#pausedAt = undefined;
    this.#items.push({ type: "end", atMs });
    await this.#flush();
  }

  get lasting(): boolean {
    return !this.#options.about.temporary && this.contents.begin !== undefined;
  }

  clear(): void {
    const { about, place, marker } = this.#options;
    if (!about.temporary) return;
    // Its mark goes last: whoever starts next finds by it what is left.
    void rm(place.folder, { recursive: true, force: true, maxRetries: 3 })
      .then(() => rm(marker, { force: true }))
      .catch(() => undefined);
  }

  reel(name: string): TapeReel {
    const reel = (): Reel | undefined => this.contents.reel(name);
    return {
      rows: (): readonly Segment[] => {
        const found = reel();
        return found ? withoutHoles(found, this.contents.reels) : [];
      },
      get discontinuity() {
        return reel()?.discontinuity ?? 0;
      },
      row: (number, version) => {
        const found = reel();
        const row = found && rowOf(found, number);
        return row?.version === version ? row : undefined;
      },
      read: async (number, version, part) => {
        const found = reel();
        return found && readRow(this.#options.place, found, { number, version, part });
      },
      release: (number) => {
        const found = reel();
        if (found && this.#options.about.temporary) this.#release(found, number);
      },
    };
  }

  /** The disk refused something: what the thread has not answered yet does not count, and it is not recorded until the disk takes it again. */
  fail(why: string): void {
    this.#generation++;
    this.hold(why);
    if (!this.#over) return;
    if (!this.lasting) return this.#options.gone();
    clearTimeout(this.#again);
    this.#again = setTimeout(() => void this.#end(), this.#options.againMs).unref();
  }

  /** Nothing is handed in for a while; what was, still counts. */
  hold(why: string): void {
    this.#pausedAt = performance.now();
    this.#items = [];
    this.#bytes = [];
    for (const lane of this.#lanes.values()) {
      lane.writing = false;
      lane.chunks = [];
    }
    this.#pause(why);
  }

  get video(): string {
    return this.#options.about.video;
  }

  /** The thread is gone, or the recording: nothing is written any more. */
  abandon(why: string): void {
    clearTimeout(this.#again);
    if (this.#over) this.#options.gone();
    else this.fail(why);
  }

  /** Its owner is told once, however often the disk is tried. */
  #pause(why: string): void {
    if (!this.#paused) this.#options.failed(why);
    this.#paused = true;
  }

  #tellGaps(): void {
    const { about, gap } = this.#options;
    if (about.temporary) return;
    const { contents } = this;
    const found = contents.endedMs === undefined ? this.#gaps.look(contents) : this.#gaps.end(contents);
    for (const one of found) gap(one);
  }

  /** A file of it is followed by another, or it is closed. */
  sealed(): void {
    if (!this.#options.about.temporary) this.#options.sealed();
  }

  settled(bytes: number): void {
    this.#durableBytes = bytes;
  }

  #laneOf(name: RenditionName): Lane {
    let lane = this.#lanes.get(name);
    if (!lane) {
      const reel = this.contents.reel(name);
      lane = {
        ...{ name, index: reel?.index ?? -1, file: reel?.file ?? -1, fileBytes: 0, fileVersion: -1 },
        ...{ captions: undefined, inits: new Map(), chunks: [], single: false },
        ...{ dts: 0, lead: undefined, writing: false },
      };
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  #step(lane: Lane, step: Step): void {
    switch (step.type) {
      case "open":
        lane.chunks = [];
        lane.dts = step.dts;
        lane.lead = undefined;
        lane.writing = this.#ready() && this.#threaded(lane, step.version);
        if (lane.writing) {
          const { number, discontinuity, gap } = step.row;
          const { version, dts, independent } = step;
          const rendition = lane.index;
          if (lane.captions) this.#items.push({ type: "captions", rendition, channels: [...lane.captions] });
          lane.captions = undefined;
          this.#items.push({
            type: "open",
            rendition,
            number,
            discontinuity,
            version,
            dts,
            independent,
            gap,
          });
        }
        return;
      case "chunk":
        if (!lane.writing) return;
        lane.lead ??= step.chunk.pts - lane.dts;
        if (lane.chunks.length === 0) lane.single = step.chunk.samples === 1;
        lane.chunks.push(step.chunk.bytes);
        return;
      case "part": {
        if (!lane.writing) return;
        const byteLength = lane.chunks.reduce((sum, { length }) => sum + length, 0);
        const { duration, independent, gap } = step;
        const keyBytes = independent && lane.single ? lane.chunks[0]?.length : undefined;
        const said = { duration, independent, gap, byteLength, keyBytes };
        this.#items.push({ type: "part", rendition: lane.index, ...said });
        this.#bytes.push(...lane.chunks);
        lane.chunks = [];
        lane.fileBytes += byteLength;
        return;
      }
      case "close":
        if (!lane.writing) return;
        this.#items.push({ type: "close", rendition: lane.index, lead: lane.lead });
        this.#items.push(...this.#said.splice(0));
    }
  }

  /** Whether something can be written now; begins, or begins anew, where that is due. */
  #ready(): boolean {
    const { about, hasRoom, againMs } = this.#options;
    if (this.#begun && this.#pausedAt === undefined && !this.#refused) return true;
    if (this.#pausedAt !== undefined && performance.now() - this.#pausedAt < againMs) return false;
    if (this.#pausedAt !== undefined && this.#unanswered > 0) return false;
    if (!hasRoom()) {
      if (!this.#refused) this.#pause("the disk is almost full; free space and the recording begins");
      this.#refused = true;
      return false;
    }
    this.#refused = false;
    this.#pausedAt = undefined;
    if (this.contents.begin) {
      this.#items.push({ type: "restart", atMs: Date.now() });
      // Where each rendition stands is what is really on disk.
      for (const lane of this.#lanes.values()) {
        lane.index = this.contents.reel(lane.name)?.index ?? -1;
        lane.fileVersion = -1;
        lane.writing = false;
      }
      this.#indices = this.contents.reels.length;
    } else {
      if (!this.#start) return false;
      const { video, input, targetDuration, temporary } = about;
      const { partTarget, epochMs } = this.#start;
      const startedMs = Date.now();
      this.#items.push({
        ...{ type: "begin", video, input, startedMs, epochMs, targetDuration, partTarget, temporary },
      });
      // It may have begun before, on a disk that did not take that.
      for (const lane of this.#lanes.values())
        Object.assign(lane, { index: -1, fileVersion: -1, writing: false });
      this.#indices = 0;
    }
    this.#begun = true;
    return true;
  }

  /** Makes the lane's newest file one that a segment of this version may go to. */
  #threaded(lane: Lane, version: number): boolean {
    const { maxFileBytes, about } = this.#options;
    const most = about.temporary ? Math.min(temporaryFileBytes, maxFileBytes) : maxFileBytes;
    if (lane.fileVersion === version && lane.fileBytes < most) return true;
    const init = lane.inits.get(version);
    // A gap may stand under an init that an earlier run has written.
    if (!init) return lane.fileVersion >= 0;
    if (lane.index < 0) lane.index = this.#indices++;
    lane.file++;
    lane.fileBytes = init.bytes.length;
    lane.fileVersion = version;
    const { track, bytes, discontinuity } = init;
    const initBytes = bytes.length;
    const { index: rendition, name, file } = lane;
    this.#items.push({ type: "file", rendition, name, file, version, initBytes, discontinuity, track });
    this.#bytes.push(bytes);
    return true;
  }

  #flush(): Promise<void> | undefined {
    const items = this.#items;
    if (items.length === 0) return undefined;
    const bytes = joined(this.#bytes);
    this.#items = [];
    this.#bytes = [];
    const generation = this.#generation;
    this.#unanswered++;
    const written = (): void => {
      this.#unanswered--;
      if (generation !== this.#generation) return;
      for (const item of items) this.contents.apply(item);
      if (this.#paused) this.#options.resumed();
      this.#paused = false;
      if (items.some(({ type }) => type === "close" || type === "end")) this.#tellGaps();
      if (items.some((item) => item.type === "file" && item.file > 0)) this.sealed();
    };
    return this.#options.post({ items, bytes, written, last: this.#over });
  }

  #release(reel: Reel, number: number): void {
    const { folder } = this.#options.place;
    const files = new Set(reel.rows.map(({ file }) => file));
    for (const file of files) {
      if (file === reel.file || reel.rows.some((row) => row.file === file && row.number > number)) continue;
      this.#items.push({ type: "drop", rendition: reel.index, file });
      void rm(join(folder, fileName(reel.name, file)), { force: true }).catch(() => undefined);
    }
  }
}
