import type {
  GroupOrder,
  Location,
  Params,
  SetupOptions,
  TrackName,
} from "../../services/moq/codec/messages.ts";
import type { StreamObject } from "../../services/moq/codec/objects.ts";
import type { SubscriptionEvents } from "../../services/moq/requests.ts";
import { Peer } from "../../services/moq/session.ts";
import type { Closed, Session } from "../../services/moq/transport.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import type { ReadyFile } from "../../services/supervisor.ts";
import { Waiters } from "./waiters.ts";

/** How to have a broadcast as Media over QUIC, as the lifecycle answer says it. */
export interface Way {
  readonly port: number;
  readonly hashes: readonly string[];
  readonly namespace: string;
}

/** Waits until a playback (a uid or a token) can be had as Media over QUIC. */
export async function wayTo({ http }: Pick<ReadyFile, "http">, playback: string): Promise<Way> {
  for (;;) {
    const response = await fetch(`${http}/${playback}/lifecycle`);
    const { moq } = (await response.json()) as { moq?: Way };
    if (moq) return moq;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** One group as it came. */
export interface Group {
  readonly id: number;
  readonly objects: StreamObject[];
  state: "growing" | "whole" | "cut";
}

/** A client without a browser that remembers what it got of each track, also of those that it is sent unasked, and wakes whoever waits for it. */
export class MoqViewer {
  readonly peer: Peer;
  readonly tracks = new Map<string, Group[]>();
  /** Codes of requests that were refused and of subscriptions that ended, by track. */
  readonly refused = new Map<string, number>();
  readonly done = new Map<string, number>();
  closed: Closed | undefined;
  /** Where the relay said to go on when it asked to leave. */
  sentTo: string | undefined;
  readonly #waiting = new Waiters();

  /** `setup` is what is said with SETUP. */
  constructor(transport: Session, setup: SetupOptions = {}) {
    this.peer = new Peer({
      ...{ transport, setup, side: "client" },
      on: {
        goaway: (uri) => {
          this.sentTo = uri;
          this.#wake();
        },
        publish: ({ track, accept }) => void accept(this.into(track.name)),
        closed: (how) => {
          this.closed = how;
          this.#wake();
        },
      },
    });
  }

  /** `path` is what stands after the host: a uid or a token. Rejects where there is no session to be had. */
  static async open(
    way: Way,
    path: string,
    protocol = "moqt-16",
    from: { readonly host?: string; readonly origin?: string } = {},
  ): Promise<MoqViewer> {
    const to = { host: "127.0.0.1", port: way.port, path, protocols: [protocol], ...from };
    return new MoqViewer(await connectWebTransport(to));
  }

  subscribe(namespace: string, name: string, params: Params = { filter: { from: "largest object" } }) {
    return this.peer.subscribe({ namespace: [namespace], name }, params, this.into(name));
  }

  /** Remembers what comes of a subscription under `name`. */
  into(name: string): SubscriptionEvents {
    const groups: Group[] = [];
    this.tracks.set(name, groups);
    return {
      ok: () => this.#wake(),
      refused: ({ code }) => {
        this.refused.set(name, code);
        this.#wake();
      },
      group: ({ group }) => {
        const one: Group = { id: group, objects: [], state: "growing" };
        groups.push(one);
        return {
          object: (object) => {
            one.objects.push({ ...object, payload: object.payload.slice() });
            this.#wake();
          },
          end: () => {
            one.state = "whole";
            this.#wake();
          },
          gone: () => {
            one.state = "cut";
            this.#wake();
          },
        };
      },
      done: (code) => {
        this.done.set(name, code);
        this.#wake();
      },
    };
  }

  /** All objects of a range, as far as there are any, in the order in which they come. Rejects when it is refused. */
  fetch(
    track: TrackName,
    { start, end, order }: { start: Location; end: Location; order?: GroupOrder },
  ): Promise<{ objects: StreamObject[]; end: Location; endOfTrack: boolean }> {
    const objects: StreamObject[] = [];
    return new Promise((resolve, reject) => {
      let answer: { readonly end: Location; readonly endOfTrack: boolean } | undefined;
      let ended = false;
      const settle = () =>
        answer && ended && resolve({ objects, end: answer.end, endOfTrack: answer.endOfTrack });
      this.peer.fetch(
        { kind: "standalone", track, start, end },
        { order },
        {
          ok: (said) => {
            answer = said;
            settle();
          },
          refused: ({ code, reason }) => reject(Object.assign(new Error(reason), { code })),
          object: (object) => objects.push({ ...object, payload: object.payload.slice() }),
          end: () => {
            ended = true;
            settle();
          },
          gone: () => reject(new Error("the fetch was cut")),
        },
      );
    });
  }

  /** Settles once `met` holds after something came. */
  until(met: () => boolean): Promise<void> {
    return this.#waiting.until(met);
  }

  /** The newest catalog, once there is one. */
  async catalog(namespace: string): Promise<{
    readonly sluiceEpoch: number;
    readonly tracks: readonly {
      readonly name: string;
      readonly codec: string;
      readonly initRef: string;
      readonly packaging: string;
    }[];
    readonly initDataList: readonly { readonly id: string; readonly data: string }[];
  }> {
    this.subscribe(namespace, "catalog");
    const groups = this.tracks.get("catalog")!;
    await this.until(() => groups.some(({ objects }) => objects.length > 0));
    return JSON.parse(
      Buffer.from(groups.findLast(({ objects }) => objects[0])!.objects[0]!.payload).toString(),
    );
  }

  close(): void {
    this.peer.close("noError", "");
  }

  #wake(): void {
    this.#waiting.wake();
  }
}
