import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, concat, hexOf } from "../../../test/support/bytes.ts";
import type { Payload } from "../track.ts";
import { avcTrack, cleanAvc, readAvcConfig } from "./avc.ts";

/** From x264 unless the name says otherwise. */
const configs = {
  hd: "01640028ffe1001d67640028acd940780227e5c05a808080a000007d20001d4c11e30632c001000468ef8fcbfdf8f800",
  baseline: "0142c00cffe100176742c00cda05067e7c0440000003004000000c83c50aa801000468ce0fc8",
  interlaced: "014d401effe1001c674d401ef405a126ffc010000b44000003000400000300ca7c50aa8001000468de0fc8",
  fullRange: "0142c015ffe100196742c015da05467889b016c8000003000800000303c478b17501000468ce0fc8",
  chroma422: "017a001fffe10019677a001fb6cb405017fc4e0220000003002000000c91e3065401000468ce0fc8fefafa00",
  scalingLists:
    "01f40015ffe1001967f40015919681519e3e2f0110000003001000000640f162ea01000768ce0f19100640fff8f800",
};
const bt709 = { primaries: 1, transfer: 1, matrix: 1, fullRange: false };

describe("avcTrack", () => {
  test.for([
    {
      name: "1080p at 29.97 in BT.709",
      of: "hd",
      codec: "avc1.640028",
      size: [1920, 1080],
      aspect: [1, 1],
      colour: bt709,
      rate: 30000 / 1001,
    },
    {
      name: "baseline of variable rate",
      of: "baseline",
      codec: "avc1.42c00c",
      size: [320, 180],
      aspect: [1, 1],
    },
    {
      name: "interlaced PAL with an extended aspect",
      of: "interlaced",
      codec: "avc1.4d401e",
      size: [720, 576],
      aspect: [64, 45],
      rate: 25,
    },
    {
      name: "full range without colour description",
      of: "fullRange",
      codec: "avc1.42c015",
      size: [322, 182],
      aspect: [1, 1],
      rate: 60,
      colour: { primaries: 2, transfer: 2, matrix: 2, fullRange: true },
    },
    {
      name: "4:2:2 in 10 bits",
      of: "chroma422",
      codec: "avc1.7a001f",
      size: [640, 360],
      aspect: [1, 1],
      rate: 50,
    },
    {
      name: "4:4:4 cropped by single pixels",
      of: "scalingLists",
      codec: "avc1.f40015",
      size: [322, 182],
      aspect: [1, 1],
    },
  ] as const)("reads $name", (c) => {
    const track = avcTrack(bytesOf(configs[c.of]), {});
    expect(track.codec).toBe(c.codec);
    expect([track.width, track.height]).toEqual(c.size);
    expect(track.pixelAspect).toEqual(c.aspect);
    expect(track.colour).toEqual("colour" in c ? c.colour : undefined);
    expect(track.frameRate).toBe("rate" in c ? c.rate : undefined);
    expect(hexOf(track.config)).toBe(configs[c.of]);
  });

  test.for([
    { name: "metadata that rounds the exact rate", of: "hd", hint: 29.97, rate: 30000 / 1001 },
    { name: "metadata that contradicts the bitstream", of: "hd", hint: 59.94, rate: 59.94 },
    { name: "metadata alone", of: "baseline", hint: 30, rate: 30 },
    { name: "metadata without sense", of: "baseline", hint: 1e9, rate: undefined },
    { name: "metadata of NaN", of: "hd", hint: Number.NaN, rate: 30000 / 1001 },
  ] as const)("frame rate: $name -> $rate", ({ of, hint, rate }) => {
    expect(avcTrack(bytesOf(configs[of]), { frameRate: hint }).frameRate).toBe(rate);
  });

  test("adds the tail of High profiles where the encoder left it out", () => {
    const whole = configs.hd;
    expect(hexOf(avcTrack(bytesOf(whole.slice(0, -8)), {}).config)).toBe(whole);
    expect(hexOf(avcTrack(bytesOf(configs.chroma422.slice(0, -8)), {}).config)).toBe(configs.chroma422);
  });

  test("says 4-byte lengths whatever the publisher has, and the profile of the SPS", () => {
    const config = bytesOf(configs.hd);
    config[1] = 66;
    config[4] = 0xfd;
    expect(readAvcConfig(config).lengthSize).toBe(2);
    expect(hexOf(avcTrack(config, {}).config)).toBe(configs.hd);
  });

  test.for([
    { name: "nothing", hex: "", says: /not an AVCDecoderConfigurationRecord/ },
    { name: "Annex B", hex: "00000001 67640028acd94078", says: /start codes \(Annex B\)/ },
    { name: "lengths of 3 bytes", hex: configs.hd.replace("ffe1", "fee1"), says: /3 bytes/ },
    { name: "no SPS", hex: "01640028ffe0 01 0004 68ef8fcb", says: /no sequence parameter set/ },
    {
      name: "no PPS",
      hex: "01640028ffe1001d67640028acd940780227e5c05a808080a000007d20001d4c11e30632c0 00",
      says: /no picture parameter/,
    },
    { name: "a PPS for an SPS", hex: "01640028ffe1 0004 68ef8fcb 00", says: /type 8 where 7 belongs/ },
    { name: "a cut record", hex: configs.hd.slice(0, 60), says: /cut short/ },
    { name: "an SPS without end", hex: "01640028ffe1 0006 67640028acd9 01 0004 68ef8fcb", says: /cut short/ },
    {
      name: "an SPS of zeros",
      hex: "01640028ffe1 000c 67640028 0000000000000001 01 0004 68ef8fcb",
      says: /out of range|cut short/,
    },
    {
      name: "a parameter set of 4 KiB",
      hex: `01640028ffe1 1000 67${"00".repeat(4095)} 01 0004 68ef8fcb`,
      says: /4096 bytes/,
    },
  ])("refuses $name", ({ hex, says }) => {
    const refusal = expect.objectContaining({ code: "bad_config", message: expect.stringMatching(says) });
    expect(() => avcTrack(bytesOf(hex), {})).toThrow(refusal);
  });
});

describe("cleanAvc", () => {
  const known = readAvcConfig(bytesOf(configs.hd));
  const clean = (hex: string, lengthSize = 4) => {
    const frame = cleanAvc(bytesOf(hex), { ...known, lengthSize });
    return frame && { key: frame.key, hex: hexOf(whole(frame.data)) };
  };
  const [sps, pps] = [hexOf(known.sps[0]!), hexOf(known.pps[0]!)];
  const idr = "00000003 658880";
  const slice = "00000002 419a";
  const sei = "00000003 060501";

  test.for([
    { name: "a slice", hex: slice, key: false, keeps: slice },
    { name: "an IDR picture", hex: idr, key: true, keeps: idr },
    { name: "an IDR picture of several slices", hex: idr + idr, key: true, keeps: idr + idr },
    { name: "SEI", hex: sei + slice, key: false, keeps: sei + slice },
    { name: "a delimiter in front", hex: `00000002 09f0 ${slice}`, key: false, keeps: slice },
    {
      name: "the parameter sets of OBS",
      hex: `0000001d ${sps} 00000004 ${pps} ${sei} ${idr}`,
      key: true,
      keeps: sei + idr,
    },
    {
      name: "filler between slices",
      hex: `${slice} 00000004 0cffff80 ${slice}`,
      key: false,
      keeps: slice + slice,
    },
    { name: "an end of sequence", hex: `${slice} 00000001 0a`, key: false, keeps: slice },
    { name: "zero padding", hex: `${slice} 00000000 000000`, key: false, keeps: slice },
    {
      name: "2-byte lengths",
      lengthSize: 2,
      hex: "0002 09f0 0003 658880 0002 419a",
      key: true,
      keeps: idr + slice,
    },
    { name: "1-byte lengths", lengthSize: 1, hex: "02 419a", key: false, keeps: slice },
  ])("$name", ({ hex, key, keeps, lengthSize }) => {
    expect(clean(hex, lengthSize)).toEqual({ key, hex: keeps.replaceAll(" ", "") });
  });

  test.for([
    { name: "nothing", hex: "" },
    { name: "parameter sets alone", hex: `0000001d ${sps}` },
    { name: "SEI alone", hex: sei },
  ])("is nothing to mux: $name", ({ hex }) => expect(clean(hex)).toBeUndefined());

  test.for([
    { name: "a length past the end", hex: "00000009 419a", code: "bad_flv", says: /damaged/ },
    { name: "bytes after the last unit", hex: `${slice} 41`, code: "bad_flv", says: /damaged/ },
    { name: "Annex B", hex: "00000001 419a8042 00000001 419a", code: "bad_config", says: /Annex B/ },
    { name: "Annex B with short start codes", hex: "000001 419a8042", code: "bad_config", says: /Annex B/ },
  ])("refuses $name", ({ hex, code, says }) => {
    expect(() => clean(hex)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(says) }));
  });

  test("does not copy a frame from which nothing is taken", () => {
    const data = bytesOf(slice);
    const cleaned = cleanAvc(data, known)!.data as Uint8Array;
    expect(cleaned).toEqual(data);
    expect(cleaned.buffer).toBe(data.buffer);
  });

  test("an I picture with a recovery point is no key: what follows may need what came before", () => {
    const recoveryPoint = "00000004 06060184";
    expect(clean(`${recoveryPoint} 00000003 658880`.replace("658880", "218880"))?.key).toBe(false);
  });

  test("answers parameter sets that changed in band with the new configuration", () => {
    const other = readAvcConfig(bytesOf(configs.baseline));
    const [newSps, newPps] = [hexOf(other.sps[0]!), hexOf(other.pps[0]!)];
    const frame = cleanAvc(bytesOf(`00000017 ${newSps} 00000004 ${newPps} ${idr}`), known);
    expect(hexOf(frame!.config!)).toBe(configs.baseline);
    expect(cleanAvc(bytesOf(`0000001d ${sps} ${idr}`), known)?.config).toBeUndefined();
  });

  test("takes zeros after a parameter set for padding, not for a change", () => {
    expect(cleanAvc(bytesOf(`0000001f ${sps}0000 00000005 ${pps}00 ${idr}`), known)?.config).toBeUndefined();
  });

  const unit = fc
    .tuple(fc.integer({ min: 0, max: 31 }), fc.uint8Array({ maxLength: 20 }))
    .map(([type, rest]) => Uint8Array.of(0x60 | type, ...rest));
  const kept = (bytes: Uint8Array): boolean => ![7, 8, 9, 10, 11, 12, 13, 15].includes(bytes[0]! & 31);
  test("keeps every unit that is not named above, in order, once", () => {
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 10 }), fc.constantFrom(1, 2, 4), (units, lengthSize) => {
        const harmless = units.filter((u) => ![7, 8].includes(u[0]! & 31));
        const data = concat(harmless.flatMap((u) => [prefix(u.length, lengthSize), u]));
        const frame = cleanAvc(data, { ...known, lengthSize });
        const expected = harmless.filter(kept);
        const picture = expected.some((u) => (u[0]! & 31) >= 1 && (u[0]! & 31) <= 5);
        const want = concat(expected.flatMap((u) => [prefix(u.length, 4), u]));
        expect(frame && whole(frame.data)).toEqual(picture ? want : undefined);
      }),
    );
  });
});

function prefix(length: number, size: number): Uint8Array {
  return Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length).subarray(4 - size);
}

function whole(data: Payload): Uint8Array {
  return data instanceof Uint8Array ? data : concat(data);
}
