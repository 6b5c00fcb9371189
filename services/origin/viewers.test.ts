import { expect, test } from "vitest";
import type { Cmcd } from "../lib/cmcd.ts";
import { add, noSums, type Protocol, type Sums, stepMs } from "../live/tally.ts";
import { type Visitor, visitorOf } from "../live/visitor.ts";
import { Viewers } from "./viewers.ts";

const watched = { video: "v", input: "i" };
/** The beginning of five minutes. */
const start = Math.floor(1_763_846_400_000 / stepMs) * stepMs;
const at = (seconds: number): number => start + seconds * 1000;

/** Somebody behind an address, who may name himself. */
const who = (address: string, session?: string): Visitor =>
  visitorOf({ session, address, agent: "Browser/1" });

function asks(
  viewers: Viewers,
  visitor: Visitor,
  {
    from,
    to,
    every = 1,
    protocol = "hls",
    patience = 6,
  }: { from: number; to: number; every?: number; protocol?: Protocol; patience?: number },
): void {
  for (let s = from; s <= to; s += every)
    viewers.saw(watched, { visitor, protocol, patienceMs: patience * 1000 }, at(s));
}

function reports(viewers: Viewers, visitor: Visitor, second: number, cmcd: Cmcd): void {
  viewers.reported(watched, visitor, cmcd, at(second));
}

function counted(viewers: Viewers, second: number): Readonly<Record<Protocol, number>> {
  viewers.tick(at(second));
  return viewers.countBy(watched.video);
}
function count(viewers: Viewers, second: number): number {
  counted(viewers, second);
  return viewers.count(watched.video);
}

/** All that was watched so far. */
function sumsOf(viewers: Viewers, sums = noSums()): Sums {
  for (const one of viewers.take()) add(sums, one.sums, false);
  return sums;
}

test("without a name as many as places ask: over renditions, reconnects and protocols each is one", () => {
  const viewers = new Viewers();
  asks(viewers, who("10.0.0.1"), { from: 0, to: 10 });
  asks(viewers, who("10.0.0.1"), { from: 0, to: 10, every: 0.3 });
  asks(viewers, who("10.0.0.2"), { from: 0, to: 10, protocol: "dash", every: 2 });
  asks(viewers, visitorOf({ address: "10.0.0.1", agent: "Television" }), { from: 0, to: 10 });
  expect(counted(viewers, 10)).toEqual({ hls: 2, dash: 1, moq: 0 });
  const { watchedMs, views } = sumsOf(viewers);
  expect(watchedMs).toEqual({ hls: 20_000, dash: 10_000, moq: 0 });
  expect(viewers.takeWatched()).toEqual(watchedMs);
  expect(viewers.takeWatched()).toEqual({ hls: 0, dash: 0, moq: 0 });
  expect(views).toBe(3);
});

test("with names they are told apart behind one address, and stay who they are when it changes", () => {
  const viewers = new Viewers();
  for (const session of ["a", "b", "c"]) asks(viewers, who("10.0.0.1", session), { from: 0, to: 8 });
  asks(viewers, who("192.0.2.9", "c"), { from: 9, to: 12 });
  expect(count(viewers, 12)).toBe(3);
  expect(count(viewers, 15)).toBe(1);
});

test("who stops asking is gone in seconds, and who comes back within them was never away", () => {
  const viewers = new Viewers();
  asks(viewers, who("10.0.0.1"), { from: 0, to: 10 });
  expect(count(viewers, 15.9)).toBe(1);
  expect(count(viewers, 16)).toBe(0);
  asks(viewers, who("10.0.0.2"), { from: 0, to: 4 });
  asks(viewers, who("10.0.0.2"), { from: 9, to: 10 });
  // One that was away for a minute has not watched it.
  asks(viewers, who("10.0.0.1"), { from: 70, to: 80 });
  viewers.tick(at(80));
  const { watchedMs, views } = sumsOf(viewers);
  expect(watchedMs.hls).toBe(10_000 + 10_000 + 10_000);
  expect(views).toBe(2);
});

test("a look at the first picture is no view", () => {
  const viewers = new Viewers();
  asks(viewers, who("10.0.0.1"), { from: 0, to: 1 });
  expect(sumsOf(viewers)).toMatchObject({ views: 0, watchedMs: { hls: 1_000 } });
});

test("a player on another site reports and asks for media without its name: both are one viewer", () => {
  const viewers = new Viewers();
  reports(viewers, who("10.0.0.1", "a"), 0, { state: "s" });
  for (let s = 0; s <= 20; s += 5) {
    asks(viewers, who("10.0.0.1"), { from: s, to: s + 5 });
    reports(viewers, who("10.0.0.1", "a"), s + 1, { state: "p" });
  }
  expect(count(viewers, 25)).toBe(1);
  expect(sumsOf(viewers)).toMatchObject({ views: 1, watchedMs: { hls: 20_000 }, reportedMs: 20_000 });
  // Somebody with another program there is another one.
  asks(viewers, visitorOf({ address: "10.0.0.1", agent: "VLC" }), { from: 20, to: 25 });
  expect(count(viewers, 25)).toBe(2);
});

test("where the players of a place ask by name, one without a name is one more", () => {
  const viewers = new Viewers();
  asks(viewers, who("10.0.0.1", "a"), { from: 0, to: 10 });
  reports(viewers, who("10.0.0.1", "a"), 1, { state: "p" });
  asks(viewers, who("10.0.0.1"), { from: 0, to: 10 });
  expect(count(viewers, 10)).toBe(2);
});

test("behind a cache that answers everything, reports alone count", () => {
  const viewers = new Viewers();
  for (let s = 0; s <= 30; s += 5)
    reports(viewers, who("10.0.0.1", "a"), s, { state: "p", latencyMs: 2_000 });
  expect(count(viewers, 31)).toBe(1);
  reports(viewers, who("10.0.0.1", "a"), 32, { state: "q" });
  expect(count(viewers, 32)).toBe(0);
  expect(sumsOf(viewers).watchedMs.hls).toBe(32_000);
});

test("time in which nothing plays is not watched, and running dry is a stall for as long as it lasts", () => {
  const viewers = new Viewers();
  const a = who("10.0.0.1", "a");
  const states = [
    [0, "s"],
    [2, "p"],
    [10, "r"],
    [13, "r"],
    [14, "p"],
    [19, "a"],
    [24, "a"],
    [30, "p"],
    [35, "p"],
  ] as const;
  for (const [second, state] of states)
    reports(viewers, a, second, { state, startupMs: second === 2 ? 800 : undefined } as Cmcd);
  const sums = sumsOf(viewers);
  expect(sums.watchedMs.hls).toBe((8 + 5 + 5) * 1000);
  expect(sums).toMatchObject({ stalls: 1, stalledMs: 4_000, errors: 0 });
  expect(sums.means.startupSeconds).toEqual({ sum: 0.8, count: 1 });
  reports(viewers, a, 36, { state: "f" });
  expect(sumsOf(viewers).errors).toBe(1);
});

test("what others say with their requests is counted, of a player that reports it would be twice", () => {
  const viewers = new Viewers();
  const [a, b] = [who("10.0.0.1", "a"), who("10.0.0.2", "b")];
  for (const one of [a, b]) asks(viewers, one, { from: 0, to: 5 });
  reports(viewers, b, 5, { state: "p", throughputKbps: 9_000 });
  for (const one of [a, b])
    viewers.said(
      watched,
      one,
      { starved: true, throughputKbps: 5_000, bufferMs: 1_500, playbackRate: 1.05 },
      at(5),
    );
  const { stalls, means } = sumsOf(viewers);
  expect(stalls).toBe(1);
  expect(means).toEqual({
    throughputKbps: { sum: 14_000, count: 2 },
    bufferSeconds: { sum: 1.5, count: 1 },
    playbackRate: { sum: 1.05, count: 1 },
  });
});

test("over Media over QUIC a session is there until it ends; a player that falls back to HTTP stays one", () => {
  const viewers = new Viewers();
  const [a, b] = [who("10.0.0.1", "a"), who("10.0.0.2")];
  viewers.enter(watched, a, at(0));
  viewers.enter(watched, a, at(0));
  viewers.enter(watched, b, at(0));
  reports(viewers, a, 1, { state: "p" });
  for (let s = 1; s <= 40; s++) viewers.tick(at(s));
  expect(viewers.totals).toEqual({ hls: 0, dash: 0, moq: 2 });
  reports(viewers, a, 39, { state: "p" });
  viewers.leave(watched, a, at(40));
  expect(count(viewers, 40)).toBe(2);
  viewers.leave(watched, a, at(40));
  viewers.leave(watched, b, at(40));
  asks(viewers, a, { from: 40.5, to: 42 });
  viewers.tick(at(42));
  expect(viewers.totals).toEqual({ hls: 1, dash: 0, moq: 0 });
  expect(sumsOf(viewers)).toMatchObject({ views: 2, peak: 2, watchedMs: { moq: 80_000, hls: 1_500 } });
});

test("every five minutes have sums of their own, also over their border", () => {
  const viewers = new Viewers();
  asks(viewers, who("10.0.0.1"), { from: 290, to: 310 });
  const taken = viewers.take();
  expect(taken.map((one) => [one.at, one.sums.watchedMs.hls])).toEqual([
    [start, 9_000],
    [start + stepMs, 11_000],
  ]);
  expect(viewers.take()).toEqual([]);
  // What is not over comes again, with more.
  asks(viewers, who("10.0.0.1"), { from: 311, to: 312 });
  expect(viewers.take().map((one) => one.sums.watchedMs.hls)).toEqual([13_000]);
});

test("when everybody has left nothing is kept but what they watched", () => {
  const viewers = new Viewers();
  asks(viewers, who("10.0.0.1"), { from: 0, to: 5 });
  expect(counted(viewers, 90)).toEqual({ hls: 0, dash: 0, moq: 0 });
  expect(sumsOf(viewers).watchedMs.hls).toBe(5_000);
});

test("names that somebody makes up are one viewer from some number on", () => {
  const viewers = new Viewers();
  for (let i = 0; i < 3_000; i++) asks(viewers, who("10.0.0.1", `n${i}`), { from: 0, to: 0 });
  expect(count(viewers, 1)).toBe(2_001);
});

test("who says that he leaves is gone, though his session over QUIC has yet to time out", () => {
  const viewers = new Viewers();
  const a = who("10.0.0.1", "a");
  viewers.enter(watched, a, at(0));
  reports(viewers, a, 1, { state: "p" });
  reports(viewers, a, 5, { state: "q" });
  expect(count(viewers, 5)).toBe(0);
  viewers.leave(watched, a, at(35));
  expect(count(viewers, 35)).toBe(0);
  expect(sumsOf(viewers).watchedMs.moq).toBe(5_000);
});
