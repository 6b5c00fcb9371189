import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { media } from "../../test/support/rtmp-client.ts";
import { type InternalServer, listenInternal, openInternal } from "../lib/http.ts";
import { FlvReader, type FlvTag, writeScript } from "../packager/flv.ts";
import { writeAudio, writeVideo } from "../packager/tags.ts";
import { createFeed, type Feed, feedLimits } from "./feed.ts";
import { tagHeadBytes, tagTailBytes } from "./protocol.ts";

let folder: string;
let server: InternalServer;
let feed: Feed;
let readers: number;
let onReaders: () => void;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "slu-"));
  readers = 0;
  onReaders = () => undefined;
  open({});
  server = await listenInternal(`unix:${join(folder, "f.sock")}`, (_request, response) =>
    feed.attach(response),
  );
});
afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

function open(limits: Partial<typeof feedLimits>): void {
  feed = createFeed({
    limits: { ...feedLimits, ...limits },
    onReaders(count) {
      readers = count;
      onReaders();
    },
  });
}

/** Resolves once the feed has `count` readers. */
const readersAre = (count: number) =>
  new Promise<void>((resolve) => {
    onReaders = () => readers === count && resolve();
    onReaders();
  });

function write(type: number, timestampMs: number, payload: Uint8Array): void {
  const tag = new Uint8Array(tagHeadBytes + payload.length + tagTailBytes);
  tag.set(payload, tagHeadBytes);
  feed.write(type, timestampMs, tag);
}
const video = (ms: number, payload: Uint8Array) => write(9, ms, payload);
const audio = (ms: number, payload: Uint8Array) => write(8, ms, payload);
const script = (ms: number, width: number) => write(18, ms, media.metadata({ width }).subarray(16));

const attach = () => openInternal(server.address, "/");

/** What one reader gets until the feed ends: tags as `type timestamp bytes`, the payload's first two bytes in hex. */
async function read(body: IncomingMessage): Promise<string[]> {
  const reader = new FlvReader();
  const tags: FlvTag[] = [];
  for await (const bytes of body as AsyncIterable<Buffer>) tags.push(...reader.push(bytes));
  const hex = (p: Uint8Array) => Buffer.from(p.subarray(0, 2)).toString("hex");
  return tags.map((t) =>
    t.type === "script" ? `script ${t.timestampMs}` : `${hex(t.payload)} ${t.timestampMs}`,
  );
}

test("a reader that comes later starts at the newest keyframe, with configs that say so", async () => {
  script(0, 320);
  video(0, media.avcConfig);
  audio(0, media.aacConfig);
  for (let ms = 0; ms < 5000; ms += 500) video(ms, ms % 2000 ? media.frame(50) : media.keyframe(50));
  audio(4501, media.audio(9));
  const body = await attach();
  video(5000, media.frame(50));
  feed.end("clean");
  expect(await read(body)).toEqual([
    ...["script 4000", "1700 4000", "af00 4000"],
    ...["1701 4000", "2701 4500", "af01 4501", "2701 5000", "script 5000"],
  ]);
});

test("of several tracks each has its config kept, and the first picture leads", async () => {
  const data = Uint8Array.of(1, 2, 3, 4, 5);
  const hevc = (fields: { type: "config" | "frame"; track: number; key?: boolean }) =>
    writeVideo({ entry: "hvc1", data, ...fields });
  video(0, hevc({ type: "config", track: 0 }));
  video(0, hevc({ type: "config", track: 1 }));
  audio(0, media.aacConfig);
  audio(0, writeAudio({ entry: "Opus", type: "config", track: 1, data }));
  for (const ms of [0, 1000]) {
    video(ms, hevc({ type: "frame", track: 0, key: true }));
    video(ms, hevc({ type: "frame", track: 1, key: true }));
  }
  const body = await attach();
  feed.end("clean");
  expect(await read(body)).toEqual([
    ...["9068 1000", "9600 1000", "af00 1000", "9500 1000"],
    ...["9368 1000", "9603 1000", "script 1000"],
  ]);
});

test("metadata that is sent again is passed on only when it differs, and the latest is kept", async () => {
  const first = await attach();
  for (let i = 0; i < 30; i++) script(i, 320);
  script(30, 640);
  const second = await attach();
  feed.end("clean");
  expect(await read(first)).toEqual(["script 0", "script 30", "script 30"]);
  expect(await read(second)).toEqual(["script 30", "script 30"]);
});

test("what is said of a moment is for those who read then", async () => {
  script(0, 320);
  const first = await attach();
  write(18, 20, writeScript("onTextData", { text: "Hello" }));
  write(18, 40, writeScript("onTextData", { text: "Hello" }));
  const second = await attach();
  feed.end("clean");
  expect(await read(first)).toEqual(["script 0", "script 20", "script 40", "script 40"]);
  expect(await read(second)).toEqual(["script 40", "script 40"]);
});

test("a new video config empties the GOP, which a decoder set up anew could not read", async () => {
  video(0, media.avcConfig);
  video(0, media.keyframe(50));
  const changed = Buffer.from(media.avcConfig);
  changed[changed.length - 1]! ^= 1;
  video(33, changed);
  const body = await attach();
  video(33, media.keyframe(50));
  feed.end("clean");
  expect(await read(body)).toEqual(["1700 33", "1701 33", "script 33"]);
});

test("a GOP past the limit is not kept: a new reader waits for the next keyframe, the old one misses nothing", async () => {
  open({ gopBytes: 2000 });
  video(0, media.avcConfig);
  const old = await attach();
  for (let ms = 0; ms < 300; ms += 100) video(ms, ms ? media.frame(900) : media.keyframe(900));
  const late = await attach();
  video(300, media.frame(900));
  video(400, media.keyframe(100));
  video(500, media.frame(100));
  feed.end("lost");
  expect(await read(old)).toEqual([
    ...["1700 0", "1701 0", "2701 100", "2701 200", "2701 300", "1701 400", "2701 500", "script 500"],
  ]);
  expect(await read(late)).toEqual(["1700 200", "1701 400", "2701 500", "script 500"]);
});

test("without video about two seconds of audio are kept", async () => {
  audio(0, media.aacConfig);
  for (let ms = 0; ms < 60_000; ms += 20) audio(ms, media.audio(10));
  const body = await attach();
  feed.end("clean");
  const tags = await read(body);
  expect(tags.length).toBeLessThan(105);
  expect(tags.at(-2)).toBe("af01 59980");
});

test("a reader that does not read is dropped, and the others are not held up", async () => {
  open({ readerBytes: 1 << 20 });
  video(0, media.avcConfig);
  const stuck = await attach();
  stuck.pause();
  const body = await attach();
  const good = read(body);
  await readersAre(2);
  for (let i = 0; i < 100; i++) {
    video(i * 40, i % 50 ? media.frame(60_000) : media.keyframe(60_000));
    await new Promise(setImmediate);
    if (i === 60) await readersAre(1);
  }
  feed.end("clean");
  expect(await good).toHaveLength(102);
  stuck.resume();
  const cut = await read(stuck);
  expect(cut.length).toBeLessThan(62);
  expect(cut.at(-1)).not.toMatch(/^script/);
});

test("a publish that ended is still told to the reader that comes after", async () => {
  video(0, media.avcConfig);
  video(0, media.keyframe(50));
  feed.end("replaced");
  expect(await read(await attach())).toEqual(["1700 0", "1701 0", "script 0"]);
});
