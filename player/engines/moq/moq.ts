import type { Engine, EngineOptions } from "../engine.ts";
import { AUTO, type Quality, qualityFor, SOUND_ALONE } from "../quality.ts";
import type { Catalog, MoqTrack } from "./catalog.ts";
import type { MoqClient } from "./client.ts";
import { Lanes, TRACK_ENDED } from "./lanes.ts";
import { Line, type Loss, type Reconnect } from "./line.ts";
import { Media } from "./media.ts";
import { catalogOf, firstOf } from "./opening.ts";
import { Pace, pastHole, Standstill } from "./pace.ts";
import { Past, Replay } from "./replay.ts";
import { Rungs } from "./rungs.ts";

const LOOK_MS = 50;
/** A session that brings no picture by then is left for LL-HLS. */
const BEGIN_MS = 5_000;
/** A stall that lasts as long as this is the link's: what it cannot carry is left at once. */
const DRY_MS = 250;
/** Playback that stands still for so long is sought to where it is, and after the second time left for LL-HLS. */
const STILL_MS = 3_000;
const STUCK_MS = 8_000;
/** With less than this before a hole browsers may not begin to play. */
const SHORT_SECONDS = 0.5;

/** An element that is ready for a broadcast before there is a session with a relay. */
export interface Prepared {
  readonly media: Media;
  readonly rungs: Rungs;
  readonly catalog: Catalog | undefined;
}

/** Makes the decoders ready for what `catalog` names; `choice` is a quality's name or `AUTO`. */
export function prepareMoq(video: HTMLVideoElement, catalog: string | undefined, choice: string): Prepared {
  const [media, rungs] = [new Media(video), new Rungs(choice)];
  const known = catalog === undefined ? undefined : catalogOf(catalog);
  if (known && !known.complete && !known.unshown)
    media.open(firstOf(known, rungs.wanted(known, pixelsOf(video))));
  return { media, rungs, catalog: known };
}

export interface MoqOptions {
  /** Where it is known already; what the session says comes after it. */
  readonly catalog: string | undefined;
  readonly prepared: Prepared | undefined;
  /** Told why when it cannot go on. */
  readonly lost: (loss: Loss) => void;
  readonly reconnect: Reconnect;
}

/** Plays a broadcast over an open session: Media over QUIC into Media Source. */
export function openMoq(options: EngineOptions, client: MoqClient, on: MoqOptions): Engine {
  return new MoqEngine(options, client, on);
}

/** Height of what the element shows, in pixels of the screen; 0 while that is not known. */
export const pixelsOf = (video: HTMLVideoElement) => video.clientHeight * devicePixelRatio;

class MoqEngine implements Engine {
  readonly name = "Media over QUIC";
  readonly #video: HTMLVideoElement;
  readonly #onEvent: EngineOptions["onEvent"];
  readonly #line: Line;
  readonly #lost: MoqOptions["lost"];
  readonly #media: Media;
  readonly #rungs: Rungs;
  readonly #pace = new Pace();
  readonly #standstill = new Standstill();
  readonly #gone = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  #catalog: Catalog | undefined;
  readonly #picture = this.#lanes("video");
  readonly #sound = this.#lanes("audio");
  /** The picture was begun anew where it plays: a seek to that place makes the browser show it. */
  #mending = false;
  /** It stood still, and was sought to where it is. */
  #sought = false;
  /** Where another engine was, to go on from. */
  readonly #at: number | undefined;
  /** A viewer went back on purpose. */
  #held = false;
  #paused = false;
  /** Who pauses goes on where he did. */
  readonly #dvr: boolean;
  readonly #past = new Past();
  /** What plays of the past until that has become live, and where live was when it began. */
  #replay: Replay | undefined;
  #left: { readonly live: number; readonly ms: number } | undefined;
  #ending = false;
  #over = false;
  #openedAt = performance.now();

  constructor(
    { video, choice, at, dvr, onEvent }: EngineOptions,
    client: MoqClient,
    { catalog, prepared, lost, reconnect }: MoqOptions,
  ) {
    this.#video = video;
    this.#at = at;
    this.#dvr = dvr;
    this.#onEvent = onEvent;
    this.#lost = lost;
    this.#media = prepared?.media ?? new Media(video);
    this.#rungs = prepared?.rungs ?? new Rungs(choice);
    this.#rungs.wish = choice;
    this.#line = new Line(client, reconnect, {
      moved: () => this.#moved(),
      lost: (loss) => this.#ending || this.#giveUp(loss),
    });
    const { signal } = this.#gone;
    video.addEventListener("waiting", () => this.#stalled(), { signal });
    video.addEventListener("play", () => this.#resumed(), { signal });
    video.addEventListener(
      "pause",
      () => {
        this.#paused = this.#pace.started;
      },
      { signal },
    );
    video.addEventListener("ended", () => onEvent({ type: "drained" }), { signal });
    video.addEventListener("error", () => this.#fail(video.error?.message || "the decoder failed"), {
      signal,
    });
    this.#media.onFailed = (message) => this.#fail(message);
    // What is asked for comes while the browser opens the source.
    this.#subscribeCatalog();
    const known = prepared?.catalog ?? (catalog === undefined ? undefined : catalogOf(catalog));
    if (known) this.#onCatalog(known);
    // The first picture waits for no timer.
    this.#media.onStep = () => this.#pace.started || this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  get latency(): number | undefined {
    const live = this.#left && this.livePosition;
    const edge = live === undefined ? this.#media.stretch?.edge : live + this.#pace.target;
    return edge === undefined || !this.#pace.started
      ? undefined
      : Math.max(0, edge - this.#video.currentTime);
  }

  get clockLatency(): number | undefined {
    const epochMs = this.#catalog?.epochMs;
    if (!epochMs || !this.#pace.started) return undefined;
    return (Date.now() - epochMs) / 1000 - this.#video.currentTime;
  }

  get livePosition(): number | undefined {
    if (this.#left) return this.#left.live + (this.#ending ? 0 : (performance.now() - this.#left.ms) / 1000);
    const edge = this.#media.stretch?.edge;
    return edge === undefined ? undefined : edge - this.#pace.target;
  }

  get timeline() {
    const end = this.livePosition;
    const { buffered } = this.#video;
    // Until it is known where the past begins it would seem to begin here.
    if (end === undefined || (buffered.length === 0 && !this.#replay) || this.#past.awaited) return undefined;
    const start = this.#past.start ?? (buffered.length === 0 ? end : buffered.start(0));
    return { start: Math.min(end, start), end, live: !this.#ending };
  }

  get rendition() {
    const tracks = [this.#shown, this.#sound.track ?? this.#catalog?.audio[0]];
    const codecs = tracks.flatMap((track) => track?.codec ?? []).join(", ");
    const bitsPerSecond = this.#shown?.bitsPerSecond;
    return { ...(codecs && { codecs }), ...(bitsPerSecond && { bitsPerSecond }) };
  }

  /** The picture that plays. */
  get #shown(): MoqTrack | undefined {
    return this.#picture.track ?? (this.#replay && this.#wished());
  }

  get qualities(): readonly Quality[] {
    const { qualities = [], audio = [] } = this.#catalog ?? {};
    const sound = audio[0];
    const all = [...qualities];
    // Chosen, it takes another engine.
    if (sound && all.length > 0)
      all.push({ name: SOUND_ALONE, height: 0, bitsPerSecond: sound.bitsPerSecond });
    return all.length > 1 ? all : [];
  }

  get playing(): string | undefined {
    const at = this.#catalog?.video.findIndex(({ name }) => name === this.#shown?.name) ?? -1;
    return this.#catalog?.qualities[at]?.name;
  }

  get choice(): string {
    return qualityFor(this.#catalog?.qualities ?? [], this.#rungs.wish)?.name ?? AUTO;
  }

  choose(name: string): boolean {
    if (name === SOUND_ALONE) return false;
    this.#rungs.wish = name;
    this.#switch();
    return true;
  }

  seek(at: number): void {
    const live = this.livePosition;
    const to = live === undefined ? at : Math.min(at, live);
    this.#held = live !== undefined && at < live - 1;
    const isPast = (this.#held || this.#ending) && this.#past.rows.length > 0;
    if (this.#media.holds(to)) this.#video.currentTime = to;
    else if (isPast) this.#goBack(to);
    else if (this.#replay) this.#goLive();
    else this.#video.currentTime = to;
  }

  recover(): void {
    this.#fail("the decoder failed");
  }

  stop(): void {
    this.#replay?.stop();
    this.#picture.end();
    this.#sound.end();
  }

  /** The right to a session ends with its token: all that is subscribed to is taken over, at its next group, by another session. */
  renew(): void {
    this.#line.renew();
  }

  destroy(): void {
    this.#over = true;
    clearInterval(this.#timer);
    this.#gone.abort();
    this.#line.close();
    this.#video.playbackRate = 1;
    this.#media.close();
  }

  #fail(reason: string): void {
    if (!this.#ending) this.#giveUp({ reason, asked: false });
  }

  /** Another engine goes on where this one is. */
  #giveUp(loss: Loss): void {
    if (this.#over) return;
    this.#over = true;
    this.#replay?.stop();
    this.#line.close();
    this.#lost(loss);
    const at = this.#pace.started ? this.#video.currentTime : this.#at;
    const message = `Media over QUIC: ${loss.reason}`;
    this.#onEvent({ type: "unfit", message, ...(at !== undefined && { at }) });
  }

  /** There is another session: what comes is taken over from the one before at the next group. */
  #moved(): void {
    const { client } = this.#line;
    // What is over is shown from what is here, and fetched.
    if (!this.#ending) this.#subscribeCatalog();
    for (const lanes of [this.#picture, this.#sound])
      if (lanes.wanted && !this.#ending) lanes.takeOver(client, lanes.wanted);
    this.#replay?.move(client);
    this.#leaveFormer();
  }

  #subscribeCatalog(): void {
    const { client } = this.#line;
    const isCurrent = () => client === this.#line.client;
    client.subscribe(
      "catalog",
      { filter: { from: "largest object" }, priority: 0 },
      {
        refused: (_code, reason) => isCurrent() && this.#fail(reason),
        group: () => ({
          object: ({ payload }) => {
            if (!isCurrent() || this.#over) return;
            const catalog = catalogOf(new TextDecoder().decode(payload));
            if (catalog) this.#onCatalog(catalog);
            else this.#fail("the catalog cannot be read");
          },
          end: () => {},
        }),
        done: (code) => {
          if (!isCurrent()) return;
          if (code === TRACK_ENDED) this.#finish();
          else this.#fail(`the catalog ended with ${code}`);
        },
      },
    );
  }

  #onCatalog(catalog: Catalog): void {
    if (catalog.complete) return this.#finish();
    const before = this.#catalog;
    // Whoever comes now is not offered this way either.
    if (before && catalog.lacks.length > before.lacks.length)
      return this.#fail(`it has ${catalog.lacks.join(" and ")} now, which only playlists carry`);
    // Tracks are kept as they were: they are told apart by identity.
    const same = (track: MoqTrack) =>
      [...(before?.video ?? []), ...(before?.audio ?? [])].find(({ name }) => name === track.name) ?? track;
    this.#catalog = { ...catalog, video: catalog.video.map(same), audio: catalog.audio.map(same) };
    if (catalog.timeline) this.#past.follow(this.#line.client, catalog.timeline);
    if (!before) this.#begin(this.#catalog);
    else this.#follow(this.#catalog);
  }

  #begin(catalog: Catalog): void {
    const tracks = firstOf(catalog, this.#wished());
    if (catalog.unshown || tracks.length === 0) return this.#fail("nothing of it can be played here");
    this.#beginLanes();
    this.#media.open(tracks);
  }

  /** What is live, from its current group on. */
  #beginLanes(): void {
    const { client } = this.#line;
    const picture = this.#wished();
    const sound = this.#catalog?.audio[0];
    if (picture) this.#picture.begin(client, picture);
    if (sound) this.#sound.begin(client, sound);
  }

  /** Leaves what plays for a place in the past. */
  #goBack(at: number): void {
    const live = this.livePosition ?? at;
    this.#leave();
    this.#left = { live, ms: performance.now() };
    this.#pace.startElsewhere(performance.now());
    this.#video.currentTime = at;
    this.#replay = new Replay({
      ...{ client: this.#line.client, past: this.#past, at, feeds: this.#media.feeds },
      tracks: () => [this.#wished(), this.#catalog?.audio[0]].filter((track) => track !== undefined),
      feedOf: ({ role }) => this.#media.feed(role),
      came: () => this.#line.heard(),
    });
  }

  /** What is live again: from the group that is on air. */
  #goLive(): void {
    this.#leave();
    this.#pace.restart();
    this.#openedAt = performance.now();
    this.#beginLanes();
  }

  #leave(): void {
    this.#picture.end();
    this.#sound.end();
    this.#endReplay();
    this.#mending = false;
    this.#media.clear();
  }

  #endReplay(): void {
    this.#replay?.stop();
    this.#replay = undefined;
    this.#left = undefined;
  }

  /** The catalog has changed: what is played may be gone, and what was wished may be here. */
  #follow({ video, audio }: Catalog): void {
    const hasFeed = (role: MoqTrack["role"]) => this.#media.feed(role) !== undefined;
    if (video.length > 0 !== hasFeed("video") || audio.length > 0 !== hasFeed("audio"))
      return this.#fail("its tracks are others now");
    const sound = this.#sound.wanted;
    if (audio[0] && sound && audio[0] !== sound) this.#sound.begin(this.#line.client, audio[0]);
    // A rung that begins later is behind the source by what its encoder takes: nobody is moved there without need.
    const isHere = video.some((track) => track === this.#picture.track);
    if (!isHere || this.choice !== AUTO) this.#switch();
  }

  /** The picture that is wanted now. */
  #wished(): MoqTrack | undefined {
    return this.#catalog && this.#rungs.wanted(this.#catalog, pixelsOf(this.#video));
  }

  #switch(): void {
    const wished = this.#wished();
    const picture = this.#picture;
    const { client } = this.#line;
    if (!wished || !picture.track || wished === picture.wanted) return;
    // On the way back to what plays.
    if (wished === picture.track && picture.client === client) picture.stay();
    else picture.takeOver(client, wished);
  }

  #lanes(role: "video" | "audio"): Lanes {
    return new Lanes({
      give: (track, bytes) => {
        if (!this.#over) this.#media.feed(role)?.append(track, bytes);
      },
      came: (bytes) => {
        this.#line.heard();
        this.#rungs.came(bytes, performance.now());
      },
      took: () => this.#leaveFormer(),
      lost: (client, reason) => {
        if (client === this.#line.client) this.#fail(reason);
      },
    });
  }

  #leaveFormer(): void {
    const { client } = this.#line;
    if ([this.#picture, this.#sound].every((lanes) => !lanes.client || lanes.client === client))
      this.#line.settle();
  }

  #look(): void {
    if (this.#over) return;
    for (const lanes of [this.#picture, this.#sound]) lanes.check();
    if (!this.#ending) this.#line.check();
    if (!this.#pace.started && performance.now() - this.#openedAt > BEGIN_MS)
      return this.#giveUp({ reason: "nothing came in time", asked: false });
    this.#mindStandstill();
    if (this.#over) return;
    if (this.#replay) return this.#lookBack(this.#replay);
    const stretch = this.#media.stretch;
    if (!stretch) return;
    if (!this.#pace.started) this.#start(stretch);
    const video = this.#video;
    this.#media.trim(Math.max(video.currentTime, stretch.edge - 30));
    if (this.#ending) {
      this.#jumpHole();
      return this.#media.end();
    }
    if (this.#pace.started && !video.paused) this.#goOn(stretch);
  }

  /** What plays is live, or was a moment ago. */
  #goOn({ begin, edge }: { readonly begin: number; readonly edge: number }): void {
    const video = this.#video;
    if (video.seeking) return this.#jumpHole();
    const at = video.currentTime;
    const { buffered } = this.#media;
    // He was away for longer than is kept.
    const isGone = buffered.length > 0 && at < buffered.start(0) - 0.5;
    if (this.#held && isGone && this.#past.rows.length > 0) return this.#goBack(at);
    if (this.#mending && (this.#media.feed("video")?.range?.end ?? 0) > at + 0.1) {
      this.#mending = false;
      video.currentTime = Math.max(at, begin, edge - this.#pace.target);
      return;
    }
    const now = performance.now();
    if (this.#held) video.playbackRate = 1;
    else {
      const { rate, to } = this.#pace.keep({ at, begin, edge }, now);
      if (rate !== undefined) video.playbackRate = rate;
      if (to !== undefined) video.currentTime = to;
    }
    this.#jumpHole();
    if (!this.#rungs.steady(now)) return;
    this.#pace.steady();
    this.#switch();
  }

  /** What plays is past: some of it lies ahead, and it becomes what is live when a viewer stays for so long. */
  #lookBack(replay: Replay): void {
    const video = this.#video;
    video.playbackRate = 1;
    this.#media.trim(video.currentTime);
    this.#jumpHole();
    const live = this.#picture.group ?? this.#sound.group;
    const progress = replay.look(video.currentTime, live);
    if (progress === "lacking")
      return this.#giveUp({ reason: "what was before is not to be had", asked: false });
    if (progress === "going") return;
    if (this.#ending) return this.#media.end();
    if (!this.#picture.track && !this.#sound.track) return this.#beginLanes();
    // Groups are named when they are made: of those before the first live one nothing more comes.
    const [, [newest]] = this.#past.rows.at(-1) ?? [0, [-1]];
    if (live !== undefined && newest >= live) this.#endReplay();
  }

  /**
   * Nobody stands still for good. What is there is sought once more, as a browser may have lost its way in it; who has nothing of what
   * comes, or of a past that does not come, sees it over LL-HLS. Where nothing comes of what is live the encoder is away.
   */
  #mindStandstill(): void {
    const video = this.#video;
    const may = video.paused || video.ended || !this.#pace.started;
    const ms = this.#standstill.look(video.currentTime, may, performance.now());
    if (ms === 0) this.#sought = false;
    if (ms > STILL_MS && !this.#sought) {
      this.#sought = true;
      const at = video.currentTime;
      const there =
        pastHole(this.#media.buffered, at, SHORT_SECONDS) ?? (this.#media.holds(at) ? at : undefined);
      if (there !== undefined) video.currentTime = there + 0.01;
    }
    const comes = this.#line.silentMs < LOOK_MS * 10;
    if (ms > STUCK_MS && (comes || this.#replay || this.#ending))
      this.#giveUp({ reason: "playback stands still", asked: false });
  }

  #start({ begin, edge }: { readonly begin: number; readonly edge: number }): void {
    const video = this.#video;
    if (video.readyState < HTMLMediaElement.HAVE_METADATA) return;
    const now = performance.now();
    const to = this.#pace.start({ begin, edge, at: this.#at, isLast: this.#ending }, now);
    if (to === undefined) return;
    this.#rungs.begin(now);
    video.currentTime = to;
  }

  /** He who begins to play has not stayed behind, he who paused may have. */
  #resumed(): void {
    const live = this.livePosition;
    if (!this.#dvr || !this.#paused || live === undefined) return;
    this.#paused = false;
    this.#held ||= this.#pace.isBehind(this.#video.currentTime, live);
  }

  /** An encoder that was away leaves a hole. */
  #jumpHole(): void {
    const there = pastHole(this.#media.buffered, this.#video.currentTime);
    if (there !== undefined) this.#video.currentTime = there;
  }

  #stalled(): void {
    const video = this.#video;
    if (this.#over || !this.#pace.started || video.seeking || video.paused) return;
    if (this.#replay) {
      // Of the past whole groups are fetched as fast as the link carries them: the next is of a smaller picture.
      const { video: pictures = [] } = this.#catalog ?? {};
      const wished = this.#wished();
      if (this.#rungs.isAuto && wished) this.#rungs.lower(pictures, pictures.indexOf(wished));
      return;
    }
    const now = performance.now();
    this.#pace.stalled();
    const often = this.#rungs.stalled(now);
    // A picture that the link does not carry comes late again and again.
    if (!this.#rungs.isAuto || this.#pace.settles(now)) return;
    setTimeout(() => {
      const dry = video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA && !video.seeking && !video.paused;
      if (dry || often) this.#descend(dry);
    }, DRY_MS);
  }

  /** Takes the best picture below this one that the link carries: `now`, or from the next group on. */
  #descend(now: boolean): void {
    if (this.#over || this.#ending || this.#replay) return;
    const { video: pictures = [] } = this.#catalog ?? {};
    const at = pictures.findIndex((track) => track.name === this.#picture.wanted?.name);
    if (!this.#rungs.descend(pictures, at, performance.now())) return;
    if (!now) return this.#switch();
    // Who is behind gets from the past what he has not seen.
    if (this.#held && this.#past.rows.length > 0) return this.#goBack(this.#video.currentTime);
    // What is under way stands in the way of anything better.
    this.#picture.begin(this.#line.client, this.#wished()!);
    this.#mending = true;
  }

  /** The broadcast is over: what is buffered is shown, then that is the end. */
  #finish(): void {
    if (this.#over || this.#ending) return;
    if (this.#left) this.#left = { live: this.livePosition!, ms: 0 };
    this.#ending = true;
    this.#video.playbackRate = 1;
  }
}
