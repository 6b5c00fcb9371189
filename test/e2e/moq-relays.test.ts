import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { sendMoqTo } from "../support/moq-line.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { type OwnRedis, startRedis } from "../support/redis.ts";
import { openRelayRow } from "../support/relay-row.ts";
import type { Sluice } from "../support/sluice.ts";

const MINUTE = 60_000;
let redis: OwnRedis;
let first: Sluice;
let second: Sluice;
let browser: OpenBrowser;
let encoder: Publisher;
let ports: readonly number[];
const dataDir = mkdtempSync(join(tmpdir(), "sluice-second-"));

beforeAll(async () => {
  [redis, browser] = await Promise.all([startRedis(), openBrowser()]);
  const row = await openRelayRow(redis.url);
  ({ ports } = row);
  first = await row.start(0);
  const { ready } = first;
  encoder = publish({ url: `${ready.rtmp}/${ready.streamKey}`, size: "640x360", gop: 1 });
  await wayTo(ready, ready.uid!);
  // The player knows the certificate of one relay: others have the same, or one that browsers trust.
  mkdirSync(join(dataDir, "certs"));
  cpSync(join(first.dataDir, "certs", "webtransport.pem"), join(dataDir, "certs", "webtransport.pem"));
  second = await row.start(1, { dataDir, next: `https://${new URL(ready.http!).hostname}:${ports[0]}` });
}, 2 * MINUTE);
afterAll(async () => {
  await browser?.close();
  await encoder?.stop();
  await second?.stop();
  await first?.stop();
  await redis?.stop();
  rmSync(dataDir, { recursive: true, force: true });
}, MINUTE);

test("a relay that stops sends its viewers to the next, and they see no more of that than a moment", {
  timeout: MINUTE,
}, async ({ onTestFailed }) => {
  onTestFailed(() => console.error(first.log(), second.log(), encoder.log()));
  const { page, errors } = await browser.open("about:blank");
  onTestFailed(async () => console.error(JSON.stringify(await seen(page))));
  const sessions = () => first.log().split("viewer's session opened").length - 1;
  const before = sessions();
  await sendMoqTo(page, ports[1]!, 1);
  await page.goto(`${first.ready.http}/${first.ready.uid}/watch`);
  await untilState(page, ["playing"]);
  await watchFor(page, 2);
  expect((await seen(page)).stats).toMatchObject({ engine: "Media over QUIC", errors: [] });
  expect(sessions()).toBe(before);
  await page.evaluate(() => {
    const { media } = document.querySelector("sluice-player") as SluicePlayer;
    const still = { longestMs: 0 };
    let [at, since] = [media.currentTime, performance.now()];
    setInterval(() => {
      const now = performance.now();
      if (media.currentTime !== at) [at, since] = [media.currentTime, now];
      still.longestMs = Math.max(still.longestMs, now - since);
    }, 20);
    Object.assign(window, { still });
  });
  expect(await second.stop()).toBe(0);
  const { before: left, after } = await watchFor(page, 4);
  expect(sessions()).toBe(before + 1);
  const { longestMs } = await page.evaluate(
    () => (window as unknown as { still: { longestMs: number } }).still,
  );
  expect(longestMs).toBeLessThan(2_000);
  expect(after.currentTime - left.currentTime).toBeGreaterThan(3);
  expect(after.stats).toMatchObject({ engine: "Media over QUIC", errors: [], warnings: [] });
  expect(after.state).toBe("playing");
  expect(errors).toEqual([]);
});
