import { expect, test, vi } from "vitest";
import { hashPassword, passwordIs, weakness } from "./password.ts";

// argon2id takes its time, more of it on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

test("a password is known by its hash alone, in whichever form its letters were typed", async () => {
  const hash = await hashPassword("caf\u00e9 at midnight");
  expect(hash).toMatch(/^\$argon2id\$v=19\$m=65536,t=3,p=4\$[\w+/]{22}\$[\w+/]{43}$/);
  expect(await passwordIs("caf\u00e9 at midnight", hash)).toBe(true);
  expect(await passwordIs("cafe\u0301 at midnight", hash)).toBe(true);
  expect(await passwordIs("cafe at midnight", hash)).toBe(false);
  expect(await passwordIs("", hash)).toBe(false);
  expect(await hashPassword("caf\u00e9 at midnight")).not.toBe(hash);
});

test("a hash of another program is read with its own cost", async () => {
  // From the tests of the reference implementation.
  const other = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
  expect(await passwordIs("password", other)).toBe(true);
  expect(await passwordIs("passwort", other)).toBe(false);
});

test.for([
  { name: "no hash", hash: undefined },
  { name: "a hash that is none", hash: "password one" },
  { name: "an empty one", hash: "" },
])("with $name nothing is the password, not even nothing", async ({ hash }) => {
  expect(await passwordIs("password one", hash)).toBe(false);
  expect(await passwordIs("", hash)).toBe(false);
});

test.for([
  { password: "short", says: /at least 10 characters/ },
  { password: "aaaaaaaaaaaaaa", says: /again and again/ },
  { password: "é".repeat(200), says: /at most 256 bytes/ },
  { password: "correct horse", says: undefined },
])("$password", ({ password, says }) => {
  if (says) expect(weakness(password)).toMatch(says);
  else expect(weakness(password)).toBeUndefined();
});
