/** A stream of less or more is not what `videodatarate` means. */
const saneKbps = { least: 50, most: 100_000 };
/** The encoder's letter about itself stands before the first slice. */
const letterBytes = 4_096;

/** The kilobits a second of `videodatarate`; undefined where it states none (ffmpeg writes 0) or nonsense. */
export function statedKbps(kbps: unknown): number | undefined {
  if (typeof kbps !== "number" || !(kbps >= saneKbps.least && kbps <= saneKbps.most)) return undefined;
  return Math.round(kbps);
}

/**
 * The most frames from keyframe to keyframe that x264 or x265 was told, from the letter that it puts into its first frame.
 * Undefined without one. Other programs place keyframes by themselves besides; OBS never does.
 */
export function statedInterval(frame: Uint8Array): number | undefined {
  let text = "";
  for (const byte of frame.subarray(0, letterBytes)) text += String.fromCharCode(byte);
  const [, count] = /x26[45][ -~]+? keyint=(\d{1,6}|infinite)[ \0]/.exec(text) ?? [];
  if (count === undefined) return undefined;
  return count === "infinite" ? Number.POSITIVE_INFINITY : Number(count);
}

/** From a keyframe to the next one, as long as nobody says how far that is. */
const assumedGopMs = 2_000;
/** So much of a stream is looked at. */
const sampleMs = 500;

/** Estimates the bitrate of a video from its first half second: a pure function of its frames, the same at every start. */
export class RateSample {
  #fromMs: number | undefined;
  #keyBytes = 0;
  #otherBytes = 0;

  /** Takes the next frame in decoding order; kilobits a second once enough has been seen. */
  add(frame: { readonly ms: number; readonly bytes: number; readonly key: boolean }): number | undefined {
    this.#fromMs ??= frame.ms;
    const spanMs = frame.ms - this.#fromMs;
    if (spanMs < 0 || spanMs > 4 * sampleMs) {
      // The clock stepped.
      this.#fromMs = frame.ms;
      this.#keyBytes = 0;
      this.#otherBytes = 0;
    } else if (spanMs >= sampleMs)
      return Math.max(1, Math.round((8 * this.#otherBytes) / spanMs + (8 * this.#keyBytes) / assumedGopMs));
    if (frame.key) this.#keyBytes = Math.max(this.#keyBytes, frame.bytes);
    else this.#otherBytes += frame.bytes;
    return undefined;
  }
}
