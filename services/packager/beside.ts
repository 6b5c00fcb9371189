import type { CaptionTrail, Channel } from "./captions.ts";
import { captionsUnit } from "./codec/a53.ts";
import type { Hints } from "./codec/codec.ts";
import { Lane } from "./lane.ts";
import type { Outlet, RenditionName } from "./outlet.ts";
import { type RungFrame, RungWriter } from "./rung.ts";
import type { Limits } from "./segmenter.ts";
import type { SegmentTable } from "./table.ts";
import type { CodedFrame, Entry, Payload, Track } from "./track.ts";

export interface Standing {
  readonly table: SegmentTable;
  readonly limits: (track: Track) => Limits;
  /** From decoding to presentation of the reference's keyframes, in ticks: theirs and ours are decoded together. */
  readonly lead: () => number;
}

/** A frame that the table may not have a row for yet. */
type Waiting = Omit<RungFrame, "version"> & Pick<CodedFrame, "captions">;

/** Pictures that may run ahead of the reference; more is an encoder with two clocks. */
const maxWaiting = 240;

/** A rung, or another video track of the publish: written beside the reference, at whose keyframes its own stand. */
export class Beside {
  readonly name: RenditionName;
  readonly #outlet: Outlet;
  readonly #lane = new Lane();
  #made = 0;
  #announced = true;
  #writer: RungWriter | undefined;
  #waiting: Waiting[] = [];
  /** What is added to decoding times. */
  #shift = 0;
  readonly #captions: CaptionTrail | undefined;
  #channels: readonly Channel[] | undefined;
  /** When the last picture is shown that was given captions. */
  #shown: number | undefined;

  /** `captions` are those of the picture that an encoder makes it of: encoders lose them. */
  constructor(name: RenditionName, outlet: Outlet, captions?: CaptionTrail) {
    this.name = name;
    this.#outlet = outlet;
    this.#captions = captions;
  }

  /** Another publish, or another encoder of the rung. */
  begin(): void {
    this.#lane.begin();
    this.interrupt();
  }

  /** Throws BadMedia. */
  configure(entry: Entry, config: Uint8Array, hints: Hints): void {
    this.#lane.configure(entry, config, hints);
    this.#renew();
  }

  /** Throws BadMedia. */
  read(entry: Entry, data: Uint8Array, hints: Hints): CodedFrame | undefined {
    const frame = this.#lane.read(entry, data, hints);
    this.#renew();
    return frame;
  }

  #renew(): void {
    if (this.#made === this.#lane.generation) return;
    this.#made = this.#lane.generation;
    this.interrupt();
    this.#announced = false;
  }

  /** A frame whose decoding time is its encoder's; it is written once the reference has come as far. */
  push(frame: Waiting, standing: Standing, discontinuity: number): void {
    const { track } = this.#lane;
    if (!track) return;
    if (!this.#announced) {
      this.#announced = true;
      this.#outlet.announce(this.name, track, discontinuity);
    }
    const { table } = standing;
    this.#writer ??= new RungWriter({
      table,
      limits: standing.limits(track),
      mux: this.#outlet.mux(this.name),
      resume: this.#outlet.end(this.name),
    });
    if (this.#waiting.length < maxWaiting) this.#waiting.push(frame);
    this.#drain(standing);
  }

  /** Follows the reference. */
  advance(standing: Standing): void {
    this.#drain(standing);
    this.#outlet.step(this.name, this.#writer?.advance());
  }

  #drain({ table, lead }: Standing): void {
    let written = 0;
    for (const frame of this.#waiting) {
      // At a keyframe both encoders' reordering is compared.
      const shift = frame.key ? frame.pts - frame.dts - lead() : this.#shift;
      const dts = frame.dts + shift;
      if (dts > table.horizon) break;
      this.#shift = shift;
      written++;
      const version = this.#outlet.newest(this.name);
      const data = this.#captioned(frame);
      this.#outlet.step(this.name, this.#writer?.push({ ...frame, data, dts, version }));
    }
    if (written > 0) this.#waiting.splice(0, written);
  }

  /** The picture with the captions of the one that it was made of, unless its encoder has kept them. */
  #captioned({ pts, data, captions: own }: Waiting): Payload {
    const trail = this.#captions;
    if (!trail || this.#lane.track?.entry !== "avc1" || trail.channels.length === 0) return data;
    if (trail.channels !== this.#channels) {
      this.#channels = trail.channels;
      this.#outlet.captioned(this.name, trail.channels);
    }
    const found = own ? undefined : trail.upTo(pts, this.#shown);
    this.#shown = pts;
    // ISO/IEC 14496-10 7.4.1.2.3: before the first slice.
    return found ? [captionsUnit(found), ...(data instanceof Uint8Array ? [data] : data)] : data;
  }

  /** Its encoder is gone, or another takes over. */
  interrupt(): void {
    this.#waiting = [];
    this.#outlet.step(this.name, this.#writer?.interrupt());
  }

  end(): void {
    this.#outlet.step(this.name, this.#writer?.end());
  }
}
