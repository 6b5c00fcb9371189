import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Cloudflare from "cloudflare";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { outputView } from "../../services/control/api/outputs.ts";
import { type Control, startControl } from "../../services/control/control.ts";
import type { inputView, videoView } from "../../services/control/resources.ts";
import { requestInternal } from "../../services/lib/http.ts";
import { createLog } from "../../services/lib/log.ts";
import type { z } from "../../services/lib/schema.ts";

type Stream = Cloudflare.Stream;
/** What we send fits what the client says it gets. `status` is a word there and an object here, as other clients read it; no day of deletion is null. */
type KnownDifferences = "status" | "deleteRecordingAfterDays";
type Said<T, Except extends string> = { [Field in Exclude<keyof T, Except>]: Exclude<T[Field], undefined> };
type Fits<Ours extends Theirs, Theirs> = Ours;
export type Conformance = [
  Fits<
    Said<z.infer<typeof inputView>, KnownDifferences>,
    Partial<Awaited<ReturnType<Stream["liveInputs"]["get"]>>>
  >,
  Fits<
    Said<z.infer<typeof outputView>, "status">,
    Partial<Awaited<ReturnType<Stream["liveInputs"]["outputs"]["update"]>>>
  >,
  Fits<Said<z.infer<typeof videoView>, "scheduledDeletion">, Partial<Awaited<ReturnType<Stream["get"]>>>>,
];

const acc = { account_id: "023e105f4ecef8ad9ca31a8372d0c353" };
const video = "fedcba9876543210fedcba9876543210";
let folder: string;
let control: Control;
let server: Server;
/** What control asks of an origin, answered as one does. */
let origin: Server;
let client: Cloudflare;
let input: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "contract-"));
  const socketPath = join(folder, "c.sock");
  const originPath = join(folder, "o.sock");
  origin = createServer((given, answer) => {
    let text = "";
    given.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
    });
    given.on("end", () => {
      if (given.method !== "POST") return answer.writeHead(204).end();
      // Ten seconds of a hundred bytes each are recorded, with a keyframe at each.
      const { from, to } = JSON.parse(text) as { from: number; to: number };
      const seconds = Math.ceil(to) - Math.floor(from);
      const recorded = from < 10 ? { startSeconds: Math.floor(from), seconds, bytes: 100 * seconds } : null;
      answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ recorded }));
    });
  });
  await new Promise<void>((resolve) => origin.listen(originPath, resolve));
  control = await startControl({
    dataDir: folder,
    address: `unix:${socketPath}`,
    originAddress: `unix:${originPath}`,
    publicUrls: { rtmp: "rtmp://h:1935", rtmps: "rtmps://h:1936", http: "http://h:8080" },
    defaults: { timeoutSeconds: 10, ladder: "none" },
    log: createLog("test", "silent", false),
  });
  // As the origin does: the public port passes it on.
  server = createServer((given, answer) => {
    const { method, url: path, headers } = given;
    const passed = request({ socketPath, path, method, headers }, (got) => {
      answer.writeHead(got.statusCode!, got.headers);
      got.pipe(answer);
    });
    given.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/client/v4`;
  client = new Cloudflare({ apiToken: control.ready.apiToken, baseURL, maxRetries: 0 });
  input = control.ready.uid;
  await tell("broadcast.started", video);
});
afterAll(async () => {
  server.close();
  server.closeAllConnections();
  await control.close();
  origin.close();
  origin.closeAllConnections();
  await rm(folder, { recursive: true });
});

let told = 0;
/** What an origin says of a broadcast. */
async function tell(type: "broadcast.started" | "broadcast.ended", of: string, uid = input): Promise<void> {
  const events = [
    {
      id: `e.${told++}`,
      at: Date.now(),
      type,
      uid,
      video: of,
      ...(type === "broadcast.ended" && { recorded: { seconds: 9, bytes: 900 } }),
    },
  ];
  await requestInternal(control.address, "/internal/events", { json: { role: "o", node: "n", events } });
}

/** Works as the client expects. */
const served: Readonly<Record<string, (cf: Stream) => Promise<unknown>>> = {
  "stream.list": async (cf) => {
    const all = [];
    for await (const one of cf.list({ ...acc, live_input_id: input, status: "live-inprogress" }))
      all.push(one);
    expect(all).toMatchObject([{ uid: video, liveInput: input }]);
    expect((await cf.list({ ...acc, search: "nothing of the kind" })).result).toEqual([]);
    expect((await cf.list({ ...acc, search: video.slice(3, 9) })).result).toHaveLength(1);
    expect((await cf.list({ ...acc, type: "vod" })).result).toEqual([]);
    expect((await cf.list({ ...acc, start: new Date(Date.now() + 60_000).toISOString() })).result).toEqual(
      [],
    );
  },
  "stream.get": async (cf) =>
    expect(await cf.get(video, acc)).toMatchObject({
      uid: video,
      thumbnail: `http://h:8080/${video}/thumbnails/thumbnail.jpg`,
    }),
  "stream.edit": async (cf) => {
    const edited = await cf.edit(video, { ...acc, meta: { name: "Finals" }, creator: "ann" });
    expect(edited).toMatchObject({ meta: { name: "Finals" }, creator: "ann" });
    expect((await cf.list({ ...acc, creator: "ann", name: "Finals" } as never)).result).toHaveLength(1);
    expect((await cf.list({ ...acc, creator: "bob" })).result).toEqual([]);
  },
  "stream.delete": async (cf) => {
    await expect(cf.delete(video, acc)).rejects.toMatchObject({ status: 409 });
    await expect(cf.delete("0".repeat(32), acc)).rejects.toMatchObject({ status: 404 });
    const over = "d".repeat(32);
    const { uid } = await cf.liveInputs.create({ ...acc, recording: { mode: "automatic" } });
    await tell("broadcast.started", over, uid);
    await tell("broadcast.ended", over, uid);
    await cf.delete(over, acc);
    await expect(cf.get(over, acc)).rejects.toMatchObject({ status: 404 });
  },
  "stream.liveInputs.create": async (cf) => {
    const made = await cf.liveInputs.create({
      ...acc,
      meta: { name: "sdk" },
      recording: { timeoutSeconds: 5, requireSignedURLs: true, allowedOrigins: ["example.com"] },
      "Idempotency-Key": "k",
    });
    expect(made.rtmps!.url).toMatch(/\/live\/$/);
    expect((await cf.liveInputs.create({ ...acc, "Idempotency-Key": "k" })).uid).toBe(made.uid);
  },
  "stream.liveInputs.list": async (cf) => {
    const list = await cf.liveInputs.list({ ...acc, include_counts: true });
    expect(list.liveInputs!.length).toBe(list.total);
  },
  "stream.liveInputs.get": async (cf) => expect((await cf.liveInputs.get(input, acc)).uid).toBe(input),
  "stream.liveInputs.update": async (cf) => {
    const updated = await cf.liveInputs.update(input, { ...acc, enabled: false });
    expect(updated).toMatchObject({ enabled: false, meta: { name: "Default" } });
  },
  "stream.liveInputs.delete": async (cf) => {
    const { uid } = await cf.liveInputs.create(acc);
    await cf.liveInputs.delete(uid!, acc);
    await expect(cf.liveInputs.get(uid!, acc)).rejects.toMatchObject({ status: 404 });
  },
  "stream.liveInputs.outputs.create": async (cf) => {
    const asked = { ...acc, url: "rtmp://example.com/live", streamKey: "secret" };
    const made = await cf.liveInputs.outputs.create(input, asked);
    expect(made).toMatchObject({ url: asked.url, streamKey: "secret", enabled: true, status: null });
    await expect(cf.liveInputs.outputs.create(input, { ...asked, url: "http://a/b" })).rejects.toMatchObject({
      status: 400,
      errors: [{ source: { pointer: "/url" } }],
    });
    await expect(cf.liveInputs.outputs.create("0".repeat(32), asked)).rejects.toMatchObject({ status: 404 });
  },
  "stream.liveInputs.outputs.list": async (cf) => {
    const { uid } = await cf.liveInputs.create(acc);
    const target = { ...acc, url: "rtmps://example.com/live" };
    for (let i = 0; i < 50; i++)
      await cf.liveInputs.outputs.create(uid!, { ...target, streamKey: `key-${i}` });
    const keys = [];
    for await (const one of cf.liveInputs.outputs.list(uid!, acc)) keys.push(one.streamKey);
    expect(keys).toHaveLength(50);
    expect(new Set(keys)).toHaveLength(50);
    await expect(
      cf.liveInputs.outputs.create(uid!, { ...target, streamKey: "one-more" }),
    ).rejects.toMatchObject({ status: 400, errors: [{ message: expect.stringContaining("at most 50") }] });
  },
  "stream.liveInputs.outputs.update": async (cf) => {
    const { uid } = await cf.liveInputs.outputs.create(input, {
      ...{ ...acc, url: "rtmp://example.com/live", streamKey: "k" },
    });
    const off = { ...acc, live_input_identifier: input, enabled: false };
    expect(await cf.liveInputs.outputs.update(uid!, off)).toMatchObject({ uid, enabled: false });
    await expect(cf.liveInputs.outputs.update("a", off)).rejects.toMatchObject({ status: 404 });
  },
  "stream.liveInputs.outputs.delete": async (cf) => {
    const { uid } = await cf.liveInputs.outputs.create(input, {
      ...{ ...acc, url: "rtmp://example.com/live", streamKey: "k" },
    });
    const where = { ...acc, live_input_identifier: input };
    await cf.liveInputs.outputs.delete(uid!, where);
    await expect(cf.liveInputs.outputs.delete(uid!, where)).rejects.toMatchObject({ status: 404 });
    const left = (await cf.liveInputs.outputs.list(input, acc)).result;
    expect(left.map((one) => one.uid)).not.toContain(uid);
  },
  "stream.keys.create": async (cf) => {
    const key = await cf.keys.create(acc);
    expect(Buffer.from(key.pem!, "base64").toString()).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/);
    expect(JSON.parse(Buffer.from(key.jwk!, "base64").toString())).toMatchObject({ kid: key.id, kty: "RSA" });
    const { token } = await cf.token.create(input, { ...acc, id: key.id!, pem: key.pem! });
    expect(JSON.parse(Buffer.from(token!.split(".")[0]!, "base64url").toString())).toEqual({
      alg: "RS256",
      kid: key.id,
    });
  },
  "stream.keys.get": async (cf) => {
    const { id } = await cf.keys.create(acc);
    const ids = [];
    for await (const key of cf.keys.get(acc)) ids.push(key.id);
    expect(ids).toContain(id);
  },
  "stream.keys.delete": async (cf) => {
    const { id } = await cf.keys.create(acc);
    expect(await cf.keys.delete(id!, acc)).toBe("Revoked");
  },
  "stream.token.create": async (cf) => {
    const { token } = await cf.token.create(video, {
      ...acc,
      accessRules: [{ type: "ip.geoip.country", action: "block", country: ["DE"] }],
    });
    expect(JSON.parse(Buffer.from(token!.split(".")[1]!, "base64url").toString())).toMatchObject({
      sub: video,
    });
  },
  "stream.webhooks.update": async (cf) => {
    const set = await cf.webhooks.update({ ...acc, notificationUrl: "https://example.com/a" });
    expect(set.secret).toMatch(/^whsec_/);
    const moved = await cf.webhooks.update({ ...acc, notificationUrl: "https://example.com/b" });
    expect(moved).toMatchObject({ notificationUrl: "https://example.com/b", secret: set.secret });
  },
  "stream.webhooks.get": async (cf) => {
    await cf.webhooks.update({ ...acc, notificationUrl: "https://example.com/a" });
    expect((await cf.webhooks.get(acc)).notificationUrl).toBe("https://example.com/a");
  },
  "stream.webhooks.delete": async (cf) => {
    await cf.webhooks.update({ ...acc, notificationUrl: "https://example.com/a" });
    await cf.webhooks.delete(acc);
    await expect(cf.webhooks.get(acc)).rejects.toMatchObject({ status: 404 });
  },
  "stream.embed.get": async (cf) =>
    expect(await cf.embed.get(video, acc)).toContain(`src="http://h:8080/${video}/iframe"`),
  "stream.clip.create": async (cf) => {
    const asked = { ...acc, clippedFromVideoUID: video, startTimeSeconds: 2, endTimeSeconds: 5 };
    const clip = await cf.clip.create({ ...asked, requireSignedURLs: true });
    expect(clip).toMatchObject({ clippedFrom: video, duration: 3, size: 300, requireSignedURLs: true });
    expect((await cf.get(clip.uid!, acc)).readyToStream).toBe(true);
    await cf.delete(clip.uid!, acc);
    await expect(
      cf.clip.create({ ...asked, startTimeSeconds: 50, endTimeSeconds: 60 }),
    ).rejects.toMatchObject({
      status: 400,
      errors: [{ message: expect.stringContaining("Nothing is recorded there") }],
    });
    await expect(cf.clip.create({ ...asked, endTimeSeconds: 1 })).rejects.toMatchObject({ status: 400 });
  },
  "stream.downloads.create": async (cf) =>
    expect(await cf.downloads.create(video, { ...acc, body: {} } as never)).toMatchObject({
      default: { status: "inprogress", percentComplete: 0 },
    }),
  "stream.downloads.get": async (cf) => {
    const url = `http://h:8080/${video}/downloads/default.mp4`;
    expect(await cf.downloads.get(video, acc)).toMatchObject({ default: { url } });
  },
  "stream.videos.storageUsage": async (cf) =>
    expect(await cf.videos.storageUsage(acc)).toEqual({ totalStorageMinutes: 0, videoCount: 0 }),
  "stream.captions.language.update": async (cf) => {
    const file = new File(["WEBVTT\n\n00:01.000 --> 00:02.000\nMerhaba"], "tr.vtt", { type: "text/vtt" });
    const put = await cf.captions.language.update("tr", { ...acc, identifier: video, file } as never);
    expect(put).toEqual({ language: "tr", label: "Türkçe", generated: false, status: "ready" });
    const bad = cf.captions.language.update("tr", { ...acc, identifier: video, file: "1\n00:01" } as never);
    await expect(bad).rejects.toThrow("The file is not WebVTT: its first line has to be WEBVTT.");
  },
  "stream.captions.get": async (cf) =>
    expect((await cf.captions.get(video, acc)).result).toMatchObject([{ language: "tr" }]),
  "stream.captions.language.get": async (cf) =>
    expect(await cf.captions.language.get("tr", { ...acc, identifier: video })).toMatchObject({
      label: "Türkçe",
    }),
  "stream.captions.language.vtt.get": async (cf) =>
    expect(await cf.captions.language.vtt.get("tr", { ...acc, identifier: video })).toBe(
      "WEBVTT\n\n00:01.000 --> 00:02.000\nMerhaba",
    ),
  "stream.captions.language.delete": async (cf) => {
    const which = { ...acc, identifier: video };
    expect(await cf.captions.language.delete("tr", which)).toBe("");
    await expect(cf.captions.language.get("tr", which)).rejects.toThrow("no captions in this language");
  },
};

/** Answers 501 and says why. */
const refused: Readonly<Record<string, (cf: Stream) => Promise<unknown>>> = {
  "stream.create": (cf) => cf.create({ ...acc, "Tus-Resumable": "1.0.0", "Upload-Length": 0 }),
  "stream.copy.create": (cf) => cf.copy.create({ ...acc, url: "https://example.com/a.mp4" }),
  "stream.directUpload.create": (cf) => cf.directUpload.create({ ...acc, maxDurationSeconds: 1 }),
  "stream.downloads.delete": (cf) => cf.downloads.delete(video, acc),
  "stream.audioTracks.get": (cf) => cf.audioTracks.get(video, acc),
  "stream.audioTracks.copy": (cf) => cf.audioTracks.copy(video, { ...acc, label: "a" } as never),
  "stream.audioTracks.edit": (cf) => cf.audioTracks.edit("a", { ...acc, identifier: video }),
  "stream.audioTracks.delete": (cf) => cf.audioTracks.delete("a", { ...acc, identifier: video }),
  "stream.watermarks.create": (cf) =>
    cf.watermarks.create({ ...acc, url: "https://example.com/a.png" } as never),
  "stream.watermarks.list": async (cf) => cf.watermarks.list(acc),
  "stream.watermarks.get": (cf) => cf.watermarks.get("a", acc),
  "stream.watermarks.delete": (cf) => cf.watermarks.delete("a", acc),
  "stream.captions.language.create": (cf) => cf.captions.language.create("en", { ...acc, identifier: video }),
};

/** Every method that the client has, however deep. */
function methodsOf(resource: object, name: string): string[] {
  const own = Object.getOwnPropertyNames(Object.getPrototypeOf(resource))
    .concat(Object.getOwnPropertyNames(Object.getPrototypeOf(Object.getPrototypeOf(resource))))
    .filter((key) => key !== "constructor" && typeof Reflect.get(resource, key) === "function")
    .filter((key) => !(key in Object.prototype))
    .map((key) => `${name}.${key}`);
  const inner = Object.entries(resource).filter(
    ([key, value]) => !key.startsWith("_") && value !== null && typeof value === "object",
  );
  return [...new Set(own), ...inner.flatMap(([key, value]) => methodsOf(value as object, `${name}.${key}`))];
}

test("the list below names every method of the official client, and no other", () => {
  const listed = [...Object.keys(served), ...Object.keys(refused)];
  expect(listed.sort()).toEqual(methodsOf(client.stream, "stream").sort());
});

describe("served", () => {
  test.for(Object.keys(served))("%s", async (name) => {
    await served[name]!(client.stream);
  });
});

describe("answered with 501 and a sentence", () => {
  test.for(Object.keys(refused))("%s", async (name) => {
    const error = await refused[name]!(client.stream).then(
      () => undefined,
      (thrown: unknown) => thrown as InstanceType<typeof Cloudflare.APIError>,
    );
    expect(error?.status).toBe(501);
    expect(error?.errors[0]?.message).toMatch(/^[A-Z].{20,}\.$/);
  });
});

test("a clip has what its stretch of the video's captions says, on its own clock, and its owner is told that it is there", async () => {
  const { id } = await asked("POST", "/v1/webhooks", { url: "https://example.com/clips" });
  const words = ["00:01.000 --> 00:02.000\nBefore", "00:03.500 --> 00:04.000 line:0%\n<i>Inside</i>"];
  const file = new File([`WEBVTT\n\n${words.join("\n\n")}`], "en.vtt", { type: "text/vtt" });
  const { captions, clip: clips } = client.stream;
  await captions.language.update("en", { ...acc, identifier: video, file } as never);
  const stretch = { clippedFromVideoUID: video, startTimeSeconds: 3.2, endTimeSeconds: 5 };
  const clip = await clips.create({ ...acc, ...stretch });
  // The clip begins with the keyframe at three seconds.
  expect(await captions.language.vtt.get("en", { ...acc, identifier: clip.uid! })).toBe(
    "WEBVTT\n\n00:00:00.500 --> 00:00:01.000 line:0%\n<i>Inside</i>\n",
  );
  expect((await captions.get(clip.uid!, acc)).result).toMatchObject([{ language: "en", label: "English" }]);
  const silent = { ...stretch, startTimeSeconds: 6, endTimeSeconds: 8 };
  const other = await clips.create({ ...acc, ...silent });
  expect((await captions.get(other.uid!, acc)).result).toEqual([]);
  const told = await asked("GET", `/v1/webhooks/${id}/deliveries`);
  expect(told.map((one: { body: object }) => one.body).reverse()).toMatchObject(
    [clip, other].map(({ uid }) => ({
      ...{ uid, clippedFrom: video, readyToStream: true },
      playback: { hls: `http://h:8080/${uid}/manifest/video.m3u8` },
    })),
  );
  await asked("DELETE", `/v1/webhooks/${id}`);
});

// biome-ignore lint/suspicious/noExplicitAny: the envelope is what the test looks into
async function asked(method: string, path: string, json?: object): Promise<any> {
  const answer = await requestInternal(control.address, path, {
    method,
    secret: control.ready.apiToken,
    ...(json && { json }),
  });
  return (answer.json as { result: unknown } | undefined)?.result;
}

test("what the client has no method for: rotate_keys", async () => {
  const before = await client.stream.liveInputs.get(input, acc);
  const { result } = await client.post<{ result: { rtmps: { streamKey: string } } }>(
    `/accounts/x/stream/live_inputs/${input}/rotate_keys`,
  );
  expect(result.rtmps.streamKey).not.toBe(before.rtmps!.streamKey);
});
