import { BadMedia } from "../bad-media.ts";
import type { AudioTrack, CodedFrame } from "../track.ts";
import { BitReader } from "./bits.ts";

/** AudioSpecificConfig taken apart, ISO/IEC 14496-3 1.6.2.1. */
interface AacConfig {
  /** What the bitstream announces itself as: 2 AAC-LC, 5 HE-AAC, 29 HE-AAC v2. */
  readonly objectType: number;
  readonly coreRate: number;
  /** What a decoder puts out: twice `coreRate` with spectral band replication. */
  readonly outputRate: number;
  readonly channels: number;
  /** Samples of the core in one frame: 1024, or 960 in broadcasting. */
  readonly coreFrame: number;
}

const lowComplexity = 2;
const bandReplication = 5;
const parametricStereo = 29;
const escapedRate = 15;

/** Table 1.18 */
const rates = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
/** Table 1.19, by channelConfiguration; 0 is a program config element. */
const layouts: Readonly<Record<number, number>> = {
  1: 1,
  2: 2,
  3: 3,
  4: 4,
  5: 5,
  6: 6,
  7: 8,
  11: 7,
  12: 8,
  14: 8,
};
const maxChannels = 8;

/**
 * The track of an AudioSpecificConfig. Throws BadMedia.
 *
 * Ticks are samples of the decoder's output, so an HE-AAC frame is 2048 ticks of 48,000: this is the rate that players
 * report and that a mixed-in silent or LC rendition has, and no duration is ever half a tick. Where HE-AAC is only
 * implied (not signalled), nothing here can know, and ticks are those of the core.
 */
export function aacTrack(config: Uint8Array): AudioTrack {
  const { objectType, coreRate, outputRate, channels, coreFrame } = readAacConfig(config);
  return {
    kind: "audio",
    entry: "mp4a",
    codec: `mp4a.40.${objectType}`,
    timescale: outputRate,
    config: config.slice(),
    channels,
    sampleRate: outputRate,
    frameTicks: (coreFrame * outputRate) / coreRate,
  };
}

/** Throws BadMedia. */
function readAacConfig(config: Uint8Array): AacConfig {
  if (isAdts(config)) throw adts();
  if (config.length > 256) throw badConfig(`has ${config.length} bytes`);
  const bits = new BitReader(config, "AAC AudioSpecificConfig");
  const announced = readObjectType(bits);
  const coreRate = readRate(bits);
  const layout = bits.read(4);
  let objectType = announced;
  let outputRate = coreRate;
  let core = announced;
  if (announced === bandReplication || announced === parametricStereo) {
    outputRate = readRate(bits);
    core = readObjectType(bits);
  }
  if (core !== lowComplexity) {
    throw new BadMedia(
      "unsupported_audio_codec",
      `AAC object type ${core} is not supported; set the encoder to AAC-LC`,
    );
  }
  // GASpecificConfig, 4.4.1
  const coreFrame = bits.flag() ? 960 : 1024;
  if (bits.flag()) bits.read(14); // coreCoderDelay
  bits.flag(); // extensionFlag: nothing follows for AAC-LC
  let channels = layout === 0 ? readProgram(bits) : (layouts[layout] ?? 0);
  if (channels < 1 || channels > maxChannels) throw badConfig(`has an unknown channel layout (${layout})`);
  // Backward compatible signalling: after a plain AAC-LC configuration, 1.6.6.1.
  if (announced === lowComplexity && bits.left >= 16 && bits.read(11) === 0x2b7) {
    if (readObjectType(bits) === bandReplication && bits.flag()) {
      objectType = bandReplication;
      outputRate = readRate(bits);
      if (bits.left >= 12 && bits.read(11) === 0x548 && bits.flag()) objectType = parametricStereo;
    }
  }
  const ratio = outputRate / coreRate;
  if (ratio !== 1 && ratio !== 2) throw badConfig(`turns ${coreRate} Hz into ${outputRate} Hz`);
  if (objectType === parametricStereo && channels === 1) channels = 2;
  return { objectType, coreRate, outputRate, channels, coreFrame };
}

function readObjectType(bits: BitReader): number {
  const type = bits.read(5);
  return type === 31 ? 32 + bits.read(6) : type;
}

function readRate(bits: BitReader): number {
  const index = bits.read(4);
  const rate = index === escapedRate ? bits.read(24) : rates[index];
  if (rate === undefined || rate < 7350 || rate > 96_000) throw badConfig("has an unknown sample rate");
  return rate;
}

/** How many channels a program_config_element has, 4.4.1.1. */
function readProgram(bits: BitReader): number {
  bits.read(10); // instance tag, object type, sampling frequency index
  const speakers = bits.read(4) + bits.read(4) + bits.read(4); // front, side, back elements
  const subwoofers = bits.read(2);
  const associated = bits.read(3);
  const coupling = bits.read(4);
  if (bits.flag()) bits.read(4); // mono mixdown
  if (bits.flag()) bits.read(4); // stereo mixdown
  if (bits.flag()) bits.read(3); // matrix mixdown
  let channels = subwoofers;
  for (let i = 0; i < speakers; i++) {
    channels += bits.flag() ? 2 : 1;
    bits.read(4);
  }
  bits.read(4 * subwoofers);
  bits.read(4 * associated);
  for (let i = 0; i < coupling; i++) bits.read(5);
  bits.align();
  for (let left = bits.read(8); left > 0; left--) bits.read(8); // comment
  return channels;
}

/** What to mux of one message: the raw_data_block as it is. Throws BadMedia for ADTS. */
export function cleanAac(data: Uint8Array): CodedFrame | undefined {
  if (isAdts(data)) throw adts();
  return data.length === 0 ? undefined : { key: true, data, config: undefined };
}

/** A raw_data_block that begins with these 12 bits and layer 0 would be an END element, that is, empty. */
function isAdts(bytes: Uint8Array): boolean {
  return bytes.length >= 7 && bytes[0] === 0xff && (bytes[1]! & 0xf6) === 0xf0;
}

/** A frame of silence; undefined for anything but AAC-LC with one or two channels. Shared: do not write to it. */
export function silentAac(track: AudioTrack): Uint8Array | undefined {
  if (track.codec !== "mp4a.40.2") return undefined;
  return track.channels === 1 ? silentMono : track.channels === 2 ? silentStereo : undefined;
}

/** single_channel_element with one section of zero codebook, fill, END. Every browser has been fed these two for years. */
const silentMono = Uint8Array.of(0x00, 0xc8, 0x00, 0x80, 0x23, 0x80);
/** channel_pair_element of the same. */
const silentStereo = Uint8Array.of(0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80);

function adts(): BadMedia {
  const message =
    "The encoder sends AAC with ADTS headers; RTMP and FLV need raw frames and an AudioSpecificConfig";
  return new BadMedia("bad_config", message);
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's AAC sequence header ${what}`);
}
