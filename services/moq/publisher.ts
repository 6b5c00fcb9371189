import { requestInternal, upgradeInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { Broadcast } from "../live/broadcast.ts";
import type { Directory } from "../live/directory.ts";
import type { Rendition } from "../live/rendition.ts";
import { type Kept, largestOf, objectsOf } from "./archive.ts";
import { doneCodes, type Location, requestErrors, resetCodes } from "./codec/messages.ts";
import { type Door, doorHoldMs, doorName, pipeProtocol, warp } from "./door.ts";
import {
  CatalogFeed,
  catalogName,
  catalogOf,
  type Feed,
  newestOf,
  priorities,
  TimelineFeed,
  TrackFeed,
  timelineName,
} from "./feeds.ts";
import { PipeSession } from "./pipe.ts";
import { epochParams } from "./relay.ts";
import type { FetchAsked, FetchReply, Outgoing, StatusAsked, SubscribeAsked } from "./requests.ts";
import { Peer, tellsOfFault } from "./session.ts";

export interface PublisherOptions {
  readonly directory: Directory;
  /** The relay's internal address. */
  readonly relay: string;
  readonly secret: string | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** A question about the door that failed is asked again after this. */
const againMs = 1_000;

/** Offers every broadcast of this origin to the relay beside it, over MoQT as to any other. */
export class Publisher implements Running {
  readonly closed: Promise<void>;
  readonly #options: PublisherOptions;
  readonly #stop = new AbortController();
  readonly #published: (more: number) => void;
  #link: Link | undefined;
  #door: Door | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    const { metrics } = options;
    this.#published = metrics.counter("sluice_moq_published_objects_total", "Objects given to the relay");
    metrics.gauge("sluice_moq_published_tracks", "Tracks that the relay takes", {
      read: () => this.#link?.tracks ?? 0,
    });
    this.closed = this.#run();
  }

  /** How players reach the relay, with the catalog of what they are after; undefined while it cannot be reached, or has no QUIC. */
  wayTo(broadcast: Broadcast | undefined): (Door & { readonly catalog?: string }) | undefined {
    const door = this.#door;
    if (!door || !broadcast || broadcast.state === "ended") return door;
    return { ...door, catalog: catalogOf(broadcast, "msf", Date.now()) };
  }

  close(): Promise<void> {
    this.#stop.abort();
    return this.closed;
  }

  async #run(): Promise<void> {
    const { log, relay, secret } = this.#options;
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const socket = await upgradeInternal(relay, "/internal/moqt", {
          ...{ protocol: pipeProtocol, secret, signal },
        });
        const link = new Link({
          ...{ transport: new PipeSession(socket, "client", pipeProtocol), published: this.#published },
          ...{ directory: this.#options.directory, log },
        });
        this.#link = link;
        const end = () => link.close();
        signal.addEventListener("abort", end, { once: true });
        const over = new AbortController();
        const look = async (query = "") => {
          const { json } = await requestInternal(relay, `/internal/door${query}`, {
            ...{ secret, signal: AbortSignal.any([signal, over.signal]), answerMs: doorHoldMs + 10_000 },
          });
          if (!over.signal.aborted) this.#door = (json as { door?: Door }).door;
        };
        const follow = async () => {
          while (!over.signal.aborted)
            try {
              await look(`?have=${encodeURIComponent(doorName(this.#door))}`);
            } catch {
              // Where the relay cannot be asked any more, the link ends too.
              await pause(againMs, over.signal);
            }
        };
        try {
          await look();
          void follow();
          if (failures > 0) log.info("the relay is back");
          failures = 0;
          await link.closed;
        } finally {
          over.abort();
          signal.removeEventListener("abort", end);
          link.close();
        }
      } catch (error) {
        if (!signal.aborted && failures === 3)
          log.warn({ err: error }, "the relay is away; no Media over QUIC until it is back");
      }
      this.#door = undefined;
      await pause(backoffMs(failures, 100, 2_000), signal);
    }
  }
}

/** One session with the relay. */
class Link {
  readonly closed: Promise<void>;
  readonly #peer: Peer;
  readonly #directory: Directory;
  readonly #announced = new Map<string, { readonly broadcast: Broadcast; end(): void }>();
  readonly #feeds = new Set<Feed>();
  readonly #unlisten: () => void;
  readonly #published: (more: number) => void;

  constructor(options: {
    readonly transport: PipeSession;
    readonly directory: Directory;
    readonly published: (more: number) => void;
    readonly log: Log;
  }) {
    const { transport, directory, published, log } = options;
    const done = Promise.withResolvers<void>();
    this.closed = done.promise;
    this.#directory = directory;
    this.#published = published;
    this.#peer = new Peer({
      transport,
      side: "client",
      on: {
        subscribe: (asked) => this.#subscribe(asked),
        fetch: (asked) => void this.#fetch(asked),
        trackStatus: (asked) => void this.#status(asked),
        broke: tellsOfFault(log),
        closed: () => {
          this.#unlisten();
          for (const feed of [...this.#feeds]) feed.stop(doneCodes.internal);
          done.resolve();
        },
      },
    });
    this.#unlisten = directory.onAny((broadcast) => this.#look(broadcast));
    for (const broadcast of directory.all()) this.#look(broadcast);
  }

  /** Tracks that are sent. */
  get tracks(): number {
    return this.#feeds.size;
  }

  close(): void {
    this.#peer.close("noError", "The origin stops");
  }

  /** Announces what can be watched, and takes back what is over. */
  #look(broadcast: Broadcast): void {
    const { input } = broadcast;
    const announced = this.#announced.get(input);
    const current = this.#directory.current(input);
    if (announced && announced.broadcast !== current) {
      announced.end();
      this.#announced.delete(input);
    }
    if (current !== broadcast) return;
    const over = broadcast.state === "ended" && !broadcast.lasting;
    if (over) {
      // Its tracks say so themselves; of what is over and not kept nothing can be had.
      this.#announced.get(input)?.end();
      this.#announced.delete(input);
    } else if (broadcast.listed && !this.#announced.has(input)) {
      const epoch = broadcast.reference?.window.epochMs ?? Date.now();
      const params = epochParams(Math.round(epoch));
      const both = [[input], [input, warp]].map((namespace) =>
        this.#peer.publishNamespace(namespace, { params }),
      );
      const end = () => {
        for (const one of both) one.end();
      };
      this.#announced.set(input, { broadcast, end });
    }
  }

  /** The broadcast whose namespace this is, where something of it can be had. */
  #find(namespace: readonly string[]): Broadcast | undefined {
    const [input, shape, more] = namespace;
    if (input === undefined || more !== undefined || (shape !== undefined && shape !== warp))
      return undefined;
    const broadcast = this.#directory.current(input);
    return broadcast && (broadcast.state !== "ended" || broadcast.lasting) ? broadcast : undefined;
  }

  #subscribe(asked: SubscribeAsked): void {
    const { namespace, name } = asked.track;
    const broadcast = this.#find(namespace);
    if (!broadcast) return asked.reject(absent);
    const directory = this.#directory;
    const begin = (make: (outgoing: Outgoing) => Feed, largest?: Location) => {
      const outgoing = asked.accept({ largest });
      const feed = make(outgoing);
      this.#feeds.add(feed);
      feed.onOver = () => this.#feeds.delete(feed);
      outgoing.onEnd = () => feed.stop(doneCodes.subscriptionEnded);
      feed.begin();
    };
    const shape = namespace.length > 1 ? "warp" : "msf";
    if (name === catalogName)
      return begin((outgoing) => new CatalogFeed({ broadcast, directory, outgoing, shape }));
    if (name === timelineName) return begin((outgoing) => new TimelineFeed(broadcast, outgoing));
    const track = trackOf(broadcast, name);
    if (!track) return asked.reject(absent);
    if (broadcast.state !== "ended")
      return begin(
        (outgoing) => new TrackFeed(broadcast, track, { outgoing, published: this.#published }),
        newestOf(broadcast, track),
      );
    // Nothing comes any more; what there is can be fetched.
    void largestOf(track).then(
      (largest) => asked.accept({ largest }).done(doneCodes.trackEnded, "", resetCodes.cancelled),
      () => asked.reject(failed),
    );
  }

  async #status(asked: StatusAsked): Promise<void> {
    const broadcast = this.#find(asked.track.namespace);
    const track = broadcast && trackOf(broadcast, asked.track.name);
    if (!track) return asked.reject(absent);
    try {
      asked.accept({ largest: await largestOf(track) });
    } catch {
      asked.reject(failed);
    }
  }

  /** What is in the window or on disk, read no faster than it goes out. */
  async #fetch(asked: FetchAsked): Promise<void> {
    const { range, params } = asked;
    const invalid = { code: requestErrors.invalidRange, reason: "Nothing of this range can be had" };
    if (range.kind !== "standalone")
      return asked.reject({ ...invalid, code: requestErrors.invalidJoiningRequest });
    const broadcast = this.#find(range.track.namespace);
    const track = broadcast && trackOf(broadcast, range.track.name);
    if (!track) return asked.reject(absent);
    const { start, end } = range;
    let reply: FetchReply | undefined;
    try {
      const largest = await largestOf(track);
      const backwards =
        end.group < start.group ||
        (end.group === start.group && end.object > 0 && end.object <= start.object);
      if (!largest || start.group > largest.group || backwards) return asked.reject(invalid);
      const isPast =
        end.group > largest.group || (end.group === largest.group && end.object > largest.object);
      reply = asked.accept({
        end: isPast ? { group: largest.group, object: largest.object + 1 } : end,
        endOfTrack: isPast && broadcast.state === "ended",
      });
      let over = false;
      reply.onEnd = () => {
        over = true;
      };
      for await (const object of objectsOf(track, { start, end, order: params.order })) {
        await reply.room();
        if (over) return;
        reply.write({ ...object, priority: priorities[track.rendition.track.kind] });
      }
      reply.end();
    } catch {
      if (reply) reply.cancel(resetCodes.internal);
      else asked.reject(failed);
    }
  }
}

const absent = { code: requestErrors.doesNotExist, reason: "There is no such track", retryMs: 1000 };
const failed = { code: requestErrors.internal, reason: "The recording cannot be read now", retryMs: 1000 };

/** A rendition with one decoder configuration is a track: `source.0`. */
function trackOf(broadcast: Broadcast, name: string): (Kept & { readonly rendition: Rendition }) | undefined {
  const [, of, number] = /^([a-z0-9]{1,16})\.(\d{1,6})$/.exec(name) ?? [];
  const rendition = of === undefined ? undefined : broadcast.renditions.get(of);
  const version = Number(number);
  if (!rendition || rendition.init(version) === undefined) return undefined;
  return { rendition, version, reference: broadcast.reference };
}
