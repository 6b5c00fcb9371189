import { fork } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { loadConfig } from "../../services/config.ts";
import { readRunning } from "../../services/supervisor/place.ts";
import { family, read } from "../support/family.ts";
import { runSluice, type Sluice, startSluice } from "../support/sluice.ts";

const started: Sluice[] = [];

async function start(options: Parameters<typeof startSluice>[0] = {}): Promise<Sluice> {
  const sluice = await startSluice(options);
  started.push(sluice);
  return sluice;
}

afterEach(async () => {
  for (const sluice of started.splice(0)) await sluice.stop();
});

/** Resolves when the process is gone: what a pidfd would say, read from /proc. */
async function gone(pid: number): Promise<void> {
  await expect.poll(() => isThere(pid), { timeout: 10_000, interval: 20 }).toBe(false);
}

function isThere(pid: number): boolean {
  const status = read(`/proc/${pid}/status`);
  // A zombie has ended; nobody has fetched its exit code yet.
  return status !== "" && !/^State:\s+Z/m.test(status);
}

test("the ready file holds what a script needs to publish, watch and call the API", async () => {
  const { ready, log } = await start();
  expect(ready).toEqual({
    rtmp: expect.stringMatching(/^rtmp:\/\/localhost:\d+\/live$/),
    rtmps: expect.stringMatching(/^rtmps:\/\/localhost:\d+\/live$/),
    http: expect.stringMatching(/^http:\/\/localhost:\d+$/),
    https: expect.stringMatching(/^https:\/\/localhost:\d+$/),
    uid: expect.stringMatching(/^[0-9a-f]{32}$/),
    streamKey: expect.stringMatching(/^[\w-]{43}k[0-9a-f]{32}$/),
    apiToken: expect.stringMatching(/^\S{20,}$/),
    dashboard: expect.stringMatching(/^http:\/\/localhost:\d+\/dashboard#link=[\w-]{20,}$/),
    metrics: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
  });
  for (const text of [
    ready.rtmp!,
    ready.rtmps,
    ready.streamKey,
    `${ready.http}/${ready.uid}/watch`,
    `${ready.http}/docs`,
  ])
    expect(log()).toContain(text);
});

test("liveness, readiness and the figures of every process answer at the metrics address", async () => {
  const { ready } = await start();
  expect((await fetch(`${ready.metrics}/livez`)).status).toBe(200);
  expect((await fetch(`${ready.metrics}/readyz`)).status).toBe(200);
  const figures = await (await fetch(`${ready.metrics}/metrics`)).text();
  for (const role of ["supervisor", "control", "ingest", "origin"])
    expect(figures).toMatch(new RegExp(`^process_resident_memory_bytes\\{role="${role}"\\} \\d+`, "m"));
  expect(figures.match(/^# TYPE process_resident_memory_bytes /gm)).toHaveLength(1);
});

test("a role that is killed comes back on its ports, and the others do not notice", async () => {
  const sluice = await start();
  const before = family(sluice.pid);
  expect(Object.keys(before).sort()).toEqual(["control", "ingest", "origin", "redis"]);
  for (const role of ["ingest", "control", "origin"]) {
    const now = family(sluice.pid);
    process.kill(now[role]!, "SIGKILL");
    await sluice.said(new RegExp(`${role} is back`));
    const after = family(sluice.pid);
    expect(after[role]).not.toBe(now[role]);
    expect({ ...after, [role]: 0 }).toEqual({ ...now, [role]: 0 });
  }
  expect((await fetch(`${sluice.ready.http}/${sluice.ready.uid}/lifecycle`)).status).toBe(200);
  expect((await fetch(`${sluice.ready.metrics}/readyz`)).status).toBe(200);
});

test("a Redis that is killed comes back with its keys on the same socket", async () => {
  const sluice = await start();
  const { redis } = family(sluice.pid);
  process.kill(redis!, "SIGKILL");
  await sluice.said(/redis ended; starting again/);
  await expect.poll(() => family(sluice.pid).redis, { timeout: 5_000 }).toBeDefined();
  expect(family(sluice.pid).redis).not.toBe(redis);
});

test("a role that crashes again and again is reported once and does not take the others along", async () => {
  const sluice = await start();
  const others = family(sluice.pid);
  let killed = 0;
  for (let round = 0; round < 5; round++) {
    const fresh = () => family(sluice.pid).ingest ?? killed;
    await expect.poll(fresh, { timeout: 10_000, interval: 20 }).not.toBe(killed);
    killed = fresh();
    process.kill(killed, "SIGKILL");
  }
  const log = await sluice.said(/ingest crashes again and again/);
  expect(log.match(/crashes again and again/g)).toHaveLength(1);
  expect({ ...family(sluice.pid), ingest: 0 }).toEqual({ ...others, ingest: 0 });
});

test("SIGTERM stops everything in order, newest first, with exit code 0 and nothing left behind", async () => {
  const sluice = await start();
  const children = family(sluice.pid);
  const { runtime } = readRunning(sluice.dataDir)!;
  expect(existsSync(runtime)).toBe(true);
  expect(await sluice.stop()).toBe(0);
  for (const pid of Object.values(children)) expect(isThere(pid)).toBe(false);
  expect(existsSync(dirname(runtime))).toBe(false);
});

test("kill -9 of the supervisor leaves no process behind, Redis included", async () => {
  // Roles that have something to log at that moment find nobody who reads it.
  const sluice = await start({ env: { SLUICE_LOG_LEVEL: "trace" } });
  const children = family(sluice.pid);
  expect(Object.keys(children)).toHaveLength(4);
  process.kill(sluice.pid, "SIGKILL");
  for (const pid of Object.values(children)) await gone(pid);
});

test("a second signal ends it at once", async () => {
  const sluice = await start();
  const children = family(sluice.pid);
  // A stopped child cannot obey, so that an orderly stop would take its whole deadline.
  process.kill(children.ingest!, "SIGSTOP");
  process.kill(sluice.pid, "SIGTERM");
  await sluice.said(/stopping/);
  const began = performance.now();
  // Twice within a moment is one Ctrl-C that came two ways.
  await expect
    .poll(() => isThere(sluice.pid) && process.kill(sluice.pid, "SIGINT"), {
      timeout: 5_000,
    })
    .toBe(false);
  expect(performance.now() - began).toBeLessThan(3_000);
  for (const pid of Object.values(children)) await gone(pid);
});

test("a second start is ready within three seconds and keeps uid, key and token", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "sluice-data-"));
  try {
    const first = await startSluice({ dataDir });
    expect(await first.stop()).toBe(0);
    const began = performance.now();
    const second = await start({ dataDir });
    const took = performance.now() - began;
    const { uid, streamKey, apiToken } = second.ready;
    expect({ uid, streamKey, apiToken }).toEqual({
      uid: first.ready.uid,
      streamKey: first.ready.streamKey,
      apiToken: first.ready.apiToken,
    });
    // On a machine that is busy with other things, as much longer as it is busier.
    expect(took).toBeLessThan(3_000 * Math.max(1, loadavg()[0]! / availableParallelism()));
    await second.stop();
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

test("a data folder with a very long path works, and two Sluices live side by side", async () => {
  const parent = await mkdtemp(join(tmpdir(), "sluice-long-"));
  const dataDir = join(parent, "a-folder-with-quite-a-long-name".repeat(4), "and-another-below-it".repeat(6));
  try {
    const [long, other] = await Promise.all([start({ dataDir }), start()]);
    expect(Buffer.byteLength(dataDir)).toBeGreaterThan(250);
    expect(long.ready.uid).not.toBe(other.ready.uid);
    expect(Object.keys(family(long.pid)).sort()).toEqual(["control", "ingest", "origin", "redis"]);
    await long.stop();
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
});

test("a second Sluice on the same data folder is refused with a sentence", async () => {
  const { dataDir, pid } = await start();
  const { code, output } = await runSluice(["up", "--data", dataDir, "--http-port", "0"]);
  expect(code).toBe(1);
  expect(output.trim()).toBe(
    `Sluice (process ${pid}) already uses the data folder ${dataDir}. Stop it, or name another folder with --data`,
  );
});

test("a port that another program has is named with the setting to change", async () => {
  const { ready } = await start();
  const port = new URL(ready.http).port;
  const dataDir = await mkdtemp(join(tmpdir(), "sluice-data-"));
  const free = ["--https-port", "0", "--rtmp-port", "0", "--rtmps-port", "0"];
  const { code, output } = await runSluice(["up", "--data", dataDir, "--http-port", port, ...free]);
  expect(code).toBe(1);
  expect(output).toContain(
    `Sluice cannot start: httpPort: port ${port} is taken by another program; stop that, or choose another port with --http-port`,
  );
  await rm(dataDir, { recursive: true, force: true });
});

test("settings that are wrong are all listed at once, and the exit code is 2", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-config-"));
  await mkdir(folder, { recursive: true });
  const file = join(folder, "s.yaml");
  await writeFile(file, "htttpPort: 80\ntimeoutSeconds: 7000\n");
  const { code, output } = await runSluice(["up", "--config", file, "--rtmp-port", "70000"], {
    SLUICE_LOG_LEVEL: "loud",
  });
  expect(code).toBe(2);
  expect(output.trim().split("\n").sort()).toEqual([
    `  htttpPort (${file}): there is no such setting; did you mean httpPort?`,
    '  logLevel (SLUICE_LOG_LEVEL): "loud" is not trace, debug, info, warn, error or silent',
    "  rtmpPort (--rtmp-port): 70000 is not a whole number from 0 to 65535 (0 takes a free port)",
    `  timeoutSeconds (${file}): 7000 is not a number of seconds from 0 to 3600`,
    "Sluice cannot start: 4 settings are wrong.",
  ]);
  await rm(folder, { recursive: true, force: true });
});

test("what a role starts has none of the server's secrets in its environment", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-env-"));
  const seen = join(folder, "seen");
  await writeFile(join(folder, "ffmpeg"), `#!/bin/sh\nenv > ${seen}.new; mv ${seen}.new ${seen}; exit 1\n`, {
    mode: 0o755,
  });
  const flags = {
    internalSecret: "a secret of the roles",
    redisUrl: `unix:${folder}/none.sock`,
    data: folder,
  };
  const role = fork(fileURLToPath(new URL("../../services/main.ts", import.meta.url)), ["role", "worker"], {
    env: {
      ...{
        ...process.env,
        PATH: `${folder}:${process.env.PATH}`,
        SLUICE_ACME_EAB_SECRET: "a-secret-of-the-CA",
      },
      SLUICE_CONFIG: JSON.stringify(loadConfig({ env: {}, flags })),
    },
    stdio: "ignore",
  });
  try {
    await expect.poll(() => existsSync(seen), { timeout: 10_000, interval: 20 }).toBe(true);
    expect(read(seen)).toContain("PATH=");
    expect(read(seen)).not.toMatch(/secret/i);
  } finally {
    role.kill("SIGKILL");
    await rm(folder, { recursive: true });
  }
});
