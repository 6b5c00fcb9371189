/** A worker in a process of its own, for tests that kill it: forked as `worker-child.ts <redis> <ffmpeg> <slots>`; says "ready". */
import { createLog } from "../../services/lib/log.ts";
import { createMetrics } from "../../services/lib/metrics.ts";
import { startWorker } from "../../services/transcode/worker.ts";

const [redis, program, slots] = process.argv.slice(2);
const worker = await startWorker({
  redis: redis!,
  program,
  slots: Number(slots),
  secret: undefined,
  log: createLog("worker", process.env.LADDER_LOG ?? "silent", false),
  metrics: createMetrics("worker"),
});
const stop = () => void worker.close().then(() => process.exit(0));
// The test that started it asks, or is gone.
process.once("disconnect", stop);
process.once("SIGTERM", stop);
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ cpuMs: (user + system) / 1000 });
});
process.send?.("ready");
