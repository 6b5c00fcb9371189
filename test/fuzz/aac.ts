import { initSegment } from "../../services/packager/cmaf.ts";
import { cleanerOf, trackOf } from "../../services/packager/codec/codec.ts";
import { bytesOf } from "../support/bytes.ts";
import { readInit } from "../support/mp4.ts";
import type { Target } from "./target.ts";

/** An AudioSpecificConfig, which if it is good must make a sound init segment; and the same bytes as a frame. */
export const aac: Target = {
  name: "aac",
  seeds: [
    "1190",
    "119056e500",
    "2b1188",
    "eb098800",
    "1000 0049 9002 1900 2380",
    "fff15080 01bffc21",
    "1780562210",
  ].map(bytesOf),
  run: (bytes) => {
    const track = trackOf("mp4a", bytes, {});
    if (track.kind !== "audio" || !Number.isInteger(track.frameTicks))
      throw new Error("a frame is not whole ticks");
    readInit(initSegment(track));
    cleanerOf("mp4a", bytes)(bytes);
  },
};
