import { describe, expect, test } from "vitest";
import { bytesOf, concat, hexOf } from "../../test/support/bytes.ts";
import { publish } from "../../test/support/simulate.ts";
import { initSegment, makeChunk } from "./cmaf.ts";
import { trackOf } from "./codec/codec.ts";
import { type FlvTag, readAudio, readVideo } from "./flv.ts";
import { Fmp4Reader } from "./fmp4.ts";
import { CmafFeed, RungTags } from "./remux.ts";
import { writeAudio } from "./tags.ts";

const opusHead = bytesOf("4f707573486561640102380180bb0000000000");

describe("a feed as CMAF and back", () => {
  const sent = publish({ gop: 1, seconds: 3, bFrames: 2, audio: 48_000 }).map(({ tag }) => tag);

  test("every picture comes through as it was, at its time, whatever the pieces", () => {
    const feed = new CmafFeed({ video: true, audio: false });
    const bytes = concat(sent.flatMap((tag) => feed.push(tag)));
    for (const step of [1, 77, bytes.length]) {
      const back = new RungTags();
      const tags = [];
      for (let at = 0; at < bytes.length; at += step) tags.push(...back.push(bytes.subarray(at, at + step)));
      expect(tags.map(({ tag }) => picture(tag))).toEqual(
        sent.filter(({ type }) => type === "video").map(picture),
      );
      expect(tags.filter(({ kind }) => kind === "key").length).toBeGreaterThan(2);
    }
  });

  test("sound goes beside it, from the first keyframe on", () => {
    const feed = new CmafFeed({ video: true, audio: true });
    const reader = new Fmp4Reader();
    const events = sent.flatMap((tag) => feed.push(tag)).flatMap((bytes) => reader.push(bytes));
    expect(events[0]).toMatchObject({
      type: "tracks",
      tracks: [
        { kind: "video", entry: "avc1", timescale: 90_000 },
        { kind: "audio", entry: "mp4a", timescale: 48_000, config: bytesOf("1190") },
      ],
    });
    const kinds = events.map((event) => (event.type === "sample" ? event.sample.track.kind : ""));
    // The configuration of sound came after the first keyframe.
    expect(kinds[1]).toBe("video");
    expect(kinds.filter((kind) => kind === "video").length).toBeGreaterThanOrEqual(60);
    expect(kinds.filter((kind) => kind === "audio").length).toBeGreaterThan(90);
  });

  test("pictures wait for sound that says what it is with its first frame, and none is lost", () => {
    const feed = new CmafFeed({ video: true, audio: true });
    const late = sent.filter(({ type, timestampMs }) => type !== "audio" || timestampMs > 300);
    const config = sent.find(({ type, payload }) => type === "audio" && payload[1] === 0)!;
    const tags = [...late.slice(0, 40), config, ...late.slice(40)];
    const events = new Fmp4Reader().push(concat(tags.flatMap((tag) => feed.push(tag))));
    const all = events.filter((event) => event.type === "sample" && event.sample.track.kind === "video");
    expect(all).toHaveLength(
      sent.filter(({ type, payload }) => type === "video" && readVideo(payload).type === "frame").length,
    );
    expect(feed.starved).toBe(false);
  });

  test("sound that never comes is not waited for without end", () => {
    const feed = new CmafFeed({ video: true, audio: true });
    const [picture] = sent.filter(({ type }) => type === "video");
    for (let i = 0; i < 1_000; i++) expect(feed.push(picture!)).toEqual([]);
    expect(feed.starved).toBe(true);
  });

  test("another configuration makes it stale, and it says no more", () => {
    const feed = new CmafFeed({ video: false, audio: true });
    for (const tag of sent) feed.push(tag);
    expect(feed.stale).toBe(false);
    const payload = writeAudio({ entry: "Opus", type: "config", data: opusHead });
    expect(feed.push({ type: "audio", timestampMs: 3000, payload })).toEqual([]);
    expect(feed.stale).toBe(true);
    expect(feed.push(sent.at(-1)!)).toEqual([]);
  });
});

test("Opus comes out of an MP4 as RTMP has it", () => {
  const track = trackOf("Opus", opusHead, {});
  const sample = { dts: 960, pts: 960, duration: 960, key: true, data: bytesOf("fcfffe") };
  const tags = new RungTags().push(concat([initSegment(track), makeChunk(track, [sample], 1).bytes]));
  const [config, frame] = tags.map(({ tag }) => readAudio(tag.payload));
  expect(config).toMatchObject({ type: "config", entry: "Opus" });
  expect(config?.type === "config" && hexOf(config.config)).toBe(hexOf(opusHead));
  expect(frame).toMatchObject({ type: "frame", entry: "Opus", data: bytesOf("fcfffe") });
  expect(tags[1]!.tag.timestampMs).toBe(20);
});

test.for([
  { name: "a box that is smaller than its head", hex: "00000004 6d6f6f76", code: "bad_config" },
  { name: "a moov of a gigabyte", hex: "40000000 6d6f6f76", code: "too_large" },
  { name: "a child that sticks out", hex: "00000010 6d6f6f76 000000ff 7472616b", code: "bad_config" },
])("an MP4 with $name is refused", ({ hex, code }) => {
  expect(() => new Fmp4Reader().push(bytesOf(hex))).toThrow(expect.objectContaining({ code }));
});

/** Without what only one of the two forms says. */
function picture({ timestampMs, payload }: FlvTag) {
  const message = readVideo(payload);
  if (message.type === "frame")
    return { timestampMs, shift: message.compositionMs, key: message.key, data: hexOf(message.data) };
  return message.type === "config" ? { config: hexOf(message.config) } : message.type;
}
