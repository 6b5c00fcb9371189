import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
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

test("an epoch that was granted is never granted again, by the next origin or after the broadcast ended", async () => {
  const first = await Ledger.open(folder);
  const epochs = [await first.grant(input, "a"), await first.grant(input, "a")];
  await first.drop(input);
  epochs.push(await first.grant(input, "b"));
  const second = await Ledger.open(folder);
  epochs.push(await second.grant(input, "b"), await second.grant("f".repeat(32), "c"));
  expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
  expect(new Set(epochs).size).toBe(epochs.length);
});

test("a disk that did not take an epoch is asked again, and no epoch is granted before it has", async () => {
  const ledger = await Ledger.open(folder);
  await mkdir(join(folder, "epochs.new"));
  await expect(ledger.grant(input, "a")).rejects.toThrow();
  await rm(join(folder, "epochs.new"), { recursive: true });
  expect(await ledger.grant(input, "a")).toBe(2);
  expect(await (await Ledger.open(folder)).grant(input, "a")).toBeGreaterThan(2);
});

test("the next origin knows what was on air, and which video it was", async () => {
  const first = await Ledger.open(folder);
  await first.grant(input, "a");
  await first.grant(input, "b");
  for (const each of [first, await Ledger.open(folder)])
    expect(each.get(input)).toEqual({ video: "b", epoch: 2 });
});

test("an ended broadcast leaves nothing, and a file that is no ledger is no broadcast", async () => {
  const ledger = await Ledger.open(folder);
  await ledger.grant(input, "a");
  await ledger.drop(input);
  expect(await readdir(folder)).toEqual(["epochs"]);
  await writeFile(join(folder, `${"f".repeat(32)}.json`), "{torn");
  expect((await Ledger.open(folder)).inputs()).toEqual([]);
});

test("the next origin knows what an input's last broadcast was like", async () => {
  const other = "f".repeat(32);
  const ledger = await Ledger.open(folder);
  expect(ledger.habit(input)).toEqual({});
  await ledger.keepHabit(input, { sparse: false, cadenceSeconds: 2.002 });
  await ledger.keepHabit(other, { sparse: true, captions: ["CC1", "SERVICE2"] });
  const next = await Ledger.open(folder);
  expect([next.habit(input), next.habit(other)]).toEqual([
    { sparse: false, cadenceSeconds: 2.002 },
    { sparse: true, captions: ["CC1", "SERVICE2"] },
  ]);
  await writeFile(
    join(folder, "habits"),
    `${input} {"cadenceSeconds":-1,"captions":["TT\\""]}\n${other} {torn}\nno line of ours`,
  );
  const third = await Ledger.open(folder);
  expect([third.habit(input), third.habit(other)]).toEqual([{}, {}]);
});
