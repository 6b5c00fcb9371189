import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { makeFlv } from "../support/flv.ts";
import { long } from "../support/long.ts";
import { checkRecording } from "../support/recording-check.ts";
import { startS3 } from "../support/s3-fake.ts";
import { startSender } from "../support/sender.ts";
import { runSluice, startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";
import { openWitness } from "../support/witness.ts";

/** `SLUICE_LONG=1 npm test -- bucket-away` is the long form: ten minutes. */
const awaySeconds = long ? 600 : 8;
vi.setConfig({ testTimeout: 120_000 + awaySeconds * 1_000 });

test(`a bucket that is away for ${awaySeconds} s costs disk and no media`, async () => {
  const fake = await startS3();
  const dataDir = mkdtempSync(join(tmpdir(), "sluice-bucket-away-"));
  const env = {
    SLUICE_S3_BUCKET: fake.bucket,
    SLUICE_S3_ENDPOINT: fake.endpoint,
    SLUICE_S3_REGION: fake.region,
    SLUICE_S3_ACCESS_KEY_ID: fake.accessKeyId,
    SLUICE_S3_SECRET_ACCESS_KEY: fake.secretAccessKey,
  };
  const sluice = await startSluice({ dataDir, env });
  try {
    const { uid, streamKey, rtmp, http, apiToken } = sluice.ready as Required<typeof sluice.ready>;
    const { tags } = await makeFlv({ seconds: 10, width: 320, height: 180, kbps: 300 });
    const videoOf = async () =>
      ((await (await fetch(`${http}/${uid}/lifecycle`)).json()) as { videoUID: string }).videoUID;
    const media = (video: string) =>
      readdirSync(join(dataDir, "recordings", video)).filter((name) => name.endsWith(".mp4"));
    fake.rules.push({ fault: { how: "status", status: 503, code: "SlowDown" } });
    const until = Date.now() + awaySeconds * 1_000;
    // One that ends while it is away, and one over all of that time.
    const videos: string[] = [];
    const witnesses: Awaited<ReturnType<typeof openWitness>>[] = [];
    for (const seconds of [4, awaySeconds]) {
      const sender = await startSender(`${rtmp}/${streamKey}`, tags);
      await untilLive(`${http}/${uid}`);
      videos.push(await videoOf());
      const witness = await openWitness(`${http}/${uid}`);
      witnesses.push(witness);
      const end = seconds === awaySeconds ? Math.max(until, Date.now() + 4_000) : Date.now() + 4_000;
      await new Promise((resolve) => setTimeout(resolve, end - Date.now()));
      await sender.close();
      await witness.done;
      expect(witness.faults).toEqual([]);
    }
    await sluice.said(/storage cannot be written/);
    expect(fake.objects.size).toBe(0);
    for (const video of videos) expect(media(video)).toEqual(["audio-0.mp4", "source-0.mp4"]);
    const spooled = async () => {
      const text = await (await fetch(`${sluice.ready.metrics}/metrics`)).text();
      return Number(/^sluice_recording_spooled_bytes\S* (\d+)/m.exec(text)?.[1]);
    };
    expect(await spooled()).toBeGreaterThan(100_000);
    fake.rules.length = 0;
    for (const video of videos) await expect.poll(() => media(video), { timeout: 60_000 }).toEqual([]);
    await expect.poll(spooled, { timeout: 10_000 }).toBe(0);
    for (const [i, { seen }] of witnesses.entries())
      expect(
        await checkRecording({ dataDir, http, apiToken, video: videos[i]!, seen, bucket: fake.objects }),
      ).toEqual([]);
    expect(await runSluice(["recordings", "verify", "--data", dataDir], env)).toMatchObject({
      code: 0,
      output: expect.stringContaining("2 whole"),
    });
  } finally {
    await sluice.stop();
    await fake.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
