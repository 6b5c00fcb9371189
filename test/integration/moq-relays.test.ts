import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { descendants } from "../bench/processes.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { MoqViewer, wayTo } from "../support/moq-viewer.ts";
import { type OwnRedis, startRedis } from "../support/redis.ts";
import { openRelayRow, type RelayRow } from "../support/relay-row.ts";
import type { Sluice } from "../support/sluice.ts";

let redis: OwnRedis;
let encoder: Publisher;
let main: Sluice;
/** Started again by tests that stop it. */
let second: Sluice;
let last: Sluice;
let row: RelayRow;
let uid: string;
const viewers: MoqViewer[] = [];

beforeAll(async () => {
  redis = await startRedis();
  row = await openRelayRow(redis.url);
  main = await row.start(0);
  uid = main.ready.uid!;
  encoder = publish({ url: `${main.ready.rtmp}/${main.ready.streamKey}`, gop: 1 });
  [second, last] = await Promise.all([row.start(1), row.start(2)]);
  await wayTo(main.ready, uid);
});
afterAll(async () => {
  for (const viewer of viewers) viewer.close();
  await encoder?.stop();
  for (const machine of [last, second, main]) await machine?.stop();
  await redis?.stop();
});
beforeEach(({ onTestFailed }) =>
  onTestFailed(() => {
    for (const [name, machine] of Object.entries({ main, second, last })) console.error(name, machine.log());
  }),
);

async function open(index: number): Promise<MoqViewer> {
  const viewer = await MoqViewer.open({ port: row.ports[index]!, hashes: [], namespace: uid }, `/${uid}`);
  viewers.push(viewer);
  return viewer;
}

const objectsOf = (viewer: MoqViewer, name: string) =>
  (viewer.tracks.get(name) ?? []).reduce((sum, { objects }) => sum + objects.length, 0);

/** Subscribes, again where the relay has not heard of the broadcast yet. */
async function watch(viewer: MoqViewer, name: string): Promise<void> {
  for (;;) {
    viewer.refused.delete(name);
    viewer.subscribe(uid, name);
    await viewer.until(() => objectsOf(viewer, name) > 0 || viewer.refused.has(name));
    if (!viewer.refused.has(name)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function figure({ ready }: Sluice, role: string, name: string): Promise<number> {
  const text = await (await fetch(`${ready.metrics}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name}{`) && one.includes(`"${role}"`));
  return Number(line?.split(" ").at(-1) ?? Number.NaN);
}

/** No object is missing in the middle of a group, and none came twice. */
function expectWhole(viewer: MoqViewer, name: string): void {
  for (const { objects } of viewer.tracks.get(name)!)
    expect(objects.map(({ object }) => object)).toEqual(objects.map((_, index) => index));
}

test("the origin gives one copy of each track, however many watch at how many relays", async () => {
  const far = await open(2);
  await Promise.all(["source.0", "audio.0"].map((name) => watch(far, name)));
  const others = await Promise.all([0, 1, 1, 1, 2, 2, 2, 2].map(open));
  for (const other of others) await Promise.all(["source.0", "audio.0"].map((name) => watch(other, name)));
  const taken = () =>
    Promise.all([
      figure(main, "origin", "sluice_moq_published_tracks"),
      figure(main, "relay", "sluice_moq_relays_served"),
      figure(second, "relay", "sluice_moq_relays_served"),
      figure(last, "relay", "sluice_moq_relays_served"),
    ]);
  // In a row: each takes from one.
  expect(await taken()).toEqual([2, 1, 1, 0]);
  await far.until(() => far.tracks.get("source.0")!.filter(({ state }) => state === "whole").length >= 2);
  for (const name of ["source.0", "audio.0"]) expectWhole(far, name);
  // The first viewer has had everything since the tracks began to be taken.
  await expect
    .poll(async () => {
      const published = await figure(main, "origin", "sluice_moq_published_objects_total");
      return published - objectsOf(far, "source.0") - objectsOf(far, "audio.0");
    })
    .toBe(0);
  for (const other of others) other.close();
});

/** How long at most nothing has come of a track; called once, at the end. */
function silenceOf(viewer: MoqViewer, name: string): () => number {
  let longestMs = 0;
  let lastMs = performance.now();
  let seen = objectsOf(viewer, name);
  const look = () => {
    const now = performance.now();
    if (objectsOf(viewer, name) > seen) {
      seen = objectsOf(viewer, name);
      lastMs = now;
    }
    longestMs = Math.max(longestMs, now - lastMs);
  };
  const watching = setInterval(look, 10);
  return () => {
    clearInterval(watching);
    return longestMs;
  };
}

test("a relay that stops in order asks to be left: who watches behind it misses nothing, who is there goes elsewhere", async () => {
  const [far, there] = await Promise.all([open(2), open(1)]);
  await Promise.all([watch(far, "source.0"), watch(there, "source.0")]);
  const longestMs = silenceOf(far, "source.0");
  const groups = far.tracks.get("source.0")!;
  const newest = groups.at(-1)!.id;
  const stopped = second.stop();
  await there.until(() => there.closed !== undefined);
  expect(there.peer.leaving).toBe(true);
  await far.until(() => groups.some(({ id, state }) => id > newest + 2 && state === "whole"));
  expect(longestMs()).toBeLessThan(1_000);
  expect(far.closed).toBeUndefined();
  expectWhole(far, "source.0");
  expect(last.log()).toContain("a relay asks us to leave");
  await stopped;
  second = await row.start(1);
});

test("a relay that is killed is gone around in two seconds, and who watches behind it stays connected and misses nothing", async () => {
  const far = await open(2);
  await Promise.all(["source.0", "audio.0"].map((name) => watch(far, name)));
  const longestMs = silenceOf(far, "source.0");
  const [pid] = descendants(second.pid, "role relay");
  process.kill(second.pid, "SIGKILL");
  process.kill(pid!, "SIGKILL");
  const groups = far.tracks.get("source.0")!;
  const newest = groups.at(-1)!.id;
  await far.until(() => groups.some(({ id, state }) => id > newest + 3 && state === "whole"));
  expect(longestMs()).toBeLessThan(2_000);
  expect(far.closed).toBeUndefined();
  expect([...far.done.keys()]).toEqual([]);
  for (const name of ["source.0", "audio.0"]) expectWhole(far, name);
  expect(groups.every(({ state }, index) => state === "whole" || index >= groups.length - 2)).toBe(true);
});

test("with Redis away, a viewer who comes to a relay far away plays what it did not have yet", async () => {
  await redis.stop();
  const far = await open(2);
  await Promise.all(["source.0", "catalog"].map((name) => watch(far, name)));
  await far.until(() => objectsOf(far, "source.0") > 30);
});
