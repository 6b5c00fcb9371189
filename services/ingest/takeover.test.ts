import { expect, test } from "vitest";
import { takeover } from "./takeover.ts";

const now = 1_000_000;
const ago = (...seconds: number[]) => seconds.map((s) => now - s * 1000);

test.for([
  { name: "first newcomer, current live", silent: 0.02, taken: [], stays: "newcomer", history: ago(0) },
  {
    name: "third newcomer, current live",
    silent: 0.02,
    taken: ago(8, 4),
    stays: "newcomer",
    history: ago(8, 4, 0),
  },
  { name: "fourth newcomer within 30 s, current live", silent: 0.02, taken: ago(12, 8, 4), stays: "current" },
  {
    name: "fourth newcomer, current silent",
    silent: 1.2,
    taken: ago(12, 8, 4),
    stays: "newcomer",
    history: ago(12, 8, 4),
  },
  {
    name: "newcomer after a while",
    silent: 0.02,
    taken: ago(31, 30, 29),
    stays: "newcomer",
    history: ago(29, 0),
  },
  { name: "current has only just begun", silent: 0, taken: [], stays: "newcomer", history: ago(0) },
])("$name -> $stays stays", ({ silent, taken, stays, history }) => {
  const outcome = takeover({ nowMs: now, lastMediaMs: now - silent * 1000, takenMs: taken });
  expect(outcome.stays).toBe(stays);
  if (outcome.stays === "newcomer") expect(outcome.takenMs).toEqual(history);
  else expect(outcome.message).toMatch(/^[\x20-\x7e]+\.$/);
});

test("two encoders that reconnect every 2 s end with one of them on air", () => {
  let takenMs: readonly number[] = [];
  const outcomes: string[] = [];
  for (let i = 0; i < 10; i++) {
    const nowMs = now + i * 2_000;
    const outcome = takeover({ nowMs, lastMediaMs: nowMs - 10, takenMs });
    if (outcome.stays === "newcomer") takenMs = outcome.takenMs;
    outcomes.push(outcome.stays);
  }
  expect(outcomes).toEqual([...Array(3).fill("newcomer"), ...Array(7).fill("current")]);
});
