import { mkdtemp, readdir, rm } from "node:fs/promises";
import http from "node:http";
import http2api from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { publish } from "../../test/support/simulate.ts";
import { createLog } from "../lib/log.ts";
import { Attic } from "../live/attic.ts";
import { Broadcast } from "../live/broadcast.ts";
import { Directory } from "../live/directory.ts";
import { http1, http2 } from "./exchange.ts";
import { Guard } from "./guard.ts";
import { Pages } from "./pages.ts";
import { Playlists } from "./playlists.ts";
import { createHandler } from "./server.ts";
import { Viewers } from "./viewers.ts";

const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);

/** Lets everybody see everything. */
function openToAll(): Guard {
  const open = { uid: input, name: "", enabled: true, timeoutSeconds: 1, partSeconds: 0.5 };
  return new Guard({
    inputs: {
      get: () => ({ ...open, requireSignedURLs: false, allowedOrigins: [] }),
      onChange: () => () => {},
    },
    records: { get: () => undefined, values: () => [].values(), onChange: () => () => {}, contactMs: 0 },
    geo: {},
    staleMs: 1_000,
    ownerOf: () => undefined,
    refused: () => {},
  });
}

/** A broadcast whose media come when a test says so. */
async function stage() {
  const folder = await mkdtemp(join(tmpdir(), "attic-"));
  const attic = await Attic.open(folder, createLog("test", "silent", false));
  const directory = new Directory();
  const broadcast = new Broadcast({
    input,
    video,
    profile: { partSeconds: 0.5, targetDuration: 4 },
    attic,
    changed: (one) => directory.notify(one),
  });
  directory.add(broadcast);
  broadcast.begin(startMs, 0);
  const arrivals = publish({ gop: 2, seconds: 60, audio: 48000 });
  return {
    directory,
    broadcast,
    folder,
    /** Everything that arrives up to this second. */
    play(second: number) {
      while (arrivals[0] && arrivals[0].atMs <= second * 1000) {
        const { atMs, tag } = arrivals.shift()!;
        broadcast.push(tag, startMs + atMs);
      }
    },
  };
}

type Stage = Awaited<ReturnType<typeof stage>>;
interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: Buffer;
}

describe.for(["HTTP/1.1", "HTTP/2"] as const)("over %s", (protocol) => {
  let set: Stage;
  let server: http.Server | http2api.Http2Server;
  let session: http2api.ClientHttp2Session | undefined;
  let port: number;
  const failures: unknown[] = [];

  beforeAll(async () => {
    set = await stage();
    const handler = createHandler({
      directory: set.directory,
      playlists: new Playlists(),
      pages: new Pages("/nonexistent"),
      viewers: new Viewers(),
      guard: openToAll(),
      control: "unix:/nonexistent/control.sock",
      secret: undefined,
      expects: (uid) => uid === "e".repeat(32),
      failed: (error) => failures.push(error),
      answered: () => {},
    });
    server = protocol === "HTTP/1.1" ? http.createServer(http1(handler)) : http2api.createServer();
    if (protocol === "HTTP/2") (server as http2api.Http2Server).on("stream", http2(handler));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
    if (protocol === "HTTP/2") session = http2api.connect(`http://127.0.0.1:${port}`);
    const began = get(`/${input}/lifecycle?wait=idle`);
    set.play(9);
    expect(JSON.parse((await began).body.toString())).toMatchObject({ status: "live" });
  });
  afterAll(async () => {
    session?.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(set.folder, { recursive: true });
    expect(failures).toEqual([]);
  });

  function get(
    path: string,
    options: { method?: string; headers?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<Answer> {
    const { method = "GET", headers = {}, signal } = options;
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      if (session) {
        const stream = session.request(
          { ":path": path, ":method": method, ...headers },
          { ...(signal && { signal }) },
        );
        let fields: Record<string, unknown> = {};
        stream.on("response", (given) => {
          fields = given;
        });
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () =>
          resolve({ status: Number(fields[":status"]), headers: fields, body: Buffer.concat(chunks) }),
        );
        stream.on("error", reject);
        stream.end();
      } else {
        const request = http.request(
          { host: "127.0.0.1", port, path, method, headers, ...(signal && { signal }) },
          (response) => {
            response.on("data", (chunk) => chunks.push(chunk));
            response.on("end", () =>
              resolve({
                status: response.statusCode ?? 0,
                headers: response.headers,
                body: Buffer.concat(chunks),
              }),
            );
          },
        );
        request.on("error", reject);
        request.end();
      }
    });
  }
  const playlist = `/${input}/manifest/${video}/source.m3u8`;

  test("the input's manifest lists renditions under the video's own uid", async () => {
    const { status, headers, body } = await get(`/${input}/manifest/video.m3u8`);
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("application/vnd.apple.mpegurl");
    expect(headers["access-control-allow-origin"]).toBe("*");
    expect(body.toString()).toContain(`\n${video}/source.m3u8\n`);
  });

  test("a playlist comes compressed where that is accepted, with the same text", async () => {
    const plain = await get(playlist);
    const packed = await get(playlist, { headers: { "accept-encoding": "gzip" } });
    expect(packed.headers["content-encoding"]).toBe("gzip");
    expect(gunzipSync(packed.body).toString()).toBe(plain.body.toString());
    expect(plain.headers["cache-control"]).toBe("public, max-age=2");
  });

  test("HEAD has the headers of GET and no body", async () => {
    const head = await get(playlist, { method: "HEAD" });
    const got = await get(playlist);
    expect(head.body.length).toBe(0);
    expect(head.headers["content-length"]).toBe(got.headers["content-length"]);
  });

  test("a segment is the concatenation of its parts", async () => {
    const base = `/${input}/manifest/${video}/source/0`;
    const segment = await get(`${base}/1.m4s`);
    const parts = await Promise.all([0, 1, 2, 3].map((part) => get(`${base}/1.${part}.m4s`)));
    expect(segment.body.equals(Buffer.concat(parts.map((part) => part.body)))).toBe(true);
    expect(segment.headers["cache-control"]).toBe("public, max-age=31536000, immutable");
  });

  test.for([
    [`/${input}/manifest/${video}/source.m3u8?_HLS_part=1`, 400],
    [`/${input}/manifest/${video}/source.m3u8?_HLS_msn=x`, 400],
    [`/${input}/manifest/${video}/source.m3u8?_HLS_msn=99`, 400],
    [`/${input}/manifest/${video}/other.m3u8`, 404],
    [`/${input}/manifest/${"a".repeat(32)}/source.m3u8`, 404],
    [`/${"b".repeat(32)}/manifest/${video}/source.m3u8`, 404],
    [`/${input}/manifest/${"e".repeat(32)}/source.m3u8`, 503],
    [`/${input}/manifest/${video}/source/0/99.m4s`, 404],
    [`/${input}/manifest/${video}/source/7/1.m4s`, 404],
    [`/${input}/manifest/${video}/source/0/1.9.m4s`, 404],
    [`/${"b".repeat(32)}/manifest/video.m3u8`, 204],
    ["/client/v4/user", 503],
    ["/nothing", 404],
  ] as const)("%s is %d", async ([path, status]) => expect((await get(path)).status).toBe(status));

  test("a method that changes things is refused by name", async () => {
    const { status, headers } = await get(playlist, { method: "DELETE" });
    expect([status, headers.allow]).toEqual([405, "GET, HEAD, OPTIONS"]);
  });

  test("a preflight is answered for any page", async () => {
    expect((await get(playlist, { method: "OPTIONS" })).status).toBe(204);
  });

  test("a blocking reload is held until its part is listed, and a hinted part until it is whole", async () => {
    const next = set.broadcast.renditions.get("source")!.window.next!;
    let answered = false;
    const reload = get(`${playlist}?_HLS_msn=${next.number}&_HLS_part=${next.part}`).then((answer) => {
      answered = true;
      return answer;
    });
    const part = get(`/${input}/manifest/${video}/source/0/${next.number}.${next.part}.m4s`);
    await get(playlist);
    expect(answered).toBe(false);
    set.play(9.6);
    const { body, headers } = await reload;
    expect(body.toString()).toContain(`source/0/${next.number}.${next.part}.m4s",`.replace(",", ""));
    expect(headers["cache-control"]).toBe("public, max-age=24");
    const whole = await part;
    expect(whole.status).toBe(200);
    expect(
      whole.body.equals(
        (await get(`/${input}/manifest/${video}/source/0/${next.number}.${next.part}.m4s`)).body,
      ),
    ).toBe(true);
  });

  test("a client that leaves while it is held leaves nothing behind", async () => {
    const next = set.broadcast.renditions.get("source")!.window.next!;
    const leaving = new AbortController();
    const held = get(`${playlist}?_HLS_msn=${next.number}&_HLS_part=${next.part}`, {
      signal: leaving.signal,
    });
    await get(playlist);
    leaving.abort();
    await expect(held).rejects.toThrow();
    expect((await get(playlist)).status).toBe(200);
  });

  test("the lifecycle is held until the status changes", async () => {
    const now = JSON.parse((await get(`/${input}/lifecycle`)).body.toString());
    expect(now).toEqual({ isInput: true, videoUID: video, live: true, status: "live", message: null });
    const change = get(`/${input}/lifecycle?wait=live`);
    await get(playlist);
    set.broadcast.lose();
    expect(JSON.parse((await change).body.toString())).toMatchObject({ live: true, status: "reconnecting" });
    set.broadcast.begin(startMs + 9_700, 0);
  });

  test("a segment and its parts stay fetchable after they left the playlist, with the same bytes, and then go", async () => {
    const path = (name: string) => `/${input}/manifest/${video}/source/0/${name}.m4s`;
    const before = await Promise.all(["2", "2.1"].map((name) => get(path(name))));
    set.play(20);
    expect((await get(playlist)).body.toString()).not.toContain("source/0/2.m4s");
    const after = await Promise.all(["2", "2.1"].map((name) => get(path(name))));
    expect(after.map(({ body }) => body.toString("hex"))).toEqual(
      before.map(({ body }) => body.toString("hex")),
    );
    expect(after[0]!.body.length).toBeGreaterThan(after[1]!.body.length);
    set.play(40);
    expect((await get(path("2"))).status).toBe(404);
    await vi.waitFor(async () => expect((await readdir(set.folder)).length).toBeLessThan(24));
  });

  test("the end is ENDLIST for who watches and nothing for who comes", async () => {
    const next = set.broadcast.renditions.get("source")!.window.next!;
    const held = get(`${playlist}?_HLS_msn=${next.number}&_HLS_part=${next.part}`);
    await get(playlist);
    set.broadcast.end();
    expect((await held).body.toString()).toMatch(/#EXT-X-ENDLIST\n$/);
    expect((await get(`/${input}/manifest/video.m3u8`)).status).toBe(204);
    expect((await get(`/${video}/manifest/video.m3u8`)).status).toBe(200);
    expect(JSON.parse((await get(`/${input}/lifecycle`)).body.toString())).toMatchObject({
      live: false,
      status: "ended",
    });
  });
});
