import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { makeSelfSigned } from "../../infra/x509.ts";
import { protocols } from "../../services/moq/session.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import { apiOf } from "../support/api.ts";
import { publish } from "../support/ffmpeg.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { freeUdpPorts } from "../support/ports.ts";
import { startSluice } from "../support/sluice.ts";

// A broadcast is pushed to moq-relay (`cargo install moq-relay`, or MOQ_RELAY=/path/to/it) as an output, and has to come out of it with
// the bytes that our own relay gives: `node infra/launch.mjs test/interop/moq-outward.ts`. Without Rust, `pip install moq-rs` and
// MOQ_RELAY=test/interop/moq-relay.py is the same code as a wheel. Not a part of CI, which has neither.

const program = process.env.MOQ_RELAY ?? "moq-relay";
const stage = "stage.msf";
const openMs = 15_000;
const objects = 60;

/** moq-relay with a certificate of its own, open to everybody; undefined where there is none. */
async function startRelay(folder: string, port: number) {
  const { cert, key } = await makeSelfSigned(Date.now(), 12);
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  const args = ["--listen", `[::]:${port}`, "--listen-tls-cert", files.cert, "--listen-tls-key", files.key];
  const child = spawn(program, [...args, "--auth-public", "**"], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes: Buffer) => {
      said += bytes.toString();
    });
  const gone = new Promise<"missing" | "ended">((resolve) => {
    child.once("error", () => resolve("missing"));
    child.once("exit", () => resolve("ended"));
  });
  for (const until = performance.now() + openMs; ; ) {
    const first = await Promise.race([gone, wait(200, undefined)]);
    if (first === "missing") return undefined;
    if (first === "ended" || performance.now() > until) throw new Error(`moq-relay does not open:\n${said}`);
    const session = await connectWebTransport({
      ...{ host: "127.0.0.1", port, path: "/", protocols, aliveMs: 1_000 },
    }).catch(() => undefined);
    if (!session) continue;
    session.close(0, "");
    return { cert: files.cert, child, log: () => said };
  }
}

/** SHA-256 of objects by group and number, of a track that is watched for a while. */
async function hashes(viewer: MoqViewer, namespace: string): Promise<Map<string, string>> {
  viewer.subscribe(namespace, "source.0");
  const groups = viewer.tracks.get("source.0")!;
  const all = () => groups.flatMap((group) => group.objects.map((object) => ({ group: group.id, object })));
  await viewer.until(
    () => all().length >= objects || viewer.refused.has("source.0") || viewer.closed !== undefined,
  );
  return new Map(
    all().map(({ group, object: { object, payload } }) => [
      `${group}.${object}`,
      createHash("sha256").update(payload).digest("hex"),
    ]),
  );
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "moq-outward-"));
  const [port] = (await freeUdpPorts(1)) as [number];
  const relay = await startRelay(folder, port);
  if (!relay) {
    console.log(`SKIPPED: there is no ${program}; cargo install moq-relay, or say MOQ_RELAY=/path/to/it`);
    return 0;
  }
  const sluice = await startSluice({
    env: {
      SLUICE_MOQ: "true",
      SLUICE_ROLES: "control,ingest,origin,relay,outputs",
      SLUICE_ALLOW_PRIVATE_TARGETS: "127.0.0.0/8,::1/128",
      NODE_EXTRA_CA_CERTS: relay.cert,
    },
  });
  const { uid, rtmp, streamKey } = sluice.ready;
  const encoder = publish({ url: `${rtmp}/${streamKey}`, gop: 1 });
  try {
    const api = apiOf(() => sluice.ready);
    const path = `/live_inputs/${uid}/outputs`;
    const output = { url: `https://localhost:${port}/#msf:${stage.replace(".", ".2e")}`, streamKey: "none" };
    await api(`POST ${path}`, output);
    type Shown = {
      readonly status: { readonly current: { readonly state: string; readonly error?: string } };
    };
    let state: Shown["status"]["current"] | undefined;
    for (const until = performance.now() + openMs; performance.now() < until; await wait(200)) {
      const [shown] = await api<readonly Shown[]>(`GET ${path}`);
      state = shown?.status?.current;
      if (state?.state === "connected") break;
    }
    console.log(`the output is ${state?.state}${state?.error ? `: ${state.error}` : ""}`);
    if (state?.state !== "connected") return 1;
    const ours = await MoqViewer.open(await wayTo(sluice.ready, uid!), `/${uid}`);
    const theirs = await MoqViewer.open({ port, hashes: [], namespace: stage }, "/");
    const [here, there] = await Promise.all([hashes(ours, uid!), hashes(theirs, stage)]);
    const both = [...here].filter(([place]) => there.has(place));
    const same = both.filter(([place, hash]) => there.get(place) === hash);
    console.log(
      `${theirs.peer.draft.protocol}: ${same.length} of ${both.length} objects have the same bytes`,
    );
    for (const viewer of [ours, theirs]) viewer.close();
    return both.length > 0 && same.length === both.length ? 0 : 1;
  } finally {
    await encoder.stop();
    await sluice.stop();
    relay.child.kill();
    rmSync(folder, { recursive: true });
  }
}

process.exit(await main());
