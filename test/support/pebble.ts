import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { makeSelfSigned } from "../../infra/x509.ts";
import { freePorts } from "./ports.ts";

/** Let's Encrypt's own ACME server for tests, in a process of its own. */
export interface Pebble {
  readonly directory: string;
  /** Who vouches for the directory's certificate, PEM. */
  readonly ca: string;
  /** PEM file of it. */
  readonly caFile: string;
  /** The root of what it signs. */
  root(): Promise<string>;
  close(): void;
}

/** Where `go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest` puts it; undefined where it is not. */
export function findPebble(): string | undefined {
  const folders = [
    ...(process.env.PATH ?? "").split(delimiter),
    process.env.GOBIN,
    join(process.env.GOPATH ?? join(homedir(), "go"), "bin"),
  ];
  return folders
    .filter((folder) => folder)
    .map((folder) => join(folder!, "pebble"))
    .find((file) => existsSync(file));
}

/** Starts it so that every name leads to these ports of this machine, and it refuses one nonce in seven. */
export async function startPebble(
  program: string,
  ports: { readonly http: number; readonly tls: number },
): Promise<Pebble> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-pebble-"));
  const { cert, key } = await makeSelfSigned(Date.now());
  const dns = await everyNameHere();
  const [port, management] = await freePorts(2);
  const caFile = join(folder, "ca.pem");
  writeFileSync(caFile, cert);
  writeFileSync(join(folder, "key.pem"), key);
  const config = {
    ...{ listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}` },
    ...{ certificate: caFile, privateKey: join(folder, "key.pem") },
    ...{
      httpPort: ports.http,
      tlsPort: ports.tls,
      ocspResponderURL: "",
      externalAccountBindingRequired: false,
    },
    retryAfter: { authz: 1, order: 1 },
    profiles: { default: { description: "for tests", validityPeriod: 7_776_000 } },
  };
  writeFileSync(join(folder, "pebble.json"), JSON.stringify({ pebble: config }));
  const args = ["-config", join(folder, "pebble.json"), "-dnsserver", `127.0.0.1:${dns.port}`];
  const child: ChildProcess = spawn(program, args, {
    env: { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_AUTHZREUSE: "100", PEBBLE_WFE_NONCEREJECT: "15" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  await new Promise<void>((resolve, reject) => {
    for (const output of [child.stdout, child.stderr])
      output?.setEncoding("utf8").on("data", (text: string) => {
        printed += text;
        if (/ACME directory available/.test(printed)) resolve();
      });
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`Pebble ended:\n${printed}`)));
  });
  return {
    directory: `https://localhost:${port}/dir`,
    ...{ ca: cert, caFile },
    root: async () => (await fetch(`https://localhost:${management}/roots/0`)).text(),
    close() {
      child.kill("SIGKILL");
      dns.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Answers every question for an IPv4 address with this machine, and every other with nothing (RFC 1035 4, over TCP). */
async function everyNameHere(): Promise<{ readonly port: number; close(): void }> {
  const server = createServer((socket) => {
    let heard: Buffer = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (piece: Buffer) => {
      heard = Buffer.concat([heard, piece]);
      while (heard.length >= 2 && heard.length >= 2 + heard.readUInt16BE(0)) {
        const answer = answerOf(heard.subarray(2, 2 + heard.readUInt16BE(0)));
        heard = heard.subarray(2 + heard.readUInt16BE(0));
        socket.write(Buffer.concat([Buffer.of(answer.length >> 8, answer.length & 255), answer]));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as AddressInfo).port, close: () => void server.close() };
}

function answerOf(question: Buffer): Buffer {
  let end = 12;
  while ((question[end] ?? 0) > 0) end += question[end]! + 1;
  const address = question.readUInt16BE(end + 1) === 1;
  const head = Buffer.from(question.subarray(0, 12));
  head.writeUInt16BE(0x8580, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(address ? 1 : 0, 6);
  head.writeUInt32BE(0, 8);
  const answer = address ? Buffer.from("c00c000100010000003c00047f000001", "hex") : Buffer.alloc(0);
  return Buffer.concat([head, question.subarray(12, end + 5), answer]);
}
