import { expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { makeFlv } from "../support/flv.ts";
import { startSender } from "../support/sender.ts";
import { startSluice } from "../support/sluice.ts";
import { openViewer } from "../support/viewer.ts";

test("who joined in the middle can seek to the beginning when the broadcast is over, on the same page", {
  timeout: 120_000,
}, async () => {
  const { tags } = await makeFlv({ seconds: 10, width: 320, height: 180, kbps: 300 });
  const sluice = await startSluice();
  const browser = await openBrowser();
  const { rtmp, http, uid, streamKey } = sluice.ready;
  const sender = await startSender(`${rtmp}/${streamKey}`, tags);
  try {
    const viewer = await openViewer(`${http}/${uid}`);
    // More than the live window holds.
    await viewer.follow(
      "source",
      (_, listing) => Number(/MEDIA-SEQUENCE:(\d+)/.exec(listing)?.[1]) >= 5,
      40_000,
    );
    const { page } = await browser.open(`${http}/${uid}/iframe?autoplay=true`);
    await untilState(page, ["playing"]);
    const { after: live } = await watchFor(page, 1);
    await sender.close();
    await untilState(page, ["ended"], 20_000);
    const length = () => {
      const { timeline } = document.querySelector("sluice-player") as SluicePlayer;
      return timeline && !timeline.live ? timeline.end - timeline.start : 0;
    };
    expect(await page.evaluate(length)).toBeGreaterThan(20);
    const start = await page.evaluate(
      () => (document.querySelector("sluice-player") as SluicePlayer).timeline!.start,
    );
    await page.keyboard.press("Home");
    await untilState(page, ["playing"]);
    const { before, after } = await watchFor(page, 2);
    expect(before.currentTime).toBeLessThan(start + 5);
    expect(after.currentTime).toBeGreaterThan(before.currentTime + 1);
    expect(after).toMatchObject({ loadedAt: live.loadedAt, muted: live.muted });
    expect((await seen(page)).stats.errors).toEqual([]);
  } finally {
    await sender.close();
    await browser.close();
    await sluice.stop();
  }
});
