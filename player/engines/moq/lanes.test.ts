import { expect, test } from "vitest";
import type { MoqTrack } from "./catalog.ts";
import type { GroupEvents, MoqClient, TrackEvents } from "./client.ts";
import { Lanes } from "./lanes.ts";

const trackOf = (name: string): MoqTrack => ({
  ...{ name, role: "video", type: "", codec: "", bitsPerSecond: 0, width: 0, height: 0 },
  init: new Uint8Array(0),
});
const [large, small] = [trackOf("large"), trackOf("small")];

/** A session whose peer is the test. */
function sessionOf(name: string) {
  const subscribed = new Map<string, TrackEvents>();
  const asked: string[] = [];
  const client = {
    subscribe(track: string, { filter }: { filter?: { from: string } }, events: TrackEvents) {
      asked.push(`${track} from ${filter?.from}`);
      subscribed.set(track, events);
      return () => asked.push(`${track} ended`);
    },
  } as unknown as MoqClient;
  const send = (track: string, id: number): GroupEvents & { say(text: string): void } => {
    const group = subscribed.get(track)!.group(id);
    const object = (text: string) =>
      ({ payload: new TextEncoder().encode(text) }) as Parameters<GroupEvents["object"]>[0];
    return { ...group, say: (text) => group.object(object(`${name}${text} `)) };
  };
  return { client, asked, send, events: (track: string) => subscribed.get(track)! };
}

function lanes() {
  let given = "";
  const lost: string[] = [];
  let took = 0;
  const all = new Lanes({
    give: (track, bytes) => {
      given += `${track.name}:${new TextDecoder().decode(bytes)}`;
    },
    came: () => {},
    took: () => took++,
    lost: (_, reason) => lost.push(reason),
  });
  return { all, given: () => given.trim(), lost, took: () => took };
}

test("another session takes over at a group that neither has begun, and nothing is left out or comes twice", () => {
  const [a, b] = [sessionOf("a"), sessionOf("b")];
  const { all, given, took } = lanes();
  all.begin(a.client, large);
  const one = a.send("large", 1);
  one.say("1");
  all.takeOver(b.client, large);
  expect(b.asked).toEqual(["large from next group"]);
  // Both have group 2; the one that plays began it first.
  one.end();
  const two = a.send("large", 2);
  two.say("2");
  const twice = b.send("large", 2);
  twice.say("2");
  expect(took()).toBe(0);
  // From group 3 on it is the other, also where the old one is quicker.
  two.say("2");
  a.send("large", 3).say("3");
  const three = b.send("large", 3);
  three.say("3");
  expect(given()).toBe("large:a1 large:a2 large:a2");
  two.end();
  expect(given()).toBe("large:a1 large:a2 large:a2 large:b3");
  expect([took(), a.asked.at(-1), all.client]).toEqual([1, "large ended", b.client]);
});

test("another track takes over at its first group, if what plays has not begun that", () => {
  const a = sessionOf("a");
  const { all, given } = lanes();
  all.begin(a.client, large);
  const one = a.send("large", 1);
  one.say("1");
  all.takeOver(a.client, small);
  expect([all.track?.name, all.wanted?.name]).toEqual(["large", "small"]);
  a.send("small", 2).say("2");
  a.send("large", 2).say("2");
  one.end();
  expect(given()).toBe("large:a1 small:a2");
  expect(all.track?.name).toBe("small");
});

test("what was to take over and is refused changes nothing; what plays and ends is told", () => {
  const [a, b] = [sessionOf("a"), sessionOf("b")];
  const { all, given, lost } = lanes();
  all.begin(a.client, large);
  all.takeOver(a.client, small);
  a.events("small").refused(0, "there is no such track");
  const one = a.send("large", 1);
  one.say("1");
  expect([given(), lost]).toEqual(["large:a1", []]);
  // Over another session it is the last that can be had.
  all.takeOver(b.client, large);
  b.events("large").refused(0, "not for you");
  expect(lost).toEqual(["not for you"]);
  a.events("large").done(1);
  expect(lost).toEqual(["not for you", "large ended with 1"]);
});

test("begun anew, the current group comes once more from its first object", () => {
  const a = sessionOf("a");
  const { all, given } = lanes();
  all.begin(a.client, large);
  a.send("large", 7).say("7");
  all.begin(a.client, small);
  expect(a.asked).toEqual(["large from largest object", "large ended", "small from largest object"]);
  a.send("small", 7).say("7");
  expect(given()).toBe("large:a7 small:a7");
});
