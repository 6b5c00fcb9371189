import type { Readable } from "../live/programme.ts";
import type { Segment } from "../packager/track.ts";
import type { GroupOrder, Location } from "./codec/messages.ts";
import type { FetchedObject } from "./codec/objects.ts";

/** What of one track can be fetched. */
export interface Kept {
  readonly rendition: Readable;
  readonly version: number;
  /** Whose segments begin the groups: the picture's, for sound too. */
  readonly reference: Readable | undefined;
}

const moof = 0x6d6f_6f66;

/** One group of a track: the segments from one that a decoder can begin with to the next such. */
interface KeptGroup {
  readonly id: number;
  readonly segments: readonly Segment[];
}

/** The number of the group that begins with segment `number`: the wall clock at the broadcast's beginning never changes, and no two share one. */
export const groupOf = (epochMs: number, number: number): number => epochMs + number;

/** Complete groups of a track from group `first` to `last`, both included, and what there is of the one that is made. */
function groupsOf({ rendition, version, reference }: Kept, first: number, last: number): KeptGroup[] {
  const { epochMs } = rendition.shown;
  const rows = rendition.rows();
  const begins = beginnings(rendition, reference);
  const groups: { id: number; segments: Segment[] }[] = [];
  const oldest = rows[0]?.number ?? 0;
  for (let i = Math.max(0, first - epochMs - oldest); i < rows.length; i++) {
    const row = rows[i]!;
    const begin = !row.gap && begins(row);
    if (begin && groupOf(epochMs, row.number) > last) break;
    if (row.gap || row.version !== version) continue;
    if (begin) groups.push({ id: groupOf(epochMs, row.number), segments: [row] });
    else groups.at(-1)?.segments.push(row);
  }
  return groups;
}

/** Whether a segment begins a group. */
function beginnings(rendition: Readable, reference: Readable | undefined): (segment: Segment) => boolean {
  if (rendition.track.kind === "video" || !reference || reference === rendition)
    return ({ independent }) => independent;
  const rows = reference.rows();
  const oldest = rows[0]?.number ?? 0;
  const { open } = reference.shown;
  return ({ number }) => (open?.number === number ? open : rows[number - oldest])?.independent ?? true;
}

/** The newest object that can be fetched; undefined before there is one. */
export async function largestOf(kept: Kept): Promise<Location | undefined> {
  const { rendition } = kept;
  const { epochMs } = rendition.shown;
  const last = rendition.rows().at(-1)?.number;
  if (last === undefined) return undefined;
  const oldest = groupOf(epochMs, rendition.rows()[0]!.number);
  // A group is seldom longer than a few segments.
  for (let back = 8; ; back *= 4) {
    const from = Math.max(oldest, groupOf(epochMs, last) - back);
    const group = groupsOf(kept, from, Number.POSITIVE_INFINITY).at(-1);
    if (group) {
      let object = -1;
      const whole = { start: { group: group.id, object: 0 }, end: { group: group.id, object: 0 } };
      for await (const one of objectsOf(kept, whole)) object = one.object;
      return object < 0 ? undefined : { group: group.id, object };
    }
    if (from === oldest) return undefined;
  }
}

/** Objects from `start` up to but without `end`, read as they are asked for; `end.object` 0 is the whole of its group. */
export async function* objectsOf(
  kept: Kept,
  {
    start,
    end,
    order = "ascending",
  }: { readonly start: Location; readonly end: Location; readonly order?: GroupOrder | undefined },
): AsyncGenerator<FetchedObject> {
  const { rendition, version } = kept;
  const groups = groupsOf(kept, start.group, end.group);
  if (order === "descending") groups.reverse();
  for (const { id, segments } of groups) {
    let object = 0;
    group: for (const { number } of segments) {
      const pieces = await rendition.segment(number, version);
      // What has left the disk meanwhile is a hole, with whatever of its group follows.
      if (!pieces) break;
      for (const payload of chunksOf(pieces)) {
        const at = object++;
        if (id === start.group && at < start.object) continue;
        if (id === end.group && end.object > 0 && at >= end.object) break group;
        yield { group: id, object: at, payload };
      }
    }
  }
}

/** A segment's chunks: each begins with a moof. */
function* chunksOf(pieces: readonly Uint8Array[]): Generator<Uint8Array> {
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let begin = 0;
  for (let at = 0; at + 8 <= bytes.length; ) {
    if (view.getUint32(at + 4) === moof && at > begin) {
      yield bytes.subarray(begin, at);
      begin = at;
    }
    const size = view.getUint32(at);
    if (size < 8) break;
    at += size;
  }
  if (begin < bytes.length) yield bytes.subarray(begin);
}

/** A row of a media timeline (draft-ietf-moq-msf-01 7): milliseconds of media, place, milliseconds since 1970. */
export type TimelineRow = readonly [
  mediaMs: number,
  place: readonly [group: number, object: number],
  wallMs: number,
];

/** Where the groups of a rendition begin in time, oldest first. */
export function timelineOf(rendition: Readable): TimelineRow[] {
  const { epochMs, timescale } = rendition.shown;
  return rendition
    .rows()
    .filter(({ gap, independent }) => !gap && independent)
    .map(({ number, dts, lead = 0 }) => {
      const ms = Math.round(((dts + lead) * 1000) / timescale);
      return [ms, [groupOf(epochMs, number), 0], epochMs + ms];
    });
}
