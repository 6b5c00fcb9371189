import { type FileHandle, mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../lib/log.ts";

/** How a live input did in the step that ended `at` (epoch ms). */
export interface Point {
  readonly at: number;
  readonly kbps: number;
  readonly fps: number;
  /** Between the last two keyframes. */
  readonly gopSeconds: number;
  /** Frames that the encoder left out. */
  readonly droppedFrames: number;
  /** Seconds of media that came per second. */
  readonly uploadRatio: number;
  /** How far the upload has fallen behind since the publish began. */
  readonly lagSeconds: number;
  readonly viewers: number;
  /** False where the encoder was away for any of it. */
  readonly connected: boolean;
}

export interface Asked {
  /** Seconds of a step. */
  readonly step: 1 | 10 | 60;
  /** Epoch ms; points after the one, up to and with the other. */
  readonly since: number;
  readonly until: number;
}

/** Points of a second are kept in memory, those of ten in a file that never grows: a slot for each ten seconds of a day. */
const recent = 600;
const stepMs = 10_000;
const slots = 8_640;
const slotBytes = 48;
const fileName = /^([0-9a-f]{32})\.ring$/;

interface Course {
  /** The newest last. */
  points: Point[];
  /** Since the last whole ten seconds. */
  window: Point[];
  file: Promise<FileHandle> | undefined;
  /** Settles when what was given to the disk is written; how many points that is. */
  written: Promise<void>;
  waiting: number;
}

/** Behind a disk that hangs no more than this piles up. */
const maxWaiting = 6;

/** How live inputs did: every second for ten minutes, every ten seconds for a day. That of a day survives this process. */
export class History {
  readonly #folder: string;
  readonly #log: Log;
  readonly #courses = new Map<string, Course>();
  #told = false;

  private constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  static async open(folder: string, log: Log): Promise<History> {
    await mkdir(folder, { recursive: true });
    return new History(folder, log);
  }

  /** Keeps the last second of an input on air. Returns at once; a disk that hangs costs points, nothing else. */
  add(input: string, point: Point): void {
    let course = this.#courses.get(input);
    if (!course) {
      course = { points: [], window: [], file: undefined, written: Promise.resolve(), waiting: 0 };
      this.#courses.set(input, course);
    }
    const [first] = course.window;
    if (first && Math.floor(point.at / stepMs) !== Math.floor(first.at / stepMs)) this.#roll(input, course);
    course.window.push(point);
    course.points.push(point);
    if (course.points.length > recent) course.points.shift();
  }

  /** Forgets seconds that are too old, and puts what is not on air any more away. Called now and then. */
  tidy(nowMs: number): void {
    for (const [input, course] of this.#courses) {
      const newest = course.points.at(-1)?.at ?? 0;
      if (course.window.length > 0 && nowMs - newest > stepMs) this.#roll(input, course);
      const from = course.points.findIndex(({ at }) => nowMs - at <= recent * 1000);
      if (from > 0) course.points.splice(0, from);
      if (from >= 0) continue;
      this.#courses.delete(input);
      void this.#shut(course);
    }
  }

  /** Oldest first. */
  async read(input: string, { step, since, until }: Asked): Promise<readonly Point[]> {
    const within = ({ at }: Point): boolean => at > since && at <= until;
    if (step === 1) return (this.#courses.get(input)?.points ?? []).filter(within);
    await this.#courses.get(input)?.written;
    const bytes = await readFile(this.#path(input)).catch(() => Buffer.alloc(0));
    const newest = Date.now() - slots * stepMs;
    const points = [];
    for (let at = 0; at + slotBytes <= bytes.length; at += slotBytes) {
      const point = decode(bytes, at);
      // What is in a slot may be of another day.
      if (point && point.at > newest && within(point)) points.push(point);
    }
    points.sort((a, b) => a.at - b.at);
    return step === 10 ? points : coarser(points, step * 1000);
  }

  /** Forgets inputs that `isThere` does not know. */
  async keepOnly(isThere: (input: string) => boolean): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      const input = fileName.exec(name)?.[1];
      if (input === undefined || isThere(input)) continue;
      const course = this.#courses.get(input);
      this.#courses.delete(input);
      if (course) await this.#shut(course);
      await rm(this.#path(input), { force: true });
    }
  }

  async close(): Promise<void> {
    for (const [input, course] of this.#courses) {
      if (course.window.length > 0) this.#roll(input, course);
      await this.#shut(course);
    }
    this.#courses.clear();
  }

  #path(input: string): string {
    return join(this.#folder, `${input}.ring`);
  }

  #roll(input: string, course: Course): void {
    const point = sum(course.window);
    course.window = [];
    if (course.waiting >= maxWaiting) return;
    course.waiting++;
    const before = course.written;
    course.written = before.then(() => this.#write(input, course, point));
  }

  async #write(input: string, course: Course, point: Point): Promise<void> {
    try {
      course.file ??= this.#open(input);
      const slot = Math.floor((point.at - 1) / stepMs) % slots;
      await (await course.file).write(encode(point), 0, slotBytes, slot * slotBytes);
    } catch (error) {
      course.file = undefined;
      if (!this.#told) this.#log.warn({ err: error }, "the health of live inputs cannot be written");
      this.#told = true;
    }
    course.waiting--;
  }

  /** Made anew when missing; what is there is not cut. */
  #open(input: string): Promise<FileHandle> {
    return open(this.#path(input), "r+").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return open(this.#path(input), "w+", 0o600);
    });
  }

  async #shut(course: Course): Promise<void> {
    await course.written;
    const file = await course.file?.catch(() => undefined);
    // What it did not take is told where it is written.
    await file?.close().catch(() => undefined);
  }
}

/** Several points as one; `points` is not empty. */
function sum(points: readonly Point[]): Point {
  const mean = (of: (point: Point) => number): number =>
    points.reduce((total, point) => total + of(point), 0) / points.length;
  const last = points.at(-1)!;
  return {
    at: last.at,
    kbps: Math.round(mean(({ kbps }) => kbps)),
    fps: rounded(mean(({ fps }) => fps)),
    gopSeconds: last.gopSeconds,
    droppedFrames: points.reduce((total, { droppedFrames }) => total + droppedFrames, 0),
    uploadRatio: rounded(mean(({ uploadRatio }) => uploadRatio)),
    lagSeconds: Math.max(...points.map(({ lagSeconds }) => lagSeconds)),
    viewers: Math.max(...points.map(({ viewers }) => viewers)),
    connected: points.every(({ connected }) => connected),
  };
}

function coarser(points: readonly Point[], ms: number): Point[] {
  const groups = Map.groupBy(points, ({ at }) => Math.floor((at - 1) / ms));
  return [...groups.values()].map(sum);
}

/** To hundredths. */
export function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Big-endian: at, then kbps, fps, gopSeconds, uploadRatio, lagSeconds as floats, viewers, dropped frames, connected, and at again. */
function encode(point: Point): Buffer {
  const bytes = Buffer.alloc(slotBytes);
  bytes.writeDoubleBE(point.at, 0);
  const floats = [point.kbps, point.fps, point.gopSeconds, point.uploadRatio, point.lagSeconds];
  floats.forEach((value, i) => {
    bytes.writeFloatBE(value, 8 + 4 * i);
  });
  bytes.writeUInt32BE(Math.min(point.viewers, 2 ** 32 - 1), 28);
  bytes.writeUInt32BE(Math.min(point.droppedFrames, 2 ** 32 - 1), 32);
  bytes.writeUInt32BE(point.connected ? 1 : 0, 36);
  bytes.writeDoubleBE(point.at, 40);
  return bytes;
}

/** Undefined for a slot that was never written, or torn by the end of a process. */
function decode(bytes: Buffer, from: number): Point | undefined {
  const at = bytes.readDoubleBE(from);
  if (!(at > 0) || at !== bytes.readDoubleBE(from + 40)) return undefined;
  const float = (i: number): number => rounded(bytes.readFloatBE(from + 8 + 4 * i));
  return {
    at,
    kbps: float(0),
    fps: float(1),
    gopSeconds: float(2),
    uploadRatio: float(3),
    lagSeconds: float(4),
    viewers: bytes.readUInt32BE(from + 28),
    droppedFrames: bytes.readUInt32BE(from + 32),
    connected: bytes.readUInt32BE(from + 36) === 1,
  };
}
