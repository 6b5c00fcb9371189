import { connect, createServer, type Socket } from "node:net";

/** A line to a TCP port whose width can be changed under whoever uses it. */
export interface Line {
  readonly port: number;
  /** Bytes per second from the client to the server; undefined is without limit. */
  limit(bytesPerSecond: number | undefined): void;
  /** Breaks every connection, as a cable that is pulled. */
  cut(): void;
  close(): Promise<void>;
}

const tickMs = 50;

/** Opens a line to `target` on this machine. */
export async function openLine(target: number): Promise<Line> {
  const pairs = new Set<{ readonly client: Socket; readonly server: Socket; left: number }>();
  let limit: number | undefined;
  const server = createServer((client) => {
    const pair = { client, server: connect(target, "127.0.0.1"), left: 0 };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      pair.server.destroy();
    };
    for (const socket of [client, pair.server]) socket.on("error", end).on("close", end);
    pair.server.pipe(client);
    client.on("readable", () => pump(pair));
  });
  const pump = (pair: { readonly client: Socket; readonly server: Socket; left: number }) => {
    for (;;) {
      const most = limit === undefined ? Number.POSITIVE_INFINITY : pair.left;
      const there = pair.client.readableLength;
      const bytes: Buffer | null = there > 0 && most > 0 ? pair.client.read(Math.min(there, most)) : null;
      if (!bytes) return;
      pair.left -= bytes.length;
      pair.server.write(bytes);
    }
  };
  const ticker = setInterval(() => {
    for (const pair of pairs) {
      pair.left = limit === undefined ? 0 : Math.floor((limit * tickMs) / 1000);
      pump(pair);
    }
  }, tickMs);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => {
    for (const { client, server: other } of pairs) {
      client.resetAndDestroy();
      other.destroy();
    }
  };
  return {
    port: (server.address() as { port: number }).port,
    limit: (bytesPerSecond) => {
      limit = bytesPerSecond;
    },
    cut,
    close() {
      clearInterval(ticker);
      cut();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
