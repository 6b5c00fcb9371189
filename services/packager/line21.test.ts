import { describe, expect, test } from "vitest";
import { popOn, triplet } from "../../test/support/captions.ts";
import { publish } from "../../test/support/simulate.ts";
import { writeScript } from "./flv.ts";
import { Line21 } from "./line21.ts";
import { Packager } from "./packager.ts";
import { profiles } from "./profiles.ts";
import { readCaptionInfo } from "./words.ts";

type Pair = readonly [number, number];
const letters = (text: string): Pair[] =>
  (text.match(/..?/g) ?? []).map((two): Pair => [two.charCodeAt(0), two.length > 1 ? two.charCodeAt(1) : 0]);
const twice = (...pairs: Pair[]): Pair[] => pairs.flatMap((pair) => [pair, pair]);

/** What is told of pairs, one each picture at 30 a second, with the picture at which it was. */
function told(pairs: readonly Pair[]): [number, string][] {
  const line = new Line21();
  return pairs.flatMap((pair, i): [number, string][] => {
    const text = line.push(Uint8Array.from(triplet(pair)), i * 33);
    return text === undefined ? [] : [[i, text]];
  });
}
const texts = (pairs: readonly Pair[]): string[] => told(pairs).map(([, text]) => text);

describe("line 21", () => {
  test("a caption that is loaded is told as a whole when it is shown, and when it goes", () => {
    const pairs = popOn("Hello there.");
    expect(told(pairs)).toEqual([
      [12, "Hello there."],
      [44, ""],
    ]);
  });
  test("two rows stand in the order of the picture, whichever came first", () => {
    expect(
      texts([
        ...twice([0x14, 0x20], [0x14, 0x2e], [0x14, 0x70]),
        ...letters("below"),
        ...twice([0x14, 0x50]),
        ...letters("above"),
        ...twice([0x14, 0x2f]),
      ]),
    ).toEqual(["above\nbelow"]);
  });
  test("rows roll up, and what is spoken is told a few times a second", () => {
    const pairs = [
      ...twice([0x14, 0x25], [0x14, 0x2d], [0x14, 0x70]),
      ...letters("the first words of somebody who speaks"),
      ...twice([0x14, 0x2d], [0x14, 0x70]),
      ...letters("and more"),
      ...twice([0x14, 0x2d], [0x14, 0x70]),
      ...letters("third"),
      ...twice([0x14, 0x2c]),
    ];
    const all = texts(pairs);
    expect(all.at(-2)).toBe("and more");
    expect(all).toContain("the first words of somebody who");
    expect(all.some((text) => text.includes("\n"))).toBe(false);
    expect(all.length).toBeLessThan(8);
    expect(all.at(-1)).toBe("");
  });
  test.for([
    ["letters that are not ASCII's", [[0x2a, 0x7e]], "áñ"],
    ["special ones", twice([0x11, 0x37], [0x11, 0x3f]), "♪û"],
    [
      "extended ones, in place of the one before",
      [...letters("A"), ...twice([0x12, 0x20]), ...letters("O"), ...twice([0x13, 0x32])],
      "ÁÖ",
    ],
    ["a backspace", [...letters("abc"), ...twice([0x14, 0x21])], "ab"],
    ["a change of colour is a space", [...letters("ab"), ...twice([0x11, 0x22]), ...letters("cd")], "ab cd"],
    ["a code that comes once, where all come twice", [...letters("ab"), [0x14, 0x21] as Pair], "a"],
    ["another channel is none of it", [...letters("ab"), ...twice([0x1c, 0x2e])], "ab"],
  ] as const)("%s", ([, pairs, text]) => {
    expect(
      texts([
        ...twice([0x14, 0x20], [0x14, 0x2e], [0x14, 0x70]),
        ...(pairs as Pair[]),
        ...twice([0x14, 0x2f]),
      ]),
    ).toEqual([text]);
  });
  test("what is painted is told as it comes, text that is no caption is not", () => {
    const paint = [
      ...twice([0x14, 0x29], [0x14, 0x70]),
      ...letters("painted"),
      ...twice([0x14, 0x2a]),
      ...letters("weather"),
    ];
    const all = texts([...paint, ...Array.from({ length: 20 }, (): Pair => [0, 0])]);
    expect(all.at(-1)).toBe("painted");
  });
  test("anything at all is read without a complaint, and stays small", () => {
    const line = new Line21();
    let seed = 7;
    for (let i = 0; i < 20_000; i++) {
      seed = (seed * 1_103_515_245 + 12_345) >>> 0;
      const text = line.push(Uint8Array.of(0xfc, seed >>> 8, seed >>> 16, seed), i * 33);
      expect((text ?? "").length).toBeLessThan(15 * 33);
    }
  });
});

describe("onCaptionInfo", () => {
  const data = [0x42, 0xff, ...triplet([0x14, 0x2f]), ...triplet([0x41, 0x42]), 0xff];
  const base64 = (bytes: readonly number[]): string => Buffer.from(bytes).toString("base64");
  const triplets = Uint8Array.from([...triplet([0x14, 0x2f]), ...triplet([0x41, 0x42])]);
  test.for([
    ["as ITU-T T.35", [0xb5, 0, 0x31, 0x47, 0x41, 0x39, 0x34, 3, ...data]],
    ["from GA94 on", [0x47, 0x41, 0x39, 0x34, 3, ...data]],
    ["as cc_data", data],
  ] as const)("%s", ([, bytes]) =>
    expect(readCaptionInfo({ type: "708", data: base64(bytes) })).toEqual(triplets),
  );
  test.for([
    ["nothing", null],
    ["no data", { type: "708" }],
    ["no base64", { type: "708", data: "%%%" }],
    ["too much", { type: "708", data: "A".repeat(100_000) }],
    ["a format of another kind", { type: "608", data: base64([1, 2, 3]) }],
  ] as const)("%s says nothing", ([, value]) => expect(readCaptionInfo(value as never)).toBeUndefined());

  test("becomes words on the clock of the broadcast, and does not double those that the encoder has sent as text", () => {
    const run = (first: string): string[] => {
      const packager = new Packager(profiles.low);
      packager.begin(10_000, 0);
      for (const { atMs, tag } of publish({ gop: 2, seconds: 3 })) packager.push(tag, 10_000 + atMs);
      const say = (name: string, value: Record<string, string>, timestampMs: number): void =>
        void packager.push({ type: "script", timestampMs, payload: writeScript(name, value) }, 13_000);
      if (first === "onTextData") say("onTextData", { text: "typed" }, 900);
      for (const [i, pair] of popOn("From a stenographer").entries())
        say(
          "onCaptionInfo",
          { type: "708", data: base64([0x41, 0xff, ...triplet(pair), 0xff]) },
          1_000 + i * 33,
        );
      say("onTextData", { text: "typed" }, 2_900);
      return packager.takeWords().map(({ text, startMs }) => `${startMs} ${text}`);
    };
    expect(run("onCaptionInfo")).toEqual(["11528 From a stenographer", "12584 "]);
    expect(run("onTextData")).toEqual(["10900 typed", "12900 typed"]);
  });
});
