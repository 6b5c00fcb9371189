import type { Stretch } from "../live/recordings.ts";
import {
  type Edit,
  interleave,
  MovieTrack,
  movieHead,
  movieTimescale,
  parameterSets,
} from "../packager/movie.ts";
import { firstOf } from "../packager/search.ts";
import { shownSize, type Track } from "../packager/track.ts";
import { Contents, type Reel, type StoredInit } from "./contents.ts";
import { readJournal } from "./journal.ts";
import { eachSample, readSamples, type SampleMap, type StoredSample } from "./samples.ts";

/** One progressive MP4 of a recording: its first bytes, and where all others lie. Lists are by chunk, in the order in which they stand in the file. */
export interface MoviePlan {
  readonly head: Uint8Array<ArrayBuffer>;
  /** Bytes of all of it. */
  readonly length: number;
  readonly seconds: number;
  /** Whatever is recorded from now on does not change it. */
  readonly settled: boolean;
  /** Renditions that it is made of. */
  readonly names: readonly string[];
  readonly name: Uint8Array<ArrayBuffer>;
  /** Where the chunk stands in the movie. */
  readonly at: Float64Array<ArrayBuffer>;
  /** The media file, and the range of it in which the chunk's samples lie among other boxes. */
  readonly file: Uint32Array<ArrayBuffer>;
  readonly offset: Float64Array<ArrayBuffer>;
  readonly bytes: Uint32Array<ArrayBuffer>;
  /** Of the samples in that range, which do not belong to it. */
  readonly skip: Uint32Array<ArrayBuffer>;
  /** What stands before them, by its place in `prefixes`. */
  readonly prefix: Uint16Array<ArrayBuffer>;
  readonly prefixes: readonly Uint8Array[];
}

/** Media that lie in one piece, as the journal has them. */
interface Piece {
  readonly dts: number;
  readonly track: Track;
  readonly file: number;
  readonly offset: number;
  readonly byteLength: number;
  /** In the journal: views of their own of an hour of parts would cost more than the parts. */
  readonly samples: SampleMap;
  readonly duration: number;
}

/** What a chunk is made of, while it grows. */
interface Source {
  readonly file: number;
  readonly offset: number;
  bytes: number;
  readonly skip: number;
  readonly prefix: Uint8Array;
}

/** Chunks are about a second long: players read ahead by whole ones, and senders hold one in memory. */
const chunkSeconds = 1;
const maxChunkBytes = 4 << 20;
/** Less than this between two pieces is not silence. */
const holeSeconds = 0.2;
/** What is cut out of the timeline is whole ticks in every track. */
const cutSeconds = 0.04;
/** No picture waits for longer than this many pieces. */
const shownPieces = 4;
/** A decoder of sound needs what came before to give the first frame right. */
const prerollFrames = 2;

/**
 * Plans a movie of the recording that `journal` is of, as far as it goes: the picture nobody encoded or else the highest,
 * with its sound. What nobody sent is left out. Undefined where nothing is recorded in that stretch.
 */
export function planMovie(journal: Uint8Array, stretch?: Stretch): MoviePlan | undefined {
  const { contents, pieces } = piecesOf(journal);
  const { begin } = contents;
  const origin = beginningOf(contents);
  if (!begin || begin.temporary || origin === undefined) return undefined;
  const picture = pictureOf(contents.reels);
  const sound = contents.reel("audio");
  const media = [picture, sound].flatMap((reel) => {
    const list = reel ? pieces[reel.index]! : [];
    return reel && list.length > 0 ? [{ name: reel.name, list, timescale: list[0]!.track.timescale }] : [];
  });
  const holes = holesIn(media);
  let from = stretch ? origin + stretch.from : Number.NEGATIVE_INFINITY;
  const to = stretch ? origin + stretch.to : Number.POSITIVE_INFINITY;
  const made: Made[] = [];
  for (const one of media) {
    const track = make(one, { from, to, holes });
    if (!track) continue;
    made.push(track);
    if (stretch?.exact === false && track.kind === "video") from = track.shownFrom;
  }
  if (made.length === 0) return undefined;
  const outFrom = Math.max(holes.out(from), Math.min(...made.map(({ first }) => first)));
  const edits = made.map((one) => editOf(one, outFrom, holes.out(to)));
  const shown = made.map((one, i) => ({ one, edit: edits[i]! })).filter(({ edit }) => edit.to > edit.from);
  if (shown.length === 0) return undefined;
  const settled = contents.endedMs !== undefined || made.every(({ whole }) => whole);
  return { ...planOf(shown, begin.epochMs + outFrom * 1000), settled };
}

/** Seconds from the broadcast's time 0 to where its recording begins; undefined while it has nothing. */
function beginningOf({ reels }: Contents): number | undefined {
  const starts = reels.flatMap(({ rows, open, inits }) => {
    const first = rows[0] ?? open;
    return first ? [first.dts / (inits[0]?.track.timescale ?? 1)] : [];
  });
  return starts.length > 0 ? Math.min(...starts) : undefined;
}

function piecesOf(journal: Uint8Array): { contents: Contents; pieces: Piece[][] } {
  const contents = new Contents();
  const pieces: Piece[][] = [];
  const tracks = new Map<string, Track>();
  const known = new Map<StoredInit, Track>();
  /** One for all that decode alike: an encoder that comes back, or a next file, has a track of its own. */
  const trackLike = (init: StoredInit): Track => {
    let track = known.get(init);
    if (!track) {
      const text = JSON.stringify({ ...init.track, config: [...init.track.config] });
      track = tracks.get(text) ?? init.track;
      tracks.set(text, track);
      known.set(init, track);
    }
    return track;
  };
  for (const { entry, end } of readJournal(journal)) {
    const reel = entry.type === "part" ? contents.reels[entry.rendition] : undefined;
    const open = reel?.open;
    const at = reel?.fileBytes ?? 0;
    const dts = open ? open.dts + open.duration : 0;
    if (!contents.apply(entry)) break;
    if (entry.type === "file") pieces[entry.rendition] ??= [];
    if (entry.type !== "part" || !reel || !open || entry.samples.length === 0) continue;
    const init = reel.inits.find(({ version }) => version === open.version);
    if (!init) continue;
    const track = trackLike(init);
    const { byteLength, duration } = entry;
    const samples = { bytes: journal, from: end - entry.samples.length, end };
    pieces[reel.index]!.push({ dts, track, file: open.file, offset: at, byteLength, samples, duration });
  }
  return { contents, pieces };
}

/** The picture as it was sent, else the largest that was made of it. */
function pictureOf(reels: readonly Reel[]): Reel | undefined {
  const height = ({ inits }: Reel): number => {
    const track = inits.at(-1)!.track;
    return track.kind === "video" ? shownSize(track).height : 0;
  };
  const pictures = reels.filter(({ inits, bytes }) => bytes > 0 && inits.at(-1)?.track.kind === "video");
  const source = pictures.find(({ name }) => name === "source");
  return source ?? pictures.sort((a, b) => height(b) - height(a))[0];
}

/** Where no track has anything: these stretches are cut out. */
interface Holes {
  /** Seconds that are cut out before this moment. */
  before(seconds: number): number;
  /** A moment of the broadcast as one of the movie. */
  out(seconds: number): number;
}

function holesIn(media: readonly { list: readonly Piece[]; timescale: number }[]): Holes {
  const holes: { start: number; end: number; cut: number }[] = [];
  const next = media.map(() => 0);
  const startOf = (i: number): number => {
    const piece = media[i]!.list[next[i]!];
    return piece ? piece.dts / media[i]!.timescale : Number.POSITIVE_INFINITY;
  };
  // All pieces by time: each list has them so.
  for (let end: number | undefined; ; ) {
    let first = 0;
    for (let i = 1; i < media.length; i++) if (startOf(i) < startOf(first)) first = i;
    const start = media.length > 0 ? startOf(first) : Number.POSITIVE_INFINITY;
    if (start === Number.POSITIVE_INFINITY) break;
    const { list, timescale } = media[first]!;
    const piece = list[next[first]!]!;
    next[first]!++;
    if (end !== undefined && start - end > holeSeconds) {
      const gap = Math.min(start - end, ...media.map((one) => shownGap(one, start)));
      holes.push({ start: end, end: start, cut: Math.max(0, Math.floor(gap / cutSeconds)) * cutSeconds });
    }
    end = Math.max(end ?? start, (piece.dts + piece.duration) / timescale);
  }
  const before = (seconds: number): number =>
    holes.reduce((sum, hole) => (hole.start < seconds ? sum + hole.cut : sum), 0);
  return {
    before,
    out(seconds) {
      if (!Number.isFinite(seconds)) return seconds;
      const inside = holes.find(({ start, end }) => start < seconds && seconds < end);
      const at = inside ? inside.end : seconds;
      return at - before(at);
    },
  };
}

/** Seconds in which a track shows nothing before `start`. Pictures that waited for others may be shown long after the last one came. */
function shownGap({ list, timescale }: Parameters<typeof holesIn>[0][number], start: number): number {
  const next = list.findIndex(({ dts }) => dts >= start * timescale - 1);
  if (next <= 0) return Number.POSITIVE_INFINITY;
  const times = (piece: Piece): { from: number; to: number }[] => {
    let dts = piece.dts;
    return samplesOf(piece).map(({ duration, shift }) => {
      dts += duration;
      return { from: dts - duration + shift, to: dts + shift };
    });
  };
  const before = list.slice(Math.max(0, next - shownPieces), next).flatMap(times);
  const after = list.slice(next, next + shownPieces).flatMap(times);
  const last = Math.max(...before.map(({ to }) => to));
  return (Math.min(...after.map(({ from }) => from)) - last) / timescale;
}

/** A track of the movie; seconds are of the movie. */
interface Made {
  readonly kind: Track["kind"];
  readonly name: string;
  readonly track: MovieTrack;
  readonly sources: readonly Source[];
  /** Where its first picture or sound is shown, and where the last one ends. */
  readonly first: number;
  readonly end: number;
  /** The same as `first` in the broadcast's time. */
  readonly shownFrom: number;
  /** Something is recorded behind it. */
  readonly whole: boolean;
}

function make(
  { name, list, timescale }: { name: string; list: readonly Piece[]; timescale: number },
  { from, to, holes }: { from: number; to: number; holes: Holes },
): Made | undefined {
  const kind = list[0]!.track.kind;
  const start = kind === "video" ? keyBefore(list, from * timescale) : soundBefore(list, from * timescale);
  if (!start) return undefined;
  const track = new MovieTrack(timescale);
  const sources: Source[] = [];
  const prefixes = new Map<Track, Uint8Array>(list.map((piece) => [piece.track, nothing]));
  for (const other of [...prefixes.keys()])
    if (other !== list[start.piece]!.track) prefixes.set(other, parameterSets(other));
  const limit = to * timescale;
  let first: number | undefined;
  let end = 0;
  let shownFrom = 0;
  let source: (Source & { readonly track: Track; readonly began: number; next: number }) | undefined;
  // Of the piece that is read: what its samples are told by one function, which is made once for an hour of them.
  let piece = list[start.piece]!;
  let before = nothing;
  let [cut, dts, skip, left] = [0, 0, 0, start.sample];
  let taken = false;
  const begin = (prefix: Uint8Array): void => {
    const { file, offset, byteLength } = piece;
    const joins =
      prefix.length === 0 &&
      source !== undefined &&
      source.file === file &&
      source.offset + source.bytes === offset &&
      source.track === piece.track &&
      source.next === piece.dts &&
      piece.dts - source.began < chunkSeconds * timescale &&
      source.bytes + byteLength <= maxChunkBytes;
    if (joins) source!.bytes += byteLength;
    else {
      track.use(piece.track);
      track.begin(dts - cut);
      source = {
        ...{ file, offset, bytes: byteLength, skip, prefix },
        ...{ track: piece.track, began: dts, next: 0 },
      };
      sources.push(source);
    }
  };
  const take = (_: number, size: number, timing: number, shift: number): void => {
    const duration = timing >>> 1;
    if (left > 0) left--;
    else if (dts < limit) {
      const key = (timing & 1) === 1;
      const prefix = key ? before : nothing;
      if (!taken || prefix.length > 0) begin(prefix);
      taken = true;
      track.add(prefix.length + size, duration, shift, key);
      const shown = dts + shift;
      if (first === undefined) {
        first = shown - cut;
        shownFrom = shown / timescale;
      }
      if (shown + duration - cut > end) end = shown + duration - cut;
    }
    dts += duration;
    skip += size;
  };
  for (let i = start.piece; i < list.length; i++) {
    piece = list[i]!;
    if (piece.dts >= limit) break;
    cut = Math.round(holes.before((piece.dts + piece.duration / 2) / timescale) * timescale);
    before = prefixes.get(piece.track)!;
    dts = piece.dts;
    skip = 0;
    taken = false;
    eachSample(piece.samples, take);
    if (source !== undefined) source.next = dts;
  }
  if (first === undefined) return undefined;
  const whole = list.at(-1)!.dts >= limit;
  return { kind, name, track, sources, first: first / timescale, end: end / timescale, shownFrom, whole };
}

const nothing: Uint8Array = new Uint8Array();

interface Place {
  readonly piece: number;
  readonly sample: number;
}

/** The last picture at or before this tick that a decoder can begin with, else the first one after it. */
function keyBefore(list: readonly Piece[], tick: number): Place | undefined {
  const at = lastAt(list, tick);
  for (let i = at; i >= 0; i--) {
    const found = find(list[i]!, (sample, dts) => sample.key && (dts + sample.shift <= tick || i < at), true);
    if (found !== undefined) return { piece: i, sample: found };
  }
  for (let i = 0; i < list.length; i++) {
    const found = find(list[i]!, ({ key }) => key, false);
    if (found !== undefined) return { piece: i, sample: found };
  }
  return undefined;
}

function soundBefore(list: readonly Piece[], tick: number): Place {
  const first = list[0]!.track;
  const early = tick - (first.kind === "audio" ? prerollFrames * first.frameTicks : 0);
  const piece = Math.max(0, lastAt(list, early));
  return { piece, sample: find(list[piece]!, ({ duration }, dts) => dts + duration > early, false) ?? 0 };
}

/** The last piece that begins at or before this tick; -1 where none does. */
function lastAt(list: readonly Piece[], tick: number): number {
  return firstOf(list.length, (i) => list[i]!.dts > tick) - 1;
}

function samplesOf({ samples: { bytes, from, end } }: Piece): readonly StoredSample[] {
  return readSamples(bytes.subarray(from, end)) ?? [];
}

function find(
  piece: Piece,
  wanted: (sample: StoredSample, dts: number) => boolean,
  last: boolean,
): number | undefined {
  let { dts } = piece;
  let found: number | undefined;
  for (const [i, sample] of samplesOf(piece).entries()) {
    if (wanted(sample, dts)) {
      if (!last) return i;
      found = i;
    }
    dts += sample.duration;
  }
  return found;
}

/** What of the track is shown in a movie that goes from `from` to `to`, in its seconds. */
function editOf({ track, first, end }: Made, from: number, to: number): Edit {
  const { timescale, first: zero } = track;
  const start = Math.max(first, from);
  return {
    from: Math.max(0, Math.round(start * timescale) - zero),
    to: Math.round(Math.min(end, to) * timescale) - zero,
    delay: Math.max(0, Math.round((start - from) * movieTimescale)),
  };
}

function planOf(shown: readonly { one: Made; edit: Edit }[], createdMs: number): Omit<MoviePlan, "settled"> {
  const tracks = shown.map(({ one }) => one.track);
  const edits = shown.map(({ edit }) => edit);
  const order = interleave(tracks, edits);
  const head = movieHead(tracks, edits, order, createdMs) as Uint8Array<ArrayBuffer>;
  const count = order.length;
  const prefixes = [...new Set(shown.flatMap(({ one }) => one.sources.map(({ prefix }) => prefix)))];
  const plan = {
    head,
    names: shown.map(({ one }) => one.name),
    ...{ name: new Uint8Array(count), at: new Float64Array(count), file: new Uint32Array(count) },
    ...{ offset: new Float64Array(count), bytes: new Uint32Array(count), skip: new Uint32Array(count) },
    prefix: new Uint16Array(count),
    prefixes,
  };
  let at = head.length;
  for (const [i, { track, chunk }] of order.entries()) {
    const { file, offset, bytes, skip, prefix } = shown[track]!.one.sources[chunk]!;
    plan.name[i] = track;
    plan.at[i] = at;
    plan.file[i] = file;
    plan.offset[i] = offset;
    plan.bytes[i] = bytes;
    plan.skip[i] = skip;
    plan.prefix[i] = prefixes.indexOf(prefix);
    at += tracks[track]!.bytesOf(chunk);
  }
  const ends = edits.map(
    ({ from, to, delay }, i) => delay / movieTimescale + (to - from) / tracks[i]!.timescale,
  );
  return { ...plan, length: at, seconds: Math.max(...ends) };
}
