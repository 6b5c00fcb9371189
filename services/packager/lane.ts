import { equal } from "./codec/bits.ts";
import { type Cleaner, cleanerOf, configOf, type Hints, suffices, trackOf } from "./codec/codec.ts";
import type { CodedFrame, Entry, Track } from "./track.ts";

/** One elementary stream as its encoder sends it: the configuration in force, and what goes through each frame. */
export class Lane {
  #entry: Entry | undefined;
  /** What the publisher sent last as its configuration. */
  #sent: Uint8Array | undefined;
  /** What made the track: that, or what frames said afterwards. */
  #raw: Uint8Array | undefined;
  #clean: Cleaner | undefined;
  track: Track | undefined;
  /** How many tracks there have been: tells whether a call has begun another. */
  generation = 0;

  /** Another publish: what its encoder sends is news, whatever the last one sent. */
  begin(): void {
    this.#sent = undefined;
  }

  /** A decoder configuration; the one sent last changes nothing, also where frames have said otherwise since. Throws BadMedia. */
  configure(entry: Entry, config: Uint8Array, hints: Hints): void {
    // FFmpeg announces ADTS sources with an empty configuration before the real one.
    if (config.length === 0) return;
    const known = entry === this.#entry && this.#sent && equal(this.#sent, config);
    this.#sent = config.slice();
    if (!known && suffices(entry)) this.#begin(entry, config, hints);
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
    const { track } = this;
    // Said by pictures alone, and by each of them; a track that was announced without it stays so for others.
    if (frame?.dynamicHdr && track?.kind === "video" && !track.hdr?.dynamic)
      this.track = { ...track, hdr: { ...track.hdr, dynamic: true } };
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
