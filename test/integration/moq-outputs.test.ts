import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { protocols } from "../../services/moq/session.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { freeUdpPorts } from "../support/ports.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer } from "../support/viewer.ts";

// Two of Sluice, of which the second is the relay of somebody else: what is on air at the first is pushed there over QUIC.
let here: Sluice;
let there: Sluice;
let encoder: Publisher;
let port: number;
/** Of the same relay, for QUIC without WebTransport. */
let nativePort: number;

beforeAll(async () => {
  [port, nativePort] = (await freeUdpPorts(2)) as [number, number];
  there = await startSluice({
    env: { SLUICE_MOQ: "true" },
    args: ["--moq-port", `${port}`, "--moq-native-port", `${nativePort}`, "--timeout-seconds", "2"],
  });
  const trusted = join(there.dataDir, "certs", "webtransport.pem");
  // Its relay is there, and has made it.
  await reachable(port);
  here = await startSluice({
    env: {
      SLUICE_MOQ: "true",
      SLUICE_ROLES: "control,ingest,origin,relay,outputs",
      SLUICE_ALLOW_PRIVATE_TARGETS: "127.0.0.0/8,::1/128",
      // Whom this one trusts besides the authorities that everybody knows.
      NODE_EXTRA_CA_CERTS: trusted,
    },
  });
  encoder = publish({ url: `${here.ready.rtmp}/${here.ready.streamKey}`, gop: 1 });
});
afterAll(async () => {
  await encoder?.kill();
  await Promise.all([here?.stop(), there?.stop()]);
});
beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(here.log(), there.log())));

/** Resolves once there is a relay at this port. */
async function reachable(port: number): Promise<void> {
  const session = await connectWebTransport({ host: "127.0.0.1", port, path: "/", protocols });
  session.close(0, "");
}

interface Shown {
  readonly uid: string;
  readonly status: null | { readonly current: { state: string; reason: string; error?: string } };
}

const api = apiOf(() => here.ready);
const outputs = () => `/live_inputs/${here.ready.uid}/outputs`;
const add = async (url: string, streamKey: string) =>
  (await api<Shown>(`POST ${outputs()}`, { url, streamKey })).uid;
const current = async (uid: string) => (await api<Shown>(`GET ${outputs()}/${uid}`)).status?.current;
const live = async () => {
  const response = await fetch(`${there.ready.http}/${there.ready.uid}/lifecycle`);
  return ((await response.json()) as { live: boolean }).live;
};
const secret = "sesame-open-now";

test.for([
  {
    name: "a key that is not accepted",
    url: () => `https://localhost:${port}/publish/{key}`,
    status: { state: "reconnecting", reason: "refused", error: /Stream key not accepted/ },
  },
  {
    name: "a certificate that is for another name",
    url: () => `https://127.0.0.1:${port}/publish/{key}`,
    status: { state: "reconnecting", reason: "unreachable", error: /certificate is for another name/ },
  },
  {
    name: "an address that may not be connected to",
    url: () => `https://10.0.0.1:${port}/{key}`,
    status: { state: "errored", reason: "forbidden", error: /allowPrivateTargets/ },
  },
])("an output to a relay says what is wrong: $name", async ({ url, status: { state, reason, error } }) => {
  const uid = await add(url(), secret);
  await expect
    .poll(() => current(uid), { timeout: 20_000 })
    .toMatchObject({ state, reason, error: expect.stringMatching(error) });
  expect((await current(uid))!.error).not.toContain(secret);
  await api(`DELETE ${outputs()}/${uid}`).catch(() => undefined);
});

test("what is on air is pushed to a relay and plays there, until the output is switched off or the encoder stops", async () => {
  const uid = await add(`https://localhost:${port}/publish/{key}#msf:live-stage`, there.ready.streamKey!);
  await expect.poll(() => current(uid), { timeout: 20_000 }).toMatchObject({ state: "connected" });
  const hls = await openViewer(`${there.ready.http}/${there.ready.uid}`);
  expect([...hls.renditions.keys()].sort()).toEqual(["audio", "source"]);
  for (const name of ["source", "audio"])
    await hls.follow(name, (all) => all.filter(({ gap }) => !gap).length >= 3);
  expect(hls.judge.violations).toEqual([]);

  await api(`PUT ${outputs()}/${uid}`, { enabled: false });
  await expect.poll(() => current(uid)).toMatchObject({ state: "disconnected", reason: "disabled" });
  await expect.poll(live, { timeout: 10_000 }).toBe(false);

  const native = await add(`moqt://localhost:${nativePort}/publish/{key}`, there.ready.streamKey!);
  await expect.poll(() => current(native), { timeout: 20_000 }).toMatchObject({ state: "connected" });
  await expect.poll(live, { timeout: 10_000 }).toBe(true);
  await api(`PUT ${outputs()}/${native}`, { enabled: false });
  await expect.poll(live, { timeout: 10_000 }).toBe(false);

  await api(`PUT ${outputs()}/${uid}`, { enabled: true });
  await expect.poll(live, { timeout: 10_000 }).toBe(true);
  await encoder.stop();
  await expect
    .poll(() => current(uid), { timeout: 20_000 })
    .toMatchObject({ state: "disconnected", reason: "idle" });
  await expect.poll(live, { timeout: 10_000 }).toBe(false);
  for (const key of [secret, there.ready.streamKey!]) expect(here.log()).not.toContain(key);
});
