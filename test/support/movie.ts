import { type Box, findBox, readBoxes } from "./mp4.ts";

/** Reads back a file that is not fragmented, from the specification and not from the muxer. Throws Error on anything odd. */
export interface MovieFacts {
  readonly tracks: readonly MovieTrackFacts[];
  /** Of the whole movie, in seconds. */
  readonly seconds: number;
}

export interface MovieTrackFacts {
  readonly handler: string;
  readonly timescale: number;
  /** Sample entries. */
  readonly entries: readonly string[];
  /** What is shown, in seconds: `delay` of nothing, then from `from` on for `duration`. */
  readonly edit: { readonly delay: number; readonly from: number; readonly duration: number } | undefined;
  readonly samples: readonly {
    /** In ticks from the track's first sample. */
    readonly dts: number;
    readonly pts: number;
    readonly key: boolean;
    /** Counted from 1. */
    readonly entry: number;
    readonly data: Uint8Array;
  }[];
}

export function readMovie(bytes: Uint8Array): MovieFacts {
  const boxes = readBoxes(bytes);
  const order = boxes.map(({ type }) => type);
  if (order.join() !== "ftyp,moov,mdat") throw new Error(`boxes are ${order}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const moov = boxes[1]!;
  const mvhd = findBox([moov], "moov/mvhd");
  const timescale = view.getUint32(mvhd.content + 8);
  const traks = moov.children.filter(({ type }) => type === "trak");
  const mdat = boxes[2]!;
  const used: [number, number][] = [];
  const tracks = traks.map((trak) => readTrak(bytes, view, trak, timescale, used));
  // Every byte of the media belongs to one sample.
  let at = mdat.content;
  for (const [from, to] of used.sort((a, b) => a[0] - b[0])) {
    if (from !== at) throw new Error(`a sample at ${from} where ${at} is next`);
    at = to;
  }
  if (at !== mdat.end) throw new Error(`samples end at ${at}, mdat at ${mdat.end}`);
  return { tracks, seconds: view.getUint32(mvhd.content + 12) / timescale };
}

function readTrak(
  bytes: Uint8Array,
  view: DataView,
  trak: Box,
  movieScale: number,
  used: [number, number][],
): MovieTrackFacts {
  const at = (path: string): Box => findBox([trak], `trak/${path}`);
  const stbl = at("mdia/minf/stbl");
  const table = (type: string, width: number, skip = 0): number[][] => {
    const box = stbl.children.find((one) => one.type === type);
    if (!box) return [];
    const count = view.getUint32(box.content + skip);
    if (box.end !== box.content + skip + 4 + 4 * width * count) throw new Error(`${type} has another size`);
    return Array.from({ length: count }, (_, i) =>
      Array.from({ length: width }, (_, j) => view.getUint32(box.content + skip + 4 + 4 * (width * i + j))),
    );
  };
  const sizes = table("stsz", 1, 4).map(([size]) => size!);
  const durations = table("stts", 2).flatMap(([count, ticks]) => new Array<number>(count!).fill(ticks!));
  const shifts = table("ctts", 2).flatMap(([count, ticks]) => new Array<number>(count!).fill(ticks! | 0));
  const keys = new Set(table("stss", 1).map(([number]) => number));
  if (durations.length !== sizes.length) throw new Error("stts and stsz disagree");
  if (shifts.length > 0 && shifts.length !== sizes.length) throw new Error("ctts and stsz disagree");
  const runs = table("stsc", 3);
  const samples: MovieTrackFacts["samples"][number][] = [];
  let dts = 0;
  for (const [i, [offset]] of table("stco", 1).entries()) {
    const [, count, entry] = runs.findLast(([first]) => first! <= i + 1)!;
    let from = offset!;
    for (let k = 0; k < count!; k++) {
      const index = samples.length;
      const to = from + sizes[index]!;
      used.push([from, to]);
      const key = keys.size === 0 || keys.has(index + 1);
      samples.push({
        ...{ dts, pts: dts + (shifts[index] ?? 0), key, entry: entry! },
        data: bytes.subarray(from, to),
      });
      dts += durations[index]!;
      from = to;
    }
  }
  if (samples.length !== sizes.length) throw new Error("stsc and stsz disagree");
  const mdhd = at("mdia/mdhd");
  const timescale = view.getUint32(mdhd.content + 8);
  if (view.getUint32(mdhd.content + 12) !== dts) throw new Error("mdhd and stts disagree");
  const hdlr = at("mdia/hdlr");
  const elst = trak.children.find(({ type }) => type === "edts")?.children[0];
  const rows = elst
    ? Array.from({ length: view.getUint32(elst.content) }, (_, i) => ({
        duration: view.getUint32(elst.content + 4 + 12 * i) / movieScale,
        from: view.getInt32(elst.content + 8 + 12 * i),
      }))
    : [];
  const shown = rows.at(-1);
  return {
    handler: String.fromCharCode(...bytes.subarray(hdlr.content + 4, hdlr.content + 8)),
    timescale,
    entries: findBox([stbl], "stbl/stsd").children.map(({ type }) => type),
    edit: shown && {
      delay: rows.length > 1 && rows[0]!.from === -1 ? rows[0]!.duration : 0,
      from: shown.from / timescale,
      duration: shown.duration,
    },
    samples,
  };
}
