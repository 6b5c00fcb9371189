import { type Hints, silentFrame } from "./codec/codec.ts";
import { Follower } from "./follower.ts";
import { Lane } from "./lane.ts";
import type { Outlet, RenditionName } from "./outlet.ts";
import type { Limits } from "./segmenter.ts";
import type { SegmentTable } from "./table.ts";
import { AudioGrid } from "./timeline.ts";
import type { AudioTrack, CodedFrame, Entry, Payload } from "./track.ts";

/** What metadata calls a track. */
export interface Label {
  readonly language?: string | undefined;
  readonly label?: string | undefined;
}

export interface PlacedFrame {
  readonly dts: number;
  readonly pts: number;
  readonly duration: number;
  readonly key: true;
  readonly data: Payload;
}

/** Frames that wait for their init to be allowed: a few seconds of them. */
const maxHeld = 500;

/** One track of audio: from frames and their broadcast times to samples on a grid, and beside a reference to its rendition. */
export class Sound {
  readonly name: RenditionName;
  readonly #outlet: Outlet;
  readonly #lane = new Lane();
  #track: AudioTrack | undefined;
  #made = 0;
  #renewed = false;
  #grid: AudioGrid | undefined;
  #follower: Follower | undefined;
  /** Its init may not be used before a row that is not continued. */
  #waits = false;
  #held: PlacedFrame[] = [];

  constructor(name: RenditionName, outlet: Outlet) {
    this.name = name;
    this.#outlet = outlet;
  }

  /** As it is muxed: in the ticks of the rendition, which its first track has chosen. */
  get track(): AudioTrack | undefined {
    return this.#track;
  }

  /** Another publish. */
  begin(): void {
    this.#lane.begin();
  }

  /** Throws BadMedia. */
  configure(entry: Entry, config: Uint8Array, label: Label): void {
    this.#lane.configure(entry, config, noHints);
    this.#renew(label);
  }

  /** What to mux of a frame. Throws BadMedia. */
  read(entry: Entry, data: Uint8Array, label: Label): CodedFrame | undefined {
    const frame = this.#lane.read(entry, data, noHints);
    this.#renew(label);
    return frame;
  }

  /** True once for each track that has begun: it has to be announced. */
  takeRenewed(): boolean {
    const renewed = this.#renewed;
    this.#renewed = false;
    return renewed;
  }

  #renew({ language, label }: Label): void {
    const { track, generation } = this.#lane;
    if (generation === this.#made || track?.kind !== "audio") return;
    this.#made = generation;
    this.#renewed = true;
    // A playlist's timescale never changes, so a later track of another rate counts in the ticks of the first.
    const timescale = this.#track?.timescale ?? this.#outlet.end(this.name)?.timescale ?? track.timescale;
    this.#track = { ...track, timescale, ...(language && { language }), ...(label && { label }) };
    this.#grid = new AudioGrid(track.sampleRate, track.frameTicks);
  }

  /** The sample of a frame that stands at `atMs`; undefined when it is to be dropped. */
  place(frame: CodedFrame, atMs: number): PlacedFrame | undefined {
    const track = this.#track;
    const grid = this.#grid;
    if (!track || !grid) return undefined;
    const length = frame.ticks ?? track.frameTicks;
    const at = grid.place(atMs, length);
    if (at === undefined) return undefined;
    const { timescale, sampleRate } = track;
    const ticks = (samples: number): number =>
      timescale === sampleRate ? samples : Math.round((samples * timescale) / sampleRate);
    const dts = ticks(at);
    return { dts, pts: dts, duration: ticks(at + length) - dts, key: true, data: frame.data };
  }

  /** Another clock begins. */
  reset(): void {
    this.#grid?.reset();
  }

  /** True once it is written beside a reference. */
  get follows(): boolean {
    return this.#follower !== undefined;
  }

  /** Beside a reference from here on; `after` is the number before its first row. */
  follow(table: SegmentTable, limits: (track: AudioTrack) => Limits, after: number | undefined): void {
    const track = this.#track;
    if (this.#follower || !track || this.#waits) return;
    this.#follower = new Follower({
      table,
      limits: limits(track),
      timescale: track.timescale,
      after,
      resume: this.#outlet.end(this.name),
      mux: this.#outlet.mux(this.name),
      silence: (version, previous, duration) => {
        const its = this.#outlet.track(this.name, version) as AudioTrack;
        return silentFrame(its, Math.round((duration * its.sampleRate) / its.timescale)) ?? previous;
      },
    });
  }

  /** What comes next has another init: it is held until `resume`. */
  wait(): void {
    this.#waits = true;
    this.#held = [];
  }

  /** The row that begins at `start` (ticks of the table) may have another init: `follow` is called, and what belongs to it is written. */
  resume(table: SegmentTable, start: number, follow: () => void): void {
    if (!this.#waits) return;
    this.#waits = false;
    this.#follower?.forget(start);
    follow();
    const held = this.#held;
    this.#held = [];
    const { timescale } = this.#track!;
    for (const sample of held)
      if (((sample.dts + sample.duration / 2) * table.timescale) / timescale >= start) this.push(sample);
  }

  push(sample: PlacedFrame): void {
    if (this.#waits) {
      if (this.#held.length < maxHeld) this.#held.push(sample);
    } else if (this.#follower)
      this.#outlet.step(this.name, this.#follower.push(sample, this.#outlet.newest(this.name)));
  }

  /** Writes what the segment table has decided by now. */
  advance(): void {
    this.#outlet.step(this.name, this.#follower?.advance());
  }

  end(): void {
    this.#outlet.step(this.name, this.#follower?.end());
  }
}

const noHints: Hints = {};
