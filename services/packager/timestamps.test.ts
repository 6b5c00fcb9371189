import fc from "fast-check";
import { expect, test } from "vitest";
import { createUnwrapper } from "./timestamps.ts";

const unwrapAll = (raw: readonly number[]) => raw.map(createUnwrapper());

test.for([
  { name: "wraps at 2^24", raw: [2 ** 24 - 40, 0, 40], out: [2 ** 24 - 40, 2 ** 24, 2 ** 24 + 40] },
  { name: "wraps at 2^31", raw: [2 ** 31 - 7, 26, 59], out: [2 ** 31 - 7, 2 ** 31 + 26, 2 ** 31 + 59] },
  { name: "wraps at 2^32", raw: [2 ** 32 - 16, 24, 64], out: [2 ** 32 - 16, 2 ** 32 + 24, 2 ** 32 + 64] },
  {
    name: "takes the track that lags behind a wrap for what it is",
    raw: [2 ** 24 - 10, 13, 2 ** 24 - 3, 46, 30, 79],
    out: [2 ** 24 - 10, 2 ** 24 + 13, 2 ** 24 - 3, 2 ** 24 + 46, 2 ** 24 + 30, 2 ** 24 + 79],
  },
  { name: "leaves small steps back alone", raw: [1000, 960, 1040, 1000], out: [1000, 960, 1040, 1000] },
  { name: "leaves a reset to zero alone", raw: [500_000, 0, 33], out: [500_000, 0, 33] },
  { name: "leaves jumps forward alone", raw: [0, 90_000_000, 90_000_033], out: [0, 90_000_000, 90_000_033] },
  {
    name: "passes 2^24 and 2^31 without a wrap",
    raw: [2 ** 24 - 1, 2 ** 24 + 32],
    out: [2 ** 24 - 1, 2 ** 24 + 32],
  },
  {
    name: "reads a start just below zero as just below a wrap",
    raw: [2 ** 32 - 40, 0, 40],
    out: [2 ** 32 - 40, 2 ** 32, 2 ** 32 + 40],
  },
])("$name", ({ raw, out }) => expect(unwrapAll(raw)).toEqual(out));

test("wraps again and again", () => {
  const unwrap = createUnwrapper();
  let last = -1;
  for (let ms = 0; ms < 3 * 2 ** 24; ms += 30_000) {
    const out = unwrap(ms % 2 ** 24);
    expect(out).toBe(ms);
    expect(out).toBeGreaterThan(last);
    last = out;
  }
});

test("gives two interleaved tracks one time across any wrap, whatever the start and steps", () => {
  const steps = fc.array(fc.record({ step: fc.nat(500), lag: fc.nat(900) }), {
    minLength: 1,
    maxLength: 300,
  });
  const modulus = fc.constantFrom(2 ** 24, 2 ** 31, 2 ** 32);
  fc.assert(
    fc.property(modulus, fc.nat(40_000), steps, (wrap, before, walk) => {
      const unwrap = createUnwrapper();
      let video = wrap - 1_000 - before;
      for (const { step, lag } of walk) {
        video += step;
        if (unwrap(video % wrap) !== video) return false;
        if (unwrap((video - lag) % wrap) !== video - lag) return false;
      }
      return true;
    }),
  );
});
