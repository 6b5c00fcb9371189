import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createJudge } from "../../test/conformance/hls-rules.ts";
import { createMpdJudge } from "../../test/conformance/mpd-rules.ts";
import { readVtt } from "../../test/conformance/webvtt.ts";
import { openHandler } from "../../test/support/handler.ts";
import { readChunks } from "../../test/support/mp4.ts";
import { publish } from "../../test/support/simulate.ts";
import { Broadcast } from "../live/broadcast.ts";
import { Directory } from "../live/directory.ts";
import { noTape } from "../live/tape.ts";
import { writeScript } from "../packager/flv.ts";
import { profiles } from "../packager/profiles.ts";
import { http1 } from "./exchange.ts";

const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);
/** The broadcast's clock at its first frame. */
const clockMs = 10_000;

let server: http.Server;
let base: string;
let broadcast: Broadcast;
let arrivals: ReturnType<typeof publish>;
const failures: unknown[] = [];

beforeEach(async () => {
  const directory = new Directory();
  broadcast = new Broadcast({
    ...{ input, video, profile: profiles.low, tape: noTape, dvrSeconds: 0 },
    changed: (one) => directory.notify(one),
  });
  directory.add(broadcast);
  broadcast.begin(startMs, 0);
  arrivals = publish({ gop: 2, seconds: 60, audio: 48000 });
  server = http.createServer(http1(openHandler({ directory, playerDir: "/nonexistent", failures })));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${input}/manifest`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect(failures).toEqual([]);
});

function play(second: number): void {
  while (arrivals[0] && arrivals[0].atMs <= second * 1000) {
    const { atMs, tag } = arrivals.shift()!;
    broadcast.push(tag, startMs + atMs);
  }
}
function say(atMs: number, text: string): void {
  play(atMs / 1000);
  const payload = writeScript("onTextData", { text, language: "eng" });
  broadcast.push({ type: "script", timestampMs: atMs, payload }, startMs + atMs);
}
async function get(path: string): Promise<{ status: number; type: string; text: string; bytes: Uint8Array }> {
  const answer = await fetch(`${base}/${path}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return {
    status: answer.status,
    type: answer.headers.get("content-type") ?? "",
    text: Buffer.from(bytes).toString(),
    bytes,
  };
}
const segment = (number: number) => ({
  fromMs: clockMs + (number - 1) * 2_000,
  toMs: clockMs + number * 2_000,
});

test("words of the publisher are one rendition at the numbers and times of the picture, to every rule", async () => {
  const judge = createJudge();
  const mpd = createMpdJudge();
  say(500, "Good evening.");
  const lists = ["video.m3u8", ...["source", "audio", "text"].map((name) => `${video}/${name}.m3u8`)];
  for (let second = 5; second < 30; second += 0.7) {
    if (Math.round(second * 10) % 3 === 0) say(second * 1000, `It is ${second.toFixed(1)}`);
    play(second);
    for (const list of lists) judge.playlist(`/${list}`, (await get(list)).text, startMs + second * 1000);
    mpd.manifest((await get("video.mpd")).text, startMs + second * 1000);
  }
  expect(judge.violations).toEqual([]);
  expect(mpd.faults).toEqual([]);
  const { text } = await get("video.m3u8");
  expect(text).toContain('TYPE=SUBTITLES,GROUP-ID="text",NAME="eng",LANGUAGE="eng",DEFAULT=NO');
  expect((await get("video.mpd")).text).toMatch(
    /contentType="text" mimeType="application\/mp4".* lang="eng"/,
  );
  const source = (await get(`${video}/source.m3u8`)).text;
  const words = (await get(`${video}/text.m3u8`)).text;
  for (const tag of ["EXTINF", "EXT-X-PROGRAM-DATE-TIME", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SERVER-CONTROL"])
    expect(words.match(new RegExp(`^#${tag}.*$`, "gm")), tag).toEqual(
      source.match(new RegExp(`^#${tag}.*$`, "gm")),
    );
  broadcast.end(startMs + 30_000);
  expect((await get(`${video}/text.m3u8`)).text).toContain("#EXT-X-ENDLIST");
});

test("a cue that crosses into the next segment is in both, and segments and parts never change", async () => {
  play(2.2);
  const write = broadcast.write("en");
  write.add({ startMs: clockMs + 3_500, endMs: clockMs + 4_700, text: "over the seam" });
  play(7);
  const [second, third] = await Promise.all([2, 3].map((number) => get(`${video}/text/0/${number}.vtt`)));
  expect([second!.status, second!.type]).toEqual([200, "text/vtt; charset=utf-8"]);
  for (const [number, { text }] of [
    [2, second!],
    [3, third!],
  ] as const) {
    const { cues, faults } = readVtt(text, segment(number));
    expect(faults).toEqual([]);
    expect(cues).toEqual([{ startMs: 13_500, endMs: 14_700, text: "over the seam" }]);
  }
  const parts = await Promise.all([0, 1, 2, 3].map((part) => get(`${video}/text/0/2.${part}.vtt`)));
  expect(parts.map(({ text }) => text.includes("over the seam"))).toEqual([false, false, false, true]);
  // Too late for what is listed.
  write.add({ startMs: clockMs + 2_000, endMs: clockMs + 3_000, text: "late" });
  play(12);
  expect((await get(`${video}/text/0/2.vtt`)).text).toBe(second!.text);
  expect((await get(`${video}/text/0/4.vtt`)).text).toMatch(/00:00:1[67]\.\d+ --> 00:00:1[78]\.\d+\nlate/);
});

test("what comes next is held until it is whole, and DASH has it when the next one begins", async () => {
  say(300, "Hello");
  play(4.7);
  const next = broadcast.reference!.window.next!;
  let held = true;
  const part = get(`${video}/text/0/${next.number}.${next.part}.vtt`).finally(() => {
    held = false;
  });
  const whole = get(`${video}/text/0/3.vtt`);
  const chunks = get(`${video}/text/0/3.m4s`);
  await get(`${video}/text.m3u8`);
  expect(held).toBe(true);
  play(5.4);
  expect((await part).status).toBe(200);
  say(5_500, "And on");
  play(6.5);
  expect(readVtt((await whole).text, segment(3)).faults).toEqual([]);
  // DASH has what was said in the segment before, and has it at once.
  const { status, type, bytes } = await chunks;
  expect([status, type]).toEqual([200, "application/mp4"]);
  const samples = readChunks(bytes).flatMap((chunk) => chunk.samples);
  expect(samples[0]!.dts).toBe(14_000 * 90);
  expect(samples.reduce((sum, { duration }) => sum + duration, 0)).toBe(180_000);
  expect(samples.map(({ data }) => Buffer.from(data).toString("latin1").includes("Hello"))).toEqual([true]);
  const fourth = readChunks((await get(`${video}/text/0/4.m4s`)).bytes).flatMap((chunk) => chunk.samples);
  expect(fourth.map(({ dts, duration }) => [dts / 90, duration / 90])).toEqual([
    [16_000, 1_500],
    [17_500, 500],
  ]);
  // What is whole by now is the same.
  expect(Buffer.from((await get(`${video}/text/0/3.m4s`)).bytes).equals(bytes)).toBe(true);
  expect((await get(`${video}/text/0/init.mp4`)).text).toContain("WEBVTT");
});

test("a segment that left the list can be had for a while, what never was cannot", async () => {
  say(300, "Hello");
  play(22);
  expect((await get(`${video}/text.m3u8`)).text).not.toContain("text/0/1.vtt");
  expect(readVtt((await get(`${video}/text/0/1.vtt`)).text, segment(1)).cues).toHaveLength(1);
  expect((await get(`${video}/text/0/1.1.vtt`)).status).toBe(200);
  for (const path of ["text/0/99.vtt", "text/0/3.9.vtt", "source/0/3.vtt", "text.pictures.m3u8"])
    expect((await get(`${video}/${path}`)).status, path).toBe(404);
});

test("without words nothing of them is listed, promised or there", async () => {
  play(5);
  expect((await get("video.m3u8")).text).not.toContain("SUBTITLES");
  expect((await get("video.mpd")).text).not.toContain("wvtt");
  for (const path of ["text.m3u8", "text/0/1.vtt", "text/0/init.mp4"])
    expect((await get(`${video}/${path}`)).status, path).toBe(404);
});

test("an input whose last broadcast had words names them from the start", async () => {
  const directory = new Directory();
  const words = { language: "en" };
  const other = new Broadcast({
    ...{ input, video, profile: profiles.low, tape: noTape, words },
    changed: (one) => directory.notify(one),
  });
  expect(other.subtitles?.language).toBe("en");
  expect(other.subtitles?.said).toBe(false);
});
