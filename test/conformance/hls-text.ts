/** A tag line of a playlist, cut into its pieces. */
export interface Tag {
  readonly name: string;
  readonly value: string;
  readonly attributes: ReadonlyMap<string, string>;
}

export interface PartTag {
  readonly uri: string;
  readonly duration: number;
  readonly independent: boolean;
  readonly gap: boolean;
  readonly line: string;
}

/** One segment as the text shows it, complete or under construction. */
export interface Entry {
  readonly number: number;
  /** Discontinuity sequence number. */
  readonly discontinuity: number;
  readonly broken: boolean;
  /** Undefined while the segment is under construction. */
  readonly uri: string | undefined;
  readonly duration: number | undefined;
  readonly gap: boolean;
  /** URI of the EXT-X-MAP in force, and whether the tag stands at this segment. */
  readonly map: string | undefined;
  readonly mapHere: boolean;
  readonly dateMs: number | undefined;
  readonly parts: readonly PartTag[];
  /** In the order of the text. */
  readonly tags: readonly Tag[];
}

/** A playlist as text, read without judging it; what cannot be read at all is in `problems`. */
export interface Reading {
  readonly text: string;
  readonly tags: readonly Tag[];
  /** Index in `tags` of the first tag that belongs to a segment. */
  readonly firstSegmentTag: number;
  readonly sequence: number;
  readonly discontinuitySequence: number;
  readonly target: number;
  readonly partTarget: number;
  readonly skipped: number;
  readonly complete: readonly Entry[];
  readonly open: Entry | undefined;
  readonly ended: boolean;
  readonly variants: readonly { readonly tag: Tag; readonly uri: string | undefined }[];
  readonly problems: readonly { readonly name: string; readonly text: string }[];
}

const attributeLists = new Set([
  "EXT-X-SERVER-CONTROL",
  "EXT-X-PART-INF",
  "EXT-X-PART",
  "EXT-X-MAP",
  "EXT-X-SKIP",
  "EXT-X-PRELOAD-HINT",
  "EXT-X-RENDITION-REPORT",
  "EXT-X-KEY",
  "EXT-X-DATERANGE",
  "EXT-X-START",
  "EXT-X-DEFINE",
  "EXT-X-MEDIA",
  "EXT-X-STREAM-INF",
  "EXT-X-I-FRAME-STREAM-INF",
  "EXT-X-SESSION-DATA",
  "EXT-X-SESSION-KEY",
  "EXT-X-CONTENT-STEERING",
]);

/** rfc8216bis 4.4.4: they belong to the segment that follows them. */
export const segmentTags = new Set([
  "EXTINF",
  "EXT-X-BYTERANGE",
  "EXT-X-DISCONTINUITY",
  "EXT-X-KEY",
  "EXT-X-MAP",
  "EXT-X-PROGRAM-DATE-TIME",
  "EXT-X-GAP",
  "EXT-X-BITRATE",
  "EXT-X-PART",
]);

export function attribute(tag: Tag | undefined, name: string): string | undefined {
  return tag?.attributes.get(name);
}

/** An attribute as a number; NaN where it is absent or is none. */
export function numeric(tag: Tag | undefined, name: string): number {
  return decimal(tag?.attributes.get(name));
}

export function find(reading: Reading, name: string): Tag | undefined {
  return reading.tags.find((tag) => tag.name === name);
}

export function all(reading: Reading, name: string): Tag[] {
  return reading.tags.filter((tag) => tag.name === name);
}

/** Reads the text of any playlist, multivariant or media. */
export function read(text: string): Reading {
  const problems: { name: string; text: string }[] = [];
  const tags: Tag[] = [];
  const complete: Entry[] = [];
  const variants: { tag: Tag; uri: string | undefined }[] = [];
  let waiting: Tag[] = [];
  let map: string | undefined;
  let firstSegmentTag = -1;
  let number = Number.NaN;
  let discontinuity = Number.NaN;

  const begin = (): void => {
    if (firstSegmentTag >= 0) return;
    firstSegmentTag = tags.length;
    const skipped = integer(attribute(find0(tags, "EXT-X-SKIP"), "SKIPPED-SEGMENTS")) || 0;
    number = (integer(find0(tags, "EXT-X-MEDIA-SEQUENCE")?.value) || 0) + skipped;
    discontinuity = integer(find0(tags, "EXT-X-DISCONTINUITY-SEQUENCE")?.value) || 0;
  };
  const entry = (uri: string | undefined): Entry => {
    begin();
    const first = (name: string): Tag | undefined => waiting.find((tag) => tag.name === name);
    const broken = first("EXT-X-DISCONTINUITY") !== undefined;
    discontinuity += waiting.filter((tag) => tag.name === "EXT-X-DISCONTINUITY").length;
    const mapTag = first("EXT-X-MAP");
    map = attribute(mapTag, "URI") ?? map;
    const date = first("EXT-X-PROGRAM-DATE-TIME")?.value;
    const inf = first("EXTINF")?.value;
    const result: Entry = {
      number: number++,
      discontinuity,
      broken,
      uri,
      duration: inf === undefined ? undefined : decimal(inf.split(",")[0]),
      gap: first("EXT-X-GAP") !== undefined,
      map,
      mapHere: mapTag !== undefined,
      dateMs: date === undefined ? undefined : Date.parse(date),
      parts: waiting.filter((tag) => tag.name === "EXT-X-PART").map(partOf),
      tags: waiting,
    };
    waiting = [];
    return result;
  };

  for (const line of text.split("\n")) {
    if (line === "" || (line.startsWith("#") && !line.startsWith("#EXT"))) continue;
    if (!line.startsWith("#")) {
      const last = tags.at(-1);
      if (last?.name === "EXT-X-STREAM-INF") variants.push({ tag: last, uri: line });
      else complete.push(entry(line));
      continue;
    }
    const tag = tagOf(line, problems);
    if (segmentTags.has(tag.name)) {
      begin();
      waiting.push(tag);
    }
    tags.push(tag);
  }
  for (const tag of tags)
    if (tag.name === "EXT-X-STREAM-INF" && !variants.some((one) => one.tag === tag))
      variants.push({ tag, uri: undefined });
  const open = waiting.length > 0 ? entry(undefined) : undefined;
  begin();
  return {
    text,
    tags,
    firstSegmentTag,
    sequence: integer(find0(tags, "EXT-X-MEDIA-SEQUENCE")?.value) || 0,
    discontinuitySequence: integer(find0(tags, "EXT-X-DISCONTINUITY-SEQUENCE")?.value) || 0,
    target: integer(find0(tags, "EXT-X-TARGETDURATION")?.value),
    partTarget: numeric(find0(tags, "EXT-X-PART-INF"), "PART-TARGET"),
    skipped: integer(attribute(find0(tags, "EXT-X-SKIP"), "SKIPPED-SEGMENTS")) || 0,
    complete,
    open,
    ended: find0(tags, "EXT-X-ENDLIST") !== undefined,
    variants,
    problems,
  };
}

function find0(tags: readonly Tag[], name: string): Tag | undefined {
  return tags.find((tag) => tag.name === name);
}

function partOf(tag: Tag): PartTag {
  return {
    uri: attribute(tag, "URI") ?? "",
    duration: numeric(tag, "DURATION"),
    independent: attribute(tag, "INDEPENDENT") === "YES",
    gap: attribute(tag, "GAP") === "YES",
    line: tag.value,
  };
}

function tagOf(line: string, problems: { name: string; text: string }[]): Tag {
  const colon = line.indexOf(":");
  const name = colon < 0 ? line.slice(1) : line.slice(1, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1);
  const attributes = new Map<string, string>();
  if (attributeLists.has(name)) {
    // rfc8216bis 4.2: NAME=value, quoted strings without line feeds and quotes, no white space.
    const pattern = /([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(,|$)/y;
    while (pattern.lastIndex < value.length) {
      const match = pattern.exec(value);
      if (!match) {
        problems.push({ name: "attribute-syntax", text: line });
        break;
      }
      const [, key, raw] = match;
      if (attributes.has(key!)) problems.push({ name: "attribute-twice", text: `${key} in ${line}` });
      attributes.set(key!, raw!.startsWith('"') ? raw!.slice(1, -1) : raw!);
    }
    if (value === "" || value.endsWith(",")) problems.push({ name: "attribute-syntax", text: line });
  }
  return { name, value, attributes };
}

/** rfc8216bis 4.2 decimal-integer; NaN for anything else. */
export function integer(text: string | undefined): number {
  return text !== undefined && /^\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
}

/** rfc8216bis 4.2 decimal-floating-point; NaN for anything else. */
export function decimal(text: string | undefined): number {
  return text !== undefined && /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
}
