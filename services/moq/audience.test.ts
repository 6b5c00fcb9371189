import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type InternalServer, listenInternal } from "../lib/http.ts";
import { createLog } from "../lib/log.ts";
import { followAudience, type Present } from "../live/audience.ts";
import { Audience } from "./audience.ts";

let folder: string;
let audience: Audience;
let server: InternalServer;
let here: string[];

const address = () => `unix:${join(folder, "r.sock")}`;
async function startRelay(): Promise<void> {
  audience = new Audience();
  server = await listenInternal(address(), (_request, response) => audience.follow(response));
}
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "audience-"));
  here = [];
  await startRelay();
});
afterEach(async () => {
  audience.close();
  await server.close();
  await rm(folder, { recursive: true });
});

const one = (key: string, uid = "i"): Present => ({ uid, key, place: "p" });
const follow = () =>
  followAudience({
    ...{ relay: address(), secret: undefined, log: createLog("test", "silent", false) },
    came: ({ uid, key }) => here.push(`${uid} ${key}`),
    left: ({ uid, key }) => here.splice(here.indexOf(`${uid} ${key}`), 1),
  });

test("whoever follows knows who is there, who comes and who goes; several tracks are one viewer", async () => {
  const ends = [audience.enter(one("a")), audience.enter(one("a")), audience.enter(one("a", "j"))];
  const following = follow();
  await expect.poll(() => [...here].sort()).toEqual(["i a", "j a"]);
  const end = audience.enter(one("b"));
  await expect.poll(() => here).toContain("i b");
  ends[0]!();
  // Its end comes twice where a right ends together with its reader.
  ends[0]!();
  end();
  await expect.poll(() => [...here].sort()).toEqual(["i a", "j a"]);
  ends[1]!();
  await expect.poll(() => here).toEqual(["j a"]);
  await following.close();
});

test("while a relay is away nobody watches there; when it is back whoever is there does", async () => {
  audience.enter(one("a"));
  const following = follow();
  await expect.poll(() => here).toEqual(["i a"]);
  await server.close();
  await expect.poll(() => here).toEqual([]);
  audience.close();
  await startRelay();
  audience.enter(one("b"));
  await expect.poll(() => here, { timeout: 5_000 }).toEqual(["i b"]);
  await following.close();
  expect(here).toEqual([]);
});
