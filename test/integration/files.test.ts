import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createMpdJudge } from "../conformance/mpd-rules.ts";
import { apiOf, ask } from "../support/api.ts";
import { openBrowser } from "../support/browser.ts";
import { publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const run = promisify(execFile);
let folder: string;
let sluice: Sluice;
let http: string;
let video: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-files-"));
  sluice = await startSluice({ args: ["--timeout-seconds", "20"] });
  ({ http } = sluice.ready as Required<typeof sluice.ready>);
});
afterAll(async () => {
  await sluice?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p", "-b:v", "300k"];
const encoder = [...x264, "-g", "30", "-keyint_min", "30", "-sc_threshold", "0"];

const api = apiOf(() => sluice.ready);

/** The file as ffprobe sees it, after all of it was decoded without an error. */
async function judged(name: string, bytes: Uint8Array) {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  // In ticks of the file: behind a break, frames do not lie on the grid of the frame rate.
  const { stderr } = await run("ffmpeg", [
    ...["-v", "error", "-xerror", "-i", path, "-enc_time_base", "1:90000", "-f", "null", "-"],
  ]);
  expect(stderr).toBe("");
  const { stdout } = await run("ffprobe", [
    ...["-v", "error", "-of", "json", "-show_format", "-show_streams", path],
  ]);
  const { format, streams } = JSON.parse(stdout) as {
    format: { duration: string };
    streams: { codec_type: string; codec_name: string; duration: string; nb_frames: string }[];
  };
  return { path, seconds: Number(format.duration), streams };
}

/** What a decoder makes of each frame. */
async function frames(path: string): Promise<string[]> {
  const { stdout } = await run(
    "ffmpeg",
    ["-v", "error", "-i", path, "-map", "0:v", "-autoscale", "0", "-f", "framemd5", "-"],
    { maxBuffer: 16 << 20 },
  );
  return stdout.split("\n").flatMap((line) => (/^\d/.test(line) ? [line.split(",").at(-1)!.trim()] : []));
}

async function framesOf(name: string, bytes: Uint8Array): Promise<string[]> {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return frames(path);
}

/** Seconds that ffmpeg decodes of a video by its manifest of DASH, without an error. */
async function decodedByDash(uid: string): Promise<number> {
  const { stdout, stderr } = await run(
    "ffmpeg",
    [
      ...["-v", "error", "-xerror", "-i", `${http}/${uid}/manifest/video.mpd`],
      ...["-map", "0:v", "-map", "0:a", "-c:v", "rawvideo", "-s", "16x16", "-f", "framecrc", "-"],
    ],
    { maxBuffer: 16 << 20 },
  );
  expect(stderr).toBe("");
  return stdout.split("\n").filter((line) => line.startsWith("0,")).length / 30;
}

/** The recording as HLS has it: a file for each init segment. */
async function recorded(): Promise<string[]> {
  const list = `${http}/${video}/manifest/${video}/source.m3u8`;
  const files: Uint8Array[][] = [];
  for (const line of (await (await fetch(list)).text()).split("\n")) {
    const map = /EXT-X-MAP:URI="(.*)"/.exec(line)?.[1];
    if (map) files.push([]);
    const uri = map ?? (line && !line.startsWith("#") ? line : undefined);
    const answer = uri && (await fetch(new URL(uri, list)));
    // A gap has no bytes.
    if (answer && answer.status === 200) files.at(-1)!.push(await answer.bytes());
  }
  return files.map((pieces, i) => {
    const path = join(folder, `hls-${i}.mp4`);
    writeFileSync(path, Buffer.concat(pieces));
    return path;
  });
}

test("while it is on air a clip can be had and the download cannot; a break and another picture size are in the file when it is over", async () => {
  const { uid, streamKey, rtmp } = sluice.ready as Required<typeof sluice.ready>;
  const url = `${rtmp}/${streamKey}`;
  const first = publish({ url, video: encoder });
  await fetch(`${http}/${uid}/lifecycle?wait=idle`);
  ({ videoUID: video } = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as { videoUID: string });
  const clip = `${http}/${uid}/clip.mp4?time=1s&duration=2s`;
  await expect
    .poll(async () => (await fetch(clip)).headers.get("cache-control"), { timeout: 20_000, interval: 200 })
    .toContain("max-age=300");
  const { seconds } = await judged("live.mp4", await (await fetch(clip)).bytes());
  expect(seconds).toBeCloseTo(2, 1);
  const now = await fetch(`${http}/${uid}/thumbnails/thumbnail.jpg`);
  expect([now.status, now.headers.get("content-type")]).toEqual([200, "image/jpeg"]);
  expect(await (await fetch(`${http}/${uid}/storyboard.vtt`)).text()).toContain("#xywh=0,0,160,90");
  const early = await fetch(`${http}/${video}/downloads/default.mp4`);
  expect([early.status, await early.text()]).toEqual([409, expect.stringContaining("on air")]);
  const list = await (await fetch(`${http}/${uid}/manifest/clip.m3u8?time=1s&duration=2s`)).text();
  expect(list).toContain(`${video}/source.m3u8?time=1s&duration=2s`);
  await first.kill();
  const second = publish({ url, video: encoder, size: "640x360", seconds: 4 });
  await second.ended;
  await expect.poll(async () => (await api(`GET /${video}`)).status.state).toBe("ready");
}, 90_000);

test("the download is what HLS has, frame by frame, and any part of it can be had", async () => {
  const url = `${http}/${video}/downloads/default.mp4`;
  const answer = await fetch(url);
  expect(answer.status).toBe(200);
  const bytes = await answer.bytes();
  const { path, streams } = await judged("default.mp4", bytes);
  expect(streams.map(({ codec_name }) => codec_name)).toEqual(["h264", "aac"]);
  const parts = await recorded();
  expect(parts.length).toBe(2);
  expect(await frames(path)).toEqual((await Promise.all(parts.map(frames))).flat());

  const etag = answer.headers.get("etag")!;
  const get = (headers: Record<string, string>, method = "GET") => fetch(url, { headers, method });
  const head = await get({}, "HEAD");
  expect([head.status, head.headers.get("content-length"), head.headers.get("accept-ranges")]).toEqual([
    ...[200, String(bytes.length), "bytes"],
  ]);
  const middle = await get({ range: "bytes=1000-200000", "if-range": etag });
  expect([middle.status, middle.headers.get("content-range")]).toEqual([
    ...[206, `bytes 1000-200000/${bytes.length}`],
  ]);
  expect(Buffer.compare(await middle.bytes(), bytes.subarray(1000, 200_001))).toBe(0);
  expect((await get({ range: "bytes=1000-", "if-range": '"another"' })).status).toBe(200);
  expect((await get({ range: `bytes=${bytes.length}-` })).status).toBe(416);
  expect((await get({ "if-none-match": etag })).status).toBe(304);
  const named = await fetch(`${url}?filename=../My%20"finals".mp4`);
  expect(named.headers.get("content-disposition")).toBe('attachment; filename="_My _finals_.mp4"');
  await named.body?.cancel();
});

test("ffmpeg reads the manifest of DASH of a recording", async () => {
  const text = await (await fetch(`${http}/${video}/manifest/video.mpd`)).text();
  const begins = [...text.matchAll(/<Period id="\w+" start="PT([\d.]+)S"/g)].map(([, at]) => Number(at));
  const end = Number(/mediaPresentationDuration="PT([\d.]+)S"/.exec(text)?.[1]);
  expect(begins.length).toBe(2);
  // Of several Periods it plays the last.
  expect(await decodedByDash(video)).toBeCloseTo(end - begins[1]!, 0);
});

test("thumbnails and a storyboard are there while it is on air and after, and what is wrong is said", async () => {
  const picture = async (path: string) => {
    const answer = await fetch(`${http}/${video}/${path}`);
    expect(answer.status, path).toBe(200);
    const file = join(folder, "picture");
    writeFileSync(file, await answer.bytes());
    const entries = "stream=codec_name,width,height,nb_read_frames";
    const { stdout } = await run("ffprobe", [
      ...["-v", "error", "-count_frames", "-show_entries", entries, "-of", "csv=p=0", file],
    ]);
    return stdout.trim();
  };
  expect(await picture("thumbnails/thumbnail.jpg?time=1s")).toBe("mjpeg,320,180,1");
  expect(await picture("thumbnails/thumbnail.jpg?height=90&width=90&fit=fill")).toBe("mjpeg,90,90,1");
  expect(await picture("thumbnails/thumbnail.jpg?height=90")).toBe("mjpeg,160,90,1");
  expect(await picture("thumbnails/thumbnail.gif?time=1s&duration=1s&fps=5&height=100")).toMatch(
    /^gif,17[68],100,5$/,
  );
  const text = await (await fetch(`${http}/${video}/storyboard.vtt`)).text();
  // Its last moment has a picture, too.
  const [, seconds] = [...text.matchAll(/--> 00:00:([\d.]+)$/gm)].at(-1)!;
  const last = (Number(seconds) - 0.001).toFixed(3);
  expect(await picture(`thumbnails/thumbnail.gif?time=${last}s&height=100`)).toMatch(/^gif,17[68],100,\d+$/);
  const tiles = [...text.matchAll(/^(storyboard\S+)#xywh=(\d+),0,160,90$/gm)];
  expect(tiles.length).toBeGreaterThanOrEqual(2);
  expect(await picture(tiles[0]![1]!)).toBe("mjpeg,800,90,1");
  for (const [path, status, sentence] of [
    ["thumbnails/thumbnail.jpg?time=soon", 400, "`time` says"],
    ["thumbnails/thumbnail.jpg?height=5", 400, "pixels"],
    ["thumbnails/thumbnail.jpg?fit=best", 400, "`fit` is one of"],
    ["thumbnails/thumbnail.gif?duration=60s", 400, "at most 10s"],
    ["thumbnails/thumbnail.gif?fps=60", 400, "`fps` is"],
    ["thumbnails/thumbnail.jpg?time=1h", 404, "no picture"],
    ["storyboard/5-0-25.jpg", 404, "no picture"],
  ] as const) {
    const answer = await fetch(`${http}/${video}/${path}`);
    expect([answer.status, await answer.text()], path).toEqual([status, expect.stringContaining(sentence)]);
  }
});

test("the moment that its owner names stands for a video", async () => {
  const shown = async (): Promise<string> => {
    const bytes = await (await fetch(`${http}/${video}/thumbnails/thumbnail.jpg`)).bytes();
    return (await framesOf("thumbnail.jpg", bytes)).join();
  };
  const beginning = await shown();
  const result = await api(`POST /${video}`, { thumbnailTimestampPct: 1 });
  expect(result.thumbnailTimestampPct).toBe(1);
  const end = await shown();
  expect(end).not.toBe(beginning);
  const at = `${http}/${video}/thumbnails/thumbnail.jpg?time=${(result.duration - 0.05).toFixed(2)}s`;
  expect(end).toBe((await framesOf("at.jpg", await (await fetch(at)).bytes())).join());
  await api(`POST /${video}`, { thumbnailTimestampPct: 0 });
  expect(await shown()).toBe(beginning);
});

test("of a flood of pictures some are made, and whoever watches does not wait for them", async () => {
  const flood = Array.from({ length: 120 }, (_, i) =>
    fetch(`${http}/${video}/thumbnails/thumbnail.jpg?width=${100 + 2 * i}`),
  );
  const list = `${http}/${video}/manifest/${video}/source.m3u8`;
  const answered = flood.map((one) => one.then(() => true));
  // Whoever comes behind them is answered before they are.
  const first = await Promise.race([fetch(list).then(({ status }) => status), Promise.all(answered)]);
  expect(first).toBe(200);
  const counts = new Map<number, number>();
  for (const answer of await Promise.all(flood)) {
    await answer.body?.cancel();
    counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1);
  }
  expect([...counts.keys()].sort()).toEqual([200, 503]);
  expect(counts.get(200)).toBeGreaterThanOrEqual(20);
});

test("a clip begins with the frame that was asked for, and a wrong one is told what to change", async () => {
  const get = (query: string) => fetch(`${http}/${video}/clip.mp4?${query}`);
  const exact = await judged("exact.mp4", await (await get("time=1.5s&duration=2s")).bytes());
  expect(exact.seconds).toBeCloseTo(2, 1);
  const whole = await frames(join(folder, "default.mp4"));
  // Which frame of the recording the first one shown is: its pictures differ from each other.
  const shown = await frames(exact.path);
  const at = whole.indexOf(shown[0]!);
  expect(shown).toEqual(whole.slice(at, at + shown.length));
  expect(Math.abs(at - 45)).toBeLessThanOrEqual(3);
  expect(Math.abs(shown.length - 60)).toBeLessThanOrEqual(2);
  const rough = await judged("rough.mp4", await (await get("time=1.5s&duration=2s&exact=false")).bytes());
  expect(rough.seconds).toBeGreaterThan(2.3);
  for (const [query, status, sentence] of [
    ["time=later&duration=2s", 400, "`time` says"],
    ["time=1s", 400, "`duration` says"],
    ["time=1s&duration=600s", 400, "at most 60s"],
    ["time=1s&duration=2s&exact=maybe", 400, "`exact` is"],
    ["time=1h&duration=2s", 404, "Nothing is recorded there"],
  ] as const) {
    const answer = await get(query);
    expect([answer.status, await answer.text()], query).toEqual([status, expect.stringContaining(sentence)]);
  }
  const list = `${http}/${video}/manifest/clip.m3u8?time=1.5s&duration=2s`;
  const { stdout } = await run("ffprobe", [
    "-v",
    "error",
    "-of",
    "csv=p=0",
    "-show_entries",
    "format=duration",
    list,
  ]);
  expect(Number(stdout)).toBeGreaterThanOrEqual(2);
  expect(Number(stdout)).toBeLessThan(5);
});

test("a clip that stays is a video of its own, which plays and has its download", async () => {
  const json = {
    clippedFromVideoUID: video,
    startTimeSeconds: 1.5,
    endTimeSeconds: 3.5,
    meta: { name: "Goal" },
  };
  const result = await api("POST /clip", json);
  expect(result).toMatchObject({ clippedFrom: video, meta: { name: "Goal" }, readyToStream: true });
  for (const list of ["manifest/video.m3u8", "downloads/default.mp4"]) {
    const url = `${http}/${result.uid}/${list}`;
    const { stdout } = await run("ffmpeg", [
      ...["-v", "error", "-xerror", "-i", url, "-map", "0:v", "-f", "framemd5", "-"],
    ]);
    const count = stdout.split("\n").filter((line) => /^\d/.test(line)).length;
    expect(count, list).toBeGreaterThanOrEqual(60);
    expect(count, list).toBeLessThanOrEqual(125);
  }
  const manifest = await (await fetch(`${http}/${result.uid}/manifest/video.mpd`)).text();
  expect(createMpdJudge().manifest(manifest, Date.now())).toEqual([]);
  expect(await decodedByDash(result.uid)).toBeGreaterThan(2);
  await api(`DELETE /${result.uid}`);
  await expect
    .poll(async () => (await fetch(`${http}/${result.uid}/manifest/video.m3u8`)).status)
    .not.toBe(200);
  const nothing = { ...json, startTimeSeconds: 600, endTimeSeconds: 601 };
  const none = await ask(sluice.ready, "POST /clip", nothing);
  expect([none.status, none.errors[0]?.message]).toEqual([
    ...[400, expect.stringContaining("Nothing is recorded there")],
  ]);
  const downloads = await api(`POST /${video}/downloads`, {});
  expect(downloads).toEqual({
    default: {
      status: "ready",
      percentComplete: 100,
      url: expect.stringContaining(`/${video}/downloads/default.mp4`),
    },
  });
});

test("a token opens the download only where it says so", async () => {
  await api(`POST /${video}`, { requireSignedURLs: true });
  const token = async (claims: object): Promise<string> => (await api(`POST /${video}/token`, claims)).token;
  const get = async (playback: string, file: string) => {
    const answer = await fetch(`${http}/${playback}/${file}`);
    await answer.body?.cancel();
    return answer.status;
  };
  const file = "downloads/default.mp4";
  const [plain, open] = [await token({}), await token({ downloadable: true })];
  expect([await get(video, file), await get(plain, file), await get(open, file)]).toEqual([403, 403, 200]);
  const clip = "clip.mp4?time=1s&duration=1s";
  expect([await get(video, clip), await get(plain, clip)]).toEqual([403, 200]);
  for (const picture of ["thumbnails/thumbnail.jpg", "storyboard.vtt"])
    expect([await get(video, picture), await get(plain, picture)]).toEqual([403, 200]);
  await api(`POST /${video}`, { requireSignedURLs: false });
});

test("the player shows what is sought above its bar", async () => {
  const browser = await openBrowser();
  try {
    const { page } = await browser.open(`${http}/${video}/iframe?autoplay=true&muted=true`);
    const bar = page.locator("sluice-player .scrub input");
    await bar.waitFor({ state: "visible", timeout: 20_000 });
    await page.mouse.move(10, 10);
    await bar.hover({ force: true });
    const tile = page.locator("sluice-player .tile");
    await tile.waitFor({ state: "visible", timeout: 20_000 });
    expect(await tile.evaluate((one) => getComputedStyle(one).backgroundImage)).toMatch(
      /storyboard\/5-\d+-\d+\.jpg/,
    );
  } finally {
    await browser.close();
  }
});

test("Chromium plays the file from its address and seeks in it", async () => {
  const browser = await openBrowser();
  try {
    const { page } = await browser.open(`${http}/${video}/watch`);
    const seen = await page.evaluate(async (src) => {
      const element = document.createElement("video");
      element.muted = true;
      element.src = src;
      document.body.append(element);
      const happens = (name: string) =>
        new Promise((resolve) => element.addEventListener(name, resolve, { once: true }));
      await element.play();
      await happens("timeupdate");
      element.pause();
      const moved = happens("seeked");
      element.currentTime = element.duration - 2;
      await moved;
      const sought = element.currentTime;
      await element.play();
      await happens("ended");
      return { width: element.videoWidth, duration: element.duration, sought, error: element.error?.message };
    }, `/${video}/downloads/default.mp4`);
    expect(seen.error).toBeUndefined();
    expect(seen.width).toBe(640);
    expect(seen.sought).toBeCloseTo(seen.duration - 2, 1);
  } finally {
    await browser.close();
  }
});

test("captions that are uploaded are offered in HLS and DASH from then on, at their times, and gone when they are deleted", async () => {
  const put = (language: string, file: string) => {
    const form = new FormData();
    form.set("file", new File([file], "captions.vtt"));
    return ask(sluice.ready, `PUT /${video}/captions/${language}`, form);
  };
  const list = async (): Promise<string[]> => {
    const text = await (await fetch(`${http}/${video}/manifest/video.m3u8`)).text();
    return text.split("\n").filter((line) => line.includes("TYPE=SUBTITLES"));
  };
  const manifest = async () => await (await fetch(`${http}/${video}/manifest/video.mpd`)).text();
  const words = async (line: string): Promise<string> => {
    const url = new URL(/URI="([^"]+)"/.exec(line)![1]!, `${http}/${video}/manifest/`);
    const uris = (await (await fetch(url)).text()).split("\n").filter((uri) => uri && !uri.startsWith("#"));
    const texts = await Promise.all(uris.map(async (uri) => (await fetch(new URL(uri, url))).text()));
    return texts.join("\n");
  };
  expect(await list()).toEqual([]);
  expect((await put("en", "SubRip")).status).toBe(400);
  const cue = "00:00.500 --> 00:01.500 line:0%\n<i>Hello</i> of the file";
  expect((await put("en", `WEBVTT\n\n${cue}\n`)).status).toBe(200);
  expect((await put("tr", "WEBVTT\n\n00:00.500 --> 00:01.500\nMerhaba\n")).status).toBe(200);
  const [english, turkish] = await list();
  expect([english, turkish]).toEqual([
    expect.stringContaining('NAME="English",LANGUAGE="en"'),
    expect.stringContaining('NAME="Türkçe",LANGUAGE="tr"'),
  ]);
  expect(await words(english!)).toMatch(
    /00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3} line:0%\n<i>Hello<\/i> of the file\n/,
  );
  const text = await manifest();
  expect([...text.matchAll(/codecs="wvtt"/g)].length).toBeGreaterThanOrEqual(2);
  expect(createMpdJudge().manifest(text, Date.now())).toEqual([]);

  // Other words have another address, so that no cache shows the old ones.
  expect((await put("en", "WEBVTT\n\n00:00.500 --> 00:01.500\nHello again\n")).status).toBe(200);
  const [again] = await list();
  expect(again).not.toBe(english);
  expect(await words(again!)).toContain("Hello again");
  for (const language of ["en", "tr"]) await api(`DELETE /${video}/captions/${language}`);
  expect(await list()).toEqual([]);
  expect(await manifest()).not.toContain("wvtt");
});

test("who reads a video whose media are gone is cut off, and a clip of media that are gone is refused with the reason", async () => {
  const body = { clippedFromVideoUID: video, startTimeSeconds: 1, endTimeSeconds: 3 };
  rmSync(join(sluice.dataDir, "recordings", video, "source-0.mp4"));
  expect(await ask(sluice.ready, "POST /clip", body)).toMatchObject({
    status: 503,
    errors: [{ message: "These media are not there any more." }],
  });
  await expect(
    fetch(`${http}/${video}/downloads/default.mp4`).then((answer) => answer.bytes()),
  ).rejects.toThrow();
  await sluice.said(/answer broken off/);
});
