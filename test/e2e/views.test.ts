import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { type OpenBrowser, type OpenPage, openBrowser, untilState } from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";

const MINUTE = 60_000;
let sluice: Sluice;
let browser: OpenBrowser;
let encoder: Publisher;
const pages: OpenPage[] = [];

beforeAll(async () => {
  sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  browser = await openBrowser();
  encoder = publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, size: "640x360", gop: 2 });
  await untilLive(`${sluice.ready.http}/${sluice.ready.uid}`);
}, 2 * MINUTE);
afterAll(async () => {
  for (const page of pages) await page.close();
  await browser?.close();
  await encoder?.kill();
  await sluice?.stop();
}, MINUTE);
beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(sluice.log())));

test("our player says who watches: once over HTTP and over QUIC, and how well", {
  timeout: 2 * MINUTE,
}, async () => {
  const { http, uid } = sluice.ready;
  const base = `${http}/${uid}`;
  const views = async () =>
    ((await (await fetch(`${base}/views`)).json()) as { liveViewers: number }).liveViewers;
  const api = apiOf(() => sluice.ready);
  const input = `/v1/live_inputs/${uid}`;
  const open = async ({ quic }: { readonly quic: boolean }) => {
    const opened = await browser.open("about:blank");
    pages.push(opened);
    // As in browsers that have no Media over QUIC.
    if (!quic) await opened.page.addInitScript(() => Reflect.deleteProperty(window, "WebTransport"));
    const asked: { url: string; session: string | undefined; body: string }[] = [];
    opened.page.on("request", (request) => {
      const session = request.headers()["cmcd-session"];
      asked.push({ url: request.url(), session, body: request.postData() ?? "" });
    });
    await opened.page.goto(`${base}/iframe?autoplay=true&muted=true`);
    await untilState(opened.page, ["playing"]);
    return { ...opened, asked };
  };

  const overHttp = await open({ quic: false });
  const overQuic = await open({ quic: true });
  await expect.poll(views, { timeout: 10_000 }).toBe(2);
  const engine = await overQuic.page.evaluate(
    () => (document.querySelector("sluice-player") as unknown as { stats: { engine: string } }).stats.engine,
  );
  const moq = engine.includes("HLS") ? 0 : 1;
  expect(moq, engine).toBe(1);
  await expect
    .poll(async () => (await api(`GET ${input}/health`)).viewersBy)
    .toEqual({ hls: 2 - moq, dash: 0, moq });

  const lists = overHttp.asked.filter(({ url }) => /\.m3u8|\.m4s/.test(url));
  expect(lists.length).toBeGreaterThan(3);
  const named = lists[0]?.session ?? "";
  expect(named).toMatch(/^sf=h,sid="[0-9a-f]{32}"$/);
  expect(new Set(lists.map(({ session }) => session)).size, "every request says the same name").toBe(1);
  expect(
    lists.filter(({ url }) => /CMCD/i.test(url)),
    "no address of media is of one viewer alone",
  ).toEqual([]);
  const reports = () => overHttp.asked.filter(({ url }) => url === `${base}/cmcd`);
  await expect
    .poll(() => reports().some(({ body }) => body.includes("e=t,")), { timeout: 15_000 })
    .toBe(true);
  const sid = /sid="\w+"/.exec(named)![0];
  for (const { body } of reports()) expect(body).toContain(sid);
  expect(reports().map(({ body }) => /sta=(\w)/.exec(body)![1])).toContain("p");

  // Who leaves the page is gone at once.
  await overQuic.page.goto("about:blank");
  await expect.poll(views, { timeout: 4_000 }).toBe(1);
  await overHttp.page.goto("about:blank");
  await expect.poll(views, { timeout: 4_000 }).toBe(0);
  await expect
    .poll(async () => (await api(`GET ${input}/analytics`)).totals, { timeout: 15_000 })
    .toMatchObject({
      ...{ views: 2, peakViewers: 2 },
      quality: {
        errors: 0,
        startupSeconds: expect.any(Number),
        throughputKbps: expect.any(Number),
        latencySeconds: expect.any(Number),
        playbackRate: expect.any(Number),
      },
    });
});
