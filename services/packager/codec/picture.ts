import type { Colour } from "../track.ts";

// biome-ignore format: a table
/** Sample aspect ratios by aspect_ratio_idc from 1 (ISO/IEC 14496-10 table E-1, 23008-2 table E.1). */
export const aspects: readonly (readonly [number, number])[] = [
  [1, 1], [12, 11], [10, 11], [16, 11], [40, 33], [24, 11], [20, 11], [32, 11],
  [80, 33], [18, 11], [15, 11], [64, 33], [160, 99], [4, 3], [3, 2], [2, 1],
];

/** The bitstream is exact (30000/1001) but often wrong by a factor of two; metadata is rounded but rarely wrong. */
export function chooseFrameRate(stated: number | undefined, hint: number | undefined): number | undefined {
  if (hint === undefined || !(hint >= 1 && hint <= 300)) return stated;
  return stated !== undefined && Math.abs(stated - hint) < hint / 100 ? stated : hint;
}

/** ISO/IEC 23091-2: 2 says nothing. */
const unspecified = 2;

/** What the bitstream says of colour, or the publisher where the bitstream says nothing. */
export function chooseColour(stated: Colour | undefined, hint: Colour | undefined): Colour | undefined {
  if (!hint || (stated && stated.transfer !== unspecified)) return stated;
  return { ...hint, fullRange: stated?.fullRange ?? hint.fullRange };
}
