import { afterAll, afterEach, beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { type OpenBrowser, type OpenPage, openBrowser, untilState, watchFor } from "../support/browser.ts";
import { audioEncoders, type EncodeOptions, encode, tagsOf, videoEncoders } from "../support/encoded.ts";
import { long } from "../support/long.ts";
import { type Sender, startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer } from "../support/viewer.ts";

const minute = 60_000;

describe("what is not H.264 and AAC", { timeout: 2 * minute }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let page: OpenPage | undefined;
  let sender: Sender | undefined;

  beforeAll(async () => {
    sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
    browser = await openBrowser();
  }, 2 * minute);
  afterAll(async () => {
    await browser?.close();
    await sluice?.stop();
  }, minute);
  afterEach(async () => {
    await page?.close();
    await sender?.close();
    page = undefined;
    sender = undefined;
  });

  async function onAir(options: Omit<EncodeOptions, "seconds">): Promise<void> {
    onTestFailed(() => console.error(sluice.log()));
    const tags = tagsOf(await encode({ seconds: 6, size: "640x360", ...options }));
    sender = await startSender(`${sluice.ready.rtmp}/${sluice.ready.streamKey}`, tags);
  }

  /** Publishes `half` seconds of the first pair of encoders, of picture and sound, and as many of the second behind it. */
  async function changeOnAir(half: number, encoders: readonly (readonly string[])[]): Promise<void> {
    const [first, second] = await Promise.all(
      encoders.map(([video, audio]) =>
        encode({ seconds: half, size: "640x360", video: [video!], audio: [audio!] }),
      ),
    );
    const later = tagsOf(second!)
      .slice(1)
      .map((tag) => ({ ...tag, timestampMs: tag.timestampMs + half * 1000 }));
    const { rtmp, streamKey } = sluice.ready;
    sender = await startSender(`${rtmp}/${streamKey}`, [...tagsOf(first!), ...later]);
  }
  async function watch(seconds: number): Promise<Awaited<ReturnType<typeof watchFor>>> {
    const { http, uid } = sluice.ready;
    page = await browser.open(`${http}/${uid}/watch`);
    await untilState(page.page, ["playing"], 20_000);
    return watchFor(page.page, seconds);
  }

  test.for(
    (
      [
        { name: "AV1 and Opus", video: "av01", audio: "Opus" },
        { name: "VP9 and FLAC", video: "vp09", audio: "fLaC" },
      ] as const
    ).filter(({ video }) => long || video === "av01"),
  )("$name play in Chromium as they are", async ({ video, audio }) => {
    await onAir({ video: [videoEncoders[video]], audio: [audioEncoders[audio]] });
    const { http, uid } = sluice.ready;
    const viewer = await openViewer(`${http}/${uid}`);
    await viewer.follow("360p", (segments) => segments.some((one) => !one.gap), 30_000);
    const { before, after } = await watch(5);
    expect(after.state).toBe("playing");
    expect(after.currentTime - before.currentTime).toBeGreaterThan(4);
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(5 * 30 * 0.8);
    expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(after.stats).toMatchObject({ stalls: 0, errors: [] });
  });

  test.for(
    (
      [
        { video: "avc1", shown: "source" },
        { video: "hvc1", shown: "360p" },
      ] as const
    ).filter(({ video }) => long || video === "hvc1"),
  )("$video and AC-3 play in Chromium as H.264 and AAC", async ({ video, shown }) => {
    await onAir({ video: [videoEncoders[video]], audio: [audioEncoders["ac-3"]] });
    const { http, uid } = sluice.ready;
    const viewer = await openViewer(`${http}/${uid}`);
    for (const name of [shown, "aac"])
      await viewer.follow(name, (segments) => segments.filter((one) => !one.gap).length >= 2, 30_000);
    const { before, after } = await watch(5);
    expect(after.state).toBe("playing");
    expect(after.currentTime - before.currentTime).toBeGreaterThan(4);
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(5 * 30 * 0.8);
    expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(after.stats).toMatchObject({ stalls: 0, errors: [] });
    expect(viewer.judge.violations).toEqual([]);
  });

  test.for(
    [
      {
        name: "another size",
        before: [videoEncoders.avc1, audioEncoders.mp4a],
        after: [`${videoEncoders.avc1} -s 320x180`, audioEncoders.mp4a],
      },
      {
        name: "another codec of the picture",
        before: [videoEncoders.avc1, audioEncoders.mp4a],
        after: [videoEncoders.av01, audioEncoders.mp4a],
      },
    ].filter(({ name }) => long || name === "another size"),
  )("$name in mid-broadcast interrupts nobody", async ({ before: first, after: second }) => {
    onTestFailed(() => console.error(sluice.log()));
    const half = 10;
    await changeOnAir(half, [first, second]);
    const { http, uid } = sluice.ready;
    const viewer = await openViewer(`${http}/${uid}`);
    await viewer.follow("audio", (segments) => segments.length > 1, 10_000);
    const { before, after } = await watch(12);
    expect(after.state).toBe("playing");
    expect(after.loadedAt).toBe(before.loadedAt);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(10);
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(10 * 30 * 0.8);
    expect(after.stats.errors).toEqual([]);
    const source = await viewer.follow("source", (segments) => segments.length > 0);
    expect(source.filter((one) => one.gap)).toEqual([]);
    expect(viewer.judge.violations).toEqual([]);
  });

  test.runIf(long)(
    "another codec of the sound in mid-broadcast is heard without a reload, as loud as before",
    async () => {
      onTestFailed(() => console.error(sluice.log()));
      const half = 12;
      await changeOnAir(
        half,
        [audioEncoders.mp4a, audioEncoders.Opus].map((audio) => [videoEncoders.avc1, audio]),
      );
      const { http, uid } = sluice.ready;
      const viewer = await openViewer(`${http}/${uid}`);
      await viewer.follow("audio", (segments) => segments.length > 1, 10_000);
      page = await browser.open(`${http}/${uid}/watch`);
      await untilState(page.page, ["playing"], 20_000);
      await page.page.evaluate(() => {
        document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!.volume = 0.4;
      });
      const { before: first } = await watchFor(page.page, half);
      await untilState(page.page, ["playing"], 5_000);
      const { before, after } = await watchFor(page.page, 4);
      expect(after).toMatchObject({ state: "playing", loadedAt: first.loadedAt, muted: first.muted });
      expect(after.currentTime - before.currentTime).toBeGreaterThan(3);
      expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(4 * 30 * 0.8);
      expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
      expect(after.latency).toBeLessThan(5);
      expect(after.stats.errors).toEqual([]);
      const volume = await page.page.evaluate(
        () => document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!.volume,
      );
      expect(volume).toBe(0.4);
    },
  );

  test.runIf(long)("HEVC plays in Chromium as the rung of H.264 that is made of it", async () => {
    await onAir({ video: [videoEncoders.hvc1], audio: [audioEncoders.mp4a] });
    const { http, uid } = sluice.ready;
    const viewer = await openViewer(`${http}/${uid}`);
    expect([...viewer.renditions.keys()].sort()).toEqual(["360p", "audio", "source"]);
    await viewer.follow("360p", (segments) => segments.filter((one) => !one.gap).length >= 2, 30_000);
    const { before, after } = await watch(6);
    expect(after.state).toBe("playing");
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(6 * 30 * 0.8);
    expect(after.stats).toMatchObject({ stalls: 0, errors: [] });
    expect(viewer.judge.violations).toEqual([]);
  });
});
