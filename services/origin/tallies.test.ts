import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type InternalServer, listenInternal, readJson, sendJson } from "../lib/http.ts";
import { createLog } from "../lib/log.ts";
import { noSums, type Tally } from "../live/tally.ts";
import { Tallies } from "./tallies.ts";
import type { Taken } from "./viewers.ts";

let folder: string;
let control: InternalServer | undefined;
let got: Tally[];
let waiting: Taken[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tallies-"));
  got = [];
  waiting = [];
});
afterEach(async () => {
  await control?.close();
  control = undefined;
  await rm(folder, { recursive: true });
});

const address = () => `unix:${join(folder, "c.sock")}`;
const file = () => join(folder, "watched.json");
const open = () =>
  Tallies.open({
    take: () => waiting.splice(0),
    ...{ node: "n", control: address(), secret: undefined, file: file() },
    ...{ log: createLog("test", "silent", false), everyMs: 10 },
  });
async function startControl(): Promise<void> {
  control = await listenInternal(address(), async (request, response) => {
    const { tallies } = (await readJson(request)) as { tallies: Tally[] };
    got.push(...tallies);
    sendJson(response, 204);
  });
}
const watched = (seconds: number, room = 1): Taken => ({
  ...{ video: "v", input: "i", at: 300_000, room },
  sums: { ...noSums(), watchedMs: { hls: seconds * 1000, dash: 0, moq: 0 } },
});

test("what was watched reaches control, what changes comes again as a later revision of the same row", async () => {
  await startControl();
  waiting.push(watched(5));
  const tallies = await open();
  await expect.poll(() => got).toHaveLength(1);
  waiting.push(watched(9), watched(2, 2));
  await expect.poll(() => got).toHaveLength(3);
  await tallies.close();
  const [first, second, other] = got;
  expect(first).toMatchObject({ video: "v", uid: "i", at: 300_000, sums: { watchedMs: { hls: 5_000 } } });
  expect(second).toMatchObject({ source: first!.source, sums: { watchedMs: { hls: 9_000 } } });
  expect(second!.revision).toBeGreaterThan(first!.revision);
  expect(other!.source).not.toBe(first!.source);
  expect(JSON.parse(await readFile(file(), "utf8"))).toEqual([]);
});

test("while control is away it is on disk, and the next run brings it", async () => {
  waiting.push(watched(5));
  const first = await open();
  await expect.poll(() => readFile(file(), "utf8").catch(() => "")).toContain('"hls":5000');
  waiting.push(watched(7));
  await first.close();
  await startControl();
  const second = await open();
  await expect.poll(() => got).toHaveLength(1);
  expect(got[0]).toMatchObject({ sums: { watchedMs: { hls: 7_000 } } });
  await second.close();
});

test("a file that cannot be read costs what was in it", async () => {
  await startControl();
  const { writeFile } = await import("node:fs/promises");
  await writeFile(file(), "[{");
  waiting.push(watched(1));
  const tallies = await open();
  await expect.poll(() => got).toHaveLength(1);
  await tallies.close();
});
