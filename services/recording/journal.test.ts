import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat } from "../../test/support/bytes.ts";
import { Contents } from "./contents.ts";
import { type Entry, encodeEntry, journalHead, Numbers, Reader, readJournal } from "./journal.ts";
import { mapSamples, readSamples } from "./samples.ts";

const track = {
  ...{ kind: "audio" as const, entry: "mp4a" as const, codec: "mp4a.40.2", timescale: 48_000 },
  ...{ config: Uint8Array.of(0x11, 0x90), channels: 2, sampleRate: 48_000, frameTicks: 1024 },
};
const begin = {
  ...{ type: "begin" as const, video: "a".repeat(32), input: "b".repeat(32), startedMs: 5, epochMs: 4.5 },
  ...{ targetDuration: 4, partTarget: 0.5235, temporary: false },
};
const file = {
  ...{ type: "file" as const, rendition: 0, name: "audio", file: 0, version: 0, initBytes: 3, initCrc: 9 },
  ...{ discontinuity: 0, track },
};
const open = {
  ...{ type: "open" as const, rendition: 0, number: 1, discontinuity: 0, version: 0, dts: 2 ** 40 },
  ...{ independent: true, gap: false },
};
const part = {
  ...{ type: "part" as const, rendition: 0, duration: 24_000, independent: true, gap: false },
  ...{ byteLength: 10, crc: 0xffff_ffff, samples: Uint8Array.of(1, 2, 3) },
};
const entries: Entry[] = [
  begin,
  file,
  open,
  part,
  { type: "close", rendition: 0, lead: 3000 },
  { type: "captions", rendition: 0, channels: ["CC1", "SERVICE63"] },
  { type: "line", startMs: 1, endMs: 2, text: "Ça va?", pieces: true, language: "fr" },
  { type: "durable", upTo: 77 },
  { type: "restart", atMs: 8 },
  { type: "drop", rendition: 0, file: 0 },
  { type: "end", atMs: 9 },
];
const journal = concat([journalHead, ...entries.map(encodeEntry)]);

test("an entry is read as it was written", () => {
  expect([...readJournal(journal)].map(({ entry }) => entry)).toEqual(entries);
});

test("a journal that is cut anywhere has the entries that are whole, and says where they end", () => {
  const ends = [...readJournal(journal)].map(({ end }) => end);
  for (let length = 0; length < journal.length; length++) {
    const reads = [...readJournal(journal.subarray(0, length))];
    expect(reads.length).toBe(ends.filter((end) => end <= length).length);
  }
});

test("a flipped bit ends the journal before its entry", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: journalHead.length, max: journal.length - 1 }),
      fc.integer({ min: 0, max: 7 }),
      (at, bit) => {
        const bad = journal.slice();
        bad[at]! ^= 1 << bit;
        const reads = [...readJournal(bad)];
        expect(reads.every(({ end }) => end <= at)).toBe(true);
      },
    ),
  );
});

test("integers come back whole up to 2^53", () => {
  fc.assert(
    fc.property(fc.array(fc.maxSafeNat()), (values) => {
      const out = new Numbers();
      out.put(...values);
      const from = new Reader(out.take());
      expect(values.map(() => from.get())).toEqual(values);
      expect(from.good && from.done).toBe(true);
    }),
  );
});

describe("entries that cannot follow", () => {
  const followers: readonly { name: string; before: readonly Entry[]; next: Entry }[] = [
    { name: "anything before the beginning", before: [], next: file },
    { name: "a second beginning", before: [begin], next: begin },
    { name: "a part without a segment", before: [begin, file], next: part },
    { name: "a segment of a rendition that nobody named", before: [begin], next: open },
    { name: "a number that was there", before: [begin, file, open, part], next: open },
    { name: "an older file", before: [begin, file], next: file },
    { name: "anything after the end", before: [begin, { type: "end", atMs: 1 }], next: file },
  ];
  test.for(followers)("$name", ({ before, next }) => {
    const contents = new Contents();
    for (const entry of before) expect(contents.apply(entry)).toBe(true);
    expect(contents.apply(next)).toBe(false);
  });
});

test("a map of samples that is cut or made up is refused or read, never worse", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      readSamples(bytes);
      mapSamples(bytes);
    }),
  );
});
