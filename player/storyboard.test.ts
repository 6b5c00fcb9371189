import { expect, test } from "vitest";
import { readBoard, tileAt } from "./storyboard.ts";

const text = `WEBVTT

NOTE start=2026-01-01T00:00:10.000Z

00:00:00.000 --> 00:00:05.000
storyboard/5-0-2.jpg#xywh=0,0,160,90

00:00:05.000 --> 00:00:09.500
storyboard/5-0-2.jpg#xywh=160,0,160,90

01:00:05.000 --> 01:00:09.500
not a tile
`;
const base = "http://h:8080/0123/storyboard.vtt";

test("a storyboard is read with the addresses of its pictures and the date of its beginning", () => {
  const { startMs, tiles } = readBoard(text, base);
  expect(startMs).toBe(Date.UTC(2026, 0, 1, 0, 0, 10));
  expect(tiles).toEqual([
    { from: 0, to: 5, url: "http://h:8080/0123/storyboard/5-0-2.jpg", x: 0, y: 0, width: 160, height: 90 },
    {
      from: 5,
      to: 9.5,
      url: "http://h:8080/0123/storyboard/5-0-2.jpg",
      x: 160,
      y: 0,
      width: 160,
      height: 90,
    },
  ]);
  expect(readBoard("<html>", base)).toEqual({ startMs: undefined, tiles: [] });
});

test.for([
  { second: -1, x: undefined },
  { second: 0, x: 0 },
  { second: 4.99, x: 0 },
  { second: 5, x: 160 },
  { second: 60, x: 160 },
])("second $second is at $x", ({ second, x }) => expect(tileAt(readBoard(text, base), second)?.x).toBe(x));
