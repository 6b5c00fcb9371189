import { expect, test } from "vitest";
import { InOrder } from "./order.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function ordered() {
  let given = "";
  let now = 0;
  const all = new InOrder(() => now);
  const order = {
    begin: (id: number) =>
      all.begin(id, (one) => {
        given += new TextDecoder().decode(one);
      }),
    check: () => all.check(),
  };
  return {
    order,
    given: () => given,
    pass: (ms: number) => {
      now += ms;
      order.check();
    },
  };
}

test("objects of a group are given as they come", () => {
  const { order, given } = ordered();
  const one = order.begin(1);
  one.object(bytes("a"));
  expect(given()).toBe("a");
  one.object(bytes("b"));
  expect(given()).toBe("ab");
});

test("a later group waits for the end of the one before it", () => {
  const { order, given } = ordered();
  const one = order.begin(1);
  const two = order.begin(2);
  two.object(bytes("c"));
  one.object(bytes("a"));
  one.object(bytes("b"));
  expect(given()).toBe("ab");
  one.end();
  expect(given()).toBe("abc");
});

test("it does not wait for ever", () => {
  const { order, given, pass } = ordered();
  const one = order.begin(1);
  order.begin(2).object(bytes("b"));
  pass(200);
  expect(given()).toBe("");
  pass(200);
  expect(given()).toBe("b");
  one.object(bytes("a"));
  expect(given()).toBe("b");
});

test("a group that comes after its successor was given is left out", () => {
  const { order, given } = ordered();
  const two = order.begin(2);
  two.object(bytes("b"));
  two.end();
  const one = order.begin(1);
  one.object(bytes("a"));
  one.end();
  order.begin(3).object(bytes("c"));
  expect(given()).toBe("bc");
});
