import { PerformanceObserver } from "node:perf_hooks";
import { makeChunk } from "../../services/packager/cmaf.ts";
import { avcTrack } from "../../services/packager/codec/avc.ts";
import { FlvReader, type FlvTag, flvHeader, tagHeader } from "../../services/packager/flv.ts";
import type { RenditionName } from "../../services/packager/outlet.ts";
import { Packager } from "../../services/packager/packager.ts";
import { profiles } from "../../services/packager/profiles.ts";
import type { Sample, VideoTrack } from "../../services/packager/track.ts";
import { RenditionWindow } from "../../services/packager/window.ts";
import { makeFlv } from "../support/flv.ts";
import { avcC } from "../support/simulate.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const ROUNDS = 5;
const HEADERS = 20_000;
/** What one read of a socket brings. */
const READ_BYTES = 65_536;

/** What cutting costs: headers of chunks on their own, and a broadcast from FLV bytes to parts in a window. */
export async function packager({ seconds = 60 }: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 10, width: 1920, height: 1080, kbps: 6000 });
  const headers = spread(Array.from({ length: ROUNDS }, headersMs));
  const feed = feedOf(made.tags, seconds);
  const collected = watchCollections();
  const rounds: { cpu: number; gc: number }[] = [];
  // The first round warms the code paths and is not counted.
  for (let round = 0; round <= ROUNDS; round++) {
    const before = collected();
    const cpu = passthrough(feed);
    await new Promise(setImmediate);
    if (round > 0) rounds.push({ cpu: (cpu / seconds) * 100, gc: (collected() - before) / seconds / 10 });
  }
  const share = spread(rounds.map(({ cpu }) => cpu));
  const gc = spread(rounds.map((one) => one.gc));
  return {
    name: "packager",
    load: `${HEADERS} chunk headers; ${seconds} s of 1080p30 at ${(made.bitsPerSecond / 1e6).toFixed(1)} Mb/s with AAC as FLV in reads of ${READ_BYTES >> 10} KB, as fast as it goes; ${ROUNDS} rounds each after one of warm-up`,
    lines: [
      ["1,000 chunk headers", showSpread(headers, "ms", 2), "<= 4 ms"],
      ["passthrough, of a core", showSpread(share, "%", 2), "<= 1 %"],
      ["of it garbage collection", showSpread(gc, "%", 2)],
    ],
    figures: {
      seconds,
      bitsPerSecond: made.bitsPerSecond,
      headersMs: headers,
      cpuPercent: share,
      gcPercent: gc,
    },
  };
}

/** Milliseconds of CPU for 1,000 chunks of one frame without a payload. */
function headersMs(): number {
  const track: VideoTrack = avcTrack(avcC, {});
  const data = new Uint8Array(1);
  const sample = (i: number): Sample => ({
    dts: i * 3000,
    pts: i * 3000,
    duration: 3000,
    key: i % 60 === 0,
    data,
  });
  const begin = process.cpuUsage();
  for (let i = 0; i < HEADERS; i++) makeChunk(track, [sample(i)], i);
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / HEADERS;
}

interface Read {
  readonly atMs: number;
  readonly bytes: Uint8Array;
}

/** The tags over and over as a feed, a read whenever a socket's buffer is full or a frame is over. */
function feedOf(tags: readonly FlvTag[], seconds: number): Read[] {
  const media = tags.filter((tag) => tag.type !== "script" && !(tag.payload[1] === 0));
  const configs = tags.filter((tag) => !media.includes(tag));
  const lengthMs = Math.max(...media.map((tag) => tag.timestampMs)) + 33;
  const reads: Read[] = [{ atMs: 0, bytes: flvHeader() }];
  const add = (tag: FlvTag, atMs: number): void => {
    const trailer = new Uint8Array(4);
    new DataView(trailer.buffer).setUint32(0, 11 + tag.payload.length);
    const type = { audio: 8, video: 9, script: 18 }[tag.type];
    const bytes = Buffer.concat([tagHeader(type, atMs, tag.payload.length), tag.payload, trailer]);
    for (let at = 0; at < bytes.length; at += READ_BYTES)
      reads.push({ atMs, bytes: bytes.subarray(at, at + READ_BYTES) });
  };
  for (const tag of configs) add(tag, 0);
  for (let loop = 0; loop * lengthMs < seconds * 1000; loop++)
    for (const tag of media) {
      const atMs = tag.timestampMs + loop * lengthMs;
      if (atMs < seconds * 1000) add(tag, atMs);
    }
  return reads;
}

/** Seconds of CPU for one broadcast from its first byte to its last. */
function passthrough(feed: readonly Read[]): number {
  const windows = new Map<RenditionName, RenditionWindow>();
  const packager = new Packager(profiles.low);
  const reader = new FlvReader();
  const startMs = Date.UTC(2026, 0, 1);
  let partTarget = 0;
  let parts = 0;
  const begin = process.cpuUsage();
  packager.begin(startMs, 0);
  // A copy, because a socket brings each read in memory of its own.
  for (const { atMs, bytes } of feed)
    for (const tag of reader.push(bytes.slice()))
      for (const output of packager.push(tag, startMs + atMs)) {
        if (output.type === "start") partTarget = output.partTarget;
        else if (output.type === "init")
          windows.set(
            output.name,
            new RenditionWindow({
              timescale: output.track.timescale,
              targetDuration: profiles.low.targetDuration,
              partTarget,
              epochMs: packager.epochMs ?? 0,
              windowSeconds: 13,
              windowSegments: 6,
              discontinuity: output.discontinuity,
            }),
          );
        else if (output.type === "step") {
          const window = windows.get(output.name);
          if (window?.apply(output.step) && output.step.type === "part") parts++;
          window?.takeEvicted();
        }
      }
  const { user, system } = process.cpuUsage(begin);
  if (parts === 0) throw new Error("no part was made");
  return (user + system) / 1e6;
}

/** Milliseconds that the collector has taken since this was called. */
function watchCollections(): () => number {
  let total = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) total += entry.duration;
  });
  observer.observe({ entryTypes: ["gc"] });
  return () => {
    for (const entry of observer.takeRecords()) total += entry.duration;
    return total;
  };
}
