import { once } from "node:events";
import { connect } from "node:net";
import { gunzipSync } from "node:zlib";

/** One request after the other on one connection, as a player's, at next to no cost: who measures is not to take the processor from what is measured. */
export interface Lean {
  /** The body of a 200, unpacked. Throws for any other status. */
  get(path: string): Promise<Buffer>;
  close(): void;
}

/** Connects to `http://host:port`. Answers must say how long they are. */
export async function openLean(origin: string): Promise<Lean> {
  const { hostname, port, host } = new URL(origin);
  const socket = connect(Number(port), hostname);
  socket.setNoDelay(true);
  await once(socket, "connect");
  let held: Buffer[] = [];
  let bytes = 0;
  /** Of the answer under way, with its head; unknown before that is whole. */
  let whole = Number.POSITIVE_INFINITY;
  let waiting: PromiseWithResolvers<Buffer> | undefined;
  socket.on("data", (piece: Buffer) => {
    held.push(piece);
    bytes += piece.length;
    if (whole === Number.POSITIVE_INFINITY) {
      if (held.length > 1) held = [Buffer.concat(held)];
      const end = held[0]!.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = /\r\ncontent-length: (\d+)/i.exec(held[0]!.toString("latin1", 0, end))?.[1];
      whole = end + 4 + Number(length ?? Number.NaN);
    }
    if (bytes < whole) return;
    const answer = Buffer.concat(held);
    held = [];
    bytes = 0;
    whole = Number.POSITIVE_INFINITY;
    waiting?.resolve(answer);
  });
  const fail = (): void => waiting?.reject(new Error("the connection is gone"));
  socket.on("error", fail);
  socket.on("close", fail);
  return {
    async get(path) {
      waiting = Promise.withResolvers();
      socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\naccept-encoding: gzip\r\n\r\n`);
      const answer = await waiting.promise;
      const end = answer.indexOf("\r\n\r\n");
      const head = answer.toString("latin1", 0, end);
      const body = answer.subarray(end + 4);
      if (!head.startsWith("HTTP/1.1 200")) throw new Error(`${path} answers ${head.slice(9, 12)}`);
      return /\r\ncontent-encoding: gzip/i.test(head) ? gunzipSync(body) : body;
    },
    close: () => socket.destroy(),
  };
}
