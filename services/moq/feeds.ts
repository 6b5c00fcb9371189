import type { Broadcast } from "../live/broadcast.ts";
import type { Directory } from "../live/directory.ts";
import { lacksOf } from "../live/lacks.ts";
import type { Rendition } from "../live/rendition.ts";
import {
  type CatalogOptions,
  type CatalogTrack,
  renderCatalog,
  renderEndedCatalog,
  renderWarpCatalog,
} from "../packager/msf.ts";
import { groupOf, timelineOf } from "./archive.ts";
import { doneCodes, type Location, resetCodes } from "./codec/messages.ts";
import { encodeObject } from "./codec/objects.ts";
import type { Outgoing } from "./requests.ts";
import type { SendStream } from "./transport.ts";

/** Tracks of every broadcast besides its renditions. */
export const catalogName = "catalog";
export const timelineName = "timeline";
/** Draft 16 7: sound goes first. */
export const priorities = { catalog: 0, audio: 32, video: 128 } as const;

/** Clients that never FETCH see the catalog at the latest after this long. */
const catalogMs = 2_000;
/** MSF: what a player should stay behind. */
const targetLatencyMs = 300;
/** After so many rows the timeline begins again, with all of them in one object. */
const timelineRows = 120;

/** One subscription as it is served. */
export interface Feed {
  /** Called when it is over, whoever ended it. */
  onOver: (() => void) | undefined;
  begin(): void;
  stop(code: number): void;
}

/** The catalog, again and again: a group each, so that whoever comes finds a whole one. */
export class CatalogFeed implements Feed {
  readonly #broadcast: Broadcast;
  readonly #outgoing: Outgoing;
  readonly #shape: "msf" | "warp";
  readonly #ends: (() => void)[];
  #last = 0;
  #over = false;
  onOver: (() => void) | undefined;

  constructor(options: {
    readonly broadcast: Broadcast;
    readonly directory: Directory;
    readonly outgoing: Outgoing;
    readonly shape: "msf" | "warp";
  }) {
    const { broadcast, directory } = options;
    this.#broadcast = broadcast;
    this.#outgoing = options.outgoing;
    this.#shape = options.shape;
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
    if (this.#broadcast.state === "ended") this.stop(doneCodes.trackEnded);
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
    const text = catalogOf(this.#broadcast, this.#shape, nowMs);
    const stream = this.#outgoing.open({
      ...{ group: this.#last, subgroup: 0, priority: priorities.catalog, extensions: false },
      endOfGroup: true,
    });
    const { integers } = this.#outgoing.draft;
    stream.write(encodeObject(Buffer.from(text), { integers }), true);
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

/** The catalog of a broadcast as it is now, in either shape. */
export function catalogOf(broadcast: Broadcast, shape: "msf" | "warp", nowMs: number): string {
  const ended = broadcast.state === "ended";
  if (ended && !broadcast.lasting) return renderEndedCatalog(nowMs);
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
  const { reference } = broadcast;
  const last = ended ? reference?.rows().at(-1) : undefined;
  const options: CatalogOptions = {
    ...{ nowMs, tracks, targetLatencyMs, epochMs: reference?.window.epochMs ?? 0, timeline: timelineName },
    lacks: lacksOf(broadcast),
    durationMs: last && Math.round(((last.dts + last.duration) * 1000) / reference!.window.timescale),
  };
  return shape === "warp" ? renderWarpCatalog(options) : renderCatalog(options);
}

/** Where groups begin in time: all of it at the beginning of a group, then each as it begins (draft-ietf-moq-msf-01 7). */
export class TimelineFeed implements Feed {
  readonly #broadcast: Broadcast;
  readonly #outgoing: Outgoing;
  #unlisten: (() => void) | undefined;
  #stream: SendStream | undefined;
  #group = 0;
  #said = 0;
  #last = 0;
  #over = false;
  onOver: (() => void) | undefined;

  constructor(broadcast: Broadcast, outgoing: Outgoing) {
    this.#broadcast = broadcast;
    this.#outgoing = outgoing;
  }

  begin(): void {
    this.#unlisten = this.#broadcast.reference?.onStep(() => this.#step());
    this.#step();
  }

  stop(code: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#unlisten?.();
    this.#stream?.write(new Uint8Array(0), true);
    this.#outgoing.done(code, "", resetCodes.cancelled);
    this.onOver?.();
  }

  #step(): void {
    const { reference } = this.#broadcast;
    if (this.#over || !reference) return;
    const newest = reference.window.segments.at(-1)?.number ?? 0;
    if (newest > this.#last || !this.#stream) {
      this.#last = newest;
      this.#say(timelineOf(reference));
    }
    if (reference.window.ended) this.stop(doneCodes.trackEnded);
  }

  #say(rows: readonly (readonly [number, readonly [number, number], number])[]): void {
    const { integers } = this.#outgoing.draft;
    const write = (some: typeof rows) =>
      this.#stream?.write(encodeObject(Buffer.from(JSON.stringify(some)), { integers }));
    if (this.#stream && this.#said < timelineRows) {
      const more = rows.filter(([, [group]]) => group > this.#group);
      if (more.length === 0) return;
      this.#said += more.length;
      this.#group = more.at(-1)![1][0];
      return write(more);
    }
    this.#stream?.write(new Uint8Array(0), true);
    this.#said = 0;
    this.#group = rows.at(-1)?.[1][0] ?? this.#group;
    this.#stream = this.#outgoing.open({
      ...{
        group: Date.now(),
        subgroup: 0,
        priority: priorities.catalog,
        extensions: false,
        endOfGroup: true,
      },
      first: true,
    });
    write(rows);
  }
}

/** Sound has the groups of the picture. */
function begins(
  broadcast: Broadcast,
  { track }: Rendition,
  { number, independent }: { readonly number: number; readonly independent: boolean },
): boolean {
  const window = broadcast.reference?.window;
  if (track.kind === "video" || !window) return independent;
  return (window.open?.number === number ? window.open : window.segment(number))?.independent ?? true;
}

/** The newest segment that begins a group. */
function newestGroup(broadcast: Broadcast, rendition: Rendition, version: number): number | undefined {
  const { open, segments } = rendition.window;
  const all = [...segments, ...(open ? [open] : [])];
  return all.findLast(
    (segment) => !segment.gap && segment.version === version && begins(broadcast, rendition, segment),
  )?.number;
}

/** The newest object that is on air, which is of the group before while one has only begun; undefined before there is one. */
export function newestOf(
  broadcast: Broadcast,
  { rendition, version }: { readonly rendition: Rendition; readonly version: number },
): Location | undefined {
  const { open, segments, loose, epochMs } = rendition.window;
  let chunks = open?.version === version ? loose.length : 0;
  for (const segment of [...segments, ...(open ? [open] : [])].toReversed()) {
    if (segment.gap || segment.version !== version) continue;
    for (const part of segment.parts) chunks += part.chunks.length;
    if (chunks > 0 && begins(broadcast, rendition, segment))
      return { group: groupOf(epochMs, segment.number), object: chunks - 1 };
  }
  return undefined;
}

/** One track: an object for each chunk as it is made, a group from each segment that starts with a keyframe. */
export class TrackFeed implements Feed {
  readonly #broadcast: Broadcast;
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
    this.#broadcast = broadcast;
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

  #newestGroup(): number | undefined {
    return newestGroup(this.#broadcast, this.#rendition, this.#version);
  }

  #begins(segment: { readonly number: number; readonly independent: boolean }): boolean {
    return begins(this.#broadcast, this.#rendition, segment);
  }

  #step(): void {
    if (this.#over) return;
    const { window } = this.#rendition;
    const { integers } = this.#outgoing.draft;
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
          for (const chunk of chunks.slice(this.#sent))
            this.#stream.write(encodeObject(chunk.bytes, { integers }));
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
      group: groupOf(this.#rendition.window.epochMs, number),
      subgroup: 0,
      priority: priorities[kind],
      extensions: false,
      endOfGroup: true,
      first: true,
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
