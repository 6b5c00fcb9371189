import { BadMedia } from "../bad-media.ts";
import type { AudioTrack, CodedFrame } from "../track.ts";

/** Opus always decodes to this rate, whatever was recorded. */
const rate = 48_000;
/** 20 ms: what encoders send unless they are told otherwise. */
const usualTicks = 960;
const maxChannels = 8;

const magic = [0x4f, 0x70, 0x75, 0x73, 0x48, 0x65, 0x61, 0x64]; // "OpusHead"

/**
 * The track of an identification header (RFC 7845 5.1); its `config` is the payload of dOps, which says the same with the
 * other byte order (Opus in ISOBMFF 4.3.2). Throws BadMedia.
 */
export function opusTrack(head: Uint8Array): AudioTrack {
  if (head.length < 19 || magic.some((byte, i) => head[i] !== byte) || head[8]! >> 4 !== 0)
    throw badConfig("is not an OpusHead");
  const channels = head[9]!;
  const family = head[18]!;
  if (channels < 1 || channels > maxChannels) throw badConfig(`has ${channels} channels`);
  if (family === 0 && channels > 2) throw badConfig(`has ${channels} channels without a mapping`);
  if (family !== 0 && head.length < 21 + channels) throw badConfig("is cut short");
  // biome-ignore format: a line per group of fields
  const config = Uint8Array.of(
    0, channels, head[11]!, head[10]!, // version, channels, pre-skip
    head[15]!, head[14]!, head[13]!, head[12]!, // input sample rate
    head[17]!, head[16]!, family, // output gain
    ...(family === 0 ? [] : head.subarray(19, 21 + channels)), // streams, coupled streams, mapping
  );
  return {
    kind: "audio",
    entry: "Opus",
    codec: "opus",
    timescale: rate,
    config,
    channels,
    sampleRate: rate,
    frameTicks: usualTicks,
  };
}

/** A packet as it is, with how long it lasts. Throws BadMedia. */
export function cleanOpus(data: Uint8Array): CodedFrame | undefined {
  if (data.length === 0) return undefined;
  return { key: true, data, config: undefined, ticks: ticksOf(data) };
}

/** RFC 6716 3.1: the configuration says how long a frame is, the code and a count how many there are. */
function ticksOf(packet: Uint8Array): number {
  const toc = packet[0]!;
  const configuration = toc >> 3;
  const step = configuration & 3;
  const frame =
    configuration < 12
      ? [480, 960, 1920, 2880][step]! // SILK
      : configuration < 16
        ? [480, 960][step & 1]! // both
        : 120 << step; // CELT
  const code = toc & 3;
  const count = code === 3 ? (packet[1] ?? 0) & 63 : code === 0 ? 1 : 2;
  const ticks = frame * count;
  // RFC 6716 3.2.5: at most 120 ms.
  if (ticks === 0 || ticks > 5760) throw new BadMedia("bad_flv", "The encoder sent a damaged Opus packet");
  return ticks;
}

/** Silence of 2.5 to 20 ms: a CELT frame without content, mono or stereo; undefined for anything else. */
export function silentOpus({ channels }: AudioTrack, ticks: number): Uint8Array | undefined {
  const size = [120, 240, 480, 960].indexOf(ticks);
  if (size < 0 || channels > 2) return undefined;
  return Uint8Array.of(((28 + size) << 3) | (channels === 2 ? 4 : 0), 0xff, 0xfe);
}

function badConfig(what: string): BadMedia {
  return new BadMedia("bad_config", `The encoder's Opus sequence header ${what}`);
}
