import { CaptionTrail } from "../../services/packager/captions.ts";
import {
  captionsInData,
  captionsInT35,
  captionsInUnits,
  captionsUnit,
} from "../../services/packager/codec/a53.ts";
import { Line21 } from "../../services/packager/line21.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Target } from "./target.ts";

/** What the first byte says it is: supplemental information of H.264 or HEVC, a message of ITU-T T.35, cc_data, or a picture's triplets in turn. */
export const captions: Target = {
  name: "captions",
  seeds: [
    "00 06 04 11 b500314741393403 42 ff fc9420 fc94ae ff 80",
    "00 06 05 03 010203 04 14 b500314741393403 c3 ff fc8080 fdb5a2 ff4251 ff 80",
    "00 06 04 0e b500314741393403 41 ff fc0000 03 01 ff 80",
    "01 4e 01 04 11 b500314741393403 42 ff fc9420 fe1234 ff 80",
    "02 b500314741393403 45 ff fc942c fd1520 ff8322 fe4845 fe0000 ff",
    "03 5f ff ffc222 fe4142 fe4300 fc97a1 fd9d20",
    "04 ff0122 41 ff8421 43 fc9420 fd1d2c",
  ].map(bytesOf),
  run: (bytes) => {
    const rest = bytes.subarray(1);
    const kind = bytes[0]!;
    const found =
      kind < 2
        ? captionsInUnits([rest], kind + 1)
        : kind === 2
          ? captionsInT35(rest)
          : kind === 3
            ? captionsInData(rest)
            : rest;
    const line = new Line21();
    for (let at = 0; found && at < found.length; at += 3) line.push(found.subarray(at, at + 3), at * 500);
    const trail = new CaptionTrail();
    for (let at = 0, pts = 0; found && at < found.length; at += 6, pts += 3000)
      trail.add({ dts: pts, pts: pts + (at % 4) * 1500, triplets: found.subarray(at, at + 6) });
    if (trail.channels.length > 10) throw new Error(`${trail.channels.length} channels`);
    const all = trail.upTo(1e9, undefined) ?? found;
    if (!all) return;
    // What is written is always read again, to the same; triplets that are not valid are not read.
    const valid = Uint8Array.from(all.subarray(0, all.length - (all.length % 3)), (byte, i) =>
      i % 3 === 0 ? byte | 0xfc : byte,
    ).subarray(0, 93);
    const again = captionsInUnits([captionsUnit(valid).subarray(4)], 1);
    if (valid.length > 0 && String(again) !== String(valid)) throw new Error("captions read differently");
  },
};
