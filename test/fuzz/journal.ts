import { crc32 } from "node:zlib";
import { BadMedia } from "../../services/packager/bad-media.ts";
import { Contents } from "../../services/recording/contents.ts";
import { encodeEntry, isJournal, journalHead, readJournal } from "../../services/recording/journal.ts";
import { withoutHoles } from "../../services/recording/rows.ts";
import { mapSamples, readSamples } from "../../services/recording/samples.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import type { Target } from "./target.ts";

const track = {
  ...{ kind: "audio" as const, entry: "mp4a" as const, codec: "mp4a.40.2", timescale: 48_000 },
  ...{ config: Uint8Array.of(0x11, 0x90), channels: 2, sampleRate: 48_000, frameTicks: 1024 },
};
const frames = [
  encodeEntry({
    ...{ type: "begin", video: "a".repeat(32), input: "b".repeat(32), startedMs: 5, epochMs: 4.5 },
    ...{ targetDuration: 4, partTarget: 0.5235, temporary: false },
  }),
  encodeEntry({
    ...{ type: "file", rendition: 0, name: "audio", file: 0, version: 0, initBytes: 3, initCrc: 9 },
    ...{ discontinuity: 0, track },
  }),
  ...[1, 4].flatMap((number) => [
    encodeEntry({
      ...{ type: "open", rendition: 0, number, discontinuity: 0, version: 0, dts: number * 96_000 },
      ...{ independent: true, gap: false },
    }),
    encodeEntry({
      ...{ type: "part", rendition: 0, duration: 24_000, independent: true, gap: false, byteLength: 10 },
      ...{ crc: 7, samples: Uint8Array.of(100, 1, 50, 4, 0) },
    }),
    encodeEntry({ type: "close", rendition: 0, lead: 3000 }),
  ]),
  encodeEntry({ type: "end", atMs: 9 }),
];

/** A journal as a crash or a bad disk leaves it: read as far as it is whole, listed, and mapped. */
export const journal: Target = {
  name: "journal",
  seeds: [
    concat([journalHead, ...frames]),
    concat([journalHead, ...frames.slice(0, 4)]),
    bytesOf("534c4a4c01000000"),
  ],
  run: (bytes) => {
    if (!isJournal(bytes)) throw new BadMedia("bad_config", "no journal");
    list(bytes);
    // The checksums keep most mutations out; what a wrong writer would sign must do no harm either.
    list(signed(bytes));
    mapSamples(bytes.subarray(8));
  },
};

function list(bytes: Uint8Array): void {
  const contents = new Contents();
  for (const { entry } of readJournal(bytes)) {
    if (entry.type === "part") readSamples(entry.samples);
    if (!contents.apply(entry)) break;
  }
  for (const reel of contents.reels) withoutHoles(reel, contents.reels);
}

function signed(bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  const view = new DataView(out.buffer);
  for (let at = journalHead.length; at + 8 <= out.length; ) {
    const next = at + 8 + view.getUint32(at);
    if (next > out.length) break;
    view.setUint32(at + 4, crc32(out.subarray(at + 8, next)));
    at = next;
  }
  return out;
}
