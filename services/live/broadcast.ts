import { type Channel, inOrder } from "../packager/captions.ts";
import { Cues } from "../packager/cues.ts";
import type { FlvTag } from "../packager/flv.ts";
import type { Output, RenditionName } from "../packager/outlet.ts";
import { Packager } from "../packager/packager.ts";
import { type Listed, Schedule } from "../packager/periods.ts";
import type { Profile } from "../packager/profiles.ts";
import type { Step } from "../packager/segmenter.ts";
import { Subtitles, type Writer } from "../packager/subtitles.ts";
import type { VideoTrack } from "../packager/track.ts";
import { textBits, textName } from "../packager/webvtt.ts";
import { isPicture, type Rung, type Source } from "./ladder.ts";
import { Rendition } from "./rendition.ts";
import { Rungs } from "./rungs.ts";
import type { Restored, Tape } from "./tape.ts";

/** The least number of segments in a playlist: Apple's authoring specification asks for six. */
const windowSegments = 6;

/** Bits per second that a rendition may need before a segment of it has been measured, and the room above what was. */
const assumedBits = { video: 6_000_000, audio: 192_000 };
const headroom = 1.25;

/** Keyframes further apart than this are sparse: a player can neither join nor switch within a segment. */
const sparseSeconds = 2.5;
/** How long the first viewers of a source with sparse keyframes wait for the rung that stands for it. */
const standInMs = 4_000;

/** Two pictures whose heights differ by less are one rung. */
const alike = 0.1;

export type State = "live" | "reconnecting" | "ended";

export interface BroadcastOptions {
  /** The live input's uid. */
  readonly input: string;
  /** The uid of the video that this broadcast is. */
  readonly video: string;
  readonly profile: Profile;
  /** What an earlier run left of it. */
  readonly restored?: Restored | undefined;
  readonly tape: Tape;
  /** Seconds of a segment in the input's last broadcast, where all were alike. */
  readonly cadenceSeconds?: number | undefined;
  /** How far back a list with a DVR goes beyond the window: 0 for not at all, Infinity for to the beginning. */
  readonly dvrSeconds?: number | undefined;
  /** Which rungs a source gets; none where nobody encodes. */
  readonly plan?: ((source: Source) => readonly Rung[]) | undefined;
  /** The last broadcast of this input had sparse keyframes. */
  readonly sparse?: boolean | undefined;
  /** The last broadcast of this input had words, in this language: players load the list once, so this one names them from the start. */
  readonly words?: { readonly language: string | undefined } | undefined;
  /** Channels of captions that the pictures of the last broadcast had: named from the start, too. */
  readonly captions?: readonly Channel[] | undefined;
  /** Called after anything a reader outside could notice: state, renditions, advice. */
  readonly changed: (broadcast: Broadcast) => void;
}

/** One live input on air: its publishes go in as FLV tags, its renditions can be read. Owns no socket and no clock. */
export class Broadcast {
  readonly input: string;
  readonly video: string;
  readonly renditions = new Map<RenditionName, Rendition>();
  /** What the publisher has said of moments of it. */
  readonly cues = new Cues();
  #subtitles: Subtitles | undefined;
  readonly #profile: Profile;
  readonly #packager: Packager;
  readonly #tape: Tape;
  readonly #dvrSeconds: number;
  /** What waits for the disk before it is shown, in order. */
  #queue: Promise<void> | undefined;
  #queued = 0;
  readonly #plan: BroadcastOptions["plan"];
  /** Keyframes of the last broadcast were sparse. */
  readonly #sparse: boolean;
  #nowMs = 0;
  /** Keyframes of this one were sparse. */
  #wasSparse = false;
  /** A ladder for that was asked for. */
  #asked = false;
  #source: Source | undefined;
  readonly #ladder = new Rungs({
    made: this.renditions,
    isOwn: isOfPublish,
    remove: (name) => this.#remove(name),
  });
  /** When the source could first be played. */
  #playableMs: number | undefined;
  readonly #changed: (broadcast: Broadcast) => void;
  readonly #cadenceSeconds: number | undefined;
  readonly #expected: readonly Channel[];
  #captions: readonly Channel[] = [];
  #schedule: Schedule | undefined;
  #partTarget = 0;
  #state: State = "reconnecting";
  #advice: string | undefined;
  #wasListed = false;

  constructor(options: BroadcastOptions) {
    this.input = options.input;
    this.video = options.video;
    this.#profile = options.profile;
    this.#tape = options.tape;
    this.#dvrSeconds = options.dvrSeconds ?? 0;
    this.#plan = options.plan;
    this.#cadenceSeconds = options.cadenceSeconds;
    this.#expected = options.captions ?? [];
    this.#sparse = options.sparse ?? false;
    this.#changed = options.changed;
    this.#packager = new Packager(options.profile, options.restored?.resume);
    if (options.restored) this.#restore(options.restored);
    if (options.words) this.write(options.words.language);
  }

  /** Its words; undefined before somebody has any. */
  get subtitles(): Subtitles | undefined {
    return this.#subtitles;
  }

  /** Channels of captions that its source has had so far, whatever its lists name. */
  get captions(): readonly Channel[] {
    return this.#captions;
  }

  get texts(): ReadonlyMap<string, Subtitles> {
    return new Map(this.#subtitles && [[textName, this.#subtitles]]);
  }

  /**
   * Where words go in: those of its publisher, of speech recognition, of a person. Times are milliseconds of its clock, which at 0
   * stands where `epochMs` of its windows says. There is one text rendition: a later language than the first is not another one.
   */
  write(language?: string): Writer {
    this.#subtitles ??= new Subtitles({
      language,
      edgeMs: () => {
        const window = this.reference?.window;
        return window ? (window.edge * 1000) / window.timescale : 0;
      },
      over: (line) => this.#tape.say(line, language),
    });
    return this.#subtitles;
  }

  get state(): State {
    return this.#state;
  }

  /** What the owner should change: the encoder's settings, or the machine that makes the rungs. */
  get advice(): string | undefined {
    return [this.#advice, ...this.#ladder.advice].filter(Boolean).join(" ") || undefined;
  }

  /** The part of it that is about the distance of keyframes. */
  get gopAdvice(): string | undefined {
    return this.#advice;
  }

  /** The rendition that writes the segment table; undefined before there is one. */
  get reference(): Rendition | undefined {
    return this.renditions.get("source") ?? this.renditions.get("audio");
  }

  /** Its Periods, for manifests of DASH; undefined before the first rendition. */
  get schedule(): Schedule | undefined {
    return this.#schedule;
  }

  /** Seconds of a segment where all are alike; undefined where they are not. */
  get cadenceSeconds(): number | undefined {
    const ticks = this.#schedule?.cadence;
    return ticks && this.reference ? ticks / this.reference.window.timescale : undefined;
  }

  /** How far back a list with a DVR goes beyond the window; undefined: to the beginning. */
  get dvrSeconds(): number | undefined {
    return this.#dvrSeconds === Number.POSITIVE_INFINITY ? undefined : this.#dvrSeconds;
  }

  get targetDuration(): number {
    return this.#profile.targetDuration;
  }

  /** Whether a recording of it is being written, or is left of it. */
  get lasting(): boolean {
    return this.#tape.lasting;
  }

  /** True where its lists show no parts. */
  get plain(): boolean {
    return this.#profile.plain;
  }

  get health(): Packager["health"] {
    return this.#packager.health;
  }

  /** What the rungs are made of; undefined before it is known, and without video. */
  get source(): Source | undefined {
    return this.#source;
  }

  /** Counts plans: encodes of an earlier one are of no use. */
  get revision(): number {
    return this.#ladder.revision;
  }

  /** Whether this input's keyframes are sparse, for its next broadcast; undefined while nothing is known. */
  get habit(): boolean | undefined {
    return this.#wasSparse || (this.#packager.health.gopSeconds > 0 ? false : undefined);
  }

  /**
   * False while a rung stands for a source that nobody can join or switch to. When that rung is missing the source is offered
   * again; whoever plays the source already goes on with it.
   */
  get offersSource(): boolean {
    if (!this.#source?.sparse) return true;
    const [top] = this.rungs;
    const window = top && this.renditions.get(top.name)?.window;
    const newest = window?.open?.parts.at(-1) ?? window?.segments.at(-1);
    return top?.name !== this.#ladder.planned[0]?.name || newest === undefined || newest.gap;
  }

  /** What is promised of that: players load the list once, so it names rungs from the start, unless nobody is there to make them. */
  get rungs(): readonly Rung[] {
    // Nobody makes any more what did not come.
    return this.#state === "ended" ? this.#ladder.begun : this.#ladder.promised;
  }

  /** What an encoder makes of the source, or is to make. */
  get wanted(): readonly Rung[] {
    return this.#state === "ended" ? this.#ladder.begun : this.#ladder.wanted;
  }

  /** The wall clock at broadcast time 0; undefined before the first frame. */
  get epochMs(): number | undefined {
    return this.#packager.epochMs;
  }

  /** The names of planned rungs that are not made any more. */
  get dropped(): readonly RenditionName[] {
    return this.#ladder.dropped;
  }

  /** True for a rung that was given up and whose players still have to leave it. */
  isLeaving(name: RenditionName): boolean {
    return this.#ladder.isLeaving(name);
  }

  /** True once a player can be told what there is: each track has its first part, and the ladder is settled. */
  get listed(): boolean {
    return this.#playable && (!this.#source || this.#source.kbps !== undefined) && !this.#awaitsStandIn;
  }

  get #playable(): boolean {
    const own = ["source", "audio"].flatMap((name) => this.renditions.get(name)?.window ?? []);
    return own.length > 0 && own.every(({ segments, open }) => segments.length > 0 || open?.parts.length);
  }

  /** Players load the list once, so it waits a moment for the rung that keeps a source off it. */
  get #awaitsStandIn(): boolean {
    if (!this.#source?.sparse || !this.offersSource || this.rungs.length === 0) return false;
    return this.#playableMs === undefined || this.#nowMs - this.#playableMs < standInMs;
  }

  /** Another publish feeds the broadcast from now on. */
  begin(nowMs: number, ageMs: number): void {
    this.#nowMs = nowMs;
    this.#enter("live");
    this.#apply(this.#packager.begin(nowMs, ageMs));
  }

  /** One tag of the feed, in order. Throws BadMedia. */
  push(tag: FlvTag, nowMs: number): void {
    this.#nowMs = nowMs;
    this.#apply(this.#packager.push(tag, nowMs));
    for (const cue of this.#packager.takeCues()) {
      this.cues.add(cue);
      // Whoever asks for a list next is told; nobody is woken for it.
      for (const rendition of this.renditions.values()) rendition.revision++;
    }
    for (const { language, ...words } of this.#packager.takeWords()) {
      const writer = this.#subtitles ?? this.write(language);
      // One rendition is of one language.
      if (!language || this.#subtitles?.language === language) writer.show(words);
    }
  }

  /** Another encoder writes this rung from now on. */
  beginRung(name: RenditionName): void {
    this.#apply(this.#packager.beginRung(name));
  }

  /** One tag of a rung, with the source's raw timestamps. Throws BadMedia. */
  pushRung(name: RenditionName, tag: FlvTag): void {
    if (this.#state !== "ended") this.#apply(this.#packager.pushRung(name, tag));
  }

  /** Nobody makes these rungs any more: a gap for a moment, then they are gone. `advice` is for the owner. */
  dropRungs(names: readonly RenditionName[], advice: string, nowMs: number): void {
    for (const name of this.#ladder.drop(names, advice, nowMs)) this.beginRung(name);
    this.#changed(this);
  }

  /** Somebody tries again to make rungs that were dropped. */
  restoreRungs(names: readonly RenditionName[], advice: string | undefined): void {
    this.#ladder.restore(names, advice);
    this.#changed(this);
  }

  /** Nobody is there to make the rungs: those that nobody has begun are not promised, until this is called with undefined. */
  withhold(advice: string | undefined): void {
    if (this.#ladder.withhold(advice)) this.#changed(this);
  }

  #remove(name: RenditionName): void {
    this.#packager.removeRung(name);
    const rendition = this.renditions.get(name);
    this.renditions.delete(name);
    rendition?.remove();
  }

  /** The publish broke off; another may continue. */
  lose(): void {
    this.#apply(this.#packager.interrupt());
    this.#enter("reconnecting");
  }

  /** The wall clock, several times per part. */
  clock(nowMs: number): void {
    if (this.#state === "ended") return;
    this.#nowMs = nowMs;
    this.#ladder.clock(nowMs);
    this.#apply(this.#packager.clock(nowMs));
    this.#notice(false);
  }

  /** Settles when all that came so far can be read. */
  async shown(): Promise<void> {
    await this.#queue;
  }

  /** ENDLIST for every rendition; settles when it is shown. */
  async end(nowMs: number): Promise<void> {
    if (this.#state === "ended") return;
    this.#state = "ended";
    // With the last segment, so that whoever is told of the end finds them.
    this.#subtitles?.end();
    const last = this.#packager.end();
    // At once with the last parts: who waits for one of them has the end with the same answer.
    await this.#inOrder(this.#tape.end(last, nowMs), () => {
      this.#show(last);
      for (const rendition of this.renditions.values()) rendition.end(this.#tape.lasting);
      this.#divide();
      this.#changed(this);
    });
  }

  /** Nobody reads it any more. */
  clear(): void {
    this.#tape.clear();
  }

  #enter(state: State): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#changed(this);
  }

  /** What the end of this process must not take is shown once it is with the operating system. */
  #apply(outputs: readonly Output[]): void {
    if (outputs.length > 0) void this.#inOrder(this.#tape.write(outputs), () => this.#show(outputs));
  }

  #inOrder(written: Promise<void> | undefined, run: () => void): Promise<void> | undefined {
    if (!written && this.#queued === 0) {
      run();
      return undefined;
    }
    this.#queued++;
    const before = this.#queue;
    this.#queue = (async () => {
      await before;
      await written;
      this.#queued--;
      run();
    })();
    return this.#queue;
  }

  #show(outputs: readonly Output[]): void {
    const steps = new Map<RenditionName, Step[]>();
    let added = false;
    let changed = false;
    for (const output of outputs) {
      if (output.type === "start") this.#partTarget = output.partTarget;
      else if (output.type === "init") {
        this.#rendition(output).addInit({
          version: output.version,
          track: output.track,
          bytes: output.bytes,
        });
        added = true;
        changed ||= isOfPublish(output.name);
      } else if (output.type === "captions") {
        this.#caption(output.name, output.channels);
      } else {
        const list = steps.get(output.name);
        if (list) list.push(output.step);
        else steps.set(output.name, [output.step]);
      }
    }
    if (changed) this.#plot();
    for (const [name, list] of steps) this.renditions.get(name)?.apply(list);
    if (this.#source && this.renditions.has("source") && this.#isUnsettled) {
      this.#plot();
      added = true;
    }
    this.#notice(this.#divide() || added);
  }

  /** Tells who listens of what became visible; `added` when there is something anyway. */
  #notice(added: boolean): void {
    let visible = added;
    if (!this.#wasListed) {
      if (this.#playable) this.#playableMs ??= this.#nowMs;
      // Whoever waits for something to play is told when there is.
      if (this.listed) {
        this.#wasListed = true;
        visible = true;
      }
    }
    const advice = this.#adviceNow();
    if (!visible && advice === this.#advice) return;
    this.#advice = advice;
    this.#changed(this);
  }

  /** The ladder waits for the source's bitrate, or was planned for keyframes that turn out to be sparse. */
  get #isUnsettled(): boolean {
    const { sinceKeySeconds, gopSeconds } = this.#packager.health;
    this.#wasSparse ||= Math.max(sinceKeySeconds, gopSeconds) > sparseSeconds;
    if (this.#source?.kbps === undefined) return this.#packager.declared.kbps !== undefined;
    if (!this.#wasSparse || this.#asked) return false;
    this.#asked = true;
    // A ladder that nobody can encode is not tried again with more.
    return !this.#source.sparse && (this.#ladder.planned.length === 0 || this.wanted.length > 0);
  }

  /** Plans for what the publish has. */
  #plot(): void {
    const { track } = this.renditions.get("source") ?? {};
    if (track?.kind === "video") return this.#settle(track);
    this.#source = { width: 0, height: 0, codec: "", kbps: 0, sounds: this.#sounds };
    this.#ladder.adopt(this.#plan?.(this.#source) ?? [], this.#nowMs);
  }

  /** Codecs of what the publish has to hear. */
  get #sounds(): string[] {
    const own = [...this.renditions.values()].filter(({ name }) => isOfPublish(name));
    return own.flatMap(({ track }) => (track.kind === "audio" ? track.codec : []));
  }

  /** What this source and its keyframes need. A broadcast whose rungs have their own keyframes keeps to that. */
  #settle({ width, height, pixelAspect, frameRate, codec }: VideoTrack): void {
    const { kbps, gopSeconds } = this.#packager.declared;
    const stated = gopSeconds === undefined ? this.#sparse : gopSeconds > sparseSeconds;
    // An encoder that sends several sizes has made these rungs itself, and what plays everywhere as sound.
    const own = [...this.renditions.values()].filter(({ name }) => name !== "source" && isOfPublish(name));
    const known = { width, height, pixelAspect, frameRate, codec, kbps, sounds: this.#sounds };
    const sparse = this.#source?.sparse || this.#wasSparse || stated;
    const whole = kbps === undefined ? [] : (this.#plan?.({ ...known, sparse }) ?? []);
    const planned = whole.filter(
      (rung) =>
        !isPicture(rung) ||
        own.every(({ track: its }) => its.kind !== "video" || Math.abs(its.height / rung.height - 1) > alike),
    );
    this.#source = { ...known, sparse: sparse && planned.some(isPicture) };
    if (this.#source.sparse) this.#packager.cutByTime();
    if (kbps !== undefined) this.#ladder.adopt(planned, this.#nowMs);
  }

  /** What to tell the owner about the distance of keyframes; undefined where it is fine. */
  #adviceNow(): string | undefined {
    const { gopSeconds, sinceKeySeconds } = this.#packager.health;
    const stated = this.#packager.declared.gopSeconds ?? 0;
    const known = [gopSeconds, stated].find((seconds) => seconds > sparseSeconds && Number.isFinite(seconds));
    if (known === undefined && sinceKeySeconds <= sparseSeconds) return undefined;
    const far = known === undefined ? `more than ${sparseSeconds} s` : `${known.toFixed(1)} s`;
    const so = this.#source?.sparse
      ? `the picture is encoded again as ${this.#ladder.planned[0]?.name} and the original is not offered`
      : "viewers join and recover late";
    return `Keyframes are ${far} apart, so ${so}; set Keyframe Interval to 2 s (OBS: Settings > Output > Streaming).`;
  }

  /** Keeps the Periods up with the renditions. True when there is something to play for the first time. */
  #divide(): boolean {
    const { reference } = this;
    if (!reference) return false;
    const { timescale } = reference.window;
    this.#schedule ??= new Schedule(
      timescale,
      this.#cadenceSeconds && Math.round(this.#cadenceSeconds * timescale),
    );
    const { playable } = this.#schedule;
    const others = [...this.renditions.values()].filter(
      (one) => one !== reference && !this.isLeaving(one.name),
    );
    const listed: Listed[] = [reference, ...others].map((one) => ({
      name: one.name,
      window: one.shown,
      past: one.past,
      version: one.version,
      kind: one.track.kind,
      bits: this.bandwidthOf(one).peak,
    }));
    if (this.#subtitles) listed.push({ ...listed[0]!, name: textName, kind: "text", bits: textBits });
    this.#schedule.follow(listed);
    return this.#schedule.playable !== playable;
  }

  /**
   * Bits per second that a rendition is declared with: those that a rung is planned for, else what was measured or is stated, with
   * room because a later segment may be larger than all before.
   */
  bandwidthOf({ name, track, bandwidth }: Pick<Rendition, "name" | "track" | "bandwidth">): {
    readonly peak: number;
    readonly average: number;
  } {
    const rung = this.#ladder.planned.find((one) => one.name === name);
    if (rung) return rung.bandwidth;
    const stated = name === "source" ? (this.#source?.kbps ?? 0) * 1000 : 0;
    const average = Math.max(bandwidth.average, stated) || assumedBits[track.kind];
    return { average, peak: Math.ceil(Math.max(bandwidth.peak, average) * headroom) };
  }

  /** What was named stays named: players load the list once. */
  #caption(name: RenditionName, channels: readonly Channel[]): void {
    const rendition = this.renditions.get(name);
    if (rendition) rendition.captions = inOrder([...rendition.captions, ...channels]);
    if (name === "source") this.#captions = channels;
  }

  #restore({ resume, renditions, words }: Restored): void {
    this.#partTarget = resume.partTarget;
    for (const { name, discontinuity, inits, steps, captions } of renditions) {
      const newest = inits.at(-1);
      if (!newest) continue;
      const rendition = this.#rendition({ name, track: newest.track, discontinuity });
      for (const init of inits) rendition.addInit(init);
      const first = steps.find((step) => step.type === "open");
      if (first) rendition.recall(first.row.number);
      rendition.apply(steps);
      this.#caption(name, captions);
    }
    if (words) {
      this.write(words.language);
      this.#subtitles?.restore(words.lines);
    }
    const { track } = this.renditions.get("source") ?? {};
    if (track?.kind === "video") this.#settle(track);
    else if (this.renditions.has("audio")) this.#plot();
    this.#divide();
    this.#wasListed = this.listed;
  }

  #rendition({ name, track, discontinuity }: Omit<Output & { type: "init" }, "type" | "version" | "bytes">) {
    let rendition = this.renditions.get(name);
    if (!rendition) {
      const limits = {
        timescale: track.timescale,
        targetDuration: this.#profile.targetDuration,
        partTarget: this.#partTarget,
        epochMs: this.#packager.epochMs ?? 0,
        // rfc8216bis 6.2.2 forbids less than three target durations; one second more is for what is being removed.
        windowSeconds: 3 * this.#profile.targetDuration + 1,
        windowSegments,
        discontinuity,
      };
      rendition = new Rendition(name, limits, this.#tape.reel(name), this.#dvrSeconds);
      if (name === "source") rendition.captions = this.#expected;
      this.renditions.set(name, rendition);
    }
    return rendition;
  }
}

/** Whether the publisher sends this rendition: its first track of picture or sound, or another one. */
function isOfPublish(name: RenditionName): boolean {
  return name === "source" || /^(video\d+|audio\d*)$/.test(name);
}
