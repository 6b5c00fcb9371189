import { Arena } from "./arena.ts";
import type { Channel } from "./captions.ts";
import { initSegment, makeChunk } from "./cmaf.ts";
import type { Mux, Step } from "./segmenter.ts";
import type { Track } from "./track.ts";

/** `source`, `audio`, `video1` and `audio1` for further tracks of the publish, or the name of a rung. */
export type RenditionName = string;

export type Output =
  /** The broadcast has its constants; renditions follow. */
  | { readonly type: "start"; readonly partTarget: number; readonly epochMs: number }
  /** A rendition has a new init segment; the first one creates the rendition. */
  | {
      readonly type: "init";
      readonly name: RenditionName;
      readonly version: number;
      readonly track: Track;
      readonly bytes: Uint8Array;
      /** Discontinuities of the broadcast so far. */
      readonly discontinuity: number;
    }
  | { readonly type: "step"; readonly name: RenditionName; readonly step: Step }
  /** Its pictures carry captions of these channels, all so far. */
  | { readonly type: "captions"; readonly name: RenditionName; readonly channels: readonly Channel[] };

/** Where a rendition of an earlier run stands: its newest number, and where that ends in its own ticks. */
export interface End {
  readonly number: number;
  readonly dts: number;
  readonly timescale: number;
}

/** Where the renditions of one broadcast come out: their init versions, their chunks' numbers, and what happened since it was asked. */
export class Outlet {
  /** By init version; versions of an earlier run are empty. */
  readonly #versions: Record<RenditionName, Track[]> = {};
  readonly #taken: number;
  readonly #ends: Readonly<Record<RenditionName, End>>;
  #out: Output[] = [];

  /** Init versions below `version` were used by an earlier run. */
  constructor(resume?: { readonly version: number; readonly ends: Readonly<Record<RenditionName, End>> }) {
    this.#taken = resume?.version ?? 0;
    this.#ends = resume?.ends ?? {};
  }

  /** Where an earlier run of this rendition stands. */
  end(name: RenditionName): End | undefined {
    return this.#ends[name];
  }

  /** Before everything else that has not been taken yet. */
  start(partTarget: number, epochMs: number): void {
    this.#out.unshift({ type: "start", partTarget, epochMs });
  }

  /** A new init segment; the first one makes the rendition. */
  announce(name: RenditionName, track: Track, discontinuity: number): void {
    this.#versions[name] ??= new Array(this.#taken);
    const version = this.#versions[name].push(track) - 1;
    this.#out.push({ type: "init", name, version, track, bytes: initSegment(track), discontinuity });
  }

  /** Pictures of this rendition carry captions. */
  captioned(name: RenditionName, channels: readonly Channel[]): void {
    this.#out.push({ type: "captions", name, channels });
  }

  /** The version announced last; -1 before the first. */
  newest(name: RenditionName): number {
    return (this.#versions[name]?.length ?? 0) - 1;
  }

  track(name: RenditionName, version: number): Track | undefined {
    return this.#versions[name]?.[version];
  }

  /** Makes the chunks of one writer of this rendition, in its memory and with its numbers. */
  mux(name: RenditionName): Mux {
    const arena = new Arena();
    let sequence = 0;
    return (samples, version, begins) =>
      makeChunk(this.#versions[name]![version]!, samples, ++sequence, (size) =>
        arena.allocate(size, begins, samples[0]!.key),
      );
  }

  step(name: RenditionName, steps: readonly Step[] | undefined): void {
    for (const step of steps ?? []) this.#out.push({ type: "step", name, step });
  }

  take(): Output[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }
}
