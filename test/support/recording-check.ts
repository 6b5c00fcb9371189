import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { readRecording } from "../../services/recording/recovery.ts";
import { withoutHoles } from "../../services/recording/rows.ts";
import { ask } from "./api.ts";
import { hashOf, mediaOf } from "./witness.ts";

const run = promisify(execFile);

/** What is known of one recording from outside. */
export interface Checked {
  readonly dataDir: string;
  /** `http://host:port` */
  readonly http: string;
  readonly apiToken: string;
  readonly video: string;
  /** What viewers were served, by URL. */
  readonly seen: ReadonlyMap<string, string>;
  /** Where it went from this disk: bytes by `video/file`. */
  readonly bucket?: ReadonlyMap<string, Uint8Array>;
}

/** A recording is whole a while after its end, when the disk, the bucket and control have all of it. */
const settleMs = 30_000;

/** What is wrong with a recording that is over, once it has had its time to settle: see `faultsOf`. */
export async function checkRecording(checked: Checked): Promise<string[]> {
  for (const until = Date.now() + settleMs; ; ) {
    const faults = await faultsOf(checked).catch((error: unknown) => [String(error)]);
    if (faults.length === 0 || Date.now() > until) return faults;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

/** Journal = files = SQL = playlist, every gap was told, everything announced is there with the same bytes, and all of it decodes. Says what is not so. */
async function faultsOf(checked: Checked): Promise<string[]> {
  const { dataDir, video, bucket } = checked;
  const folder = join(dataDir, "recordings", video);
  if (!bucket) return faultsIn(folder, checked);
  // All of it in one place, as if it had never left this disk.
  const all = mkdtempSync(join(tmpdir(), "sluice-check-"));
  try {
    const faults: string[] = [];
    cpSync(join(folder, "journal"), join(all, "journal"));
    for (const [key, bytes] of bucket) {
      const [of, name = ""] = key.split("/");
      if (of !== video) continue;
      if (name === "journal" && Buffer.compare(bytes, readFileSync(join(folder, name))) !== 0)
        faults.push("the bucket has another journal");
      if (existsSync(join(folder, name)) && name !== "journal") faults.push(`${name} is still on this disk`);
      writeFileSync(join(all, name), bytes);
    }
    for (const name of readdirSync(folder))
      if (name.endsWith(".mp4") && !existsSync(join(all, name))) faults.push(`${name} is not in the bucket`);
    return [...faults, ...(await faultsIn(all, checked))];
  } finally {
    rmSync(all, { recursive: true });
  }
}

async function faultsIn(
  folder: string,
  { dataDir, http, apiToken, video, seen }: Checked,
): Promise<string[]> {
  const faults: string[] = [];
  const must = (holds: boolean, what: string): void => {
    if (!holds) faults.push(what);
  };
  const found = readRecording(folder, { all: true });
  if (!found) return [`${folder} has no journal`];
  const { contents, torn } = found;
  must(torn === undefined, `the journal against the files: ${torn}`);
  must(contents.endedMs !== undefined, "the journal has no end");
  must(!existsSync(join(dataDir, "recordings", "open", video)), "it is still marked as open");
  const sizes = readdirSync(folder)
    .filter((name) => name.endsWith(".mp4"))
    .map((name) => statSync(join(folder, name)).size);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  must(bytes === contents.bytes, `the files have ${bytes} bytes, the journal ${contents.bytes}`);

  const { result } = await ask<{ duration: number; size: number; status: { state: string } } | null>(
    { http, apiToken },
    `GET /${video}`,
  );
  must(result?.status.state === "ready", `the API says ${JSON.stringify(result?.status)}`);
  must(
    Math.abs((result?.duration ?? -1) - contents.seconds) < 0.001,
    `the API says ${result?.duration} s, the journal ${contents.seconds}`,
  );
  must(result?.size === contents.bytes, `the API says ${result?.size} bytes, the journal ${contents.bytes}`);

  const told = await ask<readonly { rendition: string; from: number; to: number }[] | null>(
    { http, apiToken },
    `GET /v1/videos/${video}/gaps`,
  );

  const master = `${http}/${video}/manifest/video.m3u8`;
  const top = await (await fetch(master)).text();
  for (const reel of contents.reels) {
    must(top.includes(`${video}/${reel.name}.m3u8`), `${reel.name} is not listed`);
    const address = new URL(`${video}/${reel.name}.m3u8`, master).href;
    const text = await (await fetch(address)).text();
    must(text.endsWith("#EXT-X-ENDLIST\n"), `${reel.name} has no ENDLIST`);
    const rows = withoutHoles(reel, contents.reels);
    const listed = text.match(/^#EXTINF:/gm)?.length ?? 0;
    must(listed === rows.length, `${reel.name} lists ${listed} segments, the journal has ${rows.length}`);
    const missing = rows.filter(({ gap }) => gap).map(({ number }) => number);
    const known = new Set(
      (told.result ?? [])
        .filter(({ rendition }) => rendition === reel.name)
        .flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
    );
    const untold = missing.filter((number) => !known.has(number));
    must(untold.length === 0, `nobody was told of the gaps ${untold} of ${reel.name}`);
    must(
      known.size === missing.length,
      `gaps of ${reel.name} were told that are none: ${[...known]}, ${missing}`,
    );
    for (const url of mediaOf(text, address))
      must((await hashOf(url)) !== undefined, `${url} is listed and not there`);
  }
  for (const [url, hash] of seen) must((await hashOf(url)) === hash, `${url} was announced with other bytes`);
  for (const name of readdirSync(folder)) {
    // An init on its own has no picture to decode.
    if (!name.endsWith(".mp4") || statSync(join(folder, name)).size < 2_000) continue;
    await run("ffmpeg", ["-v", "error", "-xerror", "-i", join(folder, name), "-f", "null", "-"]).catch(
      (error) => faults.push(`${name} does not decode: ${String(error.stderr ?? error)}`),
    );
  }
  return faults;
}
