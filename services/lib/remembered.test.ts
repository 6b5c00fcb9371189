import { expect, test } from "vitest";
import { remembered } from "./remembered.ts";

test("what was asked lately is not made again, and what was asked long ago is let go", () => {
  const made: string[] = [];
  const of = remembered(3, (text) => {
    made.push(text);
    return { text };
  });
  const first = of("a");
  expect(of("a")).toBe(first);
  for (const text of ["b", "c", "d"]) expect(of(text)).toEqual({ text });
  // Asked in time, it stays; what nobody asked goes.
  expect(of("a")).toBe(first);
  for (const text of ["e", "f", "g"]) of(text);
  expect(of("a")).toBe(first);
  expect(made.filter((text) => text === "a").length).toBe(1);
  of("b");
  expect(made.filter((text) => text === "b").length).toBe(2);
});
