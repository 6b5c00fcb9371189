import { FlvReader, readAudio, readScript, readVideo } from "../../services/packager/flv.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Target } from "./target.ts";

/** A feed, cut where its own bytes say, and whatever its tags mean. */
export const flv: Target = {
  name: "flv",
  seeds: [
    "464c5601050000000900000000 09000005000000000000001702000000 00000010 08000002000014000000 00af01 0000000d",
    "464c5601050000000900000000 0900000c00000000000000 97 02000001 03 61766331 00000165 00000017",
    "464c5601050000000900000000 1200000600000000000000 020001610501 00000011",
    "464c5601050000000900000000 0900001900000000000000 9611617663310000000500000000650100000500000001 65 00000024 0800001700000000000000 951164664f70757300000002fcff01000002fcfffe",
    "464c5601050000000900000000 0900001700000000000000 94687663310200 09636f6c6f72496e666f 0300000905 00000022",
  ].map(bytesOf),
  run: (bytes) => {
    const reader = new FlvReader();
    const step = 1 + ((bytes.at(-1) ?? 0) % 61);
    for (let at = 0; at < bytes.length; at += step) {
      for (const tag of reader.push(bytes.subarray(at, at + step))) {
        if (tag.type === "video") readVideo(tag.payload);
        else if (tag.type === "audio") readAudio(tag.payload);
        else readScript(tag.payload);
      }
    }
  },
};
