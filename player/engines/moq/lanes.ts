import type { MoqTrack } from "./catalog.ts";
import type { MoqClient } from "./client.ts";
import { InOrder } from "./order.ts";

/** MOQT's code of PUBLISH_DONE for a track that has come to its end. */
export const TRACK_ENDED = 2;
/** What takes over waits for the end of what plays: a rung may be behind the source by what its encoder takes. */
const SEAM_MS = 1_500;

/** A track that is subscribed to. */
interface Lane {
  readonly track: MoqTrack;
  readonly client: MoqClient;
  /** The newest group that has begun on it, and the first and the last that are taken from it. */
  newest: number;
  from: number;
  until: number;
  end: () => void;
}

export interface LanesEvents {
  /** An object in its turn. */
  readonly give: (track: MoqTrack, bytes: Uint8Array) => void;
  /** So many bytes have come, in turn or not. */
  readonly came: (bytes: number) => void;
  /** What was to take over has done so. */
  readonly took: () => void;
  /** What plays over this session ends, and nothing takes over. */
  readonly lost: (client: MoqClient, reason: string) => void;
}

/** The picture or the sound: a track that plays, and another, or the same over another session, that is to take over from it. */
export class Lanes {
  readonly #on: LanesEvents;
  #order = inOrder();
  #now: Lane | undefined;
  #next: Lane | undefined;

  constructor(on: LanesEvents) {
    this.#on = on;
  }

  /** What plays. */
  get track(): MoqTrack | undefined {
    return this.#now?.track;
  }

  /** What plays once what is to take over has done so. */
  get wanted(): MoqTrack | undefined {
    return (this.#next ?? this.#now)?.track;
  }

  /** The newest group that has begun on what plays; undefined before there is one. */
  get group(): number | undefined {
    const newest = this.#now?.newest ?? -1;
    return newest < 0 ? undefined : newest;
  }

  /** The session that it plays over. */
  get client(): MoqClient | undefined {
    return this.#now?.client;
  }

  /** Begins with the current group, from its first object; what played before is left. */
  begin(client: MoqClient, track: MoqTrack): void {
    this.end();
    this.#order = inOrder();
    this.#now = this.#lane(client, track);
  }

  /** Takes over with the next group that what plays has not begun. */
  takeOver(client: MoqClient, track: MoqTrack): void {
    this.stay();
    this.#next = this.#lane(client, track);
  }

  /** What was to take over does not. */
  stay(): void {
    this.#next?.end();
    this.#next = undefined;
    if (this.#now) this.#now.until = Number.POSITIVE_INFINITY;
  }

  /** Gives what can be given; to be called as time goes by. */
  check(): void {
    this.#order.check();
  }

  end(): void {
    for (const lane of [this.#now, this.#next]) lane?.end();
    this.#now = this.#next = undefined;
  }

  #lane(client: MoqClient, track: MoqTrack): Lane {
    const order = this.#order;
    const lane: Lane = { track, client, newest: -1, from: 0, until: Number.POSITIVE_INFINITY, end: () => {} };
    lane.end = client.subscribe(
      track.name,
      {
        // What takes over begins with a whole group; groups of one number begin together in all renditions.
        filter: { from: this.#now ? "next group" : "largest object" },
        priority: track.role === "audio" ? 32 : 128,
      },
      {
        refused: (_code, reason) => {
          const alone = lane !== this.#next || this.#now?.client !== client;
          if (lane === this.#next) this.stay();
          if (alone) this.#on.lost(client, reason);
        },
        group: (id) => {
          const now = this.#now;
          const takesOver = lane === this.#next;
          // What has begun to play is not begun again: browsers would show nothing until the next keyframe.
          if (takesOver && now && now.until === Number.POSITIVE_INFINITY) {
            lane.from = Math.max(id, now.newest + 1);
            now.until = lane.from - 1;
          }
          lane.newest = Math.max(lane.newest, id);
          if (id < lane.from || id > lane.until) return { object() {}, end() {} };
          const group = order.begin(id, (bytes) => this.#take(lane, bytes), takesOver ? SEAM_MS : undefined);
          return {
            object: ({ payload }) => {
              this.#on.came(payload.length);
              group.object(payload);
            },
            end: () => group.end(),
          };
        },
        // The catalog says what comes instead, or that nothing does.
        done: (code) => {
          if (code !== TRACK_ENDED && lane === this.#now)
            this.#on.lost(client, `${track.name} ended with ${code}`);
        },
      },
    );
    return lane;
  }

  #take(lane: Lane, bytes: Uint8Array): void {
    if (lane === this.#next) {
      this.#now?.end();
      this.#now = lane;
      this.#next = undefined;
      this.#on.took();
    }
    if (lane === this.#now) this.#on.give(lane.track, bytes);
  }
}

const inOrder = () => new InOrder(() => performance.now());
