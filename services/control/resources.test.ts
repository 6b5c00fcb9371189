import { createSecretKey } from "node:crypto";
import { expect, test } from "vitest";
import { keysFrom } from "./keys.ts";
import { inputBody, merged, newInput, serverUrl, viewInput } from "./resources.ts";
import type { LiveInput } from "./store/inputs.ts";

const deep = JSON.parse(`${"[".repeat(9_000)}${"]".repeat(9_000)}`) as unknown;

test.for([
  { name: "nothing", body: {}, wrong: [] },
  { name: "unknown fields", body: { other: 1, recording: { more: 2 } }, wrong: [] },
  {
    name: "every field",
    body: {
      meta: { name: "x" },
      enabled: false,
      defaultCreator: "c",
      deleteRecordingAfterDays: 30,
      preferLowLatency: false,
      recording: { mode: "automatic", timeoutSeconds: 3600, hideLiveViewerCount: true },
    },
    wrong: [],
  },
  { name: "null for no deletion", body: { deleteRecordingAfterDays: null }, wrong: [] },
  { name: "a ladder by its name", body: { ladder: "full" }, wrong: [] },
  {
    name: "rungs",
    body: {
      ladder: [
        { height: 720, fps: 30, kbps: 2000 },
        { height: 480, codec: "h264" },
      ],
    },
    wrong: [],
  },
  { name: "a profile", body: { profile: "ultra" }, wrong: [] },
  {
    name: "a profile that there is not",
    body: { profile: "fast" },
    wrong: ["profile"],
  },
  { name: "the server's ladder again", body: { ladder: null }, wrong: [] },
  { name: "a list", body: [], wrong: [""] },
  { name: "text", body: "x", wrong: [""] },
  { name: "meta that is no object", body: { meta: "x" }, wrong: ["meta"] },
  { name: "meta that is too large", body: { meta: { a: "x".repeat(16_384) } }, wrong: ["meta"] },
  { name: "meta that is too deep", body: { meta: { deep } }, wrong: ["meta"] },
  { name: "a flag in quotes", body: { enabled: "true" }, wrong: ["enabled"] },
  {
    name: "days below the range",
    body: { deleteRecordingAfterDays: 29 },
    wrong: ["deleteRecordingAfterDays"],
  },
  {
    name: "part of a second",
    body: { recording: { timeoutSeconds: 1.5 } },
    wrong: ["recording.timeoutSeconds"],
  },
  {
    name: "less than no time",
    body: { recording: { timeoutSeconds: -1 } },
    wrong: ["recording.timeoutSeconds"],
  },
  { name: "a mode that is none", body: { recording: { mode: "on" } }, wrong: ["recording.mode"] },
  {
    name: "protection",
    body: {
      recording: { requireSignedURLs: true, allowedOrigins: ["a.b", "*.shop.example", "localhost:3000"] },
    },
    wrong: [],
  },
  {
    name: "an origin with a scheme or a path, which would go into a header as it is",
    body: { recording: { allowedOrigins: ["https://a.b", "a.b/c", "a.b; x", "*"] } },
    wrong: [0, 1, 2, 3].map((i) => `recording.allowedOrigins.${i}`),
  },
])("$name -> $wrong", ({ body, wrong }) => {
  const parsed = inputBody.safeParse(body);
  expect(parsed.error?.issues.map((issue) => issue.path.join(".")) ?? []).toEqual(wrong);
});

test("an update changes what it names and nothing else", () => {
  const before = newInput({ meta: { name: "a", x: 1 }, recording: { timeoutSeconds: 20 } });
  expect(merged(before, {})).toEqual(before);
  expect(merged(before, { recording: { mode: "automatic" } }).recording).toEqual({
    ...before.recording,
    mode: "automatic",
  });
  expect(merged(before, { meta: { name: "b" } }).meta).toEqual({ name: "b" });
  expect(merged(before, { enabled: false })).toEqual({ ...before, enabled: false });
});

test.for([
  { ladder: "huge", says: /^ladder must be "default", "full", "light", "none", or a list of rungs/ },
  { ladder: [], says: /^ladder must have a rung; "none" is the source alone$/ },
  {
    ladder: [{ kbps: 700 }],
    says: /^ladder has a rung 1 whose height must be a whole number of lines from 96 to 4320$/,
  },
  { ladder: [{ height: 720 }, { height: 8_000 }], says: /^ladder.1.height must be a whole number of lines/ },
  { ladder: [{ height: 720, fps: 0 }], says: /^ladder.0.fps must be a number from 1 to 120$/ },
  {
    ladder: [{ height: 720, kbps: 1e9 }],
    says: /^ladder.0.kbps must be a whole number of kilobits a second/,
  },
  {
    ladder: [{ height: 720, codec: "h265" }],
    says: /^ladder has a rung 1 whose codec must be h264, hevc, av1 or vp9$/,
  },
  {
    ladder: [{ height: 720, bitrate: 1 }],
    says: /^ladder.0 has no field bitrate; it takes height, fps, kbps and/,
  },
  {
    ladder: [{ height: 720 }, { height: 720, kbps: 900, codec: "h264" }],
    says: /^ladder must not have two rungs of one height and codec$/,
  },
  { ladder: [720], says: /^ladder has a rung 1 that must be an object such as/ },
  {
    ladder: Array.from({ length: 7 }, (_, i) => ({ height: 100 + i })),
    says: /^ladder must have at most 6 rungs$/,
  },
])("the ladder $ladder is refused: $says", ({ ladder, says }) => {
  const { error } = inputBody.safeParse({ ladder });
  expect(error!.issues.map(({ path, message }) => `${path.join(".")} ${message}`)).toEqual([
    expect.stringMatching(says),
  ]);
});

test("a profile is low until it is chosen, and stays", () => {
  expect(newInput({}).profile).toBe("low");
  expect(merged(newInput({ profile: "safe" }), {}).profile).toBe("safe");
});

test("a ladder of its own stays until it is changed, and null follows the server's setting again", () => {
  const own = newInput({ ladder: [{ height: 360 }] });
  expect(merged(own, {}).ladder).toEqual([{ height: 360 }]);
  expect(merged(own, { ladder: "none" }).ladder).toBe("none");
  expect(merged(own, { ladder: null }).ladder).toBeNull();
});

test("timeoutSeconds 0 follows the server's setting again", () => {
  const own = newInput({ recording: { timeoutSeconds: 20 } });
  expect(merged(own, { recording: { timeoutSeconds: 0 } }).recording.timeoutSeconds).toBeNull();
});

test.for([
  ["rtmp://h:1935", "rtmp://h:1935/live/"],
  ["rtmps://h:1936/", "rtmps://h:1936/live/"],
  ["rtmp://[::1]:1935", "rtmp://[::1]:1935/live/"],
  ["rtmp://h/app", "rtmp://h/app/"],
  ["rtmp://h/app/", "rtmp://h/app/"],
] as const)("an encoder's server field for %s is %s", ([base, url]) => expect(serverUrl(base)).toBe(url));

test("doors that are shut are absent from the answer", () => {
  const input: LiveInput = {
    ...newInput({}),
    uid: "u",
    name: "",
    keyGeneration: 1,
    keysRotatedAt: null,
    created: "c",
    modified: "m",
  };
  const context = { keys: keysFrom(createSecretKey(Buffer.alloc(32))), timeoutSeconds: 10 };
  const shut = viewInput(input, undefined, { ...context, urls: {} });
  expect(Object.keys(shut)).not.toEqual(expect.arrayContaining(["rtmp"]));
  expect([shut.rtmp, shut.rtmps, shut.playback, shut.status]).toEqual([
    undefined,
    undefined,
    undefined,
    null,
  ]);
  expect(shut.recording.timeoutSeconds).toBe(10);
  const open = viewInput(input, undefined, { ...context, urls: { rtmps: "rtmps://h:1", http: "http://h/" } });
  expect(open.rtmps?.url).toBe("rtmps://h:1/live/");
  expect(open.playback).toEqual({
    hls: "http://h/u/manifest/video.m3u8",
    dash: "http://h/u/manifest/video.mpd",
  });
});
