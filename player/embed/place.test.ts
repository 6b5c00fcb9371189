import { expect, test } from "vitest";
import { attributesOf, playbackOf } from "./place.ts";

test.for([
  ["/0123abcd/iframe", "/0123abcd"],
  ["/0123abcd/watch", "/0123abcd"],
  ["/eyJ.token.sig/iframe", "/eyJ.token.sig"],
  ["/", "/"],
])("the page %s plays %s", ([path, playback]) => {
  expect(playbackOf(path!)).toBe(playback);
});

test.for<[string, Record<string, string>]>([
  ["", {}],
  ["autoplay", { autoplay: "" }],
  ["autoplay=true&muted=false", { autoplay: "", muted: "false" }],
  ["controls=false", { controls: "false" }],
  ["poster=https://example.com/a.jpg", { poster: "https://example.com/a.jpg" }],
  ["primaryColor=%23ff0055", { "primary-color": "#ff0055" }],
  ["primaryColor=rgb(255, 0, 85)", { "primary-color": "rgb(255, 0, 85)" }],
  ["loop=true&dvrEnabled=true", { loop: "", dvr: "" }],
  ["dvrEnabled=false", { dvr: "false" }],
  ["letterboxColor=transparent", { "letterbox-color": "transparent" }],
  ["startTime=1h12m27s", { "start-time": "1h12m27s" }],
  ["startTime=90", { "start-time": "90" }],
  ["defaultTextTrack=en-GB", { "default-text-track": "en-GB" }],
  ["preload=none", { preload: "none" }],
  ["preload=metadata", { preload: "auto" }],
  ["utm_source=mail&onclick=alert(1)&constructor=1", {}],
])("the query %j asks for %j", ([query, wanted]) => {
  const { attributes, ignored } = attributesOf(new URLSearchParams(query));
  expect(Object.fromEntries(attributes)).toEqual(wanted);
  expect(ignored).toEqual([]);
});

test.for([
  ["autoplay=maybe", "autoplay=maybe"],
  ["poster=javascript:alert(1)", "poster=javascript:alert(1)"],
  ["primaryColor=red;background:url(x)", "primaryColor=red;background:url(x)"],
  ["letterboxColor=var(--x)", "letterboxColor=var(--x)"],
  ["letterboxColor=url(https://example.com)", "letterboxColor=url(https://example.com)"],
  ["startTime=now", "startTime=now"],
  ["startTime=", "startTime="],
  ["defaultTextTrack=%22x", 'defaultTextTrack="x'],
  ["preload=sometimes", "preload=sometimes"],
  ["ad-url=https://example.com/vast", "ad-url (this player shows no advertisements)"],
])("of the query %j it is said that %j is ignored, and the rest counts", ([query, said]) => {
  const { attributes, ignored } = attributesOf(new URLSearchParams(`${query}&muted`));
  expect(Object.fromEntries(attributes)).toEqual({ muted: "" });
  expect(ignored).toEqual([said]);
});
