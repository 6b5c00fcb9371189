import { expect, test } from "vitest";
import { Guesses } from "./guesses.ts";

const second = 1_000;

test("five guesses at once, then one every half minute", () => {
  const guesses = new Guesses();
  for (let guess = 0; guess < 5; guess++) expect(guesses.take("198.51.100.7", 0)).toBe(0);
  expect(guesses.take("198.51.100.7", 0)).toBe(30);
  expect(guesses.take("198.51.100.7", 10 * second)).toBe(20);
  expect(guesses.take("198.51.100.7", 30 * second)).toBe(0);
  expect(guesses.take("198.51.100.7", 30 * second)).toBe(30);
});

test("another address has guesses of its own, another of the same network of IPv6 has not", () => {
  const guesses = new Guesses();
  for (let guess = 0; guess < 5; guess++) guesses.take("2001:db8::1", 0);
  expect(guesses.take("2001:db8:0:0:ffff::2", 0)).toBe(30);
  expect(guesses.take("2001:DB8:0000::3", 0)).toBe(30);
  expect(guesses.take("2001:db8:0:1::1", 0)).toBe(0);
  expect(guesses.take("::1", 0)).toBe(0);
  expect(guesses.take("::ffff:198.51.100.7", 0)).toBe(0);
});

test("who knows the password is not counted", () => {
  const guesses = new Guesses();
  for (let login = 0; login < 200; login++) {
    expect(guesses.take("198.51.100.7", 0)).toBe(0);
    guesses.forgive("198.51.100.7");
  }
});

test("a thousand addresses together are slow too, and cannot make it remember without end", () => {
  const guesses = new Guesses();
  let tried = 0;
  for (let address = 0; address < 1_000; address++)
    if (guesses.take(`198.51.${address >> 8}.${address & 255}`, 0) === 0) tried++;
  expect(tried).toBe(40);
  expect(guesses.take("203.0.113.9", 0)).toBe(3);
  expect(guesses.take("203.0.113.9", 3 * second)).toBe(0);
});
