import { chmod, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { findFfmpeg, findRedis } from "../../services/supervisor/programs.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { runSluice, type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer, type Viewer } from "../support/viewer.ts";

let folder: string;
let sluice: Sluice | undefined;
let publisher: Publisher | undefined;

afterEach(async () => {
  await publisher?.stop();
  await sluice?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A PATH whose ffmpeg is `script`, or that has none. */
async function pathWith(script: string | undefined): Promise<string> {
  folder = await mkdtemp(join(tmpdir(), "sluice-none-"));
  if (script === undefined) {
    await symlink(findRedis()!, join(folder, "redis-server"));
    return folder;
  }
  await writeFile(join(folder, "ffmpeg"), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, "ffmpeg"), 0o755);
  return `${folder}${delimiter}${process.env.PATH}`;
}

async function onAir(env: Readonly<Record<string, string>>): Promise<Viewer> {
  sluice = await startSluice({ env: { SLUICE_LADDER: "default", ...env } });
  const { rtmp, streamKey, http, uid } = sluice.ready;
  publisher = publish({ url: `${rtmp}/${streamKey}`, size: "640x400", gop: 1 });
  return openViewer(`${http}/${uid}`);
}

const lacks: readonly { name: string; script?: string; encoder?: string; says: RegExp; short?: true }[] = [
  { name: "missing", says: /ffmpeg is (not installed|missing).*apt-get install ffmpeg/, short: true },
  {
    name: "too old",
    script: 'echo "ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"',
    says: /ffmpeg 4\.4 is too old: install 5 or newer/,
  },
  {
    name: "without the encoder",
    script: 'echo "ffmpeg version 6.1"; echo " V....D mpeg4  MPEG-4"',
    says: /this ffmpeg has no libx264 encoder: install a build with it/,
  },
  {
    name: "asked for hardware that is not there",
    script: `case "$*" in *h264_nvenc*) echo "[h264_nvenc @ 0x1] [error] Cannot load libcuda.so.1" >&2; exit 1;; esac; exec ${findFfmpeg()} "$@"`,
    encoder: "nvenc",
    says: /encoder is nvenc, which does not work here \(Cannot load libcuda\.so\.1\): install NVIDIA's driver/,
    short: true,
  },
];
test.for(lacks.filter(({ short }) => long || short))(
  "where ffmpeg is $name, doctor and the start say what to do, and the source plays",
  async (c) => {
    const env = { PATH: await pathWith(c.script), ...(c.encoder && { SLUICE_ENCODER: c.encoder }) };
    const viewer = await onAir(env);
    expect(sluice!.log()).toMatch(c.says);
    // Nothing is promised that nobody makes.
    expect([...viewer.renditions.keys()].sort()).toEqual(["audio", "source"]);
    await viewer.follow("source", (segments) => segments.filter((one) => !one.gap).length >= 2);
    expect(viewer.judge.violations).toEqual([]);
    const { output } = await runSluice(["doctor", "--data", sluice!.dataDir], env);
    expect(output).toMatch(c.says);
  },
);

test("an encoder that refuses its options is asked once, and nobody is left waiting for its rungs", async () => {
  const nonsense = `for a do shift; [ "$a" = superfast ] && a=nonsense; set -- "$@" "$a"; done; exec ${findFfmpeg()} "$@"`;
  const viewer = await onAir({ PATH: await pathWith(nonsense) });
  const began = performance.now();
  // A list that was made after the refusal does not name it any more.
  const answer = await fetch(viewer.renditions.get("source")!.replace("source.m3u8", "360p.m3u8"));
  expect(answer.status).toBe(404);
  // Held until it is known, not until a held request is given up.
  expect(performance.now() - began).toBeLessThan(8_000);
  await viewer.follow("source", (segments) => segments.filter((one) => !one.gap).length >= 4);
  expect(sluice!.log()).toMatch(/Error setting preset\/tune nonsense/);
  expect(sluice!.log().match(/encode opened/g)).toHaveLength(1);
  const { http, uid } = sluice!.ready;
  expect(await (await fetch(`${http}/${uid}/lifecycle`)).json()).toMatchObject({
    message: expect.stringMatching(/^No rendition below the source can be encoded/),
  });
});
