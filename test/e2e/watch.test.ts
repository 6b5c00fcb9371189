import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  type OpenBrowser,
  type OpenPage,
  openBrowser,
  seen,
  untilState,
  watchFor,
} from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;

describe("a person watches", { timeout: 2 * MINUTE }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let pages: OpenPage[] = [];
  let encoders: Publisher[] = [];

  beforeAll(async () => {
    sluice = await startSluice();
    browser = await openBrowser();
  }, 2 * MINUTE);
  afterAll(async () => {
    await browser?.close();
    await sluice?.stop();
  }, MINUTE);
  beforeEach(({ onTestFailed }) => {
    encoders = [];
    onTestFailed(() => console.error(sluice.log(), ...encoders.map((encoder) => encoder.log())));
  });
  afterEach(async () => {
    for (const page of pages) await page.close();
    for (const encoder of encoders) await encoder.stop();
    pages = [];
  });

  const page = (name: string) => `${sluice.ready.http}/${sluice.ready.uid}/${name}`;
  async function open(url: string): Promise<OpenPage> {
    const opened = await browser.open(url);
    pages.push(opened);
    return opened;
  }
  function onAir(options: Partial<Parameters<typeof publish>[0]> = {}): Publisher {
    const url = `${sluice.ready.rtmp}/${sluice.ready.streamKey}`;
    const encoder = publish({ url, size: "640x360", gop: 2, ...options });
    encoders.push(encoder);
    return encoder;
  }

  test("who comes before the broadcast is told to wait, sees it begin by itself, and that it ended", async () => {
    const { page: viewer, errors } = await open(page("watch"));
    await untilState(viewer, ["waiting"]);
    expect((await seen(viewer)).text).toBe("Waiting for the broadcast to begin");

    const encoder = onAir();
    await untilState(viewer, ["playing"]);
    const { before, after } = await watchFor(viewer, 12);
    expect(after.state).toBe("playing");
    expect(after.currentTime - before.currentTime).toBeGreaterThan(11);
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(12 * 30 * 0.9);
    expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(after.latency).toBeLessThan(3);
    expect(after.stats.clockLatency).toBeLessThan(3);
    expect(after.stats).toMatchObject({ stalls: 0, interruptions: 0, errors: [] });
    expect(after.width).toBe(640);

    await encoder.stop();
    await untilState(viewer, ["ended"]);
    const end = await seen(viewer);
    expect(end.text).toBe("The broadcast has ended");
    expect(end.stats).toMatchObject({ stalls: 0, errors: [] });
    expect(errors).toEqual([]);
  });

  test("who comes late starts at the live edge, without sound until they ask for it", async () => {
    onAir();
    const first = await open(page("watch"));
    await untilState(first.page, ["playing"]);
    await watchFor(first.page, 8);
    const late = await open(page("watch"));
    await untilState(late.page, ["playing"], 5000);
    await atEdge(late.page);
    expect((await seen(late.page)).muted).toBe(true);
    await late.page.getByRole("button", { name: "Tap for sound" }).click();
    expect((await seen(late.page)).muted).toBe(false);

    await late.page.reload();
    await untilState(late.page, ["playing"], 5000);
    await atEdge(late.page);
  });

  test.runIf(long)(
    "an encoder that drops out for a while interrupts the picture and nothing else",
    async () => {
      const encoder = onAir();
      const { page: viewer, errors } = await open(page("watch"));
      await untilState(viewer, ["playing"]);
      const { after: before } = await watchFor(viewer, 4);

      await encoder.kill();
      await untilState(viewer, ["reconnecting"]);
      expect((await seen(viewer)).text).toBe("Reconnecting…");
      onAir();
      await untilState(viewer, ["playing"]);
      const { after } = await watchFor(viewer, 6);
      expect(after.state).toBe("playing");
      expect(after.currentTime).toBeGreaterThan(before.currentTime + 6);
      expect(after.latency).toBeLessThan(4);
      expect(after.loadedAt).toBe(before.loadedAt);
      expect(after.stats).toMatchObject({ stalls: 0, errors: [] });
      expect(after.stats.interruptions).toBeGreaterThan(0);
      expect(errors).toEqual([]);
    },
  );

  test.runIf(long)("an encoder that does not come back ends the broadcast", async () => {
    const encoder = onAir();
    const { page: viewer } = await open(page("watch"));
    await untilState(viewer, ["playing"]);
    await encoder.kill();
    await untilState(viewer, ["reconnecting"]);
    await untilState(viewer, ["ended"], 20_000);
    expect((await seen(viewer)).stats.errors).toEqual([]);
  });

  test("the next broadcast of the same input is shown on the same page", async () => {
    const first = onAir();
    const { page: viewer } = await open(page("watch"));
    await untilState(viewer, ["playing"]);
    await first.stop();
    await untilState(viewer, ["ended"]);
    onAir();
    await untilState(viewer, ["playing"]);
    const { before, after } = await watchFor(viewer, 3);
    expect(after.stats.decodedFrames).toBeGreaterThan(before.stats.decodedFrames);
  });

  const reordered = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-bf",
    "2",
    "-g",
    "60",
    "-pix_fmt",
    "yuv420p",
  ];
  type Kind = { name: string; options: Partial<Parameters<typeof publish>[0]>; short?: true };
  const kinds: readonly Kind[] = [
    { name: "without sound", options: { audio: false } },
    { name: "without a picture", options: { video: false } },
    { name: "with B-frames", options: { video: reordered } },
    { name: "with OBS's default keyframe distance", options: { gop: 8.3 }, short: true },
  ];
  test.for(kinds.filter(({ short }) => long || short))("a broadcast $name plays", async ({ options }) => {
    onAir(options);
    const { page: viewer, errors } = await open(page("watch"));
    await untilState(viewer, ["playing"], 20_000);
    const { before, after } = await watchFor(viewer, 8);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(7);
    if (options.video !== false)
      expect(after.stats.decodedFrames).toBeGreaterThan(before.stats.decodedFrames + 200);
    if (options.audio !== false)
      expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(after.stats).toMatchObject({ stalls: 0, errors: [] });
    expect(errors).toEqual([]);
  });

  test("whose line was away for a while goes on at the live edge", async () => {
    onAir();
    const { page: viewer } = await open(page("watch"));
    await untilState(viewer, ["playing"]);
    await watchFor(viewer, 4);
    await viewer.context().setOffline(true);
    const { after: cut } = await watchFor(viewer, 9);
    expect(cut.state).not.toBe("playing");
    await viewer.context().setOffline(false);
    await untilState(viewer, ["playing"]);
    // To catch up by speed would take two minutes.
    await expect.poll(async () => (await seen(viewer)).latency).toBeLessThan(3);
    const { before, after } = await watchFor(viewer, 4);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(3);
    expect(after).toMatchObject({ state: "playing", stats: { errors: [] } });
  });

  test("the keyboard does what the buttons do", async () => {
    onAir();
    const { page: viewer } = await open(page("watch"));
    await untilState(viewer, ["playing"]);
    await viewer.keyboard.press("m");
    expect((await seen(viewer)).muted).toBe(false);
    await viewer.keyboard.press("k");
    await untilState(viewer, ["paused"]);
    await watchFor(viewer, 4);
    await viewer.keyboard.press("Space");
    await untilState(viewer, ["playing"]);
    await viewer.keyboard.press("l");
    await atEdge(viewer);
    await viewer.keyboard.press("i");
    expect(await viewer.getByText("Behind live").isVisible()).toBe(true);
  });

  test("another site embeds the player in a frame", async () => {
    const elsewhere = await embedding(page("iframe?autoplay=true"));
    try {
      onAir();
      const { port } = elsewhere.address() as AddressInfo;
      // Another host name than in the address of the player: another site, not only another origin.
      const { page: host, errors } = await open(`http://127.0.0.1:${port}/`);
      const frame = await (await host.waitForSelector("iframe")).contentFrame();
      expect(frame).not.toBeNull();
      await frame!.waitForSelector("sluice-player", { state: "attached" });
      await untilState(frame!, ["playing"]);
      const { before, after } = await watchFor(frame!, 4);
      expect(after.stats.decodedFrames).toBeGreaterThan(before.stats.decodedFrames);
      expect(errors).toEqual([]);
    } finally {
      elsewhere.close();
    }
  });
});

/** Resolves when the player is less than 2.5 s behind the newest media; fails after 5 s. */
async function atEdge(page: Page): Promise<void> {
  await page.waitForFunction(
    () => (document.querySelector("sluice-player") as HTMLElement & { latency?: number }).latency! < 2.5,
    undefined,
    { timeout: 5000 },
  );
}

async function embedding(src: string): Promise<Server> {
  const html = `<!doctype html><title>A blog</title><iframe src="${src}" width="480" height="270" allow="autoplay; fullscreen"></iframe>`;
  const server = createServer((request, response) => {
    response.writeHead(request.url === "/" ? 200 : 204, { "content-type": "text/html" });
    response.end(request.url === "/" ? html : undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
