import { BadMedia } from "../bad-media.ts";
import type { AudioTrack, CodedFrame } from "../track.ts";
import { BitReader } from "./bits.ts";

const infoBytes = 34;
/** A block of more would be longer than half a part. */
const maxBlock = 16_384;

/**
 * The track of a FLAC header: `fLaC` and its metadata blocks, or STREAMINFO alone. Its `config` is the content of dfLa after
 * version and flags (FLAC in ISOBMFF 3.3.2). Ticks are samples. Throws BadMedia.
 */
export function flacTrack(header: Uint8Array): AudioTrack {
  const info = streamInfo(header);
  const bits = new BitReader(info, "FLAC STREAMINFO");
  bits.read(16); // smallest block
  const block = bits.read(16);
  bits.read(24); // smallest and largest frame
  bits.read(24);
  const sampleRate = bits.read(20);
  const channels = bits.read(3) + 1;
  if (sampleRate < 7350 || sampleRate > 192_000) throw badConfig(`has a sample rate of ${sampleRate}`);
  if (block < 16 || block > maxBlock) throw badConfig(`has blocks of ${block} samples`);
  return {
    kind: "audio",
    entry: "fLaC",
    codec: "fLaC",
    timescale: sampleRate,
    // METADATA_BLOCK_HEADER: the last block, type STREAMINFO, its length
    config: Uint8Array.of(0x80, 0, 0, infoBytes, ...info),
    channels,
    sampleRate,
    frameTicks: block,
  };
}

function streamInfo(header: Uint8Array): Uint8Array {
  let at = 0;
  if (header[0] === 0x66 && header[1] === 0x4c && header[2] === 0x61 && header[3] === 0x43) at = 4;
  if (header.length !== infoBytes) {
    // 9.1 of RFC 9639: STREAMINFO is the first block.
    if ((header[at]! & 127) !== 0 || header[at + 3] !== infoBytes) throw badConfig("has no STREAMINFO");
    at += 4;
  }
  if (header.length < at + infoBytes) throw badConfig("is cut short");
  return header.subarray(at, at + infoBytes);
}

/** Block sizes by their code, RFC 9639 9.1.1; 6 and 7 stand at the end of the frame's header. */
function blockOf(data: Uint8Array): number | undefined {
  const code = data[2]! >> 4;
  if (code === 1) return 192;
  if (code >= 2 && code <= 5) return 576 << (code - 2);
  if (code >= 8) return 256 << (code - 8);
  if (code === 0) return undefined;
  // Behind the coded number, which is like UTF-8.
  const first = data[4] ?? 0;
  const length = first < 0x80 ? 1 : Math.clz32(~(first << 24));
  const at = 4 + length;
  if (at + 1 >= data.length) return undefined;
  return 1 + (code === 6 ? data[at]! : (data[at]! << 8) | data[at + 1]!);
}

/** A frame as it is, with how long it lasts. Throws BadMedia. */
export function cleanFlac(data: Uint8Array): CodedFrame | undefined {
  if (data.length === 0) return undefined;
  const ticks = data.length > 6 && data[0] === 0xff && (data[1]! & 0xfe) === 0xf8 ? blockOf(data) : undefined;
  if (ticks === undefined || ticks > maxBlock)
    throw new BadMedia("bad_flv", "The encoder sent a damaged FLAC frame");
  return { key: true, data, config: undefined, ticks };
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's FLAC sequence header ${what}`);
}
