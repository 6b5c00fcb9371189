import { createSocket } from "node:dgram";

/** UDP ports of the loopback device that nobody has now. */
export function freeUdpPorts(count: number): Promise<number[]> {
  return Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<number>((resolve) => {
          const socket = createSocket("udp4").bind(0, "127.0.0.1", () => {
            const { port } = socket.address();
            socket.close(() => resolve(port));
          });
        }),
    ),
  );
}
