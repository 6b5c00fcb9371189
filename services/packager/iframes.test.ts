import HLS from "hls-parser";
import { expect, test } from "vitest";
import { createJudge } from "../../test/conformance/hls-rules.ts";
import { readChunks } from "../../test/support/mp4.ts";
import { broadcast, simulate } from "../../test/support/simulate.ts";
import { Cues } from "./cues.ts";
import { mediaPlaylist, rangeOf, withParameter } from "./hls.ts";
import { iframePlaylist } from "./iframes.ts";
import { Past } from "./past.ts";

test("an I-frame list has the first picture of each segment as a range, and gaps where a segment has none", () => {
  const aired = simulate(broadcast([{ atMs: 0, source: { gop: [2, 2, 6, 2], seconds: 30 } }]), {
    keepAll: true,
  });
  const window = aired.windows.get("source")!;
  const text = iframePlaylist(window, { name: "source" });
  expect(createJudge().playlist("/v/source.pictures.m3u8", text, 0)).toEqual([]);
  const ranges = [...text.matchAll(/#EXT-X-BYTERANGE:(\d+)@0\nsource\/0\/(\d+)\.m4s/g)];
  expect(ranges).toHaveLength(window.segments.filter((one) => one.independent).length);
  expect(text.match(/#EXT-X-GAP/g)).toHaveLength(window.segments.filter((one) => !one.independent).length);
  for (const [, length, number] of ranges) {
    const [part] = window.segment(Number(number))!.parts;
    const [picture, ...more] = readChunks(part!.bytes.subarray(0, Number(length)));
    expect(more).toEqual([]);
    expect(picture!.samples).toHaveLength(1);
    expect(picture!.samples[0]!.data[4]! & 31).toBe(5);
  }
  HLS.setOptions({ strictMode: true });
  // It asks for version 8 where there is a gap.
  const parsed = HLS.parse(text.replace("VERSION:5", "VERSION:8"));
  expect(!parsed.isMasterPlaylist && parsed.isIFrame).toBe(true);
});

test("it has the date ranges of every other list", () => {
  const { windows } = simulate(broadcast([{ atMs: 0, source: { gop: 2, seconds: 30 } }]));
  const window = windows.get("source")!;
  const cues = new Cues();
  cues.add({ startMs: window.epochMs + 30_000, durationMs: 1_000, name: "goal", splice: undefined });
  const given = { listed: cues.since(0), removed: [] };
  const judge = createJudge();
  const media = mediaPlaylist(window, { name: "source", skip: "none", reports: [], cues: given });
  const pictures = iframePlaylist(window, { name: "source", cues: given });
  expect(pictures.match(/#EXT-X-DATERANGE.*/g)).toEqual(media.match(/#EXT-X-DATERANGE.*/g));
  expect(judge.playlist("/v/source.m3u8", media, 0)).toEqual([]);
  expect(judge.playlist("/v/source.pictures.m3u8", pictures, 1)).toEqual([]);
});

test("it goes back as far as a DVR does", () => {
  const aired = simulate(broadcast([{ atMs: 0, source: { gop: 2, seconds: 30 } }]), { keepAll: true });
  const window = aired.windows.get("source")!;
  const past = new Past(0);
  for (const segment of window.segments.slice(0, 8)) past.add(segment, 1e9);
  const later = { ...view(window), segments: window.segments.slice(8) };
  expect(iframePlaylist(later, { name: "source", past })).toBe(
    iframePlaylist({ ...view(window), deltas: true }, { name: "source" }),
  );
});

test("with a DVR it can be had in deltas, which a judge puts together", () => {
  const aired = simulate(broadcast([{ atMs: 0, source: { gop: 2, seconds: 80 } }]), { keepAll: true });
  const window = view(aired.windows.get("source")!);
  const judge = createJudge();
  const read = (newest: number, skip: "none" | "YES" | "v2"): string => {
    const past = new Past(0);
    for (const segment of window.segments.slice(0, newest - 7)) past.add(segment, 1e9);
    const at = { ...window, segments: window.segments.slice(newest - 7, newest), open: undefined };
    const text = iframePlaylist(at, { name: "source", past, skip });
    expect(judge.playlist("/v/source.pictures.m3u8?dvrEnabled=true", text, newest * 2_000)).toEqual([]);
    return text;
  };
  const whole = read(30, "none");
  expect(whole.match(/^#EXTINF/gm)).toHaveLength(30);
  for (const skip of ["YES", "v2"] as const) {
    const text = read(skip === "YES" ? 31 : 32, skip);
    expect(text).toContain("#EXT-X-VERSION:9\n");
    // Six target durations are 24 s, and what is left out lies wholly beyond.
    expect(text.match(/^#EXTINF/gm)).toHaveLength(13);
    expect(text).toContain(`#EXT-X-SKIP:SKIPPED-SEGMENTS=${skip === "YES" ? 18 : 19}\n`);
    expect(text).not.toContain("#EXT-X-MAP");
  }
  expect(read(33, "none")).not.toContain("#EXT-X-SKIP");
});

test("a query parameter is a variable on every address", () => {
  const text = '#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-MAP:URI="a/init.mp4"\n#EXTINF:2,\na/1.m4s\n';
  expect(withParameter(text, "t")).toBe(
    '#EXTM3U\n#EXT-X-VERSION:11\n#EXT-X-DEFINE:QUERYPARAM="t"\n#EXT-X-MAP:URI="a/init.mp4?t={$t}"\n#EXTINF:2,\na/1.m4s?t={$t}\n',
  );
  expect(withParameter("v.m3u8?dvrEnabled=true", "t")).toBe("v.m3u8?dvrEnabled=true&t={$t}");
});

test.for([
  [undefined, "SDR"],
  [1, "SDR"],
  [14, "SDR"],
  [16, "PQ"],
  [18, "HLG"],
] as const)("transfer characteristics %s are %s", ([transfer, range]) => {
  expect(rangeOf(transfer && { primaries: 9, transfer, matrix: 9, fullRange: false })).toBe(range);
});

function view(window: import("./window.ts").Window): import("./window.ts").Window {
  const { timescale, targetDuration, partTarget, deltas, epochMs, discontinuitySequence } = window;
  const { segments, open, next, ended } = window;
  return {
    ...{ timescale, targetDuration, partTarget, deltas, epochMs, discontinuitySequence },
    ...{ segments, open, next, ended },
  };
}
