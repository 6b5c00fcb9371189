import type { Colour } from "../track.ts";
import type { BitReader } from "./bits.ts";

// biome-ignore format: a table
/** Sample aspect ratios by aspect_ratio_idc from 1 (ISO/IEC 14496-10 table E-1, 23008-2 table E.1). */
const aspects: readonly (readonly [number, number])[] = [
  [1, 1], [12, 11], [10, 11], [16, 11], [40, 33], [24, 11], [20, 11], [32, 11],
  [80, 33], [18, 11], [15, 11], [64, 33], [160, 99], [4, 3], [3, 2], [2, 1],
];

/** How the picture is to be shown, as far as H.264 and HEVC say it in the same words. */
export interface Display {
  readonly pixelAspect: readonly [number, number];
  readonly colour: Colour | undefined;
}

/** VUI up to the place of chroma samples: ISO/IEC 14496-10 E.1.1 and 23008-2 E.2.1 begin alike. */
export function readDisplay(bits: BitReader): Display {
  let pixelAspect: Display["pixelAspect"] = [1, 1];
  let colour: Colour | undefined;
  if (bits.flag()) {
    const idc = bits.read(8);
    const [across, down] = idc === 255 ? [bits.read(16), bits.read(16)] : (aspects[idc - 1] ?? [1, 1]);
    // 0 is "unspecified"; what no camera has would only overflow the track header.
    if (across && down && across / down <= 4 && down / across <= 4) pixelAspect = [across, down];
  }
  if (bits.flag()) bits.flag(); // overscan
  if (bits.flag()) {
    bits.read(3); // video_format
    const fullRange = bits.flag();
    if (bits.flag())
      colour = { primaries: bits.read(8), transfer: bits.read(8), matrix: bits.read(8), fullRange };
    else if (fullRange) colour = { primaries: 2, transfer: 2, matrix: 2, fullRange }; // 2: unspecified
  }
  if (bits.flag()) {
    bits.unsigned(5); // chroma sample location
    bits.unsigned(5);
  }
  return { pixelAspect, colour };
}

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
