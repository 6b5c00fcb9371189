import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, concat, hexOf } from "../../test/support/bytes.ts";
import {
  FlvReader,
  type FlvTag,
  flvHeader,
  maxTagBytes,
  readAudio,
  readScript,
  readVideo,
  tagHeader,
  writeScript,
} from "./flv.ts";

const types = { audio: 8, video: 9, script: 18 };

function encode(tags: readonly FlvTag[]): Uint8Array {
  const parts = [flvHeader()];
  for (const { type, timestampMs, payload } of tags) {
    const size = 11 + payload.length;
    const trailer = Uint8Array.of(size >>> 24, size >>> 16, size >>> 8, size);
    parts.push(tagHeader(types[type], timestampMs, payload.length), payload, trailer);
  }
  return concat(parts);
}

const anyTag: fc.Arbitrary<FlvTag> = fc.record({
  type: fc.constantFrom("audio", "video", "script"),
  timestampMs: fc.nat({ max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

describe("FlvReader", () => {
  test("gives every tag once, however the bytes are split, and never changes a payload afterwards", () => {
    const splits = fc.array(fc.nat({ max: 400 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(anyTag, { maxLength: 12 }), splits, (tags, sizes) => {
        const flv = encode(tags);
        const reader = new FlvReader();
        const read: FlvTag[] = [];
        let at = 0;
        for (let i = 0; at < flv.length; i++) {
          const end = Math.min(flv.length, at + Math.max(1, sizes[i % sizes.length]!));
          read.push(...reader.push(flv.slice(at, end)));
          at = end;
        }
        expect(read).toEqual(tags);
      }),
    );
  });

  test("gives a tag as soon as its payload is there, before its PreviousTagSize", () => {
    const flv = encode([{ type: "video", timestampMs: 5, payload: Uint8Array.of(1, 2, 3) }]);
    expect(new FlvReader().push(flv.subarray(0, flv.length - 4))).toHaveLength(1);
  });

  test("does not copy a payload that came in one piece", () => {
    const flv = encode([{ type: "video", timestampMs: 5, payload: Uint8Array.of(1, 2, 3) }]);
    expect(new FlvReader().push(flv)[0]?.payload.buffer).toBe(flv.buffer);
  });

  const tag = "09 000001 000000 00 000000 17";
  test.for([
    { name: "another file", hex: "474b5640 00000000 00 00000000", code: "bad_flv" },
    { name: "an FLV with a longer header", hex: "464c5601 05 0000000a 00 00000000", code: "bad_flv" },
    {
      name: "a wrong PreviousTagSize0",
      hex: "464c5601 05 00000009 00000001 09000001000000",
      code: "bad_flv",
    },
    {
      name: "a wrong PreviousTagSize",
      hex: `464c5601 05 00000009 00000000 ${tag} 0000000b ${tag}`,
      code: "bad_flv",
    },
    {
      name: "an unknown tag type",
      hex: "464c5601 05 00000009 00000000 0a 000001 000000 00 000000 17",
      code: "bad_flv",
    },
    {
      name: "an encrypted tag",
      hex: "464c5601 05 00000009 00000000 29 000001 000000 00 000000 17",
      code: "bad_flv",
    },
    {
      name: "a tag over 8 MiB",
      hex: "464c5601 05 00000009 00000000 09 800001 000000 00 000000 17",
      code: "too_large",
    },
  ])("refuses $name", ({ hex, code }) => {
    // Bytes after the damage, so that whole heads are there to be judged.
    const bytes = concat([bytesOf(hex), new Uint8Array(16)]);
    expect(() => new FlvReader().push(bytes)).toThrow(expect.objectContaining({ name: "BadMedia", code }));
  });

  test("takes a tag of exactly 8 MiB", () => {
    const payload = new Uint8Array(maxTagBytes);
    const flv = encode([{ type: "video", timestampMs: 0, payload }]);
    const reader = new FlvReader();
    expect(reader.push(flv.subarray(0, 1000))).toEqual([]);
    expect(reader.push(flv.subarray(1000))[0]?.payload).toHaveLength(maxTagBytes);
  });
});

test("a tag header puts the upper 8 bits of the timestamp last", () => {
  expect(hexOf(tagHeader(9, 0x12_34_56_78, 0x0a_0b_0c))).toBe(
    "09 0a0b0c 345678 12 000000".replaceAll(" ", ""),
  );
  expect(hexOf(flvHeader())).toBe("464c56010500000009" + "00000000");
});

describe("readVideo", () => {
  const data = bytesOf("00000001 65");
  test.for([
    { name: "nothing", hex: "", message: { type: "ignore" } },
    {
      name: "a sequence header",
      hex: "17 00 000000 0000000165",
      message: { type: "config", track: 0, entry: "avc1", config: data },
    },
    { name: "a keyframe", hex: "17 01 000042 0000000165", message: frame({ key: true, compositionMs: 66 }) },
    {
      name: "a frame shown before it is decoded",
      hex: "27 01 ffffd8 0000000165",
      message: frame({ compositionMs: -40 }),
    },
    { name: "a disposable frame", hex: "37 01 000000 0000000165", message: frame({}) },
    { name: "an end of sequence", hex: "17 02 000000", message: { type: "end" } },
    { name: "an empty frame", hex: "27 01 000000", message: { type: "ignore" } },
    { name: "a command frame", hex: "52 00", message: { type: "ignore" } },
    {
      name: "enhanced: SequenceStart",
      hex: "90 61766331 0000000165",
      message: { type: "config", track: 0, entry: "avc1", config: data },
    },
    {
      name: "enhanced: CodedFrames",
      hex: "91 61766331 ffffff 0000000165",
      message: frame({ key: true, compositionMs: -1 }),
    },
    { name: "enhanced: CodedFramesX", hex: "a3 61766331 0000000165", message: frame({}) },
    { name: "enhanced: SequenceEnd", hex: "92 61766331", message: { type: "end" } },
    {
      name: "enhanced: metadata that is damaged",
      hex: "94 68766331 02",
      message: { type: "colour", track: 0, colour: undefined, hdr: undefined },
    },
    { name: "enhanced: command", hex: "d0 00", message: { type: "ignore" } },
    {
      name: "enhanced: ModEx around CodedFramesX",
      hex: "97 02 000001 03 61766331 0000000165",
      message: frame({ key: true, offsetMs: 0.000001 }),
    },
    {
      name: "enhanced: a part of a millisecond",
      hex: "a7 02 07a120 01 61766331 000000 0000000165",
      message: frame({ offsetMs: 0.5 }),
    },
    {
      name: "enhanced: HEVC, AV1 and VP9, of which only HEVC has a composition time",
      hex: "91 68766331 000021 0000000165",
      message: frame({ entry: "hvc1", key: true, compositionMs: 33 }),
    },
    { name: "enhanced: AV1", hex: "a1 61763031 0000000165", message: frame({ entry: "av01" }) },
    { name: "enhanced: VP9", hex: "a1 76703039 0000000165", message: frame({ entry: "vp09" }) },
    {
      name: "legacy HEVC",
      hex: "1c 01 000000 0000000165",
      message: frame({ entry: "hvc1", key: true }),
    },
    {
      name: "multitrack: one",
      hex: "96 03 61763031 02 0000000165",
      message: frame({ entry: "av01", key: true, track: 2 }),
    },
    {
      name: "multitrack: many of one codec",
      hex: "a6 11 61766331 00 000008 000001 0000000165 01 000008 000002 0000000165",
      message: {
        type: "many",
        messages: [frame({ compositionMs: 1 }), frame({ track: 1, compositionMs: 2 })],
      },
    },
    {
      name: "multitrack: many codecs",
      hex: "a6 23 61766331 00 000005 0000000165 61763031 01 000005 0000000165",
      message: { type: "many", messages: [frame({}), frame({ track: 1, entry: "av01" })] },
    },
    { name: "enhanced: a long ModEx", hex: `a7 ff 0001 0000 03 61766331 0000000165`, message: frame({}) },
  ])("reads $name", ({ hex, message }) => expect(readVideo(bytesOf(hex))).toEqual(message));

  function frame(fields: {
    track?: number;
    entry?: string;
    key?: boolean;
    compositionMs?: number;
    offsetMs?: number;
  }) {
    return {
      type: "frame",
      track: 0,
      entry: "avc1",
      key: false,
      compositionMs: 0,
      offsetMs: 0,
      data,
      ...fields,
    };
  }

  test.for([
    { name: "cut short", hex: "17 01 00", code: "bad_flv", says: /cut short/ },
    { name: "ModEx past the end", hex: "97 ff", code: "bad_flv", says: /cut short/ },
    {
      name: "Sorenson",
      hex: "12 00 000000",
      code: "unsupported_video_codec",
      says: /Sorenson.*set the encoder to H\.264, HEVC, AV1 or VP9$/,
    },
    { name: "VVC", hex: "90 76766331 01", code: "unsupported_video_codec", says: /VVC/ },
    {
      name: "a code that is nobody's",
      hex: "90 746f5374 01",
      code: "unsupported_video_codec",
      says: /codec "toSt"/,
    },
    { name: "multitrack that is cut short", hex: "96 00 61766331", code: "bad_flv", says: /cut short/ },
    {
      name: "a track longer than its tag",
      hex: "96 11 61766331 00 000009 000001 0000000165",
      code: "bad_flv",
      says: /cut short/,
    },
    { name: "an unknown multitrack", hex: "96 31 61766331 00", code: "bad_flv", says: /unknown kind/ },
    {
      name: "a track beyond all numbers",
      hex: "96 01 61766331 7f 00",
      code: "unsupported_video_codec",
      says: /below 16/,
    },
  ])("refuses $name", ({ hex, code, says }) => {
    expect(() => readVideo(bytesOf(hex))).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(says) }),
    );
  });
});

describe("readAudio", () => {
  test.for([
    { name: "nothing", hex: "", message: { type: "ignore" } },
    {
      name: "a configuration",
      hex: "af 00 1190",
      message: { type: "config", track: 0, entry: "mp4a", config: bytesOf("1190") },
    },
    {
      name: "a frame",
      hex: "af 01 2110",
      message: { type: "frame", track: 0, entry: "mp4a", offsetMs: 0, data: bytesOf("2110") },
    },
    { name: "an empty frame", hex: "af 01", message: { type: "ignore" } },
    {
      name: "enhanced: configuration",
      hex: "90 6d703461 1190",
      message: { type: "config", track: 0, entry: "mp4a", config: bytesOf("1190") },
    },
    {
      name: "enhanced: frame",
      hex: "91 6d703461 2110",
      message: { type: "frame", track: 0, entry: "mp4a", offsetMs: 0, data: bytesOf("2110") },
    },
    {
      name: "enhanced: two languages",
      hex: "95 11 4f707573 00 000002 2110 01 000002 2110",
      message: {
        type: "many",
        messages: [0, 1].map((track) => ({
          ...{ type: "frame", track, entry: "Opus", offsetMs: 0, data: bytesOf("2110") },
        })),
      },
    },
    { name: "enhanced: end", hex: "92 6d703461", message: { type: "ignore" } },
    { name: "enhanced: channel layout", hex: "94 6d703461 01 02 00000003", message: { type: "ignore" } },
  ])("reads $name", ({ hex, message }) => expect(readAudio(bytesOf(hex))).toEqual(message));

  test.for([
    {
      name: "MP3",
      hex: "2f ff",
      says: /^MP3 audio is not supported; set the encoder to AAC, Opus, FLAC, AC-3 or E-AC-3$/,
    },
    { name: "Speex", hex: "bf 00", says: /Speex/ },
    { name: "enhanced MP3", hex: "91 2e6d7033 00", says: /MP3/ },
  ])("refuses $name", ({ hex, says }) => {
    const refusal = expect.objectContaining({
      code: "unsupported_audio_codec",
      message: expect.stringMatching(says),
    });
    expect(() => readAudio(bytesOf(hex))).toThrow(refusal);
  });
});

describe("script tags", () => {
  test("come back as they were written", () => {
    const value = {
      width: 1280,
      framerate: 29.97,
      stereo: true,
      encoder: "obs-output module (libobs version 31.0)",
    };
    expect(readScript(writeScript("onMetaData", value))).toEqual({ name: "onMetaData", value });
  });

  test("may have RTMP's @setDataFrame in front, and may have no value", () => {
    const setDataFrame = concat([bytesOf("02 000d"), new TextEncoder().encode("@setDataFrame")]);
    expect(readScript(concat([setDataFrame, writeScript("onMetaData", { width: 1 })]))).toEqual({
      name: "onMetaData",
      value: { width: 1 },
    });
    expect(readScript(bytesOf("02 0001 61"))).toEqual({ name: "a", value: null });
  });

  test("must begin with a name", () =>
    expect(() => readScript(bytesOf("05"))).toThrow(/begin with its name/));
});
