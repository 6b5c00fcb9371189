import { BadMedia } from "../bad-media.ts";
import type { CodedFrame, Colour, VideoTrack } from "../track.ts";
import { captionsInUnits } from "./a53.ts";
import { BitReader, equal, hex } from "./bits.ts";
import { cleanUnits, rolesOf, startsWithStartCode, unescaped, withoutPadding } from "./nal.ts";
import { chooseFrameRate, readDisplay } from "./picture.ts";

/** avcC taken apart, ISO/IEC 14496-15 5.3.3.1. */
export interface AvcConfig {
  /** Bytes of the length before each NAL unit in the publisher's samples: 1, 2 or 4. */
  readonly lengthSize: number;
  readonly sps: readonly Uint8Array[];
  readonly pps: readonly Uint8Array[];
}

/** What a sequence parameter set says of the picture, ISO/IEC 14496-10 7.3.2.1 and Annex E. */
interface AvcPicture {
  readonly width: number;
  readonly height: number;
  readonly pixelAspect: readonly [number, number];
  readonly colour: Colour | undefined;
  /** Only if the encoder promises a constant one. */
  readonly frameRate: number | undefined;
  readonly chromaFormat: number;
  readonly bitDepthLuma: number;
  readonly bitDepthChroma: number;
}

/** NAL unit types, table 7-1. 7 to 13 are parameter sets, delimiters, ends, filler and parameter set extensions. */
const nal = { idr: 5, sei: 6, sps: 7, pps: 8, spsExtension: 13, subsetSps: 15 };

/** Profiles whose SPS has the chroma block: 7.3.2.1.1. */
const withChroma = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 134, 135, 138, 139]);
/** Profiles whose avcC has the tail: 14496-15 5.3.3.1.2. */
const withTail = new Set([100, 110, 122, 144, 244, 44]);

/** 8K; no encoder of H.264 goes further. */
const maxSide = 8192;
/** Real ones have 20 to 60 bytes, with HRD and scaling lists some hundreds. */
const maxSetBytes = 2048;

/** The track of an avcC. Its `config` is rewritten: 4-byte lengths, the profile of the SPS, the High tail. Throws BadMedia. */
export function avcTrack(avcC: Uint8Array, hints: { readonly frameRate?: number | undefined }): VideoTrack {
  const config = readAvcConfig(avcC);
  const { profile, compatibility, level } = profileOf(config.sps[0]!);
  const picture = readSps(config.sps[0]!);
  return {
    kind: "video",
    entry: "avc1",
    codec: `avc1.${hex(profile)}${hex(compatibility)}${hex(level)}`,
    timescale: 90_000,
    config: writeAvcConfig({ ...config, lengthSize: 4 }),
    width: picture.width,
    height: picture.height,
    pixelAspect: picture.pixelAspect,
    colour: picture.colour,
    frameRate: chooseFrameRate(picture.frameRate, hints.frameRate),
  };
}

/** Throws BadMedia. The parameter sets are views into `avcC`. */
export function readAvcConfig(avcC: Uint8Array): AvcConfig {
  if (startsWithStartCode(avcC)) throw annexB();
  if (avcC.length < 7 || avcC[0] !== 1) throw badConfig("is not an AVCDecoderConfigurationRecord");
  const lengthSize = (avcC[4]! & 3) + 1;
  if (lengthSize === 3) throw badConfig("has NAL unit lengths of 3 bytes");
  let at = 5;
  const sets = (count: number, type: number): Uint8Array[] => {
    const found: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      if (at + 2 > avcC.length) throw badConfig("is cut short");
      const length = (avcC[at]! << 8) | avcC[at + 1]!;
      if (length === 0 || length > avcC.length - at - 2) throw badConfig("is cut short");
      if (length > maxSetBytes) throw badConfig(`has a parameter set of ${length} bytes`);
      const set = withoutPadding(avcC.subarray(at + 2, at + 2 + length));
      if ((set[0]! & 31) !== type) throw badConfig(`has NAL unit type ${set[0]! & 31} where ${type} belongs`);
      found.push(set);
      at += 2 + length;
    }
    return found;
  };
  const sps = sets(avcC[at++]! & 31, nal.sps);
  if (at >= avcC.length) throw badConfig("is cut short");
  const pps = sets(avcC[at++]!, nal.pps);
  if (!sps[0] || sps[0].length < 5) throw badConfig("has no sequence parameter set");
  if (!pps[0]) throw badConfig("has no picture parameter set");
  // The High tail is rebuilt from the SPS: many encoders leave it out.
  return { lengthSize, sps, pps };
}

function writeAvcConfig(config: AvcConfig): Uint8Array {
  const { lengthSize, sps, pps } = config;
  const { profile, compatibility, level } = profileOf(sps[0]!);
  const out = [1, profile, compatibility, level, 0xfc | (lengthSize - 1), 0xe0 | sps.length];
  const put = (set: Uint8Array): void => {
    out.push(set.length >> 8, set.length & 255);
    for (const byte of set) out.push(byte);
  };
  sps.forEach(put);
  out.push(pps.length);
  pps.forEach(put);
  if (withTail.has(profile)) {
    const { chromaFormat, bitDepthLuma, bitDepthChroma } = readSps(sps[0]!);
    out.push(0xfc | chromaFormat, 0xf8 | (bitDepthLuma - 8), 0xf8 | (bitDepthChroma - 8));
    out.push(0); // no SPS extensions: they describe auxiliary pictures
  }
  return Uint8Array.from(out);
}

function profileOf(sps: Uint8Array): { profile: number; compatibility: number; level: number } {
  return { profile: sps[1]!, compatibility: sps[2]!, level: sps[3]! };
}

/** Reads a sequence parameter set NAL unit. Throws BadMedia; every loop is bounded by the bytes that are there. */
function readSps(unit: Uint8Array): AvcPicture {
  const bits = new BitReader(unescaped(unit), "H.264 sequence parameter set");
  bits.read(8); // NAL unit header
  const profile = bits.read(8);
  bits.read(16); // constraint flags, level
  bits.unsigned(31); // seq_parameter_set_id
  let chromaFormat = 1;
  let separatePlanes = false;
  let bitDepthLuma = 8;
  let bitDepthChroma = 8;
  if (withChroma.has(profile)) {
    chromaFormat = bits.unsigned(3);
    if (chromaFormat === 3) separatePlanes = bits.flag();
    bitDepthLuma = 8 + bits.unsigned(6);
    bitDepthChroma = 8 + bits.unsigned(6);
    bits.flag(); // qpprime_y_zero_transform_bypass
    if (bits.flag()) {
      const lists = chromaFormat === 3 ? 12 : 8;
      for (let i = 0; i < lists; i++) if (bits.flag()) skipScalingList(bits, i < 6 ? 16 : 64);
    }
  }
  bits.unsigned(12); // log2_max_frame_num_minus4
  const orderType = bits.unsigned(2);
  if (orderType === 0) bits.unsigned(12);
  else if (orderType === 1) {
    bits.flag();
    bits.signed();
    bits.signed();
    for (let left = bits.unsigned(255); left > 0; left--) bits.signed();
  }
  bits.unsigned(16); // max_num_ref_frames
  bits.flag(); // gaps_in_frame_num
  const widthMbs = bits.unsigned(maxSide / 16 - 1) + 1;
  const heightUnits = bits.unsigned(maxSide / 16 - 1) + 1;
  const progressive = bits.flag(); // frame_mbs_only: else a map unit is two macroblocks high
  if (!progressive) bits.flag();
  bits.flag(); // direct_8x8_inference
  let width = widthMbs * 16;
  let height = heightUnits * 16 * (progressive ? 1 : 2);
  if (bits.flag()) {
    // Crop units, equations 7-19 to 7-22: in chroma samples, and in field lines if not progressive.
    const chroma = separatePlanes ? 0 : chromaFormat;
    const unitX = chroma === 1 || chroma === 2 ? 2 : 1;
    const unitY = (chroma === 1 ? 2 : 1) * (progressive ? 1 : 2);
    width -= unitX * (bits.unsigned(maxSide) + bits.unsigned(maxSide));
    height -= unitY * (bits.unsigned(maxSide) + bits.unsigned(maxSide));
  }
  if (width < 1 || height < 1 || height > maxSide) throw badConfig(`says the picture is ${width}x${height}`);
  const usability = bits.flag() ? readUsability(bits) : noUsability;
  return { width, height, ...usability, chromaFormat, bitDepthLuma, bitDepthChroma };
}

type Usability = Pick<AvcPicture, "pixelAspect" | "colour" | "frameRate">;
const noUsability: Usability = { pixelAspect: [1, 1], colour: undefined, frameRate: undefined };

/** VUI, E.1.1, as far as the frame rate. */
function readUsability(bits: BitReader): Usability {
  const display = readDisplay(bits);
  let frameRate: number | undefined;
  if (bits.flag()) {
    const tick = bits.read(32);
    const scale = bits.read(32);
    const rate = scale / (2 * tick); // a tick is a field
    if (bits.flag() && rate >= 1 && rate <= 300) frameRate = rate;
  }
  return { ...display, frameRate };
}

function skipScalingList(bits: BitReader, size: number): void {
  let last = 8;
  for (let i = 0; i < size; i++) {
    const next = (last + bits.signed() + 256) & 255;
    if (next === 0) return; // the rest repeats
    last = next;
  }
}

/**
 * What to mux of one access unit of a publisher with this config: without delimiters, parameter sets (they are in the init
 * segment) and filler, and with 4-byte lengths. Pieces are views into `data`; nothing is copied. Undefined if no picture
 * is left. Parameter sets that differ from the config's are answered with a new one. Throws BadMedia.
 *
 * `key` is an IDR picture and nothing else, whatever the FLV flag says: after an I picture with a recovery point (open GOP,
 * intra refresh) frames may still need what came before, so a player cannot start there and CMAF (SAP type 1 or 2) forbids it.
 */
export function cleanAvc(data: Uint8Array, known: AvcConfig): CodedFrame | undefined {
  const cleaned = cleanUnits(data, known.lengthSize, roles);
  if (cleaned === undefined) throw damaged(data);
  if (!cleaned.picture) return undefined;
  const changed = cleaned.sets.filter(
    (unit) => !((unit[0]! & 31) === nal.sps ? known.sps : known.pps).some((set) => equal(set, unit)),
  );
  return {
    key: cleaned.key,
    data: cleaned.pieces.length === 1 ? cleaned.pieces[0]! : cleaned.pieces,
    config: changed.length > 0 ? withParameterSets(known, changed) : undefined,
    captions: cleaned.told.length > 0 ? captionsInUnits(cleaned.told, 1) : undefined,
  };
}

/** By the first byte of a NAL unit. */
const roles = rolesOf((header) => {
  const type = header & 31;
  if (type === nal.idr) return "key";
  if (type >= 1 && type <= 4) return "picture";
  if (type === nal.sps || type === nal.pps) return "set";
  if (type === nal.sei) return "told";
  return (type > nal.pps && type <= nal.spsExtension) || type === nal.subsetSps ? "dropped" : "kept";
});

/** The avcC with `units` in place of those of the same id: for encoders that change parameter sets in band only. */
function withParameterSets(known: AvcConfig, units: readonly Uint8Array[]): Uint8Array {
  const sps = [...known.sps];
  const pps = [...known.pps];
  for (const unit of units) {
    if (unit.length > maxSetBytes || unit.length < 2)
      throw badConfig(`has a parameter set of ${unit.length} bytes`);
    const isSps = (unit[0]! & 31) === nal.sps;
    const sets = isSps ? sps : pps;
    const id = setId(unit, isSps);
    const same = sets.findIndex((set) => setId(set, isSps) === id);
    sets.splice(same < 0 ? sets.length : same, same < 0 ? 0 : 1, unit);
  }
  return writeAvcConfig({ ...known, sps: sps.slice(0, 31), pps: pps.slice(0, 255) });
}

function setId(unit: Uint8Array, isSps: boolean): number {
  const bits = new BitReader(unescaped(unit.subarray(isSps ? 4 : 1, 16)), "H.264 parameter set");
  return bits.unsigned(255);
}

function damaged(data: Uint8Array): BadMedia {
  return startsWithStartCode(data)
    ? annexB()
    : new BadMedia("bad_flv", "The encoder sent a damaged H.264 frame");
}

function annexB(): BadMedia {
  const message =
    "The encoder sends H.264 with start codes (Annex B); RTMP and FLV need length prefixes (AVCC)";
  return new BadMedia("bad_config", message);
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's H.264 sequence header ${what}`);
}
