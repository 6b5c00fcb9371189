import { Redis } from "ioredis";

/** Redis at `redis://host:port`, `rediss://host:port` or `unix:/path`, asked once: its version. Rejects when it does not answer in time. */
export async function redisVersion(address: string, timeoutMs: number): Promise<string> {
  const patience = {
    lazyConnect: true,
    connectTimeout: timeoutMs,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  };
  const client = address.startsWith("unix:")
    ? new Redis({ ...patience, path: address.slice("unix:".length) })
    : new Redis(address, patience);
  // Its errors also reject the calls below; without a listener they would be printed.
  client.on("error", () => undefined);
  try {
    await client.connect();
    const info = await client.info("server");
    return /^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown";
  } finally {
    client.disconnect();
  }
}
