import { equal } from "./codec/bits.ts";
import { type Cleaner, cleanerOf, configOf, type Hints, suffices, trackOf } from "./codec/codec.ts";
import type { CodedFrame, Entry, Track } from "./track.ts";

/** One elementary stream as its encoder sends it: the configuration in force, and what goes through each frame. */
export class Lane {
  #entry: Entry | undefined;
  /** What the publisher sent, where frames have to say the rest. */
  #sent: Uint8Array | undefined;
  /** What made the track. */
  #raw: Uint8Array | undefined;
  #clean: Cleaner | undefined;
  track: Track | undefined;
  /** How many tracks there have been: tells whether a call has begun another. */
  generation = 0;

  /** A decoder configuration; the one in force again changes nothing. Throws BadMedia. */
  configure(entry: Entry, config: Uint8Array, hints: Hints): void {
    // FFmpeg announces ADTS sources with an empty configuration before the real one.
    if (config.length === 0) return;
    if (suffices(entry, config)) this.#begin(entry, config, hints);
    else this.#sent = config.slice();
  }

  /** What to mux of a frame; undefined for nothing, or while its configuration is not known. Throws BadMedia. */
  read(entry: Entry, data: Uint8Array, hints: Hints): CodedFrame | undefined {
    if (entry !== this.#entry) {
      const own = configOf(entry, data, this.#sent);
      if (!own) return undefined;
      this.#begin(entry, own, hints);
    }
    const frame = this.#clean?.(data);
    // Parameters that changed in band only.
    if (frame?.config) this.#begin(entry, frame.config, hints);
    return frame;
  }

  #begin(entry: Entry, config: Uint8Array, hints: Hints): void {
    if (entry === this.#entry && this.#raw && equal(this.#raw, config)) return;
    const raw = config.slice();
    this.track = trackOf(entry, raw, hints);
    this.#clean = cleanerOf(entry, raw);
    this.#raw = raw;
    this.#entry = entry;
    this.generation++;
  }
}
