import type { Engine } from "./engines/engine.ts";

export interface Stats {
  /** Times that playback stood still for 0.1 s or more while the broadcast was on air, and for how long in all. */
  readonly stalls: number;
  readonly stallSeconds: number;
  /** Times that it ran dry because the encoder was away. */
  readonly interruptions: number;
  /** What the engine gave up on, oldest first; the last 50. */
  readonly errors: readonly string[];
  /** What the engine met and tried again by itself; the last 50. */
  readonly warnings: readonly string[];
  readonly decodedFrames: number;
  readonly droppedFrames: number;
  readonly decodedAudioBytes: number;
  readonly bufferedSeconds: number;
}

const KEPT = 50;
/** Shorter than this nobody sees it: three frames. */
const STALL_MS = 100;

/** Measures what a viewer of `video` gets, whatever engine feeds it. */
export class Meter {
  readonly #video: HTMLVideoElement;
  readonly #errors: string[] = [];
  readonly #warnings: string[] = [];
  #played = false;
  #lastTime = 0;
  #stalls = 0;
  #interruptions = 0;
  #stallMs = 0;
  #dryAt: number | undefined;
  #excused = false;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
    video.addEventListener("playing", () => this.#wet(true));
    video.addEventListener("waiting", () => this.#dry());
    video.addEventListener("emptied", () => {
      this.#wet(false);
      this.#played = false;
    });
    video.addEventListener("pause", () => this.#wet(false));
    video.addEventListener("ended", () => this.excuse());
  }

  /** True when the picture moved since the last call. */
  advanced(): boolean {
    const { currentTime } = this.#video;
    const moved = currentTime > this.#lastTime;
    this.#lastTime = currentTime;
    return moved;
  }

  /** The stall that lasts now is the encoder's absence or the end, not ours. */
  excuse(): void {
    if (this.#dryAt !== undefined) this.#excused = true;
  }

  error(message: string): void {
    this.#errors.push(message);
    if (this.#errors.length > KEPT) this.#errors.shift();
  }

  warn(message: string): void {
    this.#warnings.push(message);
    if (this.#warnings.length > KEPT) this.#warnings.shift();
  }

  stats(): Stats {
    const video = this.#video as HTMLVideoElement & { webkitAudioDecodedByteCount?: number };
    const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
    const dryMs = this.#dryAt === undefined || this.#excused ? 0 : performance.now() - this.#dryAt;
    const running = dryMs >= STALL_MS;
    return {
      stalls: this.#stalls + (running ? 1 : 0),
      stallSeconds: (this.#stallMs + (running ? dryMs : 0)) / 1000,
      interruptions: this.#interruptions + (this.#dryAt !== undefined && this.#excused ? 1 : 0),
      errors: [...this.#errors],
      warnings: [...this.#warnings],
      decodedFrames: totalVideoFrames,
      droppedFrames: droppedVideoFrames,
      decodedAudioBytes: video.webkitAudioDecodedByteCount ?? 0,
      bufferedSeconds: ahead(video),
    };
  }

  /** The panel's lines; `message` is the origin's sentence for the owner. */
  lines(engine: Engine | undefined, message: string | null): [string, string][] {
    const { videoWidth, videoHeight, playbackRate } = this.#video;
    const now = this.stats();
    const seconds = (value: number | undefined) => (value === undefined ? "–" : `${value.toFixed(2)} s`);
    const { codecs, bitsPerSecond } = engine?.rendition ?? {};
    return [
      ["Behind live", seconds(engine?.latency)],
      ["Since capture", seconds(engine?.clockLatency)],
      ["Buffer", seconds(now.bufferedSeconds)],
      ["Picture", videoWidth ? `${videoWidth}×${videoHeight}` : "none"],
      ...(codecs ? [["Codecs", codecs] as [string, string]] : []),
      ...(bitsPerSecond
        ? [["Bit rate", `${(bitsPerSecond / 1e6).toFixed(2)} Mb/s`] as [string, string]]
        : []),
      ["Frames", `${now.decodedFrames}, dropped ${now.droppedFrames}`],
      ["Stalls", `${now.stalls}, ${now.stallSeconds.toFixed(1)} s`],
      ["Speed", `${playbackRate.toFixed(2)}×`],
      ["Engine", engine?.name ?? "–"],
      ...(message ? [["Note", message] as [string, string]] : []),
    ];
  }

  #dry(): void {
    if (!this.#played || this.#video.seeking || this.#video.paused || this.#dryAt !== undefined) return;
    this.#dryAt = performance.now();
    this.#excused = false;
  }

  #wet(playing: boolean): void {
    if (playing) this.#played = true;
    if (this.#dryAt === undefined) return;
    const dryMs = performance.now() - this.#dryAt;
    if (this.#excused) this.#interruptions++;
    else if (dryMs >= STALL_MS) {
      this.#stalls++;
      this.#stallMs += dryMs;
    }
    this.#dryAt = undefined;
  }
}

/** Seconds of media from the playhead on without a hole. */
function ahead({ buffered, currentTime }: HTMLVideoElement): number {
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i))
      return buffered.end(i) - currentTime;
  }
  return 0;
}
