import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { descendants } from "../bench/processes.ts";
import { apiOf } from "../support/api.ts";
import { publish } from "../support/ffmpeg.ts";
import { randomOf } from "../support/random.ts";
import { startSluice } from "../support/sluice.ts";

/** `SLUICE_KILLS=50 SLUICE_SEED=7 npm test -- clip-kill` is the long form. */
const kills = Number(process.env.SLUICE_KILLS ?? 2);
const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
/** About as long as a clip takes from its call to its answer. */
const longestMs = 60;
vi.setConfig({ testTimeout: 60_000 + kills * 10_000 });

test("a clip is there whole or not at all, whoever is killed while it is made", async () => {
  console.log(`${kills} kills from seed ${seed}`);
  const dataDir = mkdtempSync(join(tmpdir(), "sluice-clip-kill-"));
  const sluice = await startSluice({ dataDir });
  try {
    const { streamKey, rtmp, http } = sluice.ready as Required<typeof sluice.ready>;
    const api = apiOf(() => sluice.ready);
    const recordings = (): string[] =>
      readdirSync(join(dataDir, "recordings"))
        .filter((name) => name !== "open")
        .sort();
    const videos = async (): Promise<string[] | undefined> => {
      const listed = await api<{ uid: string }[]>("GET").catch(() => undefined);
      return listed?.map(({ uid }) => uid).sort();
    };
    await publish({ url: `${rtmp}/${streamKey}`, seconds: 6 }).ended;
    await expect.poll(async () => (await videos())?.length, { timeout: 10_000 }).toBe(1);
    const source = (await videos())![0]!;
    await expect
      .poll(async () => (await api(`GET /${source}`)).status.state, { timeout: 20_000 })
      .toBe("ready");

    const random = randomOf(seed);
    const told: string[] = [];
    for (let i = 0; i < kills; i++) {
      const clip = { clippedFromVideoUID: source, startTimeSeconds: 1, endTimeSeconds: 4 };
      const made = api<{ uid: string }>("POST /clip", clip).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, random() * longestMs));
      process.kill(descendants(sluice.pid, i % 2 ? "role origin" : "role control")[0]!, "SIGKILL");
      const answered = await made;
      if (answered) told.push(answered.uid);
      // Back, and what the kill left is cleaned up.
      await expect.poll(videos, { timeout: 15_000 }).toBeDefined();
      await expect
        .poll(async () => ({ files: recordings(), rows: await videos() }), { timeout: 15_000 })
        .toSatisfy(({ files, rows }) => files.join() === rows?.join());
    }
    const last = await videos();
    for (const uid of told) expect(last).toContain(uid);
    for (const uid of last!) expect((await fetch(`${http}/${uid}/manifest/video.m3u8`)).status).toBe(200);
  } finally {
    await sluice.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
