import http from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import tls from "node:tls";
import { makeSelfSigned } from "../../infra/x509.ts";
import { Challenges } from "../../services/origin/challenges.ts";
import { http1 } from "../../services/origin/exchange.ts";

/** The two public ports as the origin has them, with nothing behind them but what an authority looks for. */
export interface AcmeDoor {
  readonly challenges: Challenges;
  readonly ports: { readonly http: number; readonly tls: number };
  close(): void;
}

/** Opens both on loopback; who asks for something else over TLS is told `hello`. */
export async function openAcmeDoor(): Promise<AcmeDoor> {
  const challenges = new Challenges();
  const plain = http.createServer(
    http1((exchange) => challenges.answer(exchange, exchange.path.split("/").at(-1) ?? "")),
  );
  const secure = tls.createServer(await makeSelfSigned(Date.now()), (socket) => socket.end("hello"));
  const front = createServer((socket) =>
    challenges.admit(socket, (next) => void secure.emit("connection", next)),
  );
  return {
    challenges,
    ports: { http: await listen(plain), tls: await listen(front) },
    close() {
      plain.closeAllConnections();
      plain.close();
      front.close();
    },
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}
