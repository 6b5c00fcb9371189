import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, concat, dump } from "../../test/support/bytes.ts";
import { findBox, readChunks, readInit } from "../../test/support/mp4.ts";
import { initSegment, makeChunk } from "./cmaf.ts";
import { trackOf } from "./codec/codec.ts";
import type { Entry, Payload, Sample, VideoTrack } from "./track.ts";

const avcC =
  "01640028ffe1001d67640028acd940780227e5c05a808080a000007d20001d4c11e30632c001000468ef8fcbfdf8f800";
const video = trackOf("avc1", bytesOf(avcC), {});
const audio = trackOf("mp4a", bytesOf("1190"), {});
/** Main 10 in PQ, from x265, with its mastering display and light levels. */
const hdr =
  "0102200000009000000000003ff000fcfdfafa00000f04200001001840010c01ffff02200000030090000003000003003f959409210001002f42010102200000030090000003000003003fa005020171f2b6595952930bc05a848804820000030002000003003c1022000100064401c073c18927000200094e01900403e8019080001e4e01891833c286c41d4c0bb884d03e803d13404200989680000003000180";
const init = (entry: Entry, hex: string) => initSegment(trackOf(entry, bytesOf(hex), { frameRate: 30 }));
const golden = (name: string): string => `../../test/golden/${name}.txt`;

/** Decoding order of I B B P at 30 frames per second, two frames of reordering. */
const reordered: Sample[] = [
  { dts: 2 ** 33, pts: 2 ** 33 + 6000, duration: 3000, key: true, data: bytesOf("00000003 658880") },
  { dts: 2 ** 33 + 3000, pts: 2 ** 33 + 15_000, duration: 3000, key: false, data: bytesOf("00000002 419a") },
  {
    dts: 2 ** 33 + 6000,
    pts: 2 ** 33 + 9000,
    duration: 3060,
    key: false,
    data: [bytesOf("00000002"), bytesOf("019e")],
  },
  { dts: 2 ** 33 + 9060, pts: 2 ** 33 + 9000, duration: 2970, key: false, data: bytesOf("00000003 01be80") },
];
const frames = Array.from({ length: 3 }, (_, i): Sample => {
  const dts = 48_000 + i * 1024;
  return { dts, pts: dts, duration: 1024, key: true, data: bytesOf("2100499002190023 80") };
});

describe("golden bytes", () => {
  test.for([
    { name: "init-avc", bytes: () => initSegment(video) },
    { name: "init-aac", bytes: () => initSegment(audio) },
    { name: "init-hevc-hdr", bytes: () => initSegment(trackOf("hvc1", bytesOf(hdr), {})) },
    { name: "init-av1", bytes: () => init("av01", "81014c000a0e0000000cc4ff6736be5424402410") },
    { name: "init-vp9", bytes: () => init("vp09", "001f82010101 0000 0500 02d0") },
    { name: "init-opus", bytes: () => init("Opus", "4f707573486561640102380180bb0000000000") },
    {
      name: "init-flac",
      bytes: () => init("fLaC", `80000022 12001200000000004a580bb802f0${"00".repeat(20)}`),
    },
    { name: "init-ac3", bytes: () => init("ac-3", "103dc0 0780 06") },
    { name: "init-eac3", bytes: () => init("ec-3", "0c00200f00 0780 06") },
    {
      name: "init-aac-named",
      bytes: () => initSegment({ ...audio, language: "en-GB" } as typeof audio),
    },
    { name: "chunk-avc-keyframe", bytes: () => makeChunk(video, reordered.slice(0, 1), 1).bytes },
    { name: "chunk-avc-reordered", bytes: () => makeChunk(video, reordered, 2).bytes },
    { name: "chunk-aac", bytes: () => makeChunk(audio, frames, 3).bytes },
  ])("$name", async ({ name, bytes }) => {
    await expect(dump(bytes())).toMatchFileSnapshot(golden(name));
  });
});

describe("initSegment", () => {
  test("names the track, and its brands begin with cmf2", () => {
    const facts = readInit(initSegment(video));
    expect(facts).toMatchObject({
      handler: "vide",
      trackId: 1,
      timescale: 90_000,
      width: 1920,
      height: 1080,
      entry: "avc1",
    });
    expect(facts.brands).toEqual(["cmf2", "cmf2", "iso6", "cmfc", "dash"]);
    expect(facts.config).toEqual(video.config);
    expect(readInit(initSegment(audio))).toMatchObject({
      handler: "soun",
      trackId: 2,
      timescale: 48_000,
      width: 0,
      height: 0,
      entry: "mp4a",
    });
    expect(readInit(initSegment(audio)).config).toEqual(audio.config);
  });

  test("shows pixels that are not square at their true width", () => {
    const facts = readInit(
      initSegment({ ...(video as VideoTrack), width: 720, height: 576, pixelAspect: [64, 45] }),
    );
    expect([facts.width, facts.height]).toEqual([1024, 576]);
  });

  test("has no edit list and no sample outside of chunks", () => {
    const { boxes } = readInit(initSegment(video));
    const trak = findBox(boxes, "moov/trak");
    expect(trak.children.map((box) => box.type)).toEqual(["tkhd", "mdia"]);
    expect(findBox(boxes, "moov/mvex").children.map((box) => box.type)).toEqual(["trex"]);
  });

  test("leaves the rate of 96 kHz to the configuration: 16.16 cannot say it", () => {
    const init = initSegment(trackOf("mp4a", bytesOf("1010"), {}));
    const entry = findBox(readInit(init).boxes, "moov/trak/mdia/minf/stbl/stsd").children[0]!;
    expect(new DataView(init.buffer).getUint32(entry.content + 24)).toBe(0);
    expect(readInit(init).timescale).toBe(96_000);
  });
});

describe("makeChunk", () => {
  const keys = fc.array(fc.boolean(), { minLength: 1, maxLength: 30 });
  const pieces = fc.oneof(
    fc.uint8Array({ maxLength: 50 }),
    fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 4 }),
  );
  const anySamples = fc
    .tuple(
      fc.nat({ max: 2 ** 48 }),
      keys,
      fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 3 }),
      fc.array(fc.integer({ min: -180_000, max: 180_000 }), { minLength: 1, maxLength: 3 }),
      fc.array(pieces, { minLength: 1, maxLength: 5 }),
    )
    .map(([start, each, durations, shifts, payloads]) => {
      let dts = start;
      return each.map((key, i): Sample => {
        const duration = durations[i % durations.length]!;
        const sample = {
          dts,
          pts: dts + shifts[i % shifts.length]!,
          duration,
          key,
          data: payloads[i % payloads.length]!,
        };
        dts += duration;
        return sample;
      });
    });

  test("loses no sample and invents none: times, flags and bytes are read back", () => {
    fc.assert(
      fc.property(anySamples, fc.nat({ max: 0xffff_ffff }), (samples, sequence) => {
        const chunk = makeChunk(video, samples, sequence);
        const [facts, ...others] = readChunks(chunk.bytes);
        expect(others).toEqual([]);
        expect(facts!.sequence).toBe(sequence);
        expect(
          facts!.samples.map(({ dts, pts, duration, key, data }) => ({
            dts,
            pts,
            duration,
            key,
            data: [...data],
          })),
        ).toEqual(samples.map(({ data, ...times }) => ({ ...times, data: [...whole(data)] })));
        const { dts, key } = samples[0]!;
        const last = samples.at(-1)!;
        const duration = last.dts + last.duration - dts;
        expect(chunk).toMatchObject({ dts, duration, independent: key, samples: samples.length });
      }),
    );
  });

  test("the bytes are a buffer of their own and of exact size", () => {
    const { bytes } = makeChunk(video, reordered, 1);
    expect(bytes.buffer.byteLength).toBe(bytes.length);
  });

  test("chunks in a row are media as well", () => {
    const chunks = frames.map((frame, i) => makeChunk(audio, [frame], i + 1));
    const facts = readChunks(concat(chunks.map((chunk) => chunk.bytes)));
    expect(facts.map(({ dts, sequence, trackId }) => ({ dts, sequence, trackId }))).toEqual([
      { dts: 48_000, sequence: 1, trackId: 2 },
      { dts: 49_024, sequence: 2, trackId: 2 },
      { dts: 50_048, sequence: 3, trackId: 2 },
    ]);
  });

  test.for([
    { name: "one frame", samples: alike(1), headers: 112 },
    { name: "one frame with a composition offset", samples: reordered.slice(1, 2), headers: 116 },
    { name: "a keyframe and alike frames", samples: alike(4), headers: 116 },
    {
      name: "fifteen frames of different sizes and offsets",
      samples: alike(15, true),
      headers: 112 + 8 * 15,
    },
  ])("$name: $headers bytes before the payload", ({ samples, headers }) => {
    const { bytes } = makeChunk(video, samples, 1);
    const payload = samples.reduce((size, sample) => size + whole(sample.data).length, 0);
    expect(bytes.length - payload).toBe(headers);
  });

  test.for([
    { name: "no sample", samples: [], says: /needs a sample/ },
    { name: "a hole", samples: [reordered[0]!, reordered[2]!], says: /does not follow/ },
    { name: "a duration of 0", samples: [{ ...reordered[0]!, duration: 0 }], says: /lasts 0/ },
    { name: "time before 0", samples: [{ ...reordered[0]!, dts: -1 }], says: /tfdt/ },
    { name: "time that is no number", samples: [{ ...reordered[0]!, dts: Number.NaN }], says: /NaN/ },
  ])("refuses $name", ({ samples, says }) => expect(() => makeChunk(video, samples, 1)).toThrow(says));
});

/** Frames of one duration, the first a key; `vary` gives each another size and composition offset. */
function alike(count: number, vary = false): Sample[] {
  return Array.from({ length: count }, (_, i) => {
    const dts = i * 3000;
    return {
      dts,
      pts: vary ? dts + i * 10 : dts,
      duration: 3000,
      key: i === 0,
      data: new Uint8Array(vary ? 10 + i : 10),
    };
  });
}

function whole(data: Payload): Uint8Array {
  return data instanceof Uint8Array ? data : concat(data);
}
