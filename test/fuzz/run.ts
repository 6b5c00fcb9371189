import { existsSync, readdirSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Violation } from "../../services/moq/codec/wire.ts";
import { BadMedia } from "../../services/packager/bad-media.ts";
import { concat, hexOf } from "../support/bytes.ts";
import { randomOf } from "../support/random.ts";
import { aac } from "./aac.ts";
import { amf } from "./amf.ts";
import { avc } from "./avc.ts";
import { captions } from "./captions.ts";
import { chunks } from "./chunks.ts";
import { cmcd } from "./cmcd.ts";
import { codecs } from "./codecs.ts";
import { feed } from "./feed.ts";
import { flv } from "./flv.ts";
import { fmp4 } from "./fmp4.ts";
import { journal } from "./journal.ts";
import {
  moqCatalog,
  moqControl,
  moqControl14,
  moqControl18,
  moqDatagrams,
  moqObjects,
  moqObjects14,
  moqObjects18,
  moqRecord,
} from "./moq.ts";
import { rtmp } from "./rtmp.ts";
import { s3 } from "./s3.ts";
import type { Target } from "./target.ts";
import { url } from "./url.ts";
import { webvttFile } from "./webvtt.ts";

export const targets: readonly Target[] = [
  flv,
  amf,
  avc,
  aac,
  ...codecs,
  captions,
  fmp4,
  rtmp,
  chunks,
  url,
  cmcd,
  webvttFile,
  feed,
  journal,
  moqControl,
  moqControl14,
  moqControl18,
  moqDatagrams,
  moqObjects,
  moqCatalog,
  moqRecord,
  moqObjects14,
  moqObjects18,
  s3,
];

/** No input of this size may take longer: it would hold up every other broadcast of the process. */
const slowMs = 250;
const maxBytes = 4096;

export interface FuzzResult {
  readonly runs: number;
  /** Inputs that went through without a refusal: near 0 means that the mutations never get past the door. */
  readonly accepted: number;
  readonly slowestMs: number;
}

/** Seeds, the committed corpus, then `runs` mutations of them. Throws on the first fault, with the input in hex. */
export function fuzz(target: Target, runs: number, seed: number): FuzzResult {
  const pool = [...target.seeds, ...corpusOf(target.name)];
  const random = randomOf(seed);
  let accepted = 0;
  let slowestMs = 0;
  for (let i = 0; i < pool.length + runs; i++) {
    const bytes = pool[i] ?? mutate(pool, random);
    const began = performance.now();
    try {
      target.run(bytes);
      accepted++;
    } catch (error) {
      if (!(error instanceof BadMedia || error instanceof Violation)) {
        throw new Error(`${target.name}, seed ${seed}, run ${i}: ${hexOf(bytes)}`, { cause: error });
      }
    }
    const took = performance.now() - began;
    slowestMs = Math.max(slowestMs, took);
    // Again, because the first time may have been a pause of the machine.
    if (took > slowMs && leastTimeOf(target, bytes) > slowMs) {
      throw new Error(`${target.name}, seed ${seed}, run ${i} takes ${took.toFixed(0)} ms: ${hexOf(bytes)}`);
    }
  }
  return { runs: pool.length + runs, accepted, slowestMs };
}

function leastTimeOf(target: Target, bytes: Uint8Array): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const began = performance.now();
    try {
      target.run(bytes);
    } catch {
      // Judged by the caller.
    }
    least = Math.min(least, performance.now() - began);
  }
  return least;
}

/** Inputs that were once a fault, or that reach what the seeds do not. */
function corpusOf(name: string): Uint8Array[] {
  const folder = new URL(`corpus/${name}/`, import.meta.url);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((file) => new Uint8Array(readFileSync(new URL(file, folder))));
}

/** Numbers on which parsers trip. */
const edges = [0, 1, 2, 3, 7, 9, 0x0a, 0x0f, 0x10, 0x11, 0x7f, 0x80, 0xff];

function mutate(pool: readonly Uint8Array[], random: () => number): Uint8Array {
  const below = (end: number): number => Math.floor(random() * end);
  let bytes: Uint8Array = pool[below(pool.length)]!.slice();
  for (let left = 1 + below(6); left > 0; left--) {
    const at = below(bytes.length + 1);
    switch (below(8)) {
      case 0: // flip a bit
        if (at < bytes.length) bytes[at]! ^= 1 << below(8);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = below(256);
        break;
      case 2:
        if (at < bytes.length) bytes[at] = edges[below(edges.length)]!;
        break;
      case 3: // cut off
        bytes = bytes.slice(0, at);
        break;
      case 4: // take out
        bytes = concat([bytes.subarray(0, at), bytes.subarray(at + below(8))]);
        break;
      case 5: // put in
        bytes = concat([
          bytes.subarray(0, at),
          new Uint8Array(1 + below(8)).fill(edges[below(edges.length)]!),
          bytes.subarray(at),
        ]);
        break;
      case 6: // repeat
        bytes = concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - below(64)))]);
        break;
      default: {
        const other = pool[below(pool.length)]!;
        bytes = concat([bytes.subarray(0, at), other.subarray(below(other.length + 1))]);
      }
    }
  }
  return bytes.subarray(0, maxBytes);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "100000" },
      seed: { type: "string" },
      target: { type: "string" },
    },
  });
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  for (const target of targets) {
    if (values.target && values.target !== target.name) continue;
    const began = performance.now();
    const { runs, accepted, slowestMs } = fuzz(target, Number(values.runs), seed);
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    console.log(
      `${target.name}: ${runs} runs from seed ${seed} in ${seconds} s, ${accepted} accepted, slowest ${slowestMs.toFixed(1)} ms`,
    );
  }
}
