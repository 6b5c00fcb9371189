import { expect, test } from "vitest";
import { readMessage } from "./protocol.ts";

test.for<[string, unknown, ReturnType<typeof readMessage>]>([
  ["a question", { sluice: "who" }, { sluice: "who" }],
  ["more than a question", { sluice: "who", token: "x" }, { sluice: "who" }],
  [
    "the player",
    { sluice: "here", page: "a1", versions: [2, 1] },
    { sluice: "here", page: "a1", versions: [2, 1] },
  ],
  [
    "versions that are none",
    { sluice: "here", page: "a1", versions: ["1", 1.5, null, 1] },
    { sluice: "here", page: "a1", versions: [1] },
  ],
  [
    "no versions",
    { sluice: "here", page: "a1", versions: "1" },
    { sluice: "here", page: "a1", versions: [] },
  ],
  ["the player of no page", { sluice: "here", versions: [1] }, undefined],
  ["a greeting", { sluice: "hello", version: 1 }, { sluice: "hello", version: 1 }],
  ["a greeting without a version", { sluice: "hello" }, undefined],
  ["another word", { sluice: "play" }, undefined],
  ["another's message", { type: "webpackOk" }, undefined],
  ["text", '{"sluice":"who"}', undefined],
  ["nothing", null, undefined],
])("of window messages %s is read", ([, data, message]) => expect(readMessage(data)).toEqual(message));
