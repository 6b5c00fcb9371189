import { initSegment } from "../../services/packager/cmaf.ts";
import { cleanerOf, trackOf } from "../../services/packager/codec/codec.ts";
import { bytesOf } from "../support/bytes.ts";
import { readInit } from "../support/mp4.ts";
import type { Target } from "./target.ts";

const known =
  "01640028ffe1001d67640028acd940780227e5c05a808080a000007d20001d4c11e30632c001000468ef8fcbfdf8f800";
const clean = cleanerOf("avc1", bytesOf(known));

/** A configuration record, which if it is good must make a sound init segment; and the same bytes as a frame. */
export const avc: Target = {
  name: "avc",
  seeds: [
    known,
    "014d401effe1001c674d401ef405a126ffc010000b44000003000400000300ca7c50aa8001000468de0fc8",
    "01f40015ffe1001967f40015919681519e3e2f0110000003001000000640f162ea01000768ce0f19100640fff8f800",
    "0000001d 67640028acd940780227e5c05a808080a000007d20001d4c11e30632c0 00000004 68ef8fcb 00000003 658880",
    "00000002 09f0 00000004 0cffff80 00000002 419a 00000000",
  ].map(bytesOf),
  run: (bytes) => {
    if (bytes[0] !== 1) {
      const frame = clean(bytes);
      if (frame?.config) trackOf("avc1", frame.config, {});
      return;
    }
    const track = trackOf("avc1", bytes, { frameRate: 30 });
    readInit(initSegment(track));
    // What we wrote ourselves is always read again, to the same.
    const again = trackOf("avc1", track.config, { frameRate: 30 });
    if (JSON.stringify(again) !== JSON.stringify(track))
      throw new Error("the rewritten configuration reads differently");
  },
};
