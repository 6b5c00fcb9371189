import type { Page } from "playwright-core";
import { readClock } from "./clock.ts";

interface Shown {
  /** The 40 blocks, "1" for white. */
  readonly bits: string;
  /** Epoch milliseconds at which the browser expects it on the screen. */
  readonly at: number;
}

/** Reads the blocks of every picture of the page's video from now on, in the page. */
export async function watchClock(page: Page): Promise<void> {
  await page.evaluate(() => {
    const player = document.querySelector("sluice-player")?.shadowRoot ?? document;
    const video = player.querySelector("video")!;
    const canvas = new OffscreenCanvas(10, 4);
    const pen = canvas.getContext("2d", { willReadFrequently: true })!;
    const shown: { bits: string; at: number }[] = [];
    (window as unknown as { shown: typeof shown }).shown = shown;
    const onFrame: VideoFrameRequestCallback = (_, { expectedDisplayTime }) => {
      pen.drawImage(video, 0, 0, 10, 4);
      const { data } = pen.getImageData(0, 0, 10, 4);
      let bits = "";
      for (let i = 0; i < data.length; i += 4) bits += data[i]! > 127 ? "1" : "0";
      shown.push({ bits, at: performance.timeOrigin + expectedDisplayTime });
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

/** From encoder to glass in ms, of each picture since `watchClock`; `unread` could not be read. `startedAt` is the publisher's. */
export async function delaysOf(
  page: Page,
  startedAt: number,
): Promise<{ readonly delays: readonly number[]; readonly unread: number }> {
  const shown = await page.evaluate(() => (window as unknown as { shown: Shown[] }).shown);
  const delays = shown.flatMap(({ bits, at }) => {
    const ms = readClock([...bits].map((bit) => (bit === "1" ? 255 : 0)));
    return ms === undefined ? [] : [at - startedAt - ms];
  });
  return { delays, unread: shown.length - delays.length };
}
