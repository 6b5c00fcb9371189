import { BadMedia } from "../bad-media.ts";
import type { AudioTrack, CodedFrame } from "../track.ts";
import { BitReader, equal } from "./bits.ts";

/** ETSI TS 102 366: fscod, and fscod2 of reduced rates. */
const rates = [48_000, 44_100, 32_000];
const halfRates = [24_000, 22_050, 16_000];
/** Full channels by acmod, table 4.3. */
const modes = [2, 1, 2, 3, 3, 4, 4, 5];
/** Kilobits a second by half of frmsizecod, table 4.13. */
const kilobits = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/** Channels by the bit of chan_loc, F.6.1: pairs and single ones. */
const locations = [2, 2, 1, 1, 2, 2, 2, 1, 1];
const blockTicks = 256;

interface Frame {
  readonly bytes: number;
  /** 0 or 2 stands alone, 1 adds channels to the one before. */
  readonly streamType: number;
  readonly rateCode: number;
  readonly sampleRate: number;
  readonly blocks: number;
  readonly bsid: number;
  readonly bsmod: number;
  readonly acmod: number;
  readonly lfe: number;
  /** bit_rate_code of AC-3; unused for E-AC-3. */
  readonly sizeCode: number;
  readonly chanLoc: number;
}

/**
 * What a frame says of its stream: the content of dac3 (F.4) or dec3 (F.6), two bytes of sample rate in 25 Hz and one of
 * blocks a frame. Both codecs need no configuration from the publisher. Throws BadMedia.
 */
export function ac3ConfigOf(data: Uint8Array): Uint8Array {
  const first = readFrame(data, 0);
  if (first.bsid > 10) throw new BadMedia("bad_flv", "The encoder sends E-AC-3 and calls it AC-3");
  const { rateCode, bsid, bsmod, acmod, lfe, sizeCode } = first;
  const bits =
    (rateCode << 22) | (bsid << 17) | (bsmod << 14) | (acmod << 11) | (lfe << 10) | (sizeCode << 5);
  return Uint8Array.of(bits >> 16, bits >> 8, bits, ...tail(first));
}

/** As `ac3ConfigOf`, for E-AC-3: an independent substream and those that add channels to it. */
export function eac3ConfigOf(data: Uint8Array): Uint8Array {
  const first = readFrame(data, 0);
  let dependent = 0;
  let chanLoc = 0;
  for (let at = first.bytes; at + 6 <= data.length; ) {
    const next = readFrame(data, at);
    if (next.streamType === 1) {
      dependent++;
      chanLoc |= next.chanLoc;
    }
    at += next.bytes;
  }
  const kbps = Math.min(
    8191,
    Math.round((data.length * 8 * first.sampleRate) / (first.blocks * blockTicks * 1000)),
  );
  const { rateCode, bsid, bsmod, acmod, lfe } = first;
  // num_ind_sub 0: one; reserved, asvc 0
  const bytes = [
    kbps >> 5,
    (kbps & 31) << 3,
    (rateCode << 6) | (bsid << 1),
    (bsmod << 4) | (acmod << 1) | lfe,
  ];
  if (dependent === 0) bytes.push(0);
  else bytes.push((dependent << 1) | (chanLoc >> 8), chanLoc & 255);
  return Uint8Array.of(...bytes, ...tail(first));
}

function tail({ sampleRate, blocks }: Frame): number[] {
  return [(sampleRate / 25) >> 8, (sampleRate / 25) & 255, blocks];
}

/** The track of a record that `ac3ConfigOf` made. */
export function ac3Track(record: Uint8Array): AudioTrack {
  need(record, 6);
  const mode = (record[1]! >> 3) & 7;
  const lfe = (record[1]! >> 2) & 1;
  return track("ac-3", record, modes[mode]! + lfe);
}

/** The track of a record that `eac3ConfigOf` made. */
export function eac3Track(record: Uint8Array): AudioTrack {
  need(record, 8);
  const dependent = (record[4]! >> 1) & 15;
  let channels = modes[(record[3]! >> 1) & 7]! + (record[3]! & 1);
  const chanLoc = dependent > 0 ? ((record[4]! & 1) << 8) | record[5]! : 0;
  for (let bit = 0; bit < 9; bit++) if ((chanLoc >> bit) & 1) channels += locations[bit]!;
  return track("ec-3", record, channels);
}

function track(entry: "ac-3" | "ec-3", record: Uint8Array, channels: number): AudioTrack {
  const at = record.length - 3;
  const sampleRate = 25 * ((record[at]! << 8) | record[at + 1]!);
  const frameTicks = blockTicks * record[at + 2]!;
  if (sampleRate < 16_000 || frameTicks === 0) throw damaged(entry);
  const config = record.slice(0, at);
  return {
    kind: "audio",
    entry,
    codec: entry,
    timescale: sampleRate,
    config,
    channels,
    sampleRate,
    frameTicks,
  };
}

function need(record: Uint8Array, length: number): void {
  if (record.length < length) throw new BadMedia("bad_config", "The AC-3 configuration is cut short");
}

/** A frame as it is; one that says another format than `known` (a record of `configOf`) is answered with its record. */
export function cleanAc3(
  data: Uint8Array,
  known: Uint8Array,
  configOf: (data: Uint8Array) => Uint8Array,
): CodedFrame | undefined {
  if (data.length === 0) return undefined;
  const record = configOf(data);
  // E-AC-3 begins with the data rate, which changes from frame to frame.
  const same = record.length > 6 ? equal(record.subarray(2), known.subarray(2)) : equal(record, known);
  return { key: true, data, config: same ? undefined : record };
}

/** Throws BadMedia. */
function readFrame(data: Uint8Array, at: number): Frame {
  if (data[at] !== 0x0b || data[at + 1] !== 0x77) throw damaged("AC-3");
  const bits = new BitReader(data.subarray(at, at + 32), "AC-3 frame header");
  const bsid = (data[at + 5] ?? 0) >> 3;
  return bsid > 10 ? readEnhanced(bits) : readPlain(bits);
}

/** 4.3.1 and 4.3.2 */
function readPlain(bits: BitReader): Frame {
  bits.read(32); // syncword, crc1
  const rateCode = bits.read(2);
  const size = bits.read(6);
  const sampleRate = rates[rateCode];
  const kbps = kilobits[size >> 1];
  if (sampleRate === undefined || kbps === undefined) throw damaged("AC-3");
  const bsid = bits.read(5);
  const bsmod = bits.read(3);
  const acmod = bits.read(3);
  if ((acmod & 1) === 1 && acmod !== 1) bits.read(2);
  if (acmod & 4) bits.read(2);
  if (acmod === 2) bits.read(2);
  const lfe = bits.read(1);
  const words = Math.floor((kbps * 96_000) / sampleRate) + (rateCode === 1 ? size & 1 : 0);
  const bytes = 2 * words;
  return {
    bytes,
    streamType: 0,
    rateCode,
    sampleRate,
    blocks: 6,
    bsid,
    bsmod,
    acmod,
    lfe,
    sizeCode: size >> 1,
    chanLoc: 0,
  };
}

/** E.1.2.1 and E.1.2.2, as far as the channel map. */
function readEnhanced(bits: BitReader): Frame {
  bits.read(16);
  const streamType = bits.read(2);
  bits.read(3); // substreamid
  const bytes = 2 * (bits.read(11) + 1);
  const rateCode = bits.read(2);
  const second = bits.read(2);
  const sampleRate = rateCode === 3 ? halfRates[second] : rates[rateCode];
  const blocks = rateCode === 3 ? 6 : [1, 2, 3, 6][second]!;
  if (sampleRate === undefined || streamType === 3) throw damaged("E-AC-3");
  const acmod = bits.read(3);
  const lfe = bits.read(1);
  const bsid = bits.read(5);
  bits.read(5); // dialnorm
  if (bits.flag()) bits.read(8);
  if (acmod === 0) {
    bits.read(5);
    if (bits.flag()) bits.read(8);
  }
  const map = streamType === 1 && bits.flag() ? bits.read(16) : 0;
  // Bits 5 to 12 of the map, the first being the uppermost, and 14.
  let chanLoc = 0;
  for (let i = 0; i < 8; i++) if ((map >> (10 - i)) & 1) chanLoc |= 1 << i;
  if ((map >> 1) & 1) chanLoc |= 1 << 8;
  return {
    bytes,
    streamType,
    rateCode,
    sampleRate,
    blocks,
    bsid,
    bsmod: 0,
    acmod,
    lfe,
    sizeCode: 0,
    chanLoc,
  };
}

function damaged(name: string): BadMedia {
  return new BadMedia("bad_flv", `The encoder sent a damaged ${name} frame`);
}
