import { expect, test } from "vitest";
import { popOn, withCaptions } from "../../test/support/captions.ts";
import { type Arrival, avcC, publish, type Source } from "../../test/support/simulate.ts";
import { writeScript } from "../packager/flv.ts";
import type { Output } from "../packager/outlet.ts";
import { profiles } from "../packager/profiles.ts";
import { Broadcast, type BroadcastOptions } from "./broadcast.ts";
import type { Source as Planned, Rung } from "./ladder.ts";
import { noTape, type Restored, type Tape } from "./tape.ts";

const startMs = Date.UTC(2026, 0, 1);
const rung = (name: string): Rung => ({
  name,
  width: 160,
  height: 90,
  frameRate: 30,
  maxFrameRate: undefined,
  codec: "h264",
  codecs: "avc1.64000c",
  videoKbps: 100,
  bandwidth: { peak: 150_000, average: 105_000 },
});

/** A broadcast that plays a source up to a second, with a ladder of 90p, and 180p where its size is wanted again. */
function air(
  source: Partial<Source>,
  options: Partial<BroadcastOptions> & { readonly head?: readonly Arrival[] } = {},
) {
  const plans: Planned[] = [];
  const broadcast = new Broadcast({
    input: "0".repeat(32),
    video: "1".repeat(32),
    profile: profiles.low,
    tape: noTape,
    plan: (planned) => {
      plans.push(planned);
      return planned.sparse ? [rung("180p"), rung("90p")] : [rung("90p")];
    },
    changed: () => undefined,
    ...options,
  });
  broadcast.begin(startMs, 0);
  const { head = [] } = options;
  const arrivals = [...head, ...publish({ gop: 2, seconds: 60, ...source })];
  let next = 0;
  let clock = 0;
  const play = (second: number) => {
    for (; next < arrivals.length && arrivals[next]!.atMs <= second * 1000; next++) {
      const { atMs, tag } = arrivals[next]!;
      broadcast.push(tag, startMs + atMs);
    }
    for (; clock + 100 <= second * 1000; clock += 100) broadcast.clock(startMs + clock + 100);
  };
  const encode = (name: string, ms: number, key: boolean) => {
    const frame = Uint8Array.of(key ? 0x17 : 0x27, 1, 0, 0, 0, 0, 0, 0, 2, key ? 0x65 : 0x41, 0x80);
    broadcast.pushRung(name, {
      type: "video",
      timestampMs: 0,
      payload: Uint8Array.of(0x17, 0, 0, 0, 0, ...avcC),
    });
    broadcast.pushRung(name, { type: "video", timestampMs: ms, payload: frame });
  };
  return { broadcast, plans, play, encode };
}

const metadata = (value: Record<string, string | number>): Arrival => ({
  atMs: 0,
  tag: { type: "script", timestampMs: 0, payload: writeScript("onMetaData", value) },
});

test("the ladder is planned once, with the bitrate that the encoder states, before the first list", () => {
  const head = [metadata({ videocodecid: 7, framerate: 30, videodatarate: 800 })];
  const { broadcast, plans, play } = air({}, { head });
  play(8);
  expect(plans).toMatchObject([{ kbps: 800, width: 320, sparse: false }]);
  expect([broadcast.revision, broadcast.listed]).toEqual([1, true]);
});

test("a bitrate that is not stated is measured, and nothing is listed before", () => {
  const { broadcast, plans, play } = air({});
  play(0.45);
  expect([plans, broadcast.rungs, broadcast.listed]).toEqual([[], [], false]);
  play(8);
  expect(plans.map(({ kbps }) => kbps)).toEqual([expect.any(Number)]);
  expect(broadcast.listed).toBe(true);
  const again = air({});
  again.play(8);
  expect(again.plans).toEqual(plans);
});

test("keyframes that stay away make a rung stand for the source, from the moment it gives a picture", () => {
  const { broadcast, plans, play, encode } = air({ gop: 8.3 });
  play(2);
  expect([broadcast.rungs.map(({ name }) => name), broadcast.offersSource]).toEqual([["90p"], true]);
  play(3);
  expect(plans.map(({ sparse }) => sparse)).toEqual([false, true]);
  expect([broadcast.rungs.map(({ name }) => name), broadcast.revision, broadcast.habit]).toEqual([
    ["180p", "90p"],
    2,
    true,
  ]);
  expect(broadcast.gopAdvice).toMatch(
    /^Keyframes are more than 2.5 s apart, so the picture is encoded again as 180p/,
  );
  play(6);
  expect(broadcast.offersSource).toBe(true);
  for (let ms = 4_100; ms < 6_000; ms += 33) encode("180p", ms, ms === 4_100);
  expect(broadcast.offersSource).toBe(false);
  play(9);
  expect(broadcast.gopAdvice).toMatch(/^Keyframes are 8.3 s apart/);
});

test("an input with that habit waits for the rung with its first list, but not for ever", () => {
  const { broadcast, play } = air({ gop: 8.3 }, { sparse: true });
  play(3);
  expect([broadcast.rungs[0]!.name, broadcast.listed]).toEqual(["180p", false]);
  play(6);
  expect([broadcast.offersSource, broadcast.listed]).toEqual([true, true]);
});

test("OBS says in its first frame how far its keyframes will be apart, and is believed more than the habit", () => {
  const letter = "x264 - core 164 - options: cabac=1 keyint=60 keyint_min=6 \0";
  const obs = metadata({
    videocodecid: 7,
    framerate: 30,
    encoder: "obs-output module (libobs version 30.0.0)",
  });
  for (const [text, sparse] of [
    [letter, false],
    [letter.replace("keyint=60", "keyint=250"), true],
  ] as const) {
    const arrivals = publish({ gop: 8.3, seconds: 3 });
    const first = arrivals.find(({ tag }) => tag.type === "video" && tag.payload[1] === 1)!;
    const sei = Uint8Array.from(`\0\0\0${String.fromCharCode(text.length + 1)}\x06${text}`, (letter) =>
      letter.charCodeAt(0),
    );
    const withLetter = {
      ...first.tag,
      payload: Uint8Array.of(...first.tag.payload.subarray(0, 5), ...sei, ...first.tag.payload.subarray(5)),
    };
    const { broadcast, plans, play } = air(
      { seconds: 0 },
      {
        sparse: !sparse,
        head: [obs, ...arrivals.slice(1).map((one) => (one === first ? { ...one, tag: withLetter } : one))],
      },
    );
    play(1);
    expect(plans.map((plan) => plan.sparse)).toEqual([sparse]);
    expect(broadcast.gopAdvice).toEqual(
      sparse ? expect.stringMatching(/^Keyframes are 8.3 s apart/) : undefined,
    );
  }
});

test("a source too small for any rung gets one when its keyframes stay away", () => {
  const { broadcast, play } = air({ gop: 8.3 }, { plan: ({ sparse }) => (sparse ? [rung("180p")] : []) });
  play(2);
  expect(broadcast.rungs).toEqual([]);
  play(3);
  expect(broadcast.rungs.map(({ name }) => name)).toEqual(["180p"]);
});

test("where nobody encodes the copy is offered whatever its keyframes", () => {
  const { broadcast, play } = air({ gop: 8.3 }, { plan: () => [], sparse: true });
  play(9);
  expect([broadcast.offersSource, broadcast.listed, broadcast.revision]).toEqual([true, true, 0]);
  expect(broadcast.gopAdvice).toMatch(/^Keyframes are 8.3 s apart, so viewers join and recover late/);
});

test("sound alone has a ladder of sound, and its list does not wait for a bitrate", () => {
  const { broadcast, plans, play } = air({ audio: 48_000, video: false }, { plan: undefined });
  play(4);
  expect([plans, broadcast.rungs, broadcast.listed]).toEqual([[], [], true]);
  const planned = air({ audio: 48_000, video: false });
  planned.play(4);
  expect(planned.plans).toMatchObject([{ width: 0, height: 0, kbps: 0, sounds: ["mp4a.40.2"] }]);
  expect(planned.broadcast.listed).toBe(true);
});

test("a rung of the run before that is not planned any more is given up, as one that is given up on air", () => {
  const outputs: Output[] = [];
  const tape: Tape = { ...noTape, write: (some) => void outputs.push(...some) };
  const first = air({}, { tape });
  first.play(4);
  for (let ms = 2_000; ms < 4_000; ms += 33) first.encode("90p", ms, ms === 2_000);
  first.play(6);
  expect([...first.broadcast.renditions.keys()]).toEqual(["source", "90p"]);

  const { broadcast, play } = air({}, { restored: restoredOf(outputs), plan: () => [] });
  expect([...broadcast.renditions.keys()]).toEqual(["source", "90p"]);
  play(2);
  expect([broadcast.dropped, broadcast.isLeaving("90p")]).toEqual([["90p"], true]);
  play(12);
  expect([...broadcast.renditions.keys()]).toEqual(["source"]);

  const same = air({}, { restored: restoredOf(outputs) });
  same.play(12);
  expect([same.broadcast.dropped, [...same.broadcast.renditions.keys()]]).toEqual([[], ["source", "90p"]]);
});

/** What a run that wrote `outputs` leaves to the next. */
function restoredOf(outputs: readonly Output[]): Restored {
  const start = outputs.find((one) => one.type === "start")!;
  const inits = outputs.filter((one) => one.type === "init");
  const stepsOf = (name: string) =>
    outputs.flatMap((one) => (one.type === "step" && one.name === name ? [one.step] : []));
  const endOf = (name: string) => {
    let [number, dts] = [0, 0];
    for (const step of stepsOf(name)) {
      if (step.type === "open") [number, dts] = [step.row.number, step.dts];
      if (step.type === "part") dts += step.duration;
    }
    return { number, dts, timescale: 90_000 };
  };
  const names = [...new Set(inits.map(({ name }) => name))];
  const rows = stepsOf("source").flatMap((step) => (step.type === "open" ? [step.row] : []));
  return {
    resume: {
      ...{ epochMs: start.epochMs, partTarget: start.partTarget, timescale: 90_000, version: inits.length },
      ...{ rows, edge: endOf("source").dts },
      ends: Object.fromEntries(names.map((name) => [name, endOf(name)])),
    },
    renditions: names.map((name) => ({
      ...{ name, discontinuity: 0, captions: [] },
      inits: inits.filter((init) => init.name === name),
      steps: stepsOf(name),
    })),
  };
}

test("captions that the last broadcast had are named from the first list on, and what this one has comes to them", () => {
  const bare = publish({ gop: 2, seconds: 10 });
  const spoken = withCaptions(
    bare.map(({ tag }) => tag),
    popOn("later"),
  );
  // An encoder that begins with them in the middle.
  const arrivals = bare.map(({ atMs, tag }, i) => ({ atMs, tag: atMs < 5_000 ? tag : spoken[i]! }));
  for (const captions of [["CC3", "SERVICE2"], undefined]) {
    const { broadcast } = air({ seconds: 0.1 }, { captions });
    const until = (ms: number) => {
      for (const { atMs, tag } of arrivals.splice(
        0,
        arrivals.findIndex((one) => one.atMs > ms),
      ))
        broadcast.push(tag, startMs + atMs);
    };
    const all = [...arrivals];
    until(4_000);
    expect([broadcast.listed, broadcast.captions]).toEqual([true, []]);
    expect(broadcast.renditions.get("source")!.captions).toEqual(captions ?? []);
    until(8_000);
    expect(broadcast.captions).toEqual(["CC1"]);
    expect(broadcast.renditions.get("source")!.captions).toEqual(["CC1", ...(captions ?? [])]);
    arrivals.splice(0, arrivals.length, ...all);
  }
});
