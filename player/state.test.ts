import { expect, test } from "vitest";
import {
  begin,
  type Effect,
  type Event,
  type Phase,
  phaseOf,
  retryAfterMs,
  type State,
  sentence,
  step,
} from "./state.ts";

const on = (status: "idle" | "live" | "reconnecting" | "ended", video: string | null = "v1"): Event => ({
  type: "lifecycle",
  status,
  video: status === "idle" ? null : video,
  isInput: true,
});
const play: Event = { type: "play" };
const pause: Event = { type: "pause" };
const moving: Event = { type: "moving" };
const stuck: Event = { type: "stuck" };
const drained: Event = { type: "drained" };
const retry: Event = { type: "retry" };
const lost: Event = { type: "lifecycle-lost" };
const trouble: Event = { type: "trouble" };
const expired: Event = { type: "denied", why: "expired" };
const refused: Event = { type: "denied", why: "refused" };
const failed = (kind: "network" | "media" | "unsupported"): Event => ({ type: "failed", kind });

function run(events: Event[]): { state: State; phase: Phase; effects: Effect["do"][]; last: Effect["do"][] } {
  let state = begin;
  const all: Effect["do"][] = [];
  let last: Effect["do"][] = [];
  for (const event of events) {
    const next = step(state, event);
    state = next.state;
    last = next.effects.map((effect) => effect.do);
    all.push(...last);
  }
  return { state, phase: phaseOf(state), effects: all, last };
}

const watching = [play, on("live"), moving];

test.for<{ name: string; events: Event[]; phase: Phase; last?: Effect["do"][] }>([
  { name: "nothing known yet", events: [play], phase: "connecting", last: [] },
  { name: "before the broadcast", events: [play, on("idle")], phase: "waiting", last: [] },
  { name: "the broadcast begins", events: [play, on("idle"), on("live")], phase: "starting", last: ["load"] },
  {
    name: "it begins for a viewer who came early and pressed nothing",
    events: [on("idle"), on("live")],
    phase: "starting",
    last: ["load"],
  },
  { name: "a page without autoplay is opened on air", events: [on("live")], phase: "ready", last: [] },
  { name: "its button is pressed", events: [on("live"), play], phase: "starting", last: ["load"] },
  { name: "frames move", events: watching, phase: "playing", last: [] },
  { name: "the viewer pauses", events: [...watching, pause], phase: "paused", last: [] },
  { name: "and plays again", events: [...watching, pause, play], phase: "starting", last: [] },
  { name: "the buffer runs dry", events: [...watching, stuck], phase: "buffering", last: ["ask"] },
  { name: "dry before a frame was shown", events: [play, on("live"), stuck], phase: "starting", last: [] },
  {
    name: "the encoder vanished",
    events: [...watching, stuck, on("reconnecting")],
    phase: "reconnecting",
    last: [],
  },
  {
    name: "the encoder returned and frames move",
    events: [...watching, stuck, on("reconnecting"), moving],
    phase: "playing",
    last: [],
  },
  {
    name: "the page is opened while the encoder is away",
    events: [play, on("reconnecting")],
    phase: "reconnecting",
    last: ["load"],
  },
  {
    name: "the window ended without the encoder",
    events: [...watching, stuck, on("reconnecting"), on("ended")],
    phase: "ended",
    last: ["stop"],
  },
  {
    name: "the broadcast ended and the buffer still plays",
    events: [...watching, on("ended")],
    phase: "playing",
    last: [],
  },
  {
    name: "the last frame was shown",
    events: [...watching, on("ended"), drained],
    phase: "ended",
    last: ["ask"],
  },
  {
    name: "the last frame was shown before the lifecycle said so",
    events: [...watching, drained],
    phase: "ended",
    last: ["ask"],
  },
  {
    name: "ended, and the input is idle again",
    events: [...watching, drained, on("idle")],
    phase: "ended",
    last: [],
  },
  {
    name: "the next broadcast of the input begins",
    events: [...watching, drained, on("ended"), on("live", "v2")],
    phase: "starting",
    last: ["load"],
  },
  { name: "an ended input is opened", events: [play, on("ended")], phase: "ended", last: [] },
  {
    name: "a request fails and frames still move",
    events: [...watching, trouble],
    phase: "playing",
    last: ["ask"],
  },
  {
    name: "requests fail and the buffer is dry",
    events: [...watching, trouble, stuck],
    phase: "retrying",
    last: ["ask"],
  },
  { name: "a second request fails", events: [...watching, trouble, trouble], phase: "playing", last: [] },
  {
    name: "requests work again",
    events: [...watching, trouble, stuck, { type: "recovered" }],
    phase: "buffering",
    last: [],
  },
  { name: "a page is opened without the right to it", events: [play, refused], phase: "denied", last: [] },
  {
    name: "the right ends and the buffer still plays",
    events: [...watching, expired],
    phase: "playing",
    last: ["stop"],
  },
  { name: "and it is dry", events: [...watching, expired, stuck], phase: "denied", last: ["ask"] },
  {
    name: "the right comes back",
    events: [...watching, expired, stuck, on("live")],
    phase: "starting",
    last: ["load"],
  },
  {
    name: "the engine gave up because of it",
    events: [...watching, stuck, failed("network"), expired, retry],
    phase: "denied",
    last: [],
  },
  {
    name: "the engine gave up",
    events: [...watching, failed("network")],
    phase: "retrying",
    last: ["retry", "ask"],
  },
  {
    name: "the pause after a failure is over",
    events: [...watching, failed("network"), retry],
    phase: "starting",
    last: ["load"],
  },
  {
    name: "it gave up because the broadcast was over",
    events: [...watching, failed("network"), on("ended"), retry],
    phase: "ended",
    last: [],
  },
  {
    name: "a choice that needs another engine",
    events: [...watching, { type: "reload" }],
    phase: "starting",
    last: ["load"],
  },
  {
    name: "such a choice while the viewer pauses",
    events: [...watching, pause, { type: "reload" }],
    phase: "paused",
    last: [],
  },
  { name: "a retry that is not due", events: [...watching, retry], phase: "playing", last: [] },
  {
    name: "the decoder failed",
    events: [...watching, failed("media")],
    phase: "starting",
    last: ["recover"],
  },
  {
    name: "the decoder failed three times",
    events: [...watching, failed("media"), failed("media"), failed("media")],
    phase: "retrying",
    last: ["retry", "ask"],
  },
  {
    name: "the broadcast changed to what the engine cannot append",
    events: [...watching, { type: "unfit" }],
    phase: "starting",
    last: ["load"],
  },
  {
    name: "it cannot append it with new engines either",
    events: [...watching, { type: "unfit" }, { type: "unfit" }, { type: "unfit" }],
    phase: "retrying",
    last: ["retry", "ask"],
  },
  {
    name: "the codec is unknown to this browser",
    events: [play, on("live"), failed("unsupported")],
    phase: "failed",
    last: [],
  },
  {
    name: "the next broadcast after an unknown codec",
    events: [play, on("live"), failed("unsupported"), on("live", "v2")],
    phase: "starting",
    last: ["load"],
  },
  { name: "the origin does not answer from the start", events: [play, lost], phase: "retrying", last: [] },
  {
    name: "the origin does not answer while frames move",
    events: [...watching, lost],
    phase: "playing",
    last: [],
  },
  {
    name: "the origin does not answer and the buffer is dry",
    events: [...watching, stuck, lost],
    phase: "retrying",
    last: [],
  },
  {
    name: "a recorded video",
    events: [play, { type: "lifecycle", status: "ended", video: "v1", isInput: false }],
    phase: "starting",
    last: ["load"],
  },
  {
    name: "a recorded video played to its end",
    events: [play, { type: "lifecycle", status: "ended", video: "v1", isInput: false }, moving, drained],
    phase: "ended",
    last: ["ask"],
  },
])("$name -> $phase", ({ events, phase, last }) => {
  const result = run(events);
  expect(result.phase).toBe(phase);
  if (last) expect(result.last).toEqual(last);
});

test("a broadcast is loaded once, however often the lifecycle names it", () => {
  const { effects } = run([
    play,
    on("live"),
    on("live"),
    moving,
    stuck,
    on("reconnecting"),
    on("live"),
    moving,
  ]);
  expect(effects.filter((effect) => effect === "load")).toHaveLength(1);
});

test("steady playback fills the budget for decoder failures again", () => {
  const bad = failed("media");
  const { last } = run([...watching, bad, bad, moving, { type: "steady" }, bad]);
  expect(last).toEqual(["recover"]);
});

test("retries go on for ever, at most eight seconds apart", () => {
  expect([0, 1, 2, 3, 4, 5, 1000].map(retryAfterMs)).toEqual([500, 1000, 2000, 4000, 8000, 8000, 8000]);
});

test.for<[Phase, string]>([
  ["waiting", "Waiting for the broadcast to begin"],
  ["reconnecting", "Reconnecting…"],
  ["retrying", "Connection lost, retrying"],
  ["ended", "The broadcast has ended"],
  ["playing", ""],
])("%s says %j", ([phase, words]) => {
  expect(sentence(phase)).toBe(words);
});
