import { describe, expect, test } from "vitest";
import { createJudge } from "../../test/conformance/hls-rules.ts";
import { type MediaOptions, mediaPlaylist } from "./hls.ts";
import { Past } from "./past.ts";
import type { Segment } from "./track.ts";
import type { Window } from "./window.ts";

const plain: MediaOptions = { skip: "none", reports: [], name: "source" };
const long = 1e9;

describe("a list with a DVR", () => {
  test("reads as one with a window of that length, whole and as a delta", () => {
    for (const count of [3, 9, 127, 128, 129, 136, 300])
      for (const skip of ["none", "YES"] as const) {
        const all = Array.from({ length: count }, (_, i) => segment(i + 1));
        const cut = Math.max(0, count - 7);
        expect(
          mediaPlaylist(windowOf(all.slice(cut)), { ...plain, skip, past: pastOf(all.slice(0, cut)) }),
        ).toBe(mediaPlaylist({ ...windowOf(all), deltas: true }, { ...plain, skip }));
      }
  });

  test("reads so at every moment, also when a cap takes the oldest", () => {
    const past = new Past(0);
    const judge = createJudge();
    const all = Array.from({ length: 330 }, (_, i) => segment(i + 1));
    for (let count = 8; count <= all.length; count++) {
      past.add(all[count - 8]!, 140 * 180_000);
      const kept = Math.min(count - 7, 140);
      const shown = all.slice(count - 7 - kept, count);
      const sequence = shown[0]!.number > 1 ? all[shown[0]!.number - 2]!.discontinuity : 0;
      const text = mediaPlaylist(windowOf(all.slice(count - 7, count)), { ...plain, past });
      expect(text).toBe(
        mediaPlaylist({ ...windowOf(shown), deltas: true, discontinuitySequence: sequence }, plain),
      );
      if (count % 10 === 0) judge.playlist("/v/source.m3u8", text, count * 2000);
    }
    expect(judge.violations).toEqual([]);
  });

  test("does not promise independent segments while it lists one that is not", () => {
    const promise = (past: Past): boolean =>
      mediaPlaylist(windowOf([segment(9)]), { ...plain, past }).includes("INDEPENDENT-SEGMENTS");
    expect(promise(pastOf([segment(7), segment(8)]))).toBe(true);
    expect(promise(pastOf([{ ...segment(7), independent: false }, segment(8)]))).toBe(false);
    const past = pastOf([{ ...segment(7), independent: false }]);
    past.add(segment(8), 180_000);
    expect(promise(past)).toBe(true);
  });

  test("that has ended is whole, whatever is asked", () => {
    const text = mediaPlaylist(
      { ...windowOf([segment(30)]), ended: true },
      {
        ...plain,
        skip: "YES",
        past: pastOf(Array.from({ length: 29 }, (_, i) => segment(i + 1))),
      },
    );
    expect(text.match(/^#EXTINF/gm)).toHaveLength(30);
    expect(text).toContain("#EXT-X-ENDLIST");
  });
});

test("twelve hours cost a delta update nothing and a whole list the writing of it", () => {
  const all = Array.from({ length: 21_600 }, (_, i) => segment(i + 1));
  const past = pastOf(all.slice(0, -7));
  const window = windowOf(all.slice(-7));
  const [hour, half] = [pastOf(all.slice(-1_807, -7)), pastOf(all.slice(-10_807, -7))];
  const bytes = (skip: "none" | "YES", of: Past): number =>
    mediaPlaylist(window, { ...plain, skip, past: of }).length;
  // The same at any length, but for the number of what is left out.
  expect(bytes("YES", past) - bytes("YES", hour)).toBeLessThan(10);
  expect(bytes("YES", past)).toBeLessThan(3_000);
  expect(bytes("none", past) / bytes("none", half)).toBeCloseTo(2, 1);
  expect(bytes("none", past)).toBeLessThan(110 * all.length);
  const time = (skip: "none" | "YES"): number => {
    mediaPlaylist(window, { ...plain, skip, past });
    const begin = performance.now();
    for (let i = 0; i < 20; i++) mediaPlaylist(window, { ...plain, skip, past });
    return (performance.now() - begin) / 20;
  };
  // A hundredth of this on an idle machine, for both.
  expect(time("YES")).toBeLessThan(50);
  expect(time("none")).toBeLessThan(1_000);
});

function pastOf(segments: readonly Segment[]): Past {
  const past = new Past(0);
  for (const one of segments) past.add(one, long * 90_000);
  return past;
}

/** Two seconds each; every hundredth stands behind a discontinuity, every fiftieth is a gap. */
function segment(number: number): Segment {
  const gap = number % 50 === 0;
  return {
    number,
    discontinuity: Math.floor(number / 100),
    version: Math.floor(number / 200),
    dts: number * 180_000,
    duration: 180_000,
    independent: !gap,
    gap,
    parts: [],
    byteLength: 0,
  };
}

function windowOf(segments: readonly Segment[]): Window {
  return {
    timescale: 90_000,
    targetDuration: 4,
    partTarget: 0.5235,
    deltas: false,
    epochMs: Date.UTC(2026, 0, 1),
    discontinuitySequence: 0,
    segments,
    open: undefined,
    next: undefined,
    ended: false,
  };
}
