import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { publish } from "../support/ffmpeg.ts";
import { checkRecording } from "../support/recording-check.ts";
import { type S3Fake, startS3 } from "../support/s3-fake.ts";
import { runSluice, type Sluice, startSluice } from "../support/sluice.ts";
import { hashOf, mediaOf, openWitness } from "../support/witness.ts";

const run = promisify(execFile);
let fake: S3Fake;
let dataDir: string;
let sluice: Sluice;
let env: Readonly<Record<string, string>>;
beforeAll(async () => {
  fake = await startS3();
  dataDir = mkdtempSync(join(tmpdir(), "sluice-bucket-"));
  env = {
    SLUICE_S3_BUCKET: fake.bucket,
    SLUICE_S3_ENDPOINT: fake.endpoint,
    SLUICE_S3_REGION: fake.region,
    SLUICE_S3_PREFIX: "sluice/",
    SLUICE_S3_ACCESS_KEY_ID: fake.accessKeyId,
    SLUICE_S3_SECRET_ACCESS_KEY: fake.secretAccessKey,
  };
  sluice = await startSluice({ dataDir, env });
});
afterAll(async () => {
  await sluice?.stop();
  await fake?.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const api = apiOf(() => sluice.ready);

test("a broadcast ends up in the bucket, plays from there with the same bytes, is verified there and removed from there", async () => {
  const { uid, streamKey, rtmp, http, apiToken } = sluice.ready as Required<typeof sluice.ready>;
  // The bucket is away while it is recorded.
  fake.rules.push({ fault: { how: "status", status: 503, code: "SlowDown" } });
  const encoder = publish({ url: `${rtmp}/${streamKey}`, seconds: 6 });
  const witness = await openWitness(`${http}/${uid}`);
  const lifecycle = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as { videoUID: string };
  const video = lifecycle.videoUID;
  await encoder.ended;
  await witness.done;
  expect(witness.faults).toEqual([]);
  const here = () => readdirSync(join(dataDir, "recordings", video)).filter((name) => name.endsWith(".mp4"));
  await sluice.said(/storage cannot be written/);
  expect(here()).toEqual(["audio-0.mp4", "source-0.mp4"]);
  // Back, and not yet well.
  const wrong = (["reset", "corrupt", "error body"] as const).map((how) => ({ times: 1, fault: { how } }));
  fake.rules.splice(0, 1, ...wrong.map((rule) => ({ ...rule, method: "PUT" })));
  await expect.poll(here, { timeout: 30_000 }).toEqual([]);
  expect(fake.rules.map(({ times }) => times)).toEqual([0, 0, 0]);
  fake.rules.length = 0;
  expect([...fake.objects.keys()].sort()).toEqual(
    ["audio-0.mp4", "journal", "source-0.mp4"].map((name) => `sluice/${video}/${name}`),
  );

  const bucket = new Map([...fake.objects].map(([key, bytes]) => [key.replace("sluice/", ""), bytes]));
  const { seen } = witness;
  expect(await checkRecording({ dataDir, http, apiToken, video, seen, bucket })).toEqual([]);
  const list = `${http}/${video}/manifest/${video}/source.m3u8`;

  const recordings = (verb: string) => runSluice(["recordings", verb, "--data", dataDir], env);
  expect(await recordings("verify")).toMatchObject({ code: 0, output: expect.stringContaining("1 whole") });
  const key = `sluice/${video}/source-0.mp4`;
  const kept = fake.objects.get(key)!;
  fake.objects.set(key, kept.subarray(1));
  const verified = await recordings("verify");
  expect(verified).toMatchObject({ code: 1, output: expect.stringContaining("source-0.mp4 has") });
  fake.objects.set(key, kept);

  // Of this machine nothing is left: what is in the bucket is enough.
  await sluice.stop();
  for (const name of readdirSync(dataDir).filter(
    (one) => one.startsWith("sluice.db") || one === "recordings",
  ))
    rmSync(join(dataDir, name), { recursive: true });
  sluice = await startSluice({ dataDir, env, args: ["--http-port", new URL(http).port] });
  const listed = () => api("GET");
  expect(await listed()).toEqual([]);
  expect(await recordings("rebuild-index")).toMatchObject({
    code: 0,
    output: expect.stringMatching(/journal is back from the bucket; 2 files[\s\S]*1 of them put back/),
  });
  expect(await recordings("verify")).toMatchObject({ code: 0, output: expect.stringContaining("1 whole") });
  expect(await listed()).toMatchObject([{ uid: video, readyToStream: true, requireSignedURLs: true }]);
  // Its live input is not known any more, so nobody is let in without a token, until the owner says otherwise.
  expect((await fetch(list)).status).not.toBe(200);
  await api(`POST /${video}`, { requireSignedURLs: false });
  await expect.poll(async () => (await fetch(list)).status).toBe(200);
  await derived(video);
  for (const [url, hash] of witness.seen) {
    // The addresses of the live input are those of another one now.
    const [, rest] = url.split(`/${uid}/`) as [string, string];
    expect(await hashOf(`${http}/${video}/${rest}`), url).toBe(hash);
  }

  await api(`DELETE /${video}`);
  await expect.poll(() => fake.objects.size, { timeout: 10_000 }).toBe(0);
  expect(sluice.log()).not.toContain(fake.secretAccessKey);
});

/** Everything that is made of a recording, while none of its media is on this disk or in memory. */
async function derived(video: string): Promise<void> {
  const base = `${sluice.ready.http}/${video}`;
  const get = async (path: string) => {
    const answer = await fetch(`${base}/${path}`);
    return { status: answer.status, type: answer.headers.get("content-type"), bytes: await answer.bytes() };
  };
  // Nobody is told that something is missing because its bucket does not let us in.
  fake.rules.push({ method: "GET", fault: { how: "status", status: 403, code: "AccessDenied" } });
  const whole = `${base}/manifest/${video}/source.m3u8`;
  const segment = mediaOf(await (await fetch(whole)).text(), whole).at(-1)!;
  for (const url of [`${base}/thumbnails/thumbnail.jpg?time=2s`, segment])
    expect((await fetch(url)).status, url).toBe(503);
  fake.rules.length = 0;

  const before = fake.requests.filter((line) => line.startsWith("GET")).length;
  const movie = await get("downloads/default.mp4");
  expect([movie.status, movie.type]).toEqual([200, "video/mp4"]);
  await decodes("movie.mp4", movie.bytes);
  expect(fake.requests.filter((line) => line.startsWith("GET")).length).toBeGreaterThan(before);
  const middle = await fetch(`${base}/downloads/default.mp4`, { headers: { range: "bytes=5000-90000" } });
  expect(Buffer.compare(await middle.bytes(), movie.bytes.subarray(5_000, 90_001))).toBe(0);
  const clip = await get("clip.mp4?time=1s&duration=3s");
  expect(clip.status).toBe(200);
  await decodes("clip.mp4", clip.bytes);
  const list = `${base}/manifest/${video}/source.m3u8?time=1s&duration=3s`;
  const listed = mediaOf(await (await fetch(list)).text(), list);
  expect(listed.length).toBeGreaterThan(2);
  for (const url of listed) expect((await fetch(url)).status, url).toBe(200);

  for (const form of ["jpg", "gif"]) {
    const picture = await get(`thumbnails/thumbnail.${form}?time=2s&height=90`);
    expect([picture.status, picture.type]).toEqual([200, `image/${form === "jpg" ? "jpeg" : form}`]);
  }
  const tiles = Buffer.from((await get("storyboard.vtt")).bytes).toString();
  const sprite = /^(storyboard\/.*\.jpg)#xywh/m.exec(tiles)![1]!;
  expect(await get(sprite)).toMatchObject({ status: 200, type: "image/jpeg" });

  // A clip of its own is made here and follows into the bucket.
  const part = { clippedFromVideoUID: video, startTimeSeconds: 1, endTimeSeconds: 4 };
  const made = await api<{ uid: string }>("POST /clip", part);
  const objects = () => [...fake.objects.keys()].filter((key) => key.includes(made.uid)).length;
  await expect.poll(objects, { timeout: 10_000 }).toBe(3);
  const address = `${sluice.ready.http}/${made.uid}/manifest/${made.uid}/source.m3u8`;
  for (const url of mediaOf(await (await fetch(address)).text(), address))
    expect((await fetch(url)).status, url).toBe(200);
  await api(`DELETE /${made.uid}`);
  await expect.poll(objects, { timeout: 10_000 }).toBe(0);

  // Deleted while it is on its way there, and what is on its way arrives.
  fake.rules.push({ method: "PUT", fault: { how: "late", ms: 1_000 } });
  const next = await api<{ uid: string }>("POST /clip", part);
  await expect.poll(() => fake.late.size, { timeout: 10_000 }).toBe(1);
  await api(`DELETE /${next.uid}`);
  await expect.poll(() => sluice.log(), { timeout: 20_000 }).toMatch(removalOf(next.uid));
  fake.rules.length = 0;
  expect([fake.late.size, [...fake.objects.keys()].filter((key) => key.includes(next.uid))]).toEqual([0, []]);
  expect(readdirSync(join(dataDir, "recordings"))).not.toContain(next.uid);
}

const removalOf = (uid: string): RegExp => new RegExp(`${uid}.*recording removed|recording removed.*${uid}`);

async function decodes(name: string, bytes: Uint8Array): Promise<void> {
  const path = join(dataDir, name);
  writeFileSync(path, bytes);
  const { stderr } = await run("ffmpeg", ["-v", "error", "-xerror", "-i", path, "-f", "null", "-"]);
  expect(stderr).toBe("");
}

test.for([
  {
    name: "a bucket that takes everything",
    change: {},
    says: "✓ storage: media takes, gives back, lists and removes",
  },
  {
    name: "a wrong secret",
    change: { SLUICE_S3_SECRET_ACCESS_KEY: "wrong" },
    says: "✗ storage: the secret does not fit the access key: correct s3SecretAccessKey",
  },
  { name: "a wrong bucket", change: { SLUICE_S3_BUCKET: "other" }, says: 'has no bucket "other"' },
  { name: "nobody there", change: { SLUICE_S3_ENDPOINT: "http://127.0.0.1:1" }, says: "ECONNREFUSED" },
])("the doctor says of $name what it is", async ({ change, says }) => {
  const { output } = await runSluice(["doctor", "--data", dataDir], { ...env, ...change });
  expect(output).toContain(says);
  expect(output).not.toContain(fake.secretAccessKey);
  expect(fake.objects.size).toBe(0);
});
