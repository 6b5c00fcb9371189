import { BadMedia } from "../bad-media.ts";
import type { CodedFrame, Colour, VideoTrack } from "../track.ts";
import { BitReader, equal } from "./bits.ts";
import type { Hints } from "./codec.ts";
import { chooseColour, chooseFrameRate } from "./picture.ts";

/** What a key frame's uncompressed header says, VP9 bitstream specification 6.2. */
interface Header {
  readonly profile: number;
  readonly bitDepth: number;
  /** vpcC's chromaSubsampling: 1 is 4:2:0 collocated, 2 is 4:2:2, 3 is 4:4:4. */
  readonly chroma: number;
  /** color_space */
  readonly space: number;
  readonly fullRange: boolean;
  readonly width: number;
  readonly height: number;
}

/** color_space to matrix, primaries and transfer of ISO/IEC 23091-2: unknown, BT.601, BT.709, SMPTE 170, SMPTE 240, BT.2020. */
const spaces: readonly (readonly [number, number, number] | undefined)[] = [
  undefined,
  [6, 6, 6],
  [1, 1, 1],
  [6, 6, 6],
  [7, 7, 7],
  [9, 9, 14],
  undefined,
  [0, 1, 13],
];

// biome-ignore format: a table
/** Level times ten, luma samples a second, luma samples a picture: WebM project, "VP9 levels". */
const levels = [
  [10, 829_440, 36_864], [11, 2_764_800, 73_728], [20, 4_608_000, 122_880], [21, 9_216_000, 245_760],
  [30, 20_736_000, 552_960], [31, 36_864_000, 983_040], [40, 83_558_400, 2_228_224], [41, 160_432_128, 2_228_224],
  [50, 311_951_360, 8_912_896], [51, 588_251_136, 8_912_896], [52, 1_176_502_272, 8_912_896],
  [60, 1_176_502_272, 35_651_584], [61, 2_353_004_544, 35_651_584], [62, 4_706_009_088, 35_651_584],
] as const;

/** Bytes of our record: the VPCodecConfigurationRecord (8 of them, always), then width and height, which only frames say. */
const recordBytes = 12;

/**
 * The record of a key frame that differs from `known`: what `vp9Track` takes. `sent` is the publisher's vpcC, with or
 * without the head of a full box; it alone can say HDR. Undefined for other frames. Throws BadMedia.
 */
export function vp9ConfigOf(data: Uint8Array, sent: Uint8Array | undefined): Uint8Array | undefined {
  if (!isKey(data)) return undefined;
  const { profile, bitDepth, chroma, space, fullRange, width, height } = readHeader(data);
  const told = sent && vpcC(sent);
  const [matrix, primaries, transfer] = spaces[space] ?? [2, 2, 2];
  // biome-ignore format: a line per group of fields
  return Uint8Array.of(
    profile, told?.[1] ?? 0, (bitDepth << 4) | (chroma << 1) | +fullRange,
    ...(told && told[4] !== 2 ? told.subarray(3, 6) : [primaries, transfer, matrix]), 0, 0,
    width >> 8, width & 255, height >> 8, height & 255,
  );
}

/** The eight bytes of a VPCodecConfigurationRecord. Undefined where they make no sense: frames say nearly everything. */
function vpcC(sent: Uint8Array): Uint8Array | undefined {
  const record = sent[0] === 1 && sent[1] === 0 && sent[2] === 0 && sent[3] === 0 ? sent.subarray(4) : sent;
  return record.length >= 8 ? record : undefined;
}

/** The track of a record that `vp9ConfigOf` made. Throws BadMedia. */
export function vp9Track(record: Uint8Array, hints: Hints): VideoTrack {
  if (record.length !== recordBytes) throw badConfig("is not complete without a key frame");
  const width = (record[8]! << 8) | record[9]!;
  const height = (record[10]! << 8) | record[11]!;
  const [profile, , packed, primaries, transfer, matrix] = record as unknown as number[];
  const stated: Colour = {
    primaries: primaries!,
    transfer: transfer!,
    matrix: matrix!,
    fullRange: (packed! & 1) === 1,
  };
  const known = stated.primaries !== 2 || stated.fullRange ? stated : undefined;
  const colour = chooseColour(known, hints.colour);
  const frameRate = chooseFrameRate(undefined, hints.frameRate);
  const level = record[1] || levelFor(width, height, frameRate);
  const config = record.slice(0, 8);
  config[1] = level;
  if (colour) config.set([colour.primaries, colour.transfer, colour.matrix], 3);
  const two = (value: number): string => String(value).padStart(2, "0");
  const depth = packed! >> 4;
  let codec = `vp09.${two(profile!)}.${two(level)}.${two(depth)}`;
  // The rest is for what is not 4:2:0 of BT.709.
  if (profile! > 0 && colour)
    codec += `.${two((packed! >> 1) & 7)}.${two(colour.primaries)}.${two(colour.transfer)}.${two(colour.matrix)}.${two(packed! & 1)}`;
  return {
    kind: "video",
    entry: "vp09",
    codec,
    timescale: 90_000,
    config,
    width,
    height,
    pixelAspect: [1, 1],
    colour,
    frameRate,
    ...(hints.hdr && { hdr: hints.hdr }),
  };
}

function levelFor(width: number, height: number, frameRate = 60): number {
  const picture = width * height;
  const level = levels.find(([, rate, size]) => picture <= size && picture * frameRate <= rate);
  return (level ?? levels.at(-1)!)[0];
}

/** frame_marker 2, a profile, show_existing_frame 0, frame_type 0. */
function isKey(data: Uint8Array): boolean {
  const first = data[0]!;
  if (first >> 6 !== 2) throw damaged();
  const profile = ((first >> 5) & 1) | ((first >> 3) & 2);
  return profile === 3 ? (first & 0b0111) >> 1 === 0 && (first & 8) === 0 : (first & 0b1100) === 0;
}

/** Throws BadMedia. */
function readHeader(data: Uint8Array): Header {
  const bits = new BitReader(data, "VP9 frame header");
  bits.read(2);
  const profile = bits.read(1) + 2 * bits.read(1);
  if (profile === 3) bits.flag();
  bits.read(4); // show_existing_frame, frame_type, show_frame, error_resilient_mode
  if (bits.read(24) !== 0x498342) throw damaged();
  const bitDepth = profile < 2 ? 8 : bits.flag() ? 12 : 10;
  const space = bits.read(3);
  let fullRange = true;
  let chroma = 1;
  if (space !== 7) {
    fullRange = bits.flag();
    if (profile & 1) {
      const [x, y] = [bits.read(1), bits.read(1)];
      bits.flag();
      chroma = x ? (y ? 1 : 2) : 3;
    }
  } else {
    chroma = 3;
    if (!(profile & 1)) throw damaged(); // sRGB is 4:4:4
    bits.flag();
  }
  const width = bits.read(16) + 1;
  const height = bits.read(16) + 1;
  if (width > 0xffff || height > 0xffff) throw badConfig(`says the picture is ${width}x${height}`);
  return { profile, bitDepth, chroma, space, fullRange, width, height };
}

/**
 * A frame or superframe as it is. `key` is read from the frame itself. A key frame of another size or format than `known`
 * is answered with its record. Throws BadMedia.
 */
export function cleanVp9(data: Uint8Array, known: Uint8Array): CodedFrame | undefined {
  if (data.length === 0) return undefined;
  if (!isKey(data)) return { key: false, data, config: undefined };
  const told = known.subarray(0, 8);
  const record = vp9ConfigOf(data, told)!;
  return { key: true, data, config: equal(record, known) ? undefined : record };
}

function damaged(): BadMedia {
  return new BadMedia("bad_flv", "The encoder sent a damaged VP9 frame");
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's VP9 sequence header ${what}`);
}
