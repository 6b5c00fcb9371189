import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { apiOf } from "../support/api.ts";
import {
  type OpenBrowser,
  type OpenPage,
  openBrowser,
  seen,
  untilState,
  type Where,
  watchFor,
} from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { linkOf } from "../support/link.ts";
import { long } from "../support/long.ts";
import { type Premade, startPremade } from "../support/premade.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;

/** A small picture that takes its bits all the same, as a large one would: 1.5 Mb/s. */
const source = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"]
  .concat(["-b:v", "1500k", "-minrate", "1500k", "-maxrate", "1500k", "-bufsize", "750k"])
  .concat(["-x264-params", "nal-hrd=cbr", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0"]);
const rungs = [
  { height: 180, kbps: 400 },
  { height: 120, kbps: 150 },
];

describe("a person watches a ladder", { timeout: 2 * MINUTE }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let encoder: Publisher;
  let pages: OpenPage[] = [];

  beforeAll(async () => {
    sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
    await setLadder(sluice, rungs);
    browser = await openBrowser();
    encoder = onAir();
    await untilLadder(sluice, 2);
  }, 2 * MINUTE);
  afterAll(async () => {
    await browser?.close();
    await encoder?.stop();
    await sluice?.stop();
  }, MINUTE);
  beforeEach(({ onTestFailed }) => {
    onTestFailed(() => console.error(sluice.log(), encoder.log()));
  });
  afterEach(async () => {
    for (const page of pages) await page.close();
    pages = [];
  });

  function onAir(): Publisher {
    const url = `${sluice.ready.rtmp}/${sluice.ready.streamKey}`;
    return publish({ url, size: "448x252", rate: 25, gop: 2, video: source });
  }
  async function open(query = "autoplay=true"): Promise<OpenPage> {
    const opened = await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/iframe?${query}`, {
      width: 960,
      height: 540,
    });
    pages.push(opened);
    await untilState(opened.page, ["playing"]);
    return opened;
  }

  test("a slow line brings a smaller picture within four seconds and no stall, a fast one the large picture again", async () => {
    const { page } = await open();
    await untilHeight(page, 252);
    await watchFor(page, 4);
    const before = await seen(page);

    const shape = await linkOf(page);
    await shape({ kbps: 1000, rttMs: 40 });
    await untilBelow(page, 252, 4000);
    const { after: slow } = await watchFor(page, 8);
    expect(slow.height).toBeLessThan(252);
    expect(slow.stats.stalls).toBe(before.stats.stalls);

    await shape({});
    await untilHeight(page, 252, 40_000);
    const { after } = await watchFor(page, 4);
    expect(after.stats.stalls).toBe(before.stats.stalls);
    expect(after.stats.errors).toEqual([]);
    expect(after.loadedAt).toBe(before.loadedAt);
  });

  test("the menu is used with keys alone, and what was chosen outlives a reload and the encoder's absence", async () => {
    const { page, errors } = await open();
    await page.keyboard.press("q");
    const items = page.getByRole("menuitemradio");
    expect(await items.allTextContents()).toEqual(["Auto252p", "252p", "180p", "120p", "Audio only"]);
    for (const key of ["End", "ArrowUp", "Enter"]) await page.keyboard.press(key);
    await untilHeight(page, 120);
    expect(await page.getByRole("menu").count()).toBe(0);

    await page.reload();
    await untilState(page, ["playing"]);
    await untilHeight(page, 120);
    expect(await chosen(page)).toBe("120p");

    await encoder.kill();
    await untilState(page, ["reconnecting"]);
    encoder = onAir();
    await untilState(page, ["playing"]);
    await untilHeight(page, 120, 30_000);
    expect(await chosen(page)).toBe("120p");
    expect((await seen(page)).stats.errors).toEqual([]);
    expect(errors).toEqual([]);
  });

  test("sound alone is a choice, and the picture comes back from it", async () => {
    const { page, errors } = await open();
    await choose(page, "Audio only");
    await page.waitForFunction(() => {
      const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
      return video.readyState >= 3 && video.videoWidth === 0;
    });
    const { before, after } = await watchFor(page, 4);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(3);
    expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(await page.getByText("Audio only").first().isVisible()).toBe(true);

    await choose(page, "Auto");
    await untilHeight(page, 252, 20_000);
    await untilState(page, ["playing"]);
    const end = await seen(page);
    expect(end.latency).toBeLessThan(4);
    expect(end.stats).toMatchObject({ stalls: 0, errors: [] });
    expect(errors).toEqual([]);
  });
});

test.runIf(long)(
  "a rung in AV1 and one in VP9 play when a person chooses them, and Auto changes between codecs",
  {
    timeout: 2 * MINUTE,
  },
  async ({ onTestFailed }) => {
    const sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
    onTestFailed(() => console.error(sluice.log()));
    await setLadder(sluice, [
      { height: 144, codec: "av1", kbps: 200 },
      { height: 96, codec: "vp9", kbps: 150 },
    ]);
    const { rtmp, streamKey, http, uid } = sluice.ready;
    const encoder = publish({
      url: `${rtmp}/${streamKey}`,
      size: "448x252",
      rate: 25,
      gop: 2,
      video: source,
    });
    const browser = await openBrowser();
    try {
      await untilLadder(sluice, 2);
      const { page, errors } = await browser.open(`${http}/${uid}/iframe?autoplay=true`, {
        width: 960,
        height: 540,
      });
      await untilState(page, ["playing"]);
      // Nobody is kept from the source because it is in another codec.
      await untilHeight(page, 252);
      for (const height of [144, 96]) {
        await choose(page, `${height}p`);
        await untilHeight(page, height);
        const { before, after } = await watchFor(page, 4);
        expect(after).toMatchObject({ state: "playing", loadedAt: before.loadedAt });
        expect(after.currentTime - before.currentTime).toBeGreaterThan(3);
        expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(4 * 25 * 0.7);
        expect(after.stats.errors).toEqual([]);
      }
      await choose(page, "Auto");
      await untilHeight(page, 252, 20_000);
      expect((await seen(page)).stats).toMatchObject({ stalls: 0, errors: [] });
      expect(errors).toEqual([]);
    } finally {
      await browser.close();
      await encoder.stop();
      await sluice.stop();
    }
  },
);

describe("a machine gives up its top rung", { timeout: 2 * MINUTE }, () => {
  let premade: Premade;
  let browser: OpenBrowser;

  beforeAll(async () => {
    premade = await startPremade({ width: 448, height: 252, kbps: 1200 }, [
      { width: 320, height: 180, kbps: 500 },
      { width: 214, height: 120, kbps: 200 },
    ]);
    browser = await openBrowser();
  }, 2 * MINUTE);
  afterAll(async () => {
    await browser?.close();
    await premade?.close();
  }, MINUTE);

  test("who watches it goes on with another, and the menu offers it no more", async () => {
    const address = `${premade.playback}/iframe?autoplay=true`;
    // The frame is as large as the rung, and what is larger is not loaded for it; the other viewer has chosen it.
    const auto = await browser.open(address, { width: 320, height: 180 });
    const chose = await browser.open(address, { width: 960, height: 540 });
    for (const { page } of [auto, chose]) await untilState(page, ["playing"]);
    await choose(chose.page, "180p");
    for (const { page } of [auto, chose]) await untilHeight(page, 180);
    const before = await Promise.all([auto, chose].map(({ page }) => seen(page)));

    premade.drop(180);
    for (const [index, { page }] of [auto, chose].entries()) {
      await untilGone(page, "180p");
      const { before: gone, after } = await watchFor(page, 4);
      expect(after.state).toBe("playing");
      expect(after.currentTime - gone.currentTime).toBeGreaterThan(3);
      expect(Math.abs(after.height - 180)).toBeGreaterThan(4);
      // Half a second is left to play when the list says that the rung has stopped: a busy machine may need longer.
      expect(after.stats.stallSeconds - before[index]!.stats.stallSeconds).toBeLessThan(1);
      expect(after.stats.errors).toEqual([]);
      expect(after.loadedAt).toBe(before[index]!.loadedAt);
    }
    expect(await chosen(chose.page)).toBe("120p");
  });
});

test.runIf(long)(
  "a frame so small that it takes the lowest rung alone goes on with the source when that rung is given up",
  {
    timeout: 2 * MINUTE,
  },
  async () => {
    const premade = await startPremade({ width: 448, height: 252, kbps: 1200 }, [
      { width: 320, height: 180, kbps: 500 },
    ]);
    const browser = await openBrowser();
    try {
      const { page } = await browser.open(`${premade.playback}/iframe?autoplay=true`, {
        width: 300,
        height: 160,
      });
      await untilState(page, ["playing"]);
      await untilHeight(page, 180);
      const before = await seen(page);
      premade.drop(180);
      await untilHeight(page, 252);
      const { before: gone, after } = await watchFor(page, 4);
      expect(after.state).toBe("playing");
      expect(after.height).toBe(252);
      expect(after.currentTime - gone.currentTime).toBeGreaterThan(3);
      expect(after.stats.errors).toEqual([]);
      expect(after.loadedAt).toBe(before.loadedAt);
    } finally {
      await browser.close();
      await premade.close();
    }
  },
);

/** Resolves when the menu lists qualities, and not this one. */
async function untilGone(where: Where, name: string): Promise<void> {
  await where.waitForFunction(
    (gone) => {
      const root = document.querySelector("sluice-player")!.shadowRoot!;
      const names = [...root.querySelectorAll("#quality [role=menuitemradio] span")];
      return names.length > 0 && names.every(({ textContent }) => textContent !== gone);
    },
    name,
    { timeout: MINUTE },
  );
}

/** Picks `name` in the menu with the mouse. */
async function choose(page: OpenPage["page"], name: string): Promise<void> {
  // The controls come when the mouse moves.
  await page.mouse.move(100, 200);
  await page.mouse.move(120, 220);
  await page.getByRole("button", { name: /^Quality/ }).click();
  await page.getByRole("menuitemradio", { name, exact: name !== "Auto" }).click();
}

/** The label of the item that the menu has checked. */
function chosen(where: Where): Promise<string> {
  return where.evaluate(() => {
    const player = document.querySelector("sluice-player") as SluicePlayer;
    const item = player.shadowRoot!.querySelector("#quality [aria-checked=true] span");
    return item?.textContent ?? "";
  });
}

/** Resolves when the picture is less than `height` high. */
async function untilBelow(where: Where, height: number, timeoutMs: number): Promise<void> {
  await where.waitForFunction(
    (most) => document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!.videoHeight < most,
    height,
    { timeout: timeoutMs, polling: 50 },
  );
}

/** Resolves when the picture is `height` high, give or take what an encoder rounds; fails with what it was instead. */
async function untilHeight(where: Where, height: number, timeoutMs = 15_000): Promise<void> {
  try {
    await where.waitForFunction(
      (wanted) => {
        const { videoHeight } = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
        return Math.abs(videoHeight - wanted) <= 4;
      },
      height,
      { timeout: timeoutMs, polling: 50 },
    );
  } catch {
    throw new Error(`not ${height} high after ${timeoutMs} ms: ${JSON.stringify(await seen(where))}`);
  }
}

async function setLadder({ ready }: Sluice, ladder: unknown): Promise<void> {
  await apiOf(() => ready)(`PUT /live_inputs/${ready.uid}`, { ladder });
}

/** Resolves when each of the `count` rungs has media; its playlist is held until then. */
async function untilLadder({ ready }: Sluice, count: number): Promise<void> {
  const address = `${ready.http}/${ready.uid}/manifest/video.m3u8`;
  for (;;) {
    const lines = (await (await fetch(address)).text()).split("\n");
    const own = lines.filter((line) => /^[^#].*\/\d+p\w*\.m3u8/.test(line));
    if (own.length === count) {
      for (const uri of own) expect((await fetch(new URL(uri, address))).status).toBe(200);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
