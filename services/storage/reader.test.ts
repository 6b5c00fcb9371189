import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type S3Fake, startS3 } from "../../test/support/s3-fake.ts";
import { createLog } from "../lib/log.ts";
import { Reader } from "./reader.ts";
import { openS3 } from "./s3.ts";

const megabyte = 1 << 20;
const bytes = randomBytes(5 * megabyte + 1_234);
let fake: S3Fake;
beforeEach(async () => {
  fake = await startS3();
  for (const key of ["one", "two"]) fake.objects.set(key, bytes);
});
afterEach(() => fake.close());

function open(more: { cacheBytes?: number; patienceMs?: number } = {}): Reader {
  const store = openS3({ ...fake, prefix: "", pathStyle: true, idleMs: 400 });
  return new Reader({ store, log: createLog("test", "silent", false), ...more });
}

test.for([
  { offset: 0, length: 1 },
  { offset: 0, length: bytes.length },
  { offset: megabyte - 1, length: 2 },
  { offset: megabyte, length: megabyte },
  { offset: 3_333_333, length: 1_500_000 },
  { offset: bytes.length - 10, length: 10 },
])("$length bytes from $offset are what the object has there", async ({ offset, length }) => {
  const read = await open().read("one", { offset, length });
  expect(bytes.subarray(offset, offset + length).equals(read!)).toBe(true);
});

test("what is not there is undefined: an object, a range behind the end, a range over the end", async () => {
  const reader = open();
  expect(await reader.read("none", { offset: 0, length: 1 })).toBeUndefined();
  expect(await reader.read("one", { offset: bytes.length, length: 1 })).toBeUndefined();
  expect(await reader.read("one", { offset: bytes.length - 1, length: 2 })).toBeUndefined();
  // What came since is seen.
  fake.objects.set("none", Buffer.of(7));
  expect(await reader.read("none", { offset: 0, length: 1 })).toEqual(Buffer.of(7));
});

test("a hundred viewers of a segment fetch it once, and no more is kept than the bound", async () => {
  const reader = open({ cacheBytes: 3 * megabyte });
  const range = { offset: 100, length: 900_000 };
  const all = await Promise.all(Array.from({ length: 100 }, () => reader.read("one", range)));
  for (const one of new Set(all)) expect(bytes.subarray(100, 900_100).equals(one!)).toBe(true);
  await reader.read("one", range);
  expect(fake.requests).toHaveLength(1);
  await reader.read("two", { offset: 0, length: bytes.length });
  expect(reader.keptBytes).toBeLessThanOrEqual(3 * megabyte);
  await reader.read("one", range);
  expect(fake.requests).toHaveLength(1 + 6 + 1);
});

test("an attempt that fails is made again, whatever went wrong", async () => {
  const reader = open();
  fake.rules.push(
    { times: 1, fault: { how: "status", status: 503, code: "SlowDown" } },
    { times: 1, fault: { how: "reset" } },
    { times: 1, fault: { how: "partial" } },
    { times: 1, fault: { how: "hang" } },
  );
  expect(await reader.read("one", { offset: 5, length: 50 })).toEqual(bytes.subarray(5, 55));
  expect(fake.rules.every(({ times }) => times === 0)).toBe(true);
});

test("an object that hangs delays nobody who reads another", async () => {
  const reader = open({ patienceMs: 1_000 });
  fake.rules.push({ key: /^two$/, fault: { how: "hang" } });
  const stuck = Array.from({ length: 50 }, (_, i) => reader.read("two", { offset: i * 100_000, length: 10 }));
  const failed = Promise.allSettled(stuck);
  expect(await reader.read("one", { offset: 0, length: 10 })).toEqual(bytes.subarray(0, 10));
  for (const { status, reason } of (await failed) as PromiseRejectedResult[])
    expect([status, reason.code]).toEqual(["rejected", "unavailable"]);
  fake.rules.length = 0;
  expect(await reader.read("two", { offset: 0, length: 10 })).toEqual(bytes.subarray(0, 10));
});
