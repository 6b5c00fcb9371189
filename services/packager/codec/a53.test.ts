import { describe, expect, test } from "vitest";
import { bytesOf, hexOf } from "../../../test/support/bytes.ts";
import { captionsInData, captionsInT35, captionsInUnits, captionsUnit } from "./a53.ts";

/** An H.264 SEI unit of ffmpeg's reading: payload type 4, 17 bytes, two triplets. */
const sei = "06 04 11 b500314741393403 42 ff fc9420 fd80ae ff 80";

describe("captions in supplemental information", () => {
  test.for([
    ["of H.264", 1, sei, "fc9420fd80ae"],
    ["of HEVC, whose header has two bytes", 2, `4e01 ${sei.slice(3)}`, "fc9420fd80ae"],
    ["behind another message", 1, `06 05 03 010203 ${sei.slice(3)}`, "fc9420fd80ae"],
    ["behind a message of 300 bytes", 1, `06 05 ff2d ${"47".repeat(300)} ${sei.slice(3)}`, "fc9420fd80ae"],
    ["with a byte against start codes", 1, "06 04 0e b500314741393403 41 ff fc0000 03 ff 80", "fc0000"],
    ["with triplets that are not valid", 1, "06 04 11 b500314741393403 42 ff f89420 fd80ae ff 80", "fd80ae"],
    ["of 708", 1, "06 04 11 b500314741393403 42 ff ff0223 fe4142 ff 80", "ff0223fe4142"],
  ] as const)("%s", ([, header, unit, captions]) => {
    expect(hexOf(captionsInUnits([bytesOf(unit)], header)!)).toBe(captions);
  });

  test.for([
    ["an encoder's letter", `06 05 08 ${"78".repeat(8)} 80`],
    ["a message of another country", "06 04 11 b600314741393403 42 ff fc9420 fd80ae ff 80"],
    ["a message of another maker", "06 04 11 b500324741393403 42 ff fc9420 fd80ae ff 80"],
    ["bar data", "06 04 11 b500314741393406 42 ff fc9420 fd80ae ff 80"],
    ["what is said not to be processed", "06 04 11 b500314741393403 02 ff fc9420 fd80ae ff 80"],
    ["nothing valid", "06 04 11 b500314741393403 42 ff f88080 f98080 ff 80"],
    ["a size beyond the end", "06 04 ff b500314741393403 42 ff fc9420 ff 80"],
    ["more than any has", `06 04 ff ${"47413934".repeat(2000)}`],
    ["the mark alone", "47413934"],
  ])("%s is none", ([, unit]) => {
    expect(captionsInUnits([bytesOf(unit!)], 1)).toBeUndefined();
  });

  test("a count that the bytes do not have gives what is there", () => {
    expect(hexOf(captionsInT35(bytesOf("b500314741393403 5f ff fc9420 fc"))!)).toBe("fc9420");
    expect(hexOf(captionsInData(bytesOf("5f ff fc9420"))!)).toBe("fc9420");
    expect(captionsInData(bytesOf(""))).toBeUndefined();
  });
});

test("what is written is read again, with bytes that look like start codes and at most 31 triplets", () => {
  const triplets = Uint8Array.from({ length: 40 * 3 }, (_, i) => (i % 3 === 0 ? 0xfc : i % 6 > 3 ? 0 : 1));
  const unit = captionsUnit(triplets);
  expect(new DataView(unit.buffer).getUint32(0)).toBe(unit.length - 4);
  // ISO/IEC 14496-10 7.4.1: no start code in it.
  expect(
    unit.slice(4).findIndex((_, at, all) => at > 1 && all[at - 2] === 0 && all[at - 1] === 0 && all[at]! < 3),
  ).toBe(-1);
  expect(captionsInUnits([unit.subarray(4)], 1)).toEqual(triplets.subarray(0, 93));
});
