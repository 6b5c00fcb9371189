import type { Page } from "playwright-core";
import { openBrowser, untilState } from "../support/browser.ts";
import { makeFlv } from "../support/flv.ts";
import { startSender } from "../support/sender.ts";
import { startSluice } from "../support/sluice.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const ROUNDS = 8;

/** From the first keyframe of a publish to the first part in a playlist and to the first picture in Chromium. */
export async function startup(_: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 10, width: 1280, height: 720, kbps: 3000 });
  const sluice = await startSluice();
  const browser = await openBrowser();
  const { rtmp, http, uid, streamKey } = sluice.ready;
  const listed: number[] = [];
  const waited: number[] = [];
  const joined: number[] = [];
  try {
    // The first round warms the code paths and is not counted.
    for (let round = 0; round <= ROUNDS; round++) {
      const waiting = await browser.open(`${http}/${uid}/iframe?autoplay=true`);
      await untilState(waiting.page, ["waiting", "ended"]);
      const picture = firstPicture(waiting.page);
      const part = firstPart(`${http}/${uid}`);
      const begun = Date.now();
      const sender = await startSender(`${rtmp}/${streamKey}`, made.tags);
      const partAt = await part;
      const pictureAt = await picture;
      const sentAt = sender.firstPictureAt ?? begun;

      const openedAt = Date.now();
      const late = await browser.open(`${http}/${uid}/iframe?autoplay=true`);
      const lateAt = await firstPicture(late.page);
      if (round > 0) {
        listed.push(partAt - sentAt);
        waited.push(pictureAt - sentAt);
        joined.push(lateAt - openedAt);
      }
      await sender.close();
      await untilState(waiting.page, ["ended"]);
      await late.close();
      await waiting.close();
    }
  } finally {
    await browser.close();
    await sluice.stop();
  }
  const [part, picture, join] = [spread(listed), spread(waited), spread(joined)];
  return {
    name: "startup",
    load: `720p30 at ${(made.bitsPerSecond / 1e6).toFixed(1)} Mb/s, ${ROUNDS} broadcasts after one of warm-up`,
    lines: [
      ["first keyframe sent -> first part listed", showSpread(part), "<= 650 ms"],
      ["first keyframe sent -> first picture, viewer waiting", showSpread(picture)],
      ["page opened on air -> first picture", showSpread(join)],
    ],
    figures: { rounds: ROUNDS, firstPartMs: part, firstPictureMs: picture, joinMs: join },
  };
}

/** Epoch milliseconds of the first picture that the page's player shows. */
function firstPicture(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
    if (video.getVideoPlaybackQuality().totalVideoFrames === 0 || video.ended) {
      const now = await new Promise<number>((resolve) => video.requestVideoFrameCallback(resolve));
      return performance.timeOrigin + now;
    }
    return Date.now();
  });
}

/** Epoch milliseconds at which a part is first seen in a playlist by a client that asks as early as it may. */
async function firstPart(base: string): Promise<number> {
  let status = ((await (await fetch(`${base}/lifecycle`)).json()) as { status: string }).status;
  while (status !== "live") {
    status = ((await (await fetch(`${base}/lifecycle?wait=${status}`)).json()) as { status: string }).status;
  }
  const address = `${base}/manifest/video.m3u8`;
  for (;;) {
    const multivariant = await fetch(address);
    const text = multivariant.status === 200 ? await multivariant.text() : "";
    const uri = text.split("\n").find((line) => line && !line.startsWith("#"));
    if (!uri) continue;
    const playlist = await (await fetch(new URL(`${uri}?_HLS_msn=0&_HLS_part=0`, address))).text();
    if (playlist.includes("#EXT-X-PART:")) return Date.now();
  }
}
