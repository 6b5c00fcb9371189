import Hls, {
  type AudioTrackLoadedData,
  Events,
  type HlsConfig,
  type HlsListeners,
  type Level,
  type LevelDetails,
  type LevelLoadedData,
} from "hls.js";

/**
 * An `Hls` for broadcasts that turn into their recording, with rungs that come and go.
 *
 * hls.js 1.7 lets media time begin with the first list it sees. Who joined late then has no time for what came before, and
 * could not seek there when the list turns into the whole broadcast. Here media time is the time of the broadcast.
 *
 * And its own choice of levels is never limited to ones that fail. The size of the player may allow a single rung: when
 * the server takes that one back, hls.js has no other to go to and asks for it for ever.
 */
export class LiveHls extends Hls {
  readonly #startedMs: number | undefined;

  /** `startedMs` is the date of broadcast time 0, where it is known. */
  constructor(config: Partial<HlsConfig>, startedMs: number | undefined) {
    super(config);
    this.#startedMs = startedMs;
  }

  /** A list is placed before hls.js itself hears of it. */
  override trigger<E extends keyof HlsListeners>(event: E, data: Parameters<HlsListeners[E]>[1]): boolean {
    if (event === Events.LEVEL_LOADED) {
      const { details, levelInfo } = data as LevelLoadedData;
      this.#place(details, levelInfo.details);
    } else if (event === Events.AUDIO_TRACK_LOADED) {
      const { details, track } = data as AudioTrackLoadedData;
      this.#place(details, track.details);
    }
    return super.trigger(event, data);
  }

  override get maxAutoLevel(): number {
    const most = super.maxAutoLevel;
    if (this.levels.slice(0, most + 1).some((level) => this.#isFine(level))) return most;
    const above = this.levels.findIndex((level, index) => index > most && this.#isFine(level));
    return above < 0 ? most : above;
  }

  override get minAutoLevel(): number {
    const least = super.minAutoLevel;
    const fine = this.levels.findIndex((level, index) => index >= least && this.#isFine(level));
    return fine < 0 ? least : fine;
  }

  /** Puts a list where its dates say: one to begin with, and one that goes further back than the one before. */
  #place({ live, startSN, fragments, fragmentHint }: LevelDetails, before: LevelDetails | undefined): void {
    const first = fragments[0] ?? fragmentHint;
    if (this.#startedMs === undefined || !first?.programDateTime) return;
    if (before ? startSN >= before.startSN : !live) return;
    const at = (first.programDateTime - this.#startedMs) / 1000 - first.start;
    for (const one of fragments) one.addStart(at);
    fragmentHint?.addStart(at);
  }

  #isFine({ loadError, loadErrorTime }: Level): boolean {
    return loadError === 0 || performance.now() - (loadErrorTime ?? 0) > this.config.errorPenaltyExpireMs;
  }
}
