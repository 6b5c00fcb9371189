import { Arena } from "./arena.ts";
import { initSegment, makeChunk } from "./cmaf.ts";
import { silentFrame } from "./codec/aac.ts";
import { type Cleaner, cleanerOf, trackOf } from "./codec/codec.ts";
import { type FlvTag, readAudio, readScript, readVideo } from "./flv.ts";
import { Follower } from "./follower.ts";
import { RungWriter } from "./rung.ts";
import { type Limits, type Mux, Reference, type Step } from "./segmenter.ts";
import { type Row, SegmentTable } from "./table.ts";
import { AudioGrid, snapToGrid, Timeline } from "./timeline.ts";
import { createUnwrapper } from "./timestamps.ts";
import type { AudioTrack, Entry, Track, VideoTrack } from "./track.ts";

/** How long tracks that nobody promised may take to appear, and those that onMetaData promised. */
const unpromisedMs = 300;
const promisedMs = 2_000;
/** Longer than any audio frame of 44.1 or 48 kHz, so that no audio part has to end a frame early. */
const audioFrameSeconds = 0.0235;
const leastOfTarget = 0.85;

export interface Profile {
  /** What a part aims at. */
  readonly partSeconds: number;
  /** Whole seconds. */
  readonly targetDuration: number;
}

/** What a broadcast needs to go on after its origin was restarted. */
export interface Resume {
  readonly epochMs: number;
  /** Of the reference rendition. */
  readonly timescale: number;
  /** Init versions below this are taken. */
  readonly version: number;
  /** What the playlists may have shown, oldest first; the last one was open. */
  readonly rows: readonly Row[];
}

/** Rows worth remembering: more than any playlist shows. */
const rememberedRows = 24;

/** `source`, `audio`, or the name of a rung. */
export type RenditionName = string;

export type Output =
  /** The broadcast has its constants; renditions follow. */
  | { readonly type: "start"; readonly partTarget: number }
  /** A rendition has a new init segment; the first one creates the rendition. */
  | {
      readonly type: "init";
      readonly name: RenditionName;
      readonly version: number;
      readonly track: Track;
      readonly bytes: Uint8Array;
      /** Discontinuities of the broadcast so far. */
      readonly discontinuity: number;
    }
  | { readonly type: "step"; readonly name: RenditionName; readonly step: Step };

/** What the publisher sends, as far as its owner should know. */
export interface Health {
  readonly frames: number;
  readonly bytes: number;
  /** Distance of the last two keyframes; 0 before there are two. */
  readonly gopSeconds: number;
}

interface Lane<T extends Track> {
  track: T;
  readonly raw: Uint8Array;
  readonly clean: Cleaner;
}

interface RungLane {
  readonly track: Track;
  readonly raw: Uint8Array;
  readonly clean: Cleaner;
  writer: RungWriter | undefined;
  /** Its init segment is out. */
  announced: boolean;
}

type Pending = { readonly tag: FlvTag; readonly nowMs: number };

/**
 * One broadcast from FLV tags to steps of its renditions. Pure: whoever owns it hands in the wall clock (ms since
 * 1970) with every call and carries out what comes back. Throws BadMedia; the publish that caused it should end.
 */
export class Packager {
  readonly #profile: Profile;
  readonly #resume: Resume | undefined;
  #timeline: Timeline | undefined;
  #unwrap = createUnwrapper();
  #table: SegmentTable | undefined;
  #reference: Reference | undefined;
  #follower: Follower | undefined;
  #grid: AudioGrid | undefined;
  #video: Lane<VideoTrack> | undefined;
  #audio: Lane<AudioTrack> | undefined;
  /** By init version; versions of an earlier run are empty. */
  readonly #versions: Record<RenditionName, Track[]> = {};
  readonly #rungs = new Map<RenditionName, RungLane>();
  #partTarget: number | undefined;
  #frameRate: number | undefined;
  #promised: { video: boolean; audio: boolean } | undefined;
  #pending: Pending[] = [];
  #out: Output[] = [];
  #newInit = false;
  /** A track that came late begins at the next keyframe. */
  #lateTrack = false;
  #lastKey: number | undefined;
  /** From decoding to presentation of a keyframe, in video ticks. */
  #lead = 0;
  #gopSeconds = 0;
  #frames = 0;
  #bytes = 0;

  constructor(profile: Profile, resume?: Resume) {
    this.#profile = profile;
    this.#resume = resume;
  }

  /** Milliseconds since 1970 at broadcast time 0; undefined before the first frame. */
  get epochMs(): number | undefined {
    return this.#timeline?.epochMs;
  }

  get health(): Health {
    return { frames: this.#frames, bytes: this.#bytes, gopSeconds: this.#gopSeconds };
  }

  /** What a restart goes on from; undefined before the first segment. Changes with every segment. */
  get progress(): Resume | undefined {
    if (!this.#table?.last || !this.#timeline) return undefined;
    return {
      epochMs: this.#timeline.epochMs,
      timescale: this.#table.timescale,
      version: Math.max(...Object.values(this.#versions).map((tracks) => tracks.length)),
      rows: this.#table.recent(rememberedRows),
    };
  }

  /** The open segment's number. */
  get number(): number | undefined {
    return this.#table?.last?.number;
  }

  /** A publish begins, the first or one after a break. Its first frame was received `ageMs` ago. */
  begin(nowMs: number, ageMs: number): Output[] {
    this.#timeline ??= new Timeline(nowMs - ageMs, this.#resume?.epochMs);
    this.#timeline.begin(ageMs);
    this.#unwrap = createUnwrapper();
    this.#pending = [];
    this.#promised = undefined;
    this.#lastKey = undefined;
    return this.interrupt();
  }

  /** The publish is over and another may come: what is held is written. */
  interrupt(): Output[] {
    this.#step("source", this.#reference?.interrupt());
    this.#follow();
    return this.#take();
  }

  /** One tag of the feed. Its payload must not change: it is copied once, into the chunk that carries it, a few frames later. */
  push(tag: FlvTag, nowMs: number): Output[] {
    this.#bytes += tag.payload.length;
    if (tag.type === "script") this.#script(tag);
    else if (this.#started(tag, nowMs)) this.#media(tag, nowMs);
    return this.#take();
  }

  /** The wall clock, several times per part: writes gaps where nothing comes, and starts what waited for more tracks. */
  clock(nowMs: number): Output[] {
    if (!this.#timeline) return [];
    if (this.#pending.length > 0 && this.#complete(nowMs)) this.#start();
    const reference = this.#reference;
    if (reference) {
      this.#step("source", reference.elapse(this.#ticks(this.#timeline.now(nowMs))));
      this.#follow();
    }
    return this.#take();
  }

  /** The broadcast is over. */
  end(): Output[] {
    this.#step("source", this.#reference?.end());
    this.#step("audio", this.#follower?.end());
    for (const [name, { writer }] of this.#rungs) this.#step(name, writer?.end());
    return this.#take();
  }

  /** Another encoder writes this rung from now on. */
  beginRung(name: RenditionName): Output[] {
    this.#step(name, this.#rungs.get(name)?.writer?.interrupt());
    return this.#take();
  }

  /** Nobody writes this rung any more. */
  removeRung(name: RenditionName): void {
    this.#rungs.delete(name);
  }

  /** One tag of a rung, in the raw time of the publish that is on air. Throws BadMedia. */
  pushRung(name: RenditionName, tag: FlvTag): Output[] {
    if (tag.type !== "video") return [];
    const message = readVideo(tag.payload);
    if (message.type === "config") this.#configureRung(name, message.entry, message.config);
    const lane = this.#rungs.get(name);
    const place = this.#timeline?.again(
      tag.timestampMs + (message.type === "frame" ? message.compositionMs : 0),
    );
    if (message.type !== "frame" || !lane || !place || !this.#table || !this.#video) return this.#take();
    const frame = lane.clean(message.data);
    if (!frame) return this.#take();
    if (!lane.announced) {
      lane.announced = true;
      this.#announce(name, lane.track);
    }
    lane.writer ??= new RungWriter({
      table: this.#table,
      limits: this.#limits(lane.track),
      mux: this.#muxer(name),
    });
    const pts = snapToGrid(place.raw, this.#frameRate) + place.offset * 90;
    // The source's keyframes may wait for reordering before they are shown; a rung's frames are decoded when the source's are.
    const dts = pts - this.#lead;
    this.#step(
      name,
      lane.writer.push({ dts, pts, key: frame.key, data: frame.data, version: this.#newest(name) }),
    );
    return this.#take();
  }

  #configureRung(name: RenditionName, entry: Entry, config: Uint8Array): void {
    const known = this.#rungs.get(name);
    if (config.length === 0 || (known && equal(known.raw, config))) return;
    const raw = config.slice();
    const track = trackOf(entry, raw, { frameRate: this.#frameRate });
    this.#step(name, known?.writer?.interrupt());
    this.#rungs.set(name, {
      track,
      raw,
      clean: cleanerOf(entry, raw),
      writer: known?.writer,
      announced: false,
    });
  }

  #take(): Output[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  #script(tag: FlvTag): void {
    const { name, value } = readScript(tag.payload);
    if (name !== "onMetaData" || typeof value !== "object" || value === null || Array.isArray(value)) return;
    const data = value as Readonly<Record<string, unknown>>;
    const number = (key: string): number | undefined =>
      typeof data[key] === "number" ? (data[key] as number) : undefined;
    const rate = number("framerate") ?? number("fps");
    if (rate !== undefined && rate >= 1 && rate <= 240) this.#frameRate = rate;
    const named = ["videocodecid", "audiocodecid"].map(
      (key) => data[key] !== undefined && data[key] !== 0 && data[key] !== "",
    );
    if (named[0] || named[1]) this.#promised = { video: named[0] === true, audio: named[1] === true };
  }

  /** True once the broadcast runs; until then tags are kept, and the one that completes them sets it going. */
  #started(tag: FlvTag, nowMs: number): boolean {
    if (this.#reference) return true;
    this.#pending.push({ tag: { ...tag, payload: tag.payload.slice() }, nowMs });
    if (this.#complete(nowMs)) this.#start();
    return false;
  }

  /** Whether the tracks are known, and the frame that tells how long a frame is. */
  #complete(nowMs: number): boolean {
    const has = { video: false, audio: false };
    const frames = { video: 0, audio: 0 };
    for (const { tag } of this.#pending) {
      const message = tag.type === "video" ? readVideo(tag.payload) : readAudio(tag.payload);
      if (tag.type === "script") continue;
      if (message.type === "config" && message.config.length > 0) has[tag.type] = true;
      if (message.type === "frame" && has[tag.type]) frames[tag.type]++;
    }
    const first = this.#pending[0];
    if (!first) return false;
    const waited = Math.max(
      nowMs - first.nowMs,
      (this.#pending.at(-1)?.tag.timestampMs ?? 0) - first.tag.timestampMs,
    );
    const wanted = this.#promised;
    const missing = wanted
      ? (wanted.video && !has.video) || (wanted.audio && !has.audio)
      : !(has.video && has.audio);
    if (missing && waited < (wanted ? promisedMs : unpromisedMs)) return false;
    return has.video ? frames.video >= 2 : has.audio && frames.audio >= 2;
  }

  #start(): void {
    const pending = this.#pending;
    this.#pending = [];
    const times: number[] = [];
    for (const { tag } of pending) {
      const message = tag.type === "video" ? readVideo(tag.payload) : readAudio(tag.payload);
      if (message.type === "config")
        this.#configure(tag.type as "video" | "audio", message.entry, message.config);
      if (message.type === "frame" && tag.type === (this.#video ? "video" : "audio"))
        times.push(tag.timestampMs);
    }
    const track = this.#video?.track ?? this.#audio?.track;
    if (!track) return;
    const { partSeconds } = this.#profile;
    this.#partTarget ??= partTarget(
      partSeconds,
      track.kind === "audio" ? 0 : ((times[1] ?? 0) - (times[0] ?? 0)) / 1000,
    );
    this.#out.unshift({ type: "start", partTarget: this.#partTarget });
    const rows = this.#resumedRows(track.timescale);
    this.#table = new SegmentTable(track.timescale, rows);
    this.#reference = new Reference({
      table: this.#table,
      limits: this.#limits(track),
      audio: track.kind === "audio",
      resume: rows.length > 0 ? { rows, version: this.#newest(this.#referenceName) } : undefined,
      mux: this.#muxer(this.#referenceName),
    });
    for (const { tag, nowMs } of pending) this.#media(tag, nowMs);
  }

  #resumedRows(timescale: number): Row[] {
    const { rows = [], timescale: was = timescale } = this.#resume ?? {};
    return rows.map((row) => ({ ...row, gap: true, dts: Math.round((row.dts * timescale) / was) }));
  }

  /** Audio on its own is the reference, under its own name. */
  get #referenceName(): RenditionName {
    return this.#video ? "source" : "audio";
  }

  #limits(track: Track): Limits {
    const { partSeconds, targetDuration } = this.#profile;
    const target = this.#partTarget ?? partSeconds;
    const ticks = (seconds: number): number => Math.floor(seconds * track.timescale);
    return {
      minTicks: this.#video || track.kind === "video" ? ticks(1) : audioSegment(track),
      maxTicks: ticks(targetDuration),
      nominalTicks: ticks(Math.max(partSeconds, target - audioFrameSeconds)),
      partTicks: ticks(target),
      leastTicks: Math.ceil(target * leastOfTarget * track.timescale),
    };
  }

  #media(tag: FlvTag, nowMs: number): void {
    if (tag.type === "video") this.#pushVideo(tag, nowMs);
    else if (tag.type === "audio") this.#pushAudio(tag, nowMs);
  }

  #pushVideo(tag: FlvTag, nowMs: number): void {
    const message = readVideo(tag.payload);
    if (message.type === "config") return this.#configure("video", message.entry, message.config);
    const lane = this.#video;
    if (message.type !== "frame" || !lane || this.#referenceName !== "source") return;
    const frame = lane.clean(message.data);
    if (!frame) return;
    // Parameter sets that changed in band only.
    if (frame.config) this.#configure("video", message.entry, frame.config);
    const timeline = this.#timeline!;
    const raw = this.#unwrap(tag.timestampMs);
    const { at, stepped } = timeline.reference(raw, nowMs, this.#edgeMs(), this.#profile.partSeconds * 1000);
    if (stepped) {
      this.#grid?.reset();
      this.#lastKey = undefined;
    }
    const offset = (at - raw) * 90;
    const dts = snapToGrid(raw, this.#frameRate) + offset;
    const pts = snapToGrid(raw + message.compositionMs, this.#frameRate) + offset;
    this.#frames++;
    if (frame.key) {
      if (this.#lastKey !== undefined) this.#gopSeconds = (dts - this.#lastKey) / 90_000;
      this.#lastKey = dts;
      this.#lead = pts - dts;
    }
    const version = this.#newest("source");
    const joins = this.#lateTrack && frame.key;
    const discontinuous = stepped || this.#newInit || joins;
    this.#newInit = false;
    if (joins) this.#lateTrack = false;
    this.#step(
      "source",
      this.#reference!.push({ dts, pts, key: frame.key, data: frame.data, version, discontinuous }),
    );
    this.#follow();
  }

  #pushAudio(tag: FlvTag, nowMs: number): void {
    const message = readAudio(tag.payload);
    if (message.type === "config") return this.#configure("audio", message.entry, message.config);
    const lane = this.#audio;
    if (message.type !== "frame" || !lane) return;
    const frame = lane.clean(message.data);
    if (!frame) return;
    const timeline = this.#timeline!;
    const raw = this.#unwrap(tag.timestampMs);
    const { timescale, frameTicks } = lane.track;
    this.#grid ??= new AudioGrid(timescale, frameTicks);
    const alone = this.#referenceName === "audio";
    let at: number | undefined;
    let stepped = false;
    if (alone) {
      ({ at, stepped } = timeline.reference(raw, nowMs, this.#edgeMs(), this.#profile.partSeconds * 1000));
      if (stepped) this.#grid.reset();
    } else at = timeline.beside(raw, nowMs);
    if (at === undefined) return;
    const dts = this.#grid.place(at);
    if (dts === undefined) return;
    const { data } = frame;
    const version = this.#newest("audio");
    if (alone) {
      this.#frames++;
      const discontinuous = stepped || this.#newInit;
      this.#newInit = false;
      this.#step("audio", this.#reference!.push({ dts, pts: dts, key: true, data, version, discontinuous }));
    } else if (this.#follower) {
      this.#step(
        "audio",
        this.#follower.push({ dts, pts: dts, duration: frameTicks, key: true, data }, version),
      );
    }
  }

  /** Another decoder configuration: a new init segment behind a discontinuity, unless it is the one in force. */
  #configure(kind: "video" | "audio", entry: Entry, config: Uint8Array): void {
    // FFmpeg announces ADTS sources with an empty configuration before the real one.
    if (config.length === 0) return;
    const known = kind === "video" ? this.#video : this.#audio;
    if (known && equal(known.raw, config)) return;
    // A broadcast that began without video cannot turn into one with it: its table counts in audio ticks.
    if (kind === "video" && this.#reference && !this.#video) return;
    const raw = config.slice();
    const track = trackOf(entry, raw, { frameRate: this.#frameRate });
    const clean = cleanerOf(entry, raw);
    const name = kind === "video" ? "source" : "audio";
    if (track.kind === "video") this.#video = { track, raw, clean };
    else {
      this.#audio = { track, raw, clean };
      this.#grid = undefined;
    }
    this.#announce(name, track);
    if (!this.#reference) return;
    // The picture need not break off for sound that only begins.
    if (!known && kind === "audio") this.#lateTrack = true;
    else {
      this.#newInit = true;
      this.#step(this.#referenceName, this.#reference.interrupt());
      this.#follow();
    }
  }

  /** A new init segment; the first one makes the rendition. Versions of an earlier run are not used again. */
  #announce(name: RenditionName, track: Track): void {
    this.#versions[name] ??= new Array(this.#resume?.version ?? 0);
    const versions = this.#versions[name];
    const version = versions.push(track) - 1;
    const discontinuity = this.#table?.discontinuity ?? this.#resume?.rows[0]?.discontinuity ?? 0;
    this.#out.push({ type: "init", name, version, track, bytes: initSegment(track), discontinuity });
  }

  #newest(name: RenditionName): number {
    return (this.#versions[name]?.length ?? 0) - 1;
  }

  /** Audio beside video, created when both are there; one that comes late begins with the next row. */
  #follow(): void {
    if (!this.#table || !this.#video) return;
    if (!this.#follower && this.#audio && !this.#lateTrack) {
      const { track } = this.#audio;
      this.#follower = new Follower({
        table: this.#table,
        limits: this.#limits(track),
        timescale: track.timescale,
        after: this.#firstRow(),
        mux: this.#muxer("audio"),
        silence: (version, previous) =>
          silentFrame(this.#versions.audio?.[version] as AudioTrack) ?? previous,
      });
    }
    this.#step("audio", this.#follower?.advance());
    for (const [name, { writer }] of this.#rungs) this.#step(name, writer?.advance());
  }

  /** The number before audio's first: it begins with the broadcast, or late with the row that has just begun. */
  #firstRow(): number | undefined {
    const first = this.#resume?.rows[0];
    if (this.#frames > 1) return (this.#table?.last?.number ?? 0) - 1;
    return first && first.number - 1;
  }

  #muxer(name: RenditionName): Mux {
    const arena = new Arena();
    let sequence = 0;
    return (samples, version, begins) =>
      makeChunk(this.#versions[name]![version]!, samples, ++sequence, (size) =>
        arena.allocate(size, begins, samples[0]!.key),
      );
  }

  #step(name: RenditionName, steps: readonly Step[] | undefined): void {
    const named = name === "source" ? this.#referenceName : name;
    for (const step of steps ?? []) this.#out.push({ type: "step", name: named, step });
  }

  #edgeMs(): number | undefined {
    const edge = this.#reference?.edge;
    return edge === undefined ? undefined : Math.ceil((edge * 1000) / this.#table!.timescale);
  }

  #ticks(ms: number): number {
    return Math.round((ms * this.#table!.timescale) / 1000);
  }
}

/**
 * PART-TARGET in seconds for parts of about `partSeconds` of frames this long: whole frames, with the room that 85 %
 * (rfc8216bis 4.4.4.9) and an audio frame ask for.
 */
function partTarget(partSeconds: number, frameSeconds: number): number {
  const least = partSeconds + audioFrameSeconds;
  if (frameSeconds <= 0.07) return least;
  return Math.max(least, Math.ceil(partSeconds / frameSeconds - 0.02) * frameSeconds * 1.03);
}

/** Every audio frame could begin a segment; two seconds of whole frames keep the number of requests sensible. */
function audioSegment({ timescale, frameTicks }: AudioTrack): number {
  return Math.floor((2 * timescale) / frameTicks) * frameTicks;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
