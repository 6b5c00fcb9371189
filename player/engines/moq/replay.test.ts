import { expect, test } from "vitest";
import type { MoqTrack } from "./catalog.ts";
import type { FetchEvents, MoqClient } from "./client.ts";
import { groupAt, merged, Replay, type Row } from "./replay.ts";

const row = (second: number): Row => [second * 1000, [100 + second, 0], 5_000 + second * 1000];
const bytesOf = (rows: readonly Row[]) => new TextEncoder().encode(JSON.stringify(rows));

test("rows that come are added, and a list that begins the track anew takes the place of what was known", () => {
  const known = merged([], bytesOf([row(0), row(1)]), true);
  expect(merged(known, bytesOf([row(2)]), false)).toEqual([row(0), row(1), row(2)]);
  expect(merged(known, bytesOf([row(1), row(2)]), false)).toEqual([row(0), row(1), row(2)]);
  expect(merged(known, bytesOf([row(1), row(2)]), true)).toEqual([row(1), row(2)]);
});

test.for([
  { at: -5, group: 100 },
  { at: 0.9, group: 100 },
  { at: 1, group: 101 },
  { at: 99, group: 102 },
])("$at s lies in group $group", ({ at, group }) => {
  expect(groupAt([row(0), row(1), row(2)], at)).toBe(group);
});

test("nothing lies in a past without rows", () => {
  expect(groupAt([], 1)).toBeUndefined();
});

/** A replay of two tracks whose buffers hold what the test says, beside what it asked for. */
function replayOf(rows: Row[], at: number) {
  const asked: { name: string; group: number; events: FetchEvents; cancelled: boolean }[] = [];
  const clientOf = (): MoqClient => {
    const fetch: MoqClient["fetch"] = (name, group, events) => {
      const one = { name, group, events, cancelled: false };
      asked.push(one);
      return () => {
        one.cancelled = true;
      };
    };
    return { fetch } as MoqClient;
  };
  const given: string[] = [];
  let until = 0;
  const feed = {
    busy: false,
    get buffered() {
      return { length: 1, start: () => 0, end: () => until } as TimeRanges;
    },
    append: (track: MoqTrack, bytes: Uint8Array) => void given.push(`${track.name} ${bytes[0]}`),
  };
  const tracks = ["video", "audio"].map((name) => ({ name }) as MoqTrack);
  const replay = new Replay({
    ...{ client: clientOf(), past: { rows }, at, tracks: () => tracks, feeds: [feed] },
    ...{ feedOf: () => feed, came: () => {} },
  });
  const answer = (payload?: number) => {
    const one = asked.find(({ events, cancelled }) => !cancelled && !answered.has(events))!;
    answered.add(one.events);
    if (payload !== undefined) one.events.object(Uint8Array.of(payload));
    one.events.end(true);
  };
  const answered = new Set<FetchEvents>();
  const buffer = (to: number) => {
    until = to;
  };
  return { replay, asked, given, answer, buffer, clientOf, feed };
}

test("groups are fetched one after the other on every track, no further ahead than is of use", () => {
  const { replay, asked, given, answer, buffer } = replayOf([row(0), row(1), row(2)], 1.5);
  expect(replay.look(1.5)).toBe("going");
  expect(asked.map(({ name, group }) => [name, group])).toEqual([
    ["video", 101],
    ["audio", 101],
  ]);
  answer(7);
  replay.look(1.5);
  expect(asked).toHaveLength(2);
  answer(8);
  buffer(100);
  expect(replay.look(1.5)).toBe("going");
  expect(asked).toHaveLength(2);
  buffer(2);
  expect(replay.look(1.5)).toBe("going");
  expect(asked.slice(2).map(({ group }) => group)).toEqual([102, 102]);
  answer(9);
  answer(9);
  expect(replay.look(1.5)).toBe("through");
  expect(given).toEqual(["video 7", "audio 8", "video 9", "audio 9"]);
});

test("what begins live is not fetched, what was made before that is", () => {
  const rows = [row(0), row(1), row(2)];
  const { replay, asked, answer } = replayOf(rows, 1);
  replay.look(1, 102);
  answer(1);
  answer(1);
  expect(replay.look(1, 102)).toBe("through");
  rows.push(row(3));
  expect(replay.look(1, 103)).toBe("going");
  expect(asked.at(-1)!.group).toBe(102);
});

test("numbers are found again when the oldest rows have left", () => {
  const rows = [row(0), row(1), row(2), row(3)];
  const { replay, asked, answer } = replayOf(rows, 1);
  replay.look(1);
  answer(1);
  answer(1);
  rows.splice(0, 2);
  replay.look(1);
  expect(asked.at(-1)!.group).toBe(102);
});

test("a group of which a track has nothing is said to be lacking", () => {
  const { replay, answer } = replayOf([row(0), row(1)], 0);
  replay.look(0);
  answer(1);
  answer();
  expect(replay.look(0)).toBe("lacking");
});

test("another session fetches what was under way", () => {
  const { replay, asked, answer, clientOf } = replayOf([row(0), row(1)], 0);
  replay.look(0);
  answer(1);
  replay.move(clientOf());
  expect(asked.map(({ name, group, cancelled }) => [name, group, cancelled])).toEqual([
    ["video", 100, false],
    ["audio", 100, true],
    ["audio", 100, false],
  ]);
});
