import { expect, test } from "vitest";
import { Capacity, headroom } from "./capacity.ts";

test.for([
  { name: "an idle machine", load: { cores: 2, idle: 2, perLadder: 0.3, young: 0 }, room: 6 },
  { name: "one that works", load: { cores: 2, idle: 0.9, perLadder: 0.35, young: 0 }, room: 2 },
  { name: "one whose ladders are heavy", load: { cores: 8, idle: 3, perLadder: 2.2, young: 0 }, room: 1 },
  { name: "one that has just taken two", load: { cores: 4, idle: 4, perLadder: 0.9, young: 2 }, room: 2 },
  { name: "one that is busy otherwise", load: { cores: 4, idle: 0.3, perLadder: 0.3, young: 0 }, room: -1 },
])("$name has room for $room", ({ load, room }) => {
  expect(Math.floor(headroom(load))).toBe(room);
});

test("a machine with a late ladder, or that had to give up a rung, has no room at all", async () => {
  const capacity = new Capacity(() => undefined);
  const late = { pid: undefined, lagMs: 900 };
  const gone = capacity.watch(late);
  expect(capacity.headroom).toBe(0);
  expect(capacity.lagMs).toBe(900);
  gone();
  expect(capacity.headroom).toBeGreaterThan(0);
  capacity.exhausted();
  expect(capacity.headroom).toBe(0);
  await capacity.close();
});

test("what a ladder takes is measured from the processor time of its encoder", async () => {
  const looks = Promise.withResolvers<void>();
  const capacity = new Capacity(() => looks.resolve());
  const before = capacity.perLadder;
  capacity.watch({ pid: process.pid, lagMs: 0 });
  await looks.promise;
  // Its first seconds do not count.
  expect(capacity.perLadder).toBe(before);
  expect(capacity.idle).toBeGreaterThanOrEqual(0);
  await capacity.close();
});
