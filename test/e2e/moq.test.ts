import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;

describe("Media over QUIC before a browser", { timeout: 2 * MINUTE }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let encoder: Publisher;

  beforeAll(async () => {
    [sluice, browser] = await Promise.all([startSluice({ env: { SLUICE_MOQ: "true" } }), openBrowser()]);
    encoder = publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, size: "640x360", gop: 2 });
    await wayTo(sluice);
  }, 2 * MINUTE);
  afterAll(async () => {
    await encoder?.stop();
    await browser?.close();
    await sluice?.stop();
  }, MINUTE);

  test("a person watches within half a second of the encoder, without a stall", async ({ onTestFailed }) => {
    onTestFailed(() => console.error(sluice.log(), encoder.log()));
    const { page, errors, close } = await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/watch`);
    await untilState(page, ["playing"]);
    expect((await seen(page)).stats.engine).toBe("Media over QUIC");
    await watchFor(page, 3);
    const { before, after } = await watchFor(page, 8);
    expect(after.state).toBe("playing");
    expect(after.currentTime - before.currentTime).toBeGreaterThan(7.5);
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(8 * 30 * 0.9);
    expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(after.stats).toMatchObject({ stalls: before.stats.stalls, errors: [] });
    expect(after.latency).toBeLessThan(1);
    expect(errors).toEqual([]);
    await close();
  });
});

/** Waits until the lifecycle answer says how to have Media over QUIC. */
async function wayTo({ ready }: Sluice): Promise<{ port: number; hashes: string[]; namespace: string }> {
  for (;;) {
    const response = await fetch(`${ready.http}/${ready.uid}/lifecycle`);
    const { moq } = (await response.json()) as {
      moq?: { port: number; hashes: string[]; namespace: string };
    };
    if (moq) return moq;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
