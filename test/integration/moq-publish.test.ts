import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { doneCodes, requestErrors } from "../../services/moq/codec/messages.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { MoqPublisher } from "../support/moq-publisher.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { freeUdpPorts } from "../support/ports.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer } from "../support/viewer.ts";

// One Sluice is watched over QUIC, and what comes is published into another over QUIC: an encoder that speaks MoQ.
let from: Sluice;
let into: Sluice;
let port: number;
let encoder: Publisher;
let viewer: MoqViewer;
const publishers: MoqPublisher[] = [];

beforeAll(async () => {
  [port] = (await freeUdpPorts(1)) as [number];
  [from, into] = await Promise.all([
    startSluice({ env: { SLUICE_MOQ: "true" } }),
    startSluice({ env: { SLUICE_MOQ: "true" }, args: ["--moq-port", `${port}`, "--timeout-seconds", "2"] }),
  ]);
  encoder = publish({ url: `${from.ready.rtmp}/${from.ready.streamKey}`, gop: 1 });
  viewer = await MoqViewer.open(await wayTo(from.ready, from.ready.uid!), `/${from.ready.uid}`);
});
afterAll(async () => {
  for (const one of publishers) one.close();
  viewer?.close();
  await encoder?.stop();
  await Promise.all([from?.stop(), into?.stop()]);
});
beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(into.log())));

async function open(path: string, protocol = "moqt-16"): Promise<MoqPublisher> {
  const source = { peer: viewer.peer, namespace: from.ready.uid! };
  const publisher = await MoqPublisher.open(port, path, source, protocol);
  publishers.push(publisher);
  return publisher;
}

async function lifecycle() {
  const { http, uid } = into.ready;
  const response = await fetch(`${http}/${uid}/lifecycle`);
  return (await response.json()) as { live: boolean; status: string; videoUID: string };
}

test("a wrong stream key is refused with the sentence that RTMP has for it", async () => {
  const stranger = await open("/publish/nobodys-key");
  const refused = await stranger.announce(["anything"]);
  expect(refused?.code).toBe(requestErrors.unauthorized);
  expect(refused?.reason).toMatch(/^Stream key not accepted/);
});

test("an encoder that speaks MoQ is on air in HLS, picture and sound, to the rules, and over QUIC again", async () => {
  const { uid, http, streamKey } = into.ready;
  const publisher = await open(`/publish/${streamKey}`);
  expect(await publisher.announce(["live", "stage"])).toBeUndefined();
  const hls = await openViewer(`${http}/${uid}`);
  expect([...hls.renditions.keys()].sort()).toEqual(["audio", "source"]);
  for (const name of ["source", "audio"]) {
    const segments = await hls.follow(name, (all) => all.filter(({ gap }) => !gap).length >= 4);
    for (const segment of segments.slice(0, 2))
      expect((await hls.fetch(name, segment)).length).toBeGreaterThan(1000);
  }
  expect(hls.judge.violations).toEqual([]);
  expect(publisher.taken.sort()).toEqual(["audio.0", "catalog", "source.0"]);

  const again = await MoqViewer.open(await wayTo(into.ready, uid!), `/${uid}`);
  again.subscribe(uid!, "source.0");
  await again.until(() => (again.tracks.get("source.0")?.[0]?.objects.length ?? 0) > 5);
  again.close();
});

test("a second encoder with the key takes over, as over RTMP, and the first is told", async () => {
  const first = publishers.at(-1)!;
  const second = await open(`/publish?key=${into.ready.streamKey}`);
  const { videoUID } = await lifecycle();
  expect(await second.announce(["live", "stage"])).toBeUndefined();
  await first.until(() => first.closed !== undefined);
  expect(first.closed!.reason).toMatch(/^Another encoder/);
  await expect.poll(async () => (await lifecycle()).status, { timeout: 10_000 }).toBe("live");
  expect((await lifecycle()).videoUID).toBe(videoUID);
});

test("when its tracks end the broadcast ends, and is a video", async () => {
  const { http } = into.ready;
  const { live, videoUID } = await lifecycle();
  expect(live).toBe(true);
  publishers.at(-1)!.end(doneCodes.trackEnded);
  await expect.poll(async () => (await lifecycle()).live, { timeout: 10_000 }).toBe(false);
  const list = await (await fetch(`${http}/${videoUID}/manifest/video.m3u8`)).text();
  const media = new URL(/^(?!#).+$/m.exec(list)![0], `${http}/${videoUID}/manifest/`).href;
  await expect.poll(async () => (await fetch(media)).text(), { timeout: 10_000 }).toContain("#EXT-X-ENDLIST");
});

describe.for(["moqt-16", "moqt-18"])("an encoder that pushes its tracks in %s", (protocol) => {
  test("is refused with a wrong stream key, each track of it", async () => {
    const stranger = await open("/publish/nobodys-key", protocol);
    const refused = await stranger.push(["anything"], ["catalog", "source.0"]);
    expect(refused.map((why) => why?.code)).toEqual([requestErrors.unauthorized, requestErrors.unauthorized]);
  });

  test("is on air in HLS until its tracks end, and what is not needed of it is refused", async () => {
    const { uid, http, streamKey } = into.ready;
    const publisher = await open(`/publish/${streamKey}`, protocol);
    const names = ["timeline", "catalog", "source.0", "audio.0"];
    const [timeline, ...taken] = await publisher.push(["live", "stage"], names);
    expect(timeline?.code).toBe(requestErrors.uninterested);
    expect(taken).toEqual([undefined, undefined, undefined]);
    const hls = await openViewer(`${http}/${uid}`);
    expect([...hls.renditions.keys()].sort()).toEqual(["audio", "source"]);
    for (const name of ["source", "audio"])
      await hls.follow(name, (all) => all.filter(({ gap }) => !gap).length >= 2);
    expect(hls.judge.violations).toEqual([]);
    // Nothing had to be asked for.
    expect(publisher.taken).toEqual([]);
    publisher.end(doneCodes.trackEnded);
    await expect.poll(async () => (await lifecycle()).live, { timeout: 10_000 }).toBe(false);
  });
});

test("of an encoder that pushes pictures alone the rest is subscribed to", async () => {
  const publisher = await open(`/publish/${into.ready.streamKey}`);
  expect(await publisher.push(["live"], ["source.0"])).toEqual([undefined]);
  await expect.poll(async () => (await lifecycle()).status, { timeout: 10_000 }).toBe("live");
  expect(publisher.taken.sort()).toEqual(["audio.0", "catalog"]);
});
