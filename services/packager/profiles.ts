/**
 * What the playlists of a broadcast are built of: chosen once for it, because these never change under a player (rfc8216bis 6.2.1 for
 * TARGETDURATION; for PART-TARGET the draft says nothing, and Apple's players end at a change).
 */
export interface Profile {
  readonly name: ProfileName;
  /** What a part aims at: PART-TARGET is this and one frame of sound more (rfc8216bis 4.4.3.7). */
  readonly partSeconds: number;
  /** A keyframe cuts once the open segment is this long. */
  readonly segmentSeconds: number;
  /** Whole seconds; no segment is longer when rounded (rfc8216bis 4.4.3.1). */
  readonly targetDuration: number;
  /** Lists without parts and without held requests (rfc8216bis 4.4.3.8), for players and caches that cannot deal with these. */
  readonly plain: boolean;
}

export const profileNames = ["low", "ultra", "safe"] as const;
export type ProfileName = (typeof profileNames)[number];

/**
 * `low` is as fast as every player plays without a stall. `ultra` asks for a player that knows parts of a fifth of a second;
 * PART-TARGET stays below 0.25. `safe` has segments of about four seconds, cut a tenth early for encoders that round down.
 */
export const profiles: Readonly<Record<ProfileName, Profile>> = {
  low: { name: "low", partSeconds: 0.5, segmentSeconds: 1, targetDuration: 4, plain: false },
  ultra: { name: "ultra", partSeconds: 0.2, segmentSeconds: 1, targetDuration: 4, plain: false },
  safe: { name: "safe", partSeconds: 1, segmentSeconds: 3.9, targetDuration: 6, plain: true },
};

/** The profile that a broadcast of these constants was begun with: its parts are as long as these allow. */
export function profileOf({
  targetDuration,
  partTarget,
}: {
  targetDuration: number;
  partTarget: number;
}): Profile {
  const fitting = Object.values(profiles)
    .filter((one) => one.targetDuration === targetDuration && one.partSeconds <= partTarget)
    .sort((a, b) => b.partSeconds - a.partSeconds);
  return fitting[0] ?? profiles.low;
}
