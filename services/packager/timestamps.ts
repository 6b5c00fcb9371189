/** 2^24: encoders that cannot write RTMP's extended timestamp; 2^31: FFmpeg; 2^32: everyone else, after 49.7 days. */
const moduli = [2 ** 24, 2 ** 31, 2 ** 32] as const;

/** How close to the modulus and to 0 the two sides of a wrap must lie; anything wider is a jump and not ours to judge. */
const nearMs = 60_000;

/**
 * A function from the raw timestamps of one publish, all tracks in order of arrival, to timestamps that do not wrap.
 * Tracks share it: one may be on either side of a wrap for a while. Steps back and jumps come out as they went in.
 */
export function createUnwrapper(): (rawMs: number) => number {
  let last = -1;
  let offset = 0;
  let wrapped = 0;
  return (rawMs) => {
    // The track that lags: still before a wrap that another one has passed.
    if (wrapped > 0 && last < nearMs && rawMs < wrapped && rawMs >= wrapped - nearMs)
      return offset - wrapped + rawMs;
    if (rawMs < nearMs && last > nearMs) {
      for (const modulus of moduli) {
        if (last >= modulus || last < modulus - nearMs) continue;
        offset += modulus;
        wrapped = modulus;
      }
    }
    last = rawMs;
    return offset + rawMs;
  };
}
