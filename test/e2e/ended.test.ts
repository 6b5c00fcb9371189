import { afterAll, beforeAll, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { ask } from "../support/api.ts";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { makeFlv } from "../support/flv.ts";
import { startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer } from "../support/viewer.ts";

const MINUTE = 60_000;
let sluice: Sluice;
let browser: OpenBrowser;

beforeAll(async () => {
  [sluice, browser] = await Promise.all([startSluice(), openBrowser()]);
}, MINUTE);
afterAll(async () => {
  await browser?.close();
  await sluice?.stop();
}, MINUTE);

test("who joined in the middle can seek to the beginning when the broadcast is over, on the same page", {
  timeout: 120_000,
}, async () => {
  const { tags } = await makeFlv({ seconds: 10, width: 320, height: 180, kbps: 300 });
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
  }
});

test("captions that are uploaded for the video are offered by its player, and shown at their time", {
  timeout: MINUTE,
}, async () => {
  const { http, uid } = sluice.ready;
  const { videoUID: video } = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as {
    videoUID: string;
  };
  const form = new FormData();
  const cues = "00:00.000 --> 00:02.000\nAt the <i>beginning</i>\n\n00:02.000 --> 00:20.000\nLater";
  form.set("file", new File([`WEBVTT\n\n${cues}\n`], "captions.vtt"));
  expect((await ask(sluice.ready, `PUT /${video}/captions/en`, form)).status).toBe(200);
  const { page, errors } = await browser.open(`${http}/${video}/iframe?autoplay=true&muted=true`);
  await untilState(page, ["playing"]);
  await page.getByRole("button", { name: "Captions (c)" }).waitFor({ state: "attached" });
  await page.keyboard.press("c");
  const shown = () =>
    page.evaluate(() => {
      const { media } = document.querySelector("sluice-player") as SluicePlayer;
      const [track] = [...media.textTracks].filter(({ mode }) => mode === "showing");
      const [cue] = track?.activeCues ?? [];
      return `${track?.label}: ${(cue as VTTCue | undefined)?.getCueAsHTML().textContent}`;
    });
  await expect.poll(shown, { timeout: 10_000 }).toBe("English: Later");
  await page.keyboard.press("Home");
  await expect.poll(shown, { timeout: 5_000 }).toBe("English: At the beginning");
  expect(errors).toEqual([]);
});
