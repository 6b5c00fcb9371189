import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { apiOf } from "../support/api.ts";
import { publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { checkRecording } from "../support/recording-check.ts";
import { faultyDisk, type Sluice, startSluice } from "../support/sluice.ts";
import { openWitness } from "../support/witness.ts";

vi.setConfig({ testTimeout: 90_000 });

let dataDir: string;
let sluice: Sluice | undefined;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "sluice-disk-"));
});
afterEach(async () => {
  await sluice?.stop();
  sluice = undefined;
  if (mountable) spawnSync("umount", ["--lazy", join(dataDir, "recordings")]);
  rmSync(dataDir, { recursive: true, force: true });
});

/** A disk of its own needs rights that a container or a person may lack. */
const mountable = canMount();

function canMount(): boolean {
  const probe = mkdtempSync(join(tmpdir(), "sluice-mount-"));
  try {
    mount(probe, "size=1m");
    execFileSync("umount", [probe]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
}

function mount(folder: string, options: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { stdio: "pipe" });
}

const filler = (folder: string): string => join(folder, "filler");

/** There while the disk fails. */
const broken = (folder: string): string => join(folder, "..", "broken");
const failing = {
  says: /EIO/,
  break: (folder: string) => writeFileSync(broken(folder), ""),
  mend: (folder: string) => rmSync(broken(folder)),
  gaps: 2,
};

test.for([
  {
    name: "is read-only when it begins",
    needs: mountable,
    says: /EROFS/,
    before(folder: string) {
      mount(folder, "size=40m");
      mount(folder, "remount,ro");
      return {};
    },
    break: () => undefined,
    mend: (folder: string) => mount(folder, "remount,rw"),
    gaps: 0,
  },
  {
    name: "fills up",
    needs: mountable,
    says: /ENOSPC/,
    before(folder: string) {
      mount(folder, "size=40m");
      return {};
    },
    // To its last page.
    break: (folder: string) => void spawnSync("dd", ["if=/dev/zero", `of=${filler(folder)}`, "bs=4k"]),
    mend: (folder: string) => rmSync(filler(folder)),
    gaps: 2,
  },
  {
    name: "fails to write",
    needs: true,
    before: (folder: string) => faultyDisk(`while=${broken(folder)}&code=EIO`),
    ...failing,
  },
  {
    name: "fails to sync",
    needs: long,
    before: (folder: string) => faultyDisk(`unsynced=${broken(folder)}&code=EIO`),
    ...failing,
  },
])(
  "a disk that $name pauses the recording; live goes on, the owner is told, and the rest is whole",
  async ({ needs, says, before, gaps, ...disk }, { skip }) => {
    skip(!needs);
    const folder = join(dataDir, "recordings");
    mkdirSync(folder, { recursive: true });
    const env = before(folder);
    sluice = await startSluice({ dataDir, env, args: ["--timeout-seconds", "6", "--disk-floor-gb", "0"] });
    const { uid, streamKey, rtmp, http, apiToken } = sluice.ready as Required<typeof sluice.ready>;
    const api = apiOf(() => ({ http, apiToken }));
    const advice = async () => JSON.stringify(await api(`GET /live_inputs/${uid}`));
    const encoder = publish({ url: `${rtmp}/${streamKey}` });
    const witness = await openWitness(`${http}/${uid}`);
    const { videoUID: video } = (await (await fetch(`${http}/${uid}/lifecycle`)).json()) as {
      videoUID: string;
    };
    const more = async () => {
      const seen = witness.seen.size;
      await expect.poll(() => witness.seen.size, { timeout: 20_000 }).toBeGreaterThan(seen + 8);
    };
    await more();
    disk.break(folder);
    expect(await sluice.said(/recording paused; live goes on from memory/)).toMatch(says);
    await more();
    await expect.poll(advice, { timeout: 10_000 }).toContain("see to the disk");
    disk.mend(folder);
    await sluice.said(/recording goes on/);
    await more();
    await expect.poll(advice, { timeout: 10_000 }).not.toContain("see to the disk");
    await encoder.stop();
    await witness.done;
    expect(witness.faults).toEqual([]);
    // What was announced while the disk took nothing was served from memory, and is a gap of the recording.
    expect(await checkRecording({ dataDir, http, apiToken, video, seen: new Map() })).toEqual([]);
    const told = await api<unknown[]>(`GET /v1/videos/${video}/gaps`);
    expect(told.length).toBeGreaterThanOrEqual(gaps);
  },
);
