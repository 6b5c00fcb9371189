import type { AmfObject, AmfValue } from "./amf.ts";
import { fromBase64 } from "./base64.ts";
import { quotable } from "./quoted.ts";

/** Something that the publisher says of a moment of the broadcast: an EXT-X-DATERANGE (rfc8216bis 4.4.5.1). */
export interface Cue {
  /** Unique in the broadcast, also over restarts. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  readonly durationMs: number | undefined;
  /** How long it is meant to last, while nobody knows better. */
  readonly plannedMs?: number | undefined;
  /** When the publisher said it: of one that ends another, later than `startMs`. */
  readonly saidMs: number;
  /** The publisher's own name for it, fit for a quoted string. */
  readonly name: string | undefined;
  /** A splice_info_section of SCTE 35, and which attribute carries it. */
  readonly splice:
    | {
        readonly kind: "OUT" | "IN" | "CMD";
        readonly bytes: Uint8Array;
        /** splice_event_id: the way out and the way back in have the same. */
        readonly event?: number | undefined;
      }
    | undefined;
}

/** What an `onCuePoint` says, without its place in the broadcast. */
type Said = Omit<Cue, "id" | "startMs" | "saidMs">;

/** SCTE 35 9.2: a section has at most 4093 bytes behind its length. */
const maxSection = 4096;
const maxName = 128;
/** More at a time is no programme any more; the oldest goes. */
const maxCues = 256;

/** Reads the value of `onCuePoint`, SCTE 35 in it as base64 or hex; undefined where it says nothing. */
export function readCue(value: AmfValue): Said | undefined {
  const cue = objectOf(value);
  if (!cue) return undefined;
  const inner = objectOf(cue.parameters) ?? {};
  const first = (...keys: readonly string[]): AmfValue | undefined =>
    keys.map((key) => cue[key] ?? inner[key]).find((one) => one !== undefined && one !== null);
  const text = [cue.name, inner.name].find((one) => typeof one === "string");
  const splice = spliceOf(first("scte35", "data", "cue", "message"));
  const seconds = first("duration");
  const name = typeof text === "string" ? quotable(text).slice(0, maxName) : undefined;
  if (!splice && !name) return undefined;
  const stated = typeof seconds === "number" && seconds >= 0 && seconds < 86_400 ? seconds * 1000 : undefined;
  return {
    name: name || undefined,
    // What a splice out says is a plan: the one back in ends it.
    ...(splice?.kind === "OUT"
      ? { durationMs: undefined, plannedMs: stated ?? splice.durationMs }
      : { durationMs: stated }),
    splice: splice && { kind: splice.kind, bytes: splice.bytes, event: splice.event },
  };
}

interface Splice {
  readonly kind: "OUT" | "IN" | "CMD";
  readonly bytes: Uint8Array;
  readonly event: number | undefined;
  readonly durationMs: number | undefined;
}

function spliceOf(value: AmfValue | undefined): Splice | undefined {
  if (typeof value !== "string" || value.length > 2 * maxSection + 2) return undefined;
  const bytes = /^(0x)?([0-9a-f]{2})+$/i.test(value) ? fromHex(value.replace(/^0x/i, "")) : fromBase64(value);
  // SCTE 35 9.6: table_id 0xfc, then 4 bits of flags and 12 of length.
  if (!bytes || bytes.length < 17 || bytes[0] !== 0xfc) return undefined;
  if ((((bytes[1]! & 15) << 8) | bytes[2]!) !== bytes.length - 3) return undefined;
  const command: Splice = { kind: "CMD", bytes, event: undefined, durationMs: undefined };
  // splice_command_type 5 is splice_insert (9.7.3); behind its id stand the flags that say which way it goes.
  if (bytes[13] !== 5 || bytes.length < 20 || (bytes[18]! & 0x80) !== 0) return command;
  const event = bytes.subarray(14, 18).reduce((n, b) => n * 256 + b, 0);
  const clear = { ...command, event };
  const flags = bytes[19]!;
  if ((flags & 0x80) === 0) return { ...clear, kind: "IN" };
  const [program, timed, immediate] = [flags & 0x40, flags & 0x20, flags & 0x10];
  // splice_time: five bytes where it has a time, else one.
  const at = 20 + (program && !immediate ? ((bytes[20] ?? 0) & 0x80 ? 5 : 1) : 0);
  if (!timed || !program || bytes.length < at + 5) return { ...clear, kind: "OUT" };
  const ticks = (bytes[at]! & 1) * 2 ** 32 + bytes.subarray(at + 1, at + 5).reduce((n, b) => n * 256 + b, 0);
  return { ...clear, kind: "OUT", durationMs: Math.round(ticks / 90) };
}

/** The cues of one broadcast, for as long as a playlist may show them. */
export class Cues {
  #cues: Cue[] = [];
  #count = 0;

  add({ startMs, ...said }: Omit<Cue, "id" | "saidMs">): void {
    const at = Math.round(startMs);
    const out = this.#outOf(said.splice);
    // 4.4.5.1.1: both ways of one splice have one ID; what both tags say is the same (4.4.5.1).
    if (out && at >= out.startMs)
      this.#cues.push({
        ...said,
        id: out.id,
        startMs: out.startMs,
        durationMs: at - out.startMs,
        saidMs: at,
      });
    else this.#cues.push({ ...said, id: `${at}-${++this.#count}`, startMs: at, saidMs: at });
    if (this.#cues.length > maxCues) this.#cues.shift();
  }

  /** The way out that this one leads back from. */
  #outOf(splice: Cue["splice"]): Cue | undefined {
    if (splice?.kind !== "IN") return undefined;
    const last = this.#cues.findLast((cue) => cue.splice?.event === splice.event);
    return last?.splice?.kind === "OUT" ? last : undefined;
  }

  /** Those that last into the time from `fromMs` on: a playlist may forget one once its media has gone (4.4.5.1). */
  since(fromMs: number): readonly Cue[] {
    return this.#cues.filter((cue) => endOf(cue) >= fromMs);
  }

  /** The ids of those that left the playlists in the last `spanMs`, when these began at `fromMs` (4.4.5.2). */
  removed(fromMs: number, spanMs: number): readonly string[] {
    const listed = new Set(this.since(fromMs).map(({ id }) => id));
    const gone = this.#cues.filter((cue) => endOf(cue) < fromMs && endOf(cue) >= fromMs - spanMs);
    return [...new Set(gone.map(({ id }) => id))].filter((id) => !listed.has(id));
  }
}

function endOf({ startMs, durationMs, plannedMs }: Cue): number {
  return startMs + (durationMs ?? plannedMs ?? 0);
}

/** The tag of a cue. */
export function cueLine({ id, startMs, durationMs, plannedMs, name, splice }: Omit<Cue, "saidMs">): string {
  let text = `#EXT-X-DATERANGE:ID="${id}",START-DATE="${new Date(startMs).toISOString()}"`;
  if (durationMs !== undefined) text += `,DURATION=${(durationMs / 1000).toFixed(3)}`;
  if (plannedMs !== undefined) text += `,PLANNED-DURATION=${(plannedMs / 1000).toFixed(3)}`;
  // 4.4.5.1.1: the section as it is; OUT and IN for splice_insert by its direction.
  if (splice) text += `,SCTE35-${splice.kind}=0x${hex(splice.bytes)}`;
  // 4.4.5.1: a client attribute is X- and a reverse name of whom it belongs to.
  if (name) text += `,X-SLUICE-NAME="${name}"`;
  return `${text}\n`;
}

function objectOf(value: AmfValue | undefined): AmfObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as AmfObject)
    : undefined;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"))
    .join("")
    .toUpperCase();
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
