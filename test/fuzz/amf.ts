import { AmfReader, writeAmf } from "../../services/packager/amf.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Target } from "./target.ts";

/** AMF0 values one after the other; what was read can be written. */
export const amf: Target = {
  name: "amf",
  seeds: [
    writeAmf(["onMetaData", { width: 1280, stereo: true, encoder: "x", list: [1, null, { a: "b" }] }]),
    bytesOf("0a 00000003 0a 00000001 05 08 00000000 0000 09 0b 4059000000000000 0000"),
    bytesOf("10 0001 54 0001 61 0c 00000002 6162 0000 09 0f 00000001 61 07 0001"),
  ],
  run: (bytes) => {
    const reader = new AmfReader(bytes);
    while (!reader.done) writeAmf([reader.read()]);
  },
};
