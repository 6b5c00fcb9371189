import { afterAll, beforeAll, expect, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { type Line, openLine } from "../support/throttle.ts";
import { untilLive } from "../support/viewer.ts";

let sluice: Sluice;
let line: Line;
const encoders: Publisher[] = [];
beforeAll(async () => {
  sluice = await startSluice();
  line = await openLine(Number(new URL(sluice.ready.rtmp!).port));
});
afterAll(async () => {
  for (const encoder of encoders) await encoder.kill();
  await line.close();
  await sluice.stop();
});

interface Point {
  readonly at: number;
  readonly kbps: number;
  readonly fps: number;
  readonly gopSeconds: number;
  readonly uploadRatio: number;
  readonly lagSeconds: number;
  readonly connected: boolean;
}

const api = apiOf(() => sluice.ready);

test("an upload that is too slow, and one that breaks off, are seen as they happen and afterwards", async () => {
  const { uid, streamKey, rtmp, http } = sluice.ready;
  const url = new URL(rtmp!);
  url.port = String(line.port);
  const begin = () => encoders.push(publish({ url: `${url}/${streamKey}`.replace(/([^:])\/\//, "$1/") }));
  const path = `/v1/live_inputs/${uid}/health/history`;
  // As a dashboard follows it: each time what is new.
  const points: Point[] = [];
  let since = 0;
  const until = (is: (point: Point) => boolean) =>
    expect
      .poll(
        async () => {
          const more = await api<{ next: number; points: Point[] }>(`GET ${path}?step=1&since=${since}`);
          since = more.next;
          points.push(...more.points);
          return more.points.some(is);
        },
        { timeout: 30_000, interval: 500 },
      )
      .toBe(true);

  begin();
  await untilLive(`${http}/${uid}`);
  await until(({ fps, gopSeconds }) => fps >= 25 && gopSeconds === 1);
  const well = points.at(-1)!;
  expect(well.uploadRatio).toBeGreaterThan(0.8);
  expect(well.kbps).toBeGreaterThan(100);

  // About half of what the encoder sends.
  line.limit((well.kbps * 1000) / 8 / 2);
  await until(({ uploadRatio, lagSeconds }) => uploadRatio < 0.8 && lagSeconds > 1.5);
  const now = await api<{ uploadRatio: number; lagSeconds: number }>(`GET /v1/live_inputs/${uid}/health`);
  expect(now.lagSeconds).toBeGreaterThan(1);
  line.cut();
  await until(({ connected, kbps, uploadRatio }) => !connected && kbps === 0 && uploadRatio === 0);
  line.limit(undefined);
  begin();
  await until(({ connected, uploadRatio, lagSeconds }) => connected && uploadRatio > 0.8 && lagSeconds < 1);

  const kept = (await api<{ points: Point[] }>(`GET ${path}?step=1`)).points;
  expect(kept.slice(0, points.length)).toEqual(points);
  const distances = kept.slice(1).map(({ at }, i) => at - kept[i]!.at);
  expect(Math.max(...distances), "no hole while it is on air").toBeLessThan(2_500);
  // A point of ten seconds is there when they are over.
  const isSeen = ({ uploadRatio, connected }: Point) => uploadRatio < 0.9 || !connected;
  await expect
    .poll(async () => (await api<{ points: Point[] }>(`GET ${path}`)).points.some(isSeen), {
      timeout: 25_000,
    })
    .toBe(true);
});
