import net, { type AddressInfo, type Socket } from "node:net";

/** A line between a client and a server on this machine that can be disturbed. */
export interface Line {
  readonly port: number;
  /** How many connections came through so far. */
  readonly connections: number;
  /** Takes nothing from clients any more, or again. */
  stall(stalled: boolean): void;
  /** Breaks every connection, as a reset does. */
  cut(): void;
  /** Nobody listens any more, or again on the same port. */
  away(away: boolean): Promise<void>;
  close(): Promise<void>;
}

/** Opens a line to `port` of this machine. */
export async function openLine(port: number): Promise<Line> {
  const sockets = new Set<Socket>();
  const clients = new Set<Socket>();
  let connections = 0;
  let stalled = false;
  const server = net.createServer((client) => {
    connections += 1;
    const upstream = net.connect({ port, host: "127.0.0.1" });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.on("error", () => undefined);
      one.once("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.on("data", (bytes: Buffer) => {
        if (!other.write(bytes)) one.pause();
      });
      other.on("drain", () => {
        if (!stalled || one === upstream) one.resume();
      });
    }
    clients.add(client);
    client.once("close", () => clients.delete(client));
    if (stalled) client.pause();
  });
  const listen = (at: number) =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(at, "127.0.0.1", () => resolve());
    });
  await listen(0);
  const own = (server.address() as AddressInfo).port;
  const cut = () => {
    for (const socket of [...sockets]) socket.resetAndDestroy();
  };
  return {
    port: own,
    get connections() {
      return connections;
    },
    stall(yes) {
      stalled = yes;
      for (const client of clients) yes ? client.pause() : client.resume();
    },
    cut,
    async away(yes) {
      if (!yes) return listen(own);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      cut();
      return closed;
    },
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      cut();
      return closed;
    },
  };
}
