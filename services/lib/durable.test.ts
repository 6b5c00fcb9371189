import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeFolder, replaceFile } from "./durable.ts";

test("replaces the whole file, with the mode asked for, over the leftovers of an interrupted run", async () => {
  const folder = await mkdtemp(join(tmpdir(), "durable-"));
  const file = join(folder, "secret");
  await writeFile(file, "a longer text than the next");
  await writeFile(`${file}.new`, "torn", { mode: 0o644 });
  await replaceFile(file, "new");
  expect(await readFile(file, "utf8")).toBe("new");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(["secret"]);
  await rm(folder, { recursive: true });
});

test("makes what is missing of a folder, and fails instead of hanging where none can be made", async () => {
  const base = await mkdtemp(join(tmpdir(), "durable-"));
  const folder = join(base, "a", "b", "c");
  makeFolder(folder);
  makeFolder(folder);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  await rm(base, { recursive: true });
  if (process.platform === "linux") expect(() => makeFolder("/proc/sluice/data")).toThrow();
});
