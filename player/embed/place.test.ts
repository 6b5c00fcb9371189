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
  ["poster=javascript:alert(1)", {}],
  ["primaryColor=%23ff0055", { "primary-color": "#ff0055" }],
  ["primaryColor=red;background:url(x)", {}],
  ["onclick=alert(1)", {}],
  ["loop=true&dvrEnabled=true", { loop: "", dvr: "" }],
  ["dvrEnabled=false", { dvr: "false" }],
  ["letterboxColor=transparent", { "letterbox-color": "transparent" }],
  ["letterboxColor=var(--x)", {}],
  ["startTime=1h12m27s", { "start-time": "1h12m27s" }],
  ["startTime=now", {}],
  ["defaultTextTrack=en-GB", { "default-text-track": "en-GB" }],
  ["defaultTextTrack=%22x", {}],
  ["preload=none", { preload: "none" }],
  ["preload=auto", {}],
])("the query %j asks for %j", ([query, attributes]) => {
  expect(Object.fromEntries(attributesOf(new URLSearchParams(query)))).toEqual(attributes);
});
