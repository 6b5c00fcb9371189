import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type Control, startControl } from "../../services/control/control.ts";
import { requestInternal } from "../../services/lib/http.ts";
import { Scope } from "../../services/lib/lifecycle.ts";
import { createLog, createLogTo } from "../../services/lib/log.ts";
import { Broadcast } from "../../services/live/broadcast.ts";
import { Directory } from "../../services/live/directory.ts";
import { type GateRecord, type OriginInput, openSnapshot } from "../../services/live/snapshot.ts";
import { noTape } from "../../services/live/tape.ts";
import { Challenges } from "../../services/origin/challenges.ts";
import { http1 } from "../../services/origin/exchange.ts";
import { Guard } from "../../services/origin/guard.ts";
import { Manifests } from "../../services/origin/manifests.ts";
import { Pages } from "../../services/origin/pages.ts";
import { Playlists } from "../../services/origin/playlists.ts";
import { createHandler } from "../../services/origin/server.ts";
import { profiles } from "../../services/packager/profiles.ts";
import { apiOf } from "../support/api.ts";
import { openAttendance } from "../support/handler.ts";
import { publish } from "../support/simulate.ts";

// What is here is measured against a second, so the machine has to be given more than that.
vi.setConfig({ testTimeout: 30_000 });
const log = createLog("test", "silent", false);
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);

let folder: string;
let control: Control;
let port: number;
let input: string;
let broadcast: Broadcast;
const logged: string[] = [];
const scope = new Scope(5_000, (name, error) => {
  throw new Error(`${name} does not close`, { cause: error });
});

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gate-"));
  const address = `unix:${join(folder, "c.sock")}`;
  control = scope.own(
    "control",
    await startControl({
      dataDir: folder,
      address,
      publicUrls: {},
      defaults: { timeoutSeconds: 10, ladder: "none" },
      log,
    }),
  );
  input = control.ready.uid;
  const follow = <T extends { uid: string }>(role: string) =>
    scope.own(
      role,
      openSnapshot<T>({ role, node: "n", control: address, file: join(folder, `${role}.json`), log }),
    );
  const inputs = follow<OriginInput>("origin");
  const records = follow<GateRecord>("gate");
  await Promise.all([inputs.ready, records.ready]);
  const directory = new Directory();
  broadcast = new Broadcast({
    input,
    video,
    profile: profiles.low,
    tape: noTape,
    changed: (one) => directory.notify(one),
  });
  directory.add(broadcast);
  broadcast.begin(startMs, 0);
  for (const { atMs, tag } of publish({ gop: 2, seconds: 9, audio: 48_000 }))
    broadcast.push(tag, startMs + atMs);
  const guard = scope.own(
    "guard",
    new Guard({
      inputs,
      records,
      geo: {},
      staleMs: 60_000,
      ownerOf: (uid) => directory.video(uid)?.input,
      refused: () => {},
    }),
  );
  const toLog = createLogTo((line) => logged.push(line), "origin", "error");
  const handler = createHandler({
    dvr: true,
    directory,
    attendance: openAttendance(directory),
    guard,
    challenges: new Challenges(),
    playlists: new Playlists(),
    manifests: new Manifests(),
    pages: new Pages(folder),
    control: address,
    secret: undefined,
    recordings: undefined,
    movies: undefined,
    thumbnails: undefined,
    failed: (error, path) => toLog.error({ err: error, path }, "request failed"),
    answered: () => {},
  });
  const server = http.createServer(http1(handler));
  await once(server.listen(0, "127.0.0.1"), "listening");
  port = (server.address() as AddressInfo).port;
  scope.own("server", {
    close() {
      server.close();
      server.closeAllConnections();
    },
  });
  const began = { id: "e.0", at: Date.now(), type: "broadcast.started", uid: input, video };
  await requestInternal(address, "/internal/events", { json: { role: "o", node: "n", events: [began] } });
  await api(`PUT /live_inputs/${input}`, { recording: { requireSignedURLs: true } });
});

afterAll(async () => {
  await scope.close();
  await rm(folder, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

function get(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    http
      .request({ host: "127.0.0.1", port, method, path, headers, agent: false }, async (response) => {
        let text = "";
        try {
          for await (const piece of response.setEncoding("latin1")) text += piece;
        } catch (error) {
          return reject(error);
        }
        resolve({ status: response.statusCode!, headers: response.headers, text });
      })
      .on("error", reject)
      .end();
  });
}

const api = apiOf(() => ({ http: `http://127.0.0.1:${port}`, apiToken: control.ready.apiToken }));

const tokenOf = async (uid: string, body: object = {}): Promise<string> =>
  (await api(`POST /${uid}/token`, body)).token;
const playlist = (playback: string) => `/${playback}/manifest/${video}/source.m3u8`;
const held = (playback: string) => {
  const next = broadcast.renditions.get("source")!.window.next!;
  return get(`${playlist(playback)}?_HLS_msn=${next.number}&_HLS_part=${next.part}`);
};

test("a token opens every path under it, and nothing of it may be kept by a shared cache", async () => {
  const token = await tokenOf(input);
  for (const path of [
    `/${token}/manifest/video.m3u8`,
    `/${token}/manifest/video.mpd`,
    playlist(token),
    `/${token}/manifest/${video}/source/0/init.mp4`,
    `/${token}/manifest/${video}/source/0/1.m4s`,
    `/${token}/manifest/${video}/source/0/1.0.m4s`,
    `/${token}/lifecycle`,
  ]) {
    const { status, headers } = await get(path);
    expect([status, headers["cache-control"]], path).toEqual([
      200,
      expect.stringMatching(/^(private\b|no-store)/),
    ]);
  }
  const growing = broadcast.renditions.get("source")!.window.open!.number;
  const { status, headers } = await get(`/${token}/manifest/${video}/source/0/${growing}.m4s`, {}, "HEAD");
  expect([status, headers["cache-control"]]).toEqual([200, expect.stringMatching(/^private\b/)]);
  expect((await get(`/${token}/manifest/video.m3u8`)).text).toContain(`\n${video}/source.m3u8\n`);
  // The page itself is not built here; the gate let it through.
  for (const path of [`/${token}/iframe`, `/${token}`]) expect((await get(path)).status).toBe(503);
});

test("without a token every path is refused, in the same words as what does not exist", async () => {
  const nothing = await get(`/${"a".repeat(32)}/lifecycle`);
  expect(nothing.status).toBe(403);
  for (const path of [
    `/${input}/manifest/video.m3u8`,
    `/${input}/manifest/video.mpd`,
    playlist(input),
    playlist(video),
    `/${input}/manifest/${video}/source/0/init.mp4`,
    `/${input}/manifest/${video}/source/0/1.m4s`,
    `/${video}/manifest/${video}/source/0/1.0.m4s`,
    `/${input}/lifecycle`,
    `/${input}/lifecycle?wait=live`,
    `/${input}/iframe`,
    `/${video}/watch`,
  ]) {
    const { status, text } = await get(path);
    expect([status, text], path).toEqual([403, nothing.text]);
  }
});

test("a token for a video shows that video; a token for another input shows nothing of this one", async () => {
  expect((await get(playlist(await tokenOf(video)))).status).toBe(200);
  const other = (await api("POST /live_inputs", {})).uid;
  const token = await tokenOf(other);
  expect((await get(playlist(token))).status).toBe(404);
  expect((await get(`/${token}/manifest/video.m3u8`)).status).toBe(204);
});

test("path tricks around a token lead nowhere, before the gate is asked", async () => {
  const token = await tokenOf(input);
  for (const path of [
    `/${token}/../${input}/manifest/video.m3u8`,
    `/${token}//manifest/video.m3u8`,
    `/${token}/manifest/%2e%2e/video.m3u8`,
    `/${token}/${token}/manifest/video.m3u8`,
    `/${token}/manifest/${token}/source.m3u8`,
    `/${token}/client/v4`,
    `/x/${token}/manifest/video.m3u8`,
  ])
    expect((await get(path)).status, path).toBe(404);
});

test("an address that a viewer invents counts for nothing", async () => {
  const token = await tokenOf(input, {
    accessRules: [
      { type: "ip.src", action: "allow", ip: ["203.0.113.0/24"] },
      { type: "any", action: "block" },
    ],
  });
  expect((await get(playlist(token), { "x-forwarded-for": "203.0.113.9" })).status).toBe(403);
});

test("a page elsewhere may not show it, and one that may is named in the answer", async () => {
  const { uid } = await api("POST /live_inputs", {
    recording: { allowedOrigins: ["a.example", "*.b.example"] },
  });
  const manifest = `/${uid}/manifest/video.m3u8`;
  expect((await get(manifest, { origin: "https://evil.example" })).status).toBe(403);
  const good = await get(manifest, { origin: "https://x.b.example" });
  expect([good.status, good.headers["access-control-allow-origin"], good.headers.vary]).toEqual([
    204,
    "https://x.b.example",
    "origin",
  ]);
});

const revocations: [string, () => Promise<{ token: string; revoke: () => Promise<unknown> }>][] = [
  [
    "the key",
    async () => {
      const { id, pem } = await api("POST /keys");
      return {
        token: await tokenOf(input, { id, pem }),
        revoke: () => api(`DELETE /keys/${id}`),
      };
    },
  ],
  [
    "the viewer",
    async () => ({
      token: await tokenOf(input, { viewerId: "ann", viewerVersion: 3 }),
      revoke: () => api("POST /v1/revocations", { viewerId: "ann", versionsLessThanOrEqualTo: 3 }),
    }),
  ],
  [
    "the token",
    async () => {
      const token = await tokenOf(input);
      return { token, revoke: () => api("POST /v1/revocations", { token }) };
    },
  ],
];
test.for(revocations)(
  "%s is revoked: the held request ends within a second, the next is refused, others go on",
  async ([, make]) => {
    const { token, revoke } = await make();
    const bystander = await tokenOf(input);
    const waiting = held(token);
    let free = true;
    const beside = held(bystander).then((answer) => {
      free = false;
      return answer;
    });
    const lifecycle = get(`/${token}/lifecycle?wait=live`);
    expect((await get(playlist(token))).status).toBe(200);
    const began = performance.now();
    const revoked = revoke();
    expect((await waiting).status).toBe(403);
    expect((await lifecycle).status).toBe(403);
    expect(performance.now() - began).toBeLessThan(1_000);
    await revoked;
    expect((await get(playlist(token))).status).toBe(403);
    expect(free).toBe(true);
    expect((await get(playlist(bystander))).status).toBe(200);
    await api("POST /v1/revocations", { token: bystander });
    expect((await beside).status).toBe(403);
  },
);

test("a token that ends while a request of it is held ends that, as expired; a fresh one goes on at the same paths", async () => {
  const exp = Math.floor(Date.now() / 1000) + 2;
  const token = await tokenOf(input, { exp });
  const { status, headers } = await held(token);
  expect(status).toBe(401);
  expect(headers["www-authenticate"]).toContain("expired");
  expect(Date.now()).toBeGreaterThanOrEqual(exp * 1000);
  expect((await get(playlist(token))).status).toBe(401);
  expect((await get(playlist(await tokenOf(input)))).status).toBe(200);
});

test("two keys are in force at once, both are published, and a public key of one's own is enough", async () => {
  const { generateKeyPairSync } = await import("node:crypto");
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const uploaded = await api("POST /v1/keys", {
    publicKey: publicKey.export({ format: "pem", type: "spki" }),
  });
  expect(uploaded.alg).toBe("ES256");
  const { signToken } = await import("../../services/auth/token.ts");
  const token = signToken(
    { sub: input, exp: Math.floor(Date.now() / 1000) + 60 },
    { kid: uploaded.id, alg: "ES256", key: privateKey },
  );
  expect((await get(playlist(token))).status).toBe(200);
  const made = await api("POST /keys");
  const { keys } = JSON.parse((await get("/.well-known/jwks.json")).text);
  expect(keys).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ kid: uploaded.id, kty: "EC", alg: "ES256" }),
      expect.objectContaining({ kid: made.id, kty: "RSA", alg: "RS256" }),
    ]),
  );
  for (const key of keys) expect(key).not.toHaveProperty("d");
  expect((await api("GET /keys")).map((key: { id: string }) => key.id)).toContain(made.id);
});

test("what viewers may see is what the video says, or its live input where it says nothing", async () => {
  await api(`PUT /live_inputs/${input}`, { recording: { requireSignedURLs: false } });
  const { status, headers } = await get(playlist(input));
  expect([status, headers["cache-control"]]).toEqual([200, expect.stringContaining("public")]);
  const open = held(video);
  await get(playlist(video));
  await api(`PUT /live_inputs/${input}`, { recording: { requireSignedURLs: true } });
  expect((await open).status).toBe(403);
});

test("what a video demands of its own nobody gets around by the uid of its live input", async () => {
  await api(`PUT /live_inputs/${input}`, { recording: { requireSignedURLs: false } });
  const open = held(input);
  await get(playlist(input));
  await api(`POST /${video}`, { requireSignedURLs: true });
  expect((await open).status).toBe(403);
  const segment = (playback: string) => `/${playback}/manifest/${video}/source/0/1.m4s`;
  for (const path of [playlist, segment]) {
    expect((await get(path(input))).status).toBe(403);
    for (const uid of [input, video]) expect((await get(path(await tokenOf(uid)))).status).toBe(200);
  }
  await api(`POST /${video}`, { requireSignedURLs: false });
  expect((await get(playlist(input))).status).toBe(200);
  await api(`PUT /live_inputs/${input}`, { recording: { requireSignedURLs: true } });
});

test("no token is written to a log, wherever it stands", async () => {
  const token = await tokenOf(input);
  const lines: string[] = [];
  const one = createLogTo((line) => lines.push(line), "t", "info");
  one.info({ path: `/${token}/x`, deep: { err: new Error(`bad ${token}`) } }, `at ${token}`);
  expect(lines.join("")).not.toContain(token.split(".")[2]);
  expect(lines.join("")).toContain("[token]");
  expect(logged.join("")).not.toContain("eyJ");
});
