import { initSegment } from "../../services/packager/cmaf.ts";
import { cleanerOf, configOf, suffices, trackOf } from "../../services/packager/codec/codec.ts";
import type { Entry } from "../../services/packager/track.ts";
import { bytesOf } from "../support/bytes.ts";
import { readInit } from "../support/mp4.ts";
import type { Target } from "./target.ts";

/**
 * The first byte says what the rest is: 0 a configuration, which if it is good must make a sound init segment and be read
 * again to the same; anything else a frame, with the configuration that `known` makes in force.
 */
function target(entry: Entry, known: string, seeds: readonly string[]): Target {
  const clean = cleanerOf(entry, bytesOf(known));
  return {
    name: entry.toLowerCase(),
    seeds: [`00 ${known}`, ...seeds].map(bytesOf),
    run: (bytes) => {
      const rest = bytes.subarray(1);
      if (bytes[0] !== 0) {
        const frame = clean(rest);
        if (frame?.ticks !== undefined && !(frame.ticks > 0)) throw new Error("a frame lasts nothing");
        if (frame?.config) sound(entry, frame.config);
        const own = configOf(entry, rest, bytesOf(known));
        if (own) sound(entry, own);
      } else if (suffices(entry)) sound(entry, rest);
      else sound(entry, configOf(entry, bytesOf(seeds[0]!).subarray(1), rest) ?? bytesOf(known));
    },
  };
}

function sound(entry: Entry, config: Uint8Array): void {
  const track = trackOf(entry, config, { frameRate: 30 });
  if (track.kind === "audio" && !(Number.isInteger(track.frameTicks) && track.channels > 0))
    throw new Error("a frame is not whole ticks, or has no channel");
  if (track.kind === "video" && !(track.width > 0 && track.height > 0)) throw new Error("no picture");
  readInit(initSegment(track));
  cleanerOf(entry, config);
}

const hvcC =
  "01016000000090000000000078f000fcfdf8f800000f03a00001001840010c01ffff016000000300900000030000030078959409a10001002e420101016000000300900000030000030078a003c0801107cb965654a4c2f016a020202080000003008000000f04a2000100064401c073c189";

export const codecs: readonly Target[] = [
  target("hvc1", hvcC, [
    // 4:2:2 in 10 bits, with scaling lists and B-frames
    "00 0104080000009d08000000003cf000fcfefafa00000f03a00001001740010c01ffff0408000003009d0800000300003c959409a10001002b4201010408000003009d0800000300003cb00a480b9c96d96565924e5780b4040000030004000003007820a2000100074401c172b4624027",
    "01 0000000e 2801af0858be8d1660c7fa86d3c8 00000003 460150",
    "01 00000018 40010c01ffff02200000030090000003000003003f959409 00000007 4401c173c18927 00000003 0201d0",
  ]),
  target("av01", "81080c000a0b00000042abbfc3776be401", [
    "01 0a0b00000042abbfc3776be401 3204a8031000",
    "00 81014c000a0e0000000cc4ff6736be5424402410",
    "00 812000000a0a200000043cfeccdaf902",
    "01 1200 0a0b000000043cfeccfbf90040 3202 1000 7800",
    "01 1200 3202 3000",
    "00 81000c00",
  ]),
  target("vp09", "001f82010101 0000 0500 02d0", [
    "01 82498342404ff02cf60638241c184a1805a85ff9cfbfa7e6",
    "01 924983425013f80b3b031c120e0c2c0804105fcdf7f3fcdf",
    "01 a249834200027e0166c0c7048383094001e85fcdf7fbfcdf",
    "01 8604",
    "00 010000000215a20910090000",
    "00 001f820101010000",
  ]),
  target("Opus", "4f707573486561640102380180bb0000000000", [
    "01 fcfffe",
    "01 7b8301020304",
    "00 4f707573486561640106380180bb00000000010402000401020305",
  ]),
  target("fLaC", "664c6143 80000022 12001200000000004a580bb802f00000000000000000000000000000000000000000", [
    "01 fff85908003c4e000d00fa020302fa03fa04ec05e206c9e6",
    "01 fff86a18c280117f00",
    "00 12001200000000000fa00bb802f00000000000000000000000000000000000000000",
  ]),
  target("ac-3", "103dc0 0780 06", [
    "01 0b771e8b1c40ebf8403eff74fe1e108083f8787f0f0fe1e1",
    "01 0b7707c3504043e106f2b9430303030860606061ffde1be7",
  ]),
  target("ec-3", "0c00200f00 0780 06", [
    "01 0b7702ff3f87c000208020000200400003e01fba7e1e0101",
    "01 0b77000334878000208020000200 0b774003bd87e0002080f8200002",
  ]),
];
