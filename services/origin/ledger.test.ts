import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Ledger } from "./ledger.ts";

const input = "0123456789abcdef0123456789abcdef";
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ledger-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("an epoch that was granted is never granted again, also by the next origin", async () => {
  const first = await Ledger.open(folder);
  expect(await first.grant(input, "a")).toBe(1);
  expect(await first.grant(input, "a")).toBe(2);
  const second = await Ledger.open(folder);
  expect(await second.grant(input, "a")).toBe(3);
});

test("the next origin starts above every number that may have been announced", async () => {
  const first = await Ledger.open(folder);
  await first.grant(input, "a");
  let announced = 0;
  for (let number = 0; number < 300; number++) {
    await first.keepAhead(input, { epochMs: 5, number, discontinuity: 1 });
    announced = number;
    expect((await Ledger.open(folder)).get(input)!.resume!.number).toBeGreaterThan(announced + 16);
  }
});

test("most segments cost no write", async () => {
  const ledger = await Ledger.open(folder);
  await ledger.grant(input, "a");
  let writes = 0;
  for (let number = 0; number < 1000; number++) {
    const write = ledger.keepAhead(input, { epochMs: 5, number, discontinuity: 0 });
    if (write) writes++;
    await write;
  }
  expect(writes).toBeLessThan(40);
});

test("another video of the same input does not continue the numbers of the last one", async () => {
  const ledger = await Ledger.open(folder);
  await ledger.grant(input, "a");
  await ledger.keepAhead(input, { epochMs: 5, number: 9, discontinuity: 0 });
  await ledger.grant(input, "b");
  expect(ledger.get(input)).toEqual({ video: "b", epoch: 2, resume: undefined });
});

test("an ended broadcast leaves nothing, and a file that is no ledger is no broadcast", async () => {
  const ledger = await Ledger.open(folder);
  await ledger.grant(input, "a");
  await ledger.drop(input);
  await writeFile(join(folder, `${"f".repeat(32)}.json`), "{torn");
  expect((await Ledger.open(folder)).inputs()).toEqual([]);
});
