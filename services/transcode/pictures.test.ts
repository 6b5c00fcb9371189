import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { PictureJob } from "../live/pictures.ts";
import { openPictures } from "./pictures.ts";

let folder: string;
let program: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pictures-"));
  program = join(folder, "decoder");
  // Gives back what it is fed, as a decoder that has something to say about everything.
  writeFileSync(program, "#!/bin/sh\nexec cat\n");
  chmodSync(program, 0o700);
});
afterAll(() => rmSync(folder, { recursive: true }));

const job = (text: string): PictureJob => ({
  ...{ media: [Buffer.from(text)], form: "jpg", width: undefined, height: undefined, fit: "crop" },
});

test("of a flood one is made at a time, few wait without having read anything, and the others are told to come back", async () => {
  const pictures = openPictures(program);
  let reading = 0;
  let most = 0;
  let read = 0;
  const asked = Array.from({ length: 200 }, (_, i) =>
    pictures.make(async () => {
      read++;
      reading++;
      most = Math.max(most, reading);
      await new Promise(setImmediate);
      reading--;
      return job(`picture ${i}`);
    }),
  );
  const answers = await Promise.allSettled(asked);
  const made = answers.flatMap((one) => (one.status === "fulfilled" ? [String(one.value)] : []));
  const refused = answers.flatMap((one) => (one.status === "rejected" ? [one.reason.code as string] : []));
  expect(made).toEqual(Array.from({ length: made.length }, (_, i) => `picture ${i}`));
  expect(made.length).toBeGreaterThan(1);
  expect(refused).toEqual(Array.from({ length: 200 - made.length }, () => "limit"));
  expect([most, read]).toEqual([1, made.length]);
  await expect(pictures.make(async () => job("one more"))).resolves.toBeDefined();
});

test("media that are not there any more do not hold up who waits behind them", async () => {
  const pictures = openPictures(program);
  const gone = pictures.make(() => Promise.reject(new Error("gone")));
  const next = pictures.make(async () => job("next"));
  await expect(gone).rejects.toThrow("gone");
  expect(String(await next)).toBe("next");
});
