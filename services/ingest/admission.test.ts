import { expect, test } from "vitest";
import { accountOf, createGuesses } from "./admission.ts";

test.for([
  ["192.0.2.7", "192.0.2.7"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
  ["2001:db8::9", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
])("%s counts for %s", ([address, account]) => expect(accountOf(address!)).toBe(account));

test("wrong keys cost more each time, up to a limit, and are forgotten after a minute", () => {
  const guesses = createGuesses();
  const delays: number[] = [];
  for (let i = 0; i < 8; i++) {
    delays.push(guesses.delayMs("a", i * 1000));
    guesses.failed("a", i * 1000);
  }
  expect(delays).toEqual([0, 250, 500, 1000, 2000, 4000, 5000, 5000]);
  expect(guesses.delayMs("b", 8_000)).toBe(0);
  expect(guesses.delayMs("a", 7_000 + 60_000)).toBe(0);
});

test("a flood of addresses does not grow the table", () => {
  const guesses = createGuesses();
  for (let i = 0; i < 10_000; i++) guesses.failed(`10.0.${i >> 8}.${i & 255}`, i);
  expect(guesses.delayMs("10.0.0.1", 10_000)).toBe(0);
  expect(guesses.delayMs("10.0.39.15", 10_000)).toBe(250);
});
