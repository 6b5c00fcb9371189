import type { Engine, EngineOptions } from "../engine.ts";
import { AUTO, type Quality, qualityFor, SOUND_ALONE } from "../quality.ts";
import { Feed } from "./buffer.ts";
import { type Catalog, type MoqTrack, readCatalog } from "./catalog.ts";
import type { MoqClient } from "./client.ts";
import { Lanes, TRACK_ENDED } from "./lanes.ts";
import { Past, Replay } from "./replay.ts";

/** Seconds between the newest media and the screen that are aimed at, and how far that may go after stalls. */
const TARGET_SECONDS = 0.22;
const MOST_SECONDS = 1.5;
const STEP_SECONDS = 0.15;
/** Further behind than this playback jumps, below it plays a little faster. Who comes from LL-HLS is as far behind as that was. */
const JUMP_SECONDS = 1.5;
const JOIN_SECONDS = 4;
const LOOK_MS = 50;
/** What has begun to play settles for this long: it may jump by less, and faster than later on. */
const SETTLE_MS = 2_000;
/** After this long without a stall a better picture is tried, and less distance. */
const STEADY_MS = 20_000;
/** Nothing for so long is an encoder that is away, or a relay that is gone: which, it says when it is asked. */
const SILENT_MS = 800;
const ANSWER_MS = 1_000;
/** A session that brings no picture by then is left for LL-HLS. */
const BEGIN_MS = 5_000;
/** A stall that lasts as long as this is the link's: what it cannot carry is left at once. Two shorter ones within ten seconds, too. */
const DRY_MS = 250;
const OFTEN_MS = 10_000;
/** Of what the link has carried lately, so much is counted on; and how long that is remembered. */
const SHARE = 0.8;
const RATE_MS = 800;
/** A session for a fresh token that cannot be had is tried again after this. */
const AGAIN_MS = 1_000;
/** Gets another session with the right to the playback that there is now. */
export type Reconnect = () => Promise<MoqClient>;

/** True where this browser can play Media over QUIC. */
export function moqSupported(): boolean {
  return "WebTransport" in globalThis && "MediaSource" in globalThis;
}

export interface MoqOptions {
  /** Where it is known already; what the session says comes after it. */
  readonly catalog: string | undefined;
  /** Told why when it cannot go on. */
  readonly lost: (reason: string) => void;
  readonly reconnect: Reconnect;
}

/** Plays a broadcast over an open session: Media over QUIC into Media Source. */
export function openMoq(options: EngineOptions, client: MoqClient, on: MoqOptions): Engine {
  return new MoqEngine(options, client, on);
}

class MoqEngine implements Engine {
  readonly name = "Media over QUIC";
  readonly #video: HTMLVideoElement;
  readonly #onEvent: EngineOptions["onEvent"];
  /** The session, and the one before it while something still comes over that. */
  #client: MoqClient;
  #former: MoqClient | undefined;
  readonly #lost: (reason: string) => void;
  readonly #reconnect: Reconnect;
  readonly #source = new MediaSource();
  readonly #url = URL.createObjectURL(this.#source);
  readonly #gone = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  #wish: string;
  #catalog: Catalog | undefined;
  #feeds: { video?: Feed; audio?: Feed } = {};
  readonly #picture = this.#lanes("video");
  readonly #sound = this.#lanes("audio");
  /** What came lately. */
  #came: readonly { readonly ms: number; readonly bytes: number }[] = [];
  #stalledMs = Number.NEGATIVE_INFINITY;
  /** The picture was begun anew where it plays: a seek to that place makes the browser show it. */
  #mending = false;
  /** Where another engine was, to go on from. */
  readonly #at: number | undefined;
  #jump = JUMP_SECONDS;
  #startedAt: number | undefined;
  #target = TARGET_SECONDS;
  #steadySince = performance.now();
  /** The rung that is good enough, by its place in the catalog; grows with stalls. */
  #rung: number | undefined;
  #steadyMs = STEADY_MS;
  /** A viewer went back on purpose. */
  #held = false;
  /** Who pauses goes on where he did. */
  readonly #dvr: boolean;
  readonly #past = new Past();
  /** What plays of the past until that has become live, and where live was when it began. */
  #replay: Replay | undefined;
  #left: { readonly live: number; readonly ms: number } | undefined;
  #ending = false;
  #over = false;
  #openedAt = performance.now();
  #heardAt = performance.now();
  /** Looks for the answer to a ping. */
  #asking: ReturnType<typeof setInterval> | undefined;

  constructor(
    { video, choice, at, dvr, onEvent }: EngineOptions,
    client: MoqClient,
    { catalog, lost, reconnect }: MoqOptions,
  ) {
    this.#video = video;
    this.#wish = choice;
    this.#at = at;
    this.#dvr = dvr;
    this.#onEvent = onEvent;
    this.#client = client;
    this.#lost = lost;
    this.#reconnect = reconnect;
    const { signal } = this.#gone;
    client.onLost = (reason) => this.#fail(reason);
    video.addEventListener("waiting", () => this.#stalled(), { signal });
    video.addEventListener("play", () => this.#resumed(), { signal });
    video.addEventListener("ended", () => onEvent({ type: "drained" }), { signal });
    video.addEventListener("error", () => this.#fail(video.error?.message || "the decoder failed"), {
      signal,
    });
    // What is asked for comes while the browser opens the source.
    this.#subscribeCatalog();
    if (catalog !== undefined) this.#onCatalog(catalog);
    this.#source.addEventListener("sourceopen", () => this.#openFeeds(), { once: true, signal });
    video.src = this.#url;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  get latency(): number | undefined {
    const live = this.#left && this.livePosition;
    const edge = live === undefined ? this.#edge : live + this.#target;
    return edge === undefined || this.#startedAt === undefined
      ? undefined
      : Math.max(0, edge - this.#video.currentTime);
  }

  get clockLatency(): number | undefined {
    const epochMs = this.#catalog?.epochMs;
    if (!epochMs || this.#startedAt === undefined) return undefined;
    return (Date.now() - epochMs) / 1000 - this.#video.currentTime;
  }

  get livePosition(): number | undefined {
    if (this.#left) return this.#left.live + (this.#ending ? 0 : (performance.now() - this.#left.ms) / 1000);
    const edge = this.#edge;
    return edge === undefined ? undefined : edge - this.#target;
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
    return qualityFor(this.#catalog?.qualities ?? [], this.#wish)?.name ?? AUTO;
  }

  choose(name: string): boolean {
    if (name === SOUND_ALONE) return false;
    this.#wish = name;
    this.#switch();
    return true;
  }

  seek(at: number): void {
    const live = this.livePosition;
    const to = live === undefined ? at : Math.min(at, live);
    this.#held = live !== undefined && at < live - 1;
    const isPast = (this.#held || this.#ending) && this.#past.rows.length > 0;
    if (this.#isBuffered(to)) this.#video.currentTime = to;
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
    void this.#move();
  }

  destroy(): void {
    this.#over = true;
    clearInterval(this.#timer);
    clearInterval(this.#asking);
    this.#gone.abort();
    this.#client.close();
    this.#former?.close();
    for (const feed of Object.values(this.#feeds)) feed.close();
    this.#video.playbackRate = 1;
    this.#video.removeAttribute("src");
    this.#video.load();
    URL.revokeObjectURL(this.#url);
  }

  #fail(reason: string): void {
    if (!this.#over && !this.#ending) this.#giveUp(reason);
  }

  /** Another engine goes on where this one is. */
  #giveUp(reason: string): void {
    this.#over = true;
    this.#replay?.stop();
    clearInterval(this.#asking);
    this.#client.close();
    this.#former?.close();
    this.#lost(reason);
    const at = this.#startedAt === undefined ? this.#at : this.#video.currentTime;
    this.#onEvent({ type: "unfit", message: `Media over QUIC: ${reason}`, ...(at !== undefined && { at }) });
  }

  async #move(): Promise<void> {
    let client: MoqClient;
    try {
      client = await this.#reconnect();
    } catch {
      if (!this.#over) setTimeout(() => this.#over || this.renew(), AGAIN_MS);
      return;
    }
    if (this.#over || this.#ending) return client.close();
    // Of two in a row the older is given up: what still came over it is taken over at the next group as well.
    this.#former?.close();
    this.#former = this.#client;
    this.#former.onLost = undefined;
    this.#client = client;
    client.onLost = (reason) => this.#fail(reason);
    this.#subscribeCatalog();
    for (const lanes of [this.#picture, this.#sound]) if (lanes.wanted) lanes.takeOver(client, lanes.wanted);
    this.#replay?.move(client);
    this.#leaveFormer();
  }

  #subscribeCatalog(): void {
    const client = this.#client;
    client.subscribe(
      "catalog",
      { filter: { from: "largest object" }, priority: 0 },
      {
        refused: (_code, reason) => client === this.#client && this.#fail(reason),
        group: () => ({
          object: ({ payload }) =>
            client === this.#client && this.#onCatalog(new TextDecoder().decode(payload)),
          end: () => {},
        }),
        done: (code) => {
          if (client !== this.#client) return;
          if (code === TRACK_ENDED) this.#finish();
          else this.#fail(`the catalog ended with ${code}`);
        },
      },
    );
  }

  #onCatalog(text: string): void {
    if (this.#over) return;
    let catalog: Catalog;
    try {
      catalog = readCatalog(text, (type) => MediaSource.isTypeSupported(type));
    } catch {
      return this.#fail("the catalog cannot be read");
    }
    if (catalog.complete) return this.#finish();
    const before = this.#catalog;
    // Whoever comes now is not offered this way either.
    if (before && catalog.lacks.length > before.lacks.length)
      return this.#giveUp(`it has ${catalog.lacks.join(" and ")} now, which only playlists carry`);
    // Tracks are kept as they were: they are told apart by identity.
    const same = (track: MoqTrack) =>
      [...(before?.video ?? []), ...(before?.audio ?? [])].find(({ name }) => name === track.name) ?? track;
    this.#catalog = { ...catalog, video: catalog.video.map(same), audio: catalog.audio.map(same) };
    if (catalog.timeline) this.#past.follow(this.#client, catalog.timeline);
    if (!before) this.#begin(this.#catalog);
    else this.#follow(this.#catalog);
  }

  #begin({ video, audio, unshown }: Catalog): void {
    if (unshown || (video.length === 0 && audio.length === 0))
      return this.#fail("nothing of it can be played here");
    const failed = (message: string) => this.#fail(message);
    const picture = this.#wished();
    if (picture) this.#feeds.video = new Feed(picture, failed);
    if (audio[0]) this.#feeds.audio = new Feed(audio[0], failed);
    if (this.#source.readyState === "open") this.#openFeeds();
    this.#beginLanes();
  }

  #openFeeds(): void {
    const feeds = Object.values(this.#feeds);
    for (const feed of feeds) feed.open(this.#source);
    for (const feed of feeds) feed.begin();
  }

  /** What is live, from its current group on. */
  #beginLanes(): void {
    const picture = this.#wished();
    const sound = this.#catalog?.audio[0];
    if (picture) this.#picture.begin(this.#client, picture);
    if (sound) this.#sound.begin(this.#client, sound);
  }

  /** Leaves what plays for a place in the past. */
  #goBack(at: number): void {
    const live = this.livePosition ?? at;
    this.#leave();
    this.#left = { live, ms: performance.now() };
    this.#startedAt ??= performance.now();
    this.#video.currentTime = at;
    this.#replay = new Replay({
      ...{ client: this.#client, past: this.#past, at, feeds: Object.values(this.#feeds) },
      tracks: () => [this.#wished(), this.#catalog?.audio[0]].filter((track) => track !== undefined),
      feedOf: ({ role }) => this.#feeds[role],
      came: () => {
        this.#heardAt = performance.now();
      },
    });
  }

  /** What is live again: from the group that is on air. */
  #goLive(): void {
    this.#leave();
    this.#startedAt = undefined;
    this.#openedAt = performance.now();
    this.#beginLanes();
  }

  #leave(): void {
    this.#picture.end();
    this.#sound.end();
    this.#endReplay();
    for (const feed of Object.values(this.#feeds)) feed.clear();
  }

  #endReplay(): void {
    this.#replay?.stop();
    this.#replay = undefined;
    this.#left = undefined;
  }

  #isBuffered(at: number): boolean {
    const { buffered } = this.#video;
    for (let i = 0; i < buffered.length; i++)
      if (at >= buffered.start(i) && at < buffered.end(i)) return true;
    return false;
  }

  /** The catalog has changed: what is played may be gone, and what was wished may be here. */
  #follow({ video, audio }: Catalog): void {
    if (video.length > 0 !== (this.#feeds.video !== undefined))
      return this.#fail("its tracks are others now");
    const sound = this.#sound.wanted;
    if (audio[0] && sound && audio[0] !== sound) this.#sound.begin(this.#client, audio[0]);
    // A rung that begins later is behind the source by what its encoder takes: nobody is moved there without need.
    const isHere = video.some((track) => track === this.#picture.track);
    if (!isHere || this.choice !== AUTO) this.#switch();
  }

  /** The picture that is wanted now: as chosen, else the best that the screen shows and stalls allow. */
  #wished(): MoqTrack | undefined {
    const { video = [], qualities = [] } = this.#catalog ?? {};
    const chosen = qualityFor(qualities, this.#wish);
    if (chosen) return video[qualities.indexOf(chosen)];
    const pixels = this.#video.clientHeight * devicePixelRatio;
    const enough = video.findLastIndex(({ height }) => pixels > 0 && height >= pixels);
    const best = Math.max(0, enough, this.#rung ?? 0);
    return video[Math.min(best, video.length - 1)];
  }

  #switch(): void {
    const wished = this.#wished();
    const picture = this.#picture;
    if (!wished || !picture.track || wished === picture.wanted) return;
    // On the way back to what plays.
    if (wished === picture.track && picture.client === this.#client) picture.stay();
    else picture.takeOver(this.#client, wished);
  }

  #lanes(role: "video" | "audio"): Lanes {
    return new Lanes({
      give: (track, bytes) => {
        if (!this.#over) this.#feeds[role]?.append(track, bytes);
      },
      came: (bytes) => {
        const now = performance.now();
        this.#heardAt = now;
        this.#came = [...this.#came.filter(({ ms }) => now - ms < RATE_MS), { ms: now, bytes }];
      },
      took: () => this.#leaveFormer(),
      lost: (client, reason) => {
        if (client === this.#client) this.#fail(reason);
      },
    });
  }

  #leaveFormer(): void {
    if ([this.#picture, this.#sound].some(({ client }) => client && client !== this.#client)) return;
    this.#former?.close();
    this.#former = undefined;
  }

  /** How far there is both picture and sound. */
  get #edge(): number | undefined {
    const ranges = Object.values(this.#feeds).map((feed) => feed.range);
    if (ranges.length === 0 || ranges.some((range) => range === undefined)) return undefined;
    return Math.min(...ranges.map((range) => range!.end));
  }

  #look(): void {
    if (this.#over) return;
    for (const lanes of [this.#picture, this.#sound]) lanes.check();
    if (performance.now() - this.#heardAt > SILENT_MS && !this.#ending) void this.#ask();
    if (this.#startedAt === undefined && performance.now() - this.#openedAt > BEGIN_MS)
      return this.#fail("nothing came in time");
    if (this.#replay) return this.#lookBack(this.#replay);
    const edge = this.#edge;
    if (edge === undefined) return;
    const video = this.#video;
    if (this.#startedAt === undefined) this.#start(edge);
    for (const feed of Object.values(this.#feeds)) feed.trim(Math.max(video.currentTime, edge - 30));
    if (this.#ending) return this.#drain();
    if (this.#startedAt === undefined || video.paused) return;
    if (video.seeking) return this.#jumpHole();
    const now = performance.now();
    const begin = Math.max(...Object.values(this.#feeds).map((feed) => feed.range?.start ?? 0));
    // He was away for longer than is kept.
    if (this.#held && video.currentTime < begin - 0.5 && this.#past.rows.length > 0)
      return this.#goBack(video.currentTime);
    if (this.#mending && (this.#feeds.video?.range?.end ?? 0) > video.currentTime + 0.1) {
      this.#mending = false;
      video.currentTime = Math.max(video.currentTime, begin, edge - this.#target);
      return;
    }
    this.#keepUp(edge);
    if (now - this.#steadySince < this.#steadyMs) return;
    this.#steadySince = now;
    this.#target = Math.max(TARGET_SECONDS, this.#target - STEP_SECONDS / 3);
    if (this.#rung) {
      this.#rung--;
      this.#switch();
    }
  }

  /** What plays is past: some of it lies ahead, and it becomes what is live when a viewer stays for so long. */
  #lookBack(replay: Replay): void {
    const video = this.#video;
    video.playbackRate = 1;
    for (const feed of Object.values(this.#feeds)) feed.trim(video.currentTime);
    this.#jumpHole();
    const live = this.#picture.group ?? this.#sound.group;
    const progress = replay.look(video.currentTime, live);
    if (progress === "lacking") return this.#giveUp("what was before is not to be had");
    if (progress === "going") return;
    if (this.#ending) return this.#drain();
    if (!this.#picture.track && !this.#sound.track) return this.#beginLanes();
    // Groups are named when they are made: of those before the first live one nothing more comes.
    const [, [newest]] = this.#past.rows.at(-1) ?? [0, [-1]];
    if (live !== undefined && newest >= live) this.#endReplay();
  }

  async #ask(): Promise<void> {
    if (this.#asking !== undefined) return;
    const client = this.#client;
    // On a slow line the answer waits behind what is under way: while that comes, nobody is gone.
    const asking = setInterval(() => {
      if (client !== this.#client) settle();
      else if (performance.now() - this.#heardAt > ANSWER_MS) this.#fail("the relay does not answer");
    }, ANSWER_MS);
    const settle = () => {
      clearInterval(asking);
      if (this.#asking === asking) this.#asking = undefined;
    };
    this.#asking = asking;
    await client.ping();
    settle();
    // Not again for as long.
    this.#heardAt = performance.now();
  }

  #start(edge: number): void {
    const starts = Object.values(this.#feeds).map((feed) => feed.range!.start);
    const begin = Math.max(...starts);
    if (edge - begin < 0.1 || this.#video.readyState < HTMLMediaElement.HAVE_METADATA) return;
    this.#startedAt = performance.now();
    this.#steadySince = this.#startedAt;
    const at = this.#at !== undefined && edge - this.#at < JOIN_SECONDS ? this.#at : undefined;
    if (at !== undefined) this.#jump = JOIN_SECONDS;
    this.#video.currentTime = Math.max(begin, Math.min(at ?? edge, edge - this.#target));
  }

  /** After a pause. */
  #resumed(): void {
    const live = this.livePosition;
    if (!this.#dvr || this.#startedAt === undefined || live === undefined) return;
    this.#held ||= this.#video.currentTime < live - JUMP_SECONDS;
  }

  /** Keeps the distance from the newest media that is aimed at. */
  #keepUp(edge: number): void {
    const video = this.#video;
    const late = edge - video.currentTime - this.#target;
    if (this.#held) video.playbackRate = 1;
    else if (
      late > this.#jump ||
      (late > 0.5 && this.#jump === JUMP_SECONDS && performance.now() - this.#startedAt! < SETTLE_MS)
    )
      video.currentTime = edge - this.#target;
    // 5 % is not heard; half a second takes ten.
    else if (late > 0.06) video.playbackRate = late > 0.5 ? 1.1 : 1.05;
    else if (late < -0.15) video.playbackRate = 0.97;
    else if (late < 0.02) video.playbackRate = 1;
    if (late < 0.5) this.#jump = JUMP_SECONDS;
    this.#jumpHole();
  }

  /** An encoder that was away leaves a hole. */
  #jumpHole(): void {
    const { buffered, currentTime } = this.#video;
    for (let i = 0; i < buffered.length; i++) {
      if (currentTime >= buffered.start(i) && currentTime < buffered.end(i) - 0.05) return;
      if (buffered.start(i) > currentTime) {
        this.#video.currentTime = buffered.start(i) + 0.001;
        return;
      }
    }
  }

  #stalled(): void {
    const video = this.#video;
    if (this.#over || this.#startedAt === undefined || video.seeking || video.paused) return;
    if (this.#replay) return this.#wish === AUTO ? this.#lessOfThePast() : undefined;
    this.#target = Math.min(MOST_SECONDS, this.#target + STEP_SECONDS);
    const now = performance.now();
    this.#steadySince = now;
    const often = now - this.#stalledMs < OFTEN_MS;
    this.#stalledMs = now;
    // A picture that the link does not carry comes late again and again.
    if (this.#wish !== AUTO || now - this.#startedAt < SETTLE_MS) return;
    setTimeout(() => {
      const dry = video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA && !video.seeking && !video.paused;
      if (dry || often) this.#descend(dry);
    }, DRY_MS);
  }

  /** Of the past whole groups are fetched as fast as the link carries them: the next is of a smaller picture. */
  #lessOfThePast(): void {
    const { video = [] } = this.#catalog ?? {};
    const wished = this.#wished();
    if (wished) this.#rung = Math.min(video.length - 1, video.indexOf(wished) + 1);
  }

  /** Takes the best picture below this one that the link carries: `now`, or from the next group on. */
  #descend(now: boolean): void {
    const { video = [] } = this.#catalog ?? {};
    const at = video.findIndex((track) => track.name === this.#picture.wanted?.name);
    if (this.#over || this.#ending || at < 0 || at + 1 >= video.length) return;
    const fits = video.findIndex(
      ({ bitsPerSecond }, index) => index > at && bitsPerSecond <= this.#bitsPerSecond * SHARE,
    );
    this.#rung = fits < 0 ? video.length - 1 : fits;
    this.#steadyMs = Math.min(4 * STEADY_MS, 2 * this.#steadyMs);
    if (!now) return this.#switch();
    // What is under way stands in the way of anything better.
    this.#picture.begin(this.#client, video[this.#rung]!);
    this.#mending = true;
  }

  /** What the link carried lately. */
  get #bitsPerSecond(): number {
    const since = performance.now() - RATE_MS;
    const bytes = this.#came.reduce((sum, one) => sum + (one.ms > since ? one.bytes : 0), 0);
    return (bytes * 8000) / RATE_MS;
  }

  /** The broadcast is over: what is buffered is shown, then that is the end. */
  #finish(): void {
    if (this.#over || this.#ending) return;
    if (this.#left) this.#left = { live: this.livePosition!, ms: 0 };
    this.#ending = true;
    this.#video.playbackRate = 1;
  }

  #drain(): void {
    if (this.#source.readyState !== "open") return;
    if (Object.values(this.#feeds).some((feed) => feed.busy)) return;
    this.#source.endOfStream();
  }
}
