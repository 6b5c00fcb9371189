import { describe, expect, test } from "vitest";
import { bytesOf } from "../../test/support/bytes.ts";
import { popOn, triplet, withCaptions } from "../../test/support/captions.ts";
import { readChunks } from "../../test/support/mp4.ts";
import { publish } from "../../test/support/simulate.ts";
import { CaptionTrail } from "./captions.ts";
import { captionsInUnits } from "./codec/a53.ts";
import { Packager } from "./packager.ts";
import { profiles } from "./profiles.ts";

describe("which channels there are", () => {
  test.for([
    ["an empty first field waits for words", "fc8080", ["CC1"]],
    ["an empty second field is always there", "fd8080", []],
    ["words about the programme are none", "fd8321", []],
    ["control codes of both channels of a field", "fc9420 fc1c20", ["CC1", "CC2"]],
    ["of the second field", "fd1520 fd9d20", ["CC3", "CC4"]],
    ["a packet of 708 with two services", "ff0423 fe4142 fe4341 fe4100 ff0200", ["SERVICE1", "SERVICE2"]],
    ["with an extended service", "ff02e1 fe0741 ff0200", ["SERVICE7"]],
    ["a packet that is not whole", "ff0521 fe4142 ff0200", []],
    ["data without a beginning", "fe2141 fe4142 ff0200", []],
    ["both ways", "fc9420 ff0221 fe4100 ff0200", ["CC1", "SERVICE1"]],
  ] as const)("%s", ([, hex, channels]) => {
    const trail = new CaptionTrail();
    trail.add({ dts: 0, pts: 0, triplets: bytesOf(hex) });
    expect(trail.channels).toEqual(channels);
  });

  test("damage does not make a menu of it", () => {
    const trail = new CaptionTrail();
    for (let i = 0; i < 5_000; i++) {
      const noise = Uint8Array.from({ length: 60 }, (_, at) =>
        at % 3 === 0 ? 0xff : (i * 31 + at * 17) & 255,
      );
      trail.add({ dts: i * 3000, pts: i * 3000, triplets: noise });
    }
    expect(trail.channels.length).toBeLessThanOrEqual(6);
  });

  test("a packet that lies in pictures out of order is read as they are shown", () => {
    const trail = new CaptionTrail();
    trail.add({ dts: 0, pts: 6000, triplets: bytesOf("ff0221") });
    // Decoded after it, shown before it.
    trail.add({ dts: 3000, pts: 3000, triplets: bytesOf("fe4141") });
    trail.add({ dts: 9000, pts: 9000, triplets: bytesOf("fe4100 ff0200") });
    expect(trail.channels).toEqual(["SERVICE1"]);
  });
});

describe("what a rung's picture carries", () => {
  const trail = new CaptionTrail();
  for (let i = 0; i < 60; i++)
    trail.add({ dts: i * 1500, pts: i * 1500, triplets: Uint8Array.from(triplet([0x41, i])) });
  const of = (pts: number, before?: number) =>
    [...(trail.upTo(pts, before) ?? [])].filter((_, i) => i % 3 === 2).map((byte) => byte & 0x7f);

  test.for([
    ["its own", 15_000, 13_500, [10]],
    ["and those of the picture that was left out", 15_000, 12_000, [9, 10]],
    ["its own behind a hole", 60_000, 15_000, [40]],
    ["its own as the first", 60_000, undefined, [40]],
    ["its own behind a clock that stepped", 15_000, 60_000, [10]],
    ["none where the source had none", 15_700, 15_000, []],
  ] as const)("%s", ([, pts, before, said]) => expect(of(pts, before)).toEqual(said));
});

describe("a broadcast with captions", () => {
  const tags = withCaptions(
    publish({ gop: 2, seconds: 6, frameRate: 30 }).map(({ tag }) => tag),
    popOn("Hello there."),
  );

  test("has them in its source as they came, and in every rung, also one of half the frames", () => {
    const packager = new Packager(profiles.low);
    const outputs = [...packager.begin(10_000, 0)];
    const rungs = { "360p": 1, "180p": 2 };
    const frames = { "360p": 0, "180p": 0 };
    for (const [i, tag] of tags.entries()) {
      outputs.push(...packager.push(tag, 10_000 + tag.timestampMs));
      if (tag.type !== "video") continue;
      const isFrame = tag.payload[1] === 1;
      const bare = publish({ gop: 2, seconds: 6, frameRate: 30 })[i]!.tag;
      for (const [name, share] of Object.entries(rungs) as ["360p" | "180p", number][])
        if (!isFrame || frames[name]++ % share === 0) outputs.push(...packager.pushRung(name, bare));
    }
    outputs.push(...packager.end());
    const channels = outputs.flatMap((one) => (one.type === "captions" ? [one] : []));
    expect(channels.map(({ name, ...rest }) => [name, rest])).toEqual(
      ["source", "360p", "180p"].map((name) => [name, { type: "captions", channels: ["CC1"] }]),
    );
    const said = (name: string): string =>
      outputs
        .flatMap((one) =>
          one.type === "step" && one.name === name && one.step.type === "chunk" ? [one.step.chunk] : [],
        )
        .flatMap(({ bytes }) => readChunks(bytes))
        .flatMap(({ samples }) => samples)
        .flatMap(({ data }) => unitsOf(data))
        .flatMap((unit) => [...(captionsInUnits([unit], 1) ?? [])])
        .flatMap((byte, i) => (i % 3 === 0 ? [] : String.fromCharCode(byte & 0x7f)))
        .join("")
        .replace(/\0/g, "");
    expect(said("source")).toContain("Hello there.");
    // A rung begins with a segment; the last picture of the source is none of the slower one's.
    for (const name of ["360p", "180p"]) {
      expect(said("source")).toContain(said(name));
      expect(said(name)).toContain("Hello there.");
    }
  });

  test("costs nothing to speak of where there are none", () => {
    const packager = new Packager(profiles.low);
    packager.begin(10_000, 0);
    const outputs = publish({ gop: 2, seconds: 3 }).flatMap(({ tag, atMs }) =>
      packager.push(tag, 10_000 + atMs),
    );
    expect(outputs.some(({ type }) => type === "captions")).toBe(false);
  });
});

function unitsOf(sample: Uint8Array): Uint8Array[] {
  const units: Uint8Array[] = [];
  const view = new DataView(sample.buffer, sample.byteOffset, sample.length);
  for (let at = 0; at + 4 <= sample.length; at += 4 + view.getUint32(at))
    units.push(sample.subarray(at + 4, at + 4 + view.getUint32(at)));
  return units;
}
