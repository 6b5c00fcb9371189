import { expect, test } from "vitest";
import { captionsOf, OFF, show, shown, type Track } from "./captions.ts";

const track = (
  language: string,
  label: string,
  kind = "subtitles",
  mode: Track["mode"] = "disabled",
): Track => ({
  kind,
  language,
  label,
  mode,
});

test("captions and subtitles can be chosen, other text tracks cannot", () => {
  const tracks = [track("en", "English", "captions"), track("", "id3", "metadata"), track("de", "Deutsch")];
  expect(captionsOf(tracks)).toEqual([
    { id: "en|English", label: "English" },
    { id: "de|Deutsch", label: "Deutsch" },
  ]);
});

test("a track that comes again after a new load is listed once", () => {
  expect(captionsOf([track("en", "English"), track("en", "English")])).toHaveLength(1);
});

test.for([
  ["en", "English"],
  ["", "Captions"],
])("a track without a label, of language %j, is called %s", ([language, name]) => {
  expect(captionsOf([track(language!, "")])[0]?.label).toBe(name);
});

test.for<[string, string]>([
  ["de|Deutsch", "de|Deutsch"],
  ["en", "en-GB|English"],
  ["EN-gb", "en-GB|English"],
  [OFF, OFF],
  ["fr", OFF],
])("the choice %j shows %j", ([choice, is]) => {
  const tracks = [track("en-GB", "English"), track("de", "Deutsch"), track("", "id3", "metadata", "hidden")];
  show(tracks, choice);
  expect(shown(tracks)).toBe(is);
  expect(tracks.at(-1)?.mode).toBe("hidden");
});

test("one at a time is shown", () => {
  const tracks = [track("en", "English", "captions", "showing"), track("de", "Deutsch")];
  show(tracks, "de");
  expect(tracks.map(({ mode }) => mode)).toEqual(["disabled", "showing"]);
});

test("a track that is parsed in the background stays so when nothing is to be shown", () => {
  const tracks = [track("en", "CC1", "captions", "hidden")];
  show(tracks, OFF);
  expect(tracks[0]?.mode).toBe("hidden");
});
