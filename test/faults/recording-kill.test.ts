import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { descendants } from "../bench/processes.ts";
import { publish } from "../support/ffmpeg.ts";
import { randomOf } from "../support/random.ts";
import { checkRecording } from "../support/recording-check.ts";
import { startSluice } from "../support/sluice.ts";
import { openWitness } from "../support/witness.ts";

/** `SLUICE_KILLS=50 SLUICE_SEED=7 npm test -- recording-kill` is the long form. */
const kills = Number(process.env.SLUICE_KILLS ?? 2);
const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
vi.setConfig({ testTimeout: 60_000 + kills * 20_000 });

test("an origin that is killed at any moment takes nothing that was announced, and the broadcast goes on", async () => {
  console.log(`${kills} kills from seed ${seed}`);
  const dataDir = mkdtempSync(join(tmpdir(), "sluice-kill-"));
  const sluice = await startSluice({ dataDir, args: ["--timeout-seconds", "20"] });
  try {
    const { uid, streamKey, rtmp, http, apiToken } = sluice.ready as Required<typeof sluice.ready>;
    const encoder = publish({ url: `${rtmp}/${streamKey}` });
    const witness = await openWitness(`${http}/${uid}`);
    const { videoUID: video } = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as {
      videoUID: string;
    };
    const random = randomOf(seed);
    for (let i = 0; i < kills; i++) {
      // Somewhere in a segment that is being made, once it is on air again.
      const seen = witness.seen.size;
      await expect.poll(() => witness.seen.size, { timeout: 15_000 }).toBeGreaterThan(seen + 4);
      await new Promise((resolve) => setTimeout(resolve, random() * 2_500));
      process.kill(descendants(sluice.pid, "role origin")[0]!, "SIGKILL");
    }
    const seen = witness.seen.size;
    await expect.poll(() => witness.seen.size, { timeout: 15_000 }).toBeGreaterThan(seen + 4);
    await encoder.stop();
    await witness.done;
    expect(witness.faults).toEqual([]);
    const listing = [...witness.ended.values()][0]!.text;
    expect(listing.match(/^#EXT-X-DISCONTINUITY$/gm)?.length).toBe(kills);
    expect(await checkRecording({ dataDir, http, apiToken, video, seen: witness.seen })).toEqual([]);
  } finally {
    await sluice.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test("an origin that is killed as a broadcast ends has told of it when it is back", async () => {
  console.log(`seed ${seed}`);
  const random = randomOf(seed);
  const dataDir = mkdtempSync(join(tmpdir(), "sluice-kill-end-"));
  const sluice = await startSluice({ dataDir, args: ["--timeout-seconds", "2"] });
  try {
    const { uid, streamKey, rtmp, http, apiToken } = sluice.ready as Required<typeof sluice.ready>;
    for (let i = 0; i < Math.max(2, kills / 5); i++) {
      const encoder = publish({ url: `${rtmp}/${streamKey}`, seconds: 4 });
      const witness = await openWitness(`${http}/${uid}`);
      const lifecycle = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as { videoUID: string };
      await encoder.ended;
      await witness.done;
      await new Promise((resolve) => setTimeout(resolve, random() * 300));
      process.kill(descendants(sluice.pid, "role origin")[0]!, "SIGKILL");
      const video = lifecycle.videoUID;
      expect(await checkRecording({ dataDir, http, apiToken, video, seen: witness.seen })).toEqual([]);
    }
  } finally {
    await sluice.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
