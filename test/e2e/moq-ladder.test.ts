import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { apiOf } from "../support/api.ts";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { sendMoqTo } from "../support/moq-line.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openUdpLink, type UdpLink } from "../support/udp-link.ts";

const MINUTE = 60_000;
const RATE = "2200k";
let sluice: Sluice;
let browser: OpenBrowser;
let encoder: Publisher;
let line: UdpLink;

beforeAll(async () => {
  [sluice, browser] = await Promise.all([
    startSluice({ env: { SLUICE_MOQ: "true", SLUICE_LADDER: "light" } }),
    openBrowser(),
  ]);
  const { rtmp, streamKey, uid } = sluice.ready;
  await apiOf(() => sluice.ready)(`PUT /live_inputs/${uid}`, { ladder: [{ height: 180, kbps: 250 }] });
  encoder = publish({
    url: `${rtmp}/${streamKey}`,
    size: "640x360",
    gop: 1,
    video: [
      ...["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"],
      ...["-b:v", RATE, "-minrate", RATE, "-maxrate", RATE, "-bufsize", "1100k"],
      ...["-x264-params", "nal-hrd=cbr", "-g", "30", "-keyint_min", "30", "-sc_threshold", "0"],
    ],
  });
  line = await openUdpLink({ to: (await wayTo(sluice.ready, uid)).port });
}, 2 * MINUTE);
afterAll(async () => {
  line?.close();
  await encoder?.stop();
  await browser?.close();
  await sluice?.stop();
}, MINUTE);

test("a line that becomes slow brings a smaller picture at once, over Media over QUIC still; a fast one the large picture again", {
  timeout: 3 * MINUTE,
}, async ({ onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log(), encoder.log()));
  const { page, close } = await browser.open("about:blank");
  onTestFailed(async () => console.error(JSON.stringify(await seen(page))));
  await sendMoqTo(page, line.port);
  await page.goto(`${sluice.ready.http}/${sluice.ready.uid}/watch`);
  await untilState(page, ["playing"]);
  await page.waitForFunction(
    () =>
      document.querySelector("sluice-player")!.shadowRoot!.querySelectorAll("#quality button").length === 4,
    undefined,
    { timeout: 20_000 },
  );
  await untilHeight(page, 360, 30_000);
  await watchFor(page, 3);
  line.limit(700);
  await untilHeight(page, 180, 10_000);
  const { before, after } = await watchFor(page, 6);
  expect(after.state).toBe("playing");
  expect(after.currentTime - before.currentTime).toBeGreaterThan(5);
  expect(after.stats).toMatchObject({ engine: "Media over QUIC", errors: [], warnings: [] });
  if (long) {
    line.limit(undefined);
    await untilHeight(page, 360, 2 * MINUTE);
    const again = await watchFor(page, 5);
    expect(again.after.currentTime - again.before.currentTime).toBeGreaterThan(4.5);
    expect(again.after.stats.stalls).toBe(again.before.stats.stalls);
  }
  await close();
});

test("whatever the line does and the viewer does meanwhile, he never stands still for good", {
  timeout: 4 * MINUTE,
}, async ({ onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log(), encoder.log()));
  const { page, close } = await browser.open("about:blank");
  onTestFailed(async () => console.error(JSON.stringify(await seen(page))));
  await sendMoqTo(page, line.port);
  await page.goto(`${sluice.ready.http}/${sluice.ready.uid}/watch?dvrEnabled=true`);
  await untilState(page, ["playing"]);
  await watchFor(page, 2);
  const tell = (does: "pause" | "play" | "back" | "live") =>
    page.evaluate((what) => {
      const player = document.querySelector("sluice-player") as SluicePlayer;
      if (what === "pause") player.pause();
      else if (what === "play") void player.play();
      else if (what === "live") player.goLive();
      else player.currentTime -= 6;
    }, does);
  const steps: readonly (() => Promise<void>)[] = [
    async () => {
      line.limit(500);
      await watchFor(page, 3);
      await tell("pause");
      await watchFor(page, 1);
      await tell("play");
    },
    async () => {
      line.limit(undefined);
      await tell("back");
      await watchFor(page, 1);
      line.limit(700);
      await watchFor(page, 2);
      await tell("back");
    },
    async () => {
      await tell("live");
      line.limit(undefined);
      await watchFor(page, 1);
      line.limit(600);
    },
    async () => {
      await tell("pause");
      line.limit(400);
      await tell("back");
      await watchFor(page, 2);
      await tell("play");
    },
  ];
  for (const step of long ? [...steps, ...steps.toReversed(), ...steps] : steps.slice(0, 2)) {
    await step();
    await untilMoving(page);
  }
  line.limit(undefined);
  await tell("live");
  await untilMoving(page);
  expect((await seen(page)).stats.errors).toEqual([]);
  await close();
});

/** Resolves when playback has gone on for two seconds in a row, of whatever picture. */
async function untilMoving(page: Page): Promise<void> {
  await page.evaluate(() => Object.assign(window, { moves: 0, lastAt: -1 }));
  await page.waitForFunction(
    () => {
      const { media } = document.querySelector("sluice-player") as SluicePlayer;
      const state = window as unknown as { moves: number; lastAt: number };
      // Jumps to what is live are no standstill.
      state.moves = !media.seeking && media.currentTime > state.lastAt ? state.moves + 1 : 0;
      state.lastAt = media.currentTime;
      return state.moves >= 10;
    },
    undefined,
    { timeout: 25_000, polling: 200 },
  );
}

/** Resolves when pictures of this height move. */
async function untilHeight(page: Page, height: number, timeout: number): Promise<void> {
  await page.evaluate(() => Object.assign(window, { lastAt: 0 }));
  await page.waitForFunction(
    (wanted) => {
      const { media } = document.querySelector("sluice-player") as SluicePlayer;
      const state = window as unknown as { lastAt: number };
      const moved = media.videoHeight === wanted && state.lastAt > 0 && media.currentTime > state.lastAt;
      state.lastAt = media.videoHeight === wanted ? media.currentTime : 0;
      return moved;
    },
    height,
    { timeout, polling: 50 },
  );
}
