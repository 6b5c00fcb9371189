import type { FlvTag } from "../packager/flv.ts";
import type { Output, RenditionName } from "../packager/outlet.ts";
import { Packager, type Profile } from "../packager/packager.ts";
import { Schedule } from "../packager/periods.ts";
import type { Step } from "../packager/segmenter.ts";
import type { VideoTrack } from "../packager/track.ts";
import type { Rung, Source } from "./ladder.ts";
import { Rendition } from "./rendition.ts";
import type { Restored, Tape } from "./tape.ts";

/** Seconds of playlist, and its least number of segments: Apple asks for six. */
const windowSeconds = 12;
const windowSegments = 6;

/** How long a rung that was dropped is a gap, for players to leave it, before its playlist is gone. */
const leaveMs = 8_000;

/** Bits per second that a rendition may need before a segment of it has been measured, and the room above what was. */
const assumedBits = { video: 6_000_000, audio: 192_000 };
const headroom = 1.25;

/** Above this a player cannot join, switch or recover within one segment. */
const longGopSeconds = 4;

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
  /** Which rungs a source gets; none where nobody encodes. */
  readonly plan?: ((source: Source) => readonly Rung[]) | undefined;
  /** Called after anything a reader outside could notice: state, renditions, advice. */
  readonly changed: (broadcast: Broadcast) => void;
}

/** One live input on air: its publishes go in as FLV tags, its renditions can be read. Owns no socket and no clock. */
export class Broadcast {
  readonly input: string;
  readonly video: string;
  readonly renditions = new Map<RenditionName, Rendition>();
  readonly #profile: Profile;
  readonly #packager: Packager;
  readonly #tape: Tape;
  /** What waits for the disk before it is shown, in order. */
  #queue: Promise<void> | undefined;
  #queued = 0;
  readonly #plan: BroadcastOptions["plan"];
  #source: Source | undefined;
  #planned: readonly Rung[] = [];
  /** Rungs that are not made any more, and when that was; `undefined` once they are gone. */
  readonly #dropped = new Map<RenditionName, number | undefined>();
  #ladderAdvice: string | undefined;
  readonly #changed: (broadcast: Broadcast) => void;
  readonly #cadenceSeconds: number | undefined;
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
    this.#plan = options.plan;
    this.#cadenceSeconds = options.cadenceSeconds;
    this.#changed = options.changed;
    this.#packager = new Packager(options.profile, options.restored?.resume);
    if (options.restored) this.#restore(options.restored);
  }

  get state(): State {
    return this.#state;
  }

  /** What the owner should change: the encoder's settings, or the machine that makes the rungs. */
  get advice(): string | undefined {
    return [this.#advice, this.#ladderAdvice].filter(Boolean).join(" ") || undefined;
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

  get targetDuration(): number {
    return this.#profile.targetDuration;
  }

  get health(): Packager["health"] {
    return this.#packager.health;
  }

  /** What the rungs are made of; undefined before it is known, and without video. */
  get source(): Source | undefined {
    return this.#source;
  }

  /** What an encoder makes of the source, or will: players load the list once, so it names them from the start. */
  get rungs(): readonly Rung[] {
    // Nobody makes any more what did not come.
    const over = this.#state === "ended";
    return this.#planned.filter(
      ({ name }) => !this.#dropped.has(name) && (!over || this.renditions.has(name)),
    );
  }

  /** The names of planned rungs that are not made any more. */
  get dropped(): readonly RenditionName[] {
    return [...this.#dropped.keys()];
  }

  /** True for a rung that was given up and whose players still have to leave it. */
  isLeaving(name: RenditionName): boolean {
    return this.#dropped.get(name) !== undefined;
  }

  /** True once a player can be told what there is: each track has its first part. */
  get listed(): boolean {
    if (this.renditions.size === 0) return false;
    for (const { window } of this.renditions.values())
      if (window.segments.length === 0 && !window.open?.parts.length) return false;
    return true;
  }

  /** Another publish feeds the broadcast from now on. */
  begin(nowMs: number, ageMs: number): void {
    this.#enter("live");
    this.#apply(this.#packager.begin(nowMs, ageMs));
  }

  /** One tag of the feed, in order. Throws BadMedia. */
  push(tag: FlvTag, nowMs: number): void {
    this.#apply(this.#packager.push(tag, nowMs));
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
    this.#ladderAdvice = advice;
    for (const name of names) {
      if (this.#dropped.has(name)) continue;
      this.#dropped.set(name, this.renditions.has(name) ? nowMs : undefined);
      this.beginRung(name);
    }
    this.#changed(this);
  }

  /** Somebody tries again to make rungs that were dropped. */
  restoreRungs(names: readonly RenditionName[], advice: string | undefined): void {
    this.#ladderAdvice = advice;
    for (const name of names) {
      if (this.isLeaving(name)) this.#remove(name);
      this.#dropped.delete(name);
    }
    this.#changed(this);
  }

  #remove(name: RenditionName): void {
    this.#dropped.set(name, undefined);
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
    for (const [name, sinceMs] of this.#dropped)
      if (sinceMs !== undefined && nowMs - sinceMs > leaveMs) this.#remove(name);
    this.#apply(this.#packager.clock(nowMs));
  }

  /** Settles when all that came so far can be read. */
  async shown(): Promise<void> {
    await this.#queue;
  }

  /** ENDLIST for every rendition; settles when it is shown. */
  async end(nowMs: number): Promise<void> {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#apply(this.#packager.end());
    await this.#inOrder(undefined, () => {
      this.#tape.end(nowMs);
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
    for (const output of outputs) {
      if (output.type === "start") this.#partTarget = output.partTarget;
      else if (output.type === "init") {
        this.#rendition(output).addInit({
          version: output.version,
          track: output.track,
          bytes: output.bytes,
        });
        added = true;
        const { track } = this.renditions.get("source") ?? {};
        if (track?.kind === "video" && output.track.kind === "video" && isOfPublish(output.name))
          this.#settle(track);
      } else {
        const list = steps.get(output.name);
        if (list) list.push(output.step);
        else steps.set(output.name, [output.step]);
      }
    }
    for (const [name, list] of steps) this.renditions.get(name)?.apply(list);
    const playable = this.#divide();
    // Whoever waits for something to play is told when there is.
    if (!this.#wasListed && this.listed) {
      this.#wasListed = true;
      added = true;
    }
    added ||= playable;
    const advice = adviceFor(this.#packager.health.gopSeconds);
    if (added || advice !== this.#advice) {
      this.#advice = advice;
      this.#changed(this);
    }
  }

  #settle({ width, height, pixelAspect, frameRate, codec }: VideoTrack): void {
    this.#source = { width, height, pixelAspect, frameRate, codec };
    // An encoder that sends several sizes has made these rungs itself.
    const own = [...this.renditions.values()].filter(({ name }) => name !== "source" && isOfPublish(name));
    const planned = this.#plan?.(this.#source) ?? [];
    this.#planned = planned.filter((rung) =>
      own.every(({ track: its }) => its.kind !== "video" || Math.abs(its.height / rung.height - 1) > alike),
    );
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
    this.#schedule.follow(
      [reference, ...others].map((one) => ({
        name: one.name,
        window: one.window,
        version: one.version,
        kind: one.track.kind,
        bits: this.#bitsOf(one),
      })),
    );
    return this.#schedule.playable !== playable;
  }

  #bitsOf({ name, track, bandwidth }: Rendition): number {
    const rung = this.#planned.find((one) => one.name === name);
    return rung?.bandwidth.peak ?? Math.ceil((bandwidth.peak || assumedBits[track.kind]) * headroom);
  }

  #restore({ resume, renditions }: Restored): void {
    this.#partTarget = resume.partTarget;
    for (const { name, discontinuity, inits, steps } of renditions) {
      const newest = inits.at(-1);
      if (!newest) continue;
      const rendition = this.#rendition({ name, track: newest.track, discontinuity });
      for (const init of inits) rendition.addInit(init);
      rendition.apply(steps);
      if (name === "source" && newest.track.kind === "video") this.#settle(newest.track);
    }
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
        windowSeconds,
        windowSegments,
        discontinuity,
      };
      rendition = new Rendition(name, limits, this.#tape.reel(name));
      this.renditions.set(name, rendition);
    }
    return rendition;
  }
}

/** What to tell the owner about this keyframe distance; undefined where it is fine. */
function adviceFor(gopSeconds: number): string | undefined {
  if (gopSeconds <= longGopSeconds) return undefined;
  return `Keyframes are ${gopSeconds.toFixed(1)} s apart, so viewers join and recover late; set Keyframe Interval to 2 s (OBS: Settings > Output > Streaming).`;
}

/** Whether the publisher sends this rendition of the picture: its first track, or another one. */
function isOfPublish(name: RenditionName): boolean {
  return name === "source" || /^video\d+$/.test(name);
}
