import { expect, test } from "vitest";
import { openBrowser } from "../support/browser.ts";
import { dropAgainAndAgain } from "../support/drops.ts";
import { makeFlv } from "../support/flv.ts";
import { startSluice } from "../support/sluice.ts";

// The hundred of them are `npm run bench -- drops`.
const AWAY_SECONDS = [1.2, 5];

test("an encoder that drops out again and again costs no reload and no error, and its picture is back at once", {
  timeout: 120_000,
}, async () => {
  const { tags } = await makeFlv({ seconds: 10, width: 640, height: 360, kbps: 800 });
  const sluice = await startSluice();
  const browser = await openBrowser();
  const { rtmp, http, uid, streamKey } = sluice.ready;
  const playback = `${http}/${uid}`;
  const errors: string[] = [];
  try {
    const { pictureMs, before, after } = await dropAgainAndAgain({
      open: async () => (await browser.open(`${playback}/iframe?autoplay=true`, { errors })).page,
      playback,
      url: `${rtmp}/${streamKey}`,
      tags,
      awaySeconds: AWAY_SECONDS,
      onSeconds: 4,
    });
    expect(pictureMs).toHaveLength(AWAY_SECONDS.length);
    expect(Math.max(...pictureMs)).toBeLessThan(1000);
    expect(after.loadedAt).toBe(before.loadedAt);
    expect(after.stats.errors).toEqual([]);
    expect(after.latency).toBeLessThan(3);
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
    await sluice.stop();
  }
});
