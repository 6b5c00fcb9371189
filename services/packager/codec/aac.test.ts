import { describe, expect, test } from "vitest";
import { bytesOf, hexOf } from "../../../test/support/bytes.ts";
import { aacTrack, cleanAac, silentAac } from "./aac.ts";

/** Bits as text: the tables of 14496-3 are easier to follow than hex. */
function bits(text: string): string {
  const digits = text.replace(/[^01]/g, "");
  const bytes = digits.padEnd(Math.ceil(digits.length / 8) * 8, "0").match(/.{8}/g) ?? [];
  return bytes.map((byte) => Number.parseInt(byte, 2).toString(16).padStart(2, "0")).join("");
}

describe("aacTrack", () => {
  test.for([
    { name: "LC 48 kHz stereo", hex: "1190", codec: "mp4a.40.2", rate: 48_000, channels: 2, ticks: 1024 },
    { name: "LC 44.1 kHz mono", hex: "1208", codec: "mp4a.40.2", rate: 44_100, channels: 1, ticks: 1024 },
    {
      name: "ffmpeg, which denies SBR",
      hex: "119056e500",
      codec: "mp4a.40.2",
      rate: 48_000,
      channels: 2,
      ticks: 1024,
    },
    { name: "LC 5.1", hex: "11b056e500", codec: "mp4a.40.2", rate: 48_000, channels: 6, ticks: 1024 },
    { name: "LC 7.1", hex: "11b856e500", codec: "mp4a.40.2", rate: 48_000, channels: 8, ticks: 1024 },
    { name: "LC 96 kHz", hex: "1010", codec: "mp4a.40.2", rate: 96_000, channels: 2, ticks: 1024 },
    { name: "LC with frames of 960", hex: "1194", codec: "mp4a.40.2", rate: 48_000, channels: 2, ticks: 960 },
    {
      name: "an explicit frequency",
      hex: bits("00010 1111 000000001010110001000100 0010 000"),
      codec: "mp4a.40.2",
      rate: 44_100,
      channels: 2,
      ticks: 1024,
    },
    {
      name: "HE-AAC",
      hex: bits("00101 0110 0010 0011 00010 000"),
      codec: "mp4a.40.5",
      rate: 48_000,
      channels: 2,
      ticks: 2048,
    },
    {
      name: "HE-AAC v2",
      hex: bits("11101 0110 0001 0011 00010 000"),
      codec: "mp4a.40.29",
      rate: 48_000,
      channels: 2,
      ticks: 2048,
    },
    {
      name: "HE-AAC, backward compatible",
      hex: bits("00010 0110 0010 000 01010110111 00101 1 0011"),
      codec: "mp4a.40.5",
      rate: 48_000,
      channels: 2,
      ticks: 2048,
    },
    {
      name: "HE-AAC v2, backward compatible",
      hex: bits("00010 0110 0001 000 01010110111 00101 1 0011 10101001000 1"),
      codec: "mp4a.40.29",
      rate: 48_000,
      channels: 2,
      ticks: 2048,
    },
    {
      name: "a program config element: 3 front, 2 back, 1 low",
      // LC, 48 kHz, layout 0; GASpecific; PCE: tag, type, rate, front 2, side 0, back 1, lfe 1, assoc 0, cc 0, no mixdowns
      hex: bits(
        "00010 0011 0000 000  0000 01 0011 0010 0000 0001 01 000 0000 000  0 0000 1 0000  1 0000  0000  000000 00000000",
      ),
      codec: "mp4a.40.2",
      rate: 48_000,
      channels: 6,
      ticks: 1024,
    },
  ])("reads $name", ({ hex, codec, rate, channels, ticks }) => {
    const track = aacTrack(bytesOf(hex));
    expect({ ...track, config: hexOf(track.config) }).toEqual({
      kind: "audio",
      entry: "mp4a",
      codec,
      timescale: rate,
      sampleRate: rate,
      channels,
      frameTicks: ticks,
      config: hex,
    });
  });

  test.for([
    { name: "nothing", hex: "", code: "bad_config", says: /cut short/ },
    { name: "one byte", hex: "11", code: "bad_config", says: /cut short/ },
    { name: "ADTS", hex: "fff15080 01bffc21", code: "bad_config", says: /ADTS/ },
    { name: "AAC Main", hex: "0990", code: "unsupported_audio_codec", says: /type 1 .*AAC-LC/ },
    { name: "xHE-AAC", hex: "f9469000", code: "unsupported_audio_codec", says: /type 42/ },
    { name: "a reserved frequency", hex: "1690", code: "bad_config", says: /sample rate/ },
    { name: "an explicit frequency of 0", hex: "178000000010", code: "bad_config", says: /sample rate/ },
    { name: "a reserved channel layout", hex: "11c0", code: "bad_config", says: /channel layout/ },
    {
      name: "SBR of three times the rate",
      hex: bits("00101 1000 0010 0011 00010 000"),
      code: "bad_config",
      says: /16000 Hz into 48000/,
    },
    { name: "257 bytes", hex: `1190${"00".repeat(255)}`, code: "bad_config", says: /257 bytes/ },
  ])("refuses $name", ({ hex, code, says }) => {
    expect(() => aacTrack(bytesOf(hex))).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(says) }),
    );
  });
});

test("frames with ADTS headers are refused, raw ones go through as they are", () => {
  expect(() => cleanAac(bytesOf("fff15080 01bffc21"))).toThrow(/ADTS/);
  const data = bytesOf("2100499002190023 80");
  expect(cleanAac(data)).toEqual({ key: true, data, config: undefined });
  expect(cleanAac(new Uint8Array())).toBeUndefined();
});

test("silence is known for AAC-LC of one and two channels", () => {
  const lengths = ["1188", "1190", "11b0", bits("00101 0110 0010 0011 00010 000")].map(
    (hex) => silentAac(aacTrack(bytesOf(hex)))?.length,
  );
  expect(lengths).toEqual([6, 9, undefined, undefined]);
});
