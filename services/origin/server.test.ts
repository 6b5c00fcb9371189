import { createHash } from "node:crypto";
import http from "node:http";
import http2api from "node:http2";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createMpdJudge } from "../../test/conformance/mpd-rules.ts";
import { openHandler } from "../../test/support/handler.ts";
import { type Arrival, otherAvcC, publish } from "../../test/support/simulate.ts";
import { Broadcast } from "../live/broadcast.ts";
import { Directory } from "../live/directory.ts";
import { noTape } from "../live/tape.ts";
import { profiles } from "../packager/profiles.ts";
import { type Handler, http1, http2 } from "./exchange.ts";

const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const startMs = Date.UTC(2026, 0, 1);

/** A broadcast whose media come when a test says so. */
async function stage() {
  const directory = new Directory();
  const broadcast = new Broadcast({
    input,
    video,
    profile: profiles.low,
    tape: noTape,
    dvrSeconds: 3_600,
    changed: (one) => directory.notify(one),
  });
  directory.add(broadcast);
  broadcast.begin(startMs, 0);
  const arrivals = publish({ gop: 2, seconds: 90, audio: 48000 });
  return {
    directory,
    broadcast,
    now: 0,
    skipped: 0,
    /** Nothing arrives for so long. */
    skip(ms: number) {
      this.skipped += ms;
      this.now += ms / 1000;
    },
    /** Everything that arrives up to this second, or only what is `kind` of it. */
    play(second: number, kind?: "audio") {
      this.now = second;
      const limitMs = second * 1000 - this.skipped;
      while (arrivals[0] && arrivals[0].atMs <= limitMs) {
        const { atMs, tag } = arrivals.shift()!;
        if (!kind || tag.type === kind) broadcast.push(tag, startMs + atMs + this.skipped);
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
    const handler = openHandler({ directory: set.directory, playerDir: "/nonexistent", failures });
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
    expect(failures).toEqual([]);
  });

  function get(
    path: string,
    options: {
      method?: string;
      headers?: Record<string, string>;
      signal?: AbortSignal;
      heard?: (bytes: number) => void;
      body?: string;
    } = {},
  ): Promise<Answer> {
    const { method = "GET", headers = {}, signal, heard, body } = options;
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      const hear = (chunk: Buffer): void => {
        chunks.push(chunk);
        heard?.(Buffer.concat(chunks).length);
      };
      if (session) {
        const stream = session.request(
          { ":path": path, ":method": method, ...headers },
          { ...(signal && { signal }) },
        );
        let fields: Record<string, unknown> = {};
        stream.on("response", (given) => {
          fields = given;
        });
        stream.on("data", hear);
        stream.on("end", () =>
          resolve({ status: Number(fields[":status"]), headers: fields, body: Buffer.concat(chunks) }),
        );
        stream.on("error", reject);
        stream.end(body);
      } else {
        const request = http.request(
          { host: "127.0.0.1", port, path, method, headers, ...(signal && { signal }) },
          (response) => {
            response.on("data", hear);
            response.on("error", reject);
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
        request.end(body);
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
    [`/${input}/manifest/${"e".repeat(32)}/source.m3u8`, 404],
    [`/${input}/manifest/${video}/source/0/99.m4s`, 404],
    [`/${input}/manifest/${video}/source/7/1.m4s`, 404],
    [`/${input}/manifest/${video}/source/0/1.9.m4s`, 404],
    [`/${"b".repeat(32)}/manifest/video.m3u8`, 204],
    ["/client/v4/user", 503],
    ["/nothing", 404],
  ] as const)("%s is %d", async ([path, status]) => expect((await get(path)).status).toBe(status));

  test.for([
    // rfc8216bis B.1: for what is not there one target duration, four where a moment was asked for; the rest for nobody.
    [`/${input}/manifest/${video}/other.m3u8`, "public, max-age=4"],
    [`/${input}/manifest/${video}/other.m3u8?_HLS_msn=3&_HLS_part=1`, "public, max-age=16"],
    [`/${input}/manifest/${video}/source/0/99.m4s`, "public, max-age=4"],
    [`/${input}/manifest/${video}/source/0/1.9.m4s`, "public, max-age=4"],
    [`/${input}/manifest/${video}/source/7/init.mp4`, "public, max-age=4"],
    [`/${input}/manifest/${"e".repeat(32)}/source.m3u8`, "public, max-age=1"],
    [`/${input}/manifest/${video}/source.m3u8?_HLS_part=1`, "no-store"],
    [`/${input}/manifest/${video}/source.m3u8?_HLS_msn=99`, "no-store"],
    [`/${"b".repeat(32)}/manifest/video.m3u8`, "no-store"],
  ] as const)("%s is kept as %s", async ([path, kept]) =>
    expect((await get(path)).headers["cache-control"]).toBe(kept),
  );

  test("playlists go before media, and nothing that the origin answers has an age", async () => {
    // rfc9218 and rfc8216bis B.1; App. C: only a cache knows how old its copy is.
    const media = `/${input}/manifest/${video}/source/0/1.m4s`;
    for (const [path, urgency] of [
      [playlist, "u=1"],
      [`/${input}/manifest/video.m3u8`, "u=1"],
      [`/${input}/manifest/video.mpd`, "u=1"],
      [media, "u=3"],
    ] as const) {
      const { headers } = await get(path);
      expect([headers.priority, headers.age], path).toEqual([urgency, undefined]);
    }
  });

  test("every answer says how long its connection stays, where there is a word for it", async () => {
    const said = protocol === "HTTP/1.1" ? "timeout=60" : undefined;
    for (const path of [playlist, `/${input}/manifest/${video}/source/0/1.m4s`, `/${input}/nothing`])
      expect((await get(path)).headers["keep-alive"], path).toBe(said);
  });

  test("a method that changes things is refused by name", async () => {
    const { status, headers } = await get(playlist, { method: "DELETE" });
    expect([status, headers.allow]).toEqual([405, "GET, HEAD, OPTIONS"]);
  });

  test("players report by POST, from any page, and no more than a player says", async () => {
    const path = `/${input}/cmcd`;
    const report = (body: string) => get(path, { method: "POST", body });
    expect((await report('sid="a",sta=p\n\nsid="a",sta=q\nnonsense')).status).toBe(204);
    expect((await report("")).status).toBe(204);
    expect((await report("x".repeat(20_000))).status).toBe(413);
    const { status, headers } = await get(path);
    expect([status, headers.allow]).toEqual([405, "POST, OPTIONS"]);
    const preflight = await get(path, { method: "OPTIONS" });
    expect(preflight.headers["access-control-allow-methods"]).toBe("POST");
    const views = await get(`/${input}/views`);
    expect(JSON.parse(views.body.toString())).toEqual({ liveViewers: 0 });
    expect(views.headers["cache-control"]).toBe("public, max-age=2");
  });

  test("a preflight is answered for any page, without a body and without a length", async () => {
    const { status, headers } = await get(playlist, { method: "OPTIONS" });
    expect([status, headers["content-length"]]).toEqual([204, undefined]);
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

  test("the input's MPD names media under the video's own uid, and the clock to read them by", async () => {
    const { status, headers, body } = await get(`/${input}/manifest/video.mpd`);
    expect([status, headers["content-type"], headers["cache-control"]]).toEqual([
      200,
      "application/dash+xml",
      "public, max-age=1",
    ]);
    expect(body.toString()).toContain(`media="${video}/$RepresentationID$/0/$Number$.m4s"`);
    const packed = await get(`/${input}/manifest/video.mpd`, { headers: { "accept-encoding": "gzip" } });
    expect(gunzipSync(packed.body).equals(body)).toBe(true);
    const [, clock] = /<UTCTiming schemeIdUri="[^"]*xsdate[^"]*" value="([^"]+)"/.exec(body.toString()) ?? [];
    const time = await get(new URL(clock!, `http://x/${input}/manifest/video.mpd`).pathname);
    expect(time.headers["cache-control"]).toBe("no-store");
    expect(time.body.toString()).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(Math.abs(Date.parse(time.body.toString()) - Date.now())).toBeLessThan(5_000);
  });

  test.for(["source", "audio"])(
    "one set of bytes: what grows, what is whole and the parts of %s are the same",
    async (name) => {
      const { window } = set.broadcast.renditions.get(name)!;
      const path = (rest: string): string => `/${input}/manifest/${video}/${name}/0/${rest}.m4s`;
      const number = window.open!.number;
      const steps = Array.from({ length: 24 }, (_, i) => set.now + (i + 1) / 10);
      // The one under construction, and the one after it by a client whose clock is early.
      const came: number[] = [];
      const growing = get(path(String(number)), { heard: (bytes) => came.push(bytes) });
      const early = get(path(String(number + 1)));
      for (const step of steps) {
        set.play(step);
        await get(playlist);
      }
      const grown = await growing;
      expect(new Set(came).size, "pieces over time").toBeGreaterThan(3);
      expect(grown.headers["content-length"]).toBeUndefined();
      set.play(steps.at(-1)! + 2.2);
      for (const [one, body] of [
        [number, grown.body],
        [number + 1, (await early).body],
      ] as const) {
        const parts = await Promise.all(
          window.segment(one)!.parts.map(async (_, part) => (await get(path(`${one}.${part}`))).body),
        );
        const hashes = [body, (await get(path(String(one)))).body, Buffer.concat(parts)].map((bytes) =>
          createHash("sha256").update(bytes).digest("hex"),
        );
        expect(body.length).toBeGreaterThan(0);
        expect(new Set(hashes).size, `${name} ${one}: ${hashes.join(" ")}`).toBe(1);
      }
    },
  );

  test("HEAD of a growing segment has the headers alone", async () => {
    const { number } = set.broadcast.renditions.get("source")!.window.open!;
    const { status, headers, body } = await get(`/${input}/manifest/${video}/source/0/${number}.m4s`, {
      method: "HEAD",
    });
    expect([status, headers["content-type"], headers["content-length"], body.length]).toEqual([
      200,
      "video/mp4",
      undefined,
      0,
    ]);
  });

  test("a client that leaves a growing segment leaves nothing behind", async () => {
    const rendition = set.broadcast.renditions.get("source")!;
    const before = rendition.listeners;
    const leaving = new AbortController();
    const began = Promise.withResolvers<void>();
    const address = `/${input}/manifest/${video}/source/0`;
    const number = rendition.window.open!.number;
    const answer = get(`${address}/${number}.m4s`, { signal: leaving.signal, heard: () => began.resolve() });
    const held = get(`${address}/${number + 1}.m4s`, { signal: leaving.signal });
    await began.promise;
    await vi.waitFor(() => expect(rendition.listeners).toBe(before + 2));
    leaving.abort();
    await expect(answer).rejects.toThrow();
    await expect(held).rejects.toThrow();
    await vi.waitFor(() => expect(rendition.listeners).toBe(before));
  });

  test("the lifecycle is held until the status changes", async () => {
    const now = JSON.parse((await get(`/${input}/lifecycle`)).body.toString());
    const startedAt = new Date(set.broadcast.epochMs!).toISOString();
    expect(now).toEqual({
      ...{ isInput: true, videoUID: video, live: true, status: "live", message: null },
      startedAt,
    });
    const change = get(`/${input}/lifecycle?wait=live`);
    await get(playlist);
    set.broadcast.lose();
    expect(JSON.parse((await change).body.toString())).toMatchObject({ live: true, status: "reconnecting" });
    set.broadcast.begin(startMs + set.now * 1000 + 100, 0);
  });

  test("a segment and its parts stay fetchable after they left the playlist, with the same bytes", async () => {
    const path = (name: string) => `/${input}/manifest/${video}/source/0/${name}.m4s`;
    const oldest = set.broadcast.renditions.get("source")!.window.segments[0]!.number;
    const before = await Promise.all([`${oldest}`, `${oldest}.1`].map((name) => get(path(name))));
    const then = set.now;
    set.play(then + 8);
    expect((await get(playlist)).body.toString()).not.toContain(`source/0/${oldest}.m4s`);
    const after = await Promise.all([`${oldest}`, `${oldest}.1`].map((name) => get(path(name))));
    expect(after.map(({ body }) => body.toString("hex"))).toEqual(
      before.map(({ body }) => body.toString("hex")),
    );
    expect(after[0]!.body.length).toBeGreaterThan(after[1]!.body.length);
    set.play(then + 28);
    expect((await get(path(`${oldest}`))).status).toBe(404);
  });

  test("who asks for a segment two too early is told so, and no cache keeps that", async () => {
    const { open } = set.broadcast.renditions.get("source")!.window;
    const at = (ahead: number) => `/${input}/manifest/${video}/source/0/${open!.number + ahead}.m4s`;
    const early = await get(at(2));
    expect([early.status, early.headers["cache-control"]]).toEqual([404, "no-store"]);
    const next = get(at(1));
    set.play(set.now + 7);
    expect((await next).status).toBe(200);
    expect((await get(at(2))).status).toBe(200);
  });

  test("a list of pictures names ranges of segments and waits for whole segments", async () => {
    const offer = (await get(`/${input}/manifest/video.m3u8`)).body.toString();
    expect(offer).toContain(`URI="${video}/source.pictures.m3u8"`);
    const address = playlist.replace("source.m3u8", "source.pictures.m3u8");
    const text = (await get(address)).body.toString();
    const [, length, segment] = /#EXT-X-BYTERANGE:(\d+)@0\n(.*)\n(?!#EXT-X-BYTERANGE)/.exec(text)!;
    const bytes = await get(`/${input}/manifest/${video}/${segment}`, {
      headers: { range: `bytes=0-${Number(length) - 1}` },
    });
    expect([bytes.status, bytes.body.length]).toEqual([206, Number(length)]);
    expect((await get(address.replace("source.", "audio."))).status).toBe(404);
    const number = set.broadcast.renditions.get("source")!.window.open!.number;
    const held = get(`${address}?_HLS_msn=${number}`);
    set.play(set.now + 2);
    expect((await held).body.toString()).toContain(`source/0/${number}.m4s`);
  });

  test("a query parameter t goes on to every address as a variable", async () => {
    const offer = (await get(`/${input}/manifest/video.m3u8?t=secret`)).body.toString();
    expect(offer).toContain(`\n${video}/source.m3u8?t={$t}\n`);
    expect(offer).not.toContain("secret");
    const text = (await get(`${playlist}?t=other`)).body.toString();
    expect(text).toContain('#EXT-X-DEFINE:QUERYPARAM="t"\n');
    expect(text).toMatch(/URI="source\/0\/\d+\.\d+\.m4s\?t=\{\$t\}"/);
    expect((await get(playlist)).body.toString()).not.toContain("DEFINE");
  });

  test("with a DVR the list has the broadcast so far, and its address keeps the mode", async () => {
    const offer = (await get(`/${input}/manifest/video.m3u8?dvrEnabled=true`)).body.toString();
    expect(offer).toContain(`\n${video}/source.m3u8?dvrEnabled=true\n`);
    expect(offer).toContain(`URI="${video}/audio.m3u8?dvrEnabled=true"`);
    const [live, dvr] = await Promise.all(
      [playlist, `${playlist}?dvrEnabled=true`].map(async (path) => (await get(path)).body.toString()),
    );
    expect(live).not.toContain("\nsource/0/1.m4s\n");
    expect(dvr).toContain("\nsource/0/1.m4s\n");
    expect(dvr).toContain("CAN-SKIP-UNTIL=24");
    expect(dvr).toContain('RENDITION-REPORT:URI="audio.m3u8?dvrEnabled=true"');
    const delta = (await get(`${playlist}?dvrEnabled=true&_HLS_skip=YES`)).body.toString();
    expect(delta).toContain("#EXT-X-SKIP:SKIPPED-SEGMENTS=");
    // There is no disk here: what is not in memory any more keeps its place and promises nothing.
    expect(dvr).toMatch(/#EXT-X-GAP\n#EXTINF:2.000000000,\nsource\/0\/1.m4s\n/);
    expect(live).not.toContain("#EXT-X-GAP");
    const next = set.broadcast.renditions.get("source")!.window.next!;
    const held = get(`${playlist}?dvrEnabled=true&_HLS_msn=${next.number}&_HLS_part=${next.part}`);
    set.play(set.now + 0.6);
    expect((await held).body.toString()).toContain("\nsource/0/1.m4s\n");
  });

  test("with a DVR the manifest goes back as far as that", async () => {
    const [live, dvr] = await Promise.all(
      ["", "?dvrEnabled=true"].map(async (query) =>
        (await get(`/${input}/manifest/video.mpd${query}`)).body.toString(),
      ),
    );
    expect(live).toContain(' timeShiftBufferDepth="PT12S"');
    expect(dvr).toContain(' timeShiftBufferDepth="PT3612S"');
    for (const text of [live!, dvr!]) expect(createMpdJudge().manifest(text, startMs)).toEqual([]);
  });

  test("a number that is a gap is a segment of nothing, so that nobody gives up on it", async () => {
    const { window } = set.broadcast.renditions.get("source")!;
    set.broadcast.lose();
    const later = startMs + set.now * 1000;
    for (let ms = 0; ms <= 3_000; ms += 100) set.broadcast.clock(later + ms);
    const gap = window.segments.findLast((segment) => segment.gap) ?? window.open!;
    expect(gap.gap).toBe(true);
    const path = `/${input}/manifest/${video}/source/0/${gap.number}`;
    const { status, body } = await get(`${path}.m4s`);
    expect([status, body.subarray(4, 8).toString(), body.subarray(-4).toString()]).toEqual([
      200,
      "moof",
      "mdat",
    ]);
    expect((await get(`${path}.0.m4s`)).status).toBe(404);
    set.broadcast.begin(later + 3_100, 0);
    set.skip(3_100);
    set.play(set.now + 4);
  });

  test("what was announced of an encoder that comes back as another one is nothing, so that nobody gives up on it", async () => {
    const { broadcast } = set;
    const [source, audio] = ["source", "audio"].map((name) => broadcast.renditions.get(name)!.window);
    // Sound is a little behind.
    for (let i = 0; i < 30 && (i === 0 || source!.open?.number !== audio!.open?.number); i++)
      set.play(set.now + 0.1);
    // Of what comes last of an encoder sound is ahead.
    set.play(set.now + 0.2, "audio");
    const later = startMs + set.now * 1000;
    const path = (name: string, version: number, media: string) =>
      `/${input}/manifest/${video}/${name}/${version}/${media}.m4s`;
    // The number that a player of DASH computes.
    const number = broadcast.reference!.window.open!.number + 1;
    const announced = [...broadcast.renditions.values()].map(({ name, version }) => ({ name, version }));
    expect(announced.map(({ name }) => name)).toEqual(["source", "audio"]);
    const held = announced.map(({ name, version }) => get(path(name, version, String(number))));
    await get(playlist);
    const hinted = new Set<string>();
    const look = () => {
      for (const { name, window } of broadcast.renditions.values())
        if (window.next)
          hinted.add(path(name, window.next.version, `${window.next.number}.${window.next.part}`));
    };
    look();
    broadcast.lose();
    broadcast.begin(later + 100, 0);
    // As encoders do: all that is not a frame comes first.
    const order = ({ tag: { type, payload } }: Arrival) => Number(type !== "script" && payload[1] !== 0);
    const arrivals = publish({ gop: 2, seconds: 8.7, config: otherAvcC, audio: 44100, audioFrom: 0.05 });
    for (const { atMs, tag } of arrivals.toSorted((a, b) => order(a) - order(b))) {
      broadcast.push(tag, later + 100 + atMs);
      look();
    }
    const isNothing = ({ status, body }: Answer) => [
      ...[status, body.length < 200],
      ...[body.subarray(4, 8).toString(), body.subarray(-4).toString()],
    ];
    const nothing = [200, true, "moof", "mdat"];
    for (const answer of await Promise.all(held)) expect(isNothing(answer)).toEqual(nothing);
    for (const { name, version } of announced) {
      expect(broadcast.renditions.get(name)!.version).toBe(version + 1);
      expect((await get(path(name, version + 1, String(number)))).body.length).toBeGreaterThan(200);
      // Also who is late.
      for (const media of [String(number), String(number + 1)])
        expect(isNothing(await get(path(name, version, media)))).toEqual(nothing);
      for (const media of [`${number - 1}.99`, String(number + 9)])
        expect((await get(path(name, version, media))).status).toBe(404);
    }
    // Those hinted last are not there yet.
    const before = [...hinted].slice(0, -2);
    expect(before.length).toBeGreaterThan(30);
    for (const address of before) expect((await get(address)).status, address).toBe(200);
    // Sound had come to the end of its segment, and the first part of the next was hinted as before.
    expect(before).toContain(path("audio", 0, `${number}.0`));
    expect(isNothing(await get(path("audio", 0, `${number}.0`)))).toEqual(nothing);
    expect((await get(path("source", 0, `${number}.0`))).status).toBe(404);
  });

  test("the end is ENDLIST for who watches and nothing for who comes", async () => {
    const next = set.broadcast.renditions.get("source")!.window.next!;
    const held = get(`${playlist}?_HLS_msn=${next.number}&_HLS_part=${next.part}`);
    await get(playlist);
    await set.broadcast.end(startMs);
    expect((await held).body.toString()).toMatch(/#EXT-X-ENDLIST\n$/);
    expect((await get(`/${input}/manifest/video.m3u8`)).status).toBe(204);
    expect((await get(`/${video}/manifest/video.m3u8`)).status).toBe(200);
    const manifest = (await get(`/${video}/manifest/video.mpd`)).body.toString();
    // At the address at which who watches asks again.
    expect((await get(`/${input}/manifest/video.mpd`)).body.toString()).toBe(manifest);
    expect(manifest).toMatch(/ mediaPresentationDuration="PT[\d.]+S"/);
    expect(manifest).not.toContain("minimumUpdatePeriod");
    expect(JSON.parse((await get(`/${input}/lifecycle`)).body.toString())).toMatchObject({
      live: false,
      status: "ended",
    });
  });
});

/** Asks a handler for the source's playlist, without a connection. */
function ask(handler: Handler, query: string) {
  const gone: (() => void)[] = [];
  const heard: {
    answer?: { status: number; headers: Record<string, unknown>; body?: string };
    leave(): void;
  } = {
    leave() {
      for (const one of gone) one();
    },
  };
  void handler({
    ...{ method: "GET", path: `/${input}/manifest/${video}/source.m3u8`, query },
    ...{ headers: {}, peer: "", raw: { request: process.stdin } },
    reply(status, headers) {
      heard.answer = { status, headers };
    },
    send({ headers, body }) {
      heard.answer = { status: 200, headers, body: body.toString() };
    },
    stream: () => undefined,
    onGone: (one) => gone.push(one),
    cut: () => undefined,
  });
  return heard;
}

test("a request that was held for three target durations is told to come again, and who came later waits on", async () => {
  vi.useFakeTimers();
  try {
    const set = await stage();
    set.play(5);
    const handler = openHandler({ directory: set.directory, playerDir: "/nonexistent", failures: [] });
    const query = `_HLS_msn=${set.broadcast.reference!.window.open!.number}`;
    const first = ask(handler, query);
    await vi.advanceTimersByTimeAsync(3_000);
    const later = ask(handler, query);
    await vi.advanceTimersByTimeAsync(8_900);
    expect(first.answer).toBeUndefined();
    await vi.advanceTimersByTimeAsync(200);
    const told = { status: 503, headers: { "retry-after": "1", "cache-control": "no-store" } };
    expect(first.answer).toMatchObject(told);
    expect(later.answer).toBeUndefined();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(later.answer).toMatchObject(told);
  } finally {
    vi.useRealTimers();
  }
});

test("all who are held for the same are answered with one text, whoever left is not, and who waits for more waits on", async () => {
  const set = await stage();
  set.play(5.1);
  const handler = openHandler({ directory: set.directory, playerDir: "/nonexistent", failures: [] });
  const { number, part } = set.broadcast.reference!.window.next!;
  const query = `_HLS_msn=${number}&_HLS_part=${part}`;
  const [one, another, gone] = [ask(handler, query), ask(handler, query), ask(handler, query)];
  const short = ask(handler, `${query}&_HLS_skip=YES`);
  const patient = ask(handler, `_HLS_msn=${number}&_HLS_part=${part + 1}`);
  gone.leave();
  set.play(5.6);
  await vi.waitFor(() => expect(one.answer).toBeDefined());
  expect(one.answer).toMatchObject({ status: 200, body: expect.stringContaining(`/${number}.${part}.m4s`) });
  expect(another.answer).toEqual(one.answer);
  expect(short.answer?.status).toBe(200);
  expect([gone.answer, patient.answer]).toEqual([undefined, undefined]);
  set.play(6.1);
  await vi.waitFor(() => expect(patient.answer?.body).toContain(`/${number}.${part + 1}.m4s`));
});

test("a report that never ends is given up", async () => {
  vi.useFakeTimers();
  try {
    const set = await stage();
    const handler = openHandler({ directory: set.directory, playerDir: "/nonexistent", failures: [] });
    const request = new PassThrough();
    const statuses: number[] = [];
    void handler({
      ...{ method: "POST", path: `/${input}/cmcd`, query: "", headers: {}, peer: "", raw: { request } },
      reply: (status) => statuses.push(status),
      send: () => undefined,
      stream: () => undefined,
      onGone: () => undefined,
      cut: () => undefined,
    });
    for (let second = 0; second < 29; second++) {
      request.write('sid="a",sta=p\n');
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(statuses).toEqual([]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(statuses).toEqual([413]);
  } finally {
    vi.useRealTimers();
  }
});
