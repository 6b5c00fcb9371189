import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import type { Running } from "../../services/lib/lifecycle.ts";
import type { OpenBrowser, OpenPage } from "./browser.ts";

/** Players that others wrote, and what each of them is given to play. */
export const players = ["dash", "shaka", "shaka-hls"] as const;
export type OutsidePlayer = (typeof players)[number];

const require = createRequire(import.meta.url);
const scripts: Readonly<Record<OutsidePlayer, string>> = {
  dash: require.resolve("dashjs"),
  shaka: require.resolve("shaka-player/dist/shaka-player.compiled.js"),
  "shaka-hls": require.resolve("shaka-player/dist/shaka-player.compiled.js"),
};

/** What a player did since its page was opened. */
export interface Figures {
  readonly playing: boolean;
  readonly currentTime: number;
  /** Seconds behind live by the player's own account. */
  readonly latency: number | undefined;
  /** How often the picture stood still for more than a quarter of a second once it had begun, and for how long in all. */
  readonly stalls: number;
  readonly stalledMs: number;
  readonly width: number;
  readonly decodedFrames: number;
  readonly droppedFrames: number;
  /** What the player itself calls an error that it cannot get over. */
  readonly fatal: readonly string[];
  /** What it got over. */
  readonly noticed: readonly string[];
  readonly ended: boolean;
}

/** A site that embeds outside players, on a port of its own: another origin than the media's, as in real life. */
export interface OutsideSite extends Running {
  /** Plays `http://host:port/{uid}` in a page of its own; `dvr` asks for the broadcast so far. */
  open(
    browser: OpenBrowser,
    player: OutsidePlayer,
    playback: string,
    options?: { readonly dvr?: boolean },
  ): Promise<OpenPage>;
}

export async function openSite(): Promise<OutsideSite> {
  const server: Server = createServer(async (request, response) => {
    const [, player, file] = (request.url ?? "").split("?")[0]!.split("/");
    const known = players.find((one) => one === player);
    if (!known) return void response.writeHead(204).end();
    const script = file === "player.js";
    response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
    response.end(script ? await readFile(scripts[known]) : pageOf(known));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  return {
    closed,
    close() {
      server.close();
      server.closeAllConnections();
      return closed;
    },
    open(browser, player, playback, { dvr = false } = {}) {
      const play = `${playback}/manifest/${lists[player]}${dvr ? "?dvrEnabled=true" : ""}`;
      return browser.open(`http://127.0.0.1:${port}/${player}/?play=${encodeURIComponent(play)}`, {
        width: 640,
        height: 360,
      });
    },
  };
}

function pageOf(player: OutsidePlayer): string {
  return `<!doctype html><title>${player}</title><style>body{margin:0}video{width:640px}</style>
<video muted autoplay playsinline></video><script src="player.js"></script><script>(${watch.toString()})();(${start[player].toString()})();</script>`;
}

interface Outside {
  figures: {
    stalls: number;
    stalledMs: number;
    fatal: string[];
    noticed: string[];
    begun: boolean;
    ended: boolean;
  };
  latency: () => number | undefined;
  range: () => Range;
}

/** What can be seeked in, in seconds of the video element, and whether more comes. */
export interface Range {
  readonly start: number;
  readonly end: number;
  readonly live: boolean;
}

/** Runs in the page: looks ten times a second whether the picture moves. */
function watch(): void {
  const video = document.querySelector("video")!;
  const figures = { stalls: 0, stalledMs: 0, fatal: [], noticed: [], begun: false, ended: false };
  (window as unknown as { outside: Outside }).outside = {
    figures,
    latency: () => undefined,
    range: () => ({ start: 0, end: 0, live: true }),
  };
  video.addEventListener("ended", () => {
    figures.ended = true;
  });
  let last = 0;
  let still = 0;
  let at = performance.now();
  setInterval(() => {
    const now = performance.now();
    const passed = now - at;
    at = now;
    const { currentTime } = video;
    if (currentTime !== last) {
      if (last > 0) figures.begun = true;
      still = 0;
    } else if (figures.begun && !figures.ended) {
      const was = still;
      still += passed;
      if (still > 250) {
        if (was <= 250) figures.stalls++;
        figures.stalledMs += was <= 250 ? still : passed;
      }
    }
    last = currentTime;
  }, 100);
}

// biome-ignore lint/suspicious/noExplicitAny: the players are scripts of the page, not modules of ours
type Any = any;

/** What each plays of a playback. */
const lists: Readonly<Record<OutsidePlayer, string>> = {
  dash: "video.mpd",
  shaka: "video.mpd",
  "shaka-hls": "video.m3u8",
};

/** Runs in the page. */
function playInShaka(): void {
  const { outside, shaka } = window as Any;
  const video = document.querySelector("video")!;
  const url = new URLSearchParams(location.search).get("play");
  const player = new shaka.Player();
  outside.player = player;
  player.configure({
    streaming: { lowLatencyMode: true, liveSync: { enabled: true } },
  });
  player.addEventListener("error", ({ detail }: Any) => {
    const text = `${detail.severity === 2 ? "critical" : "recoverable"} ${detail.category}.${detail.code} ${detail.data}`;
    (detail.severity === 2 ? outside.figures.fatal : outside.figures.noticed).push(text);
  });
  player
    .attach(video)
    .then(() => player.load(url))
    .catch((error: unknown) => outside.figures.fatal.push(String(error)));
  // Of a manifest it reads ProducerReferenceTime as if there were no @presentationTimeOffset, and its dates follow from that.
  outside.latency = () =>
    url?.includes(".mpd")
      ? Date.now() / 1000 -
        player.getManifest().presentationTimeline.getPresentationStartTime() -
        video.currentTime
      : (Date.now() - player.getPlayheadTimeAsDate().getTime()) / 1000;
  outside.range = () => ({ ...player.seekRange(), live: player.isLive() });
}

/** Each runs in the page, with the settings that its makers give for low latency. */
const start: Readonly<Record<OutsidePlayer, () => void>> = {
  dash: () => {
    const { outside, dashjs } = window as Any;
    const url = new URLSearchParams(location.search).get("play");
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({
      streaming: { liveCatchup: { enabled: true } },
    });
    player.on(dashjs.MediaPlayer.events.ERROR, ({ error }: Any) => {
      outside.figures.fatal.push(`${error?.code ?? ""} ${error?.message ?? error}`);
    });
    player.initialize(document.querySelector("video"), url, true);
    outside.player = player;
    outside.latency = () => player.getCurrentLiveLatency();
    outside.range = () => {
      const { start, end } = player.getDvrWindow() ?? { start: 0, end: 0 };
      return { start, end, live: player.isDynamic() };
    };
  },
  shaka: playInShaka,
  "shaka-hls": playInShaka,
};

/** All that a viewer of an outside player gets at this moment. */
export function figuresOf({ page }: OpenPage): Promise<Figures> {
  return page.evaluate(() => {
    const { outside } = window as unknown as { outside: Outside };
    const video = document.querySelector("video")!;
    const quality = video.getVideoPlaybackQuality();
    const { begun, ...figures } = outside.figures;
    return {
      ...figures,
      playing: begun,
      currentTime: video.currentTime,
      latency: begun ? outside.latency() : undefined,
      width: video.videoWidth,
      decodedFrames: quality.totalVideoFrames,
      droppedFrames: quality.droppedVideoFrames,
    };
  });
}

/** What a viewer can seek in at this moment. */
export function rangeOf({ page }: OpenPage): Promise<Range> {
  return page.evaluate(() => (window as unknown as { outside: Outside }).outside.range());
}

/** Seeks as a viewer does, and resolves with where the picture moves then; fails with where it stands instead. */
export async function seek(opened: OpenPage, to: number, timeoutMs = 10_000): Promise<number> {
  const { page } = opened;
  await page.evaluate((time) => {
    const video = document.querySelector("video")!;
    video.currentTime = time;
    void video.play();
  }, to);
  const moved = await page
    .waitForFunction(
      (time) => {
        const video = document.querySelector("video")!;
        const near = Math.abs(video.currentTime - time) < 5;
        return near && !video.seeking && video.currentTime > time + 0.5 ? video.currentTime : undefined;
      },
      to,
      { timeout: timeoutMs, polling: 50 },
    )
    .catch(async () => {
      const stands = await page.evaluate(() => {
        const { currentTime, readyState, seeking, paused, buffered } = document.querySelector("video")!;
        const ranges = Array.from({ length: buffered.length }, (_, i) => [
          buffered.start(i),
          buffered.end(i),
        ]);
        return { currentTime, readyState, seeking, paused, ranges };
      });
      const what = {
        to,
        ...stands,
        ...(await rangeOf(opened)),
        ...(await figuresOf(opened)),
        errors: opened.errors,
      };
      throw new Error(`does not play from where it was sent: ${JSON.stringify(what)}`);
    });
  return (await moved.jsonValue())!;
}

/** Resolves when the picture moves; fails with what the player said instead. */
export async function untilPlaying(opened: OpenPage, timeoutMs = 20_000): Promise<void> {
  try {
    await opened.page.waitForFunction(
      () => (window as unknown as { outside: Outside }).outside.figures.begun,
      undefined,
      { timeout: timeoutMs, polling: 50 },
    );
  } catch {
    throw new Error(
      `does not play after ${timeoutMs} ms: ${JSON.stringify({ ...(await figuresOf(opened)), errors: opened.errors })}`,
    );
  }
}
