import { requestInternal, upgradeInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { Broadcast } from "../live/broadcast.ts";
import type { Directory } from "../live/directory.ts";
import type { Rendition } from "../live/rendition.ts";
import { type CatalogTrack, renderCatalog, renderEndedCatalog } from "../packager/msf.ts";
import { doneCodes, requestErrors, resetCodes } from "./codec/messages.ts";
import { encodeObject } from "./codec/objects.ts";
import { type Door, doorHoldMs, doorName, pipeProtocol } from "./door.ts";
import { PipeSession } from "./pipe.ts";
import { epochParams } from "./relay.ts";
import type { Outgoing, SubscribeAsked } from "./requests.ts";
import { Peer } from "./session.ts";
import type { SendStream } from "./transport.ts";

/** Clients that never FETCH see the catalog at the latest after this long. */
const catalogMs = 2_000;
/** MSF: what a player should stay behind. */
const targetLatencyMs = 300;
const catalogName = "catalog";
/** Draft 16 7: sound goes first. */
const priorities = { catalog: 0, audio: 32, video: 128 } as const;

export interface PublisherOptions {
  readonly directory: Directory;
  /** The relay's internal address. */
  readonly relay: string;
  readonly secret: string | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

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

  /** How players reach the relay; undefined while it cannot be reached, or has no QUIC. */
  get door(): Door | undefined {
    return this.#door;
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
        const link = new Link(
          new PipeSession(socket, "client", pipeProtocol),
          this.#options.directory,
          this.#published,
        );
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
          while (!over.signal.aborted) await look(`?have=${encodeURIComponent(doorName(this.#door))}`);
        };
        try {
          await look();
          // Where the relay cannot be asked any more, the link ends too.
          follow().catch(() => undefined);
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
  readonly #feeds = new Set<{ readonly broadcast: Broadcast; stop(code: number): void }>();
  readonly #unlisten: () => void;
  readonly #published: (more: number) => void;

  constructor(transport: PipeSession, directory: Directory, published: (more: number) => void) {
    const done = Promise.withResolvers<void>();
    this.closed = done.promise;
    this.#directory = directory;
    this.#published = published;
    this.#peer = new Peer({
      transport,
      side: "client",
      on: {
        subscribe: (asked) => this.#subscribe(asked),
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
    if (broadcast.state === "ended") {
      // Its tracks say so themselves; what is over is announced no more.
      this.#announced.get(input)?.end();
      this.#announced.delete(input);
    } else if (broadcast.listed && !this.#announced.has(input)) {
      const epoch = broadcast.reference?.window.epochMs ?? Date.now();
      const { end } = this.#peer.publishNamespace([input], { params: epochParams(Math.round(epoch)) });
      this.#announced.set(input, { broadcast, end });
    }
  }

  #subscribe(asked: SubscribeAsked): void {
    const { namespace, name } = asked.track;
    const broadcast = namespace.length === 1 ? this.#directory.current(namespace[0]!) : undefined;
    const absent = { code: requestErrors.doesNotExist, reason: "There is no such track", retryMs: 1000 };
    if (!broadcast || broadcast.state === "ended") return asked.reject(absent);
    const track = name === catalogName ? undefined : trackOf(broadcast, name);
    if (name !== catalogName && !track) return asked.reject(absent);
    const outgoing = asked.accept({ largest: undefined });
    const feed = track
      ? new TrackFeed(broadcast, track, { outgoing, published: this.#published })
      : new CatalogFeed(broadcast, this.#directory, outgoing);
    this.#feeds.add(feed);
    feed.onOver = () => this.#feeds.delete(feed);
    outgoing.onEnd = () => feed.stop(doneCodes.subscriptionEnded);
    feed.begin();
  }
}

/** A rendition with one decoder configuration is a track: `source.0`. */
function trackOf(broadcast: Broadcast, name: string): { rendition: Rendition; version: number } | undefined {
  const [, of, version] = /^([a-z0-9]{1,16})\.(\d{1,6})$/.exec(name) ?? [];
  const rendition = of === undefined ? undefined : broadcast.renditions.get(of);
  if (!rendition || rendition.init(Number(version)) === undefined) return undefined;
  return { rendition, version: Number(version) };
}

/** The catalog, again and again: a group each, so that whoever comes finds a whole one. */
class CatalogFeed {
  readonly broadcast: Broadcast;
  readonly #outgoing: Outgoing;
  readonly #ends: (() => void)[];
  #last = 0;
  #over = false;
  onOver: (() => void) | undefined;

  constructor(broadcast: Broadcast, directory: Directory, outgoing: Outgoing) {
    this.broadcast = broadcast;
    this.#outgoing = outgoing;
    const timer = setInterval(() => this.#publish(), catalogMs);
    let told = tracksOf(broadcast);
    const unlisten = directory.onChange(broadcast.video, () => {
      const names = tracksOf(broadcast);
      const ended = broadcast.state === "ended";
      if (names === told && !ended) return;
      told = names;
      this.#publish();
      if (ended) this.stop(doneCodes.trackEnded);
    });
    this.#ends = [() => clearInterval(timer), unlisten];
  }

  begin(): void {
    // Twice, for readers who take the one before the newest with a joining FETCH.
    this.#publish();
    this.#publish();
  }

  stop(code: number): void {
    if (this.#over) return;
    this.#over = true;
    for (const end of this.#ends) end();
    this.#outgoing.done(code, "", resetCodes.cancelled);
    this.onOver?.();
  }

  #publish(): void {
    const nowMs = Date.now();
    // Numbers of groups only rise, also over restarts.
    this.#last = Math.max(this.#last + 1, nowMs);
    const text =
      this.broadcast.state === "ended" ? renderEndedCatalog(nowMs) : catalogOf(this.broadcast, nowMs);
    const stream = this.#outgoing.open({
      ...{ group: this.#last, subgroup: 0, priority: priorities.catalog, extensions: false },
      endOfGroup: true,
    });
    stream.write(encodeObject(Buffer.from(text)), true);
  }
}

function offered(broadcast: Broadcast): Rendition[] {
  return [...broadcast.renditions.values()].filter(
    ({ name, window }) =>
      !broadcast.isLeaving(name) &&
      (window.open !== undefined || window.segments.length > 0) &&
      (name !== "source" || broadcast.offersSource),
  );
}

const tracksOf = (broadcast: Broadcast): string =>
  offered(broadcast)
    .map(({ name, version }) => `${name}.${version}`)
    .join(" ");

function catalogOf(broadcast: Broadcast, nowMs: number): string {
  const tracks = offered(broadcast).map((rendition): CatalogTrack => {
    const { name, version, track } = rendition;
    return {
      name: `${name}.${version}`,
      label: name,
      track,
      init: Buffer.from(rendition.init(version)!.bytes).toString("base64"),
      bitsPerSecond: broadcast.bandwidthOf(rendition).average,
      frameRate: track.kind === "video" ? (track.frameRate ?? broadcast.source?.frameRate) : undefined,
    };
  });
  const epochMs = broadcast.reference?.window.epochMs ?? 0;
  return renderCatalog({ nowMs, tracks, targetLatencyMs, epochMs });
}

/** One track: an object for each chunk as it is made, a group from each segment that starts with a keyframe. */
class TrackFeed {
  readonly broadcast: Broadcast;
  readonly #rendition: Rendition;
  readonly #version: number;
  readonly #outgoing: Outgoing;
  readonly #published: (more: number) => void;
  #unlisten: (() => void) | undefined;
  /** The segment that is sent, and how many of its chunks are. */
  #number: number | undefined;
  #sent = 0;
  #stream: SendStream | undefined;
  #over = false;
  onOver: (() => void) | undefined;

  constructor(
    broadcast: Broadcast,
    { rendition, version }: { readonly rendition: Rendition; readonly version: number },
    { outgoing, published }: { readonly outgoing: Outgoing; readonly published: (more: number) => void },
  ) {
    this.broadcast = broadcast;
    this.#rendition = rendition;
    this.#version = version;
    this.#outgoing = outgoing;
    this.#published = published;
  }

  begin(): void {
    this.#unlisten = this.#rendition.onStep(() => this.#step());
    this.#number = this.#newestGroup();
    this.#step();
  }

  stop(code: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#unlisten?.();
    this.#outgoing.done(code, "", resetCodes.cancelled);
    this.onOver?.();
  }

  /** The newest segment that begins a group. */
  #newestGroup(): number | undefined {
    const { open, segments } = this.#rendition.window;
    const all = [...segments, ...(open ? [open] : [])];
    return all.findLast(
      (segment) => !segment.gap && segment.version === this.#version && this.#begins(segment),
    )?.number;
  }

  /** Sound has the groups of the picture. */
  #begins(segment: { readonly number: number; readonly independent: boolean }): boolean {
    const window = this.broadcast.reference?.window;
    if (this.#rendition.track.kind === "video" || !window) return segment.independent;
    const { number } = segment;
    return (window.open?.number === number ? window.open : window.segment(number))?.independent ?? true;
  }

  #step(): void {
    if (this.#over) return;
    const { window } = this.#rendition;
    // A reader that slept longer than the window: on with the newest.
    const oldest = window.segments[0]?.number;
    if (this.#number === undefined || (oldest !== undefined && this.#number < oldest)) {
      this.#cut();
      this.#number = this.#newestGroup();
      this.#sent = 0;
    }
    for (;;) {
      const number: number | undefined = this.#number;
      if (number === undefined) break;
      const isOpen = window.open?.number === number;
      const segment = isOpen ? window.open : window.segment(number);
      if (!segment) break;
      if (segment.version !== this.#version && segment.version > this.#version) {
        this.#finish();
        return this.stop(doneCodes.trackEnded);
      }
      if (segment.gap) this.#cut();
      else {
        const chunks = segment.parts.flatMap((part) => part.chunks);
        if (isOpen) chunks.push(...window.loose);
        if (this.#sent === 0 && chunks.length > 0 && (this.#begins(segment) || !this.#stream)) {
          this.#finish();
          if (this.#begins(segment)) this.#stream = this.#open(number);
        }
        if (this.#stream) {
          for (const chunk of chunks.slice(this.#sent)) this.#stream.write(encodeObject(chunk.bytes));
          this.#published(chunks.length - this.#sent);
        }
        this.#sent = chunks.length;
      }
      if (isOpen) break;
      this.#number = number + 1;
      this.#sent = 0;
    }
    if (window.ended) {
      this.#finish();
      this.stop(doneCodes.trackEnded);
    }
  }

  #open(number: number): SendStream {
    const { kind } = this.#rendition.track;
    return this.#outgoing.open({
      // The wall clock at the broadcast's beginning never changes, and no two broadcasts of an input share one.
      group: this.#rendition.window.epochMs + number,
      subgroup: 0,
      priority: priorities[kind],
      extensions: false,
      endOfGroup: true,
    });
  }

  /** The group is whole. */
  #finish(): void {
    this.#stream?.write(new Uint8Array(0), true);
    this.#stream = undefined;
  }

  /** The group will never be whole. */
  #cut(): void {
    this.#stream?.reset(resetCodes.internal);
    this.#stream = undefined;
  }
}
