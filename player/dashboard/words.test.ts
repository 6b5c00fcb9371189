import { expect, test } from "vitest";
import { ago, bitrate, clock, count, nameOf, secondsOf, size, stretch } from "./words.ts";

test.for([
  { said: bitrate(524), words: "524 kb/s" },
  { said: bitrate(6_042), words: "6.04 Mb/s" },
  { said: bitrate(25_400), words: "25.4 Mb/s" },
  { said: clock(65.9), words: "1:05" },
  { said: clock(3_723), words: "1:02:03" },
  { said: clock(-1), words: "0:00" },
  { said: stretch(42), words: "42 s" },
  { said: stretch(12 * 3_600), words: "12.0 h" },
  { said: size(812_400), words: "812 kB" },
  { said: size(3_240_000_000), words: "3.2 GB" },
  { said: size(0), words: "0 B" },
  { said: count(1, "viewer"), words: "1 viewer" },
  { said: count(0, "viewer"), words: "0 viewers" },
  { said: nameOf({ meta: { name: "  " } }), words: "Untitled" },
  { said: nameOf({ meta: { name: "Main" } }), words: "Main" },
])("$words", ({ said, words }) => expect(said).toBe(words));

test.for([
  { text: "83.5", seconds: 83.5 },
  { text: "1:05", seconds: 65 },
  { text: " 1:02:03 ", seconds: 3_723 },
  { text: "", seconds: undefined },
  { text: "soon", seconds: undefined },
  { text: "1:2:3:4", seconds: undefined },
  { text: "-5", seconds: undefined },
])("$text is $seconds s", ({ text, seconds }) => expect(secondsOf(text)).toBe(seconds));

test("moments are said from now", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  expect(ago("2026-03-01T11:59:50Z", now)).toBe("just now");
  expect(ago("2026-03-01T11:57:00Z", now)).toBe("3 minutes ago");
  expect(ago("2026-02-28T12:00:00Z", now)).toBe("yesterday");
  expect(ago("2026-03-01T15:00:00Z", now)).toBe("in 3 hours");
});
