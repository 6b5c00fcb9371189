import HLS from "hls-parser";
import { describe, expect, test } from "vitest";
import { createJudge } from "../../test/conformance/hls-rules.ts";
import {
  type AudioRendition,
  type MediaOptions,
  mediaPlaylist,
  multivariant,
  supplementalOf,
  type VideoRendition,
} from "./hls.ts";
import type { Part, Segment } from "./track.ts";
import type { Window } from "./window.ts";

const plain: MediaOptions = { skip: "none", reports: [], name: "source" };

test("a live playlist, line by line", () => {
  const segments = [
    segment(7, { parts: 4 }),
    segment(8, { parts: 2, gap: true }),
    segment(9, { parts: 4, discontinuity: 1, version: 1 }),
  ];
  const open = segment(10, { parts: 1, discontinuity: 1, version: 1 });
  const window = windowOf(segments, { open, next: { number: 10, part: 1, version: 1 }, targetDuration: 2 });
  const reports = [{ uri: "audio.m3u8", number: 10, part: 0 }];
  expect(mediaPlaylist(window, { ...plain, reports })).toBe(`#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=6,PART-HOLD-BACK=1.5705
#EXT-X-PART-INF:PART-TARGET=0.5235
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MAP:URI="source/0/init.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:14.000Z
#EXT-X-PART:DURATION=0.500000000,URI="source/0/7.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000000,URI="source/0/7.1.m4s"
#EXT-X-PART:DURATION=0.500000000,URI="source/0/7.2.m4s"
#EXT-X-PART:DURATION=0.500000000,URI="source/0/7.3.m4s"
#EXTINF:2.000000000,
source/0/7.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:16.000Z
#EXT-X-PART:DURATION=0.500000000,URI="source/0/8.0.m4s",GAP=YES
#EXT-X-PART:DURATION=0.500000000,URI="source/0/8.1.m4s",GAP=YES
#EXT-X-GAP
#EXTINF:1.000000000,
source/0/8.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="source/1/init.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:18.000Z
#EXT-X-PART:DURATION=0.500000000,URI="source/1/9.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000000,URI="source/1/9.1.m4s"
#EXT-X-PART:DURATION=0.500000000,URI="source/1/9.2.m4s"
#EXT-X-PART:DURATION=0.500000000,URI="source/1/9.3.m4s"
#EXTINF:2.000000000,
source/1/9.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:20.000Z
#EXT-X-PART:DURATION=0.500000000,URI="source/1/10.0.m4s",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="source/1/10.1.m4s"
#EXT-X-RENDITION-REPORT:URI="audio.m3u8",LAST-MSN=10,LAST-PART=0
`);
});

describe("a live playlist", () => {
  const seven = Array.from({ length: 7 }, (_, i) => segment(i, { parts: 4 }));
  const lines = (window: Window, options: Partial<MediaOptions> = {}): string[] =>
    mediaPlaylist(window, { ...plain, ...options }).split("\n");

  test("shows parts for the last three target durations and not further", () => {
    const shown = (open: number): string[] => {
      const window = windowOf(seven, { open: segment(7, { parts: open }), targetDuration: 4 });
      return [...new Set(lines(window).flatMap((line) => /(\d+)\.\d+\.m4s/.exec(line)?.[1] ?? []))];
    };
    // 12 s from the end of the last part.
    expect(shown(0)).toEqual(["1", "2", "3", "4", "5", "6"]);
    expect(shown(1)).toEqual(["2", "3", "4", "5", "6", "7"]);
    expect(shown(4)).toEqual(["2", "3", "4", "5", "6", "7"]);
  });

  test("promises independent segments only while every one is", () => {
    const promise = (window: Window): boolean =>
      lines(window, { skip: "YES" }).includes("#EXT-X-INDEPENDENT-SEGMENTS");
    const long = segment(6, { parts: 4, independent: false });
    const gap = segment(6, { parts: 4, independent: false, gap: true });
    expect(promise(windowOf(seven))).toBe(true);
    expect(promise(windowOf([...seven.slice(0, 6), gap]))).toBe(true);
    expect(promise(windowOf([...seven.slice(0, 6), long]))).toBe(false);
    expect(promise(windowOf(seven, { open: segment(7, { parts: 1, independent: false }) }))).toBe(false);
    const skipped = [segment(0, { parts: 4, independent: false }), ...many(1, 30)];
    expect(promise(windowOf(skipped, { deltas: true, targetDuration: 2 }))).toBe(false);
  });

  test("keeps the discontinuity tag with its segment until that has left", () => {
    const after = [segment(5, { parts: 4, discontinuity: 1 }), segment(6, { parts: 4, discontinuity: 1 })];
    const first = lines(windowOf(after));
    expect(first).toContain("#EXT-X-DISCONTINUITY-SEQUENCE:0");
    expect(first).toContain("#EXT-X-DISCONTINUITY");
    const then = lines(windowOf(after.slice(1), { discontinuitySequence: 1 }));
    expect(then).toContain("#EXT-X-DISCONTINUITY-SEQUENCE:1");
    expect(then).not.toContain("#EXT-X-DISCONTINUITY");
  });

  test("repeats the init after a discontinuity that did not change it", () => {
    const window = windowOf([segment(5, { parts: 4 }), segment(6, { parts: 4, discontinuity: 1 })]);
    expect(lines(window).filter((line) => line.startsWith("#EXT-X-MAP"))).toHaveLength(2);
  });

  test("hints the next init together with its first part", () => {
    const window = windowOf(seven, { next: { number: 7, part: 0, version: 1 } });
    expect(lines(window).filter((line) => line.includes("HINT"))).toEqual([
      '#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="source/1/init.mp4"',
      '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="source/1/7.0.m4s"',
    ]);
  });

  test("that has ended says so and hints and reports nothing", () => {
    const window = windowOf(seven, { ended: true, next: undefined });
    const text = lines(window, { reports: [{ uri: "audio.m3u8", number: 6, part: 3 }] });
    expect(text.slice(-2)).toEqual(["#EXT-X-ENDLIST", ""]);
    expect(text.join()).not.toMatch(/HINT|REPORT/);
  });

  test("reports a rendition without parts by its segment alone", () => {
    const report = lines(windowOf(seven), {
      reports: [{ uri: "iframes.m3u8", number: 6, part: undefined }],
    }).at(-2);
    expect(report).toBe('#EXT-X-RENDITION-REPORT:URI="iframes.m3u8",LAST-MSN=6');
  });

  test("rounds part durations down and PART-TARGET up", () => {
    // 47,115 ticks are 0.5235 s exactly, 47,114 are 0.523488...
    const parts = [47_115, 47_114].map((duration) => ({ ...part, duration }));
    const text = mediaPlaylist(
      windowOf([{ ...segment(0, { parts: 0 }), parts, duration: 94_229 }], { partTarget: 0.52350001 }),
      plain,
    );
    expect(text).toContain("PART-TARGET=0.52351");
    expect(text).toContain("DURATION=0.523500000,");
    expect(text).toContain("DURATION=0.523488888,");
  });

  test("with nothing but parts begins with the number under construction", () => {
    const text = lines(
      windowOf([], { open: segment(3, { parts: 2 }), next: { number: 3, part: 2, version: 0 } }),
    );
    expect(text).toContain("#EXT-X-MEDIA-SEQUENCE:3");
    expect(text.filter((line) => line.startsWith("#EXT-X-PART:"))).toHaveLength(2);
  });

  test("of another rendition or epoch does not come from memory", () => {
    const window = windowOf(seven);
    mediaPlaylist(window, plain);
    expect(mediaPlaylist(window, { ...plain, name: "360p" })).toContain("\n360p/0/6.m4s\n");
    expect(mediaPlaylist({ ...window, epochMs: 0 }, plain)).toContain("1970-01-01T00:00:12.000Z");
  });
});

describe("a delta update", () => {
  const deltas = { deltas: true, targetDuration: 2 };
  test.for([
    {
      name: "is not promised for a short window",
      count: 30,
      given: { deltas: false },
      skip: "YES",
      skipped: 0,
    },
    { name: "is whole while nothing is old enough", count: 6, given: deltas, skip: "YES", skipped: 0 },
    // Six target durations are 12 s; the seventh segment from the end is the first that lies wholly beyond them.
    {
      name: "leaves out what is older than six target durations",
      count: 30,
      given: deltas,
      skip: "YES",
      skipped: 23,
    },
    {
      name: "is the same for v2, as there are no date ranges",
      count: 30,
      given: deltas,
      skip: "v2",
      skipped: 23,
    },
    { name: "is only given when asked for", count: 30, given: deltas, skip: "none", skipped: 0 },
    {
      name: "is not given at the end",
      count: 30,
      given: { ...deltas, ended: true },
      skip: "YES",
      skipped: 0,
    },
  ] as const)("$name", ({ count, given, skip, skipped }) => {
    const text = mediaPlaylist(windowOf(many(0, count), given), { ...plain, skip });
    expect(text.match(/SKIPPED-SEGMENTS=(\d+)/)?.[1]).toBe(skipped ? String(skipped) : undefined);
    expect(text).toContain(`#EXT-X-VERSION:${skipped ? 9 : 6}\n`);
    expect(text.match(/^source.*\.m4s$/gm)).toHaveLength(count - skipped);
    expect(text.includes("CAN-SKIP-UNTIL=12")).toBe("deltas" in given && given.deltas);
    expect(text).toContain("#EXT-X-MEDIA-SEQUENCE:0\n");
    expect(text.includes("#EXT-X-MAP")).toBe(skipped === 0);
  });

  test("keeps the discontinuities of what it shows and repeats their init", () => {
    const segments = many(0, 30).map((one) => (one.number < 28 ? one : { ...one, discontinuity: 1 }));
    const text = mediaPlaylist(windowOf(segments, deltas), { ...plain, skip: "YES" });
    expect(text).toMatch(/source\/0\/27\.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="source\/0\/init.mp4"\n/);
    expect(text).toContain("#EXT-X-DISCONTINUITY-SEQUENCE:0\n");
  });

  test("and the whole playlist are one to the judge", () => {
    const judge = createJudge();
    for (let count = 30; count < 50; count++) {
      const segments = many(0, count).slice(-30);
      const given = { ...deltas, next: { number: count, part: 0, version: 0 } };
      judge.playlist(
        "source.m3u8",
        mediaPlaylist(windowOf(segments, given), { ...plain, skip: count % 3 ? "YES" : "none" }),
        2000 * count,
      );
    }
    expect(judge.violations).toEqual([]);
  });
});

test("a window of two hours costs a fraction of a millisecond a part", () => {
  const segments = many(0, 3600);
  const window = windowOf(segments, { deltas: true });
  mediaPlaylist(window, plain);
  const begin = performance.now();
  for (let i = 0; i < 20; i++) mediaPlaylist(window, { ...plain, skip: "YES" });
  // Twenty times less than this on an idle machine.
  expect((performance.now() - begin) / 20).toBeLessThan(10);
});

describe("a multivariant playlist", () => {
  const source: VideoRendition = {
    name: "source",
    uri: "v/source.m3u8",
    codec: "avc1.64001f",
    width: 1280,
    height: 720,
    frameRate: 30000 / 1001,
    peak: 3_000_000,
    average: 2_500_000,
  };
  const audio: AudioRendition = {
    name: "audio",
    uri: "v/audio.m3u8",
    codec: "mp4a.40.2",
    channels: 2,
    peak: 140_000,
    average: 128_000,
  };
  const small: VideoRendition = {
    ...source,
    name: "360p",
    uri: "v/360p.m3u8",
    width: 640,
    height: 360,
    frameRate: undefined,
    peak: 900_000,
    average: 800_000,
  };

  test("of video with audio beside it, line by line", () => {
    expect(multivariant({ video: [source], audio })).toBe(
      [
        "#EXTM3U",
        "#EXT-X-VERSION:4",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,STABLE-RENDITION-ID="audio",CHANNELS="2",URI="v/audio.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=3140000,AVERAGE-BANDWIDTH=2628000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=29.970,SCORE=2.0,STABLE-VARIANT-ID="source",AUDIO="audio",CLOSED-CAPTIONS=NONE',
        "v/source.m3u8",
        '#EXT-X-STREAM-INF:BANDWIDTH=140000,AVERAGE-BANDWIDTH=128000,CODECS="mp4a.40.2",SCORE=1.0,STABLE-VARIANT-ID="audio",AUDIO="audio",CLOSED-CAPTIONS=NONE',
        "v/audio.m3u8",
        "",
      ].join("\n"),
    );
  });

  test.for([
    { name: "the one of about 2 Mb/s", kbps: [6_000, 2_400, 900], listed: ["r1", "r0", "r2"] },
    { name: "the best of two that are as far from it", kbps: [4_000, 1_000], listed: ["r0", "r1"] },
    { name: "the best where none is near", kbps: [9_000, 800], listed: ["r0", "r1"] },
    { name: "the best where nothing is measured yet", kbps: [0, 0], listed: ["r0", "r1"] },
  ])("lists first $name, and the score stays that of the quality", ({ kbps, listed }) => {
    const video = kbps.map((each, i) => ({
      ...source,
      ...{ name: `r${i}`, uri: `v/r${i}.m3u8`, peak: each * 1_200, average: each * 1_000 },
    }));
    const text = multivariant({ video, audio });
    expect([...text.matchAll(/^v\/(r\d)\.m3u8$/gm)].map(([, name]) => name)).toEqual(listed);
    for (const [i, { name }] of video.entries())
      expect(text).toMatch(new RegExp(`SCORE=${video.length + 1 - i}\\.0,STABLE-VARIANT-ID="${name}"`));
  });

  test.for([
    { name: "HDR10+", transfer: 16, dynamic: true, supplemental: "hvc1.2.4.L153.b0/cdm4" },
    { name: "HDR10", transfer: 16, dynamic: false, supplemental: undefined },
    { name: "what says HDR10+ and is no PQ", transfer: 18, dynamic: true, supplemental: undefined },
  ])("names what is on top of a codec: $name", ({ transfer, dynamic, supplemental }) => {
    const colour = { primaries: 9, transfer, matrix: 9, fullRange: false };
    const track = {
      ...{ kind: "video" as const, entry: "hvc1" as const, codec: "hvc1.2.4.L153.b0", timescale: 90_000 },
      ...{ config: new Uint8Array(), width: 3840, height: 2160, pixelAspect: [1, 1] as const },
      ...{ colour, hdr: { dynamic }, frameRate: 30 },
    };
    expect(supplementalOf(track)).toBe(supplemental);
    if (!supplemental) return;
    const of = { ...source, codec: track.codec, supplemental, range: "PQ" as const };
    const text = multivariant({ video: [of], audio, pictures: [{ of, uri: "v/p.m3u8", peak: 1 }] });
    expect(text.match(/SUPPLEMENTAL-CODECS="hvc1.2.4.L153.b0\/cdm4"/g)).toHaveLength(2);
    expect(createJudge().playlist("/v.m3u8", text, 0)).toEqual([]);
  });

  test("with captions in some pictures: a channel each, and NONE nowhere", () => {
    const captions = ["CC1", "CC3", "SERVICE1"];
    const offer = { video: [{ ...source, captions }, small], audio };
    const pictures = offer.video.map((of) => ({ of, uri: `v/${of.name}.pictures.m3u8`, peak: 500_000 }));
    const text = multivariant({ ...offer, pictures });
    expect(text).toContain("#EXT-X-VERSION:7\n");
    expect(text.match(/INSTREAM-ID="\w+"/g)).toEqual(
      // The names of CEA-608 stand last: hls.js keeps one name for a number.
      ["SERVICE1", "CC1", "CC3"].map((id) => `INSTREAM-ID="${id}"`),
    );
    expect(text).toMatch(/CLOSED-CAPTIONS="cc"\nv\/source\.m3u8\n/);
    expect(text.match(/CLOSED-CAPTIONS=/g)).toHaveLength(1);
    expect(createJudge().playlist("/v.m3u8", text, 0)).toEqual([]);
    expect(HLS.parse(text)).toBeDefined();
  });

  test("of several languages and codecs of sound: a group of each codec, with variants of its own", () => {
    const voice = (name: string, fields: Partial<AudioRendition>) => ({
      ...{ ...audio, name, uri: `v/${name}.m3u8` },
      ...fields,
    });
    const text = multivariant({
      video: [source],
      audio: { ...audio, language: "en", label: "English" },
      voices: [
        voice("audio1", { language: "de" }),
        voice("audio2", { language: "de", label: "English" }),
        voice("audio3", { codec: "opus", channels: 6, peak: 300_000, language: "en" }),
      ],
      pictures: [{ of: source, uri: "v/pictures.m3u8", peak: 500_000 }],
    });
    expect(text.split("\n").filter((line) => line.startsWith("#EXT-X-MEDIA"))).toEqual(
      [
        'GROUP-ID="audio",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,STABLE-RENDITION-ID="audio",CHANNELS="2",URI="v/audio.m3u8"',
        'GROUP-ID="audio",NAME="de",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,STABLE-RENDITION-ID="audio1",CHANNELS="2",URI="v/audio1.m3u8"',
        'GROUP-ID="audio",NAME="English (audio2)",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,STABLE-RENDITION-ID="audio2",CHANNELS="2",URI="v/audio2.m3u8"',
        'GROUP-ID="audio-1",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,STABLE-RENDITION-ID="audio3",CHANNELS="6",URI="v/audio3.m3u8"',
      ].map((line) => `#EXT-X-MEDIA:TYPE=AUDIO,${line}`),
    );
    expect(text).toContain('BANDWIDTH=3300000,AVERAGE-BANDWIDTH=2628000,CODECS="avc1.64001f,opus"');
    expect(text).toContain('STABLE-VARIANT-ID="source-audio-1",AUDIO="audio-1"');
    // Who plays sound alone finds it in every codec.
    expect(text).toMatch(
      /CODECS="opus",SCORE=1.0,STABLE-VARIANT-ID="audio3",AUDIO="audio-1".*\nv\/audio3.m3u8\n/,
    );
    expect(createJudge().playlist("/v.m3u8", text, 0)).toEqual([]);
  });

  test.for([
    { name: "a ladder", offer: { video: [source, small], audio } },
    { name: "video only", offer: { video: [source], audio: undefined } },
    { name: "audio only", offer: { video: [], audio } },
    { name: "one rung in HDR", offer: { video: [{ ...source, range: "PQ" as const }, small], audio } },
  ])("of $name keeps the rules, also those of another parser", ({ offer }) => {
    const pictures = offer.video.map((of) => ({ of, uri: `v/${of.name}.pictures.m3u8`, peak: 500_000 }));
    const text = multivariant({ ...offer, pictures });
    expect(createJudge().playlist("video.m3u8", text, 0)).toEqual([]);
    HLS.setOptions({ strictMode: true });
    const parsed = HLS.parse(text);
    const variants = parsed.isMasterPlaylist ? parsed.variants : [];
    const all = [...offer.video, ...(offer.audio ? [offer.audio] : [])];
    expect(variants.filter((one) => !one.isIFrameOnly).map((one) => one.uri)).toEqual(
      all.map(({ uri }) => uri),
    );
    expect(variants.filter((one) => one.isIFrameOnly)).toHaveLength(pictures.length);
    expect(text.includes("VIDEO-RANGE=SDR")).toBe(text.includes("VIDEO-RANGE=PQ"));
  });
});

const part: Part = { duration: 45_000, independent: false, gap: false, chunks: [], bytes: new Uint8Array() };

function segment(number: number, given: { parts: number } & Partial<Omit<Segment, "parts">>): Segment {
  const { parts: count, gap = false, independent = !gap, ...rest } = given;
  return {
    number,
    discontinuity: 0,
    version: 0,
    dts: number * 180_000,
    duration: count * 45_000,
    byteLength: 0,
    ...rest,
    gap,
    independent,
    parts: Array.from({ length: count }, (_, i) => ({ ...part, gap, independent: independent && i === 0 })),
  };
}

function many(from: number, to: number): Segment[] {
  return Array.from({ length: to - from }, (_, i) => segment(from + i, { parts: 4 }));
}

function windowOf(segments: readonly Segment[], given: Partial<Window> = {}): Window {
  return {
    timescale: 90_000,
    targetDuration: 4,
    partTarget: 0.5235,
    deltas: false,
    epochMs: Date.UTC(2026, 0, 1),
    discontinuitySequence: 0,
    open: undefined,
    next: undefined,
    ended: false,
    ...given,
    segments,
  };
}
