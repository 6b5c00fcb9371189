import { describe, expect, test } from "vitest";
import { readVtt } from "../../test/conformance/webvtt.ts";
import { readChunks } from "../../test/support/mp4.ts";
import { initSegment } from "./cmaf.ts";
import { type Line, Subtitles } from "./subtitles.ts";
import { linesIn, stretchesOf, textTrack, webvtt, wvttChunk } from "./webvtt.ts";
import { readWords } from "./words.ts";

function open(edge = 0) {
  const state = { edge };
  const over: Line[] = [];
  const subtitles = new Subtitles({
    language: "en",
    edgeMs: () => state.edge,
    over: (line) => over.push(line),
  });
  return { state, over, subtitles };
}
const text = (lines: readonly Line[]) => lines.map((line) => `${line.startMs}-${line.endMs} ${line.text}`);

describe("words with their time", () => {
  test("are in every stretch in which they are shown, with their whole time", () => {
    const { subtitles } = open();
    subtitles.add({ startMs: 900, endMs: 2_100, text: "over a seam" });
    subtitles.add({ startMs: 100, endMs: 500, text: "first" });
    expect(text(subtitles.between(0, 1_000))).toEqual(["100-500 first", "900-2100 over a seam"]);
    expect(text(subtitles.between(1_000, 2_000))).toEqual(["900-2100 over a seam"]);
    expect(text(subtitles.between(2_000, 3_000))).toEqual(["900-2100 over a seam"]);
    expect(subtitles.between(2_100, 3_000)).toEqual([]);
  });
  test("that come late stand where nothing is listed yet, for as long", () => {
    const { subtitles, state } = open(5_000);
    subtitles.add({ startMs: 1_000, endMs: 3_000, text: "late" });
    expect(text(subtitles.between(0, 9_000))).toEqual(["5000-7000 late"]);
    state.edge = 5_500.3;
    subtitles.add({ startMs: 5_200, endMs: 6_200, text: "later" });
    expect(text(subtitles.between(5_501, 5_502))).toEqual(["5000-7000 late", "5501-6501 later"]);
  });
});

describe("words until something else is said", () => {
  test("are told in pieces that never change once they are listed", () => {
    const { subtitles, state, over } = open();
    subtitles.show({ text: "one", startMs: 200, mostMs: 8_000 });
    const before = [subtitles.between(0, 500), subtitles.between(500, 1_000)];
    state.edge = 1_000;
    subtitles.show({ text: "two", startMs: 700, mostMs: 8_000 });
    expect([subtitles.between(0, 500), subtitles.between(500, 1_000)]).toEqual(before);
    expect(text(subtitles.between(500, 1_500))).toEqual(["500-1000 one", "1000-1500 two"]);
    expect(text(over)).toEqual(["200-1000 one"]);
    subtitles.show({ text: " ", startMs: 1_400, mostMs: 8_000 });
    expect(text(subtitles.between(1_000, 3_000))).toEqual(["1000-1400 two"]);
    expect(over).toHaveLength(2);
  });
  test("end by themselves when nobody says more, and with the broadcast", () => {
    const { subtitles, state, over } = open();
    subtitles.show({ text: "alone", startMs: 0, mostMs: 3_000 });
    expect(text(subtitles.between(2_500, 4_000))).toEqual(["2500-3000 alone"]);
    state.edge = 1_000;
    subtitles.end();
    expect(text(over)).toEqual(["0-1000 alone"]);
  });
});

test("no words break out of their cue, and too many do not fill a segment", () => {
  const { subtitles } = open();
  const hostile = [
    "a\n\n00:00:01.000 --> 00:00:02.000\nb",
    "\u0000\u2028<script>&amp;",
    "x".repeat(9_999),
    "--> \r\r\n",
  ];
  for (const words of hostile) subtitles.add({ startMs: 0, endMs: 900, text: words });
  for (let i = 0; i < 100; i++) subtitles.add({ startMs: i, endMs: i + 500, text: `${i}` });
  const stretch = { fromMs: 0, toMs: 1_000 };
  const { cues, faults } = readVtt(webvtt(subtitles.between(0, 1_000)), stretch);
  expect(faults).toEqual([]);
  expect(cues.length).toBeLessThanOrEqual(8);
});

test("what an earlier run has kept is told as it was", () => {
  const { subtitles, over, state } = open();
  subtitles.add({ startMs: 900, endMs: 2_100, text: "whole" });
  subtitles.show({ text: "pieces", startMs: 0, mostMs: 5_000 });
  state.edge = 3_000;
  subtitles.end();
  const again = open().subtitles;
  again.restore(over);
  for (const [from, to] of [
    [0, 1_000],
    [1_000, 2_500],
    [0, 9_000],
  ] as const)
    expect(again.between(from, to)).toEqual(subtitles.between(from, to));
});

test("hours stay quick: a stretch is found without going through all", () => {
  const { subtitles } = open();
  for (let i = 0; i < 40_000; i++)
    subtitles.add({ startMs: i * 1_000, endMs: i * 1_000 + 900, text: `${i}` });
  expect(text(subtitles.between(39_000_000, 39_000_500))).toEqual(["39000000-39000900 39000"]);
  // The oldest are gone.
  expect(subtitles.between(0, 1_000)).toEqual([]);
});

test("times go on past a hundred hours and past the wrap of MPEG-TS", () => {
  const startMs = 100 * 3_600_000 + 61_001;
  expect(webvtt([{ startMs, endMs: startMs + 1_999, text: "a" }])).toContain(
    "100:01:01.001 --> 100:01:03.000",
  );
});

describe("as CMAF", () => {
  const { subtitles } = open();
  subtitles.add({ startMs: 10_200, endMs: 11_000, text: "one & two" });
  subtitles.add({ startMs: 10_700, endMs: 12_500, text: "over" });
  const track = textTrack(subtitles, 90_000);
  const parts = [
    { duration: 45_000, independent: true, gap: false, chunks: [], bytes: new Uint8Array() },
    { duration: 135_000, independent: true, gap: false, chunks: [], bytes: new Uint8Array() },
  ];
  const segment = {
    ...{ number: 1, discontinuity: 0, version: 0, dts: 900_000, duration: 180_000, independent: true },
    ...{ gap: false, parts, byteLength: 0 },
  };

  test("a header that names WebVTT", () => {
    const bytes = Buffer.from(initSegment(track)).toString("latin1");
    for (const name of ["vttCWEBVTT", "nmhd", "hdlr"]) expect(bytes).toContain(name);
  });
  test("a sample for each time in which the same is shown, without a hole, and empty ones between", () => {
    const chunks = stretchesOf(segment).map((one) => wvttChunk(track, one, linesIn(subtitles, one, 90_000)));
    const samples = chunks.flatMap((bytes) => readChunks(bytes).flatMap((chunk) => chunk.samples));
    const shown = samples.map(({ dts, duration, data }) => [
      dts / 90,
      duration / 90,
      [
        ...Buffer.from(data)
          .toString("latin1")
          .matchAll(/payl(.*?)(?=\0|$)/gs),
      ].map(([, words]) => words),
    ]);
    expect(shown).toEqual([
      [10_000, 200, []],
      [10_200, 300, ["one &amp; two"]],
      [10_500, 200, ["one &amp; two"]],
      [10_700, 300, ["one &amp; two\nover"]],
      [11_000, 1_000, ["over"]],
    ]);
    expect(Buffer.from(samples[0]!.data).toString("latin1")).toBe("\0\0\0\bvtte");
  });
  test("without its parts a segment is one chunk of the same words", () => {
    expect(stretchesOf({ ...segment, parts: [] })).toHaveLength(1);
  });
});

describe("onTextData", () => {
  test.for([
    ["with a language", { text: "Hi", language: "eng" }, { text: "Hi", language: "eng", mostMs: 8_000 }],
    ["with a time", { text: "Hi", duration: 2.5 }, { text: "Hi", language: undefined, mostMs: 2_500 }],
    ["that takes away", { text: "" }, { text: "", language: undefined, mostMs: 8_000 }],
    [
      "of a language that is none",
      { text: "a", language: '"' },
      { text: "a", language: undefined, mostMs: 8_000 },
    ],
    ["nothing", null, undefined],
    ["a list", ["a"], undefined],
    ["no text", { trackid: 1 }, undefined],
    ["a text without end", { text: "a".repeat(5_000) }, undefined],
  ] as const)("%s", ([, value, words]) => expect(readWords(value as never)).toEqual(words));
});
