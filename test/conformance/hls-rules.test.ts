import HLS from "hls-parser";
import { describe, expect, test } from "vitest";
import { withParameter } from "../../services/packager/hls.ts";
import { createJudge } from "./hls-rules.ts";
import { mediaRules } from "./rules/media.ts";
import { multivariantRules } from "./rules/multivariant.ts";
import { textRules } from "./rules/text.ts";
import { stepRules, togetherRules } from "./rules/time.ts";

interface Shape {
  readonly name?: string;
  readonly from?: number;
  /** The number under construction, and how many parts it has. */
  readonly open?: number;
  readonly parts?: number;
  readonly skip?: number;
  readonly other?: string;
  readonly ended?: boolean;
}

/** A faultless playlist, written by hand: segments of 2 s, 7 is a gap, 8 stands behind a discontinuity with a new init. */
function good({
  name = "source",
  from = 4,
  open = 13,
  parts = 2,
  skip = 0,
  other = "audio",
  ended = false,
}: Shape = {}): string {
  const date = (number: number): string =>
    `#EXT-X-PROGRAM-DATE-TIME:${new Date(1_790_000_000_000 + number * 2000).toISOString()}\n`;
  const version = (number: number): number => (number >= 8 ? 1 : 0);
  const head = (number: number): string =>
    (number === 8 ? "#EXT-X-DISCONTINUITY\n" : "") +
    ((number === from && skip === 0) || number === 8
      ? `#EXT-X-MAP:URI="${name}/${version(number)}/init.mp4"\n`
      : "") +
    date(number);
  const part = (number: number, index: number): string =>
    `#EXT-X-PART:DURATION=0.500000000,URI="${name}/${version(number)}/${number}.${index}.m4s"` +
    `${index === 0 && number !== 7 ? ",INDEPENDENT=YES" : ""}${number === 7 ? ",GAP=YES" : ""}\n`;
  let text = `#EXTM3U\n#EXT-X-VERSION:${skip ? 9 : 6}\n#EXT-X-TARGETDURATION:4\n`;
  text += "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24,HOLD-BACK=12,PART-HOLD-BACK=1.5705\n";
  text += `#EXT-X-PART-INF:PART-TARGET=0.5235\n#EXT-X-MEDIA-SEQUENCE:${from}\n`;
  text += `#EXT-X-DISCONTINUITY-SEQUENCE:${from > 8 ? 1 : 0}\n#EXT-X-INDEPENDENT-SEGMENTS\n`;
  if (skip) text += `#EXT-X-SKIP:SKIPPED-SEGMENTS=${skip}\n`;
  for (let number = from + skip; number < open; number++) {
    text += head(number);
    if ((open - number) * 2 + parts * 0.5 <= 12) for (let i = 0; i < 4; i++) text += part(number, i);
    text += `${number === 7 ? "#EXT-X-GAP\n" : ""}#EXTINF:2.000000000,\n${name}/${version(number)}/${number}.m4s\n`;
  }
  if (ended) return `${text}#EXT-X-ENDLIST\n`;
  if (parts > 0) text += head(open);
  for (let i = 0; i < parts; i++) text += part(open, i);
  if (open === 8 && parts === 0) text += `#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="${name}/1/init.mp4"\n`;
  text += `#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${name}/${version(open)}/${open}.${parts}.m4s"\n`;
  return `${text}#EXT-X-RENDITION-REPORT:URI="${other}.m3u8",LAST-MSN=${parts ? open : open - 1},LAST-PART=${parts ? parts - 1 : 3}\n`;
}

const offer = [
  "#EXTM3U",
  "#EXT-X-VERSION:4",
  '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,STABLE-RENDITION-ID="audio",CHANNELS="2",URI="v/audio.m3u8"',
  '#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=29.970,STABLE-VARIANT-ID="source",AUDIO="audio",CLOSED-CAPTIONS=NONE',
  "v/source.m3u8",
  '#EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=800000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,STABLE-VARIANT-ID="360p",AUDIO="audio",CLOSED-CAPTIONS=NONE',
  "v/360p.m3u8",
  '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=500000,CODECS="avc1.64001f",RESOLUTION=1280x720,STABLE-VARIANT-ID="source-pictures",URI="v/source.pictures.m3u8"',
  '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=200000,CODECS="avc1.64001e",RESOLUTION=640x360,STABLE-VARIANT-ID="360p-pictures",URI="v/360p.pictures.m3u8"',
  "",
].join("\n");

/** The same with captions in the pictures of one of two variants. */
const captioned = offer
  .replace("#EXT-X-VERSION:4", "#EXT-X-VERSION:7")
  .replace(",CLOSED-CAPTIONS=NONE\nv/source", ',CLOSED-CAPTIONS="cc"\nv/source')
  .replace(",CLOSED-CAPTIONS=NONE\nv/360p", "\nv/360p")
  .replace(
    "#EXT-X-STREAM",
    `${["SERVICE1", "CC1", "CC3"]
      .map(
        (id) =>
          `#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="${id}",STABLE-RENDITION-ID="${id}",INSTREAM-ID="${id}"\n`,
      )
      .join("")}#EXT-X-STREAM`,
  );

function cue(attributes: string): string {
  return `#EXT-X-DATERANGE:${attributes},START-DATE="2026-01-01T00:00:00.000Z"\n`;
}

/** The beginning of a splice_insert of event 1. */
const splice = "0xFC302100000000000000FFF010050000000100F0";

/** Each rule with at least one text that breaks it: what is replaced by what in the faultless one. */
const media: [rule: string, from: string | RegExp, to: string][] = [
  ["characters", "#EXT-X-GAP", "#EXT-X-GAP\t"],
  ["characters", "#EXTM3U", "\ufeff#EXTM3U"],
  ["characters", /\n$/, ""],
  ["extm3u-first", "#EXTM3U\n", ""],
  ["unknown-tag", "#EXT-X-GAP", "#EXT-X-GAPP"],
  ["attribute-syntax", "PART-TARGET=0.5235", "PART-TARGET=0.5235,"],
  ["attribute-syntax", "CAN-BLOCK-RELOAD=YES,", "CAN-BLOCK-RELOAD=YES, "],
  ["attribute-twice", "HOLD-BACK=12", "HOLD-BACK=12,HOLD-BACK=12"],
  ["variable-declared", "source/0/5.m4s", "source/0/5.m4s?t={$t}"],
  ["tag-twice", "#EXT-X-TARGETDURATION:4", "#EXT-X-TARGETDURATION:4\n#EXT-X-TARGETDURATION:4"],
  ["version-below-need", "#EXT-X-VERSION:6", "#EXT-X-VERSION:5"],
  ["version-below-need", "#EXT-X-VERSION:6\n", ""],
  ["version-above-need", "#EXT-X-VERSION:6", "#EXT-X-VERSION:9"],
  ["mixed", "#EXT-X-GAP", "#EXT-X-MEDIA:TYPE=AUDIO\n#EXT-X-GAP"],
  ["target-required", "#EXT-X-TARGETDURATION:4\n", ""],
  ["target-required", "#EXT-X-TARGETDURATION:4", "#EXT-X-TARGETDURATION:4.0"],
  ["extinf-over-target", "#EXTINF:2.000000000", "#EXTINF:4.500000000"],
  ["extinf-required", "#EXTINF:2.000000000,\n", "#EXT-X-BITRATE:1\n"],
  ["extinf-required", "#EXTINF:2.000000000", "#EXTINF:0.00000"],
  ["media-sequence-first", "#EXT-X-MEDIA-SEQUENCE:4\n", ""],
  ["media-sequence-first", "#EXT-X-MEDIA-SEQUENCE:4", "#EXT-X-MEDIA-SEQUENCE:x"],
  ["media-sequence-first", /#EXT-X-MEDIA-SEQUENCE:4\n([\s\S]*?\.m4s\n)/, "$1#EXT-X-MEDIA-SEQUENCE:4\n"],
  [
    "discontinuity-sequence-first",
    /#EXT-X-DISCONTINUITY-SEQUENCE:0\n([\s\S]*?\.m4s\n)/,
    "$1#EXT-X-DISCONTINUITY-SEQUENCE:0\n",
  ],
  ["discontinuity-sequence-required", "#EXT-X-DISCONTINUITY-SEQUENCE:0\n", ""],
  ["live-playlist-type", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MEDIA-SEQUENCE"],
  ["part-inf-required", "#EXT-X-PART-INF:PART-TARGET=0.5235\n", ""],
  ["part-hold-back-required", ",PART-HOLD-BACK=1.5705", ""],
  ["part-hold-back-short", "PART-HOLD-BACK=1.5705", "PART-HOLD-BACK=1.57"],
  ["hold-back-short", ",HOLD-BACK=12", ",HOLD-BACK=11.9"],
  ["can-skip-until-short", "CAN-SKIP-UNTIL=24", "CAN-SKIP-UNTIL=23"],
  ["can-skip-dateranges-alone", "CAN-SKIP-UNTIL=24", "CAN-SKIP-DATERANGES=YES"],
  ["block-reload-required", "CAN-BLOCK-RELOAD=YES,", ""],
  ["map-required", '#EXT-X-MAP:URI="source/0/init.mp4"\n', ""],
  ["map-after-discontinuity", '#EXT-X-MAP:URI="source/1/init.mp4"\n', ""],
  ["map-change-without-discontinuity", "#EXT-X-DISCONTINUITY\n", ""],
  ["date-required", /#EXT-X-PROGRAM-DATE-TIME.*\n(?=#EXTINF:2.000000000,\nsource\/0\/5)/, ""],
  ["date-required", /#EXT-X-PROGRAM-DATE-TIME.*\n(?=#EXT-X-PART.*13\.0)/, ""],
  ["date-format", /(PROGRAM-DATE-TIME:.*)\.000Z/, "$1Z"],
  ["date-continuous", /(\d\d)\.000Z(?=\n#EXTINF:2.000000000,\nsource\/0\/5)/, "$1.200Z"],
  ["date-continuous", /(\d\d)\.000Z(?=\n#EXT-X-PART.*8\.0)/, "$1.000+01:00"],
  ["gap-before-discontinuity-adds-up", /(\d\d)\.000Z(?=\n#EXT-X-PART.*8\.0)/, "$1.300Z"],
  ["gap-parts", 'URI="source/1/12.3.m4s"', 'URI="source/1/12.3.m4s",GAP=YES'],
  ["part-attributes", 'URI="source/1/12.1.m4s"', 'URI=""'],
  ["part-attributes", 'DURATION=0.500000000,URI="source/1/12.1', 'URI="source/1/12.1'],
  ["part-over-target", 'DURATION=0.500000000,URI="source/1/12.1', 'DURATION=0.523500001,URI="source/1/12.1'],
  ["part-short", 'DURATION=0.500000000,URI="source/1/12.1', 'DURATION=0.440000000,URI="source/1/12.1'],
  ["tags-before-parts", /(#EXT-X-PROGRAM.*\n)(#EXT-X-PART.*12\.0.*\n)/, "$2$1"],
  ["parts-make-the-segment", /#EXT-X-PART.*12\.3.*\n/, ""],
  [
    "old-parts",
    "#EXT-X-GAP\n",
    '#EXT-X-PART:DURATION=0.500000000,URI="source/0/7.0.m4s",GAP=YES\n#EXT-X-GAP\n',
  ],
  ["parts-in-order", /#EXT-X-PART.*\/12\..*\n/g, ""],
  ["independent-promise", '12.0.m4s",INDEPENDENT=YES', '12.0.m4s"'],
  [
    "daterange-attributes",
    "#EXT-X-INDEPENDENT",
    '#EXT-X-DATERANGE:START-DATE="2026-01-01T00:00:00.000Z"\n#EXT-X-INDEPENDENT',
  ],
  ["daterange-attributes", "#EXT-X-INDEPENDENT", '#EXT-X-DATERANGE:ID="a"\n#EXT-X-INDEPENDENT'],
  ["daterange-attributes", "#EXT-X-INDEPENDENT", `${cue('ID="a"')}${cue('ID="a"')}#EXT-X-INDEPENDENT`],
  [
    "daterange-attributes",
    "#EXT-X-INDEPENDENT",
    `${cue('ID="a",DURATION=1')}${cue('ID="a",DURATION=2')}#EXT-X-INDEPENDENT`,
  ],
  ["daterange-attributes", "#EXT-X-INDEPENDENT", `${cue('ID="a",PLANNED-DURATION=x')}#EXT-X-INDEPENDENT`],
  [
    "daterange-attributes",
    "#EXT-X-INDEPENDENT",
    `${cue(`ID="a",SCTE35-OUT=${splice},SCTE35-IN=${splice}`)}#EXT-X-INDEPENDENT`,
  ],
  [
    "splice-pairs",
    "#EXT-X-INDEPENDENT",
    `${cue(`ID="a",SCTE35-OUT=${splice}`)}${cue(`ID="b",SCTE35-IN=${splice}`)}#EXT-X-INDEPENDENT`,
  ],
  ["daterange-attributes", "#EXT-X-INDEPENDENT", `${cue('ID="a",DURATION=-1')}#EXT-X-INDEPENDENT`],
  ["daterange-attributes", "#EXT-X-INDEPENDENT", `${cue('ID="a",SCTE35-OUT=fc')}#EXT-X-INDEPENDENT`],
  [
    "skip-dateranges",
    "#EXT-X-INDEPENDENT",
    '#EXT-X-SKIP:SKIPPED-SEGMENTS=1,RECENTLY-REMOVED-DATERANGES="a"\n#EXT-X-INDEPENDENT',
  ],
  ["skip", "#EXT-X-INDEPENDENT", "#EXT-X-SKIP:SKIPPED-SEGMENTS=0\n#EXT-X-INDEPENDENT"],
  [
    "skip",
    "#EXT-X-INDEPENDENT",
    "#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n#EXT-X-INDEPENDENT",
  ],
  ["skip-boundary", "#EXT-X-INDEPENDENT", "#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n#EXT-X-INDEPENDENT"],
  ["hint-attributes", "TYPE=PART", "TYPE=SEGMENT"],
  ["hint-twice", "#EXT-X-RENDITION-REPORT", '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="x"\n#EXT-X-RENDITION-REPORT'],
  ["hint-after-end", "#EXT-X-RENDITION-REPORT", "#EXT-X-ENDLIST\n#EXT-X-RENDITION-REPORT"],
  ["hint-listed", "13.2.m4s", "13.1.m4s"],
  ["report-attributes", ",LAST-PART=1", ""],
  ["report-attributes", 'URI="audio.m3u8"', 'URI="https://host/audio.m3u8"'],
  ["address-twice", "source/0/5.m4s", "source/0/4.m4s"],
];

/** The same for an I-frame playlist and for one whose addresses carry a query parameter. */
const pictures: [rule: string, from: string | RegExp, to: string][] = [
  ["pictures-are-ranges", "#EXT-X-BYTERANGE:5000@0\n", ""],
  ["pictures-are-ranges", "5000@0", "5000"],
  [
    "pictures-without-parts",
    "#EXT-X-I-FRAMES-ONLY",
    "#EXT-X-I-FRAMES-ONLY\n#EXT-X-PART-INF:PART-TARGET=0.5235",
  ],
  ["version-above-need", "VERSION:5", "VERSION:6"],
  ["version-below-need", "VERSION:5", "VERSION:4"],
];
const withQuery: typeof pictures = [
  ["parameter-everywhere", "source/0/5.m4s?t={$t}", "source/0/5.m4s"],
  ["parameter-everywhere", 'init.mp4?t={$t}"', 'init.mp4"'],
  ["parameter-everywhere", /(#EXT-X-DEFINE.*\n)([\s\S]*)$/, "$2$1"],
  ["version-below-need", "VERSION:11", "VERSION:9"],
];

const multivariant: [rule: string, from: string | RegExp, to: string][] = [
  ["media-tags", "#EXT-X-VERSION:4\n", "#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:4\n"],
  ["variant-address", "v/360p.m3u8\n", ""],
  ["bandwidth", "BANDWIDTH=3000000,", ""],
  ["bandwidth", "BANDWIDTH=3000000,", "BANDWIDTH=2000000,"],
  ["variant-attributes", ",RESOLUTION=640x360", ""],
  ["variant-attributes", 'CODECS="avc1.64001f,mp4a.40.2",', ""],
  ["variant-attributes", "AVERAGE-BANDWIDTH=2500000,", ""],
  ["frame-rate", "29.970", "29.97003"],
  ["group-exists", 'GROUP-ID="audio"', 'GROUP-ID="sound"'],
  ["rendition-attributes", ',NAME="audio"', ""],
  ["rendition-attributes", "AUTOSELECT=YES", "AUTOSELECT=NO"],
  ["group-names", /(#EXT-X-MEDIA.*\n)/, "$1$1"],
  ["one-default", /(#EXT-X-MEDIA.*)NAME="audio"(.*\n)/, '$1NAME="audio"$2$1NAME="b"$2'],
  ["captions-none", ",CLOSED-CAPTIONS=NONE\nv/360p", "\nv/360p"],
  ["all-or-none", 'STABLE-VARIANT-ID="360p",', ""],
  ["pictures-attributes", /URI="v\/source.pictures.m3u8"/, 'NAME="x"'],
  ["pictures-attributes", "STREAM-INF:BANDWIDTH=500000,", "STREAM-INF:"],
  ["pictures-attributes", "BANDWIDTH=500000,", 'BANDWIDTH=500000,AUDIO="audio",'],
  ["pictures-required", /#EXT-X-I-FRAME.*\n/, ""],
  ["pictures-required", /#EXT-X-I-FRAME.*360p.*\n/, ""],
  ["supplemental-codecs", "RESOLUTION=640x360", 'RESOLUTION=640x360,SUPPLEMENTAL-CODECS="dvh1.08.07"'],
  ["range-of-pictures", "BANDWIDTH=500000,", "BANDWIDTH=500000,VIDEO-RANGE=PQ,"],
  ["range-value", "RESOLUTION=640x360", "RESOLUTION=640x360,VIDEO-RANGE=HDR"],
  ["stable-ids", 'STABLE-VARIANT-ID="360p"', 'STABLE-VARIANT-ID="360 p"'],
  ["stable-ids", /(#EXT-X-MEDIA.*)STABLE-RENDITION-ID="audio",(.*\n)/, '$1$2$1STABLE-RENDITION-ID="b",$2'],
  ["live-promise", "#EXT-X-VERSION:4\n", "#EXT-X-VERSION:4\n#EXT-X-INDEPENDENT-SEGMENTS\n"],
  ["version-above-need", "#EXT-X-VERSION:4", "#EXT-X-VERSION:6"],
];

const withCaptions: typeof multivariant = [
  ["captions-in-the-picture", 'INSTREAM-ID="CC3"', 'INSTREAM-ID="CC5"'],
  ["captions-in-the-picture", ',INSTREAM-ID="CC3"', ""],
  ["captions-in-the-picture", 'INSTREAM-ID="SERVICE1"', 'INSTREAM-ID="SERVICE64"'],
  ["captions-in-the-picture", 'INSTREAM-ID="CC3"', 'INSTREAM-ID="CC3",URI="x.m3u8"'],
  ["captions-in-the-picture", "TYPE=AUDIO,", 'TYPE=AUDIO,INSTREAM-ID="CC1",'],
  ["captions-place-twice", 'INSTREAM-ID="CC3"', 'INSTREAM-ID="CC1"'],
  ["captions-none", '"\nv/360p', '",CLOSED-CAPTIONS=NONE\nv/360p'],
  ["captions-said", ',CLOSED-CAPTIONS="cc"', ""],
  ["group-exists", 'CLOSED-CAPTIONS="cc"', 'CLOSED-CAPTIONS="captions"'],
  ["version-below-need", "VERSION:7", "VERSION:4"],
];

/** The list of words: the numbers and times of the others, and no init. */
const words: typeof multivariant = [
  ["text-without-map", "#EXT-X-MEDIA-SEQUENCE", '#EXT-X-MAP:URI="text/0/init.mp4"\n#EXT-X-MEDIA-SEQUENCE'],
  ["text-without-map", "text/0/5.vtt", "text/0/5.m4s"],
  ["text-without-map", "text/1/12.1.vtt", "text/1/12.1.m4s"],
  ["version-above-need", "VERSION:3", "VERSION:6"],
  ["version-below-need", "VERSION:3", "VERSION:2"],
];
const withWords: typeof multivariant = [
  ["subtitles-attributes", ',URI="v/text.m3u8"', ""],
  ["subtitles-attributes", ',SUBTITLES="text",CLOSED-CAPTIONS=NONE\nv/360p', ",CLOSED-CAPTIONS=NONE\nv/360p"],
  ["subtitles-attributes", "TYPE=AUDIO,", "TYPE=AUDIO,FORCED=NO,"],
  ["group-exists", 'TYPE=SUBTITLES,GROUP-ID="text"', 'TYPE=SUBTITLES,GROUP-ID="words"'],
  ["captions-in-the-picture", "TYPE=SUBTITLES,", 'TYPE=SUBTITLES,INSTREAM-ID="CC1",'],
];

/** Two playlists of one address, the second broken, with the seconds between them where they matter. */
const steps: [
  rule: string,
  first: Shape,
  second: Shape,
  from: string | RegExp,
  to: string,
  seconds?: number,
][] = [
  ["target-changed", {}, { parts: 3 }, "TARGETDURATION:4", "TARGETDURATION:3"],
  ["part-target-changed", {}, { parts: 3 }, "PART-TARGET=0.5235", "PART-TARGET=0.5"],
  ["control-changed", {}, { parts: 3 }, "PART-HOLD-BACK=1.5705", "PART-HOLD-BACK=1.6"],
  ["sequence-down", {}, { parts: 3, from: 3 }, "", ""],
  ["sequence-jump", {}, { from: 16, open: 29 }, "", ""],
  ["edge-back", { parts: 3 }, { parts: 2 }, "", ""],
  ["edge-back", { open: 14 }, { open: 13 }, "", ""],
  ["segment-changed", {}, { parts: 3 }, "source/0/5.m4s", "source/0/5b.m4s"],
  ["segment-changed", {}, { parts: 3 }, "#EXT-X-GAP\n", ""],
  ["segment-changed", {}, { parts: 3 }, "DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1"],
  ["segment-changed", {}, { parts: 3 }, /\.000Z(?=\n#EXTINF:2.000000000,\nsource\/0\/5)/, ".001Z"],
  [
    "part-changed",
    {},
    { parts: 3 },
    'DURATION=0.500000000,URI="source/1/13.1',
    'DURATION=0.500000001,URI="source/1/13.1',
  ],
  ["part-changed", {}, { parts: 3 }, /#EXT-X-PART.*12\.3.*\n/, ""],
  [
    "discontinuity-sequence",
    { from: 8, open: 20 },
    { from: 9, open: 20, parts: 3 },
    "DISCONTINUITY-SEQUENCE:1",
    "DISCONTINUITY-SEQUENCE:0",
  ],
  ["too-short", {}, { from: 9, parts: 3 }, "", ""],
  ["changed-after-end", { ended: true }, { ended: true, open: 14 }, "", ""],
  ["skip-unmergeable", { from: 9, open: 30 }, { from: 8, open: 30, skip: 7 }, "", ""],
  ["hint-broken", {}, { parts: 3 }, "13.2.m4s", "13.2b.m4s"],
  ["part-late", {}, { parts: 3 }, "", "", 1.2],
  ["segment-late", {}, { open: 14, parts: 0 }, "", "", 7],
];

const together: [rule: string, from: string | RegExp, to: string][] = [
  ["same-target", "TARGETDURATION:4", "TARGETDURATION:5"],
  ["same-control", "PART-HOLD-BACK=1.5705", "PART-HOLD-BACK=1.6"],
  ["same-discontinuity", "DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1"],
  ["same-date", /\.000Z(?=\n#EXTINF:2.000000000,\naudio\/0\/5)/, ".400Z"],
  ["report-missing", 'URI="source.m3u8"', 'URI="360p.m3u8"'],
  ["report-behind", "LAST-PART=1", "LAST-PART=0"],
];

const url = "/in/manifest/video/source.m3u8?_HLS_msn=13&_HLS_part=2";
const audio = { name: "audio", other: "source" };

test("a faultless broadcast passes, full playlists, delta updates, two renditions and the end", () => {
  const judge = createJudge();
  const expectClean = (...args: Parameters<typeof judge.playlist>): void =>
    expect(judge.playlist(...args)).toEqual([]);
  expectClean("/in/manifest/video.m3u8", offer, 0);
  for (let at = 0, open = 12; open < 34; open++)
    for (let parts = 0; parts < 4; parts++, at += 500) {
      const from = Math.max(4, open - 20);
      expectClean(url, good({ from, open, parts, skip: open - from > 15 && parts % 2 ? 3 : 0 }), at, {
        held: true,
      });
      expectClean("/in/manifest/video/audio.m3u8", good({ from, open, parts, ...audio }), at + 5);
    }
  expectClean(url, good({ from: 14, open: 34, ended: true }), 50_000);
  expect(judge.violations).toEqual([]);
  expect(judge.count).toBe(2 * 4 * 22 + 2);
});

test("an independent parser agrees that the faultless one is faultless", () => {
  HLS.setOptions({ strictMode: true });
  // It asks for version 8 where there is a gap, and counts three segments where three target durations are meant.
  const texts = [good({ from: 9, open: 15, parts: 1 }), good({ from: 8, open: 12, ended: true }), offer];
  for (const text of texts) {
    let left = 3;
    const pruned = text
      .split(/(?<=\.m4s\n)(?=#EXT-X-PROGRAM)/)
      .toReversed()
      .map((one) => (left-- > 0 ? one : one.replace(/#EXT-X-PART:.*\n/g, "")));
    expect(HLS.parse(pruned.toReversed().join(""))).toBeDefined();
  }
});

describe("each rule reports a playlist that breaks it", () => {
  test.for(media)("%s (%#)", ([rule, from, to]) => {
    const broken = good().replace(from, to);
    expect(broken).not.toBe(good());
    expect(names(createJudge().playlist(url, broken, 0))).toContain(rule);
  });
  test.for(pictures)("of pictures, %s (%#)", ([rule, from, to]) => {
    const url = "/v/source.pictures.m3u8";
    const whole = good({ parts: 0 })
      .replace(/#EXT-X-(PART|PRELOAD|RENDITION|INDEPENDENT).*\n/g, "")
      .replace("VERSION:6", "VERSION:5")
      .replace(/(#EXT-X-DISCONTINUITY-SEQUENCE.*\n)/, "$1#EXT-X-I-FRAMES-ONLY\n")
      .replace(/(#EXTINF.*\n)(?!.*\/7\.)/g, "$1#EXT-X-BYTERANGE:5000@0\n");
    expect(createJudge().playlist(url, whole, 0)).toEqual([]);
    const broken = whole.replace(from, to);
    expect(broken).not.toBe(whole);
    expect(names(createJudge().playlist(url, broken, 0))).toContain(rule);
  });
  test.for(withQuery)("with a query parameter, %s (%#)", ([rule, from, to]) => {
    const whole = withParameter(good(), "t");
    expect(createJudge().playlist(url, whole, 0)).toEqual([]);
    const broken = whole.replace(from, to);
    expect(broken).not.toBe(whole);
    expect(names(createJudge().playlist(url, broken, 0))).toContain(rule);
  });
  test.for(multivariant)("multivariant, %s (%#)", ([rule, from, to]) => {
    const broken = offer.replace(from, to);
    expect(broken).not.toBe(offer);
    expect(names(createJudge().playlist("/in/manifest/video.m3u8", broken, 0))).toContain(rule);
  });
  test.for(withCaptions)("multivariant with captions, %s (%#)", ([rule, from, to]) => {
    expect(createJudge().playlist("/in/manifest/video.m3u8", captioned, 0)).toEqual([]);
    const broken = captioned.replace(from, to);
    expect(broken).not.toBe(captioned);
    expect(names(createJudge().playlist("/in/manifest/video.m3u8", broken, 0))).toContain(rule);
  });
  test.for(words)("of words, %s (%#)", ([rule, from, to]) => {
    const whole = good({ name: "text" })
      .replaceAll(".m4s", ".vtt")
      .replace(/#EXT-X-MAP.*\n/g, "")
      .replace("VERSION:6", "VERSION:3");
    expect(createJudge().playlist("/v/text.m3u8", whole, 0)).toEqual([]);
    const broken = whole.replace(from, to);
    expect(broken).not.toBe(whole);
    expect(names(createJudge().playlist("/v/text.m3u8", broken, 0))).toContain(rule);
  });
  test.for(withWords)("multivariant with words, %s (%#)", ([rule, from, to]) => {
    const whole = offer
      .replaceAll(",CLOSED-CAPTIONS=NONE", ',SUBTITLES="text",CLOSED-CAPTIONS=NONE')
      .replace(
        "#EXT-X-STREAM",
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="en",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,STABLE-RENDITION-ID="text",URI="v/text.m3u8"\n#EXT-X-STREAM',
      );
    expect(createJudge().playlist("/in/manifest/video.m3u8", whole, 0)).toEqual([]);
    const broken = whole.replace(from, to);
    expect(broken).not.toBe(whole);
    expect(names(createJudge().playlist("/in/manifest/video.m3u8", broken, 0))).toContain(rule);
  });
  test.for(steps)("after another one, %s (%#)", ([rule, first, second, from, to, seconds]) => {
    const judge = createJudge();
    expect(judge.playlist(url, good(first), 0)).toEqual([]);
    expect(
      names(judge.playlist(url, good(second).replace(from, to), (seconds ?? 0.5) * 1000, { held: true })),
    ).toContain(rule);
  });
  test.for(together)("beside another rendition, %s (%#)", ([rule, from, to]) => {
    const judge = createJudge();
    judge.playlist(url, good(), 0);
    expect(judge.playlist("/in/manifest/video/audio.m3u8", good(audio), 1)).toEqual([]);
    const twin = createJudge();
    twin.playlist(url, good(), 0);
    expect(names(twin.playlist("/in/manifest/video/audio.m3u8", good(audio).replace(from, to), 1))).toContain(
      rule,
    );
  });
  test("a date range that two renditions tell differently (same-dateranges)", () => {
    const judge = createJudge();
    const tell = (shape: Shape, duration: number): string =>
      good(shape).replace("#EXT-X-INDEPENDENT", `${cue(`ID="a",DURATION=${duration}`)}#EXT-X-INDEPENDENT`);
    judge.playlist(url, tell({}, 1), 0);
    expect(judge.playlist("/in/manifest/video/audio.m3u8", tell(audio, 1), 1)).toEqual([]);
    expect(names(judge.playlist("/in/manifest/video/audio.m3u8", tell(audio, 2), 2))).toEqual([
      "same-dateranges",
    ]);
  });
  test("a hinted part whose new init is not hinted (hint-of-map)", () => {
    const first = good({ from: 1, open: 8, parts: 0 });
    const next = good({ from: 1, open: 8, parts: 1 });
    const judge = createJudge();
    expect(judge.playlist(url, first, 0)).toEqual([]);
    expect(judge.playlist(url, next, 500)).toEqual([]);
    const broken = createJudge();
    broken.playlist(url, first.replace(/#EXT-X-PRELOAD-HINT:TYPE=MAP.*\n/, ""), 0);
    expect(names(broken.playlist(url, next, 500))).toEqual(["hint-of-map"]);
  });
  test("a part that comes without a hint", () => {
    const judge = createJudge();
    judge.playlist(url, good().replace(/#EXT-X-PRELOAD-HINT.*\n/, ""), 0);
    expect(names(judge.playlist(url, good({ parts: 3 }), 500))).toEqual(["hint-required"]);
  });
  test("and none is without one", () => {
    const broken = new Set([
      "hint-required",
      "hint-of-map",
      "same-dateranges",
      ...[
        ...words,
        ...withWords,
        ...media,
        ...pictures,
        ...withQuery,
        ...multivariant,
        ...withCaptions,
        ...steps,
        ...together,
      ].map(([rule]) => rule),
    ]);
    const rules = [...textRules, ...mediaRules, ...multivariantRules, ...stepRules, ...togetherRules].map(
      (one) => one.name,
    );
    expect(rules.filter((name) => !broken.has(name))).toEqual([]);
    expect(new Set(rules).size).toBe(rules.length);
  });
});

test("a deadline is judged only where the server held the request", () => {
  const judge = createJudge();
  judge.playlist(url, good(), 0);
  expect(judge.playlist(url, good({ parts: 3 }), 5_000)).toEqual([]);
});

function names(violations: readonly { name: string }[]): string[] {
  return violations.map((one) => one.name);
}
