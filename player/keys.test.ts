import { expect, test } from "vitest";
import { actionOf, type Focus } from "./keys.ts";

test.for<[string, Focus, string | undefined]>([
  [" ", "page", "play"],
  ["k", "page", "play"],
  ["K", "page", "play"],
  ["m", "page", "mute"],
  ["f", "page", "fullscreen"],
  ["l", "page", "live"],
  ["i", "page", "stats"],
  ["p", "page", "pip"],
  ["ArrowUp", "page", "louder"],
  ["ArrowDown", "page", "softer"],
  ["Tab", "page", undefined],
  [" ", "button", undefined],
  ["k", "button", "play"],
  ["ArrowUp", "slider", undefined],
  [" ", "slider", "play"],
  ["k", "text", undefined],
  ["ArrowLeft", "page", "back"],
  ["ArrowRight", "page", "forward"],
  ["Home", "page", "start"],
  ["End", "page", "live"],
  ["Home", "slider", undefined],
  ["ArrowLeft", "scrub", "back"],
  ["ArrowUp", "scrub", "forward"],
  ["ArrowDown", "scrub", "back"],
  ["End", "scrub", "live"],
  ["c", "page", "captions"],
  ["q", "button", "quality"],
])("key %j on a %s does %s", ([key, focus, action]) => {
  expect(actionOf(key, focus)).toBe(action);
});
