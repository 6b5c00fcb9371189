import { expect, test } from "vitest";
import { averageBits, exceeded, peakBits, type Sent } from "./bandwidth.ts";

const list = (...segments: readonly (readonly [seconds: number, bytes: number])[]): Sent[] =>
  segments.map(([seconds, bytes], number) => ({ number, seconds, bytes }));

test.for([
  {
    name: "segments long enough by themselves",
    sent: list([2, 250_000], [2, 500_000], [2, 125_000]),
    peak: 2_000_000,
  },
  { name: "a short one, never judged alone", sent: list([0.5, 500_000], [2, 250_000]), peak: 2_400_000 },
  {
    name: "runs no longer than one and a half targets",
    sent: list([4, 500_000], [4, 1_500_000]),
    peak: 3_000_000,
  },
  {
    name: "no run over a hole",
    sent: [list([1, 999_999])[0]!, { number: 5, seconds: 1, bytes: 999_999 }],
    peak: 0,
  },
  { name: "nothing", sent: [], peak: 0 },
])("the peak of $name", ({ sent, peak }) => expect(peakBits(sent, 4)).toBeCloseTo(peak, 0));

test("the average is over all that was sent", () =>
  expect(averageBits(list([2, 250_000], [3, 1_000_000]))).toBeCloseTo(2_000_000, 0));

const playlist = `#EXTM3U
#EXT-X-VERSION:4
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",URI="v/audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1200000,AVERAGE-BANDWIDTH=1000000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=16x16,AUDIO="audio"
v/480p.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=100000,AVERAGE-BANDWIDTH=100000,CODECS="mp4a.40.2",AUDIO="audio"
v/audio.m3u8
`;

test.for([
  { name: "within what is declared", video: 125_000, audio: 12_500, wrong: [] },
  {
    name: "sound and picture above it together",
    video: 145_000,
    audio: 12_500,
    wrong: ["480p: peak 1260000 bits/s, declared 1200000", "480p: average 1260000 bits/s, declared 1000000"],
  },
  {
    name: "sound above its own",
    video: 100_000,
    audio: 15_000,
    wrong: ["audio: peak 120000 bits/s, declared 100000", "audio: average 120000 bits/s, declared 100000"],
  },
])("a variant $name", ({ video, audio, wrong }) => {
  const sent = new Map([
    ["480p", list([2, video * 2])],
    ["audio", list([2, audio * 2])],
  ]);
  expect(exceeded(playlist, sent, 4)).toEqual(wrong);
});
