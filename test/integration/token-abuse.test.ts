import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import http from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sessionErrors } from "../../services/moq/codec/wire.ts";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { MoqViewer, type Way, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const seconds = () => Math.floor(Date.now() / 1000);

/** Who holds a forged, foreign, spent or shared token sees nothing, whatever he speaks (the whole product, every protocol). */
describe("tokens that open nothing", () => {
  let sluice: Sluice;
  let encoder: Publisher;
  let way: Way;
  /** On air, and recorded; both demand tokens. */
  let input: string;
  let video: string;
  let past: string;
  let live: string;
  let key: { id: string; private: KeyObject; publicPem: string };

  beforeAll(async () => {
    sluice = await startSluice({ args: ["--host", "::"], env: { SLUICE_MOQ: "true" } });
    const { ready } = sluice;
    const recorded = await api("POST /live_inputs", {
      meta: { name: "Recorded" },
      recording: { mode: "automatic", timeoutSeconds: 1 },
    });
    past = recorded.uid;
    const short = publish({ url: `${ready.rtmp}/${recorded.rtmps.streamKey}`, seconds: 4 });
    await short.ended;
    video = await ended(past);
    input = ready.uid;
    encoder = publish({ url: `${ready.rtmp}/${ready.streamKey}`, gop: 1 });
    way = await wayTo(ready, input);
    live = (await lifecycle(input)).videoUID!;
    for (const uid of [input, past])
      await api(`PUT /live_inputs/${uid}`, { recording: { requireSignedURLs: true } });
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const publicPem = publicKey.export({ format: "pem", type: "spki" }).toString();
    const { id } = await api("POST /v1/keys", { publicKey: publicPem });
    key = { id, private: privateKey, publicPem };
  });
  afterAll(async () => {
    await encoder?.stop();
    await sluice?.stop();
  });
  beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(sluice.log())));

  const api = apiOf(() => sluice.ready);
  async function lifecycle(uid: string) {
    const response = await fetch(`${sluice.ready.http}/${uid}/lifecycle`);
    return (await response.json()) as { videoUID: string | null; live: boolean };
  }
  /** The video of a live input that was on air, once it is one. */
  async function ended(uid: string): Promise<string> {
    for (;;) {
      const [found] = await api(`GET /live_inputs/${uid}/videos`);
      if (found?.status.state === "ready") return found.uid;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  interface From {
    readonly address?: string;
    readonly host?: string;
    readonly headers?: Readonly<Record<string, string>>;
  }
  function get(path: string, from: From = {}): Promise<number> {
    const { address, host = "127.0.0.1", headers = {} } = from;
    const { port } = new URL(sluice.ready.http);
    return new Promise((resolve, reject) => {
      const options = { host, port, path, headers, agent: false, ...(address && { localAddress: address }) };
      const request = http.get(options, (response) => {
        resolve(response.statusCode ?? 0);
        response.destroy();
      });
      request.on("error", reject);
    });
  }

  /** Each way to see something: what a token for `live` or for the video answers when it is good is under 300. */
  const doors: readonly { name: string; of: "live" | "video"; path: (token: string) => string }[] = [
    { name: "HLS", of: "live", path: (token) => `/${token}/manifest/video.m3u8` },
    { name: "HLS playlist", of: "live", path: (token) => `/${token}/manifest/${live}/source.m3u8` },
    { name: "HLS segment", of: "live", path: (token) => `/${token}/manifest/${live}/source/0/init.mp4` },
    { name: "DASH", of: "live", path: (token) => `/${token}/manifest/video.mpd` },
    { name: "iframe", of: "live", path: (token) => `/${token}/iframe` },
    { name: "lifecycle", of: "live", path: (token) => `/${token}/lifecycle` },
    {
      name: "thumbnail",
      of: "video",
      path: (token) => `/${token}/thumbnails/thumbnail.jpg?time=1s&height=64`,
    },
    { name: "storyboard", of: "video", path: (token) => `/${token}/storyboard.vtt` },
    { name: "recorded HLS", of: "video", path: (token) => `/${token}/manifest/video.m3u8` },
    { name: "recorded DASH", of: "video", path: (token) => `/${token}/manifest/video.mpd` },
    { name: "clip list", of: "video", path: (token) => `/${token}/manifest/clip.m3u8?time=0s&duration=2s` },
    { name: "clip", of: "video", path: (token) => `/${token}/clip.mp4?time=0s&duration=2s` },
    { name: "download", of: "video", path: (token) => `/${token}/downloads/default.mp4` },
  ];

  /** Whether a session over WebTransport comes to a picture: by its path, by its query, and by a token in the request. */
  async function overMoq(token: string, host = "127.0.0.1"): Promise<boolean[]> {
    const asked = async (path: string, inRequest: boolean) => {
      const viewer = await MoqViewer.open(way, path, "moqt-16", { host });
      const value = Buffer.from(token);
      const tokens = inRequest ? { tokens: [{ use: "value" as const, type: 0, value }] } : {};
      viewer.subscribe(input, "source.0", { filter: { from: "largest object" }, ...tokens });
      const groups = viewer.tracks.get("source.0")!;
      await viewer.until(
        () => viewer.closed !== undefined || viewer.refused.has("source.0") || groups.length > 0,
      );
      const seen = groups.length > 0;
      if (viewer.closed) expect(viewer.closed.code).toBe(sessionErrors.unauthorized);
      viewer.close();
      return seen;
    };
    return [await asked(`/${token}`, false), await asked(`/?jwt=${token}`, false), await asked("/", true)];
  }

  const encode = (value: object | string) =>
    Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  interface Made {
    readonly header?: object;
    readonly claims?: object;
    readonly by?: (text: string) => Buffer;
  }
  /** No two are the same, or one would be revoked with the other. */
  let made = 0;
  /** A token that is right in everything that is not asked for otherwise. */
  function token(sub: string, { header = {}, claims = {}, by }: Made = {}): string {
    const body = { sub, kid: key.id, exp: seconds() + 3_600, downloadable: true, n: made++, ...claims };
    const text = `${encode({ alg: "RS256", kid: key.id, ...header })}.${encode(body)}`;
    const signed = by ? by(text) : sign("sha256", Buffer.from(text), key.private);
    return `${text}.${signed.toString("base64url")}`;
  }

  /** What every door and MoQ answer to tokens made so. */
  async function answers(made: Made | ((sub: string) => Made), from: From = {}) {
    const of = (sub: string) => token(sub, typeof made === "function" ? made(sub) : made);
    const statuses = await Promise.all(
      doors.map(async ({ name, of: whose, path }) => [
        name,
        await get(path(of(whose === "live" ? input : video)), from),
      ]),
    );
    const seen = await overMoq(of(input), from.host);
    return { ...Object.fromEntries(statuses), "Media over QUIC": seen } as Record<string, number | boolean[]>;
  }
  const all = (status: number, seen: boolean) => ({
    ...Object.fromEntries(doors.map(({ name }) => [name, status])),
    "Media over QUIC": [seen, seen, seen],
  });

  test("a good one opens every door, so that what follows is refused for what it is", async () => {
    expect(await answers({})).toEqual(all(200, true));
  });

  const rows: readonly [name: string, status: number, made: () => Made | ((sub: string) => Made)][] = [
    ["alg none, unsigned", 403, () => ({ header: { alg: "none" }, by: () => Buffer.of(0) })],
    [
      "HS256 with the public key as its secret",
      403,
      () => ({
        header: { alg: "HS256" },
        by: (text) => createHmac("sha256", key.publicPem).update(text).digest(),
      }),
    ],
    [
      "HS256's signature under the name RS256",
      403,
      () => ({ by: (text) => createHmac("sha256", key.publicPem).update(text).digest() }),
    ],
    [
      "a key that nobody has",
      403,
      () => ({ header: { kid: "f".repeat(32) }, claims: { kid: "f".repeat(32) } }),
    ],
    [
      "somebody else's key under our name",
      403,
      () => {
        const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
        return { by: (text) => sign("sha256", Buffer.from(text), privateKey) };
      },
    ],
    ["two names of keys that differ", 403, () => ({ header: { kid: "a" } })],
    ["an end in the past, as text", 401, () => ({ claims: { exp: String(seconds() - 1) } })],
    ["an end that is no number", 403, () => ({ claims: { exp: "tomorrow" } })],
    ["no end", 403, () => ({ claims: { exp: undefined } })],
    ["an end in a year", 403, () => ({ claims: { exp: seconds() + 365 * 86_400 } })],
    ["a beginning to come", 403, () => ({ claims: { nbf: seconds() + 3_600 } })],
    ["another subject", 403, () => ({ claims: { sub: "e".repeat(32) } })],
    [
      "a rule that nobody knows",
      403,
      () => ({ claims: { accessRules: [{ type: "moon", action: "allow" }] } }),
    ],
    [
      "a rule for another network",
      403,
      () => ({
        claims: {
          accessRules: [
            { type: "ip.src", action: "allow", ip: ["203.0.113.0/24"] },
            { type: "any", action: "block" },
          ],
        },
      }),
    ],
    [
      "a country, without a database that would know",
      403,
      () => ({
        claims: {
          accessRules: [
            { type: "ip.geoip.country", action: "allow", country: ["DE"] },
            { type: "any", action: "block" },
          ],
        },
      }),
    ],
  ];
  test.for(rows)("%s is refused everywhere", async ([, status, made]) => {
    expect(await answers(made())).toEqual(all(status, false));
  });

  test("an address that a viewer invents counts for nothing", async () => {
    const claims = {
      accessRules: [
        { type: "ip.src", action: "allow", ip: ["203.0.113.0/24"] },
        { type: "any", action: "block" },
      ],
    };
    const headers = {
      "x-forwarded-for": "203.0.113.9",
      "x-real-ip": "203.0.113.9",
      forwarded: "for=203.0.113.9",
    };
    expect(await answers({ claims }, { headers })).toEqual(all(403, false));
  });

  test("a rule for IPv4 says nothing of IPv6, and a socket for both does not blur them", async () => {
    const only = (ip: string) => ({
      claims: {
        accessRules: [
          { type: "ip.src", action: "allow", ip: [ip] },
          { type: "any", action: "block" },
        ],
      },
    });
    expect(await answers(only("127.0.0.0/8"))).toEqual(all(200, true));
    expect(await answers(only("127.0.0.0/8"), { host: "::1" })).toEqual(all(403, false));
    expect(await answers(only("::1/128"), { host: "::1" })).toEqual(all(200, true));
    expect(await answers(only("::1/128"))).toEqual(all(403, false));
  });

  test("one that is shared by fifty places admits as many as it says, whatever they ask for", async () => {
    const shared = {
      live: token(input, { claims: { maxSessions: 2 } }),
      video: token(video, { claims: { maxSessions: 2 } }),
    };
    for (const { name, of, path } of doors) {
      const statuses = [];
      for (let i = 0; i < 50; i++) statuses.push(await get(path(shared[of]), { address: `127.0.${i}.1` }));
      expect([name, statuses.slice(0, 2), new Set(statuses.slice(2))]).toEqual([
        name,
        [200, 200],
        new Set([403]),
      ]);
    }
  });

  test("one for one place admits one over QUIC too, for as long as that one stays", async () => {
    const shared = token(input, { claims: { maxSessions: 1 } });
    const viewer = await MoqViewer.open(way, `/${shared}`);
    viewer.subscribe(input, "source.0");
    await viewer.until(() => viewer.tracks.get("source.0")!.length > 0);
    expect(await overMoq(shared, "::1")).toEqual([false, false, false]);
    viewer.close();
  });

  test("one that stands for a video opens no other, and tricks with paths lead nowhere", async () => {
    const good = token(video);
    for (const path of [
      `/${good}/manifest/${live}/source.m3u8`,
      `/${good}/manifest/${live}/source/0/init.mp4`,
      `/${good}/../${input}/manifest/video.m3u8`,
      `/${good}/manifest/../../${input}/manifest/video.m3u8`,
      `/${good}/%2e%2e/${input}/manifest/video.m3u8`,
      `/${good}//${input}/manifest/video.m3u8`,
      `/${good}/${input}/manifest/video.m3u8`,
      `/${good}/..%2f${input}/thumbnails/thumbnail.jpg`,
      `/${good}/downloads/../../${past}/downloads/default.mp4`,
      `/${good}/client/v4/accounts/local/stream`,
    ])
      expect([path.replace(good, "TOKEN"), await get(path)]).toEqual([path.replace(good, "TOKEN"), 404]);
    expect(await overMoq(good)).toEqual([false, false, false]);
  });

  test("a page of another origin gets no session, and none over HTTP", async () => {
    const { uid } = await api(`PUT /live_inputs/${input}`, {
      recording: { requireSignedURLs: false, allowedOrigins: ["a.example", "*.b.example"] },
    });
    const over = async (origin: string) => {
      const viewer = await MoqViewer.open(way, `/${uid}`, "moqt-16", { origin });
      viewer.subscribe(uid, "source.0");
      await viewer.until(() => viewer.closed !== undefined || viewer.tracks.get("source.0")!.length > 0);
      const code = viewer.closed?.code;
      viewer.close();
      return code ?? "in";
    };
    try {
      for (const origin of ["https://evil.example", "https://b.example", "null"]) {
        expect([origin, await over(origin)]).toEqual([origin, sessionErrors.unauthorized]);
        expect([origin, await get(`/${uid}/manifest/video.m3u8`, { headers: { origin } })]).toEqual([
          origin,
          403,
        ]);
      }
      for (const origin of ["https://a.example", "https://x.b.example"]) {
        expect([origin, await over(origin)]).toEqual([origin, "in"]);
        expect([origin, await get(`/${uid}/manifest/video.m3u8`, { headers: { origin } })]).toEqual([
          origin,
          200,
        ]);
      }
    } finally {
      await api(`PUT /live_inputs/${input}`, {
        recording: { requireSignedURLs: true, allowedOrigins: [] },
      });
    }
  });

  const ends: readonly [string, number, (made: string) => Promise<unknown>][] = [
    ["is revoked", 403, (made) => api("POST /v1/revocations", { token: made })],
    ["is for a viewer who is revoked", 403, () => api("POST /v1/revocations", { viewerId: "ann" })],
    ["loses its key", 403, () => api(`DELETE /keys/${key.id}`)],
  ];
  test.for(ends)(
    "one that %s ends all that its holder watches within a second",
    async ([how, status, end]) => {
      const claims = how.includes("viewer") ? { vid: "ann" } : {};
      const [watching, downloading] = [token(input, { claims }), token(video, { claims })];
      const viewer = await MoqViewer.open(way, `/${watching}`);
      viewer.subscribe(input, "source.0");
      await viewer.until(() => viewer.tracks.get("source.0")!.length > 0);
      const held: Record<string, Promise<number | string>> = {
        "held playlist": cut(`/${watching}/manifest/${live}/source.m3u8?_HLS_msn=999999&_HLS_part=0`),
        "growing segment": growing(watching),
        lifecycle: cut(`/${watching}/lifecycle?wait=live`),
        "Media over QUIC": viewer.until(() => viewer.done.has("source.0")).then(() => "ended"),
      };
      // The first of them asks for more than there will be for a while, which is refused at once.
      delete held["held playlist"];
      held["held playlist"] = cut(await nextPart(watching));
      const began = performance.now();
      const took: Record<string, number> = {};
      const over = Object.entries(held).map(async ([name, answer]) => {
        await answer;
        took[name] = Math.round(performance.now() - began);
      });
      await Promise.all([end(watching), how === "is revoked" ? end(downloading) : undefined]);
      await Promise.all(over);
      console.log(`${how}: ${JSON.stringify(took)} ms`);
      for (const [name, ms] of Object.entries(took)) expect([name, ms < 1_000]).toEqual([name, true]);
      for (const { name, of, path } of doors)
        expect([name, await get(path(of === "live" ? watching : downloading))]).toEqual([name, status]);
      expect(await overMoq(watching)).toEqual([false, false, false]);
      viewer.close();
    },
  );

  /** The address of the playlist with the part after the newest. */
  async function nextPart(of: string): Promise<string> {
    const path = `/${of}/manifest/${live}/source.m3u8`;
    const text = await (await fetch(`${sluice.ready.http}${path}`)).text();
    const hint = /#EXT-X-PRELOAD-HINT:TYPE=PART,URI="[^"]*?(\d+)\.(\d+)\.m4s"/.exec(text)!;
    // Two parts ahead, so that media does not answer it before the revocation does.
    return `${path}?_HLS_msn=${Number(hint[1]) + 1}&_HLS_part=0`;
  }

  /** Settles with the status of an answer that is refused, or with how one that was under way ended. */
  function cut(path: string): Promise<number | string> {
    return new Promise((resolve, reject) => {
      const request = http.get(`${sluice.ready.http}${path}`, { agent: false }, (response) => {
        response.resume();
        response.once("close", () => resolve(response.complete ? (response.statusCode ?? 0) : "cut"));
        response.on("error", () => resolve("cut"));
      });
      request.on("error", reject);
    });
  }

  /** A segment that DASH players read while it is made. */
  async function growing(of: string): Promise<number | string> {
    const text = await (await fetch(`${sluice.ready.http}/${of}/manifest/${live}/source.m3u8`)).text();
    const number = Number(/#EXT-X-PRELOAD-HINT:TYPE=PART,URI="[^"]*?(\d+)\.\d+\.m4s"/.exec(text)![1]);
    return cut(`/${of}/manifest/${live}/source/0/${number}.m4s`);
  }
});
