import type { Channel } from "../packager/captions.ts";
import { emptySegment } from "../packager/cmaf.ts";
import { Past } from "../packager/past.ts";
import type { Step } from "../packager/segmenter.ts";
import type { Chunk, Segment, Track } from "../packager/track.ts";
import { type Evicted, RenditionWindow, type Window, type WindowLimits } from "../packager/window.ts";
import type { TapeReel } from "./tape.ts";

/** One decoder configuration of a rendition. */
export interface Init {
  readonly version: number;
  readonly track: Track;
  readonly bytes: Uint8Array;
}

const none = new Uint8Array();

/** How many numbers a player may run ahead, by its clock or before it hears of the end of them. */
const pastEnd = 4;

/** Hints that were taken back and are remembered; players have a list that is a round trip old. */
const maxUnkept = 16;

export type Waited = "ready" | "late" | "gone";

/** The bytes of one segment while it is made: what has come since they were asked for last. */
export interface Growing {
  take(): { readonly pieces: readonly Uint8Array[]; readonly state: "growing" | "whole" | "broken" };
  /** The segment has left the playlist. */
  readonly stale: boolean;
  end(): void;
}

type Hint = NonNullable<Window["next"]>;

interface Waiter {
  readonly ready: () => boolean;
  readonly settle: (how: Waited) => void;
  /** By `performance.now()`. */
  readonly untilMs: number;
}

/** Whoever waits in vain hears of it by so much late, together with others. */
const lateStepMs = 100;

/**
 * One track of a broadcast as readers see it: a window that grows, and a place to wait for it to grow. The publisher
 * never waits for a reader; a reader that comes too late finds what is left.
 */
export class Rendition {
  readonly name: string;
  readonly window: RenditionWindow;
  #past: Past | undefined;
  readonly #pastTicks: number;
  readonly #reel: TapeReel;
  /** What left the playlist and is not on disk: it stays in memory until its time is over. */
  #late: Evicted[] = [];
  /** What left the playlist, without bytes, with its time. */
  #left: Evicted[] = [];
  /** What left the playlist and is on disk, with its time. */
  #aside: { readonly number: number; readonly until: number }[] = [];
  #whole: Window | undefined;
  /** Numbers that were to be expected under an init segment which another one followed: those after `last`. */
  readonly #turns: { readonly version: number; readonly last: number; readonly dts: number }[] = [];
  /** Parts that were hinted and never came. */
  #unkept: { readonly hint: Hint; readonly dts: number }[] = [];
  readonly #inits: Init[] = [];
  readonly #waiters = new Set<Waiter>();
  /** One for all who wait: many come and go with every part. */
  #lateTimer: NodeJS.Timeout | undefined;
  /** Whoever is told of every chunk. */
  readonly #listeners = new Set<() => void>();
  /** Channels of the captions in its pictures so far. */
  captions: readonly Channel[] = [];
  /** Counts visible changes, so that whoever renders a playlist knows when it is stale. */
  revision = 0;
  #peak = 0;
  #picturePeak = 0;
  #seconds = 0;
  #bytes = 0;
  #removed = false;

  /** `reel` has what is on disk of it. A DVR goes back `dvrSeconds` from the window: none for 0, to the beginning for Infinity. */
  constructor(name: string, limits: WindowLimits, reel: TapeReel, dvrSeconds = 0) {
    this.name = name;
    this.#reel = reel;
    this.#pastTicks = dvrSeconds * limits.timescale;
    if (dvrSeconds > 0) this.#past = new Past(limits.discontinuity);
    this.window = new RenditionWindow(limits);
  }

  /**
   * What an earlier run has written before number `number`, where its window begins again: a list with a DVR goes back to
   * what the recording has. Call it before any step.
   */
  recall(number: number): void {
    const rows = this.#past ? this.#reel.rows() : [];
    const first = rows.findIndex(({ gap }) => !gap);
    if (first < 0 || rows[first]!.number >= number) return;
    const past = new Past(this.#reel.discontinuity);
    for (let i = first; i < rows.length && rows[i]!.number < number; i++) {
      const row = rows[i]!;
      past.add(row, this.#pastTicks);
      if (this.#pastTicks < Number.POSITIVE_INFINITY)
        this.#aside.push({ number: row.number, until: row.dts + row.duration + 3 * this.#pastTicks });
    }
    this.#past = past;
  }

  /** What a playlist shows: while live a window, after the end all that is recorded. */
  get shown(): Window {
    return this.#whole ?? this.window;
  }

  /** What lists with a DVR show before the window; undefined where there is none, or where all that is recorded is shown. */
  get past(): Past | undefined {
    return this.#whole ? undefined : this.#past;
  }

  /** What left the playlist lately and can still be asked for: no bytes, but how long each part was. */
  get left(): readonly Segment[] {
    return this.#left.map(({ segment }) => segment);
  }

  /** Every complete segment on disk or in the window, oldest first. */
  rows(): readonly Segment[] {
    const { segments } = this.shown;
    const kept = this.#whole ? [] : this.#reel.rows();
    const first = segments[0]?.number ?? Number.POSITIVE_INFINITY;
    if (kept.length === 0 || kept[0]!.number >= first) return segments;
    // What the disk did not take any more is in the window.
    return [...kept.filter(({ number }) => number < first), ...segments];
  }

  init(version: number): Init | undefined {
    return this.#inits.find((init) => init.version === version);
  }

  /** Of the newest init segment. */
  get version(): number {
    return this.#inits.at(-1)!.version;
  }

  get track(): Track {
    return this.#inits.at(-1)!.track;
  }

  /** Bits per second so far: of the largest segment, and over all. Zero before the first segment. */
  get bandwidth(): { peak: number; average: number } {
    return {
      peak: Math.ceil(this.#peak),
      average: this.#seconds > 0 ? Math.ceil((this.#bytes * 8) / this.#seconds) : 0,
    };
  }

  /** True once it has been taken away while its broadcast goes on. */
  get removed(): boolean {
    return this.#removed;
  }

  /** Whoever waits for more of it is told that none comes. */
  remove(): void {
    this.#removed = true;
    for (const waiter of this.#waiters) waiter.settle("late");
  }

  /** Bits per second of the first pictures of its segments so far, at normal speed; undefined before the first segment. */
  get picturePeak(): number | undefined {
    return this.#picturePeak || undefined;
  }

  addInit(init: Init): void {
    this.#inits.push(init);
  }

  /** Applies steps in order, then wakes whoever they satisfy. */
  apply(steps: readonly Step[]): void {
    let visible = false;
    const hint = this.window.next;
    for (const step of steps) {
      if (step.type === "open") this.#turn(step);
      const closing = step.type === "close" ? this.window.open : undefined;
      if (this.window.apply(step)) visible = true;
      if (closing && closing.byteLength > 0) this.#measure(closing);
    }
    for (const evicted of this.window.takeEvicted()) this.#putAside(evicted);
    this.#forget(this.window.edge);
    this.#settle(hint);
    if (visible) this.#wake();
    for (const listener of this.#listeners) listener();
  }

  /** Nothing follows. From now on a playlist shows all that is recorded, where `lasting` says that it stays. */
  end(lasting: boolean): void {
    const hint = this.window.next;
    this.window.end();
    this.#settle(hint);
    const segments = lasting ? this.#reel.rows() : [];
    const first = segments[0];
    if (first) {
      const { timescale, targetDuration, partTarget, epochMs } = this.window;
      const discontinuitySequence = first.discontinuity;
      this.#whole = {
        ...{ timescale, targetDuration, partTarget, epochMs, discontinuitySequence, segments },
        ...{ deltas: false, open: undefined, next: undefined, ended: true },
      };
    }
    this.#wake();
    for (const listener of this.#listeners) listener();
  }

  /** The bytes of a complete segment in pieces, also a while after it left the playlist; undefined when there is none. */
  async segment(number: number, version: number): Promise<readonly Uint8Array[] | undefined> {
    const segment = this.window.segment(number);
    if (!segment) return this.#behind(number, version);
    return segment.gap || segment.version !== version ? undefined : segment.parts.map((part) => part.bytes);
  }

  /**
   * Stands for what was announced and has no media: a number that is a gap, one past the end of a broadcast that is over or of an
   * init segment, a part that was hinted. Else undefined. rfc8216bis 6.2.6 would have 404 for the part; players count that as an error.
   */
  nothing(number: number, version: number, part?: number): Uint8Array | undefined {
    const { open, edge } = this.window;
    const track = this.init(version)?.track;
    if (part !== undefined) {
      const unkept = this.#unkept.find(({ hint }) => isSame(hint, { number, part, version }));
      return track && unkept && emptySegment(track, unkept.dts, 0);
    }
    const old = this.#past?.find(number);
    // What was served once is missing later, never another thing.
    const before = old?.byteLength === 0 ? old : undefined;
    const gap = open?.number === number ? open : (this.window.segment(number) ?? before);
    if (!track) return undefined;
    if (gap?.gap && gap.version === version) return emptySegment(track, gap.dts, gap.duration);
    const turn = this.#turns.find((one) => one.version === version && isSoonAfter(number, one.last));
    if (turn) return emptySegment(track, turn.dts, 0);
    return this.isPastEnd(number, version) ? emptySegment(track, edge, 0) : undefined;
  }

  /** Whether it would be one of the next few segments, had the broadcast not ended. */
  isPastEnd(number: number, version: number): boolean {
    const last = this.window.segments.at(-1)?.number ?? 0;
    return this.window.ended && version === this.version && isSoonAfter(number, last);
  }

  /** Whether it comes soon, and not next. */
  isAhead(number: number): boolean {
    const { open, segments, ended } = this.window;
    const last = open ?? segments.at(-1);
    return !ended && last !== undefined && number > last.number + 1 && number <= last.number + pastEnd;
  }

  /** The bytes of a complete part in pieces, for as long as its segment's. */
  async part(number: number, index: number, version: number): Promise<readonly Uint8Array[] | undefined> {
    const { open } = this.window;
    const segment = open?.number === number ? open : this.window.segment(number);
    if (!segment) return this.#behind(number, version, index);
    // Under one address there is one thing: of another init segment it is another part.
    const part = segment.version === version ? segment.parts[index] : undefined;
    if (!part) return undefined;
    return part.gap ? undefined : [part.bytes];
  }

  /**
   * Waits until `ready` holds after a change, `limitMs` pass, or what `onGone` is given is called. The limit is one for
   * all who wait at a time: nobody is told before those who came first.
   */
  wait(ready: () => boolean, limitMs: number, onGone?: (gone: () => void) => void): Promise<Waited> {
    if (ready()) return Promise.resolve("ready");
    return new Promise((resolve) => {
      const waiter: Waiter = {
        ready,
        untilMs: performance.now() + limitMs,
        settle: (how) => {
          if (this.#waiters.delete(waiter)) resolve(how);
        },
      };
      this.#waiters.add(waiter);
      this.#lateTimer ??= setTimeout(() => this.#tellLate(), limitMs);
      onGone?.(() => waiter.settle("gone"));
    });
  }

  /** Lets those go whose time is over, and comes back for the next. */
  #tellLate(): void {
    const nowMs = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { untilMs, settle } of this.#waiters)
      if (untilMs <= nowMs + 1) settle("late");
      else nextMs = Math.min(nextMs, untilMs);
    this.#lateTimer =
      nextMs < Number.POSITIVE_INFINITY
        ? setTimeout(() => this.#tellLate(), Math.max(lateStepMs, nextMs - nowMs))
        : undefined;
  }

  /** How many are told of every chunk. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Calls `listener` after every chunk and every other step. Returns its end. */
  onStep(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The segment under construction chunk by chunk; undefined unless it is that one and has a chunk. `more` is called when there is more. */
  growing(number: number, version: number, more: () => void): Growing | undefined {
    const { window } = this;
    const segment = window.open;
    if (segment?.number !== number || segment.version !== version || segment.gap) return undefined;
    if (segment.lead === undefined) return undefined;
    const end = this.onStep(more);
    let at = 0;
    return {
      end,
      get stale() {
        return window.open !== segment && window.segment(number) === undefined;
      },
      take() {
        const growing = window.open === segment;
        const pieces = segment.gap ? [] : after(at, segment, growing ? window.loose : []);
        for (const piece of pieces) at += piece.length;
        return { pieces, state: segment.gap ? "broken" : growing ? "growing" : "whole" };
      },
    };
  }

  async #behind(number: number, version: number, part?: number): Promise<readonly Uint8Array[] | undefined> {
    const late = this.#late.find(({ segment }) => segment.number === number)?.segment;
    if (late?.version === version) {
      const parts = part === undefined ? late.parts : late.parts.slice(part, part + 1);
      return parts.length > 0 ? parts.map(({ bytes }) => bytes) : undefined;
    }
    const bytes = await this.#reel.read(number, version, part);
    return bytes && [bytes];
  }

  /** rfc8216bis 6.2.2: it stays fetchable a while; half of what a broadcast would hold, asked for by almost nobody. */
  #putAside(evicted: Evicted): void {
    const { segment, until } = evicted;
    const parts = segment.parts.map((part) => ({ ...part, chunks: [], bytes: none }));
    this.#left.push({ segment: { ...segment, parts }, until });
    const row = this.#reel.row(segment.number, segment.version);
    // A list with a DVR keeps its place, but promises only what is on disk.
    this.#past?.add(row ?? { ...segment, gap: true }, this.#pastTicks);
    // As long as the longest playlist lists it, and as long once more after it has left that.
    if (row && this.#pastTicks === Number.POSITIVE_INFINITY) return;
    if (row) this.#aside.push({ number: segment.number, until: until + 2 * this.#pastTicks });
    else if (!segment.gap) this.#late.push(evicted);
  }

  /** Another init segment begins with this one: what players expect under the one before does not come. */
  #turn({ row, dts, version }: Step & { type: "open" }): void {
    const before = this.window.version;
    if (before !== undefined && before !== version)
      this.#turns.push({ version: before, last: row.number - 1, dts });
  }

  /** Remembers what was hinted and turns out not to come. */
  #settle(hint: Hint | undefined): void {
    if (!hint) return;
    const { window } = this;
    const { number, part, version } = hint;
    const segment = window.open?.number === number ? window.open : window.segment(number);
    const came = segment?.version === version && segment.parts[part]?.gap === false;
    if (came || (window.next && isSame(window.next, hint))) return;
    this.#unkept = [...this.#unkept.slice(1 - maxUnkept), { hint, dts: window.edge }];
  }

  #forget(edge: number): void {
    while (this.#left[0] && this.#left[0].until < edge) this.#left.shift();
    while (this.#late[0] && this.#late[0].until < edge) this.#late.shift();
    let gone: number | undefined;
    while (this.#aside[0] && this.#aside[0].until < edge) gone = this.#aside.shift()!.number;
    if (gone !== undefined) this.#reel.release(gone);
  }

  #wake(): void {
    this.revision++;
    for (const waiter of this.#waiters) if (waiter.ready()) waiter.settle("ready");
  }

  #measure(segment: Segment): void {
    const seconds = segment.duration / this.window.timescale;
    this.#seconds += seconds;
    this.#bytes += segment.byteLength;
    this.#picturePeak = Math.max(this.#picturePeak, ((segment.keyBytes ?? 0) * 8) / seconds);
    this.#peak = Math.max(this.#peak, (segment.byteLength * 8) / seconds);
  }
}

function isSame(a: Hint, b: Hint): boolean {
  return a.number === b.number && a.part === b.part && a.version === b.version;
}

function isSoonAfter(number: number, last: number): boolean {
  return number > last && number <= last + pastEnd;
}

/** What follows the first `at` bytes of a segment. Chunks keep their bytes when they become a part. */
function after(at: number, segment: Segment, loose: readonly Chunk[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let start = 0;
  for (const { bytes } of [...segment.parts, ...loose]) {
    if (start + bytes.length > at) pieces.push(at > start ? bytes.subarray(at - start) : bytes);
    start += bytes.length;
  }
  return pieces;
}
