import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type OpenBrowser, type OpenPage, openBrowser } from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import {
  figuresOf,
  type OutsideSite,
  openSite,
  players,
  rangeOf,
  seek,
  untilPlaying,
} from "../support/outside.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;

let sluice: Sluice;
let browser: OpenBrowser;
let site: OutsideSite;
let pages: OpenPage[] = [];
let encoder: Publisher | undefined;

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
  await encoder?.stop();
});

const dash = players.filter((player) => player !== "shaka-hls");

test.runIf(long)(
  "who watches by DASH goes back in what is on air, and has all of it without a reload when it ends",
  {
    timeout: 2 * MINUTE,
  },
  async () => {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    encoder = publish({ url: `${rtmp}/${streamKey}`, gop: 2 });
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

/** Resolves when the player is at this second. */
async function reach({ page }: OpenPage, second: number): Promise<void> {
  await page.waitForFunction((to) => document.querySelector("video")!.currentTime >= to, second, {
    timeout: MINUTE,
    polling: 100,
  });
}

async function untilLive(playback: string): Promise<void> {
  for (let now = "idle"; now !== "live"; )
    ({ status: now } = (await (await fetch(`${playback}/lifecycle?wait=${now}`)).json()) as {
      status: string;
    });
}
