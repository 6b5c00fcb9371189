import { AmfReader, writeAmf } from "../../services/packager/amf.ts";
import { cueLine, readCue } from "../../services/packager/cues.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Target } from "./target.ts";

/** AMF0 values one after the other; what was read can be written, and as a cue is one line of a playlist. */
export const amf: Target = {
  name: "amf",
  seeds: [
    writeAmf(["onMetaData", { width: 1280, stereo: true, encoder: "x", list: [1, null, { a: "b" }] }]),
    bytesOf("0a 00000003 0a 00000001 05 08 00000000 0000 09 0b 4059000000000000 0000"),
    writeAmf([
      { name: "ad", parameters: { data: "fc302100000000000000fff010050000000100f0fe002932e0000100000000" } },
    ]),
    bytesOf("10 0001 54 0001 61 0c 00000002 6162 0000 09 0f 00000001 61 07 0001"),
  ],
  run: (bytes) => {
    const reader = new AmfReader(bytes);
    while (!reader.done) {
      const value = reader.read();
      writeAmf([value]);
      const cue = readCue(value);
      if (cue && cueLine({ ...cue, id: "1", startMs: 0 }).split("\n").length !== 2)
        throw new Error("more than a line");
    }
  },
};
