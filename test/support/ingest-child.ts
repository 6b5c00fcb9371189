/**
 * Ingest alone in a process, for tests that try to kill it: `node --expose-gc ingest-child.ts <folder> <uid=key>...`, forked. It posts to
 * origin.sock in the folder, sends its ports, and answers each message with its figures after a garbage collection.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { makeSelfSigned } from "../../infra/x509.ts";
import { startIngest } from "../../services/ingest/ingest.ts";
import { createLog } from "../../services/lib/log.ts";
import { createMetrics } from "../../services/lib/metrics.ts";

/** What the child answers. */
export interface Figures {
  readonly connections: number;
  readonly publishes: number;
  /** Publishes since the start. */
  readonly accepted: number;
  readonly rss: number;
  readonly heap: number;
  readonly external: number;
  readonly cpuMs: number;
}

const [folder = "", ...pairs] = process.argv.slice(2);
const inputs = new Map(
  pairs.map((pair) => {
    const [uid = "", key = ""] = pair.split("=");
    return [uid, { uid, enabled: true, keyHash: createHash("sha256").update(key).digest("hex") }];
  }),
);
let accepted = 0;
const certificate = await makeSelfSigned(Date.now());
const metrics = createMetrics("ingest");
const ingest = await startIngest({
  host: "127.0.0.1",
  rtmpPort: 0,
  rtmpsPort: 0,
  certificates: { current: () => certificate, onChange: () => () => undefined },
  snapshot: {
    ready: Promise.resolve(),
    get: (uid) => inputs.get(uid),
    values: () => inputs.values(),
    onChange: () => () => undefined,
  },
  events: {
    send(fact) {
      if (fact.type === "publish.started") accepted++;
    },
  },
  address: `unix:${join(folder, "ingest.sock")}`,
  originFor: () => `unix:${join(folder, "origin.sock")}`,
  limits: {
    connections: 200,
    connectionsPerAddress: 20,
    // Short enough for a test to wait for.
    session: { handshakeMs: 500, publishMs: 2000, idleMs: 1500, lingerMs: 200 },
  },
  log: createLog("ingest", "silent", false),
  metrics,
});

async function figures(): Promise<Figures> {
  globalThis.gc?.();
  const text = await metrics.text();
  const value = (name: string) => Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)$`, "m").exec(text)?.[1]);
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    connections: value("sluice_ingest_connections"),
    publishes: value("sluice_ingest_publishes"),
    accepted,
    rss,
    heap: heapUsed,
    external,
    cpuMs: (user + system) / 1000,
  };
}

process.on("message", async () => process.send?.(await figures()));
process.on("disconnect", () => process.exit());
process.send?.({ ports: ingest.ports });
