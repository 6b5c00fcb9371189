import fc from "fast-check";
import { expect, test } from "vitest";
import { Retimer } from "./retimer.ts";

const top = 2 ** 32;

test.for([
  { name: "a source that begins at 0", raw: [0, 33, 67] },
  { name: "a source that counts from 1970", raw: [3_141_592_653, 3_141_592_686] },
  { name: "a source that wraps", raw: [top - 20, 13, 46] },
  { name: "a source that jumps back to its start", raw: [600_000, 600_033, 0, 33, 67] },
  { name: "a source that goes back a little", raw: [1000, 1033, 1030, 1063] },
  { name: "a source that jumps far ahead", raw: [0, 33, 7_200_000, 7_200_033] },
])("$name has its own timestamps again behind the encoder, which sees time grow", ({ raw }) => {
  const retimer = new Retimer();
  const seen = raw.map((ms) => retimer.toEncoder(ms));
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  expect(Math.min(...seen)).toBeGreaterThan(0);
  expect(seen.map((ms) => retimer.toRaw(ms))).toEqual(raw);
});

test("frames that are shown later or earlier than decoded keep their time over a jump", () => {
  const retimer = new Retimer();
  const before = retimer.toEncoder(90_000) + 999;
  const after = retimer.toEncoder(10) - 999;
  expect(retimer.toRaw(before)).toBe(90_999);
  expect(retimer.toRaw(after)).toBe(10 - 999 + top);
});

test("after 25 days ffmpeg's lost bit does not matter", () => {
  const retimer = new Retimer();
  let raw = 0;
  for (let day = 0; day < 60; day++) {
    raw = (raw + 86_400_000) % top;
    const written = retimer.toEncoder(raw) % 2 ** 31;
    expect(retimer.toRaw(written)).toBe(raw);
  }
});

test("sound keeps its distance from the pictures, and has no time far from them", () => {
  const retimer = new Retimer();
  expect(retimer.beside(5_000)).toBeUndefined();
  const picture = retimer.toEncoder(top - 10);
  expect(retimer.beside(top - 31)).toBe(picture - 21);
  expect(retimer.beside(4)).toBe(picture + 14);
  expect(retimer.beside(60_000)).toBeUndefined();
  expect(retimer.toRaw(retimer.beside(4)!)).toBe(4);
  expect(retimer.toEncoder(20)).toBe(picture + 30);
});

test("the grid of keyframes is the source's, also behind a jump and after a wrap", () => {
  const retimer = new Retimer();
  for (const raw of [top - 5_000, top - 100, 40, 3_000, 700, 4_100])
    expect(retimer.toEncoder(raw) % 2_048).toBe(raw % 2_048);
});

test("whatever a source does, no time is made up and the encoder's never falls", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: top - 1 }), { minLength: 1, maxLength: 12 }), (raw) => {
      const retimer = new Retimer();
      let last = 0;
      for (const ms of raw) {
        const given = retimer.toEncoder(ms);
        expect(given).toBeGreaterThanOrEqual(last);
        expect(retimer.toRaw(given)).toBe(ms);
        last = given;
      }
    }),
  );
});
