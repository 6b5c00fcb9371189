import { randomUUID } from "node:crypto";
import { Redis, type RedisOptions } from "ioredis";
import type { Running } from "./lifecycle.ts";

/** Redis at `redis://host:port`, `rediss://host:port` or `unix:/path`, asked once: its version. Rejects when it does not answer in time. */
export async function redisVersion(address: string, timeoutMs: number): Promise<string> {
  const client = connectTo(address, {
    connectTimeout: timeoutMs,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
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

type Patience = Pick<
  RedisOptions,
  "connectTimeout" | "maxRetriesPerRequest" | "retryStrategy" | "enableOfflineQueue"
>;

const connectTo = (address: string, options: Patience): Redis =>
  address.startsWith("unix:")
    ? new Redis({ ...options, lazyConnect: true, path: address.slice("unix:".length) })
    : new Redis(address, { ...options, lazyConnect: true });

/** A board on which each of several processes keeps one text for all others to read. */
export interface Board extends Running {
  /** What `write` answers has changed. */
  changed(): void;
}

export interface BoardOptions {
  readonly redis: string;
  /** Of the board; processes of one board see each other. */
  readonly topic: string;
  /** Own name among them; undefined for one who only reads. */
  readonly name: string | undefined;
  readonly write: () => string;
  /** Each text of another, new or changed. */
  readonly heard: (name: string, text: string) => void;
  /** One of the others says nothing any more, although Redis is there. */
  readonly left: (name: string) => void;
}

/** Each says that it is there this often, and what it wrote is read again where it is not the text that is known. */
const sayMs = 1_000;
const silentMs = 4_000;
const keptMs = 15_000;

/**
 * Opens a board on a Redis, which may be away: what was heard stays heard, and everybody writes again when it is back. Nobody leaves
 * while it is away.
 */
export function openBoard(options: BoardOptions): Board {
  const { topic, name } = options;
  const patience: Patience = {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 2_000,
    retryStrategy: (times) => Math.min(50 * 2 ** times, 1_000),
  };
  const writer = connectTo(options.redis, patience);
  const reader = connectTo(options.redis, patience);
  const keyOf = (one: string) => `sluice:${topic}:${one}`;
  const known = new Map<string, { version: string; seenAt: number }>();
  const run = randomUUID();
  let version = 0;
  let wanted = false;
  let sinceMs: number | undefined;
  let closed = false;
  const done = Promise.withResolvers<void>();

  const hear = (one: string, said: string, text: string) => {
    if (one === name) return;
    const before = known.get(one)?.version;
    known.set(one, { version: said, seenAt: performance.now() });
    if (before !== said) options.heard(one, text);
  };
  /** Kept as the version, a space and the text. */
  const look = async (key: string) => {
    const kept = await writer.get(key);
    const [one, said] = [key.slice(keyOf("").length), kept?.slice(0, kept.indexOf(" "))];
    if (kept && said) hear(one, said, kept.slice(said.length + 1));
    else if (known.delete(one)) options.left(one);
  };
  const say = async () => {
    if (name === undefined || writer.status !== "ready") return;
    const said = `${run}.${version}`;
    await writer.set(keyOf(name), `${said} ${options.write()}`, "PX", keptMs);
    await writer.publish(keyOf(""), `${said} ${name}`);
  };
  const quietly = (what: Promise<unknown>) => void what.catch(() => undefined);
  const lookAtAll = async () => {
    let cursor = "0";
    do {
      const [next, keys] = await writer.scan(cursor, "MATCH", `${keyOf("")}*`, "COUNT", 500);
      for (const key of keys) await look(key);
      cursor = next;
    } while (cursor !== "0");
  };
  const tick = setInterval(() => {
    quietly(say());
    const now = performance.now();
    if (sinceMs === undefined || now - sinceMs < silentMs) return;
    for (const [one, { seenAt }] of [...known])
      if (now - seenAt > silentMs) {
        known.delete(one);
        options.left(one);
      }
  }, sayMs);
  for (const client of [writer, reader]) {
    client.on("error", () => undefined);
    client.on("close", () => {
      sinceMs = undefined;
    });
    client.on("ready", () => {
      if (writer.status !== "ready" || reader.status !== "ready") return;
      sinceMs = performance.now();
      quietly(reader.subscribe(keyOf("")).then(() => Promise.all([lookAtAll(), say()])));
    });
    quietly(client.connect());
  }
  reader.on("message", (_channel, message) => {
    const [said, ...rest] = message.split(" ");
    const one = rest.join(" ");
    if (one === name || said === undefined) return;
    const before = known.get(one);
    if (before?.version === said) before.seenAt = performance.now();
    else quietly(look(keyOf(one)));
  });
  return {
    closed: done.promise,
    changed() {
      version++;
      if (wanted || closed) return;
      wanted = true;
      // Everything that one turn changes is said once.
      setImmediate(() => {
        wanted = false;
        if (!closed) quietly(say());
      });
    },
    async close() {
      if (closed) return done.promise;
      closed = true;
      clearInterval(tick);
      if (name !== undefined && writer.status === "ready")
        await writer
          .del(keyOf(name))
          .then(() => writer.publish(keyOf(""), `gone ${name}`))
          .catch(() => undefined);
      for (const client of [writer, reader]) client.disconnect();
      done.resolve();
    },
  };
}
