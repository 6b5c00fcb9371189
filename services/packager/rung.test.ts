import { describe, expect, test } from "vitest";
import { readChunks } from "../../test/support/mp4.ts";
import { avcC, broadcast, publish, type Source } from "../../test/support/simulate.ts";
import { Packager } from "./packager.ts";
import { profiles } from "./profiles.ts";
import { keyGridMs } from "./timeline.ts";
import type { Segment } from "./track.ts";
import { RenditionWindow } from "./window.ts";

/** Runs a source and a rung that an encoder makes of it `lateMs` later, except while `dead` says so. */
function air(
  source: Source,
  options: { lateMs: number; dead?: (second: number) => boolean; timed?: boolean },
) {
  const packager = new Packager(profiles.low);
  if (options.timed) packager.cutByTime();
  const windows = new Map<string, RenditionWindow>();
  let partTarget = 0;
  const apply = (outputs: ReturnType<Packager["end"]>): void => {
    for (const output of outputs) {
      if (output.type === "start") partTarget = output.partTarget;
      else if (output.type === "init") {
        const { timescale } = output.track;
        if (!windows.has(output.name))
          windows.set(
            output.name,
            new RenditionWindow({
              timescale,
              targetDuration: 4,
              partTarget,
              epochMs: 0,
              windowSeconds: 1e9,
              windowSegments: 6,
              discontinuity: output.discontinuity,
            }),
          );
      } else if (output.type === "step") windows.get(output.name)!.apply(output.step);
    }
  };
  const startMs = 1_000_000;
  const events: { atMs: number; run: () => void }[] = [];
  for (const event of broadcast([{ atMs: 0, source }]))
    if (event.do === "tag")
      events.push({ atMs: event.atMs, run: () => apply(packager.push(event.tag, startMs + event.atMs)) });
  let alive = false;
  let stretch = -1;
  for (const { atMs, tag } of publish({ ...source, audio: undefined, bFrames: 0 })) {
    if (tag.type !== "video" || tag.payload[1] === 0) continue;
    // Without reordering, shown when the source shows it.
    const lead = source.bFrames ? Math.round(1000 / (source.frameRate ?? 30)) * (source.bFrames + 1) : 0;
    const timestampMs = tag.timestampMs + lead;
    const key = options.timed ? Math.floor(timestampMs / keyGridMs) !== stretch : tag.payload[0] === 0x17;
    stretch = Math.floor(timestampMs / keyGridMs);
    const shown = { ...tag, timestampMs, payload: keyed(tag.payload, key) };
    events.push({
      atMs: atMs + options.lateMs,
      run: () => {
        const dead = options.dead?.(atMs / 1000) ?? false;
        if (!dead && !alive) {
          apply(packager.beginRung("360p"));
          apply(packager.pushRung("360p", { ...shown, payload: Uint8Array.of(0x17, 0, 0, 0, 0, ...avcC) }));
        }
        alive = !dead;
        if (!dead) apply(packager.pushRung("360p", shown));
      },
    });
  }
  events.sort((a, b) => a.atMs - b.atMs);
  apply(packager.begin(startMs, 0));
  let clock = 0;
  for (const { atMs, run } of events) {
    for (; clock + 100 <= atMs; clock += 100) apply(packager.clock(startMs + clock + 100));
    run();
  }
  apply(packager.end());
  const of = (name: string): Segment[] => [...(windows.get(name)?.segments ?? [])];
  return { source: of("source"), rung: of("360p"), partTarget };
}

describe.for([
  { name: "2 s GOPs", source: { gop: 2 } },
  { name: "irregular GOPs", source: { gop: [0.7, 2.3, 1.1, 3.9] } },
  { name: "GOPs longer than a segment may be", source: { gop: 8.3 } },
  { name: "a source with B frames", source: { gop: 2, bFrames: 2 } },
  { name: "variable frame rate", source: { gop: 1.5, frames: [0.033, 0.05, 0.021, 0.04] } },
  { name: "a raw clock that steps", source: { gop: 2, steps: [{ at: 9, addMs: 3_600_000 }] } },
])("a rung of $name", ({ source }) => {
  test.for([5, 60, 300])("that is %d ms late has the source's segments, at the same dts", (lateMs) => {
    const { source: from, rung, partTarget } = air({ seconds: 24, ...source }, { lateMs });
    expect(rung.length).toBeGreaterThan(3);
    for (const segment of rung) {
      const row = from.find((one) => one.number === segment.number)!;
      expect([segment.dts, segment.discontinuity]).toEqual([row.dts, row.discontinuity]);
      expect(segment.gap).toBe(row.gap);
      for (const part of segment.parts) expect(part.duration / 90_000).toBeLessThanOrEqual(partTarget + 1e-9);
      if (!segment.gap) expect(samplesOf(segment)[0]!.pts).toBe(samplesOf(row)[0]!.pts);
    }
  });
});

describe.for([
  { name: "a GOP of 8.3 s", source: { gop: 8.3 } },
  { name: "irregular GOPs", source: { gop: [0.7, 6.1, 12] } },
  { name: "one keyframe in all", source: { gop: 3_600 } },
  { name: "B frames", source: { gop: 8.3, bFrames: 2 } },
  { name: "variable frame rate", source: { gop: 9, frames: [0.033, 0.05, 0.021, 0.04] } },
  { name: "a raw clock that wraps", source: { gop: 8.3, rawMs: 2 ** 32 - 9_000 } },
  { name: "a raw clock that steps", source: { gop: 8.3, steps: [{ at: 9, addMs: 3_600_000 }] } },
])("a rung with keyframes by time, of a source with $name", ({ source }) => {
  test.for([5, 60, 300])(
    "that is %d ms late begins each segment with one, at the dts of its row",
    (lateMs) => {
      const { source: from, rung } = air({ seconds: 24, ...source }, { lateMs, timed: true });
      const media = rung.filter(({ gap }) => !gap);
      expect(media.length).toBeGreaterThan(6);
      for (const segment of media) {
        const row = from.find((one) => one.number === segment.number)!;
        expect([segment.dts, segment.discontinuity]).toEqual([row.dts, row.discontinuity]);
        expect(segment.independent).toBe(true);
        expect(segment.duration / 90_000).toBeLessThanOrEqual(3.2);
      }
    },
  );
});

test("a rung that dies in the middle of a segment is a gap until it comes back at the start of one", () => {
  const { source, rung } = air(
    { gop: 2, seconds: 24 },
    { lateMs: 60, dead: (second) => second > 7.3 && second < 11.2 },
  );
  expect(rung.map(({ number }) => number)).toEqual(source.slice(0, rung.length).map(({ number }) => number));
  expect(rung.map(({ gap }) => gap)).toEqual(
    [false, false, false, true, true, true, false, false, false, false, false, false].slice(0, rung.length),
  );
  for (const segment of rung) {
    const row = source.find((one) => one.number === segment.number)!;
    expect(Math.abs(segment.duration - row.duration) / 90_000).toBeLessThan(0.05);
  }
  // What was there of the broken segment can still be had part by part.
  expect(rung[3]!.parts.map(({ gap }) => gap)).toContain(false);
});

test("a rung that joins late begins with the first segment whose keyframe it has", () => {
  const { rung } = air({ gop: 2, seconds: 12 }, { lateMs: 60, dead: (second) => second < 3.1 });
  expect(rung[0]).toMatchObject({ number: 3, gap: false, independent: true });
});

/** A frame as an encoder writes it that makes a keyframe of it, or none. */
function keyed(payload: Uint8Array, key: boolean): Uint8Array {
  const own = payload.slice();
  own[0] = key ? 0x17 : 0x27;
  own[9] = key ? 0x65 : 0x41;
  return own;
}

function samplesOf(segment: Segment) {
  return segment.parts.flatMap((part) =>
    part.chunks.flatMap((chunk) => readChunks(chunk.bytes).flatMap(({ samples }) => samples)),
  );
}
