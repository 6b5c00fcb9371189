import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import {
  type OpenBrowser,
  type OpenPage,
  openBrowser,
  seen,
  untilState,
  watchFor,
} from "../support/browser.ts";
import { type Premade, startPremade } from "../support/premade.ts";

const MINUTE = 60_000;
let premade: Premade;
let browser: OpenBrowser;
let opened: OpenPage | undefined;

beforeAll(async () => {
  premade = await startPremade({ width: 320, height: 180, kbps: 400 }, []);
  browser = await openBrowser();
}, MINUTE);
afterAll(async () => {
  await browser?.close();
  await premade?.close();
}, MINUTE);
afterEach(() => opened?.close());

async function open(query: string) {
  opened = await browser.open(`${premade.playback}/iframe?autoplay=true&${query}`, {
    width: 640,
    height: 360,
  });
  await untilState(opened.page, ["playing"]);
  return opened;
}
/** Seconds behind where live playback sits, as the bar says it. */
function behind(page: OpenPage["page"]): Promise<number> {
  return page.evaluate(() => {
    const player = document.querySelector("sluice-player") as SluicePlayer;
    const at = player.shadowRoot!.querySelector("video")!.currentTime;
    return (player.timeline?.end ?? Number.NaN) - at;
  });
}

test("with DVR a viewer goes back and forth and to live again, by keys and by the button", async () => {
  const { page, errors } = await open("dvrEnabled=true");
  const bar = page.getByRole("slider", { name: "Seek" });
  await bar.waitFor({ state: "attached" });
  // Two more segments, so that there is somewhere to go.
  await watchFor(page, 5);
  expect(await bar.getAttribute("aria-valuetext")).toBe("live");

  await page.keyboard.press("ArrowLeft");
  await watchFor(page, 2);
  const back = await behind(page);
  expect(back).toBeGreaterThan(3);
  expect(back).toBeLessThan(8);
  expect(await bar.getAttribute("aria-valuetext")).toMatch(/^\d seconds behind live$/);
  expect((await seen(page)).state).toBe("playing");

  await page.keyboard.press("End");
  await watchFor(page, 2);
  expect(await behind(page)).toBeLessThan(3);

  await page.keyboard.press("Home");
  await watchFor(page, 1);
  expect(await behind(page)).toBeGreaterThan(5);
  await page.mouse.move(100, 100);
  await page.mouse.move(120, 120);
  await page.getByRole("button", { name: "Go to live (l)" }).click();
  const { before, after } = await watchFor(page, 3);
  expect(await behind(page)).toBeLessThan(3);
  expect(after.currentTime - before.currentTime).toBeGreaterThan(2);
  expect(after.state).toBe("playing");
  expect(after.stats.errors).toEqual([]);
  expect(errors).toEqual([]);
});

test("without DVR there is no bar, and the keys for it scroll the page as ever", async () => {
  const { page } = await open("dvrEnabled=false");
  await watchFor(page, 1);
  expect(await page.getByRole("slider", { name: "Seek" }).count()).toBe(0);
  const before = await behind(page);
  await page.keyboard.press("ArrowLeft");
  await watchFor(page, 1);
  expect(before).toBeNaN();
  expect((await seen(page)).latency).toBeLessThan(4);
});

test("captions are offered once there are any, shown and hidden by key and menu, and remembered", async () => {
  const { page, errors } = await open("defaultTextTrack=de");
  const button = page.getByRole("button", { name: "Captions (c)" });
  expect(await button.count()).toBe(0);
  const modes = () =>
    page.evaluate(() =>
      [...document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!.textTracks].map(
        ({ mode }) => mode,
      ),
    );
  // As hls.js adds them when a playlist or a picture has some.
  await page.evaluate(() => {
    const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
    for (const [language, label] of [
      ["en", "English"],
      ["de", "Deutsch"],
    ]) {
      const track = document.createElement("track");
      Object.assign(track, { kind: "subtitles", srclang: language, label, src: "data:,WEBVTT" });
      video.append(track);
    }
  });
  await button.waitFor({ state: "attached" });
  expect(await modes()).toEqual(["disabled", "showing"]);
  await page.keyboard.press("c");
  expect(await modes()).toEqual(["disabled", "disabled"]);

  await page.mouse.move(100, 100);
  await page.mouse.move(120, 120);
  await button.click();
  const items = page.getByRole("menuitemradio");
  expect(await items.allTextContents()).toEqual(["Off", "English", "Deutsch"]);
  await items.nth(1).click();
  expect(await modes()).toEqual(["showing", "disabled"]);
  for (const mode of ["disabled", "showing"]) {
    await page.keyboard.press("c");
    expect((await modes())[0]).toBe(mode);
  }
  expect(errors).toEqual([]);
});
