import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { readRunning } from "../../services/supervisor/place.ts";
import { findFfmpeg } from "../../services/supervisor/programs.ts";
import { descendants } from "../bench/processes.ts";
import { type OpenBrowser, openBrowser, seen, untilState } from "./browser.ts";
import { type Publisher, publish } from "./ffmpeg.ts";
import { type Sluice, startSluice } from "./sluice.ts";
import { openViewer } from "./viewer.ts";

/** What is done to whoever writes the rung that a viewer watches. */
export type Blow = "kill the worker" | "kill ffmpeg" | "stop the worker" | "kill Redis" | "drain the worker";

/** What one blow cost. */
export interface Cost {
  /** From the blow to the first part of the rung that is listed again; 0 where none was missing. */
  readonly backMs: number;
  /** Longest time that one picture stood on the screen, up to the next blow. */
  readonly stallMs: number;
}

export interface Scene {
  strike(blow: Blow): Promise<Cost>;
  /** What no viewer may see: reloads of the page, numbers that go backwards, errors. */
  faults(): Promise<readonly string[]>;
  /** Streams of writers of the past that the origin has refused. */
  refused(): Promise<number>;
  close(): Promise<void>;
}

const rung = { name: "360p", width: 576, height: 360 };
/** No picture changes as slowly as this where all is well: more than seven frames are missing. */
const stallMs = 250;
const redisAwayMs = 10_000;
/** How long a viewer has to come back to the rung, and what it settles for before the next blow. */
const backMs = 30_000;
const settleMs = 3_000;

/** Sluice on air with a ladder, and one Chromium whose player is so small that it watches a rung. With `workers` of two, one is elsewhere. */
export async function openScene({ workers }: { readonly workers: 1 | 2 }): Promise<Scene> {
  const sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
  const { rtmp, streamKey, http, uid } = sluice.ready;
  const publisher: Publisher = publish({ url: `${rtmp}/${streamKey}`, size: "640x400", gop: 2 });
  let other = workers === 2 ? await secondWorker(sluice) : undefined;
  const follower = await followRung(`${http}/${uid}`);
  const browser: OpenBrowser = await openBrowser();
  const { page, errors } = await browser.open(`${http}/${uid}/iframe?autoplay=true&muted=true`, rung);
  await untilState(page, ["playing"]);
  await watchPicture(page);
  const { loadedAt } = await seen(page);

  /** The process that encodes, and its ffmpeg. */
  function writer(): { worker: number; ffmpeg: number } {
    for (const worker of [...descendants(sluice.pid, "role worker"), other?.pid ?? 0])
      for (const ffmpeg of worker ? descendants(worker, "-force_key_frames") : []) return { worker, ffmpeg };
    throw new Error("nobody encodes");
  }

  async function blowTo(blow: Blow): Promise<() => void> {
    const { worker, ffmpeg } = writer();
    if (blow === "kill Redis") {
      await keepDown(() => descendants(sluice.pid, "redis-server"), redisAwayMs);
      return () => undefined;
    }
    if (blow === "kill ffmpeg") process.kill(ffmpeg, "SIGKILL");
    if (blow === "kill the worker") process.kill(worker, "SIGKILL");
    if (blow === "drain the worker") process.kill(worker, "SIGTERM");
    if (blow === "stop the worker") process.kill(worker, "SIGSTOP");
    return () => {
      if (blow === "stop the worker") process.kill(worker, "SIGCONT");
    };
  }

  return {
    async strike(blow) {
      await watching(page);
      await mark(page);
      const struck = Date.now();
      const undo = await blowTo(blow);
      const gapless = blow === "kill Redis" || blow === "drain the worker";
      const back = gapless ? struck : await follower.backAfter(struck);
      undo();
      await watching(page);
      await settle(page);
      if (other && (other.exitCode !== null || other.signalCode !== null)) other = await secondWorker(sluice);
      return {
        backMs: Math.max(follower.longestHole(struck), back - struck),
        stallMs: await longestStall(page),
      };
    },
    async faults() {
      const { loadedAt: now, stats } = await seen(page);
      return [
        ...(now === loadedAt ? [] : ["the page was loaded again"]),
        ...follower.faults,
        ...stats.errors.map(String),
        ...errors,
      ];
    },
    async refused() {
      const text = await (await fetch(`${sluice.ready.metrics}/metrics`)).text();
      return Number(/^sluice_rung_streams_refused_total\S* (\d+)/m.exec(text)?.[1] ?? 0);
    },
    async close() {
      follower.close();
      await browser.close();
      await publisher.stop();
      if (other && other.exitCode === null && other.signalCode === null) {
        const gone = once(other, "exit");
        other.kill("SIGTERM");
        await gone;
      }
      await sluice.stop();
    },
  };
}

/** A worker beside the one that Sluice runs, on the same queue. */
async function secondWorker(sluice: Sluice): Promise<ChildProcess> {
  const redis = `unix:${join(readRunning(sluice.dataDir)!.runtime, "redis.sock")}`;
  const file = fileURLToPath(new URL("worker-child.ts", import.meta.url));
  const child = fork(file, [redis, findFfmpeg()!, "1"], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  await once(child, "message");
  return child;
}

/** Kills whatever `find` finds, again and again. */
async function keepDown(find: () => readonly number[], ms: number): Promise<void> {
  const until = Date.now() + ms;
  while (Date.now() < until) {
    for (const pid of find()) process.kill(pid, "SIGKILL");
    await pause(50);
  }
}

interface RungFollower {
  /** When a part was first listed that is no gap, behind one that is, after `sinceMs`. */
  backAfter(sinceMs: number): Promise<number>;
  /** Milliseconds of the longest hole that was listed since then. */
  longestHole(sinceMs: number): number;
  readonly faults: readonly string[];
  close(): void;
}

/** Reads the rung's playlist as a low-latency player does, for as long as it lasts. */
async function followRung(playback: string): Promise<RungFollower> {
  const viewer = await openViewer(playback);
  const address = viewer.renditions.get(rung.name)!;
  const stop = new AbortController();
  const faults: string[] = [];
  /** Holes in what is listed: when the first media behind one was there. */
  const holes: { at: number; ms: number }[] = [];
  const waiting = new Set<() => void>();
  let [sequence, newest] = [0, 0];
  let holeMs = 0;
  const take = (text: string) => {
    const first = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
    if (first < sequence) faults.push(`media sequence ${sequence} is followed by ${first}`);
    sequence = Math.max(sequence, first);
    const last = lastOf(text);
    if (last < newest) faults.push(`part ${newest} is followed by ${last}`);
    // A part at a time: the request was held for exactly this one.
    for (const part of partsOf(text).filter(({ id }) => id > newest)) {
      if (part.gap) holeMs += part.seconds * 1000;
      else if (holeMs > 0) {
        holes.push({ at: Date.now(), ms: holeMs });
        holeMs = 0;
        for (const wake of waiting) wake();
      }
      newest = part.id;
    }
    newest = Math.max(newest, last);
  };
  const run = async () => {
    for (let query = ""; !stop.signal.aborted; ) {
      try {
        const response = await fetch(address + query, { signal: stop.signal });
        const text = await response.text();
        if (response.status !== 200) {
          query = "";
          continue;
        }
        take(text);
        query = nextOf(text);
      } catch {
        if (!stop.signal.aborted) await pause(100);
      }
    }
  };
  void run();
  return {
    faults,
    backAfter(sinceMs) {
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error("the rung does not come back")), backMs);
        const look = () => {
          const hole = holes.find(({ at }) => at > sinceMs);
          if (!hole) return;
          clearTimeout(late);
          waiting.delete(look);
          resolve(hole.at);
        };
        waiting.add(look);
        look();
      });
    },
    longestHole: (sinceMs) => Math.max(0, ...holes.filter(({ at }) => at > sinceMs).map(({ ms }) => ms)),
    close: () => stop.abort(),
  };
}

/** Parts in their order: a thousand for each segment. */
function partsOf(text: string): { id: number; seconds: number; gap: boolean }[] {
  const parts: { id: number; seconds: number; gap: boolean }[] = [];
  let number = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  let index = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith("#EXT-X-PART:"))
      parts.push({
        id: number * 1000 + index++,
        seconds: Number(/DURATION=([\d.]+)/.exec(line)![1]),
        gap: line.includes("GAP=YES"),
      });
    if (line.startsWith("#EXTINF:")) {
      number++;
      index = 0;
    }
  }
  return parts;
}

const lastOf = (text: string) => partsOf(text).at(-1)?.id ?? 0;

function nextOf(text: string): string {
  const first = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  const complete = text.match(/^#EXTINF:/gm)?.length ?? 0;
  const open = text.slice(text.lastIndexOf("#EXTINF:")).match(/^#EXT-X-PART:/gm)?.length ?? 0;
  return `?_HLS_msn=${first + complete}&_HLS_part=${open}`;
}

interface Picture {
  last: number;
  longest: number;
}
type Window = { picture: Picture };

/** Notes, in the page, how long each picture stands. */
async function watchPicture(page: Page): Promise<void> {
  await page.evaluate(() => {
    const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
    const picture: Picture = { last: performance.now(), longest: 0 };
    (window as unknown as Window).picture = picture;
    const onFrame: VideoFrameRequestCallback = (now) => {
      picture.longest = Math.max(picture.longest, now - picture.last);
      picture.last = now;
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

const mark = (page: Page) =>
  page.evaluate(() => {
    (window as unknown as Window).picture.longest = 0;
  });

async function longestStall(page: Page): Promise<number> {
  const longest = await page.evaluate(() => (window as unknown as Window).picture.longest);
  return longest < stallMs ? 0 : Math.round(longest);
}

/** Resolves when the rung is on the screen and moves. */
async function watching(page: Page): Promise<void> {
  try {
    await page.waitForFunction(
      (height) => {
        const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
        const { last } = (window as unknown as Window).picture;
        return video.videoHeight === height && performance.now() - last < 200;
      },
      rung.height,
      { timeout: backMs, polling: 50 },
    );
  } catch {
    throw new Error(`the viewer does not watch ${rung.name}: ${JSON.stringify(await seen(page))}`);
  }
}

/** What a blow sets off takes a moment to reach the screen: viewers hold back. */
const settle = (page: Page) => page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), settleMs);

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
