/** A segment or part of a playlist in media seconds; `gap` says that it has no media. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly gap: boolean;
}

/** Playlists and buffers differ by rounding, and audio ends some frames before or after video. */
const NEAR = 0.25;

/** True when the media that ends at `dry` is followed by a gap. */
export function gapAt(stretches: readonly Stretch[], dry: number): boolean {
  return stretches.some(({ gap, start, end }) => gap && start <= dry + NEAR && end > dry - 0.05);
}

/**
 * Where playback continues when the buffer ends at `dry` and a gap follows: the start of the first media behind the
 * gap, once `least` seconds of it are listed. Undefined while there is no gap, or nothing behind it yet.
 */
export function behindGap(stretches: readonly Stretch[], dry: number, least: number): number | undefined {
  const first = stretches.findIndex(({ gap, start, end }) => gap && start <= dry + NEAR && end > dry - 0.05);
  if (first < 0) return undefined;
  const media = stretches.slice(first).filter(({ gap }) => !gap);
  const [next, last] = [media[0], media.at(-1)];
  return next && last && last.end - next.start >= least ? next.start : undefined;
}
