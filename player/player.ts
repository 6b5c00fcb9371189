import { captionsOf, OFF, show, shown } from "./captions.ts";
import { type Chances, chooseEngine, chooseMoq, loadHls, type Opener } from "./engines/choose.ts";
import type { Engine, EngineEvent } from "./engines/engine.ts";
import { moqAgainMs, moqLasts, triesMoq } from "./engines/moq/chance.ts";
import { AUTO, SOUND_ALONE } from "./engines/quality.ts";
import type { First } from "./first.ts";
import { actionOf, focusOf } from "./keys.ts";
import { type Answer, Lifecycle } from "./lifecycle.ts";
import { recall, recallText, remember } from "./memory.ts";
import type { MenuModel } from "./menu.ts";
import { Meter, type Stats } from "./meter.ts";
import { addressNow, Renewal } from "./renewal.ts";
import { Reporter } from "./report.ts";
import {
  begin,
  type Effect,
  type Event,
  follows,
  type Phase,
  phaseOf,
  type State,
  sentence,
  step,
} from "./state.ts";
import { Storyboard } from "./storyboard.ts";
import { BEHIND_SECONDS, parseTime, stepFrom, type Timeline } from "./timeline.ts";
import { type Action, openView, type View } from "./view.ts";

/** Time between two looks whether Media over QUIC can be had again; twice as long after each in vain, up to the second figure. */
const RETURN_MS = 5_000;
const MOST_RETURN_MS = 120_000;
/** Seconds of unbroken playback after which the budgets for recovery are full again. */
const STEADY_MS = 10_000;
/** After so long of Media over QUIC the code for LL-HLS is fetched, should it be needed. */
const SPARE_MS = 2_000;
/** A catalog that came with an answer of the lifecycle is good for this long. */
const FRESH_MS = 5_000;
const IDLE_MS = 2500;
/** What an arrow key moves the playhead by. */
const STEP_SECONDS = 5;
/** A bar across less than this is not worth its place. */
const LEAST_SCRUB_SECONDS = 8;

/**
 * `<sluice-player src="/{uid}">`: plays one playback, from before its broadcast begins until after it ended.
 * Attributes: `autoplay`, `muted`, `controls` (on unless "false"), `dvr` (the broadcast from its beginning, with a bar to
 * seek in), `start-time` (seconds or 1h2m3s from the beginning), `loop` (of a recording), `preload="none"`, `poster`,
 * `primary-color`, `letterbox-color`, `default-text-track` (a language), `hotkeys="page"` (keys work wherever the focus is).
 * Events: `statechange`, `play`, `pause`, `playing`, `waiting`, `ended`, `error` (what a viewer noticed; recovery goes on by
 * itself).
 */
export class SluicePlayer extends HTMLElement {
  static readonly observedAttributes = [
    "src",
    "dvr",
    "controls",
    "poster",
    "primary-color",
    "letterbox-color",
    "muted",
    "default-text-track",
  ];

  readonly #view: View;
  readonly #meter: Meter;
  #state: State = begin;
  #phase: Phase = "connecting";
  #engine: Engine | undefined;
  #engineNumber = 0;
  /** The engine is the one of choice; else the next look for that one, and that it waits for an answer of the lifecycle. */
  #overQuic = false;
  #return: ReturnType<typeof setTimeout> | undefined;
  #returning = false;
  #returnMs = RETURN_MS;
  #hadMoq = false;
  /** Media second of this video at which the next engine goes on. */
  #resume: { readonly at: number; readonly video: string | null } | undefined;
  #lifecycle: Lifecycle | undefined;
  /** The address of the playback now. */
  #base = "";
  #renewal: Renewal | undefined;
  readonly #reporter: Reporter;
  #board: Storyboard | undefined;
  #message: string | null = null;
  #moq: Answer["moq"];
  #answeredMs = 0;
  #startedMs: number | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #steady: ReturnType<typeof setTimeout> | undefined;
  #spare: ReturnType<typeof setTimeout> | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #tick: ReturnType<typeof setInterval> | undefined;
  #offerSound = false;
  #statsOpen = false;
  /** A quality's name or `AUTO`: outlives the engine. */
  #quality = AUTO;
  /** A caption's id, a language or `OFF`. */
  #captions = OFF;
  /** Seconds from the beginning at which to start; used up by the first engine that knows its timeline. */
  #startAt: number | undefined;
  #gone: AbortController | undefined;
  /**
   * Asked for a token for the same video or live input before the one in `src` ends, or when the server takes none. It is
   * swapped in while it plays. Where nothing was shown yet `admit` is sent first, and whoever prevents that has another use for it.
   */
  onTokenNeeded: (() => Promise<string | undefined>) | undefined;
  /** The answer of the lifecycle that came with the page, for the first `src`. */
  first: First | undefined;
  /** Whoever asked it to play and waits for that. */
  #asked: PromiseWithResolvers<void>[] = [];
  /** A browser that allows no sound is not outwitted by playing without. */
  #strict = false;
  #rate = 1;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    this.#view = openView(root, {
      onAction: (action) => this.#act(action),
      onVolume: (volume) => this.#setVolume(volume),
      onQuality: (name) => this.#setQuality(name),
      onCaptions: (id) => this.#setCaptions(id),
      onSeek: (at) => this.#seek(at),
    });
    this.#meter = new Meter(this.#view.video);
    this.#reporter = new Reporter(
      () => `${this.#base}/cmcd`,
      () => ({
        bufferSeconds: this.#meter.stats().bufferedSeconds,
        playbackRate: this.#view.video.playbackRate,
        engine: this.#engine,
      }),
    );
  }

  /** What the viewer is looking at. */
  get state(): Phase {
    return this.#phase;
  }

  /** Seconds behind the newest media; undefined while unknown. */
  get latency(): number | undefined {
    return this.#engine?.latency;
  }

  /** The element that shows it: to read from and to set its volume; who plays, pauses and seeks asks the player. */
  get media(): HTMLVideoElement {
    return this.#view.video;
  }

  /** False also while it waits for the broadcast to begin. */
  get paused(): boolean {
    return !this.#state.wanted || this.#phase === "ended";
  }

  /** Seconds; Infinity on air, NaN while it is not known. */
  get duration(): number {
    const timeline = this.#engine?.timeline;
    if (!timeline) return Number.NaN;
    return timeline.live ? Number.POSITIVE_INFINITY : this.#view.video.duration;
  }

  /** Media seconds; set before anything is loaded it is where that begins. */
  get currentTime(): number {
    return this.#view.video.currentTime;
  }
  set currentTime(at: number) {
    const timeline = this.#engine?.timeline;
    if (timeline) this.#seek(stepFrom(timeline, at, 0));
    else this.#startAt = at;
  }

  /** Of a recording: what is on air is played at its own pace. */
  get playbackRate(): number {
    return this.#engine?.timeline?.live === false ? this.#view.video.playbackRate : this.#rate;
  }
  set playbackRate(rate: number) {
    this.#rate = rate;
    this.#setRate();
  }

  /** Figures since the element was connected. */
  get stats(): Stats & { clockLatency: number | undefined; engine: string | undefined } {
    const { clockLatency, name: engine } = this.#engine ?? {};
    return { ...this.#meter.stats(), clockLatency, engine };
  }

  connectedCallback(): void {
    this.#gone = new AbortController();
    const { signal } = this.#gone;
    if (!this.hasAttribute("tabindex")) this.tabIndex = 0;
    const { video, frame } = this.#view;

    video.addEventListener("playing", () => this.#moving(), { signal });
    // `playing` is not sent again after every hole; time that passes is the proof.
    video.addEventListener("timeupdate", () => this.#onTime(), { signal });
    video.addEventListener("waiting", () => this.#send({ type: "stuck" }), { signal });
    video.addEventListener("volumechange", () => this.#render(), { signal });
    video.addEventListener("loadedmetadata", () => this.#setRate(), { signal });
    video.addEventListener("pause", () => this.#onPause(), { signal });
    video.addEventListener("enterpictureinpicture", () => this.#render(), { signal });
    video.addEventListener("leavepictureinpicture", () => this.#render(), { signal });
    document.addEventListener("fullscreenchange", () => this.#render(), { signal });
    // Tracks come when a playlist names them or a picture carries them.
    video.textTracks.addEventListener("addtrack", () => show(video.textTracks, this.#captions), { signal });

    const wake = () => this.#wake();
    for (const name of ["pointermove", "pointerdown", "keydown", "focusin"]) {
      frame.addEventListener(name, wake, { signal });
    }
    frame.addEventListener("pointerleave", () => frame.classList.add("idle"), { signal });
    video.addEventListener("click", () => this.#onPictureClick(), { signal });
    video.addEventListener("dblclick", () => this.#act("fullscreen"), { signal });
    const keys: EventTarget = this.getAttribute("hotkeys") === "page" ? document : this;
    keys.addEventListener("keydown", (event) => this.#onKey(event as KeyboardEvent), { signal });
    addEventListener("online", () => this.#send({ type: "retry" }), { signal });
    addEventListener("pagehide", () => this.#reporter.leave(), { signal });
    addEventListener("pageshow", () => this.#reporter.show(this.#phase), { signal });

    video.volume = recall("volume", 1);
    this.#quality = recallText("quality") ?? AUTO;
    this.#captions = recallText("captions") ?? this.getAttribute("default-text-track") ?? OFF;
    this.#startAt = parseTime(this.getAttribute("start-time") ?? "");
    this.#tick = setInterval(() => this.#render(), 500);
    this.#open();
  }

  disconnectedCallback(): void {
    this.#gone?.abort();
    clearInterval(this.#tick);
    clearTimeout(this.#idle);
    this.#close();
    for (const { reject } of this.#asked.splice(0))
      reject(new DOMException("The player was taken away", "AbortError"));
  }

  attributeChangedCallback(name: string): void {
    if (name === "primary-color") {
      const colour = this.getAttribute(name);
      if (colour) this.#view.frame.style.setProperty("--accent", colour);
      else this.#view.frame.style.removeProperty("--accent");
    }
    if (name === "letterbox-color") this.style.backgroundColor = this.getAttribute(name) ?? "";
    if (name === "muted" && this.isConnected) this.#view.video.muted = this.#flag("muted");
    if (name === "default-text-track" && this.isConnected && recallText("captions") === undefined) {
      this.#captions = this.getAttribute(name) ?? OFF;
      show(this.#view.video.textTracks, this.#captions);
    }
    if ((name === "src" || name === "dvr") && this.isConnected) {
      this.#close();
      this.#open();
    }
    this.#render();
  }

  /**
   * Starts or resumes; the caller's click lets it have sound. Where the browser allows none it plays without, unless `mute` is
   * false. Resolves when it plays, rejects with a DOMException when that is forbidden, fails or is paused before.
   */
  play({ mute = true }: { readonly mute?: boolean } = {}): Promise<void> {
    const asked = Promise.withResolvers<void>();
    // Most callers have no use for it.
    asked.promise.catch(() => {});
    this.#asked.push(asked);
    this.#strict = !mute;
    this.#send({ type: "play" });
    void this.#start();
    return asked.promise;
  }

  pause(): void {
    this.#send({ type: "pause" });
    this.#view.video.pause();
  }

  /** Asks anew for what was denied, and for a token to have it with. */
  retry(): void {
    this.#renewal?.ask();
    this.#lifecycle?.ask();
  }

  /** Jumps to the live edge and plays. */
  goLive(): void {
    const at = this.#engine?.livePosition;
    if (at !== undefined) this.#engine?.seek(at);
    void this.play();
  }

  #flag(name: string): boolean {
    return this.hasAttribute(name) && this.getAttribute(name) !== "false";
  }

  #open(): void {
    const base = this.getAttribute("src")?.replace(/\/+$/, "");
    if (!base) return;
    this.#state = begin;
    this.#base = new URL(base, location.href).href;
    this.#renewal = new Renewal({
      id: base.slice(base.lastIndexOf("/") + 1),
      ask: () => this.onTokenNeeded?.(),
      fresh: (token) => this.#onToken(token),
    });
    // Autoplay never brings sound by surprise: the page asks for it in so many words, or the viewer did before.
    const video = this.#view.video;
    const asked = this.getAttribute("muted") === "false" || recall("sound", 0) === 1;
    video.muted = this.#flag("muted") || (this.#flag("autoplay") && !asked);
    this.#offerSound = false;
    this.#board = new Storyboard(() => `${this.#base}/storyboard.vtt`);
    this.#lifecycle = new Lifecycle({
      url: () => `${this.#base}/lifecycle`,
      first: this.first,
      onAnswer: (answer) => this.#onAnswer(answer),
      onLost: (unready) => this.#send({ type: "lifecycle-lost", unready }),
      onDenied: (why) => {
        this.#send({ type: "denied", why });
        this.#renewal?.ask();
      },
      onDate: (nowMs) => this.#renewal?.clock(nowMs),
    });
    this.first = undefined;
    if (this.#flag("autoplay")) this.#send({ type: "play" });
    this.#lifecycle.follow(true);
    this.#render();
  }

  #onToken(token: string): void {
    const { broadcast } = this.#state;
    const admit = new CustomEvent("admit", { cancelable: true, detail: token });
    if (broadcast === "unknown" && !this.dispatchEvent(admit)) return;
    this.#base = this.#base.replace(/[^/]*$/, token);
    // What stood on the screen stays there for as long as that takes.
    if (this.#engine?.reloads) this.#view.freeze();
    this.#engine?.renew?.();
    if (this.#state.denied !== "no" || broadcast === "unknown") this.#lifecycle?.ask();
  }

  #close(): void {
    this.#reporter.leave();
    this.#renewal?.close();
    this.#lifecycle?.close();
    clearTimeout(this.#retry);
    clearTimeout(this.#steady);
    clearTimeout(this.#spare);
    clearTimeout(this.#return);
    this.#returning = false;
    this.#resume = undefined;
    this.#hadMoq = false;
    this.#engineNumber++;
    this.#engine?.destroy();
    this.#engine = undefined;
  }

  #onAnswer({ status, videoUID, isInput, message, startedAt, moq }: Answer): void {
    this.#message = message ?? null;
    this.#moq = moq;
    this.#answeredMs = performance.now();
    // While he waits, so that the broadcast's first second is not spent on code; what plays otherwise has it for when that fails.
    if (!triesMoq(this.#chances)) this.#loadHls();
    this.#hadMoq ||= moq !== undefined && !moq.lacks?.length;
    this.#startedMs = startedAt ? Date.parse(startedAt) : undefined;
    if (status === "reconnecting" || status === "ended") this.#meter.excuse();
    // A viewer who waited gets the picture when it comes; sound only if they asked for it.
    if (status === "idle" && !this.#state.wanted && isInput) this.#view.video.muted = true;
    this.#send({ type: "lifecycle", status, video: videoUID, isInput });
    if (this.#returning) void this.#goBack();
  }

  #send(event: Event): void {
    const { state, effects } = step(this.#state, event);
    const { paused } = this;
    this.#state = state;
    for (const effect of effects) this.#run(effect);
    const was = this.#phase;
    this.#phase = phaseOf(this.#state);
    if (paused !== this.paused) this.dispatchEvent(new CustomEvent(paused ? "play" : "pause"));
    if (this.#phase !== was) {
      const heard = heardOf(was, this.#phase);
      if (this.#phase === "denied")
        this.dispatchEvent(new CustomEvent("error", { detail: sentence("denied", this.#state) }));
      if (heard) this.dispatchEvent(new CustomEvent(heard));
      this.dispatchEvent(new CustomEvent("statechange", { detail: this.#phase }));
    }
    this.#settle();
    this.#reporter.show(this.#phase);
    this.#lifecycle?.follow(follows(this.#phase));
    this.#render();
  }

  /** Tells whoever asked it to play what came of it. */
  #settle(): void {
    const phase = this.#phase;
    if (this.#asked.length === 0) return;
    if (phase === "playing") for (const { resolve } of this.#asked.splice(0)) resolve();
    else if (phase === "failed" || phase === "ended" || (phase === "denied" && !this.onTokenNeeded))
      this.#refuse(new DOMException(sentence(phase, this.#state), "NotSupportedError"));
    else if (!this.#state.wanted) this.#refuse(new DOMException("It was paused", "AbortError"));
  }

  #refuse(error: DOMException): void {
    for (const { reject } of this.#asked.splice(0)) reject(error);
  }

  #setRate(): void {
    if (this.#engine?.timeline?.live === false) this.#view.video.playbackRate = this.#rate;
  }

  #run(effect: Effect): void {
    switch (effect.do) {
      case "load":
        void this.#load();
        return;
      case "recover":
        this.#engine?.recover();
        void this.#start();
        return;
      case "stop":
        this.#engine?.stop();
        return;
      case "ask":
        this.#lifecycle?.ask();
        return;
      case "retry":
        clearTimeout(this.#retry);
        this.#retry = setTimeout(
          () => this.#send({ type: "retry" }),
          effect.afterMs * (0.8 + Math.random() * 0.4),
        );
    }
  }

  get #chances(): Chances {
    return {
      base: this.#base,
      // What was on offer then may be another thing now.
      moq:
        performance.now() - this.#answeredMs < FRESH_MS
          ? this.#moq
          : this.#moq && { ...this.#moq, catalog: undefined },
      choice: this.#quality,
      session: this.#reporter.session,
    };
  }

  #loadHls(): void {
    if (this.getAttribute("preload") !== "none") void loadHls().catch(() => {});
  }

  async #load(): Promise<void> {
    const number = ++this.#engineNumber;
    const at = this.#resume?.video === this.#state.loaded ? this.#resume?.at : undefined;
    this.#resume = undefined;
    clearTimeout(this.#return);
    if (at !== undefined) this.#view.freeze();
    this.#engine?.destroy();
    this.#engine = undefined;
    const open = await chooseEngine(this.#view.video, this.#chances);
    // Superseded while the code of the engine was loading.
    if (number !== this.#engineNumber) return open?.abandon?.();
    if (open) return this.#install(open, at);
    this.#onEngine({ type: "failed", kind: "unsupported", message: "no Media Source and no HLS" });
  }

  #install(open: Opener, at: number | undefined): void {
    const number = ++this.#engineNumber;
    this.#overQuic = open.overQuic === true;
    this.#returnMs = RETURN_MS;
    this.#engine = open({
      video: this.#view.video,
      url: `${this.#base}/manifest/video.m3u8${this.#flag("dvr") ? "?dvrEnabled=true" : ""}`,
      dvr: this.#flag("dvr"),
      address: (url) => addressNow(url, this.#base),
      choice: this.#quality,
      startedMs: this.#startedMs,
      at,
      session: this.#reporter.session,
      onEvent: (event) => {
        if (number === this.#engineNumber) this.#onEngine(event);
      },
    });
    this.#planReturn();
    void this.#start();
  }

  /** Where Media over QUIC was lost, or did not open in time, it is tried again while LL-HLS plays. */
  #planReturn(): void {
    clearTimeout(this.#return);
    // While a relay is away the lifecycle does not speak of it.
    const fits = this.#hadMoq && "WebTransport" in globalThis;
    if (this.#overQuic || !fits || this.#quality === SOUND_ALONE) return;
    this.#return = setTimeout(
      () => {
        // A relay that is back may be at another port.
        this.#returning = true;
        this.#lifecycle?.ask();
      },
      Math.max(this.#returnMs, moqAgainMs() * (1 + Math.random() / 4)),
    );
  }

  /** Only who is live, and sees it move, is moved to where live is sooner. */
  #mayReturn(): boolean {
    const edge = this.#engine?.livePosition;
    const live = edge !== undefined && edge - this.#view.video.currentTime < BEHIND_SECONDS;
    return live && this.#phase === "playing" && !this.#overQuic;
  }

  async #goBack(): Promise<void> {
    this.#returning = false;
    const number = this.#engineNumber;
    const open = this.#mayReturn() ? await chooseMoq(this.#chances) : undefined;
    if (number !== this.#engineNumber) return open?.abandon?.();
    if (!open || !this.#mayReturn()) {
      open?.abandon?.();
      this.#returnMs = Math.min(MOST_RETURN_MS, 2 * this.#returnMs);
      return this.#planReturn();
    }
    const at = this.#view.video.currentTime;
    this.#view.freeze();
    this.#engine?.destroy();
    this.#install(open, at);
  }

  async #start(): Promise<void> {
    const { video } = this.#view;
    if (!this.#engine || !this.#state.wanted) return;
    try {
      await video.play();
    } catch (error) {
      if (!(error instanceof DOMException)) return;
      // The engine has put another source in its place; who paused wants nothing.
      if (error.name === "AbortError") return this.#start();
      if (error.name !== "NotAllowedError") return;
      if (video.muted || this.#strict) {
        this.#refuse(error);
        this.#send({ type: "pause" });
      } else {
        video.muted = true;
        await this.#start();
      }
    }
    this.#offerSound = video.muted && !this.#flag("muted");
    this.#render();
  }

  #onEngine(event: EngineEvent): void {
    if (event.type === "failed") {
      this.#meter.error(event.message);
      this.dispatchEvent(new CustomEvent("error", { detail: event.message }));
    }
    if (event.type === "trouble" || event.type === "unfit") this.#meter.warn(event.message);
    if (event.type === "unfit" && event.at !== undefined)
      this.#resume = { at: event.at, video: this.#state.loaded };
    const { timeline } = this;
    if (event.type === "drained" && this.#flag("loop") && !this.#state.isInput && timeline) {
      this.#engine?.seek(timeline.start);
      void this.#start();
      return;
    }
    this.#send(event);
  }

  #onTime(): void {
    if (!this.#view.video.seeking && this.#meter.advanced()) this.#moving();
  }

  #moving(): void {
    const { video } = this.#view;
    if (video.paused || video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA) return;
    if (this.#state.motion !== "moving") {
      clearTimeout(this.#steady);
      clearTimeout(this.#spare);
      if (this.#overQuic) this.#spare = setTimeout(() => this.#loadHls(), SPARE_MS);
      this.#steady = setTimeout(() => {
        if (this.#overQuic) moqLasts();
        this.#send({ type: "steady" });
      }, STEADY_MS);
      this.#send({ type: "moving" });
    }
  }

  /** The browser pauses too: on a phone call, by a media key, or when a tab with sound goes away. */
  #onPause(): void {
    const { video } = this.#view;
    // An element that is loaded anew pauses too.
    if (video.ended || video.readyState === 0) return;
    if (this.#engine && this.#state.motion === "moving") this.#send({ type: "pause" });
  }

  #onPictureClick(): void {
    const { frame } = this.#view;
    if (matchMedia("(hover: none)").matches && frame.classList.contains("idle")) return;
    if (this.getAttribute("controls") !== "false") this.#act("play");
  }

  #act(action: Action): void {
    const { video } = this.#view;
    switch (action) {
      case "play":
        if (this.#state.wanted && this.#phase !== "ready") this.pause();
        else void this.play();
        break;
      case "again":
        this.retry();
        break;
      case "mute":
        this.#setMuted(!video.muted);
        break;
      case "sound":
        this.#setMuted(false);
        break;
      case "live":
        this.goLive();
        break;
      case "back":
      case "forward":
      case "start": {
        const { timeline } = this;
        const by = { back: -STEP_SECONDS, forward: STEP_SECONDS, start: Number.NEGATIVE_INFINITY }[action];
        if (timeline) this.#seek(stepFrom(timeline, video.currentTime, by));
        break;
      }
      case "quality":
        this.#view.toggleQuality();
        break;
      case "captions": {
        const all = captionsOf(video.textTracks);
        const on = shown(video.textTracks) !== OFF;
        const wanted = all.find(({ id }) => id === recallText("last-captions")) ?? all[0];
        if (wanted) this.#setCaptions(on ? OFF : wanted.id);
        break;
      }
      case "stats":
        this.#statsOpen = !this.#statsOpen;
        if (this.#statsOpen) this.#lifecycle?.ask();
        break;
      case "pip":
        if (document.pictureInPictureElement === video) void document.exitPictureInPicture().catch(() => {});
        else void video.requestPictureInPicture?.().catch(() => {});
        break;
      case "louder":
      case "softer":
        this.#setVolume((video.muted ? 0 : video.volume) + (action === "louder" ? 0.05 : -0.05));
        break;
      case "fullscreen":
        void this.#toggleFullscreen();
    }
    this.#render();
  }

  async #toggleFullscreen(): Promise<void> {
    // iPhones have no element full screen, only the video's own.
    const video = this.#view.video as HTMLVideoElement & { webkitEnterFullscreen?: () => void };
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (this.requestFullscreen) await this.requestFullscreen();
      else video.webkitEnterFullscreen?.();
    } catch {
      // The embedding page did not allow it: nothing changes.
    }
  }

  #setMuted(muted: boolean): void {
    const { video } = this.#view;
    video.muted = muted;
    if (!muted && video.volume === 0) video.volume = 0.5;
    if (!muted) this.#offerSound = false;
    remember("sound", muted ? 0 : 1);
  }

  #setVolume(volume: number): void {
    const { video } = this.#view;
    video.volume = Math.min(1, Math.max(0, volume));
    this.#setMuted(video.volume === 0);
    remember("volume", video.volume);
  }

  #setQuality(name: string): void {
    this.#quality = name;
    remember("quality", name);
    if (this.#engine?.choose(name) === false) this.#send({ type: "reload" });
    this.#render();
  }

  #setCaptions(id: string): void {
    this.#captions = id;
    remember("captions", id);
    if (id !== OFF) remember("last-captions", id);
    show(this.#view.video.textTracks, id);
    this.#render();
  }

  #seek(at: number): void {
    this.#engine?.seek(at);
    // The browser pauses at the end.
    if (this.#state.engine === "drained") void this.play();
    this.#render();
  }

  /** What a viewer may seek in, in media seconds: of a live broadcast only with `dvr`. */
  get timeline(): Timeline | undefined {
    const timeline = this.#engine?.timeline;
    if (!timeline || timeline.end - timeline.start < LEAST_SCRUB_SECONDS) return undefined;
    return !timeline.live || this.#flag("dvr") ? timeline : undefined;
  }

  #onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = actionOf(event.key, focusOf(event.composedPath()[0]));
    if (!action || (needsTimeline.has(event.key) && !this.timeline)) return;
    event.preventDefault();
    this.#wake();
    this.#act(action);
  }

  #wake(): void {
    const { frame } = this.#view;
    frame.classList.remove("idle");
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (!this.#view.busy && !frame.matches(":has(:focus-visible)")) frame.classList.add("idle");
    }, IDLE_MS);
  }

  #render(): void {
    const { video } = this.#view;
    const phase = this.#phase;
    const edge = this.#engine?.livePosition;
    const clockLatency = this.#engine?.clockLatency;
    const { timeline } = this;
    this.#startWhere(timeline);
    const live = this.#state.broadcast === "live" || this.#state.broadcast === "reconnecting";
    const audioOnly = video.readyState >= HTMLMediaElement.HAVE_METADATA && video.videoWidth === 0;
    this.#view.render({
      phase,
      sentence: sentence(phase, this.#state),
      // An expired token stays expired: it takes somebody who gives another.
      again: phase === "denied" && (this.#state.denied === "refused" || this.onTokenNeeded !== undefined),
      controls: this.getAttribute("controls") !== "false",
      paused: !this.#state.wanted,
      muted: video.muted,
      volume: video.volume,
      offerSound: this.#offerSound && video.muted,
      live: live && phase !== "ready",
      atEdge: phase !== "paused" && (edge === undefined || edge - video.currentTime < BEHIND_SECONDS),
      audioOnly,
      canFullscreen: document.fullscreenEnabled || "webkitEnterFullscreen" in video,
      fullscreen: document.fullscreenElement === this,
      canPip: document.pictureInPictureEnabled === true && video.videoWidth > 0,
      pip: document.pictureInPictureElement === video,
      poster: this.getAttribute("poster"),
      quality: this.#qualityMenu(),
      captions: this.#captionsMenu(),
      scrub: timeline && {
        ...{ timeline, at: video.currentTime, storyboard: this.#board },
        dateMs: clockLatency === undefined ? undefined : Date.now() - clockLatency * 1000,
      },
      stats: this.#statsOpen ? this.#meter.lines(this.#engine, this.#message) : null,
    });
  }

  #startWhere(timeline: Timeline | undefined): void {
    if (this.#startAt === undefined || !timeline || this.#view.video.readyState === 0) return;
    this.#engine?.seek(stepFrom(timeline, timeline.start, this.#startAt));
    this.#startAt = undefined;
  }

  #qualityMenu(): MenuModel {
    const { qualities = [], playing = "", choice = AUTO } = this.#engine ?? {};
    if (qualities.length === 0) return { items: [], chosen: AUTO };
    const auto = { id: AUTO, label: "Auto", detail: choice === AUTO ? playing : "" };
    return {
      items: [auto, ...qualities.map(({ name }) => ({ id: name, label: name, detail: "" }))],
      chosen: choice,
    };
  }

  #captionsMenu(): MenuModel {
    const { textTracks } = this.#view.video;
    const all = captionsOf(textTracks).map(({ id, label }) => ({ id, label, detail: "" }));
    if (all.length === 0) return { items: [], chosen: OFF };
    return { items: [{ id: OFF, label: "Off", detail: "" }, ...all], chosen: shown(textTracks) };
  }
}

/** What a page that listens to a media element would hear of this. */
function heardOf(was: Phase, phase: Phase): "playing" | "waiting" | "ended" | undefined {
  if (phase === "playing" || phase === "ended") return phase;
  return was === "playing" && phase !== "paused" ? "waiting" : undefined;
}

/** Keys that scroll the page where there is nothing to seek in. */
const needsTimeline: ReadonlySet<string> = new Set(["ArrowLeft", "ArrowRight", "Home", "End"]);

customElements.define("sluice-player", SluicePlayer);
