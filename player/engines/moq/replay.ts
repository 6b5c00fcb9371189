import type { Feed } from "./buffer.ts";
import type { MoqTrack } from "./catalog.ts";
import type { MoqClient } from "./client.ts";

/** Seconds ahead of the playhead that are fetched. */
const AHEAD_SECONDS = 8;

/** A row of the timeline track: milliseconds of media, group and object, milliseconds since 1970 (draft-ietf-moq-msf-01 7). */
export type Row = readonly [mediaMs: number, place: readonly [group: number, object: number], wallMs: number];

/** Adds rows that came to those that are known; a list that begins the track anew takes their place. */
export function merged(known: readonly Row[], payload: Uint8Array, anew: boolean): readonly Row[] {
  const rows = JSON.parse(new TextDecoder().decode(payload)) as readonly Row[];
  const newest = known.at(-1)?.[1][0] ?? -1;
  return anew ? rows : [...known, ...rows.filter(([, [group]]) => group > newest)];
}

/** The group in which `at`, in media seconds, lies: the first one for what is before that. Undefined where no rows are. */
export function groupAt(rows: readonly Row[], at: number): number | undefined {
  return (rows.findLast(([ms]) => ms <= at * 1000) ?? rows[0])?.[1][0];
}

/** What of a broadcast can be fetched: where its groups begin in time, as the timeline track says. */
export class Past {
  #rows: readonly Row[] = [];
  #client: MoqClient | undefined;
  #refused = false;

  /** Listens to `name`, over another session in place of the one before. */
  follow(client: MoqClient, name: string): void {
    if (client === this.#client) return;
    this.#client = client;
    client.subscribe(
      name,
      { filter: { from: "largest object" }, priority: 255 },
      {
        refused: () => {
          if (client === this.#client) this.#refused = true;
        },
        group: () => {
          let anew = true;
          return {
            object: ({ payload }) => {
              if (client === this.#client) this.#rows = merged(this.#rows, payload, anew);
              anew = false;
            },
            end: () => {},
          };
        },
        done: () => {},
      },
    );
  }

  get rows(): readonly Row[] {
    return this.#rows;
  }

  /** Media second at which it begins; undefined while nothing is known of it. */
  get start(): number | undefined {
    const first = this.#rows[0];
    return first && first[0] / 1000;
  }

  /** It is said where it begins, and that has not come yet. */
  get awaited(): boolean {
    return this.#client !== undefined && this.#rows.length === 0 && !this.#refused;
  }
}

export interface ReplayOptions {
  readonly client: MoqClient;
  readonly past: Pick<Past, "rows">;
  /** Media second to begin at. */
  readonly at: number;
  /** What plays of the next group. */
  readonly tracks: () => readonly MoqTrack[];
  readonly feeds: readonly Pick<Feed, "append" | "busy" | "buffered">[];
  readonly feedOf: (track: MoqTrack) => Pick<Feed, "append"> | undefined;
  /** So many bytes have come. */
  readonly came: (bytes: number) => void;
}

/**
 * What comes next of a replay. `through`: nothing is left before what is live; `lacking`: a group of which a track has nothing, so that
 * it is not to be had this way.
 */
export type Progress = "going" | "through" | "lacking";

/** Plays from a place in the past on: groups are fetched one after the other, on every track at once. */
export class Replay {
  readonly #options: ReplayOptions;
  #client: MoqClient;
  /** The next group is the first from this number on. */
  #from: number;
  /** The tracks of the group that is under way, and how to give each up. */
  #fetching = new Map<MoqTrack, () => void>();
  #group: number | undefined;
  #lacking = false;
  #over = false;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#client = options.client;
    this.#from = groupAt(options.past.rows, options.at) ?? 0;
  }

  /** Fetches on while less than enough lies ahead of `at`; called as time goes by. `until` is the first group that comes live. */
  look(at: number, until = Number.POSITIVE_INFINITY): Progress {
    const { past, feeds, tracks } = this.#options;
    if (this.#lacking) return "lacking";
    if (this.#over || this.#fetching.size > 0 || feeds.some(({ busy }) => busy)) return "going";
    if (Math.min(...feeds.map(({ buffered }) => ahead(buffered, at))) > AHEAD_SECONDS) return "going";
    const group = past.rows.find(([, [group]]) => group >= this.#from)?.[1][0];
    if (group === undefined || group >= until) return "through";
    this.#group = group;
    this.#from = group + 1;
    for (const track of tracks()) this.#fetch(track, group);
    return "going";
  }

  /** Goes on over another session. */
  move(client: MoqClient): void {
    this.#client = client;
    const again = [...this.#fetching.keys()];
    this.#drop();
    for (const track of again) this.#fetch(track, this.#group!);
  }

  stop(): void {
    this.#over = true;
    this.#drop();
  }

  #drop(): void {
    for (const cancel of this.#fetching.values()) cancel();
    this.#fetching.clear();
  }

  #fetch(track: MoqTrack, group: number): void {
    const { feedOf, came } = this.#options;
    let isEmpty = true;
    const cancel = this.#client.fetch(track.name, group, {
      object: (bytes) => {
        isEmpty = false;
        came(bytes.length);
        feedOf(track)?.append(track, bytes);
      },
      end: () => {
        this.#fetching.delete(track);
        if (isEmpty) this.#lacking = true;
      },
    });
    this.#fetching.set(track, cancel);
  }
}

/** Seconds of media from `at` on without a hole. */
function ahead(buffered: TimeRanges | undefined, at: number): number {
  if (!buffered) return 0;
  for (let i = 0; i < buffered.length; i++)
    if (buffered.start(i) <= at + 0.1 && at < buffered.end(i)) return buffered.end(i) - at;
  return 0;
}
