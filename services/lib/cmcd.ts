/**
 * What a player says of itself: Common Media Client Data, CTA-5004 and its version 2 (CTA-5004-B). Only the keys that
 * somebody here asks for; each is absent where it was not said or makes no sense.
 */
export interface Cmcd {
  /** `sid`: the same for one playback whatever it loads; 64 characters at most. */
  readonly session?: string;
  /** `sf` */
  readonly format?: "hls" | "dash" | "other";
  /** `sta` (v2): one letter; s starting, p playing, k seeking, r out of media, a paused, w waiting, e ended, f failed, q left. */
  readonly state?: string;
  /** `e` (v2): why a report is sent; t is time, ps another state, e an error. */
  readonly event?: string;
  /** `ts` (v2): epoch ms. */
  readonly atMs?: number;
  /** `bs`: it ran out of media since the last request. */
  readonly starved?: true;
  /** `mtp`: measured throughput. */
  readonly throughputKbps?: number;
  /** `br`: of what it asks for, or plays. */
  readonly bitrateKbps?: number;
  /** `bl` */
  readonly bufferMs?: number;
  /** `pr`: 1 is real time, 0 stands still. */
  readonly playbackRate?: number;
  /** `ltc` (v2): behind live. */
  readonly latencyMs?: number;
  /** `msd` (v2): from the wish to play to the first picture. */
  readonly startupMs?: number;
}

/** More than this is no player's: the longest of the headers and of all keys together is a fraction of it. */
export const maxCmcdBytes = 4_096;

const maxSession = 64;
const formats: Readonly<Record<string, NonNullable<Cmcd["format"]>>> = {
  h: "hls",
  d: "dash",
  s: "other",
  o: "other",
};
/** Numbers beyond are typing errors, and would weigh on every mean. */
const most = 1e9;

type Mutable = { -readonly [Key in keyof Cmcd]: Cmcd[Key] };

/** What one dictionary says: the value of a header, of the parameter `CMCD` once decoded, or a line of a report. Never throws. */
export function parseCmcd(text: string): Cmcd {
  const said: Mutable = {};
  if (text.length > maxCmcdBytes) return said;
  let at = 0;
  while (at < text.length) {
    const end = endOfMember(text, at);
    take(said, text.slice(at, end).trim());
    at = end + 1;
  }
  return said;
}

/** What a request says: in its query (without `?`) or in the four headers. undefined where it says nothing. */
export function cmcdOf(
  query: string,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Cmcd | undefined {
  const inQuery = query.length > 0 ? parameterOf(query) : undefined;
  if (inQuery !== undefined) return parseCmcd(inQuery);
  const session = headers["cmcd-session"];
  const request = headers["cmcd-request"];
  const object = headers["cmcd-object"];
  const status = headers["cmcd-status"];
  if (session === undefined && request === undefined && object === undefined && status === undefined)
    return undefined;
  // Which key stands in which header is for caches that read one of them.
  return parseCmcd([session, request, object, status].filter((one) => one !== undefined).join(","));
}

function parameterOf(query: string): string | undefined {
  const at = query.startsWith("CMCD=") ? 0 : query.indexOf("&CMCD=") + 1;
  if (at === 0 && !query.startsWith("CMCD=")) return undefined;
  const from = at + "CMCD=".length;
  const end = query.indexOf("&", from);
  const value = query.slice(from, end < 0 ? undefined : end);
  if (value.length > 3 * maxCmcdBytes) return undefined;
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

/** Where the member that begins at `from` ends: at a comma that stands neither in a string nor in a list. */
function endOfMember(text: string, from: number): number {
  let quoted = false;
  let depth = 0;
  for (let i = from; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (quoted) {
      if (char === 0x5c) i++;
      else if (char === 0x22) quoted = false;
    } else if (char === 0x22) quoted = true;
    else if (char === 0x28) depth++;
    else if (char === 0x29) depth--;
    else if (char === 0x2c && depth <= 0) return i;
  }
  return text.length;
}

function take(said: Mutable, member: string): void {
  const equals = member.indexOf("=");
  const key = equals < 0 ? member : member.slice(0, equals);
  const value = equals < 0 ? "" : member.slice(equals + 1);
  switch (key) {
    case "sid": {
      const session = stringOf(value);
      if (session !== undefined && session.length > 0 && session.length <= maxSession) said.session = session;
      return;
    }
    case "sf":
      if (Object.hasOwn(formats, value)) said.format = formats[value]!;
      return;
    case "sta":
      if (/^[a-z]$/.test(value)) said.state = value;
      return;
    case "e":
      if (/^[a-z]{1,3}$/.test(value)) said.event = value;
      return;
    case "bs":
      // A key without a value is true; `?0` and `?1` are a boolean written out.
      if (value !== "?0") said.starved = true;
      return;
    case "ts":
      return put(said, "atMs", value, 8.64e15);
    case "mtp":
      return put(said, "throughputKbps", value);
    case "br":
      return put(said, "bitrateKbps", value);
    case "bl":
      return put(said, "bufferMs", value);
    case "pr":
      return put(said, "playbackRate", value, 100);
    case "ltc":
      return put(said, "latencyMs", value);
    case "msd":
      return put(said, "startupMs", value);
  }
}

function put(
  said: Mutable,
  field: { [Key in keyof Cmcd]-?: Cmcd[Key] extends number | undefined ? Key : never }[keyof Cmcd],
  value: string,
  limit = most,
): void {
  // Version 2 has lists, one entry for each kind of object: that of the video where one is marked so, else the first.
  const inner = value.startsWith("(") ? value.slice(1, value.endsWith(")") ? -1 : undefined).trim() : value;
  const entries = inner.split(/\s+/, 16);
  const entry = entries.find((one) => /;(?:v|av)\b/.test(one)) ?? entries[0] ?? "";
  const digits = entry.split(";", 1)[0]!;
  if (!/^\d{1,16}(?:\.\d{1,6})?$/.test(digits)) return;
  const number = Number(digits);
  if (number <= limit) said[field] = number;
}

/** RFC 8941 3.3.3; players that leave the quotes out are understood. */
function stringOf(value: string): string | undefined {
  const inner = /^"((?:[^"\\]|\\["\\])*)"$/.exec(value)?.[1]?.replace(/\\(["\\])/g, "$1") ?? value;
  return /^[\x20-\x7e]*$/.test(inner) && (inner !== value || /^[\w.:-]+$/.test(value)) ? inner : undefined;
}
