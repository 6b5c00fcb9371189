import { describe, expect, test } from "vitest";
import { answerFor, type Directives, parseDirectives } from "./reload.ts";
import type { Part, Segment } from "./track.ts";
import type { Window } from "./window.ts";

describe("directives in a query", () => {
  test.for([
    { query: "", number: undefined, part: undefined, skip: "none" },
    { query: "_HLS_msn=12", number: 12, part: undefined, skip: "none" },
    { query: "_HLS_msn=12&_HLS_part=0", number: 12, part: 0, skip: "none" },
    { query: "_HLS_part=3&token=a%3Db&_HLS_msn=012", number: 12, part: 3, skip: "none" },
    { query: "_HLS_skip=YES&_HLS_msn=1", number: 1, part: undefined, skip: "YES" },
    { query: "_HLS_skip=v2", number: undefined, part: undefined, skip: "v2" },
    { query: "_HLS_skip=v3", number: undefined, part: undefined, skip: "none" },
    { query: "_HLS_newer=1&&x", number: undefined, part: undefined, skip: "none" },
    { query: "_hls_msn=x", number: undefined, part: undefined, skip: "none" },
  ])("'$query' is understood", ({ query, ...directives }) =>
    expect(parseDirectives(query)).toEqual(directives),
  );

  test.for([
    "_HLS_part=1",
    "_HLS_part=1&_HLS_skip=YES",
    "_HLS_msn=",
    "_HLS_msn",
    "_HLS_msn=-1",
    "_HLS_msn=+1",
    "_HLS_msn=1.5",
    "_HLS_msn=1e3",
    "_HLS_msn=0x10",
    "_HLS_msn= 1",
    "_HLS_msn=%31",
    "_HLS_msn=١",
    "_HLS_msn=1234567890123456",
    "_HLS_msn=1&_HLS_msn=1",
    "_HLS_msn=1&_HLS_part=x",
    "_HLS_msn=1&_HLS_part=1&_HLS_part=2",
  ])("'%s' is refused with a reason", (query) => {
    expect(parseDirectives(query)).toEqual({ refuse: 400, message: expect.stringContaining("_HLS_") });
  });
});

describe("when a request is answered", () => {
  // Segments 10, 11 and 12 with four parts each, 13 open with two.
  const live = windowOf([10, 11, 12], 4, 2);
  const between = windowOf([10, 11, 12], 4, undefined);
  const beginning = windowOf([], 4, 2);
  const silent = windowOf([], 4, undefined);

  test.for([
    { name: "no directive", window: live, ask: [], answer: "now" },
    { name: "older than the window", window: live, ask: [3], answer: "now" },
    { name: "older than the window, with a part", window: live, ask: [3, 2], answer: "now" },
    { name: "a segment that is there", window: live, ask: [12], answer: "now" },
    { name: "the open segment as a whole", window: live, ask: [13], answer: "wait" },
    { name: "a part of a segment that is there", window: live, ask: [12, 3], answer: "now" },
    { name: "a part of the open segment", window: live, ask: [13, 1], answer: "now" },
    { name: "the next part", window: live, ask: [13, 2], answer: "wait" },
    {
      name: "past the last part of a complete segment, when the following has begun",
      window: live,
      ask: [12, 4],
      answer: "now",
    },
    { name: "far past it", window: live, ask: [12, 99], answer: "now" },
    { name: "past it, when the following has not begun", window: between, ask: [12, 4], answer: "wait" },
    { name: "past the last part of an older segment", window: between, ask: [11, 4], answer: "now" },
    { name: "part 0 of a segment that has not begun", window: between, ask: [13, 0], answer: "wait" },
    { name: "the segment after the open one", window: live, ask: [14, 0], answer: "wait" },
    { name: "two past the last", window: live, ask: [14], answer: "wait" },
    { name: "three past the last", window: live, ask: [15], answer: 400 },
    { name: "three past the last, with a part", window: live, ask: [15, 0], answer: 400 },
    // 3 / 0.5235 = 5.7 parts after the last one, which has index 1.
    { name: "within the Advance Part Limit", window: live, ask: [13, 6], answer: "wait" },
    { name: "past the Advance Part Limit", window: live, ask: [13, 7], answer: 400 },
    { name: "past it in a segment that has not begun", window: live, ask: [14, 5], answer: 400 },
    {
      name: "past it with parts of a second or more: three",
      window: { ...live, partTarget: 1.02 },
      ask: [13, 5],
      answer: 400,
    },
    { name: "within it", window: { ...live, partTarget: 1.02 }, ask: [13, 4], answer: "wait" },
    { name: "a broadcast that has only parts", window: beginning, ask: [0, 1], answer: "now" },
    { name: "its next part", window: beginning, ask: [0, 2], answer: "wait" },
    { name: "it without directives", window: beginning, ask: [], answer: "wait" },
    { name: "its segment", window: beginning, ask: [0], answer: "wait" },
    { name: "nothing at all yet", window: silent, ask: [], answer: "wait" },
    { name: "anything after the end", window: { ...live, ended: true }, ask: [99, 9], answer: "now" },
  ] as const)("$name: $ask -> $answer", ({ window, ask, answer }) => {
    const directives: Directives = { number: ask[0], part: ask[1], skip: "none" };
    const given = answerFor(window, directives);
    expect(typeof given === "string" ? given : given.refuse).toBe(answer);
  });
});

function windowOf(numbers: readonly number[], parts: number, open: number | undefined): Window {
  const next = (numbers.at(-1) ?? -1) + 1;
  return {
    timescale: 90_000,
    targetDuration: 4,
    partTarget: 0.5235,
    deltas: false,
    epochMs: 0,
    discontinuitySequence: 0,
    segments: numbers.map((number) => segment(number, parts)),
    open: open === undefined ? undefined : segment(next, open),
    next: { number: next, part: open ?? 0, version: 0 },
    ended: false,
  };
}

function segment(number: number, parts: number): Segment {
  const part: Part = {
    duration: 45_000,
    independent: false,
    gap: false,
    chunks: [],
    bytes: new Uint8Array(),
  };
  return {
    number,
    discontinuity: 0,
    version: 0,
    dts: number * 180_000,
    duration: parts * 45_000,
    independent: true,
    gap: false,
    parts: Array(parts).fill(part),
    byteLength: 0,
  };
}
