/** Reads back what the muxer wrote, from the specification and not from the muxer. Throws Error on anything odd. */

export interface Box {
  readonly type: string;
  /** Of the whole box, in the bytes that were read. */
  readonly start: number;
  readonly end: number;
  /** Where its content begins: after size and type, and after version and flags of a full box. */
  readonly content: number;
  readonly version: number;
  readonly flags: number;
  readonly children: readonly Box[];
}

export interface InitFacts {
  readonly brands: readonly string[];
  readonly handler: string;
  readonly trackId: number;
  readonly timescale: number;
  /** Of the track header: the size in which the picture is shown. */
  readonly width: number;
  readonly height: number;
  /** Four-character code of the sample entry. */
  readonly entry: string;
  /** Decoder configuration: content of avcC, or the AudioSpecificConfig out of esds. */
  readonly config: Uint8Array;
  readonly boxes: readonly Box[];
}

export interface SampleFacts {
  readonly dts: number;
  readonly pts: number;
  readonly duration: number;
  readonly flags: number;
  readonly key: boolean;
  /** A view into what was read. */
  readonly data: Uint8Array;
}

export interface ChunkFacts {
  /** Of moof and mdat together. */
  readonly start: number;
  readonly end: number;
  readonly sequence: number;
  readonly trackId: number;
  readonly dts: number;
  readonly duration: number;
  readonly samples: readonly SampleFacts[];
}

const containers = new Set(["moov", "trak", "mdia", "minf", "dinf", "stbl", "mvex", "moof", "traf", "edts"]);
const full = new Set([
  ...["mvhd", "tkhd", "mdhd", "hdlr", "vmhd", "smhd", "dref", "url ", "stsd", "stts", "stsc", "stsz", "stco"],
  ...["ctts", "stss", "co64"],
  ...["trex", "mfhd", "tfhd", "tfdt", "trun", "esds", "vpcC", "dfLa", "elst", "prft", "elng"],
]);
/** Bytes between the beginning of a sample entry's content and its boxes. */
const entryFields: Readonly<Record<string, number>> = {
  avc1: 78,
  hvc1: 78,
  av01: 78,
  vp09: 78,
  mp4a: 28,
  Opus: 28,
  fLaC: 28,
  "ac-3": 28,
  "ec-3": 28,
};

const records = ["avcC", "hvcC", "av1C", "vpcC", "esds", "dOps", "dfLa", "dac3", "dec3"];

/** Every box, nested. A size that does not fit throws. */
export function readBoxes(bytes: Uint8Array, from = 0, to = bytes.length): Box[] {
  const view = viewOf(bytes);
  const boxes: Box[] = [];
  let at = from;
  while (at < to) {
    if (at + 8 > to) throw new Error(`${to - at} bytes after the last box at ${at}`);
    const size = view.getUint32(at);
    const type = text(bytes, at + 4, 4);
    const end = at + size;
    if (size < 8 || end > to) throw new Error(`box ${type} at ${at} says ${size} bytes, ${to - at} are left`);
    const isFull = full.has(type);
    const content = at + (isFull ? 12 : 8);
    const children = childrenFrom(type, content);
    boxes.push({
      type,
      start: at,
      end,
      content,
      version: isFull ? view.getUint8(at + 8) : 0,
      flags: isFull ? view.getUint32(at + 8) & 0xff_ff_ff : 0,
      children: children === undefined ? [] : readBoxes(bytes, children, end),
    });
    at = end;
  }
  return boxes;
}

function childrenFrom(type: string, content: number): number | undefined {
  if (containers.has(type)) return content;
  if (type === "stsd" || type === "dref") return content + 4; // after the count
  const fields = entryFields[type];
  return fields === undefined ? undefined : content + fields;
}

/** The box at this path ("moov/trak/tkhd"), or an error that says what is there. */
export function findBox(boxes: readonly Box[], path: string): Box {
  const [name, ...rest] = path.split("/");
  const found = boxes.find((box) => box.type === name);
  if (!found) throw new Error(`no ${name} among ${boxes.map((box) => box.type).join(", ")}`);
  return rest.length > 0 ? findBox(found.children, rest.join("/")) : found;
}

/** Facts of an init segment with one track. */
export function readInit(bytes: Uint8Array): InitFacts {
  const view = viewOf(bytes);
  const boxes = readBoxes(bytes);
  const ftyp = findBox(boxes, "ftyp");
  const brands = [text(bytes, ftyp.content, 4)];
  for (let at = ftyp.content + 8; at < ftyp.end; at += 4) brands.push(text(bytes, at, 4));
  const tkhd = findBox(boxes, "moov/trak/tkhd");
  const mdhd = findBox(boxes, "moov/trak/mdia/mdhd");
  const hdlr = findBox(boxes, "moov/trak/mdia/hdlr");
  const entry = findBox(boxes, "moov/trak/mdia/minf/stbl/stsd").children[0]!;
  const record = entry.children.find((box) => records.includes(box.type));
  if (!record) throw new Error(`${entry.type} has no decoder configuration`);
  const config = bytes.subarray(record.content, record.end);
  return {
    brands,
    handler: text(bytes, hdlr.content + 4, 4),
    trackId: view.getUint32(tkhd.content + 8),
    timescale: view.getUint32(mdhd.content + 8),
    width: view.getUint32(tkhd.end - 8) / 65_536,
    height: view.getUint32(tkhd.end - 4) / 65_536,
    entry: entry.type,
    config: record.type === "esds" ? decoderSpecific(config) : config,
    boxes,
  };
}

/** DecoderSpecificInfo (tag 5) inside DecoderConfig (4) inside ES (3). */
function decoderSpecific(esds: Uint8Array): Uint8Array {
  const skip: Readonly<Record<number, number>> = { 3: 3, 4: 13 };
  for (let at = 0; at < esds.length; ) {
    const tag = esds[at++]!;
    let length = 0;
    for (let more = true; more; ) {
      const byte = esds[at++]!;
      length = length * 128 + (byte & 127);
      more = byte >= 128;
    }
    if (tag === 5) return esds.subarray(at, at + length);
    at += skip[tag] ?? length;
  }
  throw new Error("esds has no DecoderSpecificInfo");
}

/** Facts of media bytes: any number of moof and mdat pairs in a row (a part, a segment). */
export function readChunks(bytes: Uint8Array): ChunkFacts[] {
  const boxes = readBoxes(bytes).filter((box) => box.type !== "styp" && box.type !== "prft");
  const chunks: ChunkFacts[] = [];
  for (let i = 0; i < boxes.length; i += 2) {
    const [moof, mdat] = [boxes[i]!, boxes[i + 1]];
    if (moof.type !== "moof" || mdat?.type !== "mdat")
      throw new Error(`${moof.type} where moof and mdat belong`);
    chunks.push(readChunk(bytes, moof, mdat));
  }
  return chunks;
}

function readChunk(bytes: Uint8Array, moof: Box, mdat: Box): ChunkFacts {
  const view = viewOf(bytes);
  const tfhd = findBox([moof], "moof/traf/tfhd");
  const tfdt = findBox([moof], "moof/traf/tfdt");
  const trun = findBox([moof], "moof/traf/trun");
  if (tfdt.version !== 1 || trun.version !== 1) throw new Error("tfdt and trun must have version 1");
  let at = tfhd.content + 4;
  const optional = (flags: number, bit: number): number | undefined => {
    if (!(flags & bit)) return undefined;
    at += 4;
    return view.getUint32(at - 4);
  };
  if (!(tfhd.flags & 0x02_0000) || tfhd.flags & 0x01)
    throw new Error("tfhd must have default-base-is-moof alone");
  optional(tfhd.flags, 0x02);
  const defaultDuration = optional(tfhd.flags, 0x08);
  const defaultSize = optional(tfhd.flags, 0x10);
  const defaultFlags = optional(tfhd.flags, 0x20);
  if (at !== tfhd.end) throw new Error("tfhd has bytes left");

  const count = view.getUint32(trun.content);
  at = trun.content + 4;
  let from = moof.start + (optional(trun.flags, 0x01) ?? 0);
  if (from !== mdat.content)
    throw new Error(`data offset points to ${from}, the payload is at ${mdat.content}`);
  const firstFlags = optional(trun.flags, 0x04);
  const begin = Number(view.getBigUint64(tfdt.content));
  let dts = begin;
  const samples: SampleFacts[] = [];
  for (let i = 0; i < count; i++) {
    const duration = optional(trun.flags, 0x100) ?? defaultDuration;
    const size = optional(trun.flags, 0x200) ?? defaultSize;
    const flags = optional(trun.flags, 0x400) ?? (i === 0 ? (firstFlags ?? defaultFlags) : defaultFlags);
    const composition = (optional(trun.flags, 0x800) ?? 0) | 0;
    if (duration === undefined || size === undefined || flags === undefined)
      throw new Error(`sample ${i} lacks a default`);
    const data = bytes.subarray(from, from + size);
    samples.push({ dts, pts: dts + composition, duration, flags, key: (flags & 0x01_0000) === 0, data });
    from += size;
    dts += duration;
  }
  if (at !== trun.end) throw new Error("trun has bytes left");
  if (from !== mdat.end) throw new Error(`samples end at ${from}, mdat at ${mdat.end}`);
  return {
    start: moof.start,
    end: mdat.end,
    sequence: view.getUint32(findBox([moof], "moof/mfhd").content),
    trackId: view.getUint32(tfhd.content),
    dts: begin,
    duration: dts - begin,
    samples,
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
