import { ascii, box, descriptor, fullBox, u16, u24, u32, zeros } from "./boxes.ts";
import type { AudioTrack, Chunk, Entry, Sample, TextTrack, Track, VideoTrack } from "./track.ts";

/** ISO/IEC 14496-12 8.8.3.1: depends on no other sample, and may be started from. */
const syncFlags = 0x0200_0000;
/** Depends on others, and is no sync sample. */
const deltaFlags = 0x0101_0000;

/** Each track has a file of its own; the ids differ so that a recording can put both into one. */
export function trackId({ kind }: AnyTrack): number {
  return { video: 1, audio: 2, text: 3 }[kind];
}

type AnyTrack = Track | TextTrack;

/** The CMAF header of a track (ISO/IEC 23000-19 7.3.1): what EXT-X-MAP and DASH `initialization` name. */
export function initSegment(track: AnyTrack): Uint8Array {
  return movieHeader([track]);
}

/** The header of a stream of several tracks, of which at most one is video and one audio: for links, not for players. */
export function movieHeader(tracks: readonly AnyTrack[]): Uint8Array {
  const ftyp = box("ftyp", ascii("cmf2"), u32(0), ...["cmf2", "iso6", "cmfc", "dash"].map(ascii));
  const moov = box("moov", mvhd(tracks.at(-1)!), ...tracks.map(trak), box("mvex", ...tracks.map(trex)));
  const out = new Uint8Array(ftyp.length + moov.length);
  out.set(ftyp);
  out.set(moov, ftyp.length);
  return out;
}

/** Identity transformation, 8.2.2.2. */
export const matrix = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000].flatMap(u32);

function mvhd(track: AnyTrack): Uint8Array {
  // biome-ignore format: a line per group of fields
  return fullBox(
    "mvhd", 0, 0,
    u32(0), u32(0), // creation and modification time: unknown
    u32(1000), u32(0), // timescale; duration 0: it is in the chunks
    u32(0x1_0000), u16(0x100), zeros(10), // rate 1, volume 1, reserved
    matrix, zeros(24), // pre_defined
    u32(trackId(track) + 1), // next_track_ID
  );
}

function trak(track: AnyTrack): Uint8Array {
  const { kind } = track;
  const video = kind === "video";
  // CMAF 7.5.4: the size in which the picture is shown, so with square pixels.
  const width = video ? (track.width * track.pixelAspect[0]) / track.pixelAspect[1] : 0;
  const height = video ? track.height : 0;
  // biome-ignore format: a line per group of fields
  const tkhd = fullBox(
    "tkhd", 0, 3, // enabled, in movie
    u32(0), u32(0), u32(trackId(track)), u32(0), // creation, modification, track_ID, reserved
    u32(0), zeros(8), // duration, reserved
    u16(0), u16(0), u16(kind === "audio" ? 0x100 : 0), u16(0), // layer, alternate_group, volume, reserved
    matrix, u32(Math.round(width * 0x1_0000)), u32(height * 0x1_0000),
  );
  // biome-ignore format: a line per group of fields
  const mdhd = fullBox(
    "mdhd", 0, 0,
    u32(0), u32(0), u32(track.timescale), u32(0), // creation, modification, timescale, duration
    u16(0x55c4), u16(0), // language "und", pre_defined
  );
  const language = !video && track.language ? [fullBox("elng", 0, 0, ascii(`${track.language}\0`))] : [];
  const [handler, name, header] = handlers[kind];
  const hdlr = fullBox("hdlr", 0, 0, u32(0), ascii(handler), zeros(12), ascii(`${name}\0`));
  const dinf = box("dinf", fullBox("dref", 0, 0, u32(1), fullBox("url ", 0, 1))); // in this file
  const stbl = box(
    "stbl",
    fullBox("stsd", 0, 0, u32(1), sampleEntry(track)),
    fullBox("stts", 0, 0, u32(0)), // all samples are in chunks
    fullBox("stsc", 0, 0, u32(0)),
    fullBox("stsz", 0, 0, u32(0), u32(0)),
    fullBox("stco", 0, 0, u32(0)),
  );
  return box("trak", tkhd, box("mdia", mdhd, ...language, hdlr, box("minf", header, dinf, stbl)));
}

/** Handler, its name, and the header of its media. */
const handlers = {
  video: ["vide", "Video", fullBox("vmhd", 0, 1, zeros(8))],
  audio: ["soun", "Audio", fullBox("smhd", 0, 0, zeros(4))],
  text: ["text", "Text", fullBox("nmhd", 0, 0)],
} as const;

/** 7.7.3 of CMAF wants defaults in each tfhd and trun; these here are for readers that ask. */
function trex(track: AnyTrack): Uint8Array {
  const video = track.kind === "video";
  const duration = track.kind === "audio" ? track.frameTicks : 0;
  const flags = video ? deltaFlags : syncFlags;
  return fullBox("trex", 0, 0, ...[trackId(track), 1, duration, 0, flags].map(u32)); // 1: first sample entry
}

/** The decoder configuration box by sample entry. */
const configBoxes: Readonly<Record<Entry, (track: Track) => Uint8Array>> = {
  avc1: (track) => box("avcC", track.config),
  hvc1: (track) => box("hvcC", track.config),
  av01: (track) => box("av1C", track.config),
  vp09: (track) => fullBox("vpcC", 1, 0, track.config),
  mp4a: (track) => fullBox("esds", 0, 0, elementaryDescriptor(track as AudioTrack)),
  Opus: (track) => box("dOps", track.config),
  fLaC: (track) => fullBox("dfLa", 0, 0, track.config),
  "ac-3": (track) => box("dac3", track.config),
  "ec-3": (track) => box("dec3", track.config),
};

/** What a decoder needs to know of a track, for stsd. */
export function sampleEntry(track: AnyTrack): Uint8Array {
  // ISO/IEC 14496-30 7.5: what stands before the first cue.
  if (track.kind === "text") return box("wvtt", zeros(6), u16(1), box("vttC", ascii("WEBVTT")));
  return track.kind === "video" ? visualEntry(track) : audioEntry(track);
}

function visualEntry(track: VideoTrack): Uint8Array {
  const { colour, hdr } = track;
  const boxes = [
    configBoxes[track.entry](track),
    box("pasp", u32(track.pixelAspect[0]), u32(track.pixelAspect[1])),
  ];
  if (colour) {
    const points = [...u16(colour.primaries), ...u16(colour.transfer), ...u16(colour.matrix)];
    boxes.push(box("colr", ascii("nclx"), points, [colour.fullRange ? 0x80 : 0]));
  }
  if (hdr?.mastering) boxes.push(box("mdcv", hdr.mastering));
  if (hdr?.light) boxes.push(box("clli", hdr.light));
  // biome-ignore format: a line per group of fields
  return box(
    track.entry,
    zeros(6), u16(1), zeros(16), // reserved, data_reference_index, pre_defined and reserved
    u16(track.width), u16(track.height),
    u32(0x48_0000), u32(0x48_0000), u32(0), // 72 dpi, reserved
    u16(1), zeros(32), u16(0x18), u16(0xffff), // frame_count, compressorname, depth, pre_defined
    ...boxes,
  );
}

function audioEntry(track: AudioTrack): Uint8Array {
  // biome-ignore format: a line per group of fields
  return box(
    track.entry,
    zeros(6), u16(1), zeros(8), // reserved, data_reference_index, reserved
    u16(track.channels), u16(16), u32(0), // channels, bits, pre_defined and reserved
    // 16.16 has no room for 88.2 and 96 kHz: 0 sends readers to the configuration.
    u32(track.sampleRate < 0x1_0000 ? track.sampleRate * 0x1_0000 : 0),
    configBoxes[track.entry](track),
  );
}

/** ES_Descriptor, ISO/IEC 14496-1 7.2.6.5. */
function elementaryDescriptor(track: AudioTrack): Uint8Array {
  // 14496-3 4.5.3: a frame has at most 6144 bits for each channel; this is the only bound known before it ends.
  const buffer = 768 * track.channels;
  const peak = Math.ceil((buffer * 8 * track.timescale) / track.frameTicks);
  // biome-ignore format: a line per group of fields
  const decoder = descriptor(
    4,
    [0x40, 0x15], // MPEG-4 audio; audio stream, reserved bit
    u24(buffer), u32(peak), u32(0), // bufferSizeDB, maxBitrate, avgBitrate 0: variable
    descriptor(5, track.config),
  );
  return descriptor(3, u16(0), [0], decoder, descriptor(6, [2])); // ES_ID 0 in a file, SL config "MP4"
}

const moofType = 0x6d6f_6f66;
const mfhdType = 0x6d66_6864;
const trafType = 0x7472_6166;
const tfhdType = 0x7466_6864;
const tfdtType = 0x7466_6474;
const trunType = 0x7472_756e;
const mdatType = 0x6d64_6174;

/** Zeroed memory for `size` bytes. */
export type Allocate = (size: number) => Uint8Array;

/**
 * One moof and its mdat, in memory of the exact size; payloads are copied once and not kept. Samples follow each other
 * without a hole, `sequence` is mfhd's number. To the rules of `cmf2`: defaults in tfhd, signed composition offsets in
 * trun and no edit list, 64-bit tfdt. Throws RangeError where a caller breaks these.
 */
export function makeChunk(
  track: AnyTrack,
  samples: readonly Sample[],
  sequence: number,
  allocate: Allocate = (size) => new Uint8Array(size),
): Chunk {
  const count = samples.length;
  const first = samples[0];
  if (!first) throw new RangeError("a chunk needs a sample");
  const last = samples[count - 1]!;
  const sizes = samples.map(sizeOf);
  const size = sizes[0]!;
  let payload = 0;
  let dts = first.dts;
  let pts = first.pts;
  let sameDuration = true;
  let sameSize = true;
  let sameFlags = true;
  let shifted = false;
  for (let i = 0; i < count; i++) {
    const sample = samples[i]!;
    if (sample.dts !== dts)
      throw new RangeError(`sample at ${sample.dts} does not follow the one that ends at ${dts}`);
    if (!(sample.duration > 0)) throw new RangeError(`sample at ${dts} lasts ${sample.duration}`);
    dts += sample.duration;
    payload += sizes[i]!;
    if (sample.pts < pts) pts = sample.pts;
    if (sample.duration !== first.duration) sameDuration = false;
    if (sizes[i] !== size) sameSize = false;
    if (i > 0 && sample.key !== last.key) sameFlags = false;
    if (sample.pts !== sample.dts) shifted = true;
  }
  if (!(first.dts >= 0) || !Number.isSafeInteger(dts))
    throw new RangeError(`tfdt cannot say ${first.dts} to ${dts}`);
  // Defaults are those of the last sample; the first may differ for four bytes, any other for four bytes a sample.
  const firstFlags = sameFlags && first.key !== last.key;

  // 0x02 description index, 0x08 duration, 0x10 size, 0x20 flags, 0x020000 default-base-is-moof
  const tfhdFlags = 0x02_0022 | (sameDuration ? 0x08 : 0) | (sameSize ? 0x10 : 0);
  const tfhdSize = 24 + (sameDuration ? 4 : 0) + (sameSize ? 4 : 0);
  // 0x01 data offset, 0x04 first sample's flags; for each sample 0x100 duration, 0x200 size, 0x400 flags, 0x800 composition
  let trunFlags = 0x01;
  if (firstFlags) trunFlags |= 0x04;
  if (!sameDuration) trunFlags |= 0x100;
  if (!sameSize) trunFlags |= 0x200;
  if (!sameFlags) trunFlags |= 0x400;
  if (shifted) trunFlags |= 0x800;
  const perSample = 4 * (+!sameDuration + +!sameSize + +!sameFlags + +shifted);
  const trunSize = 20 + (firstFlags ? 4 : 0) + perSample * count;
  const trafSize = 8 + tfhdSize + 20 + trunSize;
  const moofSize = 8 + 16 + trafSize;

  const bytes = allocate(moofSize + 8 + payload);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  const u32 = (value: number): void => {
    view.setUint32(at, value);
    at += 4;
  };
  u32(moofSize);
  u32(moofType);
  u32(16);
  u32(mfhdType);
  u32(0);
  u32(sequence);
  u32(trafSize);
  u32(trafType);
  u32(tfhdSize);
  u32(tfhdType);
  u32(tfhdFlags);
  u32(trackId(track));
  u32(1); // sample_description_index
  if (sameDuration) u32(first.duration);
  if (sameSize) u32(size);
  u32(last.key ? syncFlags : deltaFlags);
  u32(20);
  u32(tfdtType);
  u32(0x0100_0000); // version 1: 64 bit
  u32(Math.floor(first.dts / 0x1_0000_0000));
  u32(first.dts);
  u32(trunSize);
  u32(trunType);
  u32(0x0100_0000 | trunFlags); // version 1: composition offsets are signed
  u32(count);
  u32(moofSize + 8); // data_offset, from the moof's first byte
  if (firstFlags) u32(first.key ? syncFlags : deltaFlags);
  for (let i = 0; perSample > 0 && i < count; i++) {
    const sample = samples[i]!;
    if (!sameDuration) u32(sample.duration);
    if (!sameSize) u32(sizes[i]!);
    if (!sameFlags) u32(sample.key ? syncFlags : deltaFlags);
    if (shifted) u32(sample.pts - sample.dts);
  }
  u32(8 + payload);
  u32(mdatType);
  for (const { data } of samples) {
    if (data instanceof Uint8Array) {
      bytes.set(data, at);
      at += data.length;
      continue;
    }
    for (const piece of data) {
      bytes.set(piece, at);
      at += piece.length;
    }
  }
  return { dts: first.dts, pts, duration: dts - first.dts, independent: first.key, samples: count, bytes };
}

/**
 * A segment of nothing from `dts` on: what a player gets who asks for a number that has no media. It decodes to no sample
 * (ISO/IEC 14496-12 8.8.7: duration-is-empty), so that the player goes on to the next number instead of giving up.
 */
export function emptySegment(track: AnyTrack, dts: number, duration: number): Uint8Array {
  const id = u32(trackId(track));
  const long = [...u32(Math.floor(dts / 0x1_0000_0000)), ...u32(dts)];
  // biome-ignore format: a line per box
  const moof = box(
    "moof",
    fullBox("mfhd", 0, 0, u32(1)),
    box(
      "traf",
      // 0x010000 duration-is-empty, 0x02 description index, 0x08 duration, 0x020000 default-base-is-moof
      fullBox("tfhd", 0, 0x03_000a, id, u32(1), u32(duration)),
      fullBox("tfdt", 1, 0, long),
    ),
  );
  const mdat = box("mdat");
  const out = new Uint8Array(moof.length + mdat.length);
  out.set(moof);
  out.set(mdat, moof.length);
  return out;
}

function sizeOf({ data }: Sample): number {
  if (data instanceof Uint8Array) return data.length;
  let size = 0;
  for (const piece of data) size += piece.length;
  return size;
}
