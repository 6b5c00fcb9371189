import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { createMpdJudge } from "../../test/conformance/mpd-rules.ts";
import { avcC, broadcast, simulate } from "../../test/support/simulate.ts";
import { manifest } from "./dash.ts";
import { Past } from "./past.ts";
import { Schedule } from "./periods.ts";
import type { Segment, VideoTrack } from "./track.ts";
import type { Window } from "./window.ts";

const startMs = Date.UTC(2026, 0, 1);
const sound = { audio: 48000 } as const;

test("a steady broadcast, line by line: one text for as long as it is steady", () => {
  const { manifests } = simulate(broadcast([{ atMs: 0, source: { gop: 2, seconds: 60, ...sound } }]), {
    startMs,
    cadenceSeconds: 2,
  });
  expect(manifests).toHaveLength(1);
  const profiles =
    "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019,http://www.dashif.org/guidelines/low-latency-live-v5";
  expect(manifests[0]!.text).toBe(`<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="${profiles}" type="dynamic" availabilityStartTime="2026-01-01T00:00:00.000Z" publishTime="2026-01-01T00:00:00.500Z" minimumUpdatePeriod="PT2S" timeShiftBufferDepth="PT12S" maxSegmentDuration="PT2S" minBufferTime="PT1.047S">
  <ServiceDescription id="0">
    <Latency referenceId="0" target="985" min="591" max="30000"/>
    <PlaybackRate min="0.92" max="1.08"/>
  </ServiceDescription>
  <Period id="p1" start="PT0S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1" maxWidth="320" maxHeight="180" par="16:9" maxFrameRate="30">
      <ProducerReferenceTime id="0" type="encoder" wallClockTime="2026-01-01T00:00:00.000Z" presentationTime="900000">
        <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="../../time"/>
      </ProducerReferenceTime>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <Representation id="source" bandwidth="1000000" codecs="avc1.42c00d" width="320" height="180" sar="1:1" frameRate="30">
        <Resync type="0" dT="9000"/>
        <SegmentTemplate timescale="90000" presentationTimeOffset="900000" initialization="v/$RepresentationID$/0/init.mp4" media="v/$RepresentationID$/0/$Number$.m4s" startNumber="1" duration="180000" availabilityTimeOffset="1.9" availabilityTimeComplete="false"/>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1">
      <ProducerReferenceTime id="1" type="encoder" wallClockTime="2026-01-01T00:00:00.000Z" presentationTime="480000">
        <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="../../time"/>
      </ProducerReferenceTime>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <Representation id="audio" bandwidth="1000000" codecs="mp4a.40.2" audioSamplingRate="48000">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:mpegB:cicp:ChannelConfiguration" value="2"/>
        <Resync type="1" dT="4800"/>
        <SegmentTemplate timescale="48000" presentationTimeOffset="480000" initialization="v/$RepresentationID$/0/init.mp4" media="v/$RepresentationID$/0/$Number$.m4s" startNumber="1" duration="96000" availabilityTimeOffset="1.9" availabilityTimeComplete="false"/>
      </Representation>
    </AdaptationSet>
  </Period>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="../../time"/>
</MPD>
`);
});

test("an irregular one lists whole segments, those of one length in one line", () => {
  const gop = [1.5, 2.5, 2, 2, 2, 1.2, 2, 1.8, 3];
  const { manifests } = simulate(broadcast([{ atMs: 0, source: { gop, seconds: 12.5 } }]));
  const text = manifests.at(-1)!.text;
  expect(text).not.toContain("availabilityTimeOffset");
  expect(/startNumber="1">\n([\s\S]*?) *<\/SegmentTemplate>/.exec(text)?.[1]?.replace(/^ +/gm, "")).toBe(
    `<SegmentTimeline>
<S t="900000" d="135000"/>
<S d="225000"/>
<S d="180000" r="2"/>
<S d="108000"/>
</SegmentTimeline>
`,
  );
});

test("when it is over, what left the window of one that is not recorded is said to be gone", () => {
  const last = (seconds: number): string => {
    const publishes = [{ atMs: 0, source: { gop: 2, seconds, ...sound } }];
    return simulate(broadcast(publishes, seconds * 1000)).manifests.at(-1)!.text;
  };
  expect(last(9)).not.toContain("<FCS");
  // Twenty segments, of which the window keeps the last seven.
  const gone = [...last(40).matchAll(/<FCS t="(\d+)" d="(\d+)"/g)].map(([, t, d]) => [Number(t), Number(d)]);
  expect(gone).toEqual([
    [900_000, 13 * 180_000],
    // To where the first frame of sound of that segment begins.
    [480_000, 13 * 96_000 + 256],
  ]);
});

describe("with a DVR", () => {
  test("a manifest is as short after twelve hours as after one, where segments are of one length", () => {
    const [early, late] = [1_800, 21_600].map((count) => dvr(count, () => 180_000));
    expect(late!.text).toBe(early!.text);
    expect(late!.text).not.toContain("timeShiftBufferDepth");
    expect(late!.text).toContain('startNumber="1" duration="180000"');
    // Once for each change of the broadcast, however long it is.
    expect(late!.renderMs).toBeLessThan(100);
  });

  test("an irregular one lists all of it, in text that is kept", () => {
    const lengths = [180_000, 171_000, 192_003, 180_000, 87_000];
    const [hour, half] = [1_800, 21_600].map((count) => dvr(count, (i) => lengths[i % 5]!));
    expect(listed(half!.text)).toBe(21_600);
    expect(half!.text.length).toBeLessThan(25 * 21_600);
    expect(half!.text.length / hour!.text.length).toBeLessThan(13);
    expect(gzipSync(half!.text).length).toBeLessThan(64_000);
    // A hundredth of this on an idle machine.
    expect(half!.renderMs).toBeLessThan(500);
  });

  test("what has no media stays in the count and is said to be missing", () => {
    const { text } = dvr(
      300,
      (i) => (i % 2 ? 180_000 : 171_000),
      (number) => number === 40,
    );
    expect(listed(text)).toBe(300);
    expect(text.match(/<FCS /g)).toHaveLength(1);
    expect(text.indexOf("<FailoverContent")).toBeLessThan(text.indexOf("<SegmentTimeline"));
  });
});

/** How many segments the timelines of a manifest list. */
function listed(text: string): number {
  let count = 0;
  for (const [, more] of text.matchAll(/<S [^>]*?(?:r="(\d+)")?\/>/g)) count += 1 + Number(more ?? 0);
  return count;
}

/** The manifest of one rendition that has `count` segments, all but seven of them before its window; `gap` makes one a gap of it alone. */
function dvr(
  count: number,
  ticks: (index: number) => number,
  gap: (number: number) => boolean = () => false,
): { text: string; renderMs: number } {
  const all: Segment[] = [];
  for (let i = 0, dts = 900_000; i < count; dts += ticks(i++))
    all.push({
      ...{ number: i + 1, discontinuity: 0, version: 0, dts, lead: 0, duration: ticks(i) },
      ...{ independent: true, gap: false, parts: [], byteLength: 1 },
    });
  const window = (segments: readonly Segment[]): Window => ({
    ...{ timescale: 90_000, targetDuration: 4, partTarget: 0.5235, deltas: false, segments },
    ...{ epochMs: startMs, discontinuitySequence: 0, open: undefined, next: undefined, ended: false },
  });
  const shown = { name: "source", version: 0, kind: "video", bits: 1 } as const;
  const schedule = new Schedule(90_000);
  schedule.follow([{ ...shown, window: window(all) }]);
  const past = new Past(0);
  for (const one of all.slice(0, -7))
    past.add(gap(one.number) ? { ...one, gap: true, byteLength: 0 } : one, Number.POSITIVE_INFINITY);
  const track: VideoTrack = {
    ...{ kind: "video", entry: "avc1", codec: "avc1.42c00d", timescale: 90_000, config: avcC },
    ...{ width: 320, height: 180, pixelAspect: [1, 1], colour: undefined, frameRate: 30 },
  };
  const write = (): string =>
    manifest({
      periods: schedule.periods,
      renditions: [{ name: "source", window: window(all.slice(-7)), past, track: () => track }],
      ...{ media: "v", clock: "../../time", depthSeconds: Number.POSITIVE_INFINITY },
      ...{ type: "dynamic", publishMs: startMs },
    });
  const text = write();
  expect(createMpdJudge().manifest(text, startMs)).toEqual([]);
  const begin = performance.now();
  for (let i = 0; i < 10; i++) write();
  return { text, renderMs: (performance.now() - begin) / 10 };
}
