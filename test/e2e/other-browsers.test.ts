import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { soakSeconds } from "../support/long.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import {
  firefoxPaths,
  installed,
  type OtherBrowser,
  openFirefox,
  openWebkit,
  webkitPaths,
  xvfbPaths,
} from "../support/webdriver.ts";

const browsers: {
  name: string;
  program: string | undefined;
  open(program: string): Promise<OtherBrowser>;
}[] = [
  { name: "Firefox", program: installed(firefoxPaths), open: openFirefox },
  { name: "WebKitGTK", program: installed(xvfbPaths) && installed(webkitPaths), open: openWebkit },
];

describe("a person watches with another browser", () => {
  let sluice: Sluice;
  let encoder: Publisher;
  beforeAll(async () => {
    sluice = await startSluice();
    encoder = publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, size: "640x360", gop: 2 });
  });
  afterAll(async () => {
    await encoder?.stop();
    await sluice?.stop();
  });

  for (const { name, program, open } of browsers)
    test.skipIf(!program).concurrent(
      `${name} plays near the live edge without a stall`,
      {
        timeout: 90_000 + soakSeconds * 1000,
      },
      async () => {
        const browser = await open(program!);
        try {
          await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/iframe?autoplay=true&muted=true`);
          await browser.evaluate(untilPlaying, 30_000);
          const before = await browser.evaluate(look);
          await browser.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), soakSeconds * 1000);
          const after = await browser.evaluate(look);
          expect(after.state).toBe("playing");
          expect(after.time - before.time).toBeGreaterThan(soakSeconds * 0.9);
          expect(after.latency).toBeLessThan(3);
          expect(after.stats.decodedFrames).toBeGreaterThan(before.stats.decodedFrames);
          expect(after.stats).toMatchObject({ stalls: 0, interruptions: 0, errors: [] });
        } finally {
          await browser.close();
        }
      },
    );
});

// These run in the page: nothing from here is in their reach.

function look() {
  const player = document.querySelector("sluice-player") as SluicePlayer;
  const { currentTime } = player.shadowRoot!.querySelector("video")!;
  return { state: player.state, latency: player.latency, stats: player.stats, time: currentTime };
}

function untilPlaying(withinMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const began = Date.now();
    const timer = setInterval(() => {
      const state = (document.querySelector("sluice-player") as SluicePlayer | null)?.state;
      if (state !== "playing" && Date.now() - began < withinMs) return;
      clearInterval(timer);
      if (state === "playing") resolve();
      else reject(new Error(`it is ${state} after ${withinMs} ms`));
    }, 50);
  });
}
