import { FlvReader } from "../../services/packager/flv.ts";
import { Packager } from "../../services/packager/packager.ts";
import { profiles } from "../../services/packager/profiles.ts";
import { RenditionWindow } from "../../services/packager/window.ts";
import { concat } from "../support/bytes.ts";
import { publish } from "../support/simulate.ts";
import type { Target } from "./target.ts";

/** A whole feed through demuxer, timeline, segmenter and muxer: whatever it says, windows stay whole. */
export const feed: Target = {
  name: "feed",
  seeds: [
    asFlv({ gop: 0.4, seconds: 1.6, audio: 48000 }),
    asFlv({ gop: 0.2, seconds: 0.7, frameRate: 10 }),
    asFlv({ gop: 1, seconds: 1, audio: 44100, video: false }),
  ],
  run: (bytes) => {
    const packager = new Packager(profiles.low);
    const windows = new Map<string, RenditionWindow>();
    let now = 1_000_000;
    let partTarget = 0;
    const apply = (outputs: ReturnType<Packager["end"]>): void => {
      for (const output of outputs) {
        if (output.type === "start") partTarget = output.partTarget;
        else if (output.type === "init")
          windows.set(
            output.name,
            windows.get(output.name) ??
              new RenditionWindow({
                timescale: output.track.timescale,
                targetDuration: 4,
                partTarget,
                epochMs: 0,
                windowSeconds: 13,
                windowSegments: 6,
                discontinuity: output.discontinuity,
              }),
          );
        else if (output.type === "step") windows.get(output.name)!.apply(output.step);
      }
    };
    apply(packager.begin(now, 0));
    const reader = new FlvReader();
    for (let at = 0; at < bytes.length; at += 97) {
      now += 40;
      for (const tag of reader.push(bytes.subarray(at, at + 97))) apply(packager.push(tag, now));
      apply(packager.clock(now));
    }
    apply(packager.end());
    for (const window of windows.values())
      for (const segment of window.segments)
        if (!(segment.duration > 0) || !(segment.dts >= 0))
          throw new Error(`segment of ${segment.duration} at ${segment.dts}`);
  },
};

function asFlv(source: Parameters<typeof publish>[0]): Uint8Array {
  const kinds = { audio: 8, video: 9, script: 18 };
  const pieces: Uint8Array[] = [Uint8Array.of(0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0)];
  for (const { tag } of publish(source)) {
    const { length } = tag.payload;
    const ms = tag.timestampMs;
    pieces.push(
      Uint8Array.of(
        kinds[tag.type],
        length >> 16,
        length >> 8,
        length,
        ms >> 16,
        ms >> 8,
        ms,
        ms >>> 24,
        0,
        0,
        0,
      ),
      tag.payload,
      Uint8Array.of(0, (length + 11) >> 16, (length + 11) >> 8, length + 11),
    );
  }
  return concat(pieces).subarray(0, 4096);
}
