import type { Frame, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { StreamPlayer } from "../../player/embed/stream.ts";
import { type OpenBrowser, type OpenPage, openBrowser, seen, untilState } from "../support/browser.ts";
import { openPages, type Site } from "../support/bundle.ts";
import { type Premade, startPremade } from "../support/premade.ts";

const MINUTE = 60_000;
let premade: Premade;
let browser: OpenBrowser;
let site: Site;
let opened: OpenPage | undefined;

/** What the pages below put into their window. */
interface Host extends Window {
  readonly players: StreamPlayer[];
  readonly events: string[][];
  readonly outcomes: string[];
}

beforeAll(async () => {
  premade = await startPremade({ width: 320, height: 180, kbps: 400 }, []);
  browser = await openBrowser();
  const { origin, pathname } = new URL(premade.playback);
  const player = origin.replace("127.0.0.1", "localhost");
  const iframe = (query: string) =>
    `<iframe src="${player}${pathname}/iframe?${query}" width="480" height="270" style="border:0" allow="autoplay; fullscreen"></iframe>`;
  const sdk = `<script src="${player}/embed/sdk.latest.js"></script>`;
  site = await openPages({
    "/two": `<!doctype html><title>Two</title>${sdk}
      ${iframe("muted=true&preload=none")}${iframe("autoplay=true&muted=true")}
      <script>
        window.outcomes = [];
        window.players = [...document.querySelectorAll("iframe")].map((iframe) => Stream(iframe));
        window.events = players.map((player) => {
          const heard = [];
          for (const name of ["play", "playing", "pause", "timeupdate", "volumechange", "seeked", "statechange", "loadedmetadata"])
            player.addEventListener(name, ({ type }) => heard.push(type));
          return heard;
        });
        // Before any player can be there.
        players[0].volume = 0.3;
        players[0].controls = false;
        players[0].play().then(() => outcomes.push("played"), ({ name }) => outcomes.push(name));
      </script>`,
    "/plain": `<!doctype html><title>Plain</title>${iframe("autoplay=true&letterboxColor=rgb(0%2C80%2C0)&primaryColor=red&loop=perhaps&startTime=soon")}`,
    "/sound": `<!doctype html><title>Sound</title>${sdk}${iframe("")}
      <script>
        const player = Stream(document.querySelector("iframe"));
        player.play().catch(({ name }) => {
          console.log(name);
          player.muted = true;
          return player.play();
        }).then(() => console.log("played"));
      </script>`,
    // Beside the player is a frame from elsewhere that speaks like the SDK.
    "/beside": `<!doctype html><title>Beside</title>${sdk}${iframe("autoplay=true&muted=true")}
      <iframe src="${player}/stranger"></iframe>
      <script>window.players = [Stream(document.querySelector("iframe"))];</script>`,
  });
}, MINUTE);
afterAll(async () => {
  site?.close();
  await browser?.close();
  await premade?.close();
}, MINUTE);
afterEach(() => opened?.close());

const open = async (path: string, errors?: string[]) => {
  opened = await browser.open(site.origin + path, { ...(errors && { errors }) });
  return opened;
};
const frameAt = async (page: Page, index: number): Promise<Frame> =>
  (await (await page.locator("iframe").nth(index).elementHandle())!.contentFrame())!;
const until = (page: Page, met: string) => page.waitForFunction(met, undefined, { timeout: 15_000 });

test("a page uses two players by themselves, and what it asks before they are there is done", async () => {
  const { page, errors } = await open("/two");
  await until(page, "outcomes.length > 0 && players.every((player) => player.state === 'playing')");
  expect(await page.evaluate(() => (window as unknown as Host).outcomes)).toEqual(["played"]);
  const first = await frameAt(page, 0);
  await untilState(first, ["playing"]);
  const values = () =>
    page.evaluate(() =>
      (window as unknown as Host).players.map((player) => ({
        paused: player.paused,
        volume: player.volume,
        muted: player.muted,
        controls: player.controls,
        duration: player.duration,
        width: player.videoWidth,
        buffered: player.buffered.length > 0 && player.buffered.end(0) > player.buffered.start(0),
      })),
    );
  const both = { paused: false, muted: true, duration: Number.POSITIVE_INFINITY, width: 320, buffered: true };
  expect(await values()).toEqual([
    { ...both, volume: 0.3, controls: false },
    { ...both, volume: 1, controls: true },
  ]);
  expect(
    await first
      .locator("sluice-player")
      .evaluate(({ shadowRoot }) => shadowRoot!.querySelector("video")!.volume),
  ).toBe(0.3);

  await page.evaluate(() => (window as unknown as Host).players[0]!.pause());
  await until(page, "players[0].paused && events[0].includes('pause')");
  await untilState(first, ["paused"]);
  // Read at once as it was set, and then as the player has it.
  expect(
    await page.evaluate(() => {
      const [player] = (window as unknown as Host).players;
      player!.volume = 0.6;
      return player!.volume;
    }),
  ).toBe(0.6);
  await until(page, "events[0].includes('volumechange')");
  expect((await values())[0]!.volume).toBe(0.6);
  // A value that it does not have.
  await page.evaluate(() => {
    (window as unknown as Host).players[0]!.volume = 7;
  });
  await until(page, "players[0].volume === 0.6");
  const heard = await page.evaluate(() => (window as unknown as Host).events);
  for (const list of heard)
    expect(list).toEqual(expect.arrayContaining(["loadedmetadata", "playing", "timeupdate"]));
  expect(heard[1]).not.toContain("pause");
  expect(errors).toEqual([]);
});

test("an iframe that loads anew is met again, with what the page had set and the viewer had changed", async () => {
  const { page, errors } = await open("/two");
  await until(page, "players[0].state === 'playing'");
  const frame = await frameAt(page, 0);
  await frame.locator("sluice-player").evaluate(({ shadowRoot }) => {
    shadowRoot!.querySelector("video")!.volume = 0.8;
  });
  await until(page, "players[0].volume === 0.8");
  const { loadedAt } = await seen(frame);
  await frame.evaluate(() => location.reload());
  await until(page, "players[0].state === 'ready'");
  const again = await frameAt(page, 0);
  expect((await seen(again)).loadedAt).not.toBe(loadedAt);
  await until(page, "players[0].volume === 0.8 && !players[0].controls");
  await page.evaluate(() => (window as unknown as Host).players[0]!.play());
  await untilState(again, ["playing"]);
  expect(
    await again
      .locator("sluice-player")
      .evaluate(({ shadowRoot }) => shadowRoot!.querySelector("video")!.volume),
  ).toBe(0.8);
  expect(errors).toEqual([]);
});

test("who plays with sound before anybody has clicked is told that it is not allowed, and may without", async () => {
  const said: string[] = [];
  opened = await browser.open("about:blank");
  const { page } = opened;
  // The page speaks by itself: what a test evaluates in it counts as a click.
  const played = page.waitForEvent("console", (message) => {
    said.push(message.text());
    return message.text() === "played";
  });
  await page.goto(`${site.origin}/sound`);
  await played;
  expect(said).toEqual(["NotAllowedError", "played"]);
});

test("a plain frame does what its address says; what is no value is said once and ignored", async () => {
  const warnings: string[] = [];
  opened = await browser.open("about:blank");
  const { page, errors } = opened;
  page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  await page.goto(`${site.origin}/plain`);
  const frame = await frameAt(page, 0);
  await untilState(frame, ["playing"]);
  const player = frame.locator("sluice-player");
  expect(await player.evaluate((element) => getComputedStyle(element).backgroundColor)).toBe("rgb(0, 80, 0)");
  expect(
    await player.evaluate(({ shadowRoot }) =>
      getComputedStyle(shadowRoot!.querySelector(".frame")!).getPropertyValue("--accent"),
    ),
  ).toBe("red");
  expect(warnings).toEqual(["The player's address has what is ignored: loop=perhaps, startTime=soon"]);
  expect(errors).toEqual([]);
});

test("only the page around the player is listened to, and it listens to the player alone", async () => {
  const { page } = await open("/beside");
  await until(page, "players[0].state === 'playing'");
  const stranger = await frameAt(page, 1);
  const answered = await stranger.evaluate(async () => {
    const { port1, port2 } = new MessageChannel();
    let answers = 0;
    port1.onmessage = () => answers++;
    parent.frames[0]!.postMessage({ sluice: "hello", version: 1 }, "*", [port2]);
    port1.postMessage({ type: "call", seq: 1, name: "pause" });
    // As if it were the player, to the page: it must not be met.
    parent.postMessage({ sluice: "here", page: "false", versions: [1] }, "*");
    await new Promise((done) => setTimeout(done, 500));
    return answers;
  });
  expect(answered).toBe(0);
  expect(await page.evaluate(() => (window as unknown as Host).players[0]!.state)).toBe("playing");
  await page.evaluate(() => (window as unknown as Host).players[0]!.pause());
  await untilState(await frameAt(page, 0), ["paused"]);
});
