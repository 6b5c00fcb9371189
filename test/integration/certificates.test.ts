import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import tls, { type TLSSocket } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { makeSelfSigned } from "../../infra/x509.ts";
import { type AcmeFake, openAcmeFake } from "../support/acme-fake.ts";
import { publish } from "../support/ffmpeg.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const domain = "live.example.test";

describe("certificates", () => {
  let sluice: Sluice | undefined;
  let fake: AcmeFake | undefined;
  const ends: (() => unknown)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
    await sluice?.stop();
    await fake?.close();
    sluice = undefined;
    fake = undefined;
  });

  const port = (url: string | undefined) => Number(new URL(url!.replace(/^rtmps:/, "https:")).port);
  const doors = () => ({ https: port(sluice!.ready.https), rtmps: port(sluice!.ready.rtmps) });

  /** A publish over RTMPS, a player's connection over HTTPS that stays, and a session over WebTransport. */
  async function audience() {
    const { ready } = sluice!;
    const encoder = publish({ url: `${ready.rtmps}/${ready.streamKey}`, gop: 1 });
    ends.push(() => encoder.stop());
    const way = await wayTo(ready, ready.uid);
    const viewer = await MoqViewer.open(way, `/${ready.uid}`);
    ends.push(() => viewer.close());
    const { tracks } = await viewer.catalog(ready.uid);
    viewer.subscribe(ready.uid, tracks[0]!.name);
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    ends.push(() => agent.destroy());
    const sockets = new Set<unknown>();
    const ask = async () => {
      const [status, body] = await get(`${ready.https}/${ready.uid}/manifest/video.m3u8`, agent, sockets);
      return { status, body, sockets: sockets.size };
    };
    expect((await ask()).status).toBe(200);
    const video = async () =>
      ((await (await fetch(`${ready.http}/${ready.uid}/lifecycle`)).json()) as { videoUID: string }).videoUID;
    return { encoder, viewer, track: tracks[0]!.name, ask, video, way };
  }

  /** Nobody of them has lost anything, and media goes on coming. */
  async function undisturbed(all: Awaited<ReturnType<typeof audience>>, video: string): Promise<void> {
    const { viewer, track, ask, encoder } = all;
    expect(viewer.closed).toBeUndefined();
    const groups = viewer.tracks.get(track)!.length;
    await viewer.until(() => viewer.tracks.get(track)!.length > groups);
    expect(viewer.closed).toBeUndefined();
    expect(await ask()).toMatchObject({ status: 200, sockets: 1 });
    expect(await all.video()).toBe(video);
    expect(encoder.log()).not.toMatch(/error|reset|broken/i);
  }

  test("come from an authority while the self-signed one serves, and are renewed without dropping anyone", async ({
    onTestFailed,
  }) => {
    onTestFailed(() => console.error(sluice?.log(), fake?.looked, fake?.requests.slice(-20)));
    const ports = () => ({ http: port(sluice!.ready.http), tls: doors().https });
    fake = await openAcmeFake({ ports, lifeMs: 18_000 });
    fake.faults.broken = true;
    sluice = await startSluice({
      args: ["--domain", domain, "--acme-directory", fake.directory],
      env: { SLUICE_MOQ: "true" },
    });
    expect(sluice.log()).toMatch(/self-signed until it has come/);
    await sluice.said(/no new certificate for live\.example\.test/);
    expect((await shownAt(doors().https)).subject).toMatch(/self-signed/);
    fake.faults.broken = false;
    await sluice.said(/certificate issued/);
    await sluice.said(/new sessions see the new certificate/);
    await sluice.said(reloads(3));
    const first = fake.issued.at(-1)!;
    for (const door of Object.values(doors())) {
      const { fingerprint256, issuerCertificate } = await trustedAt(door, fake.root);
      expect(fingerprint256).toBe(new X509Certificate(first).fingerprint256);
      expect(issuerCertificate).toBeDefined();
    }
    const all = await audience();
    expect(all.way.hashes).toEqual([]);
    const video = await all.video();
    await sluice.said(/certificate renewed/);
    await sluice.said(reloads(6));
    const second = new X509Certificate(fake.issued.at(-1)!).fingerprint256;
    expect(fake.issued.length).toBeGreaterThan(1);
    for (const door of Object.values(doors()))
      expect((await trustedAt(door, fake.root)).fingerprint256).toBe(second);
    await undisturbed(all, video);
  });

  test("in files are reloaded when these change, and whoever is connected stays", async ({
    onTestFailed,
  }) => {
    onTestFailed(() => console.error(sluice?.log()));
    const folder = mkdtempSync(join(tmpdir(), "sluice-pair-"));
    ends.push(() => rmSync(folder, { recursive: true }));
    const write = async () => {
      // So short-lived that a browser takes its hash, which is how the relay's is looked at below.
      const pair = await makeSelfSigned(Date.now(), 10);
      writeFileSync(join(folder, "key.pem"), pair.key);
      writeFileSync(join(folder, "cert.pem"), pair.cert);
      return new X509Certificate(pair.cert).fingerprint256;
    };
    const first = await write();
    sluice = await startSluice({
      args: ["--tls-cert", join(folder, "cert.pem"), "--tls-key", join(folder, "key.pem")],
      env: { SLUICE_MOQ: "true" },
    });
    for (const door of Object.values(doors())) expect((await shownAt(door)).fingerprint256).toBe(first);
    const all = await audience();
    const video = await all.video();
    const second = await write();
    await sluice.said(reloads(3));
    for (const door of Object.values(doors())) expect((await shownAt(door)).fingerprint256).toBe(second);
    await undisturbed(all, video);
    expect(sluice.log()).not.toMatch(/new sessions see/);
    all.viewer.close();
    await sluice.said(/new sessions see the new certificate/);
    const again = await MoqViewer.open(all.way, `/${sluice.ready.uid}`);
    ends.push(() => again.close());
    expect((await again.catalog(sluice.ready.uid)).tracks.length).toBeGreaterThan(0);
  });
});

/** So many times a role has said that it has another certificate: ingest, origin and relay do. */
const reloads = (times: number) => new RegExp(`(certificate reloaded[\\s\\S]*){${times}}`);

function get(url: string, agent: https.Agent, sockets: Set<unknown>): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { agent, rejectUnauthorized: false }, (response) => {
      sockets.add(response.socket);
      text(response).then((body) => resolve([response.statusCode ?? 0, body]), reject);
    });
    request.once("error", reject);
  });
}

/** What a new client sees there, whoever signed it. */
async function shownAt(port: number): Promise<{ fingerprint256: string; subject: string }> {
  const socket = await connect(port, { rejectUnauthorized: false });
  const { fingerprint256, subject } = socket.getPeerX509Certificate()!;
  socket.destroy();
  return { fingerprint256, subject };
}

/** What a client sees there that trusts `root` and nobody else, and looks for the domain. */
async function trustedAt(port: number, root: string) {
  const socket = await connect(port, { ca: root, servername: domain });
  const peer = socket.getPeerCertificate(true);
  socket.destroy();
  return peer;
}

function connect(port: number, options: tls.ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: "127.0.0.1", port, ...options }, () => resolve(socket));
    socket.once("error", reject);
  });
}
