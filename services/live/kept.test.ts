import { mkdtemp, readFile, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Delta, Kept } from "./kept.ts";

let folder: string;
const opened: Kept<string>[] = [];
const file = () => join(folder, "slice.json");
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kept-"));
});
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
  await rm(folder, { recursive: true });
});

function keep(): Kept<string> {
  const one = new Kept<string>(file());
  opened.push(one);
  return one;
}
const held = (version: number, inputs: object) => ({ version, inputs: new Map(Object.entries(inputs)) });
const read = () => new Kept<string>(file()).read();
const lines = async () => (await readFile(file(), "utf8")).split("\n").length - 1;

test("changes are added behind the whole, and both together are what was written last", async () => {
  const kept = keep();
  await kept.write(held(4, { a: "1", b: "1" }));
  const once: Delta<string> = { version: 5, set: { c: "1" }, remove: ["a"] };
  await kept.write(held(5, { b: "1", c: "1" }), [once]);
  const twice = [
    { version: 6, set: { a: "2" } },
    { version: 8, remove: ["b"] },
  ];
  await kept.write(held(8, { a: "2", c: "1" }), twice);
  expect(await lines()).toBe(4);
  expect(await read()).toEqual(held(8, { c: "1", a: "2" }));
  expect((await stat(file())).mode & 0o777).toBe(0o600);
});

test("who has written nothing yet begins with the whole, whatever is there", async () => {
  await keep().write(held(4, { a: "1" }));
  await keep().write(held(5, { b: "1" }), [{ version: 5, set: { b: "1" } }]);
  expect([await lines(), await read()]).toEqual([1, held(5, { b: "1" })]);
});

test("cut off anywhere behind its first line, it is that of the last version that is whole", async () => {
  const kept = keep();
  await kept.write(held(1, { a: "1" }));
  const first = (await stat(file())).size;
  await kept.write(held(2, { a: "2" }), [{ version: 2, set: { a: "2" } }]);
  const { size } = await stat(file());
  await kept.write(held(3, { a: "3" }), [{ version: 3, set: { a: "3" } }]);
  for (let length = (await stat(file())).size - 2; length >= first; length--) {
    await truncate(file(), length);
    expect((await read()).version, `of ${length} bytes`).toBe(length >= size - 1 ? 2 : 1);
  }
  await truncate(file(), first - 2);
  await expect(read()).rejects.toThrow(SyntaxError);
});

test("what is added does not grow without end", async () => {
  const kept = keep();
  const text = "x".repeat(10_000);
  await kept.write(held(1, { a: text }));
  for (let version = 2; version < 40; version++)
    await kept.write(held(version, { a: text }), [{ version, set: { a: text } }]);
  expect((await stat(file())).size).toBeLessThan(100_000);
  expect(await read()).toEqual(held(39, { a: text }));
});

test("what could not be added is in the next write, which is whole", async () => {
  const kept = keep();
  await kept.write(held(1, { a: "1" }));
  await kept.close();
  await kept.write(held(3, { a: "3" }), [{ version: 3, set: { a: "3" } }]);
  expect([await lines(), await read()]).toEqual([1, held(3, { a: "3" })]);
});
