import { createSocket, type Socket } from "node:dgram";
import type { AddressInfo } from "node:net";

/** A line to a UDP port whose width towards the client can be changed under whoever uses it. */
export interface UdpLine {
  readonly port: number;
  /** Bytes per second; undefined is without limit. */
  limit(bytesPerSecond: number | undefined): void;
  close(): void;
}

/** As much as a home router keeps waiting; what comes on top is lost. */
const mostQueued = 60_000;
const tickMs = 5;

/** Opens a line to `target` on this machine. */
export async function openUdpLine(target: number): Promise<UdpLine> {
  const front = createSocket("udp4");
  const clients = new Map<
    string,
    { readonly server: Socket; readonly address: string; readonly port: number }
  >();
  let limit: number | undefined;
  let queue: (() => number)[] = [];
  let queued = 0;
  let allowance = 0;

  front.on("message", (bytes, { address, port }) => {
    const key = `${address} ${port}`;
    let client = clients.get(key);
    if (!client) {
      client = { server: createSocket("udp4"), address, port };
      clients.set(key, client);
      client.server.on("message", (answer) => {
        if (limit === undefined && queue.length === 0) return front.send(answer, port, address);
        if (queued + answer.length > mostQueued) return;
        queued += answer.length;
        queue.push(() => {
          front.send(answer, port, address);
          return answer.length;
        });
      });
    }
    client.server.send(bytes, target, "127.0.0.1");
  });
  const timer = setInterval(() => {
    allowance =
      limit === undefined
        ? Number.POSITIVE_INFINITY
        : Math.min(allowance + (limit * tickMs) / 1000, limit / 20);
    let sent = 0;
    while (sent < queue.length && allowance > 0) {
      const length = queue[sent++]!();
      queued -= length;
      allowance -= length;
    }
    queue = queue.slice(sent);
  }, tickMs);
  await new Promise<void>((resolve) => front.bind(0, "127.0.0.1", resolve));
  return {
    port: (front.address() as AddressInfo).port,
    limit(bytesPerSecond) {
      limit = bytesPerSecond;
      allowance = 0;
    },
    close() {
      clearInterval(timer);
      front.close();
      for (const { server } of clients.values()) server.close();
    },
  };
}
