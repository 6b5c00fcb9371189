import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createMpdJudge } from "../conformance/mpd-rules.ts";
import { apiOf } from "../support/api.ts";
import { type OpenBrowser, type OpenPage, openBrowser, untilState, watchFor } from "../support/browser.ts";
import { type ClockPublisher, publishClock } from "../support/clock-publisher.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long, soakSeconds } from "../support/long.ts";
import {
  type Figures,
  figuresOf,
  type OutsideSite,
  openSite,
  players,
  rangeOf,
  seek,
  untilPlaying,
} from "../support/outside.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { type Listed, openViewer, untilLive } from "../support/viewer.ts";

const MINUTE = 60_000;

const dash = players.filter((player) => player !== "shaka-hls");

describe("players that others wrote", { timeout: 2 * MINUTE }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let site: OutsideSite;
  let pages: OpenPage[] = [];
  let encoders: Publisher[] = [];
  let publisher: ClockPublisher | undefined;

  beforeAll(async () => {
    sluice = await startSluice();
    browser = await openBrowser();
    site = await openSite();
  }, 2 * MINUTE);
  afterAll(async () => {
    await site?.close();
    await browser?.close();
    await sluice?.stop();
  }, MINUTE);
  beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(sluice.log())));
  afterEach(async () => {
    for (const page of pages) await page.close();
    pages = [];
    await publisher?.close();
    publisher = undefined;
    for (const encoder of encoders) await encoder.stop();
    encoders = [];
  });

  test("they play near the live edge beside our own, and none has a stall", {
    timeout: 2 * MINUTE + soakSeconds * 1000,
  }, async () => {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    publisher = publishClock({ url: `${rtmp}/${streamKey}` });
    await untilLive(`${http}/${uid}`);
    const own = await browser.open(`${http}/${uid}/iframe?autoplay=true`);
    pages.push(own);
    await untilState(own.page, ["playing"]);
    const opened = new Map<string, OpenPage>();
    for (const player of players) {
      const page = await site.open(browser, player, `${http}/${uid}`);
      pages.push(page);
      opened.set(player, page);
      await untilPlaying(page);
    }
    // Four pages have begun on what may be two cores.
    await pause(own, 5);
    const before = new Map<string, Figures>();
    for (const [player, page] of opened) before.set(player, await figuresOf(page));
    const watched = await watchFor(own.page, soakSeconds);
    for (const [player, page] of opened) {
      const { stalls, currentTime } = before.get(player)!;
      const after = await figuresOf(page);
      const more = after.stalls - stalls;
      console.log(
        `${player}: ${after.latency?.toFixed(2)} s behind live, ${more} stalls in ${soakSeconds} s`,
      );
      expect(after, player).toMatchObject({ stalls, fatal: [], noticed: [], ended: false, width: 640 });
      expect(after.currentTime - currentTime, player).toBeGreaterThan(soakSeconds - 1);
      expect(after.latency, player).toBeLessThan(4);
      expect(page.errors, player).toEqual([]);
    }
    expect(watched.after.stats).toMatchObject({ stalls: watched.before.stats.stalls, errors: [] });
    expect(watched.after.currentTime - watched.before.currentTime).toBeGreaterThan(soakSeconds - 1);
    expect(watched.after.latency).toBeLessThan(3);
    expect(own.errors).toEqual([]);
  });

  test("with a DVR they go back beyond the live window, and to live again", async () => {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    encoders.push(publish({ url: `${rtmp}/${streamKey}`, gop: 2 }));
    await untilLive(`${http}/${uid}`);
    const opened = new Map<string, OpenPage>();
    for (const player of long ? players : players.filter((one) => one !== "dash")) {
      const page = await site.open(browser, player, `${http}/${uid}`, { dvr: true });
      pages.push(page);
      opened.set(player, page);
      await untilPlaying(page);
    }
    // The live window has 13 seconds of it.
    for (const page of opened.values()) await untilRange(page, 18);
    for (const [player, page] of opened) {
      const { start } = await rangeOf(page);
      expect(await seek(page, start + 1), player).toBeLessThan(start + 6);
      await pause(page, 2);
      const { end, live } = await rangeOf(page);
      expect(live, player).toBe(true);
      const { currentTime } = await figuresOf(page);
      expect(end - currentTime, player).toBeGreaterThan(10);
      const back = await seek(page, end - 4);
      await pause(page, 2);
      const after = await figuresOf(page);
      expect(after.currentTime - back, player).toBeGreaterThan(1);
      expect(after.latency, player).toBeLessThan(8);
      expect(after, player).toMatchObject({ fatal: [], ended: false });
      expect(page.errors, player).toEqual([]);
    }
  });

  test.runIf(long)("without a recording they play to the end and hear of it", async () => {
    const { http, rtmp } = sluice.ready;
    const made = await apiOf(() => sluice.ready)("POST /live_inputs", {
      recording: { mode: "off", timeoutSeconds: 1 },
    });
    const encoder = publish({ url: `${rtmp}/${made.rtmps.streamKey}`, gop: 2 });
    encoders.push(encoder);
    const playback = `${http}/${made.uid}`;
    await untilLive(playback);
    const opened = new Map<string, OpenPage>();
    for (const player of dash) {
      const page = await site.open(browser, player, playback);
      pages.push(page);
      opened.set(player, page);
      await untilPlaying(page);
    }
    const segment = async () =>
      Number(
        /MEDIA-SEQUENCE:(\d+)/.exec(
          await (await fetch(new URL(await sourceOf(playback), `${playback}/manifest/`))).text(),
        )?.[1],
      );
    // The first segments are gone.
    await expect.poll(segment, { timeout: 40_000, interval: 500 }).toBeGreaterThan(2);
    for (const [player, page] of opened)
      await expect.poll(async () => (await rangeOf(page)).start, { message: player }).toBeGreaterThan(1);
    await encoder.stop();
    for (const [player, page] of opened) {
      await page.page.waitForFunction(
        () => (window as unknown as { outside: { figures: { ended: boolean } } }).outside.figures.ended,
        undefined,
        { timeout: 20_000, polling: 100 },
      );
      expect(await figuresOf(page), player).toMatchObject({ fatal: [], ended: true });
      expect(page.errors, player).toEqual([]);
    }
    const text = await (await fetch(`${playback}/manifest/video.mpd`)).text();
    expect(text).toContain('type="static"');
    // What left the window is said to be gone.
    expect(text).toContain("<FCS ");
  });

  test("an encoder's clock jumps by an hour and back, and whoever watches sees no more than a seam", async () => {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    const playback = `${http}/${uid}`;
    const [forth, back] = long ? [16_000, 22_000] : [3_000, 6_000];
    // FFmpeg never sends a time before the last one; but half of what a timestamp can say leaves no trace in FLV.
    const jumps = `setts=ts=TS+if(gte(TS\\,${back})\\,${2 ** 31}\\,if(gte(TS\\,${forth})\\,3600000\\,0))`;
    encoders.push(
      publish({ url: `${rtmp}/${streamKey}`, gop: 2, extra: ["-bsf:v", jumps, "-bsf:a", jumps] }),
    );
    const viewer = await openViewer(playback);
    const opened = new Map<string, OpenPage>();
    for (const player of long ? players : []) {
      const page = await site.open(browser, player, playback);
      pages.push(page);
      opened.set(player, page);
      await untilPlaying(page);
    }
    const own = long ? await browser.open(`${playback}/iframe?autoplay=true`) : undefined;
    if (own) {
      pages.push(own);
      await untilState(own.page, ["playing"]);
    }
    const judge = createMpdJudge();
    const looks = setInterval(async () => {
      const text = await (await fetch(`${playback}/manifest/video.mpd`)).text();
      if (text) judge.manifest(text, Date.now());
    }, 500);
    try {
      const isBehind = (segments: readonly Listed[], text: string) =>
        text.match(/^#EXT-X-DISCONTINUITY$/gm)?.length === 2 &&
        segments.at(-1)!.dateMs > seamMs(text) + 1_000;
      const follow = (name: string) => viewer.follow(name, isBehind, MINUTE);
      const [source] = await Promise.all([follow("source"), follow("audio")]);
      const dates = source!.map(({ dateMs }) => dateMs);
      expect(Math.max(...dates) - Math.min(...dates)).toBeLessThan(30_000);
    } finally {
      clearInterval(looks);
    }
    expect(viewer.judge.violations).toEqual([]);
    expect(judge.count).toBeGreaterThan(8);
    expect(judge.faults).toEqual([]);
    for (const [player, page] of opened) {
      const before = await figuresOf(page);
      await pause(page, 4);
      const after = await figuresOf(page);
      expect(after.decodedFrames - before.decodedFrames, player).toBeGreaterThan(60);
      expect(after.currentTime - before.currentTime, player).toBeGreaterThan(3);
      expect(after, player).toMatchObject({ fatal: [], ended: false });
      expect(page.errors, player).toEqual([]);
    }
    if (own) {
      const { before, after } = await watchFor(own.page, 4);
      expect(after.currentTime - before.currentTime).toBeGreaterThan(3);
      expect(after).toMatchObject({ state: "playing", stats: { errors: [] } });
      expect(own.errors).toEqual([]);
    }
  });

  /** An encoder, and a player that has shown three seconds of it. */
  async function watches(player: (typeof players)[number]) {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    const url = `${rtmp}/${streamKey}`;
    const first = publish({ url, size: "640x360", gop: 2 });
    encoders.push(first);
    await untilLive(`${http}/${uid}`);
    const opened = await site.open(browser, player, `${http}/${uid}`);
    pages.push(opened);
    await untilPlaying(opened);
    await pause(opened, 3);
    return { url, first, opened };
  }

  test.runIf(long).for(players)(
    "%s goes on when the encoder comes back at once with another size and sound",
    async (player) => {
      const { url, first, opened } = await watches(player);
      await first.kill();
      encoders.push(publish({ url, gop: 2, audio: ["-c:a", "aac", "-b:a", "64k", "-ac", "1"] }));
      await opened.page.waitForFunction(
        () => document.querySelector("video")!.videoWidth === 320,
        undefined,
        { timeout: 40_000, polling: 100 },
      );
      const before = await figuresOf(opened);
      await pause(opened, 5);
      const after = await figuresOf(opened);
      expect(opened.errors).toEqual([]);
      expect(after.currentTime - before.currentTime).toBeGreaterThan(4);
      expect(after).toMatchObject({ fatal: [], noticed: [], ended: false, width: 320 });
    },
  );

  test.runIf(long).for(dash)("%s goes on when the encoder does, after a while", async (player) => {
    const { url, first, opened } = await watches(player);
    await first.kill();
    await pause(opened, 3);
    const during = await figuresOf(opened);
    encoders.push(publish({ url, size: "640x360", gop: 2 }));
    await opened.page.waitForFunction(
      (reached) => document.querySelector("video")!.currentTime > reached,
      during.currentTime + 12,
      { timeout: 40_000 },
    );
    const before = await figuresOf(opened);
    await pause(opened, 5);
    const after = await figuresOf(opened);
    console.log(
      `${player}: ${after.latency?.toFixed(2)} s behind live after ${after.stalledMs} ms of outage`,
    );
    expect(after.decodedFrames - before.decodedFrames).toBeGreaterThan(100);
    expect(after.stalls).toBe(before.stalls);
    expect(after).toMatchObject({ fatal: [], ended: false });
  });

  test.runIf(long)("dash.js plays irregular keyframes without a stall", async () => {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    const url = `${rtmp}/${streamKey}`;
    const keys = [1.2, 2.4, 1.7, 3.1, 2.2, 1.1, 2.9, 1.5, 2.5, 1.3, 3.3, 1.9, 2.3, 1.6, 2.8, 2.1, 1.4, 3];
    let at = 0;
    const times = [0, ...keys.map((seconds) => (at += seconds))].map((time) => time.toFixed(3)).join(",");
    const x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"];
    const rhythm = ["-g", "600", "-sc_threshold", "0", "-force_key_frames", times];
    encoders.push(publish({ url, size: "640x360", video: [...x264, ...rhythm] }));
    // Who comes in the first seconds of a timeline has less to play than it holds back.
    const viewer = await openViewer(`${http}/${uid}`);
    await viewer.follow("source", (segments) => segments.length >= 4);
    const opened = await site.open(browser, "dash", `${http}/${uid}`);
    pages.push(opened);
    await untilPlaying(opened, 30_000);
    const before = await figuresOf(opened);
    await pause(opened, 8);
    const after = await figuresOf(opened);
    console.log(`dash.js: ${after.latency?.toFixed(2)} s behind live with irregular keyframes`);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(6);
    expect(after).toMatchObject({ stalls: 0, fatal: [], noticed: [], ended: false });
    expect(opened.errors).toEqual([]);
  });

  test.runIf(long)(
    "who watches by DASH goes back in what is on air, and has all of it without a reload when it ends",
    async () => {
      const { http, uid, rtmp, streamKey } = sluice.ready;
      const encoder = publish({ url: `${rtmp}/${streamKey}`, gop: 2 });
      encoders.push(encoder);
      await untilLive(`${http}/${uid}`);
      const opened = new Map<string, OpenPage>();
      for (const player of dash)
        for (const dvr of [true, false]) {
          const page = await site.open(browser, player, `${http}/${uid}`, { dvr });
          pages.push(page);
          opened.set(`${player}${dvr ? " with a DVR" : ""}`, page);
          await untilPlaying(page);
        }
      // Beyond what the live window holds.
      await reach(opened.get("dash")!, 22);
      for (const player of dash) {
        const page = opened.get(`${player} with a DVR`)!;
        const { start, end, live } = await rangeOf(page);
        expect(end - start, player).toBeGreaterThan(18);
        expect(live).toBe(true);
        await seek(page, start + 1);
        const narrow = await rangeOf(opened.get(player)!);
        expect(narrow.end - narrow.start, player).toBeLessThan(15);
      }

      const stopped = encoder.stop();
      const endedMs = Date.now();
      await stopped;
      const took = await Promise.all(
        [...opened].map(async ([name, page]) => {
          await page.page.waitForFunction(
            () => !(window as unknown as { outside: { range(): { live: boolean } } }).outside.range().live,
            undefined,
            { timeout: 20_000, polling: 50 },
          );
          return `${name} ${Date.now() - endedMs} ms`;
        }),
      );
      console.log(`the end was known after: ${took.join(", ")}`);
      for (const [name, page] of opened) {
        const { start, end } = await rangeOf(page);
        expect(end - start, name).toBeGreaterThan(20);
        // Shaka keeps the first segment that a manifest of fixed lengths ever let it have, whatever comes later.
        const to = name === "shaka" ? end - 8 : start;
        expect(await seek(page, to), name).toBeLessThan(to + 5);
        expect((await figuresOf(page)).fatal, name).toEqual([]);
      }
    },
  );
});

/** When what follows the last discontinuity of a list begins. */
function seamMs(text: string): number {
  const [, date] =
    /#EXT-X-PROGRAM-DATE-TIME:(.*)/.exec(text.slice(text.lastIndexOf("#EXT-X-DISCONTINUITY\n"))) ?? [];
  return Date.parse(date ?? "");
}

/** By the page's own clock. */
async function pause({ page }: OpenPage, seconds: number): Promise<void> {
  await page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), seconds * 1000);
}

/** The address of the source's list, relative to the multivariant list. */
async function sourceOf(playback: string): Promise<string> {
  const text = await (await fetch(`${playback}/manifest/video.m3u8`)).text();
  return text.split("\n").find((line) => line && !line.startsWith("#")) ?? "";
}

/** Resolves when a viewer can go back as far as this, in seconds. */
async function untilRange(opened: OpenPage, seconds: number): Promise<void> {
  await expect
    .poll(
      async () => {
        const { start, end } = await rangeOf(opened);
        return end - start;
      },
      { timeout: MINUTE, interval: 250 },
    )
    .toBeGreaterThan(seconds);
}

/** Resolves when the player is at this second. */
async function reach({ page }: OpenPage, second: number): Promise<void> {
  await page.waitForFunction((to) => document.querySelector("video")!.currentTime >= to, second, {
    timeout: MINUTE,
    polling: 100,
  });
}
