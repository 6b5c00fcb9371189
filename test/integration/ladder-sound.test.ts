import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { concat } from "../support/bytes.ts";
import { audioEncoders, encode, tagsOf, videoEncoders } from "../support/encoded.ts";
import { long } from "../support/long.ts";
import { startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { type Listed, openViewer, type Viewer } from "../support/viewer.ts";

const minute = 60_000;
let sluice: Sluice;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-sound-"));
  sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
}, minute);
afterAll(async () => {
  await sluice?.stop();
  await rm(folder, { recursive: true });
});

/** A tone for a fifth of each second, in the middle of it: keyframes, and with them segments, stand at its beginning. */
const beeping = "-filter volume=enable='gt(mod(t+0.5\\,1)\\,0.2)':volume=0";

const publishes = [
  { sound: "ac-3", video: ["avc1"], size: "320x180", listed: ["aac", "audio", "source"] },
  { sound: "Opus", video: ["avc1"], size: "640x400", listed: ["360p", "aac", "audio", "source"] },
  { sound: "Opus", video: [], size: "no picture", listed: ["aac", "audio"] },
  { sound: "ac-3", video: [], size: "no picture", listed: ["aac", "audio"] },
] as const;
test.for(publishes.filter(({ sound }) => long || sound !== "ac-3"))(
  "a publish with $sound and $size is heard as AAC, too, in time with it: $listed",
  { timeout: minute },
  async ({ sound, video, size, listed }) => {
    onTestFailed(() => console.error(sluice.log()));
    const options = {
      seconds: 6,
      video: video.map((codec) => videoEncoders[codec]),
      ...(video[0] && { size }),
    };
    const tags = tagsOf(await encode({ ...options, audio: [`${audioEncoders[sound]} ${beeping}`] }));
    const { rtmp, streamKey, http, uid } = sluice.ready;
    const sender = await startSender(`${rtmp}/${streamKey}`, tags);
    try {
      const viewer = await openViewer(`${http}/${uid}`);
      expect([...viewer.renditions.keys()].sort()).toEqual(listed);
      expect(viewer.text).toMatch(
        video[0]
          ? /CODECS="avc1\.\w+,mp4a\.40\.2".*,AUDIO="audio-1"/
          : /CODECS="mp4a\.40\.2",.*\n.*\/aac\.m3u8/,
      );
      const enough = (segments: readonly Listed[]) => segments.filter(({ gap }) => !gap).length >= 6;
      const made = (await viewer.follow("aac", enough, 30_000)).filter(({ gap }) => !gap).slice(1, 6);
      const last = made.at(-1)!.number;
      const source = await viewer.follow("audio", (segments) => segments.at(-1)!.number >= last);
      const same = source.filter(({ number }) => made.some((one) => one.number === number));
      expect(same.map(({ number }) => number)).toEqual(made.map(({ number }) => number));
      const [ours, theirs] = [await beeps(viewer, "aac", made), await beeps(viewer, "audio", same)];
      expect(theirs.length).toBeGreaterThanOrEqual(4);
      expect(ours, `beside ${theirs}`).toHaveLength(theirs.length);
      for (const [i, at] of ours.entries()) expect(Math.abs(at - theirs[i]!)).toBeLessThan(0.025);
      for (const name of viewer.renditions.keys())
        for (const segment of (await viewer.follow(name, enough)).filter(({ gap }) => !gap))
          await viewer.fetch(name, segment);
      expect(viewer.exceeded().filter((line) => line.startsWith("aac"))).toEqual([]);
      expect(viewer.judge.violations).toEqual([]);
    } finally {
      await sender.close();
    }
  },
);

/** When each tone begins, in seconds of the broadcast, after ffmpeg has decoded these segments without an error. */
async function beeps(viewer: Viewer, name: string, segments: readonly Listed[]): Promise<number[]> {
  const init = await fetch(segments[0]!.uri.replace(/[^/]+$/, "init.mp4"));
  const media = await Promise.all(segments.map((segment) => viewer.fetch(name, segment)));
  const file = join(folder, `${name}.mp4`);
  await writeFile(file, concat([new Uint8Array(await init.arrayBuffer()), ...media]));
  const filter = "silencedetect=noise=-35dB:duration=0.3";
  const args = ["-hide_banner", "-xerror", "-copyts", "-i", file, "-af", filter, "-f", "null", "-"];
  const { stderr } = await promisify(execFile)("ffmpeg", args);
  return [...stderr.matchAll(/silence_end: ([\d.]+)/g)].map(([, seconds]) => Number(seconds));
}
