import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Restored } from "../live/tape.ts";
import type { Step } from "../packager/segmenter.ts";
import { type Reel, rowOf } from "./contents.ts";
import { initName, readForwarded } from "./forwarded.ts";
import { fileName } from "./read.ts";
import type { Recovered, Written } from "./recovery.ts";
import { referenceOf } from "./rows.ts";
import { readSamples } from "./samples.ts";

/** Longer than any playlist of the default window lists, in seconds. */
const restoredSeconds = 40;
/** Rows that the packager wants to know: renditions lag by no more. */
const knownRows = 128;

/** What a broadcast goes on from, with the newest of its media in memory. Undefined where nothing was ever listed. */
export function restoredFrom(folder: string, recovered: Recovered): Restored | undefined {
  const { contents, newest } = recovered;
  // What was open stays as it is: its number is not used again.
  contents.apply({ type: "restart", atMs: 0 });
  const reference = referenceOf(contents);
  if (!reference) return undefined;
  const { reel, rows } = reference;
  const last = rows.at(-1)!;
  const known = rows.slice(-knownRows);
  const near = contents.reels.filter((one) => {
    const end = one.rows.at(-1);
    return end && end.number >= known[0]!.number;
  });
  return {
    words: contents.words,
    resume: {
      epochMs: contents.begin!.epochMs,
      partTarget: contents.begin!.partTarget,
      timescale: timescaleOf(reel),
      version: 1 + Math.max(...contents.reels.flatMap(({ inits }) => inits.map(({ version }) => version))),
      rows: known.map(({ number, dts, discontinuity, gap }) => ({ number, dts, discontinuity, gap })),
      edge: last.dts + last.duration,
      ends: Object.fromEntries(
        near.map((one) => {
          const end = one.rows.at(-1)!;
          return [one.name, { number: end.number, dts: end.dts + end.duration, timescale: timescaleOf(one) }];
        }),
      ),
    },
    renditions: near.map((one) => rendition(folder, one, newest[one.index] ?? [])),
  };
}

function rendition(folder: string, reel: Reel, newest: readonly Written[]): Restored["renditions"][number] {
  const forwarded = readForwarded(folder);
  const edge = reel.rows.at(-1)!;
  const from = edge.dts + edge.duration - restoredSeconds * timescaleOf(reel);
  const steps: Step[] = [];
  let discontinuity = reel.discontinuity;
  for (const { open, parts } of newest) {
    const row = rowOf(reel, open.number);
    if (!row) continue;
    if (open.dts < from) {
      discontinuity = row.discontinuity;
      continue;
    }
    const { number, dts, version, independent, gap } = open;
    steps.push({
      ...{ type: "open", dts, version, independent },
      row: { number, dts, discontinuity: open.discontinuity, gap },
    });
    let at = row.offset;
    let partDts = dts;
    for (const part of parts) {
      if (part.byteLength > 0) {
        const bytes = readNow(folder, reel.name, { file: row.file, offset: at, length: part.byteLength });
        const { duration, independent: clean } = part;
        const pts = partDts + (readSamples(part.samples)?.[0]?.shift ?? 0);
        steps.push({
          type: "chunk",
          chunk: { dts: partDts, pts, duration, independent: clean, samples: 1, bytes },
        });
      }
      at += part.byteLength;
      partDts += part.duration;
      const { duration, independent: clean, gap: missing } = part;
      steps.push({ type: "part", duration, independent: clean, gap: missing });
    }
    steps.push({ type: "close" });
  }
  return {
    name: reel.name,
    captions: reel.captions,
    discontinuity,
    inits: reel.inits.map(({ version, track, file, bytes }) => ({
      ...{ version, track },
      bytes:
        forwarded.inits.get(initName(reel.name, version)) ??
        readNow(folder, reel.name, { file, offset: 0, length: bytes }),
    })),
    steps,
  };
}

function readNow(
  folder: string,
  name: string,
  { file, offset, length }: { readonly file: number; readonly offset: number; readonly length: number },
): Uint8Array {
  const fd = openSync(join(folder, fileName(name, file)), "r");
  try {
    const bytes = new Uint8Array(length);
    readSync(fd, bytes, 0, length, offset);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

function timescaleOf(reel: Reel): number {
  return reel.inits[0]?.track.timescale ?? 1;
}
