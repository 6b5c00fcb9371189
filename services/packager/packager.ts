import type { AmfValue } from "./amf.ts";
import { Beside, type Standing } from "./beside.ts";
import { CaptionTrail } from "./captions.ts";
import type { Hints } from "./codec/codec.ts";
import { type Cue, readCue } from "./cues.ts";
import { RateSample, statedInterval } from "./declared.ts";
import {
  type AudioFrame,
  type ColourInfo,
  type Config,
  type FlvTag,
  readScript,
  type VideoFrame,
} from "./flv.ts";
import { Lane } from "./lane.ts";
import { Line21 } from "./line21.ts";
import { labelOf, type Metadata, readMetadata } from "./metadata.ts";
import { messagesOf, Opening, type Pending } from "./opening.ts";
import { type End, Outlet, type Output, type RenditionName } from "./outlet.ts";
import type { Profile } from "./profiles.ts";
import { Pulse } from "./pulse.ts";
import { type Limits, Reference } from "./segmenter.ts";
import { Sound } from "./sound.ts";
import { type Row, SegmentTable } from "./table.ts";
import { keyGridMs, snapToGrid, Timeline } from "./timeline.ts";
import { createUnwrapper } from "./timestamps.ts";
import type { AudioTrack, CodedFrame, Track } from "./track.ts";
import { captionMs, readCaptionInfo, readWords, type Words } from "./words.ts";

/** Longer than any AAC frame of 44.1 or 48 kHz, so that no audio part has to end a frame early. */
const audioFrameSeconds = 0.0235;
/** Room in PART-TARGET for longer frames of audio, as a share of a part: video has to fill 85 % of it. */
const mostAudioShare = 0.17;
const leastOfTarget = 0.85;
/** How much longer than TARGETDURATION a segment may be: EXTINF is rounded (rfc8216bis 4.4.3.1). */
const roundingSeconds = 0.4;
/** By how much rounding to milliseconds moves a frame from its place. */
const placeToleranceMs = 3;

/** What a broadcast needs to go on after its origin was restarted. */
export interface Resume {
  readonly epochMs: number;
  /** Of the reference rendition. */
  readonly timescale: number;
  /** Init versions below this are taken. */
  readonly version: number;
  readonly partTarget: number;
  /** The newest segments of the reference rendition, oldest first, all of them closed, and where the last one ends. */
  readonly rows: readonly Row[];
  readonly edge: number;
  readonly ends: Readonly<Record<RenditionName, End>>;
}

/** What the publisher sends, as far as its owner should know. */
export interface Health {
  readonly frames: number;
  readonly bytes: number;
  /** Distance of the last two keyframes; 0 before there are two. */
  readonly gopSeconds: number;
  /** What has come since the last keyframe. */
  readonly sinceKeySeconds: number;
  /** Of its own clock: what came, frames left out of it, and where the wall clock stood at its 0 if it never fell behind. */
  readonly mediaMs: number;
  readonly missing: number;
  readonly begunMs: number | undefined;
}

/** What is known of a publish from its first frames, or from what its encoder says of itself. */
export interface Declared {
  /** Of the video; undefined until it is settled. */
  readonly kbps: number | undefined;
  /** The most from keyframe to keyframe; undefined where the encoder keeps it to itself. */
  readonly gopSeconds: number | undefined;
}

/**
 * One broadcast from FLV tags to steps of its renditions. Pure: whoever owns it hands in the wall clock (ms since
 * 1970) with every call and carries out what comes back. Throws BadMedia; the publish that caused it should end.
 */
export class Packager {
  readonly #profile: Profile;
  readonly #resume: Resume | undefined;
  readonly #outlet: Outlet;
  #timeline: Timeline | undefined;
  #unwrap = createUnwrapper();
  #table: SegmentTable | undefined;
  #reference: Reference | undefined;
  #partTarget: number | undefined;
  #opening = new Opening();
  readonly #cues: Omit<Cue, "id" | "saidMs">[] = [];
  /** In which way this publish says its words. */
  #speaker: string | undefined;
  #line21 = new Line21();
  readonly #words: (Words & { readonly startMs: number })[] = [];
  #metadata: Metadata = {};
  /** Colour by track of video. */
  readonly #colours = new Map<number, Pick<Hints, "colour" | "hdr">>();
  readonly #hintsOf = new Map<number, Hints>();
  /** The picture that writes the segment table, and its number among the publish's tracks. */
  #picture = new Lane();
  /** Of the picture, and of those beside it. */
  readonly #captions = new CaptionTrail();
  readonly #captionsBeside = new Map<number, CaptionTrail>();
  #pictureId = 0;
  /** By number among the publish's tracks; the lowest is the one that plays where only one can. */
  readonly #sounds = new Map<number, Sound>();
  #soundId = 0;
  readonly #pictures = new Map<number, Beside>();
  #stands: Standing | undefined;
  readonly #rungs = new Map<RenditionName, Beside>();
  readonly #rungSounds = new Map<RenditionName, Sound>();
  /** The reference has another init: what follows is not continued. */
  #newInit = false;
  /** Another track has: nothing may be continued over the next keyframe. */
  #joins = false;
  #lastKey: number | undefined;
  /** From decoding to presentation of a keyframe, in video ticks. */
  #lead = 0;
  /** The same in raw milliseconds. */
  #leadMs = 0;
  #gopSeconds = 0;
  #sinceKeySeconds = 0;
  #measuredKbps: number | undefined;
  #rate = new RateSample();
  #statedGopSeconds: number | undefined;
  /** Segments begin where encoders set keyframes by raw time, whatever the source has. */
  #timed = false;
  #cutNow = false;
  /** Which stretch of raw time the last frame was shown in. */
  #stretch: number | undefined;
  /** When the last frames are shown. */
  #shown: readonly number[] = [];
  readonly #pulse = new Pulse();
  #frames = 0;
  #bytes = 0;

  constructor(profile: Profile, resume?: Resume) {
    this.#profile = profile;
    this.#resume = resume;
    this.#outlet = new Outlet(resume);
    this.#partTarget = resume?.partTarget;
  }

  /** Milliseconds since 1970 at broadcast time 0; undefined before the first frame. */
  get epochMs(): number | undefined {
    return this.#timeline?.epochMs ?? this.#resume?.epochMs;
  }

  get health(): Health {
    return {
      frames: this.#frames,
      bytes: this.#bytes,
      gopSeconds: this.#gopSeconds,
      sinceKeySeconds: this.#sinceKeySeconds,
      mediaMs: this.#pulse.mediaMs,
      missing: this.#pulse.missing,
      begunMs: this.#pulse.begunMs,
    };
  }

  /** What is known of the publish on air beyond its configuration. */
  get declared(): Declared {
    return { kbps: this.#metadata.kbps ?? this.#measuredKbps, gopSeconds: this.#statedGopSeconds };
  }

  /**
   * From now on segments begin where `keyGridMs` says and not at the source's keyframes, because these are too far apart: all
   * rungs are encoded with keyframes there. Stays for the broadcast.
   */
  cutByTime(): void {
    // What is open is long already; left alone it would reach its limit just before the grid cuts again.
    if (!this.#timed) this.#cutNow = this.#frames > 0;
    this.#timed = true;
  }

  /** A publish begins, the first or one after a break. Its first frame was received `ageMs` ago. */
  begin(nowMs: number, ageMs: number): Output[] {
    this.#timeline ??= new Timeline(nowMs - ageMs, this.#resume?.epochMs);
    this.#timeline.begin(ageMs);
    this.#pulse.begin(ageMs);
    this.#unwrap = createUnwrapper();
    this.#opening = new Opening();
    this.#lastKey = undefined;
    this.#sinceKeySeconds = 0;
    this.#measuredKbps = undefined;
    this.#rate = new RateSample();
    this.#speaker = undefined;
    this.#line21 = new Line21();
    this.#picture.begin();
    for (const each of [...this.#sounds.values(), ...this.#pictures.values()]) each.begin();
    return this.interrupt();
  }

  /** The publish is over and another may come: what is held is written. */
  interrupt(): Output[] {
    this.#outlet.step(this.#referenceName, this.#reference?.interrupt());
    this.#follow();
    return this.#outlet.take();
  }

  /** One tag of the feed. Its payload must not change: it is copied once, into the chunk that carries it, a few frames later. */
  push(tag: FlvTag, nowMs: number): Output[] {
    this.#bytes += tag.payload.length;
    if (tag.type === "script") this.#script(tag);
    else if (this.#reference) this.#media(tag, nowMs);
    else {
      this.#opening.add(tag, nowMs);
      if (this.#opening.complete(nowMs)) this.#start();
    }
    return this.#outlet.take();
  }

  /** The wall clock, several times per part: writes gaps where nothing comes, and starts what waited for more tracks. */
  clock(nowMs: number): Output[] {
    if (!this.#timeline) return [];
    if (!this.#opening.empty && this.#opening.complete(nowMs)) this.#start();
    const reference = this.#reference;
    if (reference) {
      this.#outlet.step(this.#referenceName, reference.elapse(this.#ticks(this.#timeline.now(nowMs))));
      this.#follow();
    }
    return this.#outlet.take();
  }

  /** The broadcast is over. */
  end(): Output[] {
    this.#outlet.step(this.#referenceName, this.#reference?.end());
    for (const each of [...this.#beside(), ...this.#pictures.values(), ...this.#rungs.values()]) each.end();
    return this.#outlet.take();
  }

  /** Another encoder writes this rung from now on. */
  beginRung(name: RenditionName): Output[] {
    this.#rungs.get(name)?.begin();
    this.#rungSounds.get(name)?.begin();
    return this.#outlet.take();
  }

  /** Nobody writes this rung any more. */
  removeRung(name: RenditionName): void {
    this.#rungs.delete(name);
    this.#rungSounds.delete(name);
  }

  /** One tag of a rung, in the raw time of the publish that is on air: video, or audio for a rung of sound. Throws BadMedia. */
  pushRung(name: RenditionName, tag: FlvTag): Output[] {
    for (const message of messagesOf(tag)) {
      if (message.type !== "config" && message.type !== "frame") continue;
      if (tag.type === "video") this.#pushRungPicture(name, tag, message as Config | VideoFrame);
      else this.#pushRungSound(name, tag, message as Config | AudioFrame);
    }
    return this.#outlet.take();
  }

  #pushRungPicture(name: RenditionName, tag: FlvTag, message: Config | VideoFrame): void {
    const rung = orMake(this.#rungs, name, () => new Beside(name, this.#outlet, this.#captions));
    const hints = { frameRate: this.#metadata.frameRate };
    if (message.type === "config") return rung.configure(message.entry, message.config, hints);
    const place = this.#timeline?.again(tag.timestampMs + message.compositionMs);
    const standing = this.#standing();
    const frame = place && standing && rung.read(message.entry, message.data, hints);
    if (!frame) return;
    const pts = snapToGrid(place.raw, this.#metadata.frameRate) + place.offset * 90;
    const dts = pts - message.compositionMs * 90;
    const { key, data, captions } = frame;
    rung.push({ dts, pts, key, data, captions }, standing, this.#discontinuity);
  }

  #pushRungSound(name: RenditionName, tag: FlvTag, message: Config | AudioFrame): void {
    const sound = orMake(this.#rungSounds, name, () => new Sound(name, this.#outlet));
    if (message.type === "config") return sound.configure(message.entry, message.config, {});
    const place = this.#timeline?.againBeside(tag.timestampMs);
    const table = this.#table;
    const frame = place && table && sound.read(message.entry, message.data, {});
    if (!frame) return;
    if (sound.takeRenewed()) this.#announce(name, sound.track!);
    sound.follow(table, (track) => this.#limits(track), table.last?.number);
    const placed = sound.place(frame, place.raw + place.offset);
    if (placed) sound.push(placed);
  }

  /** What the publisher has said of moments since this was last asked. */
  takeCues(): Omit<Cue, "id" | "saidMs">[] {
    return this.#cues.length > 0 ? this.#cues.splice(0) : this.#cues;
  }

  /** The same of words, in milliseconds of the broadcast's clock. */
  takeWords(): (Words & { readonly startMs: number })[] {
    return this.#words.length > 0 ? this.#words.splice(0) : this.#words;
  }

  #script(tag: FlvTag): void {
    const { name, value } = readScript(tag.payload);
    if (name === "onTextData" || name === "onCaptionInfo") this.#say(name, value, tag.timestampMs);
    const said = name === "onCuePoint" ? readCue(value) : undefined;
    const place = said && this.#timeline?.again(tag.timestampMs);
    if (place) this.#cues.push({ ...said, startMs: this.#timeline!.epochMs + place.raw + place.offset });
    if (name !== "onMetaData") return;
    this.#metadata = readMetadata(value, this.#metadata);
    this.#hintsOf.clear();
    this.#opening.promised = this.#metadata.promised ?? this.#opening.promised;
  }

  /** Some encoders say the same in both ways: the one that came first is listened to. */
  #say(name: string, value: AmfValue, timestampMs: number): void {
    const at = this.#timeline?.again(timestampMs);
    if (!at) return;
    const startMs = at.raw + at.offset;
    const words = name === "onTextData" ? readWords(value) : undefined;
    const triplets = name === "onCaptionInfo" ? readCaptionInfo(value) : undefined;
    if (words || triplets) this.#speaker ??= name;
    if (this.#speaker !== name) return;
    if (words) this.#words.push({ ...words, startMs });
    const text = triplets && this.#line21.push(triplets, startMs);
    if (text !== undefined) this.#words.push({ text, language: undefined, mostMs: captionMs, startMs });
  }

  /** The tracks are known: the broadcast has its constants and its reference. */
  #start(): void {
    const pending = this.#opening.take();
    const times = new Map<number, number[]>();
    const pictures = new Map<number, Lane>();
    for (const { tag } of pending)
      for (const message of messagesOf(tag)) {
        if (tag.type === "video" && message.type === "colour") this.#setColour(message);
        if (message.type !== "config" && message.type !== "frame") continue;
        const { track: id } = message;
        if (tag.type === "video") {
          const lane = orMake(pictures, id, () => new Lane());
          if (message.type === "config") lane.configure(message.entry, message.config, this.#hints(id));
          // A first picture may know better than the configuration before it.
          else if (!times.has(id)) lane.read(message.entry, message.data, this.#hints(id));
          if (message.type === "frame") times.set(id, [...(times.get(id) ?? []), tag.timestampMs]);
        } else if (message.type === "config")
          this.#sound(id).configure(message.entry, message.config, labelOf(this.#metadata, id));
        else if (!this.#sound(id).track)
          this.#sound(id).read(message.entry, (message as AudioFrame).data, labelOf(this.#metadata, id));
      }
    const seen = [...pictures].filter(([, lane]) => lane.track).map(([id]) => id);
    const heard = [...this.#sounds].filter(([, sound]) => sound.track).map(([id]) => id);
    if (seen.length === 0 && heard.length === 0) return;
    this.#pictureId = seen.length > 0 ? Math.min(...seen) : -1;
    this.#soundId = heard.length > 0 ? Math.min(...heard) : -1;
    this.#picture = pictures.get(this.#pictureId) ?? this.#picture;
    this.#readLetter(pending);
    this.#begin(times.get(this.#pictureId));
    for (const { tag, nowMs } of pending) this.#media(tag, nowMs);
  }

  /** OBS never sets keyframes besides those that its encoder sets. */
  #readLetter(pending: readonly Pending[]): void {
    const rate = this.#picture.track?.kind === "video" ? this.#picture.track.frameRate : undefined;
    const first = pending
      .flatMap(({ tag }) => (tag.type === "video" ? messagesOf(tag) : []))
      .find((message) => message.type === "frame" && message.track === this.#pictureId);
    if (!this.#metadata.isObs || !rate || first?.type !== "frame") return;
    const frames = statedInterval(first.data);
    if (frames !== undefined) this.#statedGopSeconds = frames / rate;
  }

  #begin(times: readonly number[] = []): void {
    const picture = this.#picture.track;
    const sounds = [...this.#sounds.values()].filter((sound) => sound.track);
    const track = picture ?? this.#sounds.get(this.#soundId)!.track!;
    this.#partTarget ??= partTarget({
      partSeconds: this.#profile.partSeconds,
      frameSeconds: picture ? ((times[1] ?? 0) - (times[0] ?? 0)) / 1000 : 0,
      audioSeconds: Math.max(0, ...sounds.map(({ track: its }) => its!.frameTicks / its!.sampleRate)),
    });
    this.#outlet.start(this.#partTarget, this.#timeline!.epochMs);
    this.#table = new SegmentTable(track.timescale, this.#resumedRows(track.timescale));
    this.#reference = new Reference({
      table: this.#table,
      limits: this.#limits(track),
      resume: this.#resume && {
        edge: Math.ceil((this.#resume.edge * track.timescale) / this.#resume.timescale),
        version: this.#resume.version,
      },
      mux: this.#outlet.mux(this.#referenceName),
    });
    if (picture) this.#announce("source", picture);
    for (const sound of sounds) if (sound.takeRenewed()) this.#announce(sound.name, sound.track!);
  }

  /** What is written by the reference and by nobody else any more: whoever stands before it lists a gap. */
  #resumedRows(timescale: number): Row[] {
    const { rows = [], timescale: was = timescale } = this.#resume ?? {};
    return rows.map((row) => ({ ...row, gap: true, dts: Math.round((row.dts * timescale) / was) }));
  }

  /** Audio on its own is the reference, under its own name. */
  get #referenceName(): RenditionName {
    return this.#picture.track ? "source" : "audio";
  }

  #limits(track: Track): Limits {
    const { partSeconds, segmentSeconds, targetDuration } = this.#profile;
    const target = this.#partTarget ?? partSeconds;
    const ticks = (seconds: number): number => Math.floor(seconds * track.timescale);
    return {
      minTicks:
        this.#picture.track || track.kind === "video"
          ? ticks(segmentSeconds)
          : audioSegment(track, segmentSeconds),
      // 4.4.3.1: what rounds to TARGETDURATION is not over it, and encoders are a few frames off what they are set to.
      maxTicks: ticks(targetDuration + roundingSeconds),
      nominalTicks: ticks(Math.max(partSeconds, target - audioFrameSeconds)),
      partTicks: ticks(target),
      leastTicks: Math.ceil(target * leastOfTarget * track.timescale),
      frameTicks: track.kind === "audio" ? track.frameTicks : 0,
    };
  }

  #media(tag: FlvTag, nowMs: number): void {
    for (const message of messagesOf(tag)) {
      if (message.type === "colour") this.#setColour(message);
      if (message.type !== "config" && message.type !== "frame") continue;
      if (tag.type === "audio") this.#heard(message as Config | AudioFrame, tag, nowMs);
      // A broadcast that began without video cannot turn into one with it: its table counts in audio ticks.
      else if (this.#pictureId < 0) continue;
      else if (message.track === this.#pictureId) this.#seen(message as Config | VideoFrame, tag, nowMs);
      else this.#seenBeside(message as Config | VideoFrame, tag);
    }
  }

  /** Of the picture that is the reference. */
  #seen(message: Config | VideoFrame, tag: FlvTag, nowMs: number): void {
    const lane = this.#picture;
    const { generation } = lane;
    const hints = this.#hints(this.#pictureId);
    const frame = message.type === "frame" ? lane.read(message.entry, message.data, hints) : undefined;
    if (message.type === "config") lane.configure(message.entry, message.config, hints);
    if (lane.generation !== generation) {
      this.#announce("source", lane.track!);
      this.#newInit = true;
      this.#outlet.step("source", this.#reference!.interrupt());
      this.#follow();
    }
    if (message.type === "config" || !frame) return;
    const timeline = this.#timeline!;
    const raw = this.#unwrap(tag.timestampMs) + message.offsetMs;
    const { at, stepped } = timeline.reference(raw, nowMs, this.#edgeMs(), this.#profile.partSeconds * 1000);
    this.#pulse.frame(raw, nowMs, stepped);
    if (stepped) {
      for (const sound of this.#sounds.values()) sound.reset();
      for (const picture of this.#pictures.values()) picture.interrupt();
      this.#lastKey = undefined;
      this.#stretch = undefined;
      this.#shown = [];
    }
    const offset = (at - raw) * 90;
    const { frameRate } = this.#metadata;
    const dts = Math.round(snapToGrid(raw, frameRate) + offset);
    const pts = Math.round(snapToGrid(raw + message.compositionMs, frameRate) + offset);
    this.#frames++;
    if (frame.key) {
      if (this.#lastKey !== undefined) this.#gopSeconds = (dts - this.#lastKey) / 90_000;
      this.#lastKey = dts;
      this.#lead = pts - dts;
      this.#leadMs = message.compositionMs;
    }
    if (this.#lastKey !== undefined) this.#sinceKeySeconds = (dts - this.#lastKey) / 90_000;
    this.#measuredKbps ??= this.#rate.add({ ms: raw, bytes: message.data.length, key: frame.key });
    if (frame.captions && this.#captions.add({ dts, pts, triplets: frame.captions }))
      this.#outlet.captioned("source", this.#captions.channels);
    const boundary = this.#isBoundary(raw, message.compositionMs, frame.key);
    const version = this.#outlet.newest("source");
    const joins = this.#joins && frame.key;
    const discontinuous = stepped || this.#newInit || joins;
    this.#newInit = false;
    if (joins) this.#joins = false;
    this.#outlet.step(
      "source",
      this.#reference!.push({
        dts,
        pts,
        key: frame.key,
        boundary,
        data: frame.data,
        version,
        discontinuous,
      }),
    );
    if (joins)
      for (const sound of this.#sounds.values())
        sound.resume(this.#table!, dts, () => this.#followSound(sound));
    this.#follow();
  }

  /**
   * By time a segment begins where an encoder sets a keyframe: at the first frame that is shown in a stretch. Reordered frames
   * are decoded in the places of others, so the frame that is shown one lead after this place is the one that counts.
   */
  #isBoundary(raw: number, compositionMs: number, key: boolean): boolean {
    if (!this.#timed) return key;
    this.#shown = [...this.#shown.slice(-31), raw + compositionMs];
    const place = raw + this.#leadMs;
    const exact = this.#shown.findLast((ms) => Math.abs(ms - place) <= placeToleranceMs);
    const stretch = Math.floor((exact ?? place) / keyGridMs);
    const before = this.#stretch;
    this.#stretch = Math.max(stretch, before ?? stretch);
    const now = this.#cutNow;
    this.#cutNow = false;
    return now || (before !== undefined && stretch > before);
  }

  /** Of another picture of the publish, which is written like a rung. */
  #seenBeside(message: Config | VideoFrame, tag: FlvTag): void {
    const { track: id, entry } = message;
    const picture = orMake(this.#pictures, id, () => new Beside(`video${id}`, this.#outlet));
    const hints = this.#hints(id);
    if (message.type === "config") return picture.configure(entry, message.config, hints);
    const frame = picture.read(entry, message.data, hints);
    const raw = this.#unwrap(tag.timestampMs) + message.offsetMs;
    const place = this.#timeline!.with(raw);
    if (!frame || place === undefined) return;
    const { frameRate } = hints;
    const dts = Math.round(snapToGrid(raw, frameRate) + place * 90);
    const pts = Math.round(snapToGrid(raw + message.compositionMs, frameRate) + place * 90);
    picture.push({ dts, pts, key: frame.key, data: frame.data }, this.#standing()!, this.#discontinuity);
    if (frame.captions) {
      const trail = orMake(this.#captionsBeside, id, () => new CaptionTrail());
      if (trail.add({ dts, pts, triplets: frame.captions }))
        this.#outlet.captioned(picture.name, trail.channels);
    }
  }

  #heard(message: Config | AudioFrame, tag: FlvTag, nowMs: number): void {
    const { track: id, entry } = message;
    const sound = this.#sound(id);
    const first = sound.track === undefined;
    const label = labelOf(this.#metadata, id);
    let frame: CodedFrame | undefined;
    if (message.type === "config") sound.configure(entry, message.config, label);
    else frame = sound.read(entry, message.data, label);
    if (sound.takeRenewed()) this.#renewedSound(sound, id, first);
    if (message.type === "config" || !frame) return;
    const raw = this.#unwrap(tag.timestampMs) + message.offsetMs;
    if (this.#pictureId >= 0 || id !== this.#soundId) {
      const at = this.#timeline!.beside(raw, nowMs);
      const placed = at === undefined ? undefined : sound.place(frame, at);
      if (placed) sound.push(placed);
      return;
    }
    const { at, stepped } = this.#timeline!.reference(
      raw,
      nowMs,
      this.#edgeMs(),
      this.#profile.partSeconds * 1000,
    );
    this.#pulse.frame(raw, nowMs, stepped);
    if (stepped) for (const each of this.#sounds.values()) each.reset();
    const placed = sound.place(frame, at);
    if (!placed) return;
    this.#frames++;
    const discontinuous = stepped || this.#newInit;
    this.#newInit = false;
    const version = this.#outlet.newest(sound.name);
    this.#outlet.step(
      sound.name,
      this.#reference!.push({ ...placed, boundary: true, version, discontinuous }),
    );
    if (discontinuous)
      for (const each of this.#sounds.values())
        each.resume(this.#table!, placed.dts, () => this.#followSound(each));
    this.#follow();
  }

  /** Another configuration of audio: a new init behind a discontinuity. The picture goes on up to its next keyframe. */
  #renewedSound(sound: Sound, id: number, first: boolean): void {
    this.#announce(sound.name, sound.track!);
    if (this.#soundId < 0) this.#soundId = id;
    if (this.#pictureId < 0 && id === this.#soundId) {
      this.#newInit = true;
      this.#outlet.step(sound.name, this.#reference!.interrupt());
      this.#follow();
    } else if (!first || id === this.#soundId) {
      sound.wait();
      this.#joins = true;
    }
  }

  #sound(id: number): Sound {
    // The first is plainly `audio`, whatever its number.
    const name = this.#sounds.size === 0 ? "audio" : `audio${id}`;
    return orMake(this.#sounds, id, () => new Sound(name, this.#outlet));
  }

  #announce(name: RenditionName, track: Track): void {
    this.#outlet.announce(name, track, this.#discontinuity);
  }

  /** Discontinuities of the broadcast so far. */
  get #discontinuity(): number {
    return this.#table?.discontinuity ?? this.#resume?.rows.at(-1)?.discontinuity ?? 0;
  }

  /** Asked for with every frame, so made once for each word of the publisher. */
  #hints(id: number): Hints {
    const { frameRate } = this.#metadata;
    return orMake(this.#hintsOf, id, () => ({ frameRate, ...this.#colours.get(id) }));
  }

  #setColour({ track, colour, hdr }: ColourInfo): void {
    this.#colours.set(track, { colour, hdr });
    this.#hintsOf.clear();
  }

  #standing(): Standing | undefined {
    const table = this.#table;
    if (!table || !this.#picture.track) return undefined;
    this.#stands ??= { table, limits: (track) => this.#limits(track), lead: () => this.#lead };
    return this.#stands;
  }

  /** Audio beside the reference. */
  #beside(): Sound[] {
    const sounds = [...this.#sounds].filter(([id]) => this.#pictureId >= 0 || id !== this.#soundId);
    return [...sounds.map(([, sound]) => sound), ...this.#rungSounds.values()];
  }

  #followSound(sound: Sound): void {
    sound.follow(this.#table!, (track) => this.#limits(track), this.#firstRow());
  }

  /** Whatever is beside the reference writes what the table has decided. */
  #follow(): void {
    if (!this.#table) return;
    for (const [id, sound] of this.#sounds) {
      if (this.#pictureId < 0 && id === this.#soundId) continue;
      if (!sound.follows) this.#followSound(sound);
      sound.advance();
    }
    for (const sound of this.#rungSounds.values()) sound.advance();
    const standing = this.#standing();
    if (!standing) return;
    for (const picture of this.#pictures.values()) picture.advance(standing);
    for (const rung of this.#rungs.values()) rung.advance(standing);
  }

  /** The number before audio's first: it begins with the broadcast, or late with the row that has just begun. */
  #firstRow(): number | undefined {
    if (this.#frames > 1) return (this.#table?.last?.number ?? 0) - 1;
    return this.#resume?.rows.at(-1)?.number;
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
function partTarget(of: { partSeconds: number; frameSeconds: number; audioSeconds: number }): number {
  const { partSeconds, frameSeconds, audioSeconds } = of;
  const room = Math.max(audioFrameSeconds, Math.min(audioSeconds, mostAudioShare * partSeconds));
  const least = partSeconds + room;
  if (frameSeconds <= 0.07) return least;
  return Math.max(least, Math.ceil(partSeconds / frameSeconds - 0.02) * frameSeconds * 1.03);
}

/** Every audio frame could begin a segment; two seconds of whole frames keep the number of requests sensible. */
function audioSegment({ timescale, frameTicks }: AudioTrack, segmentSeconds: number): number {
  return Math.floor((Math.max(2, segmentSeconds) * timescale) / frameTicks) * frameTicks;
}

function orMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
