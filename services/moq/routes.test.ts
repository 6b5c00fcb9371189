import { describe, expect, test } from "vitest";
import { type RelayRecord, readRecord, routesFrom, winnerOf } from "./routes.ts";

const record = (node: string, costs: Record<string, number> = {}, epoch?: number): RelayRecord => ({
  node,
  costs,
  namespaces: epoch === undefined ? [] : [{ namespace: ["live"], epoch }],
});
const map = (...records: RelayRecord[]) => new Map(records.map((one) => [one.node, one]));
const nothing = () => false;

describe("the way to a relay", () => {
  test.for([
    { name: "is direct where nobody said otherwise", costs: { a: {}, b: {} }, next: "c", distance: 100 },
    {
      name: "goes over the cheaper hops",
      costs: { a: { b: 1, c: 50 }, b: { c: 2 } },
      next: "b",
      distance: 3,
    },
    {
      name: "is direct where a detour costs as much",
      costs: { a: { b: 1, c: 3 }, b: { c: 2 } },
      next: "c",
      distance: 3,
    },
  ])("$name", ({ costs, next, distance }) => {
    const routes = routesFrom(record("a", costs.a), map(record("b", costs.b), record("c")), nothing);
    expect(routes.get("c")).toEqual({ next, distance });
  });

  test("avoids hops that do not work, and there is none where all are closed", () => {
    const others = map(record("b", { c: 1 }), record("c"));
    const self = record("a", { b: 1 });
    expect(routesFrom(self, others, (_from, to) => to === "b").get("c")?.next).toBe("c");
    expect(routesFrom(self, others, (from) => from === "a").size).toBe(0);
  });

  test("gets shorter with each hop, whatever the costs", () => {
    let seed = 7;
    const random = () => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return seed / 2 ** 31;
    };
    for (let round = 0; round < 50; round++) {
      const names = ["a", "b", "c", "d", "e", "f"];
      const all = map(
        ...names.map((node) =>
          record(node, Object.fromEntries(names.map((to) => [to, 1 + Math.floor(random() * 50)]))),
        ),
      );
      const routes = new Map(names.map((node) => [node, routesFrom(all.get(node)!, all, nothing)]));
      for (const from of names)
        for (const to of names) {
          const route = routes.get(from)!.get(to);
          if (!route || route.next === to) continue;
          expect(routes.get(route.next)!.get(to)!.distance).toBeLessThan(route.distance);
        }
    }
  });
});

test("of two publishers the one of the higher epoch is meant, and for equal ones all relays mean the same", () => {
  const key = "4:live";
  expect(winnerOf(key, [record("a", {}, 5), record("b", {}, 7)])).toEqual({ node: "b", epoch: 7 });
  expect(winnerOf(key, [record("a", {}, 7), record("b", {}, 7)])?.node).toBe("b");
  expect(winnerOf(key, [record("b", {}, 7), record("a", {}, 7)])?.node).toBe("b");
  expect(winnerOf(key, [record("a")])).toBeUndefined();
});

test.for([
  ["not JSON", "{"],
  ["nothing", "null"],
  ["a free hop", JSON.stringify(record("a", { b: 0 }))],
  ["a hop for less than nothing", JSON.stringify(record("a", { b: -1 }))],
  [
    "an epoch that is no number",
    JSON.stringify({ ...record("a"), namespaces: [{ namespace: ["x"], epoch: "1" }] }),
  ],
  [
    "a namespace that is text",
    JSON.stringify({ ...record("a"), namespaces: [{ namespace: "x", epoch: 1 }] }),
  ],
])("a record that says %s is no record", ([, text]) => expect(readRecord(text!)).toBeUndefined());

test("a record is read as it was written", () => {
  const one = record("a:1", { "b:2": 3 }, 9);
  expect(readRecord(JSON.stringify(one))).toEqual(one);
});
