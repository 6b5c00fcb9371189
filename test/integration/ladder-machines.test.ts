import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { redisVersion } from "../../services/lib/redis.ts";
import { findRedis } from "../../services/supervisor/programs.ts";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { freePorts } from "../support/ports.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer, type Viewer } from "../support/viewer.ts";

// One machine with everything but a worker, others with nothing else: TCP between them, a password and a secret.
const secret = "a long text that every machine knows";
const folder = mkdtempSync(join(tmpdir(), "sluice-redis-"));
let redis: ChildProcess;
let redisUrl: string;
let addresses: Readonly<Record<string, string>>;
let main: Sluice;
let publisher: Publisher;
let viewer: Viewer;
const workers: Sluice[] = [];

beforeAll(async () => {
  const [redisPort, control, ingest, origin] = await freePorts(4);
  redisUrl = `redis://:password@127.0.0.1:${redisPort}`;
  redis = spawn(
    findRedis()!,
    [
      "--port",
      `${redisPort}`,
      "--bind",
      "127.0.0.1",
      "--requirepass",
      "password",
      "--save",
      "",
      "--dir",
      folder,
    ],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  // Its last line before it answers.
  for await (const text of redis.stdout!) if (/eady to accept/.test(String(text))) break;
  expect(await redisVersion(redisUrl, 3_000)).toMatch(/^\d/);
  addresses = {
    SLUICE_CONTROL_ADDRESS: `http://127.0.0.1:${control}`,
    SLUICE_INGEST_ADDRESS: `http://127.0.0.1:${ingest}`,
    SLUICE_ORIGIN_ADDRESS: `http://127.0.0.1:${origin}`,
  };
  main = await machine("control,ingest,origin", secret);
  const { rtmp, streamKey, http, uid } = main.ready;
  publisher = publish({ url: `${rtmp}/${streamKey}`, size: "640x400", gop: 1 });
  viewer = await openViewer(`${http}/${uid}`);
});
afterAll(async () => {
  await publisher?.stop();
  for (const worker of workers) await worker.stop();
  await main?.stop();
  const gone = once(redis, "exit");
  redis.kill("SIGTERM");
  await gone;
  rmSync(folder, { recursive: true, force: true });
});

function machine(roles: string, internalSecret: string): Promise<Sluice> {
  return startSluice({
    env: {
      ...addresses,
      SLUICE_ROLES: roles,
      SLUICE_REDIS_URL: redisUrl,
      SLUICE_INTERNAL_SECRET: internalSecret,
      SLUICE_LADDER: "default",
    },
  });
}

test("a worker with another secret is refused with a sentence, and leaves the ladder to others", async () => {
  expect([...viewer.renditions.keys()].sort()).toEqual(["360p", "audio", "source"]);
  const stranger = await machine("worker", "not the text that they know");
  workers.push(stranger);
  const log = await stranger.said(/takes no ladder for a minute/);
  expect(log).toMatch(
    /internalSecret is missing or differs between the roles; set internalSecret here to that of the other machines/,
  );
  expect(log).not.toContain("password@");
  const unknown = await fetch(`${addresses.SLUICE_ORIGIN_ADDRESS}/internal/publishes`, { method: "POST" });
  expect(unknown.status).toBe(401);
});

const names = (of: Viewer) => [...of.renditions.keys()].sort();
const playback = () => `${main.ready.http}/${main.ready.uid}`;

/** What the owner is told at the playback and by the API. */
async function advice(): Promise<readonly unknown[]> {
  const { message } = (await (await fetch(`${playback()}/lifecycle`)).json()) as { message: unknown };
  const input = await apiOf(() => main.ready)(`GET /live_inputs/${main.ready.uid}`);
  return [message, input.status.current.advice ?? null];
}

test("rungs that no worker takes are not promised any more, and the owner is told", async () => {
  // Held for as long as one may still come.
  expect((await fetch(viewer.renditions.get("360p")!)).status).toBe(404);
  expect(names(await openViewer(playback()))).toEqual(["audio", "source"]);
  const said = expect.stringMatching(/^No rendition below the source is offered, because no worker takes/);
  await expect.poll(advice).toEqual([said, said]);
  expect(main.log().match(/this broadcast has no renditions below the source/g)).toHaveLength(1);
});

test("a worker on another machine makes the rungs over TCP, and they are promised again", async () => {
  const worker = await machine("worker", secret);
  workers.push(worker);
  await worker.said(/encode opened/);
  await viewer.follow("360p", (segments) => segments.filter((one) => !one.gap).length >= 2);
  expect(names(await openViewer(playback()))).toEqual(["360p", "audio", "source"]);
  await expect.poll(advice).toEqual([null, null]);
  expect(worker.log()).toMatch(/encode opened/);
  expect(viewer.judge.violations).toEqual([]);
});
