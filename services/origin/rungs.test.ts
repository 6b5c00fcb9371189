import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { publish } from "../../test/support/simulate.ts";
import { Broadcast } from "../live/broadcast.ts";
import type { Rung } from "../live/ladder.ts";
import { noTape } from "../live/tape.ts";
import { flvHeader } from "../packager/flv.ts";
import { profiles } from "../packager/profiles.ts";
import { RungGate } from "./rungs.ts";

const rung: Rung = {
  ...{ name: "90p", width: 160, height: 90, frameRate: 30, maxFrameRate: undefined },
  ...{ codec: "h264", codecs: "avc1.64000c", videoKbps: 100 },
  bandwidth: { peak: 150_000, average: 105_000 },
};

/** A broadcast on air that wants one rung. */
function onAir(): Broadcast {
  const broadcast = new Broadcast({
    ...{ input: "0".repeat(32), video: "1".repeat(32), profile: profiles.low, tape: noTape },
    plan: () => [rung],
    changed: () => undefined,
  });
  broadcast.begin(0, 0);
  for (const { atMs, tag } of publish({ gop: 1, seconds: 4 })) broadcast.push(tag, atMs);
  expect(broadcast.rungs).toEqual([rung]);
  return broadcast;
}

test("a worker that is silent for two and a half seconds loses its rungs, one that says a word does not", async () => {
  const gate = new RungGate(() => undefined);
  const body = new PassThrough();
  gate.grant(1, "one");
  const taken = gate.take(body as unknown as IncomingMessage, onAir(), "90p", 1);
  const looks = (count: number) => Array.from({ length: count }, () => gate.look());
  expect([gate.busy, looks(25).includes(true)]).toEqual([true, false]);
  const heard = once(body, "data");
  body.write(flvHeader());
  await heard;
  expect(looks(25).includes(true)).toBe(false);
  expect(looks(1)).toEqual([true]);
  gate.revoke();
  expect([gate.busy, gate.nextMs]).toEqual([false, 0]);
  await expect(taken).rejects.toThrow("Another worker encodes this broadcast now");
  // Nobody writes, so nobody is silent.
  expect(looks(50).includes(true)).toBe(false);
});

test("a writer is granted the rungs again while nobody else has been since, and never after", () => {
  const gate = new RungGate(() => undefined);
  gate.grant(1, "one");
  expect(gate.mayHave("one")).toBe(true);
  gate.grant(2, "one");
  gate.revoke();
  expect(["one", "two"].map((writer) => gate.mayHave(writer))).toEqual([true, true]);
  gate.grant(3, "two");
  expect(["one", "two", "three"].map((writer) => gate.mayHave(writer))).toEqual([false, true, true]);
  gate.grant(4, "three");
  expect(["one", "two", "three"].map((writer) => gate.mayHave(writer))).toEqual([false, false, true]);
});
