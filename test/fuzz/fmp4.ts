import { initSegment, makeChunk } from "../../services/packager/cmaf.ts";
import { trackOf } from "../../services/packager/codec/codec.ts";
import { Fmp4Reader } from "../../services/packager/fmp4.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import type { Target } from "./target.ts";

const avcC = "0142c00dffe100176742c00dda05067e7c0440000003004000000f23c50aa801000468ce0fc8";
const video = trackOf("avc1", bytesOf(avcC), {});
const audio = trackOf("Opus", bytesOf("4f707573486561640102380180bb0000000000"), {});
const samples = [0, 1, 2].map((i) => ({
  dts: i * 3000,
  pts: i * 3000 + (i % 2) * 3000,
  duration: 3000,
  key: i === 0,
  data: new Uint8Array(4 + i),
}));

/** A file in pieces of a size that its own last byte says; what is read must lie within it. */
export const fmp4: Target = {
  name: "fmp4",
  seeds: [
    concat([initSegment(video), makeChunk(video, samples, 1).bytes]),
    concat([initSegment(audio), makeChunk(audio, samples, 1).bytes]),
  ],
  run: (bytes) => {
    const reader = new Fmp4Reader();
    const step = 1 + ((bytes.at(-1) ?? 0) % 61);
    for (let at = 0; at < bytes.length; at += step)
      for (const event of reader.push(bytes.subarray(at, at + step))) {
        if (event.type === "sample" && event.sample.data.length > bytes.length)
          throw new Error("a sample is longer than its file");
      }
  },
};
