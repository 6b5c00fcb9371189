import { all, attribute, decimal, find, integer, type Reading, segmentTags, type Tag } from "../hls-text.ts";
import { type Rule, rule } from "./rule.ts";

/** What may be said about a multivariant playlist. */
export const multivariantRules: readonly Rule<Reading>[] = [
  rule("4.4.6", "media-tags", function* ({ tags }) {
    for (const tag of tags)
      if (
        segmentTags.has(tag.name) ||
        ["EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL"].includes(
          tag.name,
        )
      )
        yield tag.name;
  }),
  rule("4.4.6.2", "variant-address", function* ({ variants }) {
    for (const one of variants) if (one.uri === undefined) yield one.tag.value;
  }),
  rule("4.4.6.2", "bandwidth", function* ({ variants }) {
    for (const { tag } of variants) {
      if (!(integer(attribute(tag, "BANDWIDTH")) > 0)) yield tag.value;
      if (integer(attribute(tag, "AVERAGE-BANDWIDTH")) > integer(attribute(tag, "BANDWIDTH")))
        yield `the average is above the peak: ${tag.value}`;
    }
  }),
  rule("A9.1", "variant-attributes", function* ({ variants }) {
    for (const { tag } of variants) {
      if (!attribute(tag, "CODECS")) yield `no CODECS: ${tag.value}`;
      if (Number.isNaN(integer(attribute(tag, "AVERAGE-BANDWIDTH"))))
        yield `no AVERAGE-BANDWIDTH: ${tag.value}`;
      if (isVideo(tag.attributes) && !/^\d+x\d+$/.test(attribute(tag, "RESOLUTION") ?? ""))
        yield `no RESOLUTION: ${tag.value}`;
    }
  }),
  rule("4.4.6.2", "frame-rate", function* ({ variants }) {
    for (const { tag } of variants) {
      const rate = attribute(tag, "FRAME-RATE");
      if (rate !== undefined && (Number.isNaN(decimal(rate)) || (rate.split(".")[1] ?? "").length > 3))
        yield rate;
    }
  }),
  rule("4.4.6.2", "group-exists", function* (reading) {
    for (const { tag } of reading.variants)
      for (const type of ["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"]) {
        const group = attribute(tag, type);
        if (
          group !== undefined &&
          !(type === "CLOSED-CAPTIONS" && group === "NONE") &&
          !all(reading, "EXT-X-MEDIA").some(
            (one) => attribute(one, "TYPE") === type && attribute(one, "GROUP-ID") === group,
          )
        )
          yield `${type}="${group}"`;
      }
  }),
  rule("4.4.6.1", "rendition-attributes", function* (reading) {
    for (const tag of all(reading, "EXT-X-MEDIA")) {
      for (const name of ["TYPE", "GROUP-ID", "NAME"])
        if (!attribute(tag, name)) yield `no ${name}: ${tag.value}`;
      if (attribute(tag, "DEFAULT") === "YES" && attribute(tag, "AUTOSELECT") === "NO")
        yield `DEFAULT without AUTOSELECT: ${tag.value}`;
    }
  }),
  rule("4.4.6.1", "subtitles-attributes", function* (reading) {
    for (const tag of all(reading, "EXT-X-MEDIA")) {
      if (attribute(tag, "TYPE") !== "SUBTITLES") {
        if (attribute(tag, "FORCED") !== undefined) yield `FORCED of what is no text: ${tag.value}`;
        continue;
      }
      if (!attribute(tag, "URI")) yield `no URI: ${tag.value}`;
      // Who joins by another variant finds them there, too.
      const group = attribute(tag, "GROUP-ID");
      for (const { tag: variant } of reading.variants)
        if (attribute(variant, "SUBTITLES") !== group) yield `not of ${variant.value}`;
    }
  }),
  rule("4.4.6.1.1", "group-names", function* (reading) {
    const seen = new Set<string>();
    for (const tag of all(reading, "EXT-X-MEDIA")) {
      const key = ["TYPE", "GROUP-ID", "NAME"].map((name) => attribute(tag, name)).join("|");
      if (seen.has(key)) yield key;
      seen.add(key);
    }
  }),
  rule("4.4.6.1.1", "one-default", function* (reading) {
    const seen = new Set<string>();
    for (const tag of all(reading, "EXT-X-MEDIA").filter((one) => attribute(one, "DEFAULT") === "YES")) {
      const key = ["TYPE", "GROUP-ID"].map((name) => attribute(tag, name)).join("|");
      if (seen.has(key)) yield key;
      seen.add(key);
    }
  }),
  rule("4.4.6.1", "captions-in-the-picture", function* (reading) {
    for (const tag of all(reading, "EXT-X-MEDIA")) {
      const type = attribute(tag, "TYPE");
      const place = attribute(tag, "INSTREAM-ID");
      if (type !== "CLOSED-CAPTIONS") {
        if (place !== undefined) yield `INSTREAM-ID of ${type}: ${tag.value}`;
        continue;
      }
      if (!/^(CC[1-4]|SERVICE([1-9]|[1-5]\d|6[0-3]))$/.test(place ?? "")) yield `INSTREAM-ID=${place}`;
      if (attribute(tag, "URI") !== undefined) yield `URI of what is in the picture: ${tag.value}`;
    }
  }),
  rule("4.4.6.1.1", "captions-place-twice", function* (reading) {
    const seen = new Set<string>();
    for (const tag of all(reading, "EXT-X-MEDIA")) {
      const place = attribute(tag, "INSTREAM-ID");
      const key = `${attribute(tag, "GROUP-ID")}|${place}`;
      if (place !== undefined && seen.has(key)) yield key;
      seen.add(key);
    }
  }),
  rule("4.4.6.2", "captions-said", function* ({ variants }) {
    // Without a word players look for captions in every picture; A9.1 asks for NONE where there are none.
    const said = variants.filter(({ tag }) => tag.attributes.has("CLOSED-CAPTIONS"));
    if (variants.length > 0 && said.length === 0)
      yield "nothing of closed captions, not even that there are none";
  }),
  rule("4.4.6.2", "captions-none", function* ({ variants }) {
    const none = variants.filter(({ tag }) => attribute(tag, "CLOSED-CAPTIONS") === "NONE").length;
    if (none > 0 && none < variants.length) yield `NONE on ${none} of ${variants.length}`;
  }),
  rule("4.4.6.2", "all-or-none", function* ({ variants }) {
    for (const name of ["SCORE", "STABLE-VARIANT-ID", "VIDEO-RANGE"]) {
      const some = name === "VIDEO-RANGE" ? variants.filter(({ tag }) => isVideo(tag.attributes)) : variants;
      const count = some.filter(({ tag }) => tag.attributes.has(name)).length;
      if (count > 0 && count < some.length) yield `${name} on ${count} of ${some.length}`;
    }
  }),
  rule("4.4.6.3", "pictures-attributes", function* (reading) {
    for (const tag of all(reading, "EXT-X-I-FRAME-STREAM-INF")) {
      if (!attribute(tag, "URI")) yield `no URI: ${tag.value}`;
      if (!(integer(attribute(tag, "BANDWIDTH")) > 0)) yield `no BANDWIDTH: ${tag.value}`;
      for (const name of ["AUDIO", "SUBTITLES", "CLOSED-CAPTIONS", "FRAME-RATE"])
        if (tag.attributes.has(name)) yield `${name} in ${tag.value}`;
    }
  }),
  rule("A6.1", "pictures-required", function* (reading) {
    const key = ({ attributes }: Tag): string => {
      const [codec] = (attributes.get("CODECS") ?? "").split(",").filter((one) => videoCodec.test(one));
      return `${codec} ${attributes.get("RESOLUTION")}`;
    };
    const shown = new Set(all(reading, "EXT-X-I-FRAME-STREAM-INF").map(key));
    for (const { tag } of reading.variants)
      if (isVideo(tag.attributes) && !shown.has(key(tag))) yield `no I-frame playlist of ${key(tag)}`;
  }),
  rule("4.4.6.2", "supplemental-codecs", function* (reading) {
    for (const name of ["EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF"])
      for (const tag of all(reading, name)) {
        const value = attribute(tag, "SUPPLEMENTAL-CODECS");
        // A codec as in CODECS, and the brands of what it is compatible with.
        if (value !== undefined && !/^[a-z0-9.]+(\/[a-z0-9]{4})+(,[a-z0-9.]+(\/[a-z0-9]{4})+)*$/i.test(value))
          yield `SUPPLEMENTAL-CODECS=${value}`;
      }
  }),
  rule("4.4.6.2", "range-of-pictures", function* (reading) {
    const ranged = reading.variants.some(({ tag }) => tag.attributes.has("VIDEO-RANGE"));
    for (const tag of all(reading, "EXT-X-I-FRAME-STREAM-INF"))
      if (ranged !== tag.attributes.has("VIDEO-RANGE")) yield tag.value;
  }),
  rule("4.4.6.2", "range-value", function* ({ variants }) {
    for (const { tag } of variants)
      if (!["SDR", "HLG", "PQ", undefined].includes(attribute(tag, "VIDEO-RANGE"))) yield tag.value;
  }),
  rule("4.4.6.2.1", "stable-ids", function* (reading) {
    const of = (name: string, id: string): (string | undefined)[] =>
      all(reading, name).map((tag) => attribute(tag, id));
    const renditions = of("EXT-X-MEDIA", "STABLE-RENDITION-ID");
    for (const id of [...of("EXT-X-STREAM-INF", "STABLE-VARIANT-ID"), ...renditions])
      if (id !== undefined && !/^[A-Za-z0-9+/=.\-_]+$/.test(id)) yield id;
    if (renditions.includes(undefined) && renditions.some((id) => id !== undefined))
      yield "not on all renditions";
  }),
  rule("4.4.2.1", "live-promise", function* (reading) {
    if (find(reading, "EXT-X-INDEPENDENT-SEGMENTS"))
      yield "EXT-X-INDEPENDENT-SEGMENTS for segments that do not exist yet";
  }),
];

const videoCodec = /avc1|avc3|hvc1|hev1|av01|vp09/;

function isVideo(attributes: ReadonlyMap<string, string>): boolean {
  return videoCodec.test(attributes.get("CODECS") ?? "");
}
