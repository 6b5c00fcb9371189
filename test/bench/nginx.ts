import { spawn } from "node:child_process";
import { accessSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Running } from "../../services/lib/lifecycle.ts";
import { freePort } from "../support/ports.ts";

export interface Nginx extends Running {
  /** Address to publish to; any name may follow. */
  readonly rtmp: string;
  readonly pids: readonly number[];
  readonly version: string;
}

/** nginx with its RTMP module, where it is installed (SLUICE_NGINX names another place); undefined elsewhere. */
export function findNginx(): { binary: string; module: string } | undefined {
  for (const binary of [process.env.SLUICE_NGINX, "/usr/sbin/nginx", "/usr/local/sbin/nginx"]) {
    if (!binary) continue;
    const module = join(dirname(dirname(binary)), "lib/nginx/modules/ngx_rtmp_module.so");
    try {
      accessSync(binary);
      accessSync(module);
      return { binary, module };
    } catch {}
  }
  return undefined;
}

/** Starts it on a free port of loopback with one worker and plain HLS of 2 s segments, in a folder of its own. */
export async function startNginx({ binary, module }: { binary: string; module: string }): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-nginx-"));
  const port = await freePort();
  await mkdir(join(folder, "hls"));
  const user = process.getuid?.() === 0 ? "user root;" : "";
  await writeFile(
    join(folder, "nginx.conf"),
    `load_module ${module};
${user} daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr error;
events { worker_connections 1024; }
rtmp { access_log off; server { listen 127.0.0.1:${port}; chunk_size 65536; ping 0;
  application live { live on; hls on; hls_path ${folder}/hls; hls_fragment 2s; hls_playlist_length 20s; } } }
`,
  );
  const child = spawn(binary, ["-p", folder, "-c", join(folder, "nginx.conf")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const closed = Promise.withResolvers<void>();
  child.on("error", closed.reject);
  child.on("exit", () => {
    rm(folder, { recursive: true, force: true }).then(closed.resolve, closed.reject);
  });
  const master = child.pid!;
  const worker = await workerOf(master);
  if (worker === undefined) throw new Error("nginx did not start");
  return {
    rtmp: `rtmp://127.0.0.1:${port}/live`,
    pids: [master, worker],
    version: "nginx-rtmp",
    closed: closed.promise,
    async close() {
      child.kill("SIGTERM");
      await closed.promise;
    },
  };
}

/** The worker process, once it exists: from then on the port is bound. */
async function workerOf(master: number): Promise<number | undefined> {
  try {
    for (;;) {
      const [first] = readFileSync(`/proc/${master}/task/${master}/children`, "utf8").trim().split(" ");
      if (first) return Number(first);
      await new Promise((resolve) => setImmediate(resolve));
    }
  } catch {
    return undefined; // it ended, and said why on its own
  }
}
