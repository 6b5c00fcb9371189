import { BadMedia } from "../bad-media.ts";
import type { CodedFrame, Colour, VideoTrack } from "../track.ts";
import { captionsInT35, isHdr10Plus, type Triplets } from "./a53.ts";
import { BitReader, equal } from "./bits.ts";
import type { Hints } from "./codec.ts";
import { chooseColour, chooseFrameRate } from "./picture.ts";

/** What a sequence header OBU says, AV1 bitstream specification 5.5. */
interface Sequence {
  readonly profile: number;
  readonly level: number;
  readonly tier: number;
  readonly highBitDepth: boolean;
  readonly twelveBit: boolean;
  readonly monochrome: boolean;
  readonly subsamplingX: number;
  readonly subsamplingY: number;
  readonly chromaPosition: number;
  readonly colour: Colour | undefined;
  readonly width: number;
  readonly height: number;
  readonly frameRate: number | undefined;
  /** Every frame is a key frame that is shown. */
  readonly still: boolean;
}

/** obu_type, 6.2.2. */
const obu = { sequence: 1, delimiter: 2, frameHeader: 3, metadata: 5, frame: 6, tileList: 8, padding: 15 };

/** metadata_type, 6.7.1: its payload is that of ITU-T T.35 from the country code on. */
const metadataT35 = 4;

interface Obu {
  readonly type: number;
  /** Of the whole OBU and of its payload. */
  readonly start: number;
  readonly content: number;
  readonly end: number;
}

const maxSequenceBytes = 1024;

/** The track of an av1C. Its `config` is rewritten from the sequence header in it. Throws BadMedia. */
export function av1Track(av1C: Uint8Array, hints: Hints): VideoTrack {
  const header = sequenceOf(av1C);
  if (!header) throw badConfig("has no sequence header");
  const { sequence, bytes } = header;
  const { colour } = sequence;
  return {
    kind: "video",
    entry: "av01",
    codec: codecString(sequence),
    timescale: 90_000,
    config: writeConfig(sequence, bytes),
    width: sequence.width,
    height: sequence.height,
    pixelAspect: [1, 1],
    colour: chooseColour(colour, hints.colour),
    frameRate: chooseFrameRate(sequence.frameRate, hints.frameRate),
    ...(hints.hdr && { hdr: hints.hdr }),
  };
}

/** Whether an av1C says it all, or the first keyframe has to. Throws BadMedia. */
export function av1Complete(av1C: Uint8Array): boolean {
  return sequenceOf(av1C) !== undefined;
}

/** The av1C that a keyframe says itself; undefined for a frame without a sequence header. Throws BadMedia. */
export function av1ConfigOf(data: Uint8Array): Uint8Array | undefined {
  const header = findSequence(data, 0);
  return header && writeConfig(header.sequence, header.bytes);
}

/** AV1 in ISOBMFF, section 5: profile, level, tier, depth, and the colour where it is not what everybody assumes. */
function codecString(sequence: Sequence): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const depth = depthOf(sequence);
  const text = `av01.${sequence.profile}.${two(sequence.level)}${sequence.tier ? "H" : "M"}.${two(depth)}`;
  const { colour, monochrome, subsamplingX, subsamplingY, chromaPosition } = sequence;
  const usual = !monochrome && subsamplingX === 1 && subsamplingY === 1;
  if (usual && (!colour || (colour.transfer !== 16 && colour.transfer !== 18))) return text;
  const { primaries, transfer, matrix, fullRange } = colour ?? {
    primaries: 2,
    transfer: 2,
    matrix: 2,
    fullRange: false,
  };
  const chroma = `${subsamplingX}${subsamplingY}${subsamplingX && subsamplingY ? chromaPosition : 0}`;
  return `${text}.${monochrome ? 1 : 0}.${chroma}.${two(primaries)}.${two(transfer)}.${two(matrix)}.${fullRange ? 1 : 0}`;
}

function depthOf({ highBitDepth, twelveBit }: Sequence): number {
  return twelveBit ? 12 : highBitDepth ? 10 : 8;
}

/** AV1CodecConfigurationRecord: four bytes and the sequence header OBU. */
function writeConfig(sequence: Sequence, header: Uint8Array): Uint8Array {
  const { profile, level, tier, highBitDepth, twelveBit, monochrome } = sequence;
  const { subsamplingX, subsamplingY, chromaPosition } = sequence;
  const flags =
    (tier << 7) |
    (+highBitDepth << 6) |
    (+twelveBit << 5) |
    (+monochrome << 4) |
    (subsamplingX << 3) |
    (subsamplingY << 2) |
    chromaPosition;
  // marker and version 1; no initial_presentation_delay
  return Uint8Array.of(0x81, (profile << 5) | level, flags, 0, ...header);
}

function sequenceOf(av1C: Uint8Array): { sequence: Sequence; bytes: Uint8Array } | undefined {
  if (av1C.length < 4 || av1C[0] !== 0x81) throw badConfig("is not an AV1CodecConfigurationRecord");
  return findSequence(av1C, 4);
}

function findSequence(data: Uint8Array, from: number): { sequence: Sequence; bytes: Uint8Array } | undefined {
  for (let at = from; at < data.length; ) {
    const next = readObu(data, at);
    if (next.type === obu.sequence) {
      if (next.end - next.start > maxSequenceBytes) throw badConfig("is too large");
      const payload = data.subarray(next.content, next.end);
      // Written again with its size, which the last OBU of a unit may lack.
      const bytes = Uint8Array.of(0x0a, ...leb128(payload.length), ...payload);
      return { sequence: readSequence(payload), bytes };
    }
    at = next.end;
  }
  return undefined;
}

function leb128(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, value >> 7];
}

/** One OBU at `at`, 5.3. Throws BadMedia where it does not fit. */
function readObu(data: Uint8Array, at: number): Obu {
  const header = data[at]!;
  // obu_forbidden_bit; Annex B of AV1 (a length in front) looks like this too.
  if (header & 0x80) throw damaged();
  const type = (header >> 3) & 15;
  let content = at + (header & 4 ? 2 : 1);
  if (!(header & 2)) return { type, start: at, content: Math.min(content, data.length), end: data.length };
  let size = 0;
  for (let i = 0; ; i++) {
    const byte = data[content++];
    if (byte === undefined || i > 4) throw damaged();
    size += (byte & 127) * 128 ** i;
    if (byte < 128) break;
  }
  if (size > data.length - content) throw damaged();
  return { type, start: at, content, end: content + size };
}

/** 5.5.1. Throws BadMedia; every loop is bounded. */
function readSequence(payload: Uint8Array): Sequence {
  const bits = new BitReader(payload, "AV1 sequence header");
  const profile = bits.read(3);
  if (profile > 2) throw badConfig(`has profile ${profile}`);
  bits.flag(); // still_picture
  const still = bits.flag(); // reduced_still_picture_header
  let level = 0;
  let tier = 0;
  let frameRate: number | undefined;
  if (still) level = bits.read(5);
  else {
    let delayBits = 0;
    if (bits.flag()) {
      const tick = bits.read(32);
      const rate = bits.read(32) / tick;
      if (bits.flag()) {
        const ticks = 1 + bits.unsigned(0xffff_fffe);
        if (rate / ticks >= 1 && rate / ticks <= 300) frameRate = rate / ticks;
      }
      if (bits.flag()) {
        delayBits = 1 + bits.read(5);
        bits.read(32); // num_units_in_decoding_tick
        bits.read(10); // lengths of times
      }
    }
    const initialDelay = bits.flag();
    for (let i = 0, count = 1 + bits.read(5); i < count; i++) {
      bits.read(12); // operating_point_idc
      const itsLevel = bits.read(5);
      const itsTier = itsLevel > 7 ? bits.read(1) : 0;
      if (i === 0) [level, tier] = [itsLevel, itsTier];
      if (delayBits > 0 && bits.flag()) {
        bits.read(delayBits);
        bits.read(delayBits);
        bits.flag();
      }
      if (initialDelay && bits.flag()) bits.read(4);
    }
  }
  const widthBits = 1 + bits.read(4);
  const heightBits = 1 + bits.read(4);
  const width = 1 + bits.read(widthBits);
  const height = 1 + bits.read(heightBits);
  if (!still && bits.flag()) bits.read(7); // frame id lengths
  bits.read(3); // superblock size, intra tools
  if (!still) {
    bits.read(4); // compound and motion tools
    const orderHint = bits.flag();
    if (orderHint) bits.read(2);
    const screenContent = bits.flag() ? 2 : bits.read(1);
    if (screenContent > 0 && !bits.flag()) bits.flag(); // integer motion vectors
    if (orderHint) bits.read(3);
  }
  bits.read(3); // superres, cdef, restoration
  return { profile, level, tier, width, height, frameRate, still, ...readColour(bits, profile) };
}

type Colouring = Pick<
  Sequence,
  "highBitDepth" | "twelveBit" | "monochrome" | "subsamplingX" | "subsamplingY" | "chromaPosition" | "colour"
>;

/** 5.5.2 */
function readColour(bits: BitReader, profile: number): Colouring {
  const highBitDepth = bits.flag();
  const twelveBit = profile === 2 && highBitDepth && bits.flag();
  const monochrome = profile !== 1 && bits.flag();
  const described = bits.flag();
  const [primaries, transfer, matrix] = described ? [bits.read(8), bits.read(8), bits.read(8)] : [2, 2, 2];
  let fullRange = true;
  let [subsamplingX, subsamplingY, chromaPosition] = [1, 1, 0];
  // sRGB
  if (!monochrome && primaries === 1 && transfer === 13 && matrix === 0)
    [subsamplingX, subsamplingY] = [0, 0];
  else {
    fullRange = bits.flag();
    if (!monochrome) {
      if (profile === 1) [subsamplingX, subsamplingY] = [0, 0];
      else if (profile === 2) {
        subsamplingX = twelveBit ? bits.read(1) : 1;
        subsamplingY = twelveBit && subsamplingX ? bits.read(1) : 0;
      }
      if (subsamplingX && subsamplingY) chromaPosition = bits.read(2);
    }
  }
  const colour = described || fullRange ? { primaries, transfer, matrix, fullRange } : undefined;
  return { highBitDepth, twelveBit, monochrome, subsamplingX, subsamplingY, chromaPosition, colour };
}

/** What the cleaner of a publish needs to know of its configuration. */
export interface Av1Config {
  readonly record: Uint8Array;
  readonly still: boolean;
}

/** Throws BadMedia. */
export function readAv1Config(av1C: Uint8Array): Av1Config {
  const header = sequenceOf(av1C);
  if (!header) throw badConfig("has no sequence header");
  return { record: writeConfig(header.sequence, header.bytes), still: header.sequence.still };
}

/**
 * What to mux of one temporal unit: without delimiters, padding and tile lists (AV1 in ISOBMFF 2.4). `key` is a shown key
 * frame, which resets the decoder, with its sequence header at hand. A sequence header that differs from the config's is
 * answered with a new one. Pieces are views into `data`. Throws BadMedia.
 */
export function cleanAv1(data: Uint8Array, known: Av1Config): CodedFrame | undefined {
  const pieces: Uint8Array[] = [];
  let from = 0; // of the run of units that are kept
  let key: boolean | undefined;
  let config: Uint8Array | undefined;
  let captions: Triplets | undefined;
  let dynamicHdr = false;
  for (let at = 0; at < data.length; ) {
    const { type, content, end } = readObu(data, at);
    if (type === obu.delimiter || type === obu.tileList || type === obu.padding) {
      if (from < at) pieces.push(data.subarray(from, at));
      from = end;
    } else if (type === obu.sequence) {
      const header = findSequence(data.subarray(at, end), 0)!;
      const record = writeConfig(header.sequence, header.bytes);
      if (!equal(record, known.record)) config = record;
    } else if (type === obu.metadata && data[content] === metadataT35) {
      const message = data.subarray(content + 1, end);
      captions = captionsInT35(message) ?? captions;
      dynamicHdr ||= isHdr10Plus(message);
    } else if (key === undefined && (type === obu.frame || type === obu.frameHeader))
      // show_existing_frame 0, frame_type KEY_FRAME, show_frame 1
      key = known.still || (content < end && data[content]! >> 4 === 1);
    at = end;
  }
  if (key === undefined) return undefined;
  if (from < data.length) pieces.push(data.subarray(from));
  return {
    key,
    data: pieces.length === 1 ? pieces[0]! : pieces,
    config,
    captions,
    ...(dynamicHdr && { dynamicHdr }),
  };
}

function damaged(): BadMedia {
  return new BadMedia("bad_flv", "The encoder sent a damaged AV1 frame");
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's AV1 sequence header ${what}`);
}
