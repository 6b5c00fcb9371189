import { describe, expect, test } from "vitest";
import { webvtt } from "../../services/packager/webvtt.ts";
import { readVtt } from "./webvtt.ts";

const stretch = { fromMs: 10_000, toMs: 12_000 };
const good = webvtt([
  { startMs: 9_000, endMs: 10_500, text: "before & in it" },
  { startMs: 11_000, endMs: 14_000, text: "two\nlines" },
]);

test("what we write keeps the rules", () => {
  const { cues, faults } = readVtt(good, stretch);
  expect(faults).toEqual([]);
  expect(cues.map(({ text }) => text)).toEqual(["before &amp; in it", "two\nlines"]);
  expect(readVtt(webvtt([]), stretch)).toEqual({ cues: [], faults: [] });
});

describe("each rule reports a text that breaks it", () => {
  test.for([
    ["no header", "WEBVTT\n", ""],
    ["a mark in front of it", "WEBVTT", "\ufeffWEBVTT"],
    ["no map", /X-TIMESTAMP.*\n/, ""],
    ["another map", "MPEGTS:0", "MPEGTS:900000"],
    ["no last line", /\n$/, ""],
    ["a time without milliseconds", "00:00:11.000", "00:00:11"],
    ["an end before its beginning", "00:00:14.000", "00:00:10.900"],
    ["a cue of another segment", "00:00:11.000", "00:00:13.000"],
    ["a cue that is over", "00:00:10.500", "00:00:09.500"],
    ["out of order", "00:00:09.000", "00:00:10.499".replace("10.499", "10.400")],
    ["no words", "two\nlines", ""],
    ["markup", "&amp;", "<b>"],
    ["an ampersand", "&amp;", "&"],
  ] as const)("%s", ([name, from, to]) => {
    let broken = good.replace(from, to);
    if (name === "out of order") broken = good.replace("00:00:11.000", "00:00:08.000");
    expect(broken).not.toBe(good);
    expect(readVtt(broken, stretch).faults).not.toEqual([]);
  });
});
