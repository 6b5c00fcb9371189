import { describe, expect, test } from "vitest";
import { bytesOf, concat, hexOf } from "../../../test/support/bytes.ts";
import { Lane } from "../lane.ts";
import type { CodedFrame, Entry } from "../track.ts";
import { cleanerOf, configOf, silentFrame, suffices, trackOf } from "./codec.ts";

/** As ffmpeg's encoders write them (libx265, libaom, SVT-AV1, libvpx, libopus, flac, ac3, eac3). */
const configs = {
  hevc: "01016000000090000000000078f000fcfdf8f800000f03200001001840010c01ffff016000000300900000030000030078959409210001002e420101016000000300900000030000030078a003c0801107cb965654a4c2f016a020202080000003008000000f042200010006 4401c073c189",
  hevc422:
    "0104080000009d08000000003cf000fcfefafa00000f03200001001740010c01ffff0408000003009d0800000300003c959409210001002b4201010408000003009d0800000300003cb00a480b9c96d96565924e5780b404000003000400000300782022000100074401c172b4624027",
  av1: "81080c000a0b00000042abbfc3776be401",
  av1Hdr: "81014c000a0e0000000cc4ff6736be5424402410",
  av1Full: "812000000a0a200000043cfeccdaf902",
  opus: "4f707573486561640102380180bb0000000000",
  opusSurround: "4f707573486561640106380180bb00000000010402000401020305",
  flac: `664c6143 80000022 12001200000000004a580bb802f0${"00".repeat(20)}`,
} as const;
/** First bytes of a frame where these say it all. */
const frames = {
  vp9: "82498342404ff02cf60638241c184a1805a85ff9cfbfa7e6",
  vp9Deep: "924983425013f80b3b031c120e0c2c0804105fcdf7f3fcdf",
  vp9Full: "a249834200027e0166c0c7048383094001e85fcdf7fbfcdf",
  ac3: "0b771e8b1c40ebf8403eff74fe1e108083f8787f0f0fe1e1",
  ac3Slow: "0b7707c3504043e106f2b9430303030860606061ffde1be7",
  eac3: "0b7702ff3f87c000208020000200400003e01fba7e1e0101",
};
const bt709 = { primaries: 1, transfer: 1, matrix: 1, fullRange: false };
const bt2100 = { primaries: 9, transfer: 16, matrix: 9, fullRange: false };

describe("what a configuration says of its track", () => {
  test.for([
    {
      name: "HEVC Main in BT.709",
      entry: "hvc1",
      config: configs.hevc,
      says: { codec: "hvc1.1.6.L120.90", width: 1920, height: 1080, colour: bt709, frameRate: 30 },
    },
    {
      name: "HEVC 4:2:2 in 10 bits of an odd size",
      entry: "hvc1",
      config: configs.hevc422,
      says: { codec: "hvc1.4.10.L60.9D.8", width: 322, height: 182, colour: undefined },
    },
    {
      name: "AV1",
      entry: "av01",
      config: configs.av1,
      says: { codec: "av01.0.08M.08", width: 1920, height: 1080 },
    },
    {
      name: "AV1 in PQ",
      entry: "av01",
      config: configs.av1Hdr,
      says: { codec: "av01.0.01M.10.0.110.09.16.09.0", width: 640, height: 360, colour: bt2100 },
    },
    {
      name: "AV1 4:4:4",
      entry: "av01",
      config: configs.av1Full,
      says: { codec: "av01.1.00M.08.0.000.02.02.02.0", width: 320, height: 180 },
    },
    {
      name: "Opus",
      entry: "Opus",
      config: configs.opus,
      says: { codec: "opus", channels: 2, sampleRate: 48_000, timescale: 48_000, frameTicks: 960 },
    },
    { name: "Opus 5.1", entry: "Opus", config: configs.opusSurround, says: { channels: 6 } },
    {
      name: "FLAC",
      entry: "fLaC",
      config: configs.flac,
      says: { codec: "fLaC", channels: 2, sampleRate: 48_000, frameTicks: 4608 },
    },
    {
      name: "HE-AAC, told before the core",
      entry: "mp4a",
      config: "2b118800",
      says: { codec: "mp4a.40.5", sampleRate: 48_000, frameTicks: 2048 },
    },
  ] as const)("$name", ({ entry, config, says }) => {
    expect(trackOf(entry, bytesOf(config), {})).toMatchObject(says);
  });

  test.for([
    {
      name: "VP9",
      entry: "vp09",
      frame: frames.vp9,
      sent: "01000000001f820101010000",
      says: { codec: "vp09.00.31.08", width: 1280, height: 720, colour: bt709 },
    },
    {
      name: "VP9 without a word from the encoder",
      entry: "vp09",
      frame: frames.vp9,
      says: { codec: "vp09.00.40.08", width: 1280, height: 720 },
    },
    {
      name: "VP9 in PQ, which its configuration alone can say",
      entry: "vp09",
      frame: frames.vp9Deep,
      sent: "010000000215a20910090000",
      says: { codec: "vp09.02.21.10.01.09.16.09.00", width: 640, height: 360, colour: bt2100 },
    },
    {
      name: "VP9 4:4:4",
      entry: "vp09",
      frame: frames.vp9Full,
      says: { codec: "vp09.01.20.08", width: 320, height: 180 },
    },
    {
      name: "AC-3 5.1",
      entry: "ac-3",
      frame: frames.ac3,
      says: { codec: "ac-3", channels: 6, sampleRate: 48_000, frameTicks: 1536 },
    },
    {
      name: "AC-3 at 44.1 kHz",
      entry: "ac-3",
      frame: frames.ac3Slow,
      says: { channels: 2, sampleRate: 44_100 },
    },
    {
      name: "E-AC-3 5.1",
      entry: "ec-3",
      frame: frames.eac3,
      says: { codec: "ec-3", channels: 6, sampleRate: 48_000, frameTicks: 1536 },
    },
    {
      name: "AV1 with an empty record",
      entry: "av01",
      frame: "1200 0a0b00000042abbfc3776be401 32021000",
      sent: "81080c00",
      says: { codec: "av01.0.08M.08", width: 1920 },
    },
  ] as { name: string; entry: Entry; frame: string; sent?: string; says: object }[])(
    "by its first frame: $name",
    ({ entry, frame, sent, says }) => {
      expect(suffices(entry)).toBe(false);
      const config = configOf(entry, bytesOf(frame), sent === undefined ? undefined : bytesOf(sent))!;
      expect(trackOf(entry, config, {})).toMatchObject(says);
    },
  );

  test("what the publisher says of colour counts where the bitstream says nothing", () => {
    const hints = { colour: bt2100, frameRate: 30 };
    expect(trackOf("av01", bytesOf(configs.av1), hints)).toMatchObject({ colour: bt2100, frameRate: 30 });
    expect(trackOf("hvc1", bytesOf(configs.hevc), hints)).toMatchObject({ colour: bt709 });
  });

  test.for([
    { name: "HEVC with start codes", entry: "hvc1", config: "00000001 4001", says: /start codes/ },
    {
      name: "HEVC without parameter sets",
      entry: "hvc1",
      config: `01${"00".repeat(21)}00`,
      says: /no sequence/,
    },
    { name: "AV1 that is something else", entry: "av01", config: "00000000", says: /AV1CodecConf/ },
    { name: "Opus that is something else", entry: "Opus", config: "4f7075734865616401", says: /OpusHead/ },
    { name: "FLAC without STREAMINFO", entry: "fLaC", config: "664c6143 84000000", says: /STREAMINFO/ },
  ] as const)("$name is refused", ({ entry, config, says }) => {
    expect(() => trackOf(entry, bytesOf(config), {})).toThrow(
      expect.objectContaining({ code: "bad_config", message: expect.stringMatching(says) }),
    );
  });
});

describe("what is left of a frame", () => {
  const hevc = cleanerOf("hvc1", bytesOf(configs.hevc));
  const unit = (hex: string): Uint8Array => {
    const bytes = bytesOf(hex);
    return concat([Uint8Array.of(0, 0, 0, bytes.length), bytes]);
  };
  const vps = unit("40010c01ffff016000000300900000030000030078959409");
  const delimiter = unit("460150");

  test.for([
    { name: "an IDR picture", picture: "2801af08", key: true },
    { name: "an IDR picture with others to be shown before it", picture: "2601af08", key: true },
    { name: "a CRA picture: what follows may need what came before", picture: "2a01af08", key: false },
    { name: "a picture that needs others", picture: "0201d009", key: false },
  ])("HEVC: $name", ({ picture, key }) => {
    const frame = hevc(concat([delimiter, vps, unit(picture)]))!;
    expect({ ...frame, data: text(frame) }).toEqual({
      key,
      data: hexOf(unit(picture)),
      config: undefined,
    });
  });

  test("HEVC: parameter sets that changed in band make a new configuration", () => {
    const pps = unit("4401c073c19000");
    const { config } = hevc(concat([pps, unit("2801af08")]))!;
    expect(hexOf(config!)).toMatch(/4401c073c190$/);
    expect(trackOf("hvc1", config!, {})).toMatchObject({ width: 1920 });
  });

  /** ITU-T T.35: captions of ATSC, and HDR10+. */
  const captions = "b500314741393403 41 ff fc9420 ff";
  const hdr10Plus = "b5003c000104 01 40 00";
  test("HEVC: captions and HDR10+ in supplemental information are told, and stay", () => {
    const sei = unit(`4e01 040e ${captions} 0409 ${hdr10Plus} 80`.replaceAll(" ", ""));
    const frame = hevc(concat([sei, unit("2801af08")]))!;
    expect(text(frame)).toBe(hexOf(concat([sei, unit("2801af08")])));
    expect([hexOf(frame.captions!), frame.dynamicHdr]).toEqual(["fc9420", true]);
    expect(hevc(unit("2801af08"))).not.toHaveProperty("dynamicHdr");
  });
  test("AV1: captions and HDR10+ in metadata are told, and stay", () => {
    const obus = `2a0f04${captions} 2a0a04${hdr10Plus} 32021000`.replaceAll(" ", "");
    const frame = cleanerOf("av01", bytesOf(configs.av1))(bytesOf(obus))!;
    expect(text(frame)).toBe(obus);
    expect([hexOf(frame.captions!), frame.dynamicHdr]).toEqual(["fc9420", true]);
  });
  test("a track is one with HDR10+ once a picture has it", () => {
    const lane = new Lane();
    lane.configure("hvc1", bytesOf(configs.hevc), {});
    lane.read("hvc1", concat([unit("2801af08")]), {});
    expect(lane.track).not.toHaveProperty("hdr");
    lane.read("hvc1", concat([unit(`4e010409${hdr10Plus}80`.replaceAll(" ", "")), unit("2801af08")]), {});
    expect(lane.track).toMatchObject({ hdr: { dynamic: true } });
    expect(lane.generation).toBe(1);
  });

  const av1 = cleanerOf("av01", bytesOf(configs.av1));
  test.for([
    { name: "a key frame", obus: "32021000", left: "32021000", key: true },
    { name: "a key frame that is not shown yet", obus: "32020000", left: "32020000", key: false },
    { name: "a frame between others", obus: "32023000", left: "32023000", key: false },
    { name: "a frame that is shown again", obus: "1a018000", left: "1a018000", key: false },
    { name: "padding", obus: "7a0100 32023000", left: "32023000", key: false },
    {
      name: "a sequence header",
      obus: "0a0b00000042abbfc3776be401 32021000",
      left: "0a0b00000042abbfc3776be40132021000",
      key: true,
    },
  ])("AV1: $name, without its delimiter", ({ obus, left, key }) => {
    const frame = av1(bytesOf(`1200 ${obus}`))!;
    expect({ ...frame, data: text(frame) }).toEqual({ key, data: left, config: undefined });
  });

  test("AV1: another sequence header is another configuration", () => {
    const { config } = av1(bytesOf("0a0e0000000cc4ff6736be5424402410 32021000"))!;
    expect(trackOf("av01", config!, {})).toMatchObject({ width: 640 });
  });

  test("VP9: key frames are read from the bitstream, and another size is another configuration", () => {
    const small = bytesOf(frames.vp9Full);
    const known = configOf("vp09", bytesOf(frames.vp9), undefined)!;
    const clean = cleanerOf("vp09", known);
    expect(clean(bytesOf(frames.vp9))).toMatchObject({ key: true, config: undefined });
    expect(clean(bytesOf("8604"))).toMatchObject({ key: false });
    expect(trackOf("vp09", clean(small)!.config!, {})).toMatchObject({ width: 320 });
  });

  test.for([
    { hex: "fc00", ticks: 960 },
    { hex: "fb0300", ticks: 2880 },
    { hex: "e000", ticks: 120 },
    { hex: "1800", ticks: 2880 },
    { hex: "0900", ticks: 1920 },
  ])("Opus: $hex lasts $ticks samples", ({ hex, ticks }) => {
    expect(cleanerOf("Opus", bytesOf(configs.opus))(bytesOf(hex))).toMatchObject({ key: true, ticks });
  });

  test.for([
    { name: "4608", hex: "fff85908003c4e00", ticks: 4608 },
    { name: "a size of its own", hex: "fff87908000fff00", ticks: 4096 },
  ])("FLAC: a block of $name", ({ hex, ticks }) => {
    expect(cleanerOf("fLaC", bytesOf(configs.flac))(bytesOf(hex))).toMatchObject({ ticks });
  });

  test.for([
    { name: "HEVC", entry: "hvc1", config: configs.hevc, frame: "000000ff2801" },
    { name: "AV1", entry: "av01", config: configs.av1, frame: "80" },
    { name: "Opus", entry: "Opus", config: configs.opus, frame: "ff00" },
    { name: "FLAC", entry: "fLaC", config: configs.flac, frame: "00112233445566" },
  ] as const)("$name: damage is refused", ({ entry, config, frame }) => {
    expect(() => cleanerOf(entry, bytesOf(config))(bytesOf(frame))).toThrow(
      expect.objectContaining({ code: "bad_flv" }),
    );
  });
});

test("silence of Opus lasts as long as it should", () => {
  const track = trackOf("Opus", bytesOf(configs.opus), {});
  if (track.kind !== "audio") throw new Error("Opus is audio");
  for (const ticks of [120, 240, 480, 960])
    expect(cleanerOf("Opus", bytesOf(configs.opus))(silentFrame(track, ticks)!)).toMatchObject({ ticks });
  expect(silentFrame(track, 1920)).toBeUndefined();
});

function text({ data }: CodedFrame): string {
  return hexOf(data instanceof Uint8Array ? data : concat(data));
}
