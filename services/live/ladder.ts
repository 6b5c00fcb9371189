import type { Rung } from "../packager/rung.ts";
import type { VideoTrack } from "../packager/track.ts";

/** What a worker needs to make the rungs of one publish. */
export interface LadderJob {
  /** One job per publish: the same id again changes nothing. Letters, digits and `-`. */
  readonly id: string;
  /** The live input, its broadcast and the publish. */
  readonly uid: string;
  readonly video: string;
  readonly publish: string;
  /** Ingest's internal address and the feed's path there. */
  readonly feed: string;
  readonly path: string;
  /** The origin's internal address, where the rungs go. */
  readonly origin: string;
  readonly source: VideoTrack;
}

/** Whoever encodes, as the origin sees it: a plan, and a place for jobs. */
export interface Ladder {
  plan(source: VideoTrack): readonly Rung[];
  /** Asks for an encode; may be called again while nobody has begun. Rejects when the queue is away. */
  add(job: LadderJob): Promise<void>;
}
