import { describe, expect, test } from "vitest";
import { readChunks } from "../support/mp4.ts";
import { type Aired, broadcast, type Event, type Source, simulate } from "../support/simulate.ts";
import { createMpdJudge, type Fault, mpdRuleNames } from "./mpd-rules.ts";
import { childrenOf, readXml } from "./xml.ts";

const sound = { audio: 48000 } as const;
const shapes: { name: string; events: Event[] }[] = [
  ...[0.73, 1, 2, 2.002, 8.3, [2, 0.4, 3.1, 1.2], [2, 2, 2, 2.5, 2, 1.9]].map((gop) => ({
    name: `GOP ${gop}`,
    events: broadcast([{ atMs: 0, source: { gop, seconds: 24, ...sound } }], 24_000),
  })),
  ...(
    [
      ["44.1 kHz, 29.97 fps, B-frames", { audio: 44100, frameRate: 30000 / 1001, bFrames: 2 }],
      ["no sound", {}],
      ["late sound", { ...sound, audioFrom: 5.7, promiseAudio: false }],
      ["a jump", { ...sound, steps: [{ at: 9, addMs: 3_600_000 }] }],
      ["sound alone", { ...sound, video: false }],
    ] satisfies [string, Partial<Source>][]
  ).map(([name, source]) => ({
    name,
    events: broadcast([{ atMs: 0, source: { gop: 2, seconds: 24, ...source } }], 24_000),
  })),
  ...[700, 3_000, 9_700].map((awayMs) => ({
    name: `a publisher that is away for ${awayMs} ms`,
    events: broadcast(
      [
        { atMs: 0, source: { gop: 2, seconds: 12, ...sound }, until: 9_300 },
        { atMs: 9_300 + awayMs, source: { gop: 2, seconds: 12, ...sound } },
      ],
      22_000 + awayMs,
    ),
  })),
];

describe("every version of the manifest keeps the rules", () => {
  test.for(shapes)("$name", ({ events }) => {
    const aired = simulate(events);
    expect(faults(aired.manifests.map(({ text }) => text))).toEqual([]);
    const last = aired.manifests.at(-1)!.text;
    expect(last).toContain(" mediaPresentationDuration=");
    expect(last).toContain('type="static"');
  });

  test.for(shapes)("a timeline says what the bytes say: $name", ({ events }) => {
    const aired = simulate(events, { keepAll: true });
    for (const { text } of aired.manifests)
      for (const { id, timescale, number, t, d } of timelines(text)) {
        const window = aired.windows.get(id)!;
        const segment = window.segment(number)!;
        const chunks = segment.parts.flatMap((part) => readChunks(part.bytes));
        const first = Math.min(...chunks.flatMap(({ samples }) => samples.map(({ pts }) => pts)));
        expect([window.timescale, first, segment.duration], `${id} ${number}`).toEqual([timescale, t, d]);
      }
  });
});

const steady = texts([{ atMs: 0, source: { gop: 2, seconds: 9, ...sound } }]);
const irregular = texts([{ atMs: 0, source: { gop: [1.5, 2.5, 1.2, 3, 2.2], seconds: 14, ...sound } }]);
const broken = texts([
  { atMs: 0, source: { gop: 2, seconds: 12, ...sound }, until: 9_000 },
  { atMs: 11_000, source: { gop: 2, seconds: 4, ...sound } },
]);
const ended = texts([{ atMs: 0, source: { gop: 2, seconds: 9, ...sound } }], 9_000);

/** Each rule with at least one manifest, or pair of them, that breaks it. */
const mutations: [rule: string, list: readonly string[], from: string | RegExp, to: string][] = [
  ["xml", steady, "</Period>", ""],
  ["mpd-attributes", steady, / publishTime="[^"]+"/, ""],
  ["mpd-attributes", steady, "urn:mpeg:dash:profile:isoff-live:2011", "urn:mpeg:dash:profile:full:2011"],
  ["mpd-attributes", steady, /,http:[^"]*low-latency-live-v5/, ""],
  ["mpd-attributes", steady, / minimumUpdatePeriod="[^"]+"/, ""],
  ["mpd-attributes", steady, /( *<Period id)/, "<Location/>$1"],
  ["mpd-attributes", ended, / mediaPresentationDuration="[^"]+"/, ""],
  ["mpd-attributes", ended, ' type="static"', ' type="static" minimumUpdatePeriod="PT2S"'],
  ["clock", steady, /<UTCTiming [^>]+\/>\n<\/MPD>/, "</MPD>"],
  ["latency", steady, / *<Latency [^>]+>\n/, ""],
  ["latency", steady, /(<Latency [^>]*)min="\d+"/, '$1min="71800"'],
  ["latency", steady, /(<PlaybackRate [^>]*)max="[\d.]+"/, '$1max="0.99"'],
  ["period-order", broken, /<Period id="p\d+" start="PT1/, '<Period id="p1" start="PT1'],
  ["period-order", broken, /(<Period id="p[2-9]\d*" start=)"[^"]+"/, '$1"PT1S"'],
  ["period-order", broken, /( duration=)"PT[\d.]+S">/, '$1"PT99S">'],
  ["last-period-open", steady, 'start="PT0S"', 'start="PT0S" duration="PT4S"'],
  ["last-period-open", ended, / mediaPresentationDuration="[^"]+"/, ' mediaPresentationDuration="PT99S"'],
  [
    "captions",
    steady,
    "<Role",
    '<Accessibility schemeIdUri="urn:scte:dash:cc:cea-608:2015" value="CC5=eng"/><Role',
  ],
  [
    "captions",
    steady,
    "<Role",
    '<Accessibility schemeIdUri="urn:scte:dash:cc:cea-708:2015" value="SERVICE1"/><Role',
  ],
  [
    "captions",
    steady,
    /(contentType="audio"[\s\S]*?)(<Role)/,
    '$1<Accessibility schemeIdUri="urn:scte:dash:cc:cea-608:2015" value="CC1=und"/>$2',
  ],
  ["adaptation-set", steady, 'segmentAlignment="true"', 'segmentAlignment="false"'],
  ["adaptation-set", steady, '<AdaptationSet id="1"', '<AdaptationSet id="0"'],
  ["adaptation-set", steady, /<Role [^>]+>/, ""],
  ["adaptation-set", steady, "audio/mp4", "video/mp4"],
  ["producer-reference-time", steady, /<ProducerReferenceTime[\s\S]*?<\/ProducerReferenceTime>/, ""],
  ["producer-reference-time", steady, 'ProducerReferenceTime id="1"', 'ProducerReferenceTime id="0"'],
  ["producer-reference-time", steady, /presentationTime="900000"/, 'presentationTime="990000"'],
  ["representation", steady, /bandwidth="\d+"/, 'bandwidth="0"'],
  ["representation", steady, / codecs="avc1[^"]+"/, ""],
  ["representation", steady, / codecs="avc1[^"]+"/, ' codecs="wvtt"'],
  ["representation", steady, / sar="1:1"/, ""],
  ["representation", steady, /<AudioChannelConfiguration[^>]+>/, ""],
  ["representation", steady, 'Representation id="audio"', 'Representation id="source"'],
  ["template", steady, "/$Number$.m4s", "/1.m4s"],
  ["template", steady, "/0/init.mp4", "/$Number$/init.mp4"],
  ["template", steady, ' duration="180000"', ""],
  ["template", irregular, /(<SegmentTemplate [^>]+)>/, '$1 duration="180000">'],
  ["presentation-time-offset", steady, 'presentationTimeOffset="900000"', 'presentationTimeOffset="0"'],
  ["chunked", steady, ' availabilityTimeComplete="false"', ""],
  ["chunked", steady, 'availabilityTimeOffset="1.9"', 'availabilityTimeOffset="2.1"'],
  ["chunked", steady, /<Resync [^>]+>/, ""],
  ["chunked", steady, 'dT="9000"', 'dT="90000"'],
  ["timeline", irregular, /(<S t="\d+" d="\d+"\/>\s*<S) d/, '$1 t="1" d'],
  ["timeline", irregular, /<S t="\d+" d/, "<S d"],
  ["timeline", irregular, /<S d=[^>]+>\s*(?=<\/SegmentTimeline>)/, '<S t="1" d="900000"/>'],
  ["timeline", irregular, /(<SegmentTimeline>)[\s\S]*?(<\/SegmentTimeline>)/, "$1$2"],
  ["longest-segment", steady, 'maxSegmentDuration="PT2S"', 'maxSegmentDuration="PT1S"'],
  ["period-continuity", broken, /(period-connectivity:2015" value=)"p1"/, '$1"p9"'],
  ["publish-time", irregular, /publishTime="[^"]+"/, 'publishTime="2025-12-31T00:00:00.000Z"'],
  ["constant", irregular, /timeShiftBufferDepth="[^"]+"/, 'timeShiftBufferDepth="PT9S"'],
  ["constant", irregular, /availabilityStartTime="20/, 'availabilityStartTime="19'],
  ["period-list", [...broken, broken.at(-1)!], 'Period id="p1"', 'Period id="p0"'],
  ["period-list", [...broken, broken.at(-1)!], / *<Period id="p[2-9]\d*"[\s\S]*?<\/Period>\n/, ""],
  ["period-unchanged", irregular, /Period id="p1" start="PT0S"/, 'Period id="p1" start="PT0.5S"'],
  ["period-unchanged", irregular, 'Representation id="audio"', 'Representation id="sound"'],
  ["representation-unchanged", irregular, /bandwidth="\d+"/, 'bandwidth="77"'],
  ["representation-unchanged", irregular, "/0/init.mp4", "/1/init.mp4"],
  ["timeline-unchanged", irregular, /<S t="(\d+)" d="\d+"\/>\s*<S d="(\d+)"\/>/, '<S t="$1" d="$2"/>'],
];

describe("each rule can be broken", () => {
  test.for(mutations)("%s", ([rule, list, from, to]) => {
    const before = list.slice(-2);
    const last = before.pop()!;
    const mutant = last.replace(from, to);
    expect(mutant).not.toBe(last);
    expect(faults([...before, last])).toEqual([]);
    expect(faults([...before, mutant]).map((fault) => fault.split(" ")[0])).toContain(rule);
  });

  test("over-is-over", () => {
    const [before, over] = ended.slice(-2);
    expect(faults([over!, before!]).join()).toContain("over-is-over");
    const longer = over!.replace(/ mediaPresentationDuration="[^"]+"/, ' mediaPresentationDuration="PT99S"');
    expect(faults([over!, longer]).join()).toContain("the end has moved");
  });

  test("none is left out", () => {
    const covered = new Set(mutations.map(([rule]) => rule));
    expect(mpdRuleNames.filter((name) => !covered.has(name))).toEqual(["over-is-over"]);
  });
});

function texts(publishes: Parameters<typeof broadcast>[0], endMs?: number): string[] {
  return simulate(broadcast(publishes, endMs)).manifests.map(({ text }) => text);
}

function faults(list: readonly string[]): string[] {
  const judge = createMpdJudge();
  for (const [index, text] of list.entries()) judge.manifest(text, index);
  expect(judge.count).toBe(list.length);
  return [...new Set(judge.faults.map(say))].slice(0, 20);
}

function say({ name, text, rule }: Fault): string {
  return `${name} (${rule}): ${text}`;
}

interface Line {
  readonly id: Aired["listings"][number]["name"];
  readonly timescale: number;
  readonly number: number;
  readonly t: number;
  readonly d: number;
}

/** Every segment of every timeline. */
function timelines(text: string): Line[] {
  const lines: Line[] = [];
  for (const period of childrenOf(readXml(text), "Period"))
    for (const set of childrenOf(period, "AdaptationSet"))
      for (const representation of childrenOf(set, "Representation"))
        for (const template of childrenOf(representation, "SegmentTemplate")) {
          const attribute = (name: string): number => Number(template.attributes.get(name));
          let number = attribute("startNumber");
          let end = Number.NaN;
          for (const one of childrenOf(template, "SegmentTimeline").flatMap(({ children }) => children)) {
            // 5.3.9.6: without @t it begins where the last one ended.
            let t = Number(one.attributes.get("t") ?? end);
            const d = Number(one.attributes.get("d"));
            const id = representation.attributes.get("id")!;
            for (let i = 0; i <= Number(one.attributes.get("r") ?? 0); i++, t += d)
              lines.push({ id, timescale: attribute("timescale"), number: number++, t, d });
            end = t;
          }
        }
  return lines;
}
