import { expect, test } from "vitest";
import { createDoorman } from "./doorman.ts";

test("a full house lets nobody in until somebody leaves", () => {
  const doorman = createDoorman({ connections: 2, perAddress: 2 });
  const leave = doorman.enter("a");
  expect(doorman.enter("b")).toBeTypeOf("function");
  expect(doorman.enter("c")).toBeUndefined();
  leave?.();
  leave?.();
  expect(doorman.count).toBe(1);
  expect(doorman.enter("c")).toBeTypeOf("function");
});

test("one address cannot take every place", () => {
  const doorman = createDoorman({ connections: 10, perAddress: 2 });
  const leave = doorman.enter("a");
  doorman.enter("a");
  expect(doorman.enter("a")).toBeUndefined();
  expect(doorman.enter("b")).toBeTypeOf("function");
  leave?.();
  expect(doorman.enter("a")).toBeTypeOf("function");
});

test("one subscriber of IPv6 has many addresses and the places of one", () => {
  const doorman = createDoorman({ connections: 10, perAddress: 2 });
  doorman.enter("2001:db8::1");
  const leave = doorman.enter("2001:db8::2");
  expect(doorman.enter("2001:db8::3")).toBeUndefined();
  expect(doorman.enter("2001:db8:0:1::1")).toBeTypeOf("function");
  leave?.();
  expect(doorman.enter("2001:db8::3")).toBeTypeOf("function");
});
