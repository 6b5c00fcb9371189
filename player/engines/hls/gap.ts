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
  return stretches.some((stretch) => isAt(stretch, dry));
}

/**
 * Where playback continues when the buffer ends at `dry` and a gap follows: the start of the first media behind the
 * gap. Undefined while there is no gap, or nothing behind it yet.
 */
export function behindGap(stretches: readonly Stretch[], dry: number): number | undefined {
  const first = stretches.findIndex((stretch) => isAt(stretch, dry));
  return first < 0 ? undefined : stretches.slice(first).find(({ gap }) => !gap)?.start;
}

function isAt({ gap, start, end }: Stretch, dry: number): boolean {
  return gap && start <= dry + NEAR && end > dry - 0.05;
}
