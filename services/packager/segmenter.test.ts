import { expect, test } from "vitest";
import { cutBefore, type Limits, type Open, planParts } from "./segmenter.ts";

/** Hundredths of a second, so that the tables read as seconds. */
const limits: Limits = {
  minTicks: 100,
  maxTicks: 400,
  nominalTicks: 50,
  partTicks: 52,
  leastTicks: 45,
  frameTicks: 0,
};
const open = (change: Partial<Open>): Open => ({
  duration: 0,
  independent: true,
  partDuration: 0,
  partIndependent: false,
  boundary: 50,
  ...change,
});
const key = { duration: 3, boundary: true, key: true, guessed: true };
const delta = { duration: 3, boundary: false, key: false, guessed: true };

test.for([
  { name: "keyframe after a second", open: { duration: 192 }, next: key, cut: "segment" },
  { name: "keyframe too early", open: { duration: 73, boundary: 100 }, next: key, cut: "none" },
  { name: "no keyframe for four seconds", open: { duration: 399 }, next: delta, cut: "segment" },
  {
    name: "keyframe inside a segment that began without one",
    open: { duration: 33, independent: false },
    next: key,
    cut: "segment",
  },
  { name: "a part at its planned end", open: { duration: 49, partDuration: 49 }, next: delta, cut: "part" },
  {
    name: "a part one frame before its planned end",
    open: { duration: 46, partDuration: 46 },
    next: delta,
    cut: "none",
  },
  {
    name: "a part that the next frame would make too long",
    open: { duration: 50, partDuration: 50, boundary: 60 },
    next: { ...delta, guessed: false },
    cut: "part",
  },
  {
    name: "a short part that the next frame might make too long",
    open: { duration: 40, partDuration: 40 },
    next: { ...delta, duration: 13 },
    cut: "none",
  },
  {
    name: "a short part that the next frame does make too long",
    open: { duration: 40, partDuration: 40 },
    next: { ...delta, duration: 13, guessed: false },
    cut: "part",
  },
  {
    name: "a short part with a keyframe may end early",
    open: { duration: 20, partDuration: 20, partIndependent: true, boundary: 20 },
    next: delta,
    cut: "part",
  },
  {
    name: "a keyframe behind half a part that has one, too early for a segment",
    open: { duration: 70, partDuration: 30, partIndependent: true, boundary: 100 },
    next: key,
    cut: "part",
  },
  {
    name: "a keyframe in a part that would be too short without it",
    open: { duration: 70, partDuration: 30, boundary: 100 },
    next: key,
    cut: "none",
  },
  {
    name: "a keyframe after the next",
    open: { duration: 43, partDuration: 3, partIndependent: true, boundary: 100 },
    next: key,
    cut: "none",
  },
  { name: "a part that has only begun", open: { duration: 50, boundary: 50 }, next: delta, cut: "none" },
] as const)("$name -> $cut", (c) => expect(cutBefore(c.next, open(c.open), limits)).toBe(c.cut));

test.for([
  { of: "video, two seconds", expected: 200, frameTicks: 0, spacing: 50 },
  { of: "video, 1.92 s: four equal parts", expected: 192, frameTicks: 0, spacing: 48 },
  {
    of: "video, 2.2 s: five parts would be too short, so the last is",
    expected: 220,
    frameTicks: 0,
    spacing: 45,
  },
  { of: "audio, 2.1 s: five equal parts", expected: 210, frameTicks: 2, spacing: 42 },
  { of: "audio, 2.02 s: four parts a little longer", expected: 202, frameTicks: 2, spacing: 50.5 },
  {
    of: "audio, 2.05 s in frames of 0.05: none of its parts can be longer than 0.5",
    expected: 205,
    frameTicks: 5,
    spacing: 41,
  },
  { of: "nothing known", expected: 0, frameTicks: 0, spacing: 50 },
])("$of -> a part every $spacing", (c) =>
  expect(planParts(c.expected, { ...limits, frameTicks: c.frameTicks })).toBeCloseTo(c.spacing),
);
