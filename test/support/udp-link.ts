import { createSocket, type Socket } from "node:dgram";
import { randomOf } from "./random.ts";

/** A line between a client and a server on this machine, as UDP. */
export interface UdpLink {
  /** What the client connects to instead of the server. */
  readonly port: number;
  /** From here on the server sees the client at another port, as after a change of network. */
  move(): void;
  /** From here on no faster than this towards the client; undefined is without limit. */
  limit(kbps: number | undefined): void;
  /** Packets that were lost, of all. */
  readonly lost: number;
  readonly packets: number;
  close(): void;
}

/**
 * Passes packets on after half of `rttMs`, without this part of them, chosen by a seed, and no faster than `kbps` towards the client, with
 * `queueMs` of them waiting at the most.
 */
export async function openUdpLink(options: {
  readonly to: number;
  readonly rttMs?: number;
  readonly loss?: number;
  readonly kbps?: number;
  readonly queueMs?: number;
}): Promise<UdpLink> {
  const { to, rttMs = 0, loss = 0, queueMs = 200 } = options;
  let { kbps } = options;
  const random = randomOf(1);
  // Browsers take localhost for ::1.
  const near = createSocket("udp6");
  let far: Socket | undefined;
  let client: { readonly address: string; readonly port: number } | undefined;
  let freeAt = 0;
  let [lost, packets, closed] = [0, 0, false];
  const pass = (send: () => void, waitMs: number) => {
    packets++;
    if (random() < loss) {
      lost++;
      return;
    }
    if (waitMs <= 0) return send();
    setTimeout(() => !closed && send(), waitMs);
  };
  const dial = () => {
    const old = far;
    const socket = createSocket("udp4");
    far = socket;
    socket.on("message", (bytes) => {
      if (client === undefined) return;
      const now = performance.now();
      let waitMs = rttMs / 2;
      if (kbps !== undefined) {
        freeAt = Math.max(now, freeAt) + (bytes.length * 8) / kbps;
        if (freeAt - now > queueMs) {
          freeAt -= (bytes.length * 8) / kbps;
          packets++;
          lost++;
          return;
        }
        waitMs += freeAt - now;
      }
      const at = client;
      pass(() => near.send(bytes, at.port, at.address), waitMs);
    });
    // What is on its way to the old port still comes.
    setTimeout(() => old?.close(), rttMs + 50).unref();
  };
  dial();
  near.on("message", (bytes, from) => {
    client = from;
    pass(() => far?.send(bytes, to, "127.0.0.1"), rttMs / 2);
  });
  await new Promise<void>((resolve) => near.bind(0, "::", resolve));
  return {
    port: near.address().port,
    move: dial,
    limit(now) {
      kbps = now;
    },
    get lost() {
      return lost;
    },
    get packets() {
      return packets;
    },
    close() {
      closed = true;
      near.close();
      far?.close();
    },
  };
}
