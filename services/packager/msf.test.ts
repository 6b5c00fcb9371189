import { describe, expect, test } from "vitest";
import { readCatalog } from "../../player/engines/moq/catalog.ts";
import { BadMedia } from "./bad-media.ts";
import { readCatalog as offeredBy, renderCatalog, renderEndedCatalog } from "./msf.ts";
import type { AudioTrack, VideoTrack } from "./track.ts";

const video: VideoTrack = {
  kind: "video",
  entry: "avc1",
  codec: "avc1.64001f",
  timescale: 90_000,
  config: new Uint8Array(0),
  width: 1280,
  height: 720,
  pixelAspect: [1, 1],
  colour: undefined,
  frameRate: 30,
};
const audio: AudioTrack = {
  kind: "audio",
  entry: "mp4a",
  codec: "mp4a.40.2",
  timescale: 48_000,
  config: new Uint8Array(0),
  channels: 2,
  sampleRate: 48_000,
  frameTicks: 1024,
  language: "en",
};
const text = renderCatalog({
  nowMs: 1_000,
  epochMs: 500,
  targetLatencyMs: 300,
  tracks: [
    {
      name: "360p.0",
      label: "360p",
      track: { ...video, width: 640, height: 360 },
      init: "BBBB",
      bitsPerSecond: 8e5,
      frameRate: 30,
    },
    { name: "source.0", label: "source", track: video, init: "AAAA", bitsPerSecond: 3e6, frameRate: 30 },
    {
      name: "audio.0",
      label: "audio",
      track: audio,
      init: "CCCC",
      bitsPerSecond: 128_000,
      frameRate: undefined,
    },
  ],
});

test("a catalog has what MSF and CMSF ask of a live track", () => {
  const { tracks, initDataList, ...root } = JSON.parse(text);
  expect(root).toMatchObject({ version: "draft-01", generatedAt: 1_000 });
  expect(tracks[1]).toEqual({
    name: "source.0",
    packaging: "cmaf",
    isLive: true,
    role: "video",
    label: "source",
    codec: "avc1.64001f",
    mimeType: "video/mp4",
    bitrate: 3e6,
    timescale: 90_000,
    targetLatency: 300,
    renderGroup: 1,
    altGroup: 1,
    width: 1280,
    height: 720,
    framerate: 30,
    initRef: "source.0",
  });
  expect(tracks[2]).toMatchObject({ role: "audio", samplerate: 48_000, channelConfig: "2", lang: "en" });
  expect(initDataList).toEqual([
    { id: "360p.0", type: "inline", data: "BBBB" },
    { id: "source.0", type: "inline", data: "AAAA" },
    { id: "audio.0", type: "inline", data: "CCCC" },
  ]);
});

test("the player reads it, best picture first, and leaves out what the browser cannot play", () => {
  const read = (playable: (type: string) => boolean) => readCatalog(text, playable);
  const all = read(() => true);
  expect(all.video.map(({ name }) => name)).toEqual(["source.0", "360p.0"]);
  expect(all.qualities.map(({ name }) => name)).toEqual(["720p", "360p"]);
  expect(all.audio[0]).toMatchObject({ name: "audio.0", type: 'audio/mp4; codecs="mp4a.40.2"' });
  expect(all).toMatchObject({ complete: false, epochMs: 500 });
  expect(read((type) => type.startsWith("video")).audio).toEqual([]);
});

test("a broadcast that is over has a catalog that says so", () => {
  const ended = readCatalog(renderEndedCatalog(2_000), () => true);
  expect(ended).toMatchObject({ complete: true, video: [], audio: [] });
});

describe("what a publisher's catalog offers", () => {
  test("is what we say of our own tracks", () => {
    expect(offeredBy(text).map(({ name, role, init }) => [name, role, init.length])).toEqual([
      ["360p.0", "video", 3],
      ["source.0", "video", 3],
      ["audio.0", "audio", 3],
    ]);
  });

  test("may have its init segment with the track, as the first draft did, and no role", () => {
    const track = { name: "v", packaging: "cmaf", mimeType: "video/mp4", initData: "AAAA" };
    expect(offeredBy(JSON.stringify({ tracks: [track] }))).toEqual([
      { name: "v", role: "video", bitsPerSecond: 0, init: new Uint8Array(3) },
    ]);
  });

  test.for([
    { name: "nothing", text: "" },
    { name: "no object", text: "7" },
    {
      name: "tracks of another packaging",
      text: '{"tracks":[{"name":"v","packaging":"loc","role":"video"}]}',
    },
    {
      name: "an init segment that is no base64",
      text: '{"tracks":[{"name":"v","packaging":"cmaf","role":"video","initData":"?"}]}',
    },
    { name: "tracks that are no list", text: '{"tracks":{"length":1e9},"initDataList":3}' },
  ])("is refused with a sentence when it is $name", ({ text }) =>
    expect(() => offeredBy(text)).toThrow(BadMedia),
  );
});

test("what a broadcast has besides its tracks is said, so that players know to ask for playlists", () => {
  const playable = () => true;
  expect(readCatalog(text, playable).lacks).toEqual([]);
  const options = { nowMs: 1_000, epochMs: 500, targetLatencyMs: 300, tracks: [] };
  expect(readCatalog(renderCatalog({ ...options, lacks: ["captions"] }), playable).lacks).toEqual([
    "captions",
  ]);
});
