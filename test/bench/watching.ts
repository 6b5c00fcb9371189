import type { SluicePlayer } from "../../player/player.ts";
import { openBrowser, untilState } from "../support/browser.ts";
import { type OutsidePlayer, openSite, untilPlaying } from "../support/outside.ts";

export interface Whole {
  readonly player: string;
  /** From the end of the broadcast to all of it being there to seek in. */
  readonly ms: number;
  /** How often the player asks for its list. */
  readonly intervalMs: number;
}

/** Longest that a player may take before it counts as one that never does. */
const longestMs = 20_000;

/** Players that watch `playback`, each in a page of its own; `end` ends the broadcast, which has `seconds` by then. */
export async function watching(
  playback: string,
  { seconds, end }: { readonly seconds: number; readonly end: () => Promise<void> },
): Promise<readonly Whole[]> {
  const browser = await openBrowser();
  const site = await openSite();
  try {
    const own = await browser.open(`${playback}/iframe?autoplay=true&muted=true`);
    await untilState(own.page, ["playing"], 30_000);
    const others: readonly [string, OutsidePlayer, "HLS" | "DASH"][] = [
      // It adds nothing before the segments that it began with, so it is given the broadcast so far.
      ["Shaka, HLS with DVR", "shaka-hls", "HLS"],
      ["Shaka, DASH", "shaka", "DASH"],
      ["dash.js", "dash", "DASH"],
    ];
    const pages = [];
    for (const [player, name, kind] of others) {
      const opened = await site.open(browser, name, playback, { dvr: name === "shaka-hls" });
      await untilPlaying(opened, 30_000);
      pages.push({ player, kind, opened });
    }
    const manifest = await (await fetch(`${playback}/manifest/video.mpd`)).text();
    const update = Number(/minimumUpdatePeriod="PT([\d.]+)S"/.exec(manifest)?.[1] ?? 0);
    const shown = Math.floor(seconds * 0.9);
    const from = Date.now();
    const waits = [
      own.page
        .waitForFunction(
          (least) => {
            const { timeline } = document.querySelector("sluice-player") as SluicePlayer;
            return timeline && !timeline.live && timeline.end - timeline.start >= least && Date.now();
          },
          shown,
          { timeout: longestMs, polling: 20 },
        )
        .then((at) => ({ player: "hls.js", kind: "HLS" as const, at })),
      ...pages.map(({ player, kind, opened }) =>
        opened.page
          .waitForFunction(
            (least) => {
              const { outside } = window as unknown as {
                outside: { range: () => { start: number; end: number; live: boolean } };
              };
              const { start, end, live } = outside.range();
              return !live && end - start >= least && Date.now();
            },
            shown,
            { timeout: longestMs, polling: 20 },
          )
          .then((at) => ({ player, kind, at })),
      ),
    ];
    await end();
    return await Promise.all(
      waits.map(async (one) => {
        const { player, kind, at } = await one;
        const ms = Number(await at.jsonValue()) - from;
        // A held HLS playlist is answered when it changes.
        return { player, ms, intervalMs: kind === "DASH" ? update * 1000 : 0 };
      }),
    );
  } finally {
    await browser.close();
    await site.close();
  }
}
