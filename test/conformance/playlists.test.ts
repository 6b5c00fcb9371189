import HLS from "hls-parser";
import { describe, expect, test } from "vitest";
import { profileNames, profiles } from "../../services/packager/profiles.ts";
import { type Aired, broadcast, type Source, simulate } from "../support/simulate.ts";
import { createJudge, type Violation } from "./hls-rules.ts";

const gops = [0.73, 1, 1.5, 1.92, 2.002, 8.3, [2, 0.4, 3.1, 1.2]];
const shapes: { name: string; slackMs?: number; source: Partial<Source> }[] = [
  { name: "48 kHz", source: { audio: 48000 } },
  { name: "44.1 kHz, 29.97 fps, B frames", source: { audio: 44100, frameRate: 30000 / 1001, bFrames: 2 } },
  { name: "no audio, 60 fps", source: { frameRate: 60 } },
  // A rendition that joins within a gap is first listed when that gap's segment closes.
  { name: "late audio", slackMs: 1_600, source: { audio: 48000, audioFrom: 1.7, promiseAudio: false } },
  { name: "25 fps", source: { audio: 48000, frameRate: 25 } },
  { name: "variable frame rate", source: { audio: 48000, frames: [0.033, 0.05, 0.021, 0.1, 0.04] } },
  { name: "a jump", source: { audio: 48000, steps: [{ at: 9, addMs: 3_600_000 }] } },
  { name: "a wrap", source: { audio: 48000, rawMs: 2 ** 32 - 7000 } },
  { name: "audio only", source: { audio: 48000, video: false } },
];

describe.for(profileNames.flatMap((name) => gops.map((gop) => ({ name, gop }))))(
  "every playlist of profile $name keeps the rules, GOP $gop",
  ({ name, gop }) => {
    const source: Source = { gop, seconds: 40, audio: 48000 };
    const events = broadcast(
      [
        { atMs: 0, source, until: 19_300 },
        { atMs: 21_000, source },
      ],
      40_000,
    );
    const aired = simulate(events, { profile: profiles[name] });
    test("and so do its parts", () => {
      expect(faults(aired)).toEqual([]);
      const [listing] = aired.listings.slice(-1);
      expect(listing?.text.includes("#EXT-X-PART")).toBe(name !== "safe");
    });
  },
);

test("ultra has parts of at most a quarter of a second, safe has segments of about four seconds", () => {
  const events = broadcast([{ atMs: 0, source: { gop: 2, seconds: 30, audio: 48000 } }]);
  const ultra = simulate(events, { profile: profiles.ultra });
  expect(ultra.partTarget).toBeLessThanOrEqual(0.25);
  const safe = simulate(events, { profile: profiles.safe, keepAll: true });
  const { segments } = safe.windows.get("source")!;
  expect(segments.slice(0, 5).map(({ duration }) => duration / 90_000)).toEqual([4, 4, 4, 4, 4]);
});

describe.for(gops.map((gop) => ({ gop })))(
  "every playlist of a broadcast keeps the rules, GOP $gop",
  ({ gop }) => {
    for (const { name, slackMs, source } of shapes)
      test(name, () => {
        const aired = simulate(broadcast([{ atMs: 0, source: { gop, seconds: 24, ...source } }], 24_000));
        expect(faults(aired, slackMs)).toEqual([]);
      });
    test.for([700, 1_300, 3_000, 9_700])("a publisher that is away for %d ms", (awayMs) => {
      const source: Source = { gop, seconds: 12, audio: 48000 };
      const events = broadcast(
        [
          { atMs: 0, source, until: 9_300 },
          { atMs: 9_300 + awayMs, source },
        ],
        22_000 + awayMs,
      );
      expect(faults(simulate(events))).toEqual([]);
    });
  },
);

test.for(profileNames)("a strict parser that others wrote reads every playlist of profile %s", (name) => {
  HLS.setOptions({ strictMode: true });
  const source: Source = { gop: 2, seconds: 40, audio: 48000 };
  const { listings } = simulate(broadcast([{ atMs: 0, source }], 40_000), { profile: profiles[name] });
  for (const { text } of listings) {
    // It counts three segments where three target durations are meant, and knows of no list without parts.
    const short = withParts(text, 3).replace("CONTROL:HOLD", "CONTROL:CAN-BLOCK-RELOAD=YES,HOLD");
    const list = HLS.parse(short);
    expect(list.isMasterPlaylist ? 0 : list.segments.length).toBeGreaterThan(0);
  }
  expect(listings.length).toBeGreaterThan(20);
});

test("a part is independent wherever in it the keyframe is, and only with one", () => {
  const { windows } = simulate(broadcast([{ atMs: 0, source: { gop: 0.73, seconds: 12 } }]), {
    keepAll: true,
  });
  const parts = windows.get("source")!.segments.flatMap((segment) => segment.parts);
  // 4.4.4.9: a segment lasts a second at least, so the keyframe after its first is in the middle of its second part.
  expect(parts.some(({ chunks, independent }) => independent && !chunks[0]!.independent)).toBe(true);
  for (const { chunks, independent } of parts)
    expect(independent).toBe(chunks.some((chunk) => chunk.independent));
});

describe.for(["low", "ultra"] as const)(
  "no part of sound is a runt at the end of its segment, %s",
  (name) => {
    const { partSeconds } = profiles[name];
    for (const audio of [48000, 44100] as const)
      test.for([1, 1.2, 1.5, 1.92, 2, 2.002, 2.5, 3])(`${audio} Hz beside segments of %d s`, (gop) => {
        const events = broadcast([{ atMs: 0, source: { gop, seconds: 24, audio } }]);
        const { windows } = simulate(events, { profile: profiles[name], keepAll: true });
        // How long the first one will be is not known while it is cut.
        const segments = windows.get("audio")!.segments.slice(1);
        expect(segments.length).toBeGreaterThan(5);
        const shortest = segments.map(({ parts }) =>
          Math.min(...parts.map(({ duration }) => duration / audio)),
        );
        expect(Math.min(...shortest)).toBeGreaterThan(partSeconds / 2);
      });
  },
);

/** Part tags at the last `count` segments alone. */
function withParts(text: string, count: number): string {
  const rows = text.split(/(?<=\.m4s\n)(?=#EXT-X-(?:DISC|MAP|PROGRAM|PRELOAD))/);
  return rows
    .map((row, i) => (i < rows.length - count ? row.replace(/#EXT-X-PART:.*\n/g, "") : row))
    .join("");
}

/**
 * Silence is called a gap after one and a half part targets, counted from the end of a part that was not listed yet; the clock
 * of the simulation ticks every 100 ms.
 */
const silenceMs = 900;

/** What the judge of all its playlists, in the order in which they were listed, says once each. */
function faults(aired: Aired, slackMs = silenceMs): string[] {
  const judge = createJudge({ slackMs });
  for (const { name, text, atMs } of aired.listings)
    judge.playlist(`/v/${name}.m3u8`, text, atMs, { held: true });
  expect(judge.count).toBeGreaterThan(20);
  return [...new Set(judge.violations.map(say))].slice(0, 20);
}

function say({ rule, name, text, url }: Violation): string {
  return `${rule} ${name} ${url}: ${text}`;
}
