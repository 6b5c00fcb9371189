import Hls, {
  Events,
  type FragBufferedData,
  type FragLoadingData,
  type Fragment,
  type Level,
  type Part,
} from "hls.js";
import { Estimate, rescue } from "./estimate.ts";

/** How often a part that is on its way is looked at. */
const LOOK_MS = 50;
/** Before this a transfer has hardly begun. */
const EARLIEST_MS = 200;
/** After a rescue nothing better is tried for two segments. */
const HELD_MS = 4000;

/**
 * hls.js's choice of levels for a player that has a second in hand and loads parts. Its own waits until what is buffered would
 * not last for the part that is on its way: that near to the edge, too late. And it changes level in the middle of a segment,
 * where no keyframe is: browsers then show nothing until the next one. Here a part that will take longer than it plays says
 * that the line does not carry the level, and changes are made between segments, unless a viewer would wait for it longer.
 * Overrides protected methods: the version of hls.js is pinned, and a test in a browser watches over it.
 */
export class LiveAbr extends Hls.DefaultConfig.abrController {
  #watch: ReturnType<typeof setInterval> | undefined;
  #latest: { readonly frag: Fragment; readonly part: Part } | undefined;
  #held: { readonly level: number; readonly until: number } | undefined;

  constructor(hls: Hls) {
    super(hls);
    // Before anything is chosen: nobody hears of the list earlier.
    hls.on(Events.MANIFEST_PARSED, (_, { levels }) => uniteCodecs(levels));
    this.#estimate(hls.config.abrEwmaDefaultEstimate, false);
  }

  override resetEstimator(bitsPerSecond?: number): void {
    super.resetEstimator(bitsPerSecond);
    this.#estimate(this.hls.config.abrEwmaDefaultEstimate, false);
  }

  override destroy(): void {
    clearInterval(this.#watch);
    super.destroy();
  }

  override get nextAutoLevel(): number {
    const next = super.nextAutoLevel;
    // A forced level is an error's way out.
    const { loadLevel } = this.hls;
    if (this.forcedAutoLevel === -1 && next !== loadLevel && loadLevel >= 0 && this.#isWithinSegment())
      return loadLevel;
    if (!this.#held || performance.now() > this.#held.until) return next;
    return Math.min(next, this.#held.level);
  }
  override set nextAutoLevel(level: number) {
    super.nextAutoLevel = level;
  }

  protected override onFragLoading(event: Events.FRAG_LOADING, data: FragLoadingData): void {
    super.onFragLoading(event, data);
    const { frag, part } = data;
    if (frag.type !== "main" || frag.sn === "initSegment") return;
    clearInterval(this.#watch);
    this.#latest = part ? { frag, part } : undefined;
    if (!part) return;
    // Whole segments are left to hls.js, parts are not.
    (this as unknown as { clearTimer(): void }).clearTimer();
    this.#watch = setInterval(() => this.#look(frag, part), LOOK_MS);
  }

  /**
   * What a transfer says of the line. Up to its last byte: hls.js's own goes on until the part is parsed, which takes longer
   * than a small part's transfer.
   */
  protected override onFragBuffered(event: Events.FRAG_BUFFERED, data: FragBufferedData): void {
    const { frag, part } = data;
    if (frag.bitrateTest) return super.onFragBuffered(event, data);
    const { aborted, loaded, loading } = part ? part.stats : frag.stats;
    if (aborted || frag.type !== "main" || frag.sn === "initSegment") return;
    const waitedMs = Math.min(loading.first - loading.start, this.bwEstimator.getEstimateTTFB());
    this.bwEstimator.sample(loading.end - loading.start - waitedMs, loaded);
  }

  /** True when the latest part is not the last of its segment, as far as that is known. */
  #isWithinSegment(): boolean {
    const { frag, part } = this.#latest ?? {};
    const details = frag && this.hls.levels[frag.level]?.details;
    if (!details || !part) return false;
    const sn = frag.sn as number;
    if (!details.partList || (details.fragments.at(-1)?.sn ?? 0) < sn) return true;
    return details.partList.some((other) => other.fragment.sn === sn && other.index > part.index);
  }

  #look(frag: Fragment, part: Part): void {
    const { hls } = this;
    const { stats, duration, fragOffset } = part;
    const over = stats.aborted || stats.loading.end > 0 || !hls.media;
    if (over || !hls.autoLevelEnabled || frag.level <= hls.minAutoLevel) return clearInterval(this.#watch);
    // Until the first byte it is the origin's time, not the line's.
    const tookMs = performance.now() - stats.loading.start;
    if (tookMs < EARLIEST_MS || stats.loaded === 0) return;
    const total = Math.max(stats.total, stats.loaded);
    const wholeMs = Math.max(tookMs, (tookMs * total) / stats.loaded);
    if (wholeMs < duration * 1000) return;
    clearInterval(this.#watch);
    const waitedMs = Math.min(stats.loading.first - stats.loading.start, this.bwEstimator.getEstimateTTFB());
    const bitsPerSecond = (stats.loaded * 8000) / Math.max(1, tookMs - waitedMs);
    this.#estimate(bitsPerSecond, true);
    const { level, now } = rescue({
      levels: hls.levels.map(({ maxBitrate }) => maxBitrate),
      from: frag.level,
      bitsPerSecond,
      toStart: frag.start - hls.media.currentTime,
      into: fragOffset + duration,
      length: hls.latestLevelDetails?.fragments.at(-1)?.duration ?? fragOffset + duration,
      left: (total - stats.loaded) * (8 / bitsPerSecond),
      ahead: hls.mainForwardBufferInfo?.len ?? 0,
    });
    this.#held = { level: Math.max(level, hls.minAutoLevel), until: performance.now() + HELD_MS };
    if (now) hls.nextLoadLevel = this.#held.level;
  }

  #estimate(bitsPerSecond: number, measured: boolean): void {
    // The type of hls.js's own has private fields; its methods are all that is used.
    this.bwEstimator = new Estimate(bitsPerSecond, measured) as unknown as typeof this.bwEstimator;
  }
}

/**
 * hls.js never leaves the codec that it begins with, which would keep viewers from a source whose rungs are in another one. Browsers
 * change codecs at a keyframe as they change sizes; it is kept apart only where what they say of HEVC is doubtful.
 */
function uniteCodecs(levels: readonly Level[]): void {
  const doubtful = /Firefox/.test(navigator.userAgent) ? /^(hvc1|hev1)/ : undefined;
  const seen = levels.filter(({ videoCodec }) => videoCodec && !doubtful?.test(videoCodec));
  for (const level of seen) {
    const codecs = [seen[0]!.videoCodec!, ...(level.audioCodec ? [level.audioCodec] : [])];
    // Only what it compares; what a level is decoded with stays its own.
    (level as { codecSet: string }).codecSet = codecs.map((codec) => codec.slice(0, 4)).join(",");
  }
}
