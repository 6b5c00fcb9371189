import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readChunks } from "../../test/support/mp4.ts";
import { type Aired, broadcast, publish, type Source, simulate } from "../../test/support/simulate.ts";
import type { RenditionName } from "./outlet.ts";
import type { Segment } from "./track.ts";

const audios = [
  { audio: undefined, name: "no audio" },
  { audio: 48000 as const, name: "48 kHz" },
  { audio: 44100 as const, name: "44.1 kHz" },
  { audio: 48000 as const, audioFrom: 1.7, promiseAudio: false, name: "late 48 kHz" },
];
const gops = [0.73, 1, 1.5, 1.92, 2.002, 8.3, [2, 0.4, 3.1, 1.2]];
const shapes: { name: string; source: Partial<Source> }[] = [
  { name: "30 fps", source: {} },
  { name: "29.97 fps with B frames", source: { frameRate: 30000 / 1001, bFrames: 2 } },
  { name: "60 fps", source: { frameRate: 60 } },
  { name: "variable frame rate", source: { frames: [0.033, 0.05, 0.021, 0.1, 0.04] } },
  { name: "15 fps", source: { frameRate: 15 } },
  { name: "1 fps", source: { frameRate: 1 } },
  { name: "a jump of an hour", source: { steps: [{ at: 9, addMs: 3_600_000 }] } },
  { name: "a jump back of an hour", source: { rawMs: 4_000_000, steps: [{ at: 9, addMs: -3_600_000 }] } },
  { name: "a wrap at 2^32", source: { rawMs: 2 ** 32 - 7000 } },
  { name: "a network that stops for 400 ms", source: { arrival: (t) => (t > 5 && t < 5.4 ? 5.4 : t) } },
  { name: "a network that stops for 3 s", source: { arrival: (t) => (t > 5 && t < 8 ? 8 : t) } },
];

describe.for(gops.map((gop) => ({ gop })))("GOP $gop", ({ gop }) => {
  for (const { name, source } of shapes)
    for (const { name: audioName, ...audio } of audios)
      test(`${name}, ${audioName}`, () => {
        const aired = simulate(
          broadcast([{ atMs: 0, source: { gop, seconds: 24, ...source, ...audio } }], 24_000),
          { keepAll: true },
        );
        checkBroadcast(aired);
      });
  test("a reconnect after 3 s", () => {
    const source: Source = { gop, seconds: 12, audio: 48000 };
    const aired = simulate(
      broadcast(
        [
          { atMs: 0, source, until: 9_300 },
          { atMs: 12_300, source },
        ],
        25_000,
      ),
      { keepAll: true },
    );
    checkBroadcast(aired);
    expect(segments(aired, "source").some((one) => one.gap)).toBe(true);
    expect(segments(aired, "source").at(-1)!.discontinuity).toBe(1);
  });
});

test("a source of 2 s GOPs becomes segments of 2 s and parts of half a second without a runt, audio beside it", () => {
  const aired = simulate(broadcast([{ atMs: 0, source: { gop: 2, seconds: 9, audio: 48000 } }]), {
    keepAll: true,
  });
  expect(
    segments(aired, "source")
      .slice(0, 4)
      .map((one) => one.parts.map((part) => part.duration / 90)),
  ).toEqual(Array(4).fill([500, 500, 500, 500]));
  for (const segment of segments(aired, "audio").slice(0, 4)) {
    expect(segment.parts.length).toBe(4);
    for (const part of segment.parts) expect(part.duration / 48000).toBeGreaterThan(0.4);
  }
});

test.for([
  { gop: 0.4, parts: [0.4, 0.4, 0.4], whole: true },
  { gop: 0.7, parts: [0.5, 0.5, 0.5], whole: false },
  { gop: 1 / 30, parts: [0.5, 0.5], whole: true },
])(
  "keyframes every $gop s: whatever contains one says so, and begins with it where it may",
  ({ gop, parts, whole }) => {
    const aired = simulate(broadcast([{ atMs: 0, source: { gop, seconds: 8 } }]), { keepAll: true });
    const [, second] = segments(aired, "source");
    expect(second!.parts.map(({ duration }) => Math.round(duration / 9_000) / 10)).toEqual(parts);
    for (const segment of segments(aired, "source"))
      for (const part of segment.parts) {
        const keys = part.chunks.flatMap(({ bytes }) =>
          readChunks(bytes).flatMap(({ samples }) => samples.map(({ key }) => key)),
        );
        expect(part.independent).toBe(keys.includes(true));
        if (whole && part.independent) expect(keys[0]).toBe(true);
      }
    checkBroadcast(aired);
  },
);

test("no frame is lost and none comes twice, whatever the distances of frames and keyframes", () => {
  const seconds = fc.double({ min: 0.2, max: 5, noNaN: true });
  const frames = fc.array(fc.double({ min: 0.005, max: 0.2, noNaN: true }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(
      fc.array(seconds, { minLength: 1, maxLength: 5 }),
      frames,
      fc.constantFrom(0, 2),
      fc.constantFrom(undefined, 44100 as const, 48000 as const),
      (gop, distances, bFrames, audio) => {
        const source: Source = { gop, frames: distances, bFrames, audio, seconds: 14 };
        const sent = publish(source).filter(({ tag }) => tag.type === "video" && tag.payload[1] === 1).length;
        const aired = simulate(broadcast([{ atMs: 0, source }], 14_000), { keepAll: true });
        checkBroadcast(aired);
        expect(framesOf(aired)).toEqual(Array.from({ length: sent }, (_, i) => i));
      },
    ),
    // What fails is made smaller for a while, not for as long as it takes.
    { numRuns: 40, interruptAfterTimeLimit: 25_000, markInterruptAsFailure: false },
  );
}, 60_000);

test.for([
  { name: "4 s, of frames whose times are rounded", gop: 4 },
  { name: "120 frames of 29.97 fps", gop: 4.004, frameRate: 30_000 / 1001 },
  { name: "250 frames of 60 fps, as x264 has them unasked", gop: 250 / 60, frameRate: 60 },
])("keyframes that round to TARGETDURATION begin each segment: $name", ({ name: _, ...shape }) => {
  const aired = simulate(broadcast([{ atMs: 0, source: { ...shape, audio: 48000, seconds: 30 } }], 30_000), {
    keepAll: true,
  });
  const all = segments(aired, "source");
  expect(all).toHaveLength(8);
  expect(all.every(({ independent }) => independent)).toBe(true);
  // rfc8216bis 4.4.3.1
  for (const { duration } of all) expect(Math.round(duration / 90_000)).toBeLessThanOrEqual(4);
  expect(aired.schedule?.periods).toMatchObject([{ grid: Math.round(shape.gop * 90_000) }]);
  checkBroadcast(aired);
});

test("a segment of the picture that is shorter than a frame of sound has its sound all the same", () => {
  // Lengths that fast-check found: the second segment is 15 ms long.
  const frames = [
    0.012507649504631015, 0.009037247667407435, 0.005, 0.1999999999999995, 0.015520272922227409,
  ];
  const gop = [0.242, 4.1];
  const source: Source = { gop, frames, audio: 44100, seconds: 14 };
  const aired = simulate(broadcast([{ atMs: 0, source }], 14_000), { keepAll: true });
  const shortest = segments(aired, "source").find(({ duration }) => duration < 0.02 * 90_000)!;
  expect(segments(aired, "audio").find(({ number }) => number === shortest.number)?.parts).toHaveLength(1);
  checkBroadcast(aired);
});

test("a frame waits for the next one and for nothing else", () => {
  const aired = simulate(broadcast([{ atMs: 0, source: { gop: 2, seconds: 10, audio: 48000 } }]), {
    keepAll: true,
    startMs: 0,
  });
  const first = (name: RenditionName): number => aired.listings.find((one) => one.name === name)!.atMs;
  // The part ends with the frame at 0.467 s, whose duration the frame at 0.5 s tells.
  expect(first("source")).toBe(500);
  // Audio is written as soon as the picture has passed it.
  expect(first("audio")).toBeLessThanOrEqual(600);
});

test("a second source at the same numbers: audio alone is cut by the clock of its samples", () => {
  const aired = simulate(
    broadcast([{ atMs: 0, source: { gop: 2, seconds: 11, audio: 44100, video: false } }]),
    { keepAll: true },
  );
  expect([...aired.windows.keys()]).toEqual(["audio"]);
  for (const segment of segments(aired, "audio").slice(0, 4)) {
    expect(segment.duration / 44100).toBeCloseTo(2, 1);
    expect(segment.parts.length).toBe(4);
  }
});

test("after a restart numbers and time go on: a gap behind what was written, then media after a discontinuity under a new init", () => {
  const source: Source = { gop: 2, seconds: 13, audio: 48000 };
  const before = simulate(broadcast([{ atMs: 0, source }]));
  const written = (name: string) => {
    const { segments: closed, open, timescale } = before.windows.get(name)!;
    const rows = open ? [...closed, open] : [...closed];
    const last = rows.at(-1)!;
    return { rows, timescale, number: last.number, dts: last.dts + last.duration };
  };
  const reference = written("source");
  const aired = simulate(broadcast([{ atMs: 0, source }], 13_000), {
    startMs: Date.UTC(2026, 0, 1) + 16_000,
    resume: {
      epochMs: before.packager.epochMs!,
      partTarget: before.partTarget,
      timescale: reference.timescale,
      version: 1,
      rows: reference.rows,
      edge: reference.dts,
      ends: { source: reference, audio: written("audio") },
    },
    keepAll: true,
  });
  for (const name of ["source", "audio"] as const) {
    const after = segments(aired, name);
    const last = written(name);
    expect(after.map(({ number }) => number)).toEqual(after.map((_, i) => last.number + 1 + i));
    expect(after[0]!.gap).toBe(true);
    expect(after[0]!.dts / last.timescale).toBeCloseTo(last.dts / last.timescale, 0);
    const media = after.find((one) => !one.gap)!;
    expect(media.discontinuity).toBe(1);
    expect(media.version).toBe(1);
    // 16 s of wall clock after the first frame.
    expect(media.dts / aired.windows.get(name)!.timescale).toBeCloseTo(26, 1);
  }
  expect(aired.partTarget).toBe(before.partTarget);
});

test("sound that begins late joins behind a discontinuity, and the picture goes on", () => {
  const aired = simulate(
    broadcast([
      { atMs: 0, source: { gop: 2, seconds: 12, audio: 48000, audioFrom: 3.1, promiseAudio: false } },
    ]),
    { keepAll: true },
  );
  checkBroadcast(aired);
  expect(segments(aired, "source").every((one) => !one.gap)).toBe(true);
  const [first] = segments(aired, "audio");
  expect(first).toMatchObject({ number: 3, discontinuity: 1 });
});

function framesOf(aired: Aired): number[] {
  const found: number[] = [];
  for (const segment of segments(aired, "source"))
    for (const part of segment.parts)
      for (const chunk of part.chunks)
        for (const { samples } of readChunks(chunk.bytes))
          for (const { data } of samples)
            found.push(((data[5]! & 127) << 21) | (data[6]! << 14) | (data[7]! << 7) | data[8]!);
  return found;
}

function segments(aired: Aired, name: RenditionName): Segment[] {
  const window = aired.windows.get(name);
  return window ? [...window.segments, ...(window.open ? [window.open] : [])] : [];
}

/** What holds for every rendition of every broadcast. */
function checkBroadcast(aired: Aired): void {
  const reference = segments(aired, "source");
  expect(reference.length).toBeGreaterThan(2);
  for (const [name, window] of aired.windows) {
    const { timescale } = window;
    let expected: { number: number; dts: number; discontinuity: number; loose: boolean } | undefined;
    for (const segment of segments(aired, name)) {
      const seconds = segment.duration / timescale;
      expect(Math.round(seconds), "EXTINF").toBeLessThanOrEqual(window.targetDuration);
      if (expected) {
        expect(segment.number).toBe(expected.number);
        const seam = Math.abs(segment.dts - expected.dts) / timescale;
        expect(seam, `${name} ${segment.number} starts where the one before ended`).toBeLessThanOrEqual(
          expected.loose || segment.discontinuity > expected.discontinuity ? 0.05 : 0,
        );
        expect(segment.discontinuity).toBeGreaterThanOrEqual(expected.discontinuity);
      }
      expected = {
        number: segment.number + 1,
        dts: segment.dts + segment.duration,
        discontinuity: segment.discontinuity,
        loose: segment.gap,
      };
      let dts = segment.dts;
      segment.parts.forEach((part, index) => {
        expect(
          part.duration / timescale,
          `${name} ${segment.number}.${index} within PART-TARGET`,
        ).toBeLessThanOrEqual(aired.partTarget + 1e-9);
        expect(part.gap).toBe(segment.gap);
        const following = segment.parts[index + 1]?.chunks[0];
        const fits = following && part.duration + following.duration <= aired.partTarget * timescale;
        if (!part.independent && !part.gap && fits)
          expect(
            part.duration / timescale,
            `${name} ${segment.number}.${index} long enough`,
          ).toBeGreaterThanOrEqual(0.85 * aired.partTarget - 1e-9);
        for (const chunk of part.chunks) {
          for (const { dts: at, samples } of readChunks(chunk.bytes)) {
            expect(at).toBe(dts);
            dts += samples.reduce((sum, sample) => sum + sample.duration, 0);
          }
        }
        if (part.gap) dts += part.duration;
      });
      expect(dts - segment.dts).toBe(segment.duration);
      const row = reference.find((one) => one.number === segment.number);
      if (row) {
        expect(segment.discontinuity).toBe(row.discontinuity);
        expect(
          Math.abs(segment.dts / timescale - row.dts / 90_000),
          `${name} ${segment.number} in step with source`,
        ).toBeLessThan(0.05);
      }
    }
  }
}
