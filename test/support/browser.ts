import { accessSync, constants } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import type { SluicePlayer } from "../../player/player.ts";
import type { Running } from "../../services/lib/lifecycle.ts";

/** Where the package managers and the vendors put Chromium; SLUICE_CHROMIUM goes first. */
const PLACES = [
  process.env.SLUICE_CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/snap/bin/chromium",
  "/opt/homebrew/bin/chromium",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** The path of an installed Chromium; throws with the command to type when there is none. */
function findChromium(): string {
  for (const path of PLACES) {
    try {
      if (path) accessSync(path, constants.X_OK);
      if (path) return path;
    } catch {}
  }
  throw new Error("Chromium is not installed: apt-get install chromium, or brew install chromium");
}

export interface OpenPage {
  readonly page: Page;
  /** What the page wrote to its console as an error, or threw. */
  readonly errors: string[];
  close(): Promise<void>;
}

export interface OpenBrowser extends Running {
  /** Opens `url` in a profile of its own: no cache, no storage of an earlier page. `errors` is where errors go. */
  open(url: string, options?: { width?: number; height?: number; errors?: string[] }): Promise<OpenPage>;
  /** Ends every page that a test has left open. */
  closePages(): Promise<void>;
}

/** A headless Chromium with its default autoplay policy: what a viewer's browser does, not what a test would like. */
export async function openBrowser({
  flags = [],
  strict = false,
}: {
  readonly flags?: readonly string[];
  /** Certificates are checked as for a viewer. */
  readonly strict?: boolean;
} = {}): Promise<OpenBrowser> {
  const browser: Browser = await chromium.launch({
    executablePath: findChromium(),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // Pages under test are never in front of anyone.
      "--disable-background-timer-throttling",
      "--disable-backgrounding-occluded-windows",
      "--disable-renderer-backgrounding",
      ...flags,
    ],
    // Playwright's own list turns autoplay rules off, mutes the sound device and knows no QUIC.
    ignoreDefaultArgs: ["--autoplay-policy=user-gesture-required", "--mute-audio", "--disable-quic"],
  });
  const closed = Promise.withResolvers<void>();
  browser.on("disconnected", () => closed.resolve());
  return {
    closed: closed.promise,
    async close() {
      await browser.close();
      await closed.promise;
    },
    async open(url, { width = 1280, height = 720, errors = [] } = {}) {
      const context = await browser.newContext({ viewport: { width, height }, ignoreHTTPSErrors: !strict });
      const page = await context.newPage();
      page.on("console", (message) => {
        if (message.type() === "error") errors.push(`${message.text()} ${message.location().url}`.trim());
      });
      page.on("pageerror", (error) => errors.push(error.message));
      await page.goto(url, { waitUntil: "domcontentloaded" });
      return { page, errors, close: () => context.close() };
    },
    async closePages() {
      for (const context of browser.contexts()) await context.close();
    },
  };
}

export interface Seen {
  readonly state: SluicePlayer["state"];
  readonly latency: number | undefined;
  readonly stats: SluicePlayer["stats"];
  readonly currentTime: number;
  readonly paused: boolean;
  readonly muted: boolean;
  readonly width: number;
  readonly height: number;
  readonly text: string;
  /** Survives for as long as the document: a reload makes a new one. */
  readonly loadedAt: number;
}

/** A page or a frame of one: what holds the document with the player. */
export type Where = Pick<Page, "evaluate" | "waitForFunction">;

/** All that a viewer of the page's player gets at this moment. */
export function seen(where: Where): Promise<Seen> {
  return where.evaluate(() => {
    const player = document.querySelector("sluice-player") as SluicePlayer;
    const root = player.shadowRoot!;
    const video = root.querySelector("video")!;
    return {
      state: player.state,
      latency: player.latency,
      stats: player.stats,
      currentTime: video.currentTime,
      paused: video.paused,
      muted: video.muted,
      width: video.videoWidth,
      height: video.videoHeight,
      text: root.querySelector("[role=status]")!.textContent!,
      loadedAt: performance.timeOrigin,
    };
  });
}

/** Resolves when the player is in one of `states`; fails with what it was in instead. */
export async function untilState(where: Where, states: readonly string[], timeoutMs = 15_000): Promise<void> {
  try {
    await where.waitForFunction(
      (wanted) =>
        wanted.includes((document.querySelector("sluice-player") as SluicePlayer | null)?.state ?? ""),
      states as string[],
      { timeout: timeoutMs, polling: 50 },
    );
  } catch {
    throw new Error(`not ${states.join(" or ")} after ${timeoutMs} ms: ${JSON.stringify(await seen(where))}`);
  }
}

/** Watches for `seconds` of the page's own clock and says what came of it. */
export async function watchFor(where: Where, seconds: number): Promise<{ before: Seen; after: Seen }> {
  const before = await seen(where);
  await where.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), seconds * 1000);
  return { before, after: await seen(where) };
}
