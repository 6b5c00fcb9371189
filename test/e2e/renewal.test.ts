import type { Frame, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { apiOf } from "../support/api.ts";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { openPages, type Site } from "../support/bundle.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;
/** Life of a token, and how long is watched. */
const [lifeSeconds, showSeconds] = long ? [20, 180] : [8, 20];
let sluice: Sluice;
let browser: OpenBrowser;
let encoder: Publisher;
let site: Site;
/** Every token that was given, oldest first. */
const given: string[] = [];

beforeAll(async () => {
  [sluice, browser] = await Promise.all([startSluice({ env: { SLUICE_MOQ: "true" } }), openBrowser()]);
  const { rtmp, streamKey, uid } = sluice.ready;
  encoder = publish({ url: `${rtmp}/${streamKey}`, size: "320x180", gop: 1 });
  await wayTo(sluice.ready, uid);
  await api(`PUT /live_inputs/${uid}`, { recording: { requireSignedURLs: true } });
  const player = sluice.ready.http.replace("127.0.0.1", "localhost");
  const embed = async (query: string, { first = tokenOf(lifeSeconds), options = "" } = {}) =>
    `<!doctype html><title>A show</title><script src="${player}/embed/sdk.latest.js"></script>
     <iframe src="${player}/${await first}/iframe?muted=true&autoplay=true${query}" width="480" height="270" allow="autoplay"></iframe>
     <script>
       window.asked = 0;
       window.fresh = async () => {
         window.asked++;
         return (await fetch("/token")).text();
       };
       window.player = Stream(document.querySelector("iframe"), { ${options} });
     </script>`;
  site = await openPages({
    "/token": () => tokenOf(lifeSeconds),
    "/moq": () => embed("", { options: "onTokenNeeded: fresh" }),
    "/hls": () => embed("", { options: "onTokenNeeded: fresh" }),
    "/back": () => embed("&dvrEnabled=true", { options: "onTokenNeeded: fresh" }),
    "/silent": () => embed("", { first: tokenOf(6) }),
    "/late": () => embed("", { first: expired(), options: "onTokenNeeded: fresh" }),
    "/uid": () => embed("", { first: Promise.resolve(uid), options: "onTokenNeeded: fresh" }),
    "/alone": async () => `<!doctype html><iframe src="${player}/${uid}/iframe"></iframe>`,
    "/expired": async () => `<!doctype html><iframe src="${player}/${await expired()}/iframe"></iframe>`,
  });
}, 2 * MINUTE);
afterAll(async () => {
  site?.close();
  await encoder?.stop();
  await browser?.close();
  await sluice?.stop();
}, MINUTE);

const api = apiOf(() => sluice.ready);

/** As an application's own server makes one for whoever is logged in: for one place at a time. */
async function tokenOf(seconds: number): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const { token } = await api(`POST /${sluice.ready.uid}/token`, { exp, maxSessions: 1 });
  given.push(token);
  return token;
}

/** A token that was good for a second. */
async function expired(): Promise<string> {
  const token = await tokenOf(1);
  // Held for as long as it is live, and the token good.
  const { status } = await fetch(`${sluice.ready.http}/${token}/lifecycle?wait=live`);
  expect(status).toBe(401);
  return token;
}

async function frameOf(page: Page): Promise<Frame> {
  const frame = (await (await page.waitForSelector("iframe")).contentFrame())!;
  await frame.waitForSelector("sluice-player", { state: "attached" });
  return frame;
}

test("a show is longer than its tokens, over HLS and over Media over QUIC, and nobody notices", {
  timeout: 5 * MINUTE,
}, async ({ onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log(), encoder.log()));
  await Promise.all([watchShow("/hls", /LL-HLS/), watchShow("/moq", /Media over QUIC/)]);
});

async function watchShow(path: "/hls" | "/moq", engine: RegExp): Promise<void> {
  const asked: string[] = [];
  const { page, errors, close } = await browser.open("about:blank");
  page.on("request", (request) => asked.push(request.url()));
  // As in browsers that have no Media over QUIC.
  if (path === "/hls") await page.addInitScript(() => Reflect.deleteProperty(window, "WebTransport"));
  await page.goto(site.origin + path);
  const frame = await frameOf(page);
  const [, first] = new URL(frame.url()).pathname.split("/");
  await untilState(frame, ["playing"]);
  await watchFor(frame, 2);
  const { before, after } = await watchFor(frame, showSeconds);
  expect(after.state).toBe("playing");
  expect(after.stats.engine).toMatch(engine);
  expect(after.stats, path).toMatchObject({ stalls: 0, interruptions: 0, errors: [], warnings: [] });
  expect(after.currentTime - before.currentTime).toBeGreaterThan(showSeconds - 1);
  expect(after.loadedAt).toBe(before.loadedAt);
  // The first one ended long ago.
  const fresh = await page.evaluate(() => (window as unknown as { asked: number }).asked);
  expect(fresh).toBeGreaterThanOrEqual(2);
  expect((await fetch(`${sluice.ready.http}/${first}/lifecycle`)).status).toBe(401);
  const segments = asked.filter((url) => /\.m4s$/.test(url) && !url.includes(first!));
  if (path === "/hls") expect(segments.length).toBeGreaterThan(2);
  expect(errors).toEqual([]);
  await close();
}

test("who went back over Media over QUIC watches on there while tokens come and go, and can go back further", {
  timeout: 5 * MINUTE,
}, async ({ onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log(), encoder.log()));
  const { page, errors, close } = await browser.open(`${site.origin}/back`);
  const frame = await frameOf(page);
  onTestFailed(async () => console.error(JSON.stringify(await seen(frame))));
  const [, first] = new URL(frame.url()).pathname.split("/");
  await untilState(frame, ["playing"]);
  const timeline = () =>
    frame.evaluate(() => (document.querySelector("sluice-player") as SluicePlayer).timeline ?? null);
  const seek = async (to: number) => {
    await frame.evaluate((at) => {
      (document.querySelector("sluice-player") as SluicePlayer).currentTime = at;
    }, to);
    await frame.waitForFunction(
      (at) => {
        const { media } = document.querySelector("sluice-player") as SluicePlayer;
        return media.currentTime > at + 0.2 && media.currentTime < at + 4 && !media.seeking;
      },
      to,
      { timeout: 10_000 },
    );
  };
  // So far behind that what is live does not come up to it while he watches.
  const ahead = 12;
  await expect.poll(async () => Number((await timeline())?.end), { timeout: MINUTE }).toBeGreaterThan(ahead);
  const { start } = (await timeline())!;
  await seek(start);
  const { before, after } = await watchFor(frame, showSeconds);
  expect(after.stats).toMatchObject({
    engine: "Media over QUIC",
    errors: [],
    warnings: [],
    interruptions: 0,
  });
  expect(after.stats.stalls - before.stats.stalls).toBe(0);
  const watched = after.currentTime - before.currentTime;
  expect(watched).toBeGreaterThan(showSeconds - 1);
  expect(watched).toBeLessThan(showSeconds + 2);
  expect(after.loadedAt).toBe(before.loadedAt);
  expect(await page.evaluate(() => (window as unknown as { asked: number }).asked)).toBeGreaterThanOrEqual(2);
  expect((await fetch(`${sluice.ready.http}/${first}/lifecycle`)).status).toBe(401);
  // What is past is known to the session of now as well.
  expect((await timeline())!.start).toBe(start);
  await seek(start);
  expect((await seen(frame)).stats.engine).toBe("Media over QUIC");
  expect(errors).toEqual([]);
  await close();
});

test("a browser that plays HLS by itself goes on with a fresh token at the moment where it was", {
  timeout: 2 * MINUTE,
}, async ({ onTestFailed, skip }) => {
  onTestFailed(() => console.error(sluice.log(), encoder.log()));
  const asked: string[] = [];
  given.length = 0;
  const { page, close } = await browser.open("about:blank");
  page.on("request", (request) => asked.push(request.url()));
  // As on iPhones, which have neither.
  await page.addInitScript(() => {
    for (const name of ["WebTransport", "MediaSource", "ManagedMediaSource", "WebKitMediaSource"])
      Reflect.deleteProperty(window, name);
  });
  // Code that does not arrive is asked for again, as whatever else a network loses.
  let lost = 0;
  const broken: string[] = [];
  page.on("pageerror", ({ message }) => broken.push(message));
  await page.route(
    "**/native-*.js",
    (route) => {
      lost++;
      return route.abort();
    },
    { times: 1 },
  );
  await page.goto(`${site.origin}/hls`);
  const plays = await page.evaluate(() =>
    document.createElement("video").canPlayType("application/vnd.apple.mpegurl"),
  );
  if (plays === "") skip("this Chromium has no HLS of its own");
  const frame = await frameOf(page);
  await untilState(frame, ["playing"]);
  expect([lost, broken]).toEqual([1, []]);
  const before = await seen(frame);
  // While it loads anew, the last picture stands where it was.
  await frame.evaluate(() => {
    const root = document.querySelector("sluice-player")!.shadowRoot!;
    const [video, still] = [root.querySelector("video")!, root.querySelector<HTMLElement>(".still")!];
    const looks = { bare: 0, covered: 0 };
    (window as unknown as { looks: object }).looks = looks;
    const look = () => {
      if (video.readyState === HTMLMediaElement.HAVE_NOTHING) looks[still.hidden ? "bare" : "covered"]++;
      requestAnimationFrame(look);
    };
    look();
  });
  const sources = () => given.filter((token) => asked.some((url) => url.includes(`${token}/manifest/`)));
  await expect.poll(sources, { timeout: MINUTE }).toHaveLength(3);
  const position = async () => (await seen(frame)).currentTime;
  const at = await position();
  await expect.poll(position, { timeout: MINUTE }).toBeGreaterThan(Math.max(at, before.currentTime));
  const after = await seen(frame);
  expect(after.stats.engine).toBe("HLS (browser)");
  expect(after.loadedAt).toBe(before.loadedAt);
  const looks = await frame.evaluate(() => (window as unknown as { looks: object }).looks);
  expect(looks).toEqual({ bare: 0, covered: expect.any(Number) });
  expect((looks as { covered: number }).covered).toBeGreaterThan(0);
  // That player's own stalls at the live edge are not what is looked at here: it was never shown out.
  expect((await fetch(`${sluice.ready.http}/${given[0]}/lifecycle`)).status).toBe(401);
  await close();
});

test("a show whose page gives no token ends with a sentence; one that comes later goes on with it", async ({
  onTestFailed,
}) => {
  onTestFailed(() => console.error(sluice.log()));
  const { page, close } = await browser.open("about:blank");
  await page.addInitScript(() => Reflect.deleteProperty(window, "WebTransport"));
  await page.goto(`${site.origin}/silent`);
  const frame = await frameOf(page);
  await untilState(frame, ["playing"]);
  await untilState(frame, ["denied"]);
  expect((await seen(frame)).text).toBe("Your access to this broadcast has expired");
  await page.evaluate(() => {
    const host = window as unknown as { player: { onTokenNeeded: unknown }; fresh: unknown };
    host.player.onTokenNeeded = host.fresh;
  });
  await frame.getByRole("button", { name: "Try again" }).click();
  await untilState(frame, ["playing"]);
  await close();
});

test.for([
  ["/late", "a token that has expired"],
  ["/uid", "the uid of what needs a token"],
])("a frame that is opened with %s is given one by its page", async ([path], { onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log()));
  const { page, close } = await browser.open(site.origin + path);
  await page.waitForFunction(
    () => (window as unknown as { player: { state: string } }).player.state === "playing",
  );
  const { pathname } = new URL((await frameOf(page)).url());
  expect(given.slice(-3).map((token) => `/${token}/iframe`)).toContain(pathname);
  await close();
});

test.for([
  ["/alone", "You have no access to this broadcast", true],
  ["/expired", "Your access to this broadcast has expired", false],
] as const)(
  "a frame without an SDK on %s says what is wrong",
  async ([path, text, again], { onTestFailed }) => {
    onTestFailed(() => console.error(sluice.log()));
    const { page, close } = await browser.open(site.origin + path);
    const frame = await frameOf(page);
    await untilState(frame, ["denied"]);
    expect((await seen(frame)).text).toBe(text);
    expect(await frame.getByRole("button", { name: "Try again" }).isVisible()).toBe(again);
    await close();
  },
);

test("a server that cannot check tokens is said to, and asked again", async ({ onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log()));
  const { page, close } = await browser.open("about:blank");
  await page.route("**/lifecycle*", (route) => route.fulfill({ status: 503, body: "later" }), { times: 2 });
  // It could until the page was there: what it says with that is not waited for.
  await page.route("**/iframe*", async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/<script type="application\/json".*?<\/script>/, "");
    await route.fulfill({ response, body });
  });
  await page.goto(`${site.origin}/moq`);
  const frame = await frameOf(page);
  await untilState(frame, ["retrying"]);
  expect((await seen(frame)).text).toBe("The server lets nobody in at the moment, retrying");
  await untilState(frame, ["playing"]);
  await close();
});
