import type { Draft } from "./codec/drafts.ts";
import { resetCodes } from "./codec/messages.ts";
import { DataReader, type StreamObject, type SubgroupHeader } from "./codec/objects.ts";
import { Violation } from "./codec/wire.ts";
import type { GroupSink } from "./requests.ts";
import type { ReceiveStream } from "./transport.ts";

/** Streams whose track is not known yet, and bytes of their objects. */
const maxEarlyStreams = 32;
const maxEarlyBytes = 8 << 20;

/** Whose the streams of objects are. */
export interface Owners {
  /** Of a track by its alias; undefined while nobody knows it. */
  group(header: SubgroupHeader): GroupSink | undefined;
  /** Of a FETCH; undefined when it is not wanted any more. */
  fetched(id: number): GroupSink | undefined;
  /** A message that says whose this alias is may still come. */
  expects(alias: number): boolean;
  descends(id: number): boolean;
  guard(run: () => void): void;
}

interface Orphan {
  readonly alias: number;
  readonly bytes: () => number;
  readonly adopt: () => void;
  readonly stop: () => void;
}

/** Streams of objects as they come: some do before the answer that says whose they are. */
export class Arrivals {
  readonly #draft: Draft;
  readonly #owners: Owners;
  #orphans: Orphan[] = [];

  constructor(draft: Draft, owners: Owners) {
    this.#draft = draft;
    this.#owners = owners;
  }

  /** An alias is known now: what waited for it is given on. */
  adopt(alias: number): void {
    const mine = this.#orphans.filter((orphan) => orphan.alias === alias);
    this.#orphans = this.#orphans.filter((orphan) => orphan.alias !== alias);
    for (const { adopt } of mine) adopt();
  }

  /** Nobody wants what comes under this alias. */
  refuse(alias: number): void {
    const mine = this.#orphans.filter((orphan) => orphan.alias === alias);
    this.#orphans = this.#orphans.filter((orphan) => orphan.alias !== alias);
    for (const { stop } of mine) stop();
  }

  drop(): void {
    this.#orphans = [];
  }

  /** What takes the bytes of one stream. */
  begin(stream: ReceiveStream): { data(bytes: Uint8Array, fin: boolean): void; gone(): void } {
    const owners = this.#owners;
    let sink: GroupSink | undefined;
    // What came before it was known whose it is.
    let early: ((to: GroupSink) => void)[] | undefined;
    let earlyBytes = 0;
    const give = (what: (to: GroupSink) => void) => {
      if (early) early.push(what);
      else if (sink) what(sink);
    };
    const reader = new DataReader(this.#draft, {
      descends: (id) => owners.descends(id),
      header: (header) => {
        sink = header.type === "fetch" ? owners.fetched(header.id) : owners.group(header);
        if (sink) return;
        const isEarly = header.type !== "fetch" && owners.expects(header.alias);
        if (header.type === "fetch" || this.#orphans.length >= maxEarlyStreams || !isEarly) {
          stream.stop(resetCodes.cancelled);
          return;
        }
        early = [];
        this.#orphans.push({
          alias: header.alias,
          bytes: () => earlyBytes,
          adopt: () => {
            sink = owners.group(header);
            const waiting = early ?? [];
            early = undefined;
            for (const what of waiting) give(what);
          },
          stop: () => {
            early = undefined;
            stream.stop(resetCodes.cancelled);
          },
        });
      },
      object: (object: StreamObject) => {
        if (early) {
          earlyBytes += object.payload.length;
          const waiting = this.#orphans.reduce((sum, one) => sum + one.bytes(), 0);
          if (waiting > maxEarlyBytes) throw new Violation("protocolViolation", "Objects of no track came");
        }
        give((to) => to.object(object));
      },
    });
    return {
      data: (bytes, fin) =>
        owners.guard(() => {
          reader.push(bytes);
          if (!fin) return;
          reader.end();
          give((to) => to.end());
        }),
      gone: () => give((to) => to.gone()),
    };
  }
}
