/** What the origin is told of a publish. */
export interface Announcement {
  readonly uid: string;
  readonly publish: string;
  /** Ingest's internal address, and the feed's path there. */
  readonly feed: string;
  readonly path: string;
  readonly peer: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}
