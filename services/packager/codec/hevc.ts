import { BadMedia } from "../bad-media.ts";
import type { CodedFrame, Colour, VideoTrack } from "../track.ts";
import { captionsInUnits, hasHdr10Plus } from "./a53.ts";
import { BitReader, equal } from "./bits.ts";
import type { Hints } from "./codec.ts";
import { cleanUnits, rolesOf, startsWithStartCode, unescaped, withoutPadding } from "./nal.ts";
import { chooseColour, chooseFrameRate, readDisplay } from "./picture.ts";

/** hvcC taken apart, ISO/IEC 14496-15 8.3.3.1. */
export interface HevcConfig {
  /** Bytes of the length before each NAL unit in the publisher's samples: 1, 2 or 4. */
  readonly lengthSize: number;
  /** The 22 bytes from the version to the length size, as they came. */
  readonly head: Uint8Array;
  readonly vps: readonly Uint8Array[];
  readonly sps: readonly Uint8Array[];
  readonly pps: readonly Uint8Array[];
  /** Supplemental information for the whole stream, as far as it is of the picture. */
  readonly sei: readonly Uint8Array[];
}

/** What a sequence parameter set says, ISO/IEC 23008-2 7.3.2.2 and Annex E. */
interface HevcPicture {
  readonly id: number;
  /** general_profile_space to general_level_idc: 12 bytes. */
  readonly profile: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly chromaFormat: number;
  readonly bitDepthLuma: number;
  readonly bitDepthChroma: number;
  readonly pixelAspect: readonly [number, number];
  readonly colour: Colour | undefined;
  readonly frameRate: number | undefined;
}

/** Table 7-1. */
const nal = { blaRadl: 17, blaAlone: 18, idrRadl: 19, idrAlone: 20, vps: 32, sps: 33, pps: 34 };
const seiPrefix = 39;
/** Payload types, D.2.1. Encoders also write letters into the configuration, of a kilobyte and more. */
const masteringDisplay = 137;
const contentLight = 144;
const kept = new Set([masteringDisplay, contentLight, 147]);
/** Access unit delimiter, end of sequence, end of bitstream, filler. */
const delimiters = new Set([35, 36, 37, 38]);

const headBytes = 22;
const maxSide = 16_384;
const maxSetBytes = 4096;

/** The track of an hvcC. Its `config` is rewritten: 4-byte lengths, all parameter sets declared complete (`hvc1`). Throws BadMedia. */
export function hevcTrack(hvcC: Uint8Array, hints: Hints): VideoTrack {
  const config = readHevcConfig(hvcC);
  const picture = readSps(config.sps[0]!);
  return {
    kind: "video",
    entry: "hvc1",
    codec: codecString(picture.profile),
    timescale: 90_000,
    config: writeHevcConfig(config, picture),
    width: picture.width,
    height: picture.height,
    pixelAspect: picture.pixelAspect,
    colour: chooseColour(picture.colour, hints.colour),
    frameRate: chooseFrameRate(picture.frameRate, hints.frameRate),
    ...hdrOf(config.sei, hints),
  };
}

/** Both boxes have the fields of their message (D.2.28, D.2.35), in its order. */
function hdrOf(sei: readonly Uint8Array[], { hdr }: Hints): Pick<VideoTrack, "hdr"> {
  const payload = (type: number, length: number): Uint8Array | undefined => {
    const unit = sei.map(unescaped).find((one) => one[2] === type && one[3] === length);
    return unit && unit.length >= 4 + length ? unit.slice(4, 4 + length) : undefined;
  };
  const mastering = payload(masteringDisplay, 24) ?? hdr?.mastering;
  const light = payload(contentLight, 4) ?? hdr?.light;
  return mastering || light ? { hdr: { mastering, light } } : {};
}

/** 14496-15 Annex E.3: the compatibility flags backwards, then the constraint bytes up to the last that is not zero. */
function codecString(profile: Uint8Array): string {
  const first = profile[0]!;
  const space = ["", "A", "B", "C"][first >> 6]!;
  let flags = 0;
  for (let i = 0; i < 32; i++) if ((profile[1 + (i >> 3)]! >> (7 - (i & 7))) & 1) flags += 2 ** i;
  let text = `hvc1.${space}${first & 31}.${flags.toString(16).toUpperCase()}.${first & 0x20 ? "H" : "L"}${profile[11]}`;
  let last = 10;
  while (last >= 5 && profile[last] === 0) last--;
  for (let i = 5; i <= last; i++) text += `.${profile[i]!.toString(16).toUpperCase()}`;
  return text;
}

/** Throws BadMedia. The parameter sets are views into `hvcC`. */
export function readHevcConfig(hvcC: Uint8Array): HevcConfig {
  if (startsWithStartCode(hvcC) && hvcC[4] !== 0) throw annexB();
  // Version 0 is what was written before the standard was done; the layout is the same.
  if (hvcC.length < headBytes + 1 || hvcC[0]! > 1)
    throw badConfig("is not an HEVCDecoderConfigurationRecord");
  const lengthSize = (hvcC[21]! & 3) + 1;
  if (lengthSize === 3) throw badConfig("has NAL unit lengths of 3 bytes");
  const found: Record<number, Uint8Array[]> = {};
  let at = headBytes + 1;
  for (let arrays = hvcC[headBytes]!; arrays > 0; arrays--) {
    if (at + 3 > hvcC.length) throw badConfig("is cut short");
    const type = hvcC[at]! & 63;
    let count = (hvcC[at + 1]! << 8) | hvcC[at + 2]!;
    at += 3;
    for (; count > 0; count--) {
      if (at + 2 > hvcC.length) throw badConfig("is cut short");
      const length = (hvcC[at]! << 8) | hvcC[at + 1]!;
      if (length < 3 || length > hvcC.length - at - 2) throw badConfig("is cut short");
      if (length > maxSetBytes) throw badConfig(`has a parameter set of ${length} bytes`);
      const unit = withoutPadding(hvcC.subarray(at + 2, at + 2 + length));
      if (typeOf(unit) !== type) throw badConfig(`has NAL unit type ${typeOf(unit)} where ${type} belongs`);
      found[type] ??= [];
      found[type].push(unit);
      at += 2 + length;
    }
  }
  const { [nal.vps]: vps = [], [nal.sps]: sps = [], [nal.pps]: pps = [] } = found;
  const sei = (found[seiPrefix] ?? []).filter((unit) => kept.has(unit[2]!));
  if (!sps[0]) throw badConfig("has no sequence parameter set");
  if (!pps[0]) throw badConfig("has no picture parameter set");
  if (!vps[0]) throw badConfig("has no video parameter set");
  return { lengthSize, head: hvcC.subarray(0, headBytes), vps, sps, pps, sei };
}

function writeHevcConfig(config: HevcConfig, picture: HevcPicture): Uint8Array {
  const { head, vps, sps, pps, sei } = config;
  const out = [1, ...picture.profile];
  out.push(0xf0 | (head[13]! & 15), head[14]!); // min_spatial_segmentation_idc
  out.push(0xfc | (head[15]! & 3)); // parallelismType
  out.push(
    0xfc | picture.chromaFormat,
    0xf8 | (picture.bitDepthLuma - 8),
    0xf8 | (picture.bitDepthChroma - 8),
  );
  out.push(head[19]!, head[20]!); // avgFrameRate
  out.push((head[21]! & 0xfc) | 3); // constantFrameRate, numTemporalLayers, temporalIdNested; 4-byte lengths
  const arrays = [
    [nal.vps, vps],
    [nal.sps, sps],
    [nal.pps, pps],
    [seiPrefix, sei],
  ] as const;
  const present = arrays.filter(([, units]) => units.length > 0);
  out.push(present.length);
  for (const [type, units] of present) {
    // hvc1: array_completeness, none of these in the samples. SEI may stand in both.
    out.push((type === seiPrefix ? 0 : 0x80) | type, units.length >> 8, units.length & 255);
    for (const unit of units) {
      out.push(unit.length >> 8, unit.length & 255);
      for (const byte of unit) out.push(byte);
    }
  }
  return Uint8Array.from(out);
}

function typeOf(unit: Uint8Array): number {
  return (unit[0]! >> 1) & 63;
}

/** Reads a sequence parameter set NAL unit. Throws BadMedia; every loop is bounded by the bytes that are there. */
function readSps(unit: Uint8Array): HevcPicture {
  const plain = unescaped(unit);
  const bits = new BitReader(plain, "HEVC sequence parameter set");
  bits.read(16); // NAL unit header
  bits.read(4); // sps_video_parameter_set_id
  const layers = bits.read(3); // sps_max_sub_layers_minus1
  bits.flag(); // temporal id nesting
  const profile = Uint8Array.from({ length: 12 }, () => bits.read(8));
  skipSubLayers(bits, layers);
  const id = bits.unsigned(15);
  const chromaFormat = bits.unsigned(3);
  const separatePlanes = chromaFormat === 3 && bits.flag();
  let width = bits.unsigned(maxSide);
  let height = bits.unsigned(maxSide);
  if (bits.flag()) {
    const chroma = separatePlanes ? 0 : chromaFormat;
    const unitX = chroma === 1 || chroma === 2 ? 2 : 1;
    const unitY = chroma === 1 ? 2 : 1;
    width -= unitX * (bits.unsigned(maxSide) + bits.unsigned(maxSide));
    height -= unitY * (bits.unsigned(maxSide) + bits.unsigned(maxSide));
  }
  if (width < 1 || height < 1) throw badConfig(`says the picture is ${width}x${height}`);
  const bitDepthLuma = 8 + bits.unsigned(7);
  const bitDepthChroma = 8 + bits.unsigned(7);
  const orderBits = 4 + bits.unsigned(12);
  for (let i = bits.flag() ? 0 : layers; i <= layers; i++) {
    bits.unsigned(0xffff_fffe);
    bits.unsigned(0xffff_fffe);
    bits.unsigned(0xffff_fffe);
  }
  for (let i = 0; i < 6; i++) bits.unsigned(31); // block sizes and depths
  if (bits.flag() && bits.flag()) skipScalingLists(bits);
  bits.read(2); // asymmetric partitions, sample adaptive offset
  if (bits.flag()) {
    bits.read(8); // pcm bit depths
    bits.unsigned(31);
    bits.unsigned(31);
    bits.flag();
  }
  skipReferenceSets(bits);
  if (bits.flag()) {
    for (let left = bits.unsigned(32); left > 0; left--) bits.read(orderBits + 1);
  }
  bits.read(2); // temporal motion vectors, strong intra smoothing
  const usability = bits.flag() ? readUsability(bits) : noUsability;
  return { id, profile, width, height, chromaFormat, bitDepthLuma, bitDepthChroma, ...usability };
}

/** What profile_tier_level says of temporal sub-layers, 7.3.3. */
function skipSubLayers(bits: BitReader, layers: number): void {
  const present: number[] = [];
  for (let i = 0; i < layers; i++) present.push(bits.read(2));
  if (layers > 0) bits.read(2 * (8 - layers));
  for (const flags of present) {
    if (flags & 2) for (let i = 0; i < 11; i++) bits.read(8);
    if (flags & 1) bits.read(8);
  }
}

/** 7.3.4 */
function skipScalingLists(bits: BitReader): void {
  for (let size = 0; size < 4; size++) {
    for (let matrix = 0; matrix < 6; matrix += size === 3 ? 3 : 1) {
      if (!bits.flag()) {
        bits.unsigned(5);
        continue;
      }
      if (size > 1) bits.signed();
      for (let left = Math.min(64, 1 << (4 + (size << 1))); left > 0; left--) bits.signed();
    }
  }
}

/** Short-term reference picture sets, 7.3.7: each may be told by its difference to the one before. */
function skipReferenceSets(bits: BitReader): void {
  const count = bits.unsigned(64);
  let deltas = 0;
  for (let i = 0; i < count; i++) {
    if (i > 0 && bits.flag()) {
      bits.flag(); // sign
      bits.unsigned(0xffff); // distance
      let used = 0;
      for (let j = 0; j <= deltas; j++) if (bits.flag() || bits.flag()) used++;
      deltas = used;
    } else {
      deltas = bits.unsigned(16);
      deltas += bits.unsigned(16);
      for (let j = 0; j < deltas; j++) {
        bits.unsigned(0xffff);
        bits.flag();
      }
    }
  }
}

type Usability = Pick<HevcPicture, "pixelAspect" | "colour" | "frameRate">;
const noUsability: Usability = { pixelAspect: [1, 1], colour: undefined, frameRate: undefined };

/** VUI, E.2.1, as far as the frame rate. */
function readUsability(bits: BitReader): Usability {
  const display = readDisplay(bits);
  let frameRate: number | undefined;
  bits.read(3); // neutral chroma, fields, frame field information
  if (bits.flag()) for (let i = 0; i < 4; i++) bits.unsigned(maxSide); // default display window
  if (bits.flag()) {
    const tick = bits.read(32);
    const rate = bits.read(32) / tick;
    if (rate >= 1 && rate <= 300) frameRate = rate;
  }
  return { ...display, frameRate };
}

/** By the first byte of a NAL unit. */
const roles = rolesOf((header) => {
  const type = (header >> 1) & 63;
  if (type === nal.vps || type === nal.sps || type === nal.pps) return "set";
  if (delimiters.has(type)) return "dropped";
  if (type === seiPrefix) return "told";
  if (type >= nal.blaRadl && type <= nal.idrAlone) return "key";
  return type < nal.vps ? "picture" : "kept";
});

/**
 * What to mux of one access unit of a publisher with this config, as `cleanAvc`. `key` is an IDR picture, or a broken link
 * without pictures before it that need more: after a CRA picture, which open GOPs have, the pictures shown before it cannot
 * be decoded by who starts there (SAP type 3, which CMAF forbids). Throws BadMedia.
 */
export function cleanHevc(data: Uint8Array, known: HevcConfig): CodedFrame | undefined {
  const cleaned = cleanUnits(data, known.lengthSize, roles);
  if (cleaned === undefined) throw damaged(data);
  if (!cleaned.picture) return undefined;
  const changed = cleaned.sets.filter((unit) => !knownSets(known, unit).some((set) => equal(set, unit)));
  return {
    key: cleaned.key,
    data: cleaned.pieces.length === 1 ? cleaned.pieces[0]! : cleaned.pieces,
    config: changed.length > 0 ? withParameterSets(known, changed) : undefined,
    captions: cleaned.told.length > 0 ? captionsInUnits(cleaned.told, 2) : undefined,
    ...(cleaned.told.length > 0 && hasHdr10Plus(cleaned.told, 2) && { dynamicHdr: true }),
  };
}

function knownSets(known: HevcConfig, unit: Uint8Array): readonly Uint8Array[] {
  const type = typeOf(unit);
  return type === nal.vps ? known.vps : type === nal.sps ? known.sps : known.pps;
}

/** The hvcC with `units` in place of those of the same id: for encoders that change parameter sets in band only. */
function withParameterSets(known: HevcConfig, units: readonly Uint8Array[]): Uint8Array {
  const sets = { [nal.vps]: [...known.vps], [nal.sps]: [...known.sps], [nal.pps]: [...known.pps] };
  for (const unit of units) {
    if (unit.length > maxSetBytes || unit.length < 3)
      throw badConfig(`has a parameter set of ${unit.length} bytes`);
    const list = sets[typeOf(unit)]!;
    const id = setId(unit);
    const same = list.findIndex((set) => setId(set) === id);
    list.splice(same < 0 ? list.length : same, same < 0 ? 0 : 1, unit);
  }
  const [vps, sps, pps] = [nal.vps, nal.sps, nal.pps].map((type) => sets[type]!.slice(0, 64));
  return writeHevcConfig({ ...known, vps: vps!, sps: sps!, pps: pps! }, readSps(sps![0]!));
}

function setId(unit: Uint8Array): number {
  const type = typeOf(unit);
  if (type === nal.sps) return readSps(unit).id;
  const bits = new BitReader(unescaped(unit.subarray(2, 12)), "HEVC parameter set");
  return type === nal.vps ? bits.read(4) : bits.unsigned(63);
}

function damaged(data: Uint8Array): BadMedia {
  return startsWithStartCode(data)
    ? annexB()
    : new BadMedia("bad_flv", "The encoder sent a damaged HEVC frame");
}

function annexB(): BadMedia {
  const message =
    "The encoder sends HEVC with start codes (Annex B); RTMP and FLV need length prefixes (hvcC)";
  return new BadMedia("bad_config", message);
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's HEVC sequence header ${what}`);
}
