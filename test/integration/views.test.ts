import http from "node:http";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { descendants } from "../bench/processes.ts";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";

let sluice: Sluice;
let encoder: Publisher;
let uid: string;
const watching: Watcher[] = [];
const sessions: MoqViewer[] = [];

beforeAll(async () => {
  // Viewers come from anywhere: this machine is their proxy.
  sluice = await startSluice({ env: { SLUICE_MOQ: "true", SLUICE_TRUSTED_PROXIES: "127.0.0.1" } });
  uid = sluice.ready.uid!;
  encoder = publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}` });
  await untilLive(`${sluice.ready.http}/${uid}`);
});
afterAll(async () => {
  for (const one of watching) await one.stop();
  for (const one of sessions) one.close();
  await encoder?.kill();
  await sluice?.stop();
});
beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(sluice.log())));

/** A request on a connection of its own, so that each is a reconnect. */
function get(
  path: string,
  headers: http.OutgoingHttpHeaders = {},
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = http.get(`${sluice.ready.http}${path}`, { headers, agent: false }, async (response) => {
      let text = "";
      for await (const piece of response.setEncoding("latin1")) text += piece;
      resolve({ status: response.statusCode!, text });
    });
    sent.on("error", reject);
  });
}

interface Watcher {
  /** Of requests, from the first to the last, in ms. */
  readonly watchedMs: number;
  stop(): Promise<void>;
}

/** Asks again and again, as `next` says, from the address and with the words that `who` says each time. */
function watch(
  next: () => string,
  who: () => http.OutgoingHttpHeaders & { readonly query?: string },
): Watcher {
  let over = false;
  let first: number | undefined;
  let last = 0;
  const done = (async () => {
    while (!over) {
      const { query, ...headers } = who();
      const path = next();
      const answered = get(query ? `${path}${path.includes("?") ? "&" : "?"}${query}` : path, headers);
      last = performance.now();
      first ??= last;
      expect((await answered).status, path).toBe(200);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  })();
  const watcher = {
    get watchedMs() {
      return last - (first ?? last);
    },
    stop() {
      over = true;
      return done;
    },
  };
  watching.push(watcher);
  return watcher;
}

const views = async (): Promise<number> => JSON.parse((await get(`/${uid}/views`)).text).liveViewers;
const api = apiOf(() => sluice.ready);

/** The media playlist of a rendition, another one each time. */
async function playlists(): Promise<() => string> {
  const { videoUID } = JSON.parse((await get(`/${uid}/lifecycle`)).text);
  let count = 0;
  return () => `/${uid}/manifest/${videoUID}/${count++ % 2 ? "audio" : "source"}.m3u8`;
}
const from = (address: string, agent = "Player/1") => ({ "x-forwarded-for": address, "user-agent": agent });
const named = (session: string) => ({ query: `CMCD=${encodeURIComponent(`br=1,sf=h,sid="${session}"`)}` });

test("each viewer counts once, however he comes, and for as long as he watches", async () => {
  const next = await playlists();
  expect(await views()).toBe(0);
  const way = await wayTo(sluice.ready, uid);
  const opened = performance.now();
  const moq = async (path: string) => {
    const session = await MoqViewer.open(way, path);
    sessions.push(session);
    for (const name of ["catalog", "source.0", "audio.0"]) session.subscribe(uid, name);
    await session.until(() => (session.tracks.get("source.0")?.[0]?.objects.length ?? 0) > 0);
    return session;
  };
  const anonymous = await moq(`/${uid}`);
  const both = await moq(`/${uid}?CMCD=${encodeURIComponent('sid="both"')}`);
  let roamed = 0;
  const http = [
    // Without a name by address and program, over new connections and renditions.
    watch(next, () => from("192.0.2.1")),
    watch(next, () => from("192.0.2.2")),
    watch(next, () => from("192.0.2.2", "Television/2")),
    // Two of the same kind behind one address, who say who they are.
    watch(next, () => ({ ...from("192.0.2.3"), ...named("one") })),
    watch(next, () => ({ ...from("192.0.2.3"), "cmcd-session": 'sid="two"' })),
    // One of Apple's, from another network each time.
    watch(next, () => ({ ...from(`198.51.100.${(roamed++ % 9) + 1}`), "x-playback-session-id": "A-1" })),
    // DASH, by its manifest.
    watch(
      () => `/${uid}/manifest/video.mpd`,
      () => from("192.0.2.4"),
    ),
  ];
  // The same as over QUIC, as a player does that falls back.
  const again = watch(next, () => ({ ...from("192.0.2.5"), ...named("both") }));
  const all = http.length + 2;
  await expect.poll(views, { timeout: 10_000 }).toBe(all);
  for (let i = 0; i < 8; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await views(), "nobody counts twice, nobody is missed").toBe(all);
  }
  const health = await api(`GET /v1/live_inputs/${uid}/health`);
  expect(health).toMatchObject({ viewers: all, viewersBy: { hls: 6, dash: 1, moq: 2 } });
  const figures = await (await fetch(`${sluice.ready.metrics}/metrics`)).text();
  expect(figures).toMatch(/sluice_viewers\{protocol="moq",role="origin"\} 2/);

  // Who leaves is gone in seconds; over QUIC at once.
  anonymous.close();
  both.close();
  const quicMs = 2 * (performance.now() - opened);
  await expect.poll(views, { timeout: 3_000 }).toBe(http.length + 1);
  for (const one of [...http, again]) await one.stop();
  const stopped = performance.now();
  await expect.poll(views, { timeout: 15_000 }).toBe(0);
  expect(performance.now() - stopped).toBeLessThan(14_000);

  // The one on both ways was there over QUIC, and by playlists after that.
  const knownMs = http.reduce((sum, { watchedMs }) => sum + watchedMs, quicMs);
  const path = `/v1/live_inputs/${uid}/analytics`;
  await expect.poll(async () => (await api(`GET ${path}`)).totals.views, { timeout: 15_000 }).toBe(all);
  const { totals, videos } = await api(`GET ${path}`);
  expect(totals.peakViewers).toBe(all);
  expect(totals.watchMinutes).toBeGreaterThan((0.93 * knownMs) / 60_000);
  expect(totals.watchMinutes).toBeLessThan((1.07 * knownMs) / 60_000);
  expect(totals.watchMinutesBy.dash).toBeGreaterThan(0);
  expect(videos).toHaveLength(1);
  expect((await api(`GET /v1/videos/${videos[0].uid}/analytics`)).totals).toEqual(totals);
  expect((await api("GET /v1/analytics")).inputs).toMatchObject([{ uid, views: all }]);
});

test("a player's reports count behind a cache that answers all else; when it says that it leaves it is gone", async () => {
  const report = (state: string, more = "") =>
    fetch(`${sluice.ready.http}/${uid}/cmcd`, {
      method: "POST",
      headers: from("192.0.2.7") as Record<string, string>,
      body: `e=t,ltc=1900,mtp=(8000),sid="r",sta=${state},ts=1,v=2${more}\n`,
    });
  expect((await report("s")).status).toBe(204);
  await report("p", ",msd=700");
  await expect.poll(views).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  await report("r");
  await report("q");
  await expect.poll(views, { timeout: 2_000 }).toBe(0);
  await expect
    .poll(async () => (await api(`GET /v1/live_inputs/${uid}/analytics`)).totals.quality, { timeout: 15_000 })
    .toMatchObject({ stalls: 1, errors: 0, startupSeconds: 0.7, throughputKbps: 8_000, latencySeconds: 1.9 });
  const large = await fetch(`${sluice.ready.http}/${uid}/cmcd`, { method: "POST", body: "x".repeat(20_000) });
  expect(large.status).toBe(413);
});

test("how many watch is said to those who may watch, unless their owner hides it", async () => {
  const set = (recording: object) => api(`PUT /live_inputs/${uid}`, { recording });
  await set({ hideLiveViewerCount: true });
  expect((await get(`/${uid}/views`)).status).toBe(404);
  await set({ hideLiveViewerCount: false, requireSignedURLs: true });
  expect((await get(`/${uid}/views`)).status).toBe(403);
  await set({ requireSignedURLs: false });
  expect(await views()).toBe(0);
});

test("kill -9 of the origin takes seconds of what was watched, and its health stays", async () => {
  const path = `/v1/live_inputs/${uid}/analytics`;
  const before = (await api(`GET ${path}`)).totals.watchMinutes;
  const watcher = watch(await playlists(), () => from("192.0.2.9"));
  await new Promise((resolve) => setTimeout(resolve, 7_000));
  const killedMs = watcher.watchedMs;
  process.kill(descendants(sluice.pid, "role origin")[0]!, "SIGKILL");
  await watcher.stop().catch(() => undefined);
  watching.pop();
  const counted = async () => ((await api(`GET ${path}`)).totals.watchMinutes - before) * 60_000;
  await expect.poll(counted, { timeout: 20_000 }).toBeGreaterThan(killedMs - 6_000);
  expect(await counted()).toBeLessThan(killedMs + 1_000);
  const kept = await api(`GET /v1/live_inputs/${uid}/health/history?step=10`);
  expect(kept.points.length).toBeGreaterThan(0);
});
