import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type OpenBrowser, type OpenPage, openBrowser } from "../support/browser.ts";
import { type ClockPublisher, publishClock } from "../support/clock-publisher.ts";
import { figuresOf, type OutsideSite, openSite, players, untilPlaying } from "../support/outside.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;

describe("players that others wrote", { timeout: 2 * MINUTE }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let site: OutsideSite;
  let pages: OpenPage[] = [];
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
  });

  test.for(players)("%s plays near the live edge without a stall", async (player) => {
    const { http, uid, rtmp, streamKey } = sluice.ready;
    publisher = publishClock({ url: `${rtmp}/${streamKey}` });
    await onAir(`${http}/${uid}`);
    const opened = await site.open(browser, player, `${http}/${uid}`);
    pages.push(opened);
    await untilPlaying(opened);
    const before = await figuresOf(opened);
    await opened.page.evaluate(() => new Promise((done) => setTimeout(done, 20_000)));
    const after = await figuresOf(opened);
    console.log(`${player}: ${after.latency?.toFixed(2)} s behind live, ${after.stalls} stalls`);
    expect(after).toMatchObject({ stalls: 0, fatal: [], noticed: [], ended: false, width: 640 });
    expect(after.currentTime - before.currentTime).toBeGreaterThan(18);
    expect(after.latency).toBeLessThan(4);
    expect(opened.errors).toEqual([]);
  });
});

async function onAir(playback: string): Promise<void> {
  for (let status = "idle"; status !== "live"; ) {
    const answer = await fetch(`${playback}/lifecycle?wait=${status}`);
    ({ status } = (await answer.json()) as { status: string });
  }
}
