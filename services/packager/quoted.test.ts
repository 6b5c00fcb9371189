import { expect, test } from "vitest";
import { createJudge } from "../../test/conformance/hls-rules.ts";
import { cueLine, readCue } from "./cues.ts";
import { multivariant } from "./hls.ts";
import { labelOf, readMetadata } from "./metadata.ts";
import { quotable } from "./quoted.ts";

test.for([
  ["plain", "Deutsch (Müller) {1} $5", "Deutsch (Müller) {1} $5"],
  ["a quotation mark and lines", 'a"\r\n#EXT-X-ENDLIST', "a#EXT-X-ENDLIST"],
  ["control characters of both sets", "a\u0000\u007f\u0085b", "ab"],
  ["a variable", "a{$b}", "a($b}"],
  ["one in another", '{{$$x} {"$y}', "{($$x} ($y}"],
] as const)("%s", ([, text, fit]) => expect(quotable(text)).toBe(fit));

test("a publisher's names of tracks and cues declare nothing and refer to nothing", () => {
  const wild = 'x{$nothing}"\u0085';
  const metadata = readMetadata({ audioTrackIdInfoMap: { 0: { name: wild } } }, {});
  const sound = { name: "audio", uri: "v/audio.m3u8", codec: "mp4a.40.2", channels: 2, peak: 2, average: 1 };
  const picture = { name: "source", uri: "v/source.m3u8", codec: "avc1.64001f", width: 64, height: 36 };
  const video = [{ ...picture, frameRate: 30, peak: 2, average: 1 }];
  const pictures = [{ of: video[0]!, uri: "v/pictures.m3u8", peak: 1 }];
  const texts = [{ name: "text", uri: "v/text.m3u8", language: undefined, label: wild }];
  const list = multivariant({ video, pictures, audio: { ...sound, ...labelOf(metadata, 0) }, texts });
  expect(list.match(/NAME="x\(\$nothing}"/g)).toHaveLength(2);
  expect(createJudge().playlist("/v.m3u8", list, 0)).toEqual([]);
  expect(cueLine({ ...readCue({ name: wild })!, id: "1", startMs: 0 })).toContain('NAME="x($nothing}"');
});
