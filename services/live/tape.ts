import type { Channel } from "../packager/captions.ts";
import type { Output, RenditionName } from "../packager/outlet.ts";
import type { Resume } from "../packager/packager.ts";
import type { Step } from "../packager/segmenter.ts";
import type { Line } from "../packager/subtitles.ts";
import type { Segment, Track } from "../packager/track.ts";

/** Where a broadcast's media goes on disk while it is on air, and where readers who are behind find it. */
export interface Tape {
  /**
   * Takes what happened, in order. The promise settles when the operating system has the bytes, so that the end of this
   * process cannot take them, or when the disk does not take them in time; it never rejects. Undefined: nothing to wait for.
   */
  write(outputs: readonly Output[]): Promise<void> | undefined;
  /** Takes words that were shown and stay as they are. */
  say(line: Line, language: string | undefined): void;
  reel(name: string): TapeReel;
  /** What is written so far. */
  readonly summary: Summary;
  /** Whether there is something that stays: a recording, not what only late readers need. */
  readonly lasting: boolean;
  /**
   * Takes the last of what happened; nothing follows. The promise settles when the operating system has all that was written, or when the disk takes much
   * longer than for a part: what is missing in a list with an end stays missing for who has it. Undefined as in `write`.
   */
  end(last: readonly Output[], nowMs: number): Promise<void> | undefined;
  /** Nobody reads it any more through its broadcast: what is temporary goes. */
  clear(): void;
}

/** One rendition of a tape. */
export interface TapeReel {
  /** Every complete segment on disk, oldest first, without parts and without a hole in their numbers. */
  rows(): readonly Segment[];
  /** Discontinuities of the broadcast before its first segment. */
  readonly discontinuity: number;
  /** The segment, if it is on disk, without parts. */
  row(number: number, version: number): Segment | undefined;
  /** The bytes of a segment or of one of its parts; undefined when it is not here. */
  read(number: number, version: number, part?: number): Promise<Uint8Array | undefined>;
  /** Nobody may ask any more for segments up to this number; a temporary tape forgets them. */
  release(number: number): void;
}

/** What an earlier run left of a broadcast: enough to show it as it was, and to go on. */
export interface Restored {
  /** Its words; undefined where it had none. */
  readonly words?: { readonly language: string | undefined; readonly lines: readonly Line[] } | undefined;
  readonly resume: Resume;
  readonly renditions: readonly {
    readonly name: RenditionName;
    /** Discontinuities before its first step. */
    readonly discontinuity: number;
    readonly inits: readonly {
      readonly version: number;
      readonly track: Track;
      readonly bytes: Uint8Array;
    }[];
    /** Channels of the captions in its pictures. */
    readonly captions: readonly Channel[];
    /** Its newest segments, as many as a playlist may show. */
    readonly steps: readonly Step[];
  }[];
}

/** What is recorded of a broadcast that is over. */
export interface Summary {
  readonly seconds: number;
  readonly bytes: number;
}

/** A tape that takes nothing: every byte stays in memory for as long as it may be asked for. */
export const noTape: Tape = {
  summary: { seconds: 0, bytes: 0 },
  write: () => undefined,
  say: () => undefined,
  reel: () => ({
    rows: () => [],
    discontinuity: 0,
    row: () => undefined,
    read: () => Promise.resolve(undefined),
    release: () => undefined,
  }),
  lasting: false,
  end: () => undefined,
  clear: () => undefined,
};
