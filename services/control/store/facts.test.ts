import { afterEach, beforeEach, expect, test } from "vitest";
import { onEachStore } from "../../../test/support/stores.ts";
import type { Fact, SentFact, WrongMedia } from "../../live/events.ts";
import { applyFacts, forgetEvents } from "./facts.ts";
import type { Records } from "./records.ts";

let records: Records;
let count: number;

const second = 1_000;
const start = (publish: string): Fact => ({ type: "publish.started", uid: "u", publish, peer: "p" });
const end = (
  publish: string,
  reason: "clean" | "lost" | "replaced" | "refused",
  wrong?: WrongMedia,
): Fact => ({ type: "publish.ended", uid: "u", publish, reason, wrong });
const onAir = (video: string): Fact => ({ type: "broadcast.started", uid: "u", video });
const offAir = (video: string): Fact => ({ type: "broadcast.ended", uid: "u", video });
const slow: Fact = { type: "gop.long", uid: "u", seconds: 8.3, advice: "set 2 s" };

const heavy: Fact = {
  type: "ladder.degraded",
  uid: "u",
  video: "v",
  rung: "720p",
  rungs: ["480p"],
  why: "0.8 of real time",
  advice: "more processor",
};

/** One event a second. */
const event = (fact: Fact): SentFact => ({ id: String(count), at: second * ++count, ...fact });
const apply = async (...facts: SentFact[]) =>
  (await records.write((tx) => applyFacts(tx, { node: "n" }, facts))).result.length;

const all = { limit: 10, oldestFirst: false };

onEachStore((store) => {
  beforeEach(async () => {
    records = await store.open();
    count = 0;
  });

  afterEach(async () => {
    await records.close();
    await store.renew();
  });

  test.for<{ name: string; facts: Fact[]; status: unknown }>([
    { name: "connected", facts: [start("1")], status: ["connected", "connected"] },
    {
      name: "ended cleanly",
      facts: [start("1"), end("1", "clean")],
      status: ["disconnected", "client_disconnect"],
    },
    { name: "lost", facts: [start("1"), end("1", "lost")], status: ["disconnected", "reconnecting"] },
    {
      name: "back in time",
      facts: [start("1"), end("1", "lost"), start("2")],
      status: ["connected", "reconnected"],
    },
    {
      name: "lost for good",
      facts: [start("1"), onAir("v"), end("1", "lost"), offAir("v")],
      status: ["disconnected", "ttl_exceeded"],
    },
    {
      name: "ended, then off air",
      facts: [start("1"), onAir("v"), end("1", "clean"), offAir("v")],
      status: ["disconnected", "client_disconnect"],
    },
    {
      name: "killed ingest, off air",
      facts: [start("1"), onAir("v"), offAir("v")],
      status: ["disconnected", "ttl_exceeded"],
    },
    {
      name: "taken over",
      facts: [start("1"), start("2"), end("1", "replaced")],
      status: ["connected", "connected"],
    },
    {
      name: "refused by the origin",
      facts: [start("1"), end("1", "refused")],
      status: ["disconnected", "failed_to_connect"],
    },
    { name: "end of an unknown publish", facts: [end("1", "clean")], status: undefined },
  ])("$name -> $status", async ({ facts, status }) => {
    await apply(...facts.map(event));
    const now = await records.status("u");
    expect(now && [now.state, now.reason]).toEqual(status);
  });

  test("the end of an earlier broadcast does not disconnect a later publish", async () => {
    const late = { ...event(offAir("v1")), at: 0 };
    await apply(event(onAir("v1")), event(start("2")), late);
    expect((await records.status("u"))?.state).toBe("connected");
  });

  test("a pause of the recording is advice until it goes on, and no other advice goes with it", async () => {
    const about = { uid: "u", video: "v", advice: "see to the disk" } as const;
    await apply(event(start("1")), event({ type: "recording.paused", why: "EROFS", ...about }));
    expect((await records.status("u"))?.advice).toBe("see to the disk");
    await apply(event({ type: "recording.resumed", ...about }));
    expect((await records.status("u"))?.advice).toBeNull();
    await apply(event(slow), event({ type: "recording.resumed", ...about }));
    expect((await records.status("u"))?.advice).toBe("set 2 s");
  });

  test("a gap that is told again, longer, is one gap; it goes with its recording", async () => {
    const gap = (to: number): Fact => ({
      ...{ type: "recording.gap", uid: "u", video: "v", rendition: "source", from: 4, to },
      ...{ atSeconds: 6.5, seconds: (to - 3) * 2 },
    });
    const recorded = { seconds: 20, bytes: 1 };
    await apply(event(onAir("v")), event(gap(4)), event(gap(5)), event({ ...offAir("v"), recorded } as Fact));
    expect(await records.gaps("v")).toMatchObject([
      { rendition: "source", first: 4, last: 5, at_seconds: 6.5, seconds: 4 },
    ]);
    await records.write(async (tx) => {
      await tx.doom("v");
      await tx.forget("v");
    });
    expect(await records.gaps("v")).toEqual([]);
  });

  test("what was mended about a recording is what is known of it, and its gaps are those of now", async () => {
    const gap = (rendition: string, from: number): Fact => ({
      ...{ type: "recording.gap", uid: "u", video: "v", rendition, from, to: from },
      ...{ atSeconds: from, seconds: 1 },
    });
    const recorded = { seconds: 20, bytes: 9 };
    await apply(event(onAir("v")), event(gap("source", 4)), event({ ...offAir("v"), recorded } as Fact));
    const mended: Fact = { type: "recording.mended", uid: "u", video: "v", seconds: 18, bytes: 7 };
    await apply(event(mended), event(gap("source", 9)), event(gap("audio", 2)));
    expect(await records.video("v")).toMatchObject({ recorded: 1, seconds: 18, bytes: 7 });
    const told = async () => (await records.gaps("v")).map(({ rendition, first }) => [rendition, first]);
    expect(await told()).toEqual([
      ["audio", 2],
      ["source", 9],
    ]);
    const found = { uid: "v", input: "u", startedMs: 0, endedMs: 1, seconds: 18, bytes: 7 };
    const restore = async (gaps: readonly { rendition: string; from: number }[]) => {
      const all = gaps.map((one) => ({ ...one, to: one.from, at: one.from, seconds: 1 }));
      return (await records.write((tx) => tx.restore({ ...found, gaps: all }))).result;
    };
    // As a command says them, all at once.
    const known = [
      { rendition: "source", from: 9 },
      { rendition: "audio", from: 2 },
    ];
    expect(await restore(known)).toBe(false);
    expect(await restore(known.slice(1))).toBe(true);
    expect(await told()).toEqual([["audio", 2]]);
  });

  test("what was wrong with the media of a refused publish is advice until the next one", async () => {
    const wrong = { code: "unsupported_video_codec", advice: "set the encoder to H.264" } as const;
    await apply(event(start("1")), event(end("1", "refused", wrong)));
    expect(await records.status("u")).toMatchObject({ reason: "failed_to_connect", advice: wrong.advice });
    await apply(event(start("2")));
    expect(await records.status("u")).toMatchObject({ advice: null });
    // Another publish was what it is about, long ago.
    await apply(event(end("1", "refused", wrong)));
    expect(await records.status("u")).toMatchObject({ state: "connected", advice: null });
  });

  test("what the disk has taken after the end of a broadcast counts", async () => {
    const recorded = { seconds: 20, bytes: 1 };
    await apply(
      event(onAir("v")),
      event({ ...offAir("v"), recorded } as Fact),
      event({ type: "recording.settled", uid: "u", video: "v", seconds: 22, bytes: 3 }),
    );
    expect(await records.video("v")).toMatchObject({ recorded: 1, seconds: 22, bytes: 3, state: "ready" });
  });

  test("advice stays until the next publish", async () => {
    await apply(event(start("1")), event(slow));
    expect((await records.status("u"))?.advice).toBe("set 2 s");
    await apply(event(heavy));
    expect((await records.status("u"))?.advice).toBe("more processor");
    await apply(event(end("1", "clean")));
    expect((await records.status("u"))?.advice).toBe("more processor");
    await apply(event(start("2")));
    expect((await records.status("u"))?.advice).toBeNull();
  });

  test("an event takes effect once, however often it comes; another node's with the same id is another", async () => {
    const first = event(start("1"));
    const ended = event(end("1", "clean"));
    expect(await apply(first, ended)).toBe(2);
    expect(await apply(first)).toBe(0);
    expect(await apply(first, ended, event(slow))).toBe(1);
    expect((await records.status("u"))?.state).toBe("disconnected");
    const { result } = await records.write((tx) => applyFacts(tx, { node: "other" }, [first]));
    expect(result).toEqual([first]);
  });

  test("events are forgotten by the time they came, not by the time they happened", async () => {
    const first = event(start("1"));
    await apply(first);
    await records.write((tx) => forgetEvents(tx, 1));
    expect(await apply(first)).toBe(0);
    await records.write((tx) => forgetEvents(tx, -1));
    expect(await apply(first)).toBe(1);
  });

  test("a video is listed while it is on air; without a recording it ends with its broadcast", async () => {
    await apply(event(onAir("v1")));
    expect(await records.videos(all)).toMatchObject([{ uid: "v1", state: "live-inprogress", ended: null }]);
    expect(await records.video("v1")).toMatchObject({ live_input: "u" });
    await apply(event(offAir("v1")));
    expect(await records.videos(all)).toEqual([]);
    expect(await records.video("v1")).toBeUndefined();
  });

  test("a broadcast that begins ends the one whose end was never told", async () => {
    await apply(event(onAir("v1")), event(onAir("v2")));
    const videos = await records.videos({ ...all, liveInput: "u" });
    expect(videos.map((video) => video.uid)).toEqual(["v2"]);
    const count = async (liveInput: string) => (await records.videoTotals({ liveInput })).count;
    expect([await count("u"), await count("other")]).toEqual([1, 0]);
  });
});
