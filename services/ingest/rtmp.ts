import net, { type Socket } from "node:net";
import tls from "node:tls";
import type { Doorman } from "../lib/doorman.ts";
import type { Running } from "../lib/lifecycle.ts";

/** A certificate chain and its key, both PEM, which may change while it is in use. */
export interface Certificates {
  current(): { readonly cert: string; readonly key: string };
  onChange(listener: (pair: { readonly cert: string; readonly key: string }) => void): () => void;
}

export interface RtmpListeners extends Running {
  /** The ports bound; undefined for a listener that was not asked for. */
  readonly ports: { readonly rtmp: number | undefined; readonly rtmps: number | undefined };
}

const handshakeMs = 5_000;

/**
 * Listens for RTMP and RTMPS (TLS 1.2 or later); an undefined port is not listened on, 0 takes a free one. Each connection for which
 * `doorman` has room is handed to `onSocket`, after its TLS handshake; the others are closed without a word. A new certificate counts for
 * new connections. `close` stops listening; the sockets are their sessions' to close.
 */
export async function listenRtmp(options: {
  readonly host: string;
  readonly rtmpPort: number | undefined;
  readonly rtmpsPort: number | undefined;
  readonly certificates: Certificates;
  readonly doorman: Doorman;
  readonly onSocket: (socket: Socket) => void;
  /** Called for each connection that is turned away. */
  readonly onFull: (address: string) => void;
}): Promise<RtmpListeners> {
  const { host, certificates, doorman, onSocket, onFull } = options;
  const secure = tls.createServer({
    ...certificates.current(),
    minVersion: "TLSv1.2",
    handshakeTimeout: handshakeMs,
  });
  /** By peer, those whose TLS handshake is not over; the server's own timeout begins anew with each byte. */
  const shaking = new Map<string, NodeJS.Timeout>();
  secure.on("secureConnection", (socket) => {
    clearTimeout(shaking.get(peerOf(socket)));
    onSocket(socket);
  });
  secure.on("tlsClientError", (_error, socket) => socket.destroy());
  const stopFollowing = certificates.onChange((pair) =>
    secure.setSecureContext({ ...pair, minVersion: "TLSv1.2" }),
  );
  /** Under TLS; until its handshake is over no session owns such a socket. */
  const wrapped = new Set<Socket>();

  function admit(socket: Socket): boolean {
    // Whoever owns it hears of it by "close"; unheard, an error would end the process.
    socket.on("error", () => undefined);
    const address = socket.remoteAddress ?? "";
    const leave = doorman.enter(address);
    if (leave) {
      socket.once("close", leave);
      return true;
    }
    // It may have been reset before it was accepted; then there is nobody to turn away.
    if (address) onFull(address);
    socket.destroy();
    return false;
  }

  const servers: net.Server[] = [];
  async function listen(port: number | undefined, onConnection: (socket: Socket) => void) {
    if (port === undefined) return undefined;
    const server = net.createServer(onConnection);
    servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port, host }, resolve);
    });
    return (server.address() as net.AddressInfo).port;
  }

  const done = Promise.withResolvers<void>();
  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    stopFollowing();
    for (const socket of wrapped) socket.destroy();
    // Not awaited: a server counts as open until its last socket is gone, and those have other owners.
    for (const server of servers) server.close();
    done.resolve();
  }
  const close = () => {
    closing ??= stop();
    return closing;
  };

  try {
    const rtmp = await listen(options.rtmpPort, (socket) => {
      if (admit(socket)) onSocket(socket);
    });
    const rtmps = await listen(options.rtmpsPort, (socket) => {
      // Counted before the handshake, which is the dearest thing that a stranger can ask for.
      if (!admit(socket)) return;
      const peer = peerOf(socket);
      const late = setTimeout(() => socket.destroy(), handshakeMs);
      wrapped.add(socket);
      shaking.set(peer, late);
      socket.once("close", () => {
        clearTimeout(late);
        wrapped.delete(socket);
        shaking.delete(peer);
      });
      secure.emit("connection", socket);
    });
    return { ports: { rtmp, rtmps }, closed: done.promise, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const peerOf = (socket: Socket) => `${socket.remoteAddress} ${socket.remotePort}`;
