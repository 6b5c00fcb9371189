import { createHash, randomBytes } from "node:crypto";
import dns from "node:dns";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Fault, type S3Fake, startS3 } from "../../test/support/s3-fake.ts";
import { openS3, type S3Options } from "./s3.ts";
import { type Body, isSame } from "./store.ts";

let fake: S3Fake;
let folder: string;
beforeEach(async () => {
  fake = await startS3();
  folder = mkdtempSync(join(tmpdir(), "s3-"));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await fake.close();
  rmSync(folder, { recursive: true });
});

function open(change: Partial<S3Options> = {}) {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = fake;
  const key = { endpoint, region, bucket, accessKeyId, secretAccessKey };
  return openS3({ ...key, prefix: "live/", pathStyle: true, idleMs: 300, answerMs: 1_000, ...change });
}

function bodyOf(bytes: Uint8Array): Body {
  const hash = (name: string) => createHash(name).update(bytes).digest("hex");
  return { from: bytes, bytes: bytes.length, sha256: hash("sha256"), md5: hash("md5") };
}

function sdk(change: { secretAccessKey?: string; region?: string } = {}) {
  const { endpoint, region, accessKeyId, secretAccessKey } = fake;
  return new S3Client({
    ...{ endpoint, region: change.region ?? region, forcePathStyle: true, maxAttempts: 1 },
    credentials: { accessKeyId, secretAccessKey: change.secretAccessKey ?? secretAccessKey },
  });
}

describe("the fake is what the AWS SDK takes for S3", () => {
  const Bucket = "media";
  test("objects come and go, whole, in ranges and in lists of many pages", async () => {
    const client = sdk();
    const Key = "a folder/über+1 (2).bin";
    const Body = randomBytes(3_000);
    await client.send(new PutObjectCommand({ Bucket, Key, Body, ChecksumAlgorithm: "SHA256" }));
    expect(fake.objects.get(Key)).toEqual(Body);
    const whole = await client.send(new GetObjectCommand({ Bucket, Key }));
    expect(Buffer.from(await whole.Body!.transformToByteArray())).toEqual(Body);
    const some = await client.send(new GetObjectCommand({ Bucket, Key, Range: "bytes=100-199" }));
    expect(some.ContentRange).toBe("bytes 100-199/3000");
    expect(Buffer.from(await some.Body!.transformToByteArray())).toEqual(Body.subarray(100, 200));
    const head = await client.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
    expect(head).toMatchObject({
      ContentLength: 3_000,
      ETag: `"${createHash("md5").update(Body).digest("hex")}"`,
      ChecksumSHA256: createHash("sha256").update(Body).digest("base64"),
    });
    for (let i = 0; i < 5; i++) fake.objects.set(`list/${i}&<`, Buffer.of(i));
    const keys: string[] = [];
    for (let ContinuationToken: string | undefined, more = true; more; ) {
      const page = await client.send(
        new ListObjectsV2Command({
          Bucket,
          Prefix: "list/",
          MaxKeys: 2,
          ...(ContinuationToken && { ContinuationToken }),
        }),
      );
      keys.push(...page.Contents!.map((one) => one.Key!));
      ContinuationToken = page.NextContinuationToken;
      more = page.IsTruncated!;
    }
    expect(keys).toEqual([0, 1, 2, 3, 4].map((i) => `list/${i}&<`));
    await client.send(new DeleteObjectCommand({ Bucket, Key }));
    await expect(client.send(new GetObjectCommand({ Bucket, Key }))).rejects.toMatchObject({
      name: "NoSuchKey",
    });
    expect(fake.refused).toHaveLength(1);
  });

  test("what S3 refuses is refused", async () => {
    const put = (client: S3Client, more = {}) =>
      client.send(new PutObjectCommand({ Bucket, Key: "x", Body: "abc", ...more }));
    await expect(put(sdk({ secretAccessKey: "another" }))).rejects.toMatchObject({
      name: "SignatureDoesNotMatch",
    });
    await expect(put(sdk({ region: "us-east-1" }))).rejects.toMatchObject({
      name: "AuthorizationHeaderMalformed",
    });
    await expect(put(sdk(), { Bucket: "other" })).rejects.toMatchObject({ name: "NoSuchBucket" });
    await expect(put(sdk(), { ContentMD5: "AAAAAAAAAAAAAAAAAAAAAA==" })).rejects.toMatchObject({
      name: "BadDigest",
    });
    await expect(fetch(`${fake.endpoint}/media/x`).then(({ status }) => status)).resolves.toBe(403);
    expect(fake.objects.size).toBe(0);
  });
});

test("the SDK reads what this client puts, and this client what the SDK puts", async () => {
  const bytes = randomBytes(200_000);
  const file = join(folder, "media.mp4");
  writeFileSync(file, Buffer.concat([bytes, Buffer.from("more, that does not count")]));
  const store = open();
  const body = bodyOf(bytes);
  await store.put("one/a b+ü.mp4", { ...body, from: { file } });
  await store.put("one/small", bodyOf(Buffer.from("small")));
  expect(isSame((await store.head("one/a b+ü.mp4"))!, body)).toBe(true);
  expect(isSame((await store.head("one/small"))!, body)).toBe(false);
  const seen = await sdk().send(new GetObjectCommand({ Bucket: "media", Key: "live/one/a b+ü.mp4" }));
  expect(Buffer.from(await seen.Body!.transformToByteArray())).toEqual(bytes);
  await sdk().send(new PutObjectCommand({ Bucket: "media", Key: "live/one/z", Body: bytes }));
  expect(await store.get("one/z", { offset: 199_990, length: 100 })).toEqual({
    bytes: bytes.subarray(199_990),
    total: 200_000,
  });
  expect(await store.get("one/z", { offset: 200_000, length: 1 })).toBeUndefined();
  expect(await store.get("none", { offset: 0, length: 1 })).toBeUndefined();
  expect(await store.head("none")).toBeUndefined();
  const listed = await Array.fromAsync(store.list("one/"));
  expect(listed).toEqual([
    { key: "one/a b+ü.mp4", bytes: 200_000 },
    { key: "one/small", bytes: 5 },
    { key: "one/z", bytes: 200_000 },
  ]);
  for (const { key } of listed) await store.remove(key);
  await store.remove("none");
  expect(fake.objects.size).toBe(0);
  // Refused was only what is not there.
  expect(fake.refused.every((line) => /InvalidRange|NoSuchKey/.test(line))).toBe(true);
});

test("the bucket may be a part of the host's name, and lists have many pages", async () => {
  // Names below localhost are this machine, which not every resolver knows.
  const { lookup } = dns;
  vi.spyOn(dns, "lookup").mockImplementation(((name: string, ...rest: [never, never]) =>
    lookup(name.replace(/^.*\.localhost$/, "localhost"), ...rest)) as typeof dns.lookup);
  const store = open({
    endpoint: fake.endpoint.replace("127.0.0.1", "localhost"),
    pathStyle: false,
    prefix: "",
  });
  for (let i = 0; i < 2_100; i++) fake.objects.set(`many/${String(i).padStart(5, "0")}`, Buffer.of(1));
  expect((await Array.fromAsync(store.list("many/"))).length).toBe(2_100);
  await store.put("x", bodyOf(Buffer.from("x")));
  expect(fake.objects.has("x")).toBe(true);
});

test.for<{ name: string; fault: Fault; method: string; says: RegExp }>([
  {
    name: "an overloaded store",
    method: "PUT",
    fault: { how: "status", status: 503, code: "SlowDown" },
    says: /503 SlowDown/,
  },
  {
    name: "a success with an error in its body",
    method: "PUT",
    fault: { how: "error body" },
    says: /InternalError/,
  },
  {
    name: "a connection that ends in mid-upload",
    method: "PUT",
    fault: { how: "reset" },
    says: /ECONNRESET|EPIPE|socket hang up/,
  },
  {
    name: "a store that never answers",
    method: "PUT",
    fault: { how: "hang" },
    says: /nothing moved for 0.3 s/,
  },
  {
    name: "a connection that ends in mid-answer",
    method: "GET",
    fault: { how: "reset" },
    says: /aborted|ECONNRESET/,
  },
  {
    name: "an answer with less than was asked for",
    method: "GET",
    fault: { how: "partial" },
    says: /the answer has others/,
  },
  {
    name: "a success that is an error, to a read",
    method: "GET",
    fault: { how: "error body" },
    says: /InternalError/,
  },
  { name: "a read that never ends", method: "GET", fault: { how: "hang" }, says: /nothing moved/ },
])("$name is a failure that may be tried again", async ({ fault, method, says }) => {
  const store = open();
  const bytes = randomBytes(100_000);
  await store.put("x", bodyOf(bytes));
  fake.rules.push({ method, times: 1, fault });
  const attempt = () =>
    method === "PUT" ? store.put("x", bodyOf(bytes)) : store.get("x", { offset: 0, length: 50_000 });
  await expect(attempt()).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(says),
  });
  await attempt();
});

test.for<{ name: string; change: Partial<S3Options>; says: RegExp }>([
  { name: "a wrong secret", change: { secretAccessKey: "wrong" }, says: /correct s3SecretAccessKey/ },
  { name: "an unknown key", change: { accessKeyId: "NOBODY" }, says: /correct s3AccessKeyId/ },
  { name: "a wrong bucket", change: { bucket: "else" }, says: /no bucket "else"/ },
  { name: "a wrong region", change: { region: "us-east-1" }, says: /set s3Region to eu-central-1/ },
])("$name is said with what to change, and never with the secret", async ({ change, says }) => {
  const store = open(change);
  const failed = await store.put("x", bodyOf(Buffer.from("x"))).catch((error: Error) => error);
  expect(failed).toMatchObject({ message: expect.stringMatching(says) });
  expect(JSON.stringify(failed) + (failed as Error).stack).not.toContain(fake.secretAccessKey);
});

test.for<{ name: string; fault: Fault }>([
  { name: "half of it", fault: { how: "partial" } },
  { name: "other bytes", fault: { how: "corrupt" } },
])("a store that kept $name is found out", async ({ fault }) => {
  const store = open();
  const body = bodyOf(randomBytes(10_000));
  fake.rules.push({ method: "PUT", fault });
  await store.put("x", body);
  expect(isSame((await store.head("x"))!, body)).toBe(false);
});
