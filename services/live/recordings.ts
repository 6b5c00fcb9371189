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
}
