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
])("key %j on a %s does %s", ([key, focus, action]) => {
  expect(actionOf(key, focus)).toBe(action);
});
