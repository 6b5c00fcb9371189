import { all, find, integer, type Reading, segmentTags } from "../hls-text.ts";
import { isMultivariant, type Rule, rule } from "./rule.ts";

const versions: { need: number; when: (reading: Reading) => boolean }[] = [
  { need: 2, when: (r) => all(r, "EXT-X-KEY").some((tag) => tag.attributes.has("IV")) },
  { need: 3, when: (r) => all(r, "EXTINF").some((tag) => tag.value.split(",")[0]!.includes(".")) },
  { need: 4, when: (r) => !!find(r, "EXT-X-BYTERANGE") || !!find(r, "EXT-X-I-FRAMES-ONLY") },
  { need: 5, when: (r) => all(r, "EXT-X-KEY").some((tag) => tag.attributes.has("KEYFORMAT")) },
  { need: 5, when: (r) => !!find(r, "EXT-X-MAP") && !!find(r, "EXT-X-I-FRAMES-ONLY") },
  { need: 6, when: (r) => !!find(r, "EXT-X-MAP") && !find(r, "EXT-X-I-FRAMES-ONLY") },
  {
    need: 7,
    when: (r) =>
      all(r, "EXT-X-MEDIA").some((tag) => tag.attributes.get("INSTREAM-ID")?.startsWith("SERVICE")),
  },
  { need: 8, when: (r) => !!find(r, "EXT-X-DEFINE") },
  { need: 9, when: (r) => !!find(r, "EXT-X-SKIP") },
  { need: 10, when: (r) => !!find(r, "EXT-X-SKIP")?.attributes.has("RECENTLY-REMOVED-DATERANGES") },
  { need: 11, when: (r) => all(r, "EXT-X-DEFINE").some((tag) => tag.attributes.has("QUERYPARAM")) },
];

const onceOnly = [
  "EXT-X-VERSION",
  "EXT-X-TARGETDURATION",
  "EXT-X-MEDIA-SEQUENCE",
  "EXT-X-DISCONTINUITY-SEQUENCE",
  "EXT-X-ENDLIST",
  "EXT-X-PLAYLIST-TYPE",
  "EXT-X-I-FRAMES-ONLY",
  "EXT-X-PART-INF",
  "EXT-X-SERVER-CONTROL",
  "EXT-X-INDEPENDENT-SEGMENTS",
  "EXT-X-START",
];
/** rfc8216bis 4.4.6. */
export const multivariantTags = [
  "EXT-X-MEDIA",
  "EXT-X-STREAM-INF",
  "EXT-X-I-FRAME-STREAM-INF",
  "EXT-X-SESSION-DATA",
  "EXT-X-SESSION-KEY",
  "EXT-X-CONTENT-STEERING",
];
const otherTags = [
  "EXTM3U",
  "EXT-X-SKIP",
  "EXT-X-PRELOAD-HINT",
  "EXT-X-RENDITION-REPORT",
  "EXT-X-DATERANGE",
  "EXT-X-DEFINE",
];
const knownTags = new Set([...onceOnly, ...multivariantTags, ...otherTags, ...segmentTags]);

/** What may be said about any playlist by its text alone. */
export const textRules: readonly Rule<Reading>[] = [
  rule("4.1", "characters", function* ({ text }) {
    if (/[\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f\ufeff]/.test(text))
      yield "a control character or a byte order mark";
    if (!text.endsWith("\n")) yield "the last line is not ended";
  }),
  rule("4.4.1.1", "extm3u-first", function* ({ text }) {
    if (!text.startsWith("#EXTM3U\n")) yield text.slice(0, 40);
  }),
  rule("4.1", "unknown-tag", function* ({ tags }) {
    for (const tag of tags) if (!knownTags.has(tag.name)) yield tag.name;
  }),
  rule("4.2", "attribute-syntax", function* ({ problems }) {
    for (const one of problems) if (one.name === "attribute-syntax") yield one.text;
  }),
  rule("4.2", "attribute-twice", function* ({ problems }) {
    for (const one of problems) if (one.name === "attribute-twice") yield one.text;
  }),
  rule("4.3", "variable-declared", function* (reading) {
    const named = all(reading, "EXT-X-DEFINE").flatMap(({ attributes }) =>
      ["NAME", "IMPORT", "QUERYPARAM"].flatMap((name) => attributes.get(name) ?? []),
    );
    for (const [whole, name] of reading.text.matchAll(/\{\$([^}]*)\}/g))
      if (!named.includes(name!)) yield whole;
  }),
  rule("4.4.3", "tag-twice", function* (reading) {
    for (const name of onceOnly) if (all(reading, name).length > 1) yield name;
  }),
  rule("8", "version-below-need", function* (reading) {
    const version = integer(find(reading, "EXT-X-VERSION")?.value ?? "1");
    for (const { need, when } of versions)
      if (!(version >= need) && when(reading)) yield `${version} where ${need} is needed`;
  }),
  rule("8", "version-above-need", function* (reading) {
    const version = integer(find(reading, "EXT-X-VERSION")?.value ?? "1");
    // EXT-X-MEDIA suggests 4.
    const need = Math.max(
      1,
      find(reading, "EXT-X-MEDIA") ? 4 : 1,
      isMultivariant(reading) ? 4 : 1,
      ...versions.filter((one) => one.when(reading)).map((one) => one.need),
    );
    if (version > need) yield `${version} where ${need} is enough`;
  }),
];
