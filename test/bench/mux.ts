import { makeChunk } from "../../services/packager/cmaf.ts";
import { trackOf } from "../../services/packager/codec/codec.ts";
import type { Sample, Track } from "../../services/packager/track.ts";
import { bytesOf } from "../support/bytes.ts";

export interface MuxCost {
  readonly name: string;
  /** CPU microseconds for one chunk: least, median and greatest of the rounds. */
  readonly us: readonly [number, number, number];
}

const rounds = 5;

const avcC =
  "01640028ffe1001d67640028acd940780227e5c05a808080a000007d20001d4c11e30632c001000468ef8fcbfdf8f800";

/** What one chunk costs, without and with payload; `chunks` a round, after one round of warm-up. */
export function benchMux(chunks: number): MuxCost[] {
  const video = trackOf("avc1", bytesOf(avcC), {});
  const audio = trackOf("mp4a", bytesOf("1190"), {});
  return [
    measure("header of one frame", chunks, video, samplesOf(1, 0, 3000)),
    measure("header of 15 frames", chunks, video, samplesOf(15, 0, 3000)),
    measure("header of 8 AAC frames", chunks, audio, samplesOf(8, 0, 1024)),
    measure("one frame of 3 Mb/s (12.5 KB)", chunks, video, samplesOf(1, 12_500, 3000)),
    measure("8 AAC frames of 128 kb/s (2.7 KB)", chunks, audio, samplesOf(8, 341, 1024)),
  ];
}

function measure(name: string, chunks: number, track: Track, samples: readonly Sample[]): MuxCost {
  const costs: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const began = process.cpuUsage();
    for (let i = 0; i < chunks; i++) makeChunk(track, samples, i);
    const { user, system } = process.cpuUsage(began);
    if (round > 0) costs.push((user + system) / chunks);
  }
  costs.sort((a, b) => a - b);
  return { name, us: [costs[0]!, costs[rounds >> 1]!, costs[rounds - 1]!] };
}

/** No two of one size, so that each size is written. */
function samplesOf(count: number, size: number, duration: number): Sample[] {
  return Array.from({ length: count }, (_, i) => {
    const dts = i * duration;
    return {
      dts,
      pts: dts + (duration === 3000 ? 6000 : 0),
      duration,
      key: i === 0,
      data: new Uint8Array(size + i),
    };
  });
}

/** One line for each measurement. */
export function reportMux(costs: readonly MuxCost[]): string {
  return costs
    .map(
      ({ name, us }) =>
        `${name.padEnd(36)} ${us.map((n) => n.toFixed(2)).join(" / ")} us (least / median / greatest)`,
    )
    .join("\n");
}

if (import.meta.main) console.log(reportMux(benchMux(50_000)));
