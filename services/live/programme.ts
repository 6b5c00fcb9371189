import type { Channel } from "../packager/captions.ts";
import type { Cues } from "../packager/cues.ts";
import type { Past } from "../packager/past.ts";
import type { Subtitles } from "../packager/subtitles.ts";
import type { Segment, Track } from "../packager/track.ts";
import type { Window } from "../packager/window.ts";
import type { State } from "./broadcast.ts";
import type { Rung } from "./ladder.ts";
import type { Init, Waited } from "./rendition.ts";

/** What can be watched under a video's uid: a broadcast, or what is recorded of one. */
export interface Programme {
  readonly input: string;
  readonly video: string;
  readonly state: State;
  /** Whole seconds. */
  readonly targetDuration: number;
  /** Whether it is a recording, or becomes one. */
  readonly lasting: boolean;
  readonly renditions: ReadonlyMap<string, Readable>;
  /** What is promised besides. */
  readonly rungs: readonly Rung[];
  /** Of the source: what a rung that does not say its own has. */
  readonly source: { readonly frameRate?: number | undefined } | undefined;
  /** False while a rung stands for a source that nobody can join or switch to. */
  readonly offersSource: boolean;
  /** Bits per second that a rendition is declared with. */
  bandwidthOf(rendition: Pick<Readable, "name" | "track" | "bandwidth">): {
    readonly peak: number;
    readonly average: number;
  };
  /** What its publisher has said of moments of it. */
  readonly cues?: Cues | undefined;
  /** Its words, by the name of their rendition. */
  readonly texts: ReadonlyMap<string, Subtitles>;
  /** Whose numbers and times these have. */
  readonly reference?: Readable | undefined;
  /** True where its lists show no parts. */
  readonly plain?: boolean | undefined;
  /** True for a rung that was given up and whose players still have to leave it. */
  isLeaving(name: string): boolean;
}

/** One track of it, for readers. */
export interface Readable {
  readonly name: string;
  readonly track: Track;
  /** Bits per second: of the largest segment, and over all. Zero before the first segment. */
  readonly bandwidth: { readonly peak: number; readonly average: number };
  /** Channels of the captions in its pictures so far. */
  readonly captions: readonly Channel[];
  /** True once it has been taken away while its broadcast goes on. */
  readonly removed: boolean;
  /** Counts visible changes. */
  readonly revision: number;
  /** What a playlist shows now. */
  readonly shown: Window;
  /** Every complete segment that can be had, oldest first, without a hole in their numbers. */
  rows(): readonly Segment[];
  /** What a list with a DVR shows before that. */
  readonly past?: Past | undefined;
  /** What left the playlist lately and can still be asked for, without bytes. */
  readonly left?: readonly Segment[] | undefined;
  /** Bits per second of the first pictures of its segments so far, at normal speed. */
  readonly picturePeak?: number | undefined;
  init(version: number): Promise<Init | undefined> | Init | undefined;
  segment(number: number, version: number): Promise<readonly Uint8Array[] | undefined>;
  /** Stands for a number, or a part of it, that was announced and has no media; else undefined. */
  nothing(number: number, version: number, part?: number): Uint8Array | undefined;
  part(number: number, index: number, version: number): Promise<readonly Uint8Array[] | undefined>;
  wait(ready: () => boolean, limitMs: number, onGone?: (gone: () => void) => void): Promise<Waited>;
}
