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
  let cause: unknown;
  // The calls below only say that the connection closed; why is said here.
  client.on("error", (error) => {
    cause = error;
  });
  try {
    await client.connect();
    const info = await client.info("server");
    return /^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown";
  } catch (error) {
    throw cause ?? error;
  } finally {
    client.disconnect();
  }
}
