import { createHash, X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import type { StreamPlayerApi } from "@cloudflare/stream-react";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenBrowser, openBrowser, untilState } from "../support/browser.ts";
import { bundle, openPages, type Site } from "../support/bundle.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;
let sluice: Sluice;
let browser: OpenBrowser;
let encoder: Publisher;
let site: Site;

beforeAll(async () => {
  sluice = await startSluice();
  const { https, rtmp, streamKey } = sluice.ready;
  encoder = publish({ url: `${rtmp}/${streamKey}`, size: "320x180", gop: 2 });
  const port = Number(new URL(https).port);
  browser = await openBrowser({
    flags: [
      // The names that the component has built in lead here, and the key that answers is the only one that is taken for theirs.
      `--host-resolver-rules=MAP *.cloudflarestream.com:443 127.0.0.1:${port}`,
      `--ignore-certificate-errors-spki-list=${await keyOf(port)}`,
    ],
    strict: true,
  });
  site = await openPages({
    "/page.js": await bundle("stream-react-page.mjs"),
  });
  for (const query of [`src=${sluice.ready.uid}`, `src=${sluice.ready.uid}&customer=abc123`])
    site.pages.set(
      `/?${query}`,
      `<!doctype html><title>A show</title><div id="root"></div><script type="module" src="/page.js"></script>`,
    );
}, 2 * MINUTE);
afterAll(async () => {
  site?.close();
  await encoder?.stop();
  await browser?.close();
  await sluice?.stop();
}, MINUTE);

/** What test/support/stream-react-page.mjs puts into its window. */
declare const react: {
  readonly heard: string[];
  readonly api: { readonly current: StreamPlayerApi };
  setMuted(muted: boolean): void;
};

test.for([
  ["the older host for frames", ""],
  ["a customer's own host", "&customer=abc123"],
])("@cloudflare/stream-react shows a broadcast from %s, unmodified", async ([, more], { onTestFailed }) => {
  onTestFailed(() => console.error(sluice.log(), encoder.log()));
  const { page, errors, close } = await browser.open(`${site.origin}/?src=${sluice.ready.uid}${more}`);
  const frame = (await (await page.waitForSelector("iframe")).contentFrame())!;
  await frame.waitForSelector("sluice-player", { state: "attached" });
  expect(new URL(frame.url()).host).toBe(
    more ? "customer-abc123.cloudflarestream.com" : "iframe.cloudflarestream.com",
  );
  await untilState(frame, ["playing"]);
  await page.waitForFunction(() => react.heard.includes("onTimeUpdate"));
  const figures = await page.evaluate(() => {
    const { paused, muted, videoWidth, duration, buffered, currentTime } = react.api.current;
    // hls.js may leave a part of the sound out before the place where it begins to play.
    const ranges = Array.from({ length: buffered.length }, (_, index) => index);
    const isThere = ranges.some((at) => buffered.start(at) <= currentTime && currentTime <= buffered.end(at));
    return { paused, muted, videoWidth, duration, isThere };
  });
  expect(figures).toEqual({
    paused: false,
    muted: true,
    videoWidth: 320,
    duration: Number.POSITIVE_INFINITY,
    isThere: true,
  });
  expect(
    await frame.locator("sluice-player").evaluate((element) => element.getAttribute("primary-color")),
  ).toBe("#ff0055");
  // A property of the component reaches the player as it changes.
  await page.evaluate(() => react.setMuted(false));
  await page.waitForFunction(() => react.heard.includes("onVolumeChange") && !react.api.current.muted);
  await page.evaluate(() => react.api.current.pause());
  await page.waitForFunction(() => react.heard.includes("onPause") && react.api.current.paused);
  await untilState(frame, ["paused"]);
  await page.evaluate(() => react.api.current.play());
  await untilState(frame, ["playing"]);
  expect(errors).toEqual([]);
  await close();
});

/** SHA-256 of the public key that is behind this port, in base64. */
function keyOf(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      const { publicKey } = new X509Certificate(socket.getPeerCertificate(true).raw);
      socket.end();
      resolve(
        createHash("sha256")
          .update(publicKey.export({ type: "spki", format: "der" }))
          .digest("base64"),
      );
    });
    socket.once("error", reject);
  });
}
