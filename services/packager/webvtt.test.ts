import { expect, test } from "vitest";
import { cutWebvtt, readWebvtt, webvtt } from "./webvtt.ts";

test("cues come with their time, place and spans; what has no words or no time, styles and comments do not", () => {
  const file = [
    "\ufeffWEBVTT - in two languages",
    "Kind: captions",
    "",
    "STYLE",
    "::cue { color: red }",
    "",
    "NOTE 00:01.000 is not a cue",
    "",
    "intro",
    "00:01.000 --> 00:02.500 line:0% region:top align:start",
    "<i>First</i> &amp; second",
    "line",
    "",
    "01:00:00.000 --> 01:00:01.000",
    "later",
    "00:03.000 --> 00:04.000",
    "without an empty line before",
    "",
    "00:05.000 --> 00:05.000",
    "no time",
    "",
    "00:06.000 --> 00:07.000",
    "",
    "00:61.000 --> 00:62.000",
    "no such second",
  ].join("\r\n");
  expect(readWebvtt(file)).toEqual([
    {
      startMs: 1_000,
      endMs: 2_500,
      text: "<i>First</i> &amp; second\nline",
      settings: "line:0% align:start",
    },
    { startMs: 3_600_000, endMs: 3_601_000, text: "later", settings: "" },
    { startMs: 3_000, endMs: 4_000, text: "without an empty line before", settings: "" },
  ]);
});

test("a file that is none is refused with what it lacks", () => {
  expect(readWebvtt("1\n00:00:01,000 --> 00:00:02,000\nSubRip")).toBe(
    "is not WebVTT: its first line has to be WEBVTT",
  );
  expect(readWebvtt("WEBVTT\n\nnothing")).toMatch(/^has no cue/);
  const many = "\n00:01.000 --> 00:02.000\nx\n".repeat(36_001);
  expect(readWebvtt(`WEBVTT\n${many}`)).toBe("has more than 36000 cues");
});

test("what was read is written as it was; words that nobody has marked up are escaped", () => {
  const written = webvtt([
    { startMs: 1_000, endMs: 2_500, text: "<i>First</i>", settings: "align:start" },
    { startMs: 3_000, endMs: 4_000, text: "a < b" },
  ]);
  expect(written).toContain("\n00:00:01.000 --> 00:00:02.500 align:start\n<i>First</i>\n");
  expect(written).toContain("\n00:00:03.000 --> 00:00:04.000\na &lt; b\n");
  expect(readWebvtt(written)).toMatchObject([{ text: "<i>First</i>" }, { text: "a &lt; b" }]);
});

test("a stretch of a file has the cues that are shown in it, from its own beginning on and no longer than it lasts", () => {
  const cue = (at: string, words: string) => `\n${at}\n${words}\n`;
  const file = `WEBVTT
${cue("00:01.000 --> 00:02.000", "before")}
${cue("00:03.000 --> 00:05.500 align:start", "<i>over its beginning</i>")}
${cue("00:06.000 --> 00:07.250", "inside")}
${cue("00:09.000 --> 00:12.000", "over its end")}
${cue("00:10.000 --> 00:11.000", "after")}`;
  expect(readWebvtt(cutWebvtt(file, 5_000, 10_000)!)).toEqual([
    { startMs: 0, endMs: 500, text: "<i>over its beginning</i>", settings: "align:start" },
    { startMs: 1_000, endMs: 2_250, text: "inside", settings: "" },
    { startMs: 4_000, endMs: 5_000, text: "over its end", settings: "" },
  ]);
  expect(cutWebvtt(file, 20_000, 30_000)).toBeUndefined();
  expect(cutWebvtt("no WebVTT", 0, 1_000)).toBeUndefined();
});
