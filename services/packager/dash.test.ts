import { expect, test } from "vitest";
import { broadcast, simulate } from "../../test/support/simulate.ts";

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
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="${profiles}" type="dynamic" availabilityStartTime="2025-12-31T23:59:50.000Z" publishTime="2026-01-01T00:00:00.500Z" minimumUpdatePeriod="PT2S" timeShiftBufferDepth="PT12S" maxSegmentDuration="PT2S" minBufferTime="PT1.047S">
  <ServiceDescription id="0">
    <Latency referenceId="0" target="1197" min="718" max="30000"/>
    <PlaybackRate min="0.96" max="1.04"/>
  </ServiceDescription>
  <Period id="p1" start="PT10S">
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
<S t="1035000" d="225000"/>
<S t="1260000" d="180000" r="2"/>
<S t="1800000" d="108000"/>
</SegmentTimeline>
`,
  );
});
