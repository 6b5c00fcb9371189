import HLS from "hls-parser";
import { describe, expect, test } from "vitest";
import { createJudge } from "../../test/conformance/hls-rules.ts";
import { publish } from "../../test/support/simulate.ts";
import { Cues, cueLine, readCue } from "./cues.ts";
import { writeScript } from "./flv.ts";
import { mediaPlaylist } from "./hls.ts";
import { Packager } from "./packager.ts";
import { Past } from "./past.ts";
import { profiles } from "./profiles.ts";
import type { Segment } from "./track.ts";

/** splice_insert of event 1 out of the network for 30 s (break_duration 2,700,000), as SCTE 35 lays it out. */
const out = "fc302100000000000000fff01005000000017fbf00fe002932e0000100000000000000000000";
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const lengthened = (text: string): string => {
  const bytes = Buffer.from(text, "hex");
  bytes.writeUInt16BE(0x3000 | (bytes.length - 3), 1);
  return bytes.toString("hex");
};
const outgoing = lengthened("fc302100000000000000fff010050000000100" + "f0" + "fe002932e0000100000000");
const incoming = lengthened("fc302100000000000000fff01005000000010040" + "00010000" + "00000000");
const signal = lengthened("fc302100000000000000fff00506fe0000000000000000");

describe("a cue point", () => {
  test.for([
    { name: "hex", value: outgoing },
    { name: "hex with 0x", value: `0x${outgoing}` },
    { name: "base64", value: Buffer.from(outgoing, "hex").toString("base64") },
  ])("with SCTE 35 as $name is out of the network and lasts as long as it says", ({ value }) => {
    const cue = readCue({ name: "ad", type: "event", parameters: { data: value } });
    expect(cue).toMatchObject({ name: "ad", plannedMs: 30_000, splice: { kind: "OUT", event: 1 } });
    expect(cue?.durationMs).toBeUndefined();
    expect(hexOf(cue!.splice!.bytes)).toBe(outgoing);
  });
  test("back into the network, and any other message", () => {
    expect(readCue({ data: incoming })?.splice?.kind).toBe("IN");
    expect(readCue({ data: signal })?.splice?.kind).toBe("CMD");
  });
  test.for([
    ["nothing", null],
    ["a number", 7],
    ["a list", ["a"]],
    ["an object without a name", { time: 1 }],
    ["a section of another length", { data: out }],
    ["a section that is cut short", { data: "fc3000" }],
    ["what is no text of a section", { data: "%%%" }],
    ["too much", { data: "fc".repeat(5000) }],
  ] as const)("that is %s says nothing", ([, value]) => expect(readCue(value)).toBeUndefined());
  test("cannot break out of its line", () => {
    const cue = readCue({ name: 'a"\n#EXT-X-ENDLIST', duration: 1.5 })!;
    const line = cueLine({ ...cue, id: "1", startMs: 0 });
    expect(line).toBe(
      '#EXT-X-DATERANGE:ID="1",START-DATE="1970-01-01T00:00:00.000Z",DURATION=1.500,X-SLUICE-NAME="a#EXT-X-ENDLIST"\n',
    );
  });
});

test("a cue point of the publisher has its place on the clock of the broadcast", () => {
  const packager = new Packager(profiles.low);
  const startMs = Date.UTC(2026, 0, 1);
  packager.begin(startMs, 0);
  for (const { atMs, tag } of publish({ gop: 2, seconds: 5, audio: 48_000, rawMs: 2 ** 32 - 2_000 }))
    packager.push(tag, startMs + atMs);
  const payload = writeScript("onCuePoint", { name: "goal", time: 5 });
  packager.push({ type: "script", timestampMs: 2_500, payload }, startMs + 5_000);
  expect(packager.takeCues()).toEqual([
    { name: "goal", durationMs: undefined, splice: undefined, startMs: startMs + 4_500 },
  ]);
  expect(packager.takeCues()).toEqual([]);
});

test("a list has the cues of its time, a delta update only the new ones and what has gone, and other parsers agree", () => {
  const cues = new Cues();
  const segments = Array.from({ length: 40 }, (_, i) => segment(i + 1));
  for (const second of [1, 10, 50, 79])
    cues.add({
      startMs: second * 1000,
      name: `at ${second}`,
      durationMs: undefined,
      splice: readCue({ data: outgoing })!.splice,
    });
  const past = new Past(0);
  for (const one of segments.slice(0, 33)) past.add(one, 60 * 90_000);
  const window = windowOf(segments.slice(33));
  const fromMs = (past.at(0)!.dts * 1000) / 90_000;
  const given = { listed: cues.since(fromMs), removed: cues.removed(fromMs, 24_000) };
  const text = (skip: "none" | "YES" | "v2"): string =>
    mediaPlaylist(window, { skip, name: "source", reports: [], past, cues: given });
  const ids = (list: string): number[] =>
    [...list.matchAll(/X-SLUICE-NAME="at (\d+)"/g)].map(([, id]) => Number(id));
  expect(ids(text("none"))).toEqual([10, 50, 79].filter((second) => second * 1000 >= fromMs));
  expect(ids(text("YES"))).toEqual(ids(text("none")));
  expect(text("YES")).toContain("#EXT-X-VERSION:9\n");
  expect(ids(text("v2"))).toEqual([79]);
  expect(text("v2")).toContain("#EXT-X-VERSION:10\n");
  expect(text("v2")).toContain(`RECENTLY-REMOVED-DATERANGES="${given.removed.join("\t")}"`);
  const judge = createJudge();
  judge.playlist("/v/source.m3u8", text("none"), 0);
  for (const skip of ["YES", "v2"] as const)
    expect(judge.playlist("/v/source.m3u8", text(skip), 100)).toEqual([]);
  HLS.setOptions({ strictMode: true });
  expect(HLS.parse(text("none"))).toBeDefined();
});

test("out of the network and back is one range, which says how long it was once that is known", () => {
  const cues = new Cues();
  const say = (startMs: number, data: string): void => cues.add({ ...readCue({ data })!, startMs });
  say(1_000, incoming);
  say(10_000, outgoing);
  say(10_500, signal);
  say(39_000, incoming);
  say(80_000, incoming);
  const lines = cues.since(0).map((cue) => cueLine(cue));
  const attributes = lines.map((line) =>
    Object.fromEntries(line.matchAll(/([A-Z][A-Z0-9-]*)="?([^",\n]+)/g).map((m) => [m[1], m[2]])),
  );
  const [early, out, , back, late] = attributes;
  expect(out).toMatchObject({ "PLANNED-DURATION": "30.000", "START-DATE": "1970-01-01T00:00:10.000Z" });
  expect(out).not.toHaveProperty("DURATION");
  expect(back).toMatchObject({ ID: out!.ID, "START-DATE": out!["START-DATE"], DURATION: "29.000" });
  expect(back).toHaveProperty("SCTE35-IN");
  expect(new Set([early!.ID, out!.ID, late!.ID]).size).toBe(3);
  const window = windowOf(Array.from({ length: 30 }, (_, i) => segment(i + 1)));
  const text = mediaPlaylist(window, {
    skip: "none",
    name: "source",
    reports: [],
    cues: { listed: cues.since(0), removed: [] },
  });
  expect(createJudge().playlist("/v/source.m3u8", text, 0)).toEqual([]);
  HLS.setOptions({ strictMode: true });
  expect(HLS.parse(text)).toBeDefined();
  // What a client has already heard of is removed when both have gone.
  expect(cues.removed(41_000, 6_000)).toEqual([out!.ID]);
});

function segment(number: number): Segment {
  return {
    ...{ number, discontinuity: 0, version: 0, dts: number * 180_000, duration: 180_000 },
    ...{ independent: true, gap: false, parts: [], byteLength: 0 },
  };
}

function windowOf(segments: readonly Segment[]): import("./window.ts").Window {
  return {
    ...{ timescale: 90_000, targetDuration: 4, partTarget: 0.5235, deltas: false, epochMs: 0 },
    ...{ discontinuitySequence: 0, segments, open: undefined, next: undefined, ended: false },
  };
}
