import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findRedis } from "../../services/supervisor/programs.ts";

/** A Redis of a test's own, on a port that stays the same over its ends and beginnings. */
export interface OwnRedis {
  readonly url: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts one; `stop` in the end. */
export async function startRedis(): Promise<OwnRedis> {
  const port = await new Promise<number>((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
  let folder = "";
  let running: ReturnType<typeof run> | undefined;
  const run = () =>
    spawn(
      findRedis()!,
      ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
  const redis: OwnRedis = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      folder = mkdtempSync(join(tmpdir(), "sluice-redis-"));
      running = run();
      for await (const text of running.stdout) if (/eady to accept/.test(String(text))) break;
      running.stdout.resume();
    },
    async stop() {
      if (!running) return;
      const gone = once(running, "exit");
      running.kill("SIGKILL");
      await gone;
      running = undefined;
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await redis.start();
  return redis;
}
