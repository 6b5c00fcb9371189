import type { Programme } from "./programme.ts";
import type { Restored, Summary, Tape } from "./tape.ts";

/** Which broadcast a tape is of. */
export interface TapeAbout {
  readonly video: string;
  readonly input: string;
  /** Whole seconds. */
  readonly targetDuration: number;
  /** Only for readers who are behind; gone with its broadcast. */
  readonly temporary: boolean;
}

/** A broadcast that the last run did not end. */
export interface Unfinished {
  readonly about: TapeAbout;
  readonly restored: Restored;
  readonly tape: Tape;
}

/** Segments that a rendition lists without media: their numbers, both included, and where they lie, in seconds from the broadcast's start. */
export interface Gap {
  readonly rendition: string;
  readonly from: number;
  readonly to: number;
  readonly at: number;
  readonly seconds: number;
}

/** A recording as its files say. */
export interface FoundRecording extends Summary {
  readonly uid: string;
  readonly input: string;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly gaps: readonly Gap[];
}

/** Which stretch of a recording, in seconds from its beginning; all of it by default. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  /** Shown from this frame on, by an edit list; else from the keyframe before it. */
  readonly exact: boolean;
}

/** A progressive MP4 of a recording, made while it is read. */
export interface Movie {
  /** Bytes. */
  readonly length: number;
  readonly seconds: number;
  /** Whatever is recorded from now on does not change it. */
  readonly settled: boolean;
  /** RFC 9110 8.8.3, strong: the same bytes have the same. */
  readonly etag: string;
  /** The bytes from `from` to `to`, both included. Throws where the media have gone meanwhile. */
  read(from: number, to: number): AsyncIterable<Uint8Array>;
}

/** What was made of a stretch of a recording. */
export interface Clipped extends Summary {
  /** Where it begins: with the keyframe at or before the stretch, in seconds from the recording's beginning. */
  readonly startSeconds: number;
  readonly gaps: readonly Gap[];
}

/** Everything that this origin has on disk. */
export interface Recordings {
  begin(about: TapeAbout): Tape;
  /** What an earlier run left open, once. A broadcast without any media is not among it, and is gone. */
  unfinished(): readonly Unfinished[];
  /** What is recorded under a video's uid, when its broadcast is over. */
  find(video: string): Promise<Programme | undefined>;
  /** The live input of a video that is recorded here. */
  ownerOf(video: string): string | undefined;
  /** Its length and size; undefined when there is no such recording. */
  summary(video: string): Promise<Summary | undefined>;
  remove(video: string): Promise<void>;
  /** What is recorded under a video's uid as one file, also while it is on air; undefined where nothing is. */
  movie(video: string, stretch?: Stretch): Promise<Movie | undefined>;
  /** Makes the segments of a stretch a recording of its own under `uid`, also while it is on air; undefined where nothing is. */
  clip(video: string, stretch: Stretch, uid: string): Promise<Clipped | undefined>;
}
