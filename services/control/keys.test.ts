import { createSecretKey } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keysFrom, newUid, openAdminToken, openMaster, sha256Hex } from "./keys.ts";
import { Records } from "./store/records.ts";

let folder: string;
let records: Records;
const file = () => join(folder, "secret");

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "keys-"));
  records = await Records.open({ file: join(folder, "s.db") });
});

afterEach(async () => {
  await records.close();
  await rm(folder, { recursive: true });
});

const uid = "0123456789abcdef0123456789abcdef";
const keys = (byte: number) => keysFrom(createSecretKey(Buffer.alloc(32, byte)));

test("a stream key is the same every time, ends in its uid and fits into a URL", () => {
  const key = keys(1).streamKey({ uid, keyGeneration: 1 });
  // Written down: what encoders were told once must stay right in every later version.
  expect(key).toBe(`50LWZMmibYVIHj8FsfYLRVbtToEgKwreKgvRYSgYMg4k${uid}`);
  expect(keys(1).streamKey({ uid, keyGeneration: 1 })).toBe(key);
});

test("another secret, uid or generation is another key", () => {
  const all = [
    keys(1).streamKey({ uid, keyGeneration: 1 }),
    keys(2).streamKey({ uid, keyGeneration: 1 }),
    keys(1).streamKey({ uid: newUid(), keyGeneration: 1 }),
    keys(1).streamKey({ uid, keyGeneration: 2 }),
    // The separator keeps uid and generation apart.
    keys(1).streamKey({ uid: `${uid}|1`, keyGeneration: 2 }),
  ];
  expect(new Set(all.map((key) => key.slice(0, 43))).size).toBe(all.length);
});

test("the master secret is made once, for its owner's eyes only", async () => {
  const first = await openMaster(file(), records);
  expect((await stat(file())).mode & 0o777).toBe(0o600);
  expect(await readFile(file(), "utf8")).toMatch(/^[0-9a-f]{64}\n$/);
  expect((await openMaster(file(), records)).equals(first)).toBe(true);
});

test.for([
  { name: "is gone", text: undefined, says: "is missing" },
  { name: "is another one", text: "ab".repeat(32), says: "is not the secret that this store was made with" },
  { name: "is torn", text: "abc", says: "does not hold 64 hexadecimal digits" },
])("a master secret that $name stops the start instead of changing every key", async ({ text, says }) => {
  await openMaster(file(), records);
  await (text === undefined ? rm(file()) : writeFile(file(), text));
  await expect(openMaster(file(), records)).rejects.toThrow(says);
});

test("removing the admin token's file and starting again replaces the token", async () => {
  const first = await openAdminToken(file(), records);
  expect(await openAdminToken(file(), records)).toBe(first);
  await rm(file());
  const second = await openAdminToken(file(), records);
  expect(await records.token(sha256Hex(first))).toBeUndefined();
  expect(await records.token(sha256Hex(second))).toEqual({ name: "admin", scopes: ["admin"] });
});
