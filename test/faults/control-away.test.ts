import { afterEach, expect, test } from "vitest";
import { requestErrors } from "../../services/moq/codec/messages.ts";
import { apiOf, ask } from "../support/api.ts";
import { family } from "../support/family.ts";
import { publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer, untilLive } from "../support/viewer.ts";

const awaySeconds = long ? 60 : 4;
const source = "source";
const moqSource = "source.0";

let sluice: Sluice;
const running: { kill(): Promise<unknown> }[] = [];
const viewers: MoqViewer[] = [];
afterEach(async () => {
  for (const viewer of viewers.splice(0)) viewer.close();
  for (const encoder of running.splice(0)) await encoder.kill();
  await sluice?.stop();
});

function encode(key: string) {
  const encoder = publish({ url: `${sluice.ready.rtmp}/${key}` });
  running.push(encoder);
  return encoder;
}

const api = apiOf(() => sluice.ready);

/** Whoever has this playback watches the broadcast `uid` over Media over QUIC: its groups as they come. */
async function watchMoq(playback: string, uid: string) {
  const viewer = await MoqViewer.open(await wayTo(sluice.ready, playback), `/${playback}`);
  viewers.push(viewer);
  viewer.subscribe(uid, moqSource);
  const groups = viewer.tracks.get(moqSource)!;
  await viewer.until(() => groups.length >= 2);
  return { viewer, groups };
}

/** Kills control, and each that the supervisor starts in its place, until it is told to stop. */
function keepAway(): () => number {
  const killed = new Set<number>();
  const look = () => {
    const { control } = family(sluice.pid);
    if (control === undefined || killed.has(control)) return;
    killed.add(control);
    process.kill(control, "SIGKILL");
  };
  look();
  const timer = setInterval(look, 10);
  return () => {
    clearInterval(timer);
    return killed.size;
  };
}

test(`control is killed for ${awaySeconds} s: who publishes and who watches goes on, others may begin, and it learns of all`, {
  timeout: (awaySeconds + 60) * 1_000,
}, async () => {
  sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  const { uid, streamKey, http } = sluice.ready;
  const made = await api("POST /live_inputs", { recording: { requireSignedURLs: true } });
  const { token } = await api(`POST /${made.uid}/token`, {});
  const encoder = encode(streamKey);
  const viewer = await openViewer(`${http}/${uid}`);
  const before = await viewer.follow(source, (segments) => segments.length >= 2);
  const quic = await watchMoq(uid, uid);

  const comeBack = keepAway();
  const beganMs = Date.now();
  await expect
    .poll(async () => (await ask(sluice.ready, "GET /live_inputs")).status, { timeout: 5_000 })
    .toBe(503);
  // One that was not on air yet: its key and its viewers' tokens are known without control.
  const second = encode(made.rtmps.streamKey);
  await untilLive(`${http}/${token}`);
  const signed = await openViewer(`${http}/${token}`);
  const during = await viewer.follow(
    source,
    (segments) => segments.at(-1)!.dateMs >= beganMs + awaySeconds * 1_000,
    (awaySeconds + 20) * 1_000,
  );
  expect((await fetch(`${http}/${made.uid}/manifest/video.m3u8`)).status).toBe(403);
  // Who comes now, after all that time, is let in where he may be, and nowhere else.
  const late = await openViewer(`${http}/${uid}`);
  await late.follow(source, (segments) => segments.length >= 2);
  const lateQuic = await watchMoq(token, made.uid);
  const refused = await MoqViewer.open(await wayTo(sluice.ready, uid), `/${uid}`);
  viewers.push(refused);
  refused.subscribe(made.uid, moqSource);
  await refused.until(() => refused.refused.has(moqSource));
  expect(refused.refused.get(moqSource)).toBe(requestErrors.unauthorized);
  const [newest] = (await signed.follow(source, (segments) => segments.length >= 2)).slice(-1);
  expect((await signed.fetch(source, newest!)).length).toBeGreaterThan(1_000);
  expect(comeBack()).toBeGreaterThan(1);

  await sluice.said(/control is back/);
  expect(during.filter(({ gap }) => gap)).toEqual([]);
  expect(during.at(-1)!.number).toBeGreaterThan(before.at(-1)!.number);
  for (const { judge } of [viewer, late]) expect(judge.violations).toEqual([]);
  for (const { viewer, groups } of [quic, lateQuic]) {
    expect([viewer.closed, viewer.done.size]).toEqual([undefined, 0]);
    const ids = groups.map(({ id }) => id);
    expect(ids, "no group is left out").toEqual(ids.map((_, i) => ids[0]! + i));
    expect(groups.slice(0, -1).filter(({ state }) => state !== "whole")).toEqual([]);
  }
  // A keyframe a second.
  expect(quic.groups.length).toBeGreaterThan(awaySeconds);
  for (const one of [encoder, second]) expect(one.log()).not.toMatch(/error|failed/i);
  await expect
    .poll(() => api(`GET /live_inputs/${made.uid}`), { timeout: 20_000 })
    .toMatchObject({ status: { current: { state: "connected" } } });
});
