import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Cloudflare from "cloudflare";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { makeSelfSigned } from "../../infra/x509.ts";
import { Scope } from "../../services/lib/lifecycle.ts";
import { FlvReader, readVideo } from "../../services/packager/flv.ts";
import { family } from "../support/family.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

// Processes start slowly on a busy machine, and nothing here is about speed.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
const acc = { account_id: "any" };

let scope: Scope;
let sluice: Sluice;
let outputs: Cloudflare["stream"]["liveInputs"]["outputs"];
let client: Cloudflare;
let folder: string;

beforeEach(async () => {
  scope = new Scope(20_000, (name, error) => {
    throw new Error(`${name} does not close`, { cause: error });
  });
  folder = await mkdtemp(join(tmpdir(), "outputs-"));
});
afterEach(async () => {
  await scope.close();
  await rm(folder, { recursive: true });
});

async function start(env: Readonly<Record<string, string>> = {}): Promise<void> {
  sluice = await startSluice({
    env: {
      SLUICE_ROLES: "control,ingest,origin,outputs",
      SLUICE_ALLOW_PRIVATE_TARGETS: "127.0.0.0/8,::1/128",
      ...env,
    },
  });
  scope.own("sluice", { close: () => sluice.stop() });
  const { http, apiToken } = sluice.ready;
  client = new Cloudflare({ apiToken, baseURL: `${http}/client/v4`, maxRetries: 0 });
  outputs = client.stream.liveInputs.outputs;
}

function encode(): Publisher {
  const encoder = publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}` });
  scope.own("encoder", { close: () => encoder.kill() });
  return encoder;
}

interface Shown {
  readonly uid: string;
  readonly status: null | {
    readonly current: { readonly state: string; readonly reason: string; readonly error?: string };
    readonly history: readonly { readonly state: string }[];
  };
}
const shown = async (uid: string): Promise<Shown> => {
  const all = (await outputs.list(sluice.ready.uid, acc)).result as unknown as Shown[];
  return all.find((one) => one.uid === uid)!;
};
const current = async (uid: string) => (await shown(uid)).status?.current;

/** ffmpeg as an RTMP server that takes one publish and writes down what it got. */
async function listening(): Promise<{
  url: string;
  file: string;
  child: ChildProcess;
  ended: Promise<string>;
}> {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  const file = join(folder, `${port}.flv`);
  const args = ["-y", "-loglevel", "verbose", "-listen", "1", "-i", `rtmp://127.0.0.1:${port}/app/`];
  const child = spawn("ffmpeg", [...args, "-c", "copy", file], { stdio: ["ignore", "ignore", "pipe"] });
  scope.own("ffmpeg", { close: () => child.kill("SIGKILL") });
  let said = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const ended = once(child, "close").then(() => said);
  return { url: `rtmp://127.0.0.1:${port}/app`, file, child, ended };
}

/** How many pictures a file of FLV has. */
function framesOf(file: string): number {
  const pictures = new FlvReader().push(readFileSync(file)).filter(({ type }) => type === "video");
  return pictures.filter(({ payload }) => readVideo(payload).type === "frame").length;
}

test("a live input goes to ffmpeg and to another live input at once, and its owner is told", async () => {
  const told: { type: string; output: string }[] = [];
  const receiver = createServer(async (request, response) => {
    let text = "";
    for await (const piece of request.setEncoding("utf8")) text += piece;
    const { data } = JSON.parse(text);
    // A video that is ready is told of in another form.
    if (data) told.push({ type: data.event_type, output: data.output_id });
    response.end();
  });
  receiver.listen(0, "127.0.0.1");
  scope.own("receiver", { close: () => receiver.close() });
  await start();
  await client.stream.webhooks.update({
    ...acc,
    notificationUrl: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
  });
  const second = await client.stream.liveInputs.create({ ...acc, meta: { name: "There" } });
  const outside = await listening();
  const { uid: toFfmpeg } = await outputs.create(sluice.ready.uid, {
    ...{ ...acc, url: outside.url, streamKey: "ffmpeg-secret" },
  });
  const { uid: toSecond } = await outputs.create(sluice.ready.uid, {
    ...{
      ...acc,
      url: sluice.ready.rtmp!,
      streamKey: (second as { rtmp?: { streamKey: string } }).rtmp!.streamKey,
    },
  });
  const encoder = encode();
  await expect.poll(() => current(toFfmpeg!), { timeout: 20_000 }).toMatchObject({ state: "connected" });
  await expect.poll(() => current(toSecond!), { timeout: 20_000 }).toMatchObject({ state: "connected" });
  // The other live input plays, from the same bytes.
  const playlist = `${sluice.ready.http}/${second.uid}/manifest/video.m3u8`;
  await expect.poll(async () => (await fetch(playlist)).status, { timeout: 20_000 }).toBe(200);
  await encoder.stop();
  const said = await outside.ended;
  expect(said).not.toMatch(/non-monoton/i);
  expect(framesOf(outside.file)).toBeGreaterThan(10);
  await expect.poll(() => current(toSecond!), { timeout: 20_000 }).toMatchObject({ state: "disconnected" });
  expect((await shown(toSecond!)).status!.history.map(({ state }) => state)).toEqual([
    "connected",
    "connecting",
  ]);
  await expect
    .poll(() => told.filter(({ output }) => output === toSecond).map(({ type }) => type), { timeout: 20_000 })
    .toEqual(["live_input.output.connected", "live_input.output.disconnected"]);
  // Keys of other services are for whoever asks the API, and nobody else.
  expect(sluice.log()).not.toContain("ffmpeg-secret");
  const stored = readdirSync(sluice.dataDir).filter((name) => name.startsWith("sluice.db"));
  for (const name of stored)
    expect(readFileSync(join(sluice.dataDir, name)).includes("ffmpeg-secret")).toBe(false);
  expect(existsSync(join(sluice.dataDir, "snapshot", "outputs.json"))).toBe(true);
});

test.for([
  { name: "whose certificate is known", known: true },
  { name: "whose certificate nobody knows", known: false },
])("over TLS to a server $name", async ({ known }) => {
  const { cert, key } = await makeSelfSigned(Date.now());
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  await Promise.all([writeFile(files.cert, cert), writeFile(files.key, key)]);
  await start({
    ...{ SLUICE_TLS_CERT: files.cert, SLUICE_TLS_KEY: files.key },
    ...(known && { NODE_EXTRA_CA_CERTS: files.cert }),
  });
  const { uid: there, rtmps } = await client.stream.liveInputs.create(acc);
  const to = { ...acc, url: sluice.ready.rtmps, streamKey: rtmps!.streamKey! };
  const { uid } = await outputs.create(sluice.ready.uid, to);
  encode();
  if (known) {
    await expect.poll(() => current(uid!), { timeout: 20_000 }).toMatchObject({ state: "connected" });
    const lifecycle = `${sluice.ready.http}/${there}/lifecycle`;
    await expect
      .poll(async () => (await fetch(lifecycle)).json(), { timeout: 20_000 })
      .toMatchObject({ live: true });
  } else {
    await expect
      .poll(() => current(uid!), { timeout: 20_000 })
      .toMatchObject({
        state: "reconnecting",
        reason: "unreachable",
        error: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
      });
  }
});

test("control and the origin may go: what is sent on goes on", async () => {
  await start();
  const outside = await listening();
  const { uid } = await outputs.create(sluice.ready.uid, { ...acc, url: outside.url, streamKey: "k" });
  const encoder = encode();
  await expect.poll(() => current(uid!), { timeout: 20_000 }).toMatchObject({ state: "connected" });
  const roles = family(sluice.pid);
  process.kill(roles.control!, "SIGKILL");
  process.kill(roles.origin!, "SIGKILL");
  await sluice.said(/control is back/);
  await sluice.said(/origin is back/);
  expect(outside.child.exitCode).toBe(null);
  await encoder.stop();
  await outside.ended;
  expect(framesOf(outside.file)).toBeGreaterThan(10);
  await expect.poll(() => current(uid!), { timeout: 20_000 }).toMatchObject({ state: "disconnected" });
  expect((await shown(uid!)).status!.history.map(({ state }) => state)).toEqual(["connected", "connecting"]);
});
