import { setTimeout as wait } from "node:timers/promises";
import type { Page } from "playwright-core";
import type { FlvTag } from "../../services/packager/flv.ts";
import { type Seen, seen, untilState } from "./browser.ts";
import { startSender } from "./sender.ts";

export interface Drops {
  /** From the first part after each return being listed to its first picture on the screen. */
  readonly pictureMs: readonly number[];
  /** The page's player before the first drop and after the last. */
  readonly before: Seen;
  readonly after: Seen;
}

export interface DropOptions {
  /** Opens the page; called once the encoder is there. */
  readonly open: () => Promise<Page>;
  /** Base of the playback, e.g. http://127.0.0.1:8080/{uid}. */
  readonly playback: string;
  /** RTMP address with the stream key. */
  readonly url: string;
  readonly tags: readonly FlvTag[];
  /** How long each absence lasts. */
  readonly awaySeconds: readonly number[];
  /** How long the encoder stays between two. */
  readonly onSeconds: number;
  readonly onDrop?: (number: number, pictureMs: number) => void;
}

/** Lets an encoder vanish and come back, again and again, before one page that watches. */
export async function dropAgainAndAgain(options: DropOptions): Promise<Drops> {
  const { open, playback, url, tags, awaySeconds, onSeconds, onDrop } = options;
  let sender = await startSender(url, tags);
  try {
    await onAir(playback);
    const page = await open();
    await untilState(page, ["playing"]);
    await watchJumps(page);
    await wait(onSeconds * 1000);
    const before = await seen(page);
    const playlist = await follow(playback);
    const pictureMs: number[] = [];
    for (const away of awaySeconds) {
      const known = await playlist.discontinuities();
      await sender.drop();
      await wait(away * 1000);
      sender = await startSender(url, tags);
      const listedAt = await playlist.untilMediaAfter(known);
      const shownAt = await nextJump(page, pictureMs.length);
      pictureMs.push(Math.max(0, shownAt - listedAt));
      onDrop?.(pictureMs.length, pictureMs.at(-1)!);
      await wait(onSeconds * 1000);
    }
    return { pictureMs, before, after: await seen(page) };
  } finally {
    await sender.close();
  }
}

interface Jumps {
  readonly at: number[];
}

/** Notes, in the page, when the picture continues more than 0.3 s of media further on. */
async function watchJumps(page: Page): Promise<void> {
  await page.evaluate(() => {
    const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
    const jumps: Jumps = { at: [] };
    (window as unknown as { jumps: Jumps }).jumps = jumps;
    let last: number | undefined;
    const onFrame: VideoFrameRequestCallback = (_, { mediaTime, expectedDisplayTime }) => {
      if (last !== undefined && mediaTime - last > 0.3)
        jumps.at.push(performance.timeOrigin + expectedDisplayTime);
      last = mediaTime;
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

/** Epoch milliseconds of jump `index`; fails with what the player says when it does not come. */
async function nextJump(page: Page, index: number): Promise<number> {
  try {
    const handle = await page.waitForFunction(
      (i) => (window as unknown as { jumps: Jumps }).jumps.at[i],
      index,
      { timeout: 15_000, polling: 20 },
    );
    return (await handle.jsonValue())!;
  } catch {
    throw new Error(`no picture after drop ${index + 1}: ${JSON.stringify(await seen(page))}`);
  }
}

/** The video playlist, asked for as a low-latency client does. */
async function follow(playback: string) {
  const address = `${playback}/manifest/video.m3u8`;
  const multivariant = await (await fetch(address)).text();
  const uri = multivariant.split("\n").find((line) => line && !line.startsWith("#"));
  if (!uri) throw new Error(`nothing to play in ${multivariant}`);
  const at = new URL(uri, address);
  const read = async (query: string) => (await fetch(at.href + query)).text();
  const total = (text: string) =>
    Number(/#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0) +
    text.split("#EXT-X-DISCONTINUITY\n").length -
    1;
  return {
    discontinuities: async () => total(await read("")),
    /** Epoch milliseconds at which media is first listed behind a discontinuity that `known` does not count. */
    async untilMediaAfter(known: number): Promise<number> {
      let text = await read("");
      for (;;) {
        if (total(text) > known && hasMedia(text.split("#EXT-X-DISCONTINUITY\n").at(-1)!)) return Date.now();
        const last = [...text.matchAll(/#EXT-X-PART:.*URI="[^"]*?(\d+)\.(\d+)\.m4s"/g)].at(-1);
        if (!last) throw new Error(`no parts in ${text}`);
        text = await read(`?_HLS_msn=${last[1]}&_HLS_part=${Number(last[2]) + 1}`);
      }
    },
  };
}

/** Resolves when the playback has media. */
async function onAir(playback: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${playback}/lifecycle`);
    const { live } = (await response.json()) as { live: boolean };
    if (live) return;
    await wait(100);
  }
}

function hasMedia(text: string): boolean {
  return text.split("\n").some((line) => line.startsWith("#EXT-X-PART:") && !line.includes("GAP=YES"));
}
