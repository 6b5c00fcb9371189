import { keyGridMs } from "../packager/timeline.ts";

/** Room below the first timestamp: none may become negative when a frame is shown before it is decoded. */
const leadMs = 1 << 20;
/** How far apart two runs of time are laid; frames are never shown this much later or earlier than they are decoded. */
const gapMs = 2_000;
/** Jumps that are remembered: of all but the newest, everything has left the encoder long ago. */
const keptRuns = 16;

interface Run {
  /** In the encoder's time; what comes from there on belongs to this run, up to the next. */
  readonly from: number;
  /** Encoder's time minus raw time. */
  readonly offset: number;
}

/** The least time not below `ms` that lies in the encoder's grid of keyframes as `rawMs` lies in the source's. */
const alike = (ms: number, rawMs: number) => ms + ((((rawMs - ms) % keyGridMs) + keyGridMs) % keyGridMs);

/**
 * Between the source's raw timestamps and an encoder. ffmpeg's FLV loses the highest bit of a timestamp, and ffmpeg itself gives
 * every frame the same time once time has run backwards; so it gets a time that starts low and only grows, and what it
 * makes gets the raw time back, to the millisecond. Multiples of `keyGridMs` stay such, so that keyframes can be set by time.
 */
export class Retimer {
  #runs: Run[] = [];
  #lastRaw = 0;
  #last = leadMs;

  /** The encoder's time of the source's `rawMs` (unsigned, 32 bits); to be called in decoding order. */
  toEncoder(rawMs: number): number {
    // 32 bits wrap after 49 days; a difference is right all the same.
    const step = this.#runs.length === 0 ? 0 : (rawMs - this.#lastRaw) | 0;
    if (this.#runs.length === 0) {
      this.#last = alike(leadMs, rawMs);
      this.#begin(0, this.#last - rawMs);
    } else if (step < 0) {
      const from = this.#last + gapMs / 2;
      this.#last = alike(this.#last + gapMs, rawMs);
      this.#begin(from, this.#last - rawMs);
    } else this.#last += step;
    this.#lastRaw = rawMs;
    return this.#last;
  }

  /** The encoder's time of a frame that comes beside those; undefined before the first of them, and far from the last. */
  beside(rawMs: number): number | undefined {
    const step = (rawMs - this.#lastRaw) | 0;
    return this.#runs.length > 0 && Math.abs(step) < gapMs / 2 ? this.#last + step : undefined;
  }

  /** The newest time that the encoder was given. */
  get newest(): number {
    return this.#last;
  }

  /** The encoder's time of a frame that left it at `ms`, of which ffmpeg wrote 31 bits. */
  whole(ms: number): number {
    return this.#last + (((ms - this.#last) << 1) >> 1);
  }

  /** The raw time of that frame. */
  toRaw(ms: number): number {
    const whole = this.whole(ms);
    const run = this.#runs.findLast(({ from }) => whole >= from) ?? this.#runs[0];
    return (whole - (run?.offset ?? 0)) >>> 0;
  }

  #begin(from: number, offset: number): void {
    this.#runs.push({ from, offset });
    if (this.#runs.length > keptRuns) this.#runs.shift();
  }
}
