import type { Page } from "playwright-core";
import { openBrowser, seen } from "../support/browser.ts";
import { linkOf } from "../support/link.ts";
import { lineFlags, sendMoqTo } from "../support/moq-line.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { startSluice } from "../support/sluice.ts";
import { openUdpLink } from "../support/udp-link.ts";
import { startSource } from "./moq-load.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const ROUNDS = 6;
const RTT_MS = 50;

/** From the address of a page to its first picture in Chromium, over lines with a round trip of 50 ms for HTTP and for QUIC. */
export async function moqStart(_: BenchOptions): Promise<Report> {
  const sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  const source = await startSource(sluice, { width: 640, height: 360, kbps: 700 });
  const browser = await openBrowser({ flags: lineFlags });
  const { http, uid } = sluice.ready;
  const cold: number[] = [];
  const returning: number[] = [];
  const engines = new Set<string>();
  const { port: to } = await wayTo(sluice.ready, uid!);
  const link = await openUdpLink({ to, rttMs: RTT_MS });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const { page, close } = await browser.open("about:blank", { width: 640, height: 360 });
      await (await linkOf(page))({ rttMs: RTT_MS });
      await sendMoqTo(page, link.port, RTT_MS);
      for (const times of [cold, returning]) {
        const openedAt = Date.now();
        await page.goto(`${http}/${uid}/iframe?autoplay=true&muted=true`, { waitUntil: "commit" });
        times.push((await firstPicture(page)) - openedAt);
        engines.add((await seen(page)).stats.engine ?? "none");
        await page.goto("about:blank");
      }
      // A lifecycle answer may be held.
      await page.unrouteAll({ behavior: "ignoreErrors" });
      await close();
    }
  } finally {
    await browser.close();
    await source.stop();
    await sluice.stop();
    link.close();
  }
  const [first, again] = [spread(cold), spread(returning)];
  return {
    name: "moq-start",
    load: `360p30 on air, ${ROUNDS} viewers of a new browser profile each, and once more`,
    lines: [
      [`page asked for -> first picture, cold, ${RTT_MS} ms round trip`, showSpread(first), "<= 1000 ms"],
      ["the same, returning", showSpread(again), "<= 500 ms"],
      ["engines", [...engines].join(", ")],
    ],
    figures: { rounds: ROUNDS, rttMs: RTT_MS, coldMs: first, returningMs: again, engines: [...engines] },
  };
}

/** Epoch milliseconds of the first picture that the page's player shows. */
async function firstPicture(page: Page): Promise<number> {
  await page.waitForFunction(
    () => document.querySelector("sluice-player")?.shadowRoot?.querySelector("video"),
    undefined,
    { polling: 10 },
  );
  return page.evaluate(async () => {
    const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
    if (video.getVideoPlaybackQuality().totalVideoFrames > 0) return Date.now();
    const now = await new Promise<number>((resolve) => video.requestVideoFrameCallback(resolve));
    return performance.timeOrigin + now;
  });
}
