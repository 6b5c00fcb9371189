import { execFile } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createMpdJudge } from "../conformance/mpd-rules.ts";
import { apiOf, ask } from "../support/api.ts";
import { publish } from "../support/ffmpeg.ts";
import { checkRecording } from "../support/recording-check.ts";
import { runSluice, type Sluice, startSluice } from "../support/sluice.ts";
import { openWitness } from "../support/witness.ts";

let dataDir: string;
let sluice: Sluice;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "sluice-recording-"));
  sluice = await startSluice({ dataDir, args: ["--timeout-seconds", "6"] });
});
afterAll(async () => {
  await sluice?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const api = apiOf(() => sluice.ready);

test("the end of a broadcast is its recording: whole at once, under every URL that was announced, also after a restart", async () => {
  const { uid, streamKey, rtmp, http } = sluice.ready as Required<typeof sluice.ready>;
  const encoder = publish({ url: `${rtmp}/${streamKey}`, seconds: 18 });
  const witness = await openWitness(`${http}/${uid}`);
  const { videoUID: video } = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as {
    videoUID: string;
  };
  // Playable under the video's own uid before it ends.
  expect((await fetch(`${http}/${video}/manifest/video.m3u8`)).status).toBe(200);
  expect(await api(`GET /${video}`)).toMatchObject({ status: { state: "live-inprogress" }, duration: -1 });
  // Nobody writes to it but its origin.
  expect(await runSluice(["recordings", "repair", "--data", dataDir])).toMatchObject({
    code: 0,
    output: expect.stringContaining("0 not whole, 1 on air"),
  });
  await encoder.ended;
  await witness.done;
  expect(witness.faults).toEqual([]);
  // Who watched has the first segment again with the reload that brought the end.
  for (const { text } of witness.ended.values()) expect(text).toContain("#EXT-X-MEDIA-SEQUENCE:1\n");
  await expect.poll(() => api(`GET /${video}`)).toMatchObject({ status: { state: "ready" } });
  const what = { dataDir, http, apiToken: sluice.ready.apiToken, video, seen: witness.seen };
  // The last entry of the journal waits for the disk, nobody else does.
  expect(await checkRecording(what)).toEqual([]);

  await sluice.stop();
  const ports = ["--http-port", new URL(http).port];
  sluice = await startSluice({ dataDir, args: [...ports, "--timeout-seconds", "6"] });
  expect(await checkRecording(what)).toEqual([]);
  expect(await api(`GET /live_inputs/${uid}/videos`)).toMatchObject([{ uid: video, readyToStream: true }]);
  // The same rows for DASH, from the first on.
  const manifest = await (await fetch(`${http}/${video}/manifest/video.mpd`)).text();
  expect(createMpdJudge().manifest(manifest, Date.now())).toEqual([]);
  expect(manifest).toMatch(/type="static"[^>]* mediaPresentationDuration="PT1[78](\.\d+)?S"/);
  expect(manifest).toMatch(/<Period id="p1" start="PT0S"/);

  const folder = join(dataDir, "recordings");
  const journal = join(folder, video, "journal");
  const tend = (verb: string) => runSluice(["recordings", verb, "--data", dataDir]);
  expect(await tend("verify")).toMatchObject({
    code: 0,
    output: expect.stringContaining("1 whole, 0 mended"),
  });
  truncateSync(journal, statSync(journal).size - 100);
  // One that cannot be read at all keeps nobody from the others.
  const odd = join(folder, "0".repeat(32));
  mkdirSync(join(odd, "journal"), { recursive: true });
  const verified = await tend("verify");
  expect(verified).toMatchObject({ code: 1, output: expect.stringContaining("torn") });
  expect(verified.output).toMatch(/0{32}: it cannot be read: EISDIR/);
  rmSync(odd, { recursive: true });
  expect(await tend("repair")).toMatchObject({
    code: 0,
    output: expect.stringContaining("0 whole, 1 mended"),
  });
  expect(await tend("verify")).toMatchObject({ code: 0 });
  // What is left is what the store and the playlists say.
  expect(await checkRecording({ ...what, seen: new Map() })).toEqual([]);

  const media = join(folder, video, "source-0.mp4");
  const damage = (share: number): void => {
    const bytes = readFileSync(media);
    const moof = bytes.indexOf("moof", Math.floor(bytes.length * share));
    writeFileSync(media, bytes.fill(0, moof - 4, moof + 4));
  };
  damage(0.3);
  expect(await tend("repair")).toMatchObject({ code: 0, output: expect.stringContaining("are gaps now") });
  const first = await holed(video, 1);
  // While nobody can be told: control hears of it from the origin.
  await sluice.stop();
  damage(0.6);
  expect(await tend("repair")).toMatchObject({
    code: 0,
    output: expect.stringContaining("told to the store when Sluice starts"),
  });
  sluice = await startSluice({ dataDir, args: [...ports, "--timeout-seconds", "6"] });
  const second = await holed(video, 2);
  expect(second).toEqual(expect.arrayContaining(first));
  // From the media alone: behind what is damaged it goes on, under the same numbers.
  rmSync(journal);
  expect(await tend("rebuild-index")).toMatchObject({
    code: 0,
    // It comes out as it was, so the store knows all of it.
    output: expect.stringMatching(/written anew[\s\S]*0 of them put back/),
  });
  expect(await holed(video, 2)).toEqual(second);
  expect(await tend("verify")).toMatchObject({ code: 0 });

  // Deleted: nobody is shown it, and its files go.
  await api(`DELETE /${video}`);
  expect((await ask(sluice.ready, `GET /${video}`)).status).toBe(404);
  await expect.poll(() => readdirSync(folder)).not.toContain(video);
  expect((await fetch(`${sluice.ready.http}/${video}/manifest/video.m3u8`)).status).not.toBe(200);
});

/** Numbers that the source of this video lacks, once the API and its list say the same of so many; all else of it plays, and its file decodes. */
async function holed(video: string, count: number): Promise<number[]> {
  const { http } = sluice.ready;
  const list = `${http}/${video}/manifest/${video}/source.m3u8`;
  const listed = async (): Promise<number[]> => {
    const segments = (await (await fetch(list)).text()).split(/^#EXTINF:.*$/m);
    return segments.slice(0, -1).flatMap((before, i) => (before.includes("#EXT-X-GAP") ? [i + 1] : []));
  };
  const told = async (): Promise<number[]> => {
    const gaps = await api<{ rendition: string; from: number; to: number }[]>(`GET /v1/videos/${video}/gaps`);
    return gaps
      .filter(({ rendition }) => rendition === "source")
      .flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
  };
  await expect.poll(listed, { timeout: 5_000 }).toHaveLength(count);
  await expect.poll(told, { timeout: 5_000 }).toEqual(await listed());
  const file = `${http}/${video}/downloads/default.mp4`;
  const { stderr } = await promisify(execFile)("ffmpeg", [
    ...["-v", "error", "-xerror", "-i", file, "-f", "null", "-"],
  ]);
  expect(stderr).toBe("");
  return listed();
}
