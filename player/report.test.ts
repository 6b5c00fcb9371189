import { expect, test } from "vitest";
import { parseCmcd } from "../services/lib/cmcd.ts";
import { type Figures, playStateOf, reportOf } from "./report.ts";

const figures: Figures = {
  ...{ bufferSeconds: 1.234, playbackRate: 1.05, startupMs: 640.4 },
  engine: {
    ...{ name: "LL-HLS (hls.js 1.7.4)", latency: 1.5, clockLatency: 1.8123 },
    ...{ rendition: { bitsPerSecond: 2_400_000 }, throughput: 18_000_400 },
  },
};

test("a report says what the server reads of it", () => {
  const line = reportOf("ab12", { event: "ps", state: "p", atMs: 1_763_846_400_000 }, figures);
  expect(line).toBe(
    'bl=1234,br=2400,e=ps,ltc=1812,msd=640,mtp=18000,pr=1.05,sf=h,sid="ab12",sta=p,ts=1763846400000,v=2',
  );
  expect(parseCmcd(line)).toEqual({
    ...{ bufferMs: 1234, bitrateKbps: 2400, event: "ps", latencyMs: 1812, startupMs: 640 },
    ...{ throughputKbps: 18000, playbackRate: 1.05, format: "hls", session: "ab12", state: "p" },
    atMs: 1_763_846_400_000,
  });
});

test("what is not known is not said", () => {
  const line = reportOf(
    "a",
    { event: "t", state: "s", atMs: 1 },
    { bufferSeconds: 0, playbackRate: 1, engine: undefined },
  );
  expect(line).toBe('bl=0,e=t,pr=1,sf=o,sid="a",sta=s,ts=1,v=2');
});

test("who waits for a broadcast watches nothing", () => {
  expect((["connecting", "waiting", "ready"] as const).map(playStateOf)).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect((["starting", "playing", "buffering", "reconnecting", "ended"] as const).map(playStateOf)).toEqual([
    ..."sprwe",
  ]);
});
