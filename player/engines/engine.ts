import type { Timeline } from "../timeline.ts";
import type { Quality } from "./quality.ts";

/** What an engine tells the player; the player decides what a viewer sees of it. */
export type EngineEvent =
  /** A request or an append failed and the engine itself tries again. */
  | { type: "trouble"; message: string }
  /** Media arrives again after trouble. */
  | { type: "recovered" }
  /** The engine gave up: the player recovers it, loads it anew, or says so. */
  | { type: "failed"; kind: "network" | "media" | "unsupported"; message: string }
  /**
   * What is broadcast now does not go with what is buffered: only a new engine at the live edge takes it; or this engine is not
   * to be had any more and another goes on at `at`, in media seconds.
   */
  | { type: "unfit"; message: string; at?: number }
  /** The playlist has ended and the last frame was shown. */
  | { type: "drained" };

/** Figures of the rendition on screen, where the engine knows them. */
export interface Rendition {
  readonly codecs?: string;
  readonly bitsPerSecond?: number;
}

/** One way to get media into a video element. HLS today; the seam is where MoQ and DASH join. */
export interface Engine {
  /** For the stats panel, e.g. "LL-HLS (hls.js 1.7.4)". */
  readonly name: string;
  /** Seconds behind the newest media that could be played; undefined while unknown. */
  readonly latency: number | undefined;
  /** Seconds from the origin's clock at capture to the screen, true as far as both clocks agree. */
  readonly clockLatency: number | undefined;
  /** Where playback sits when it is live, in media seconds; undefined when nothing is loaded. */
  readonly livePosition: number | undefined;
  /** What can be sought in; undefined while nothing is loaded. */
  readonly timeline: Timeline | undefined;
  readonly rendition: Rendition;
  /** Bits per second that the line gave lately; absent where nothing is measured. */
  readonly throughput?: number | undefined;
  /** What a viewer may choose from, best first; empty where there is no choice. */
  readonly qualities: readonly Quality[];
  /** The name of the quality on screen; undefined while unknown. */
  readonly playing: string | undefined;
  /** The name of the quality that was chosen, or `AUTO`. */
  readonly choice: string;
  /** Plays this quality (or `AUTO`) as soon as it can; false when the engine has to be opened anew for it. */
  choose(name: string): boolean;
  /** Moves to `at`, in media seconds. */
  seek(at: number): void;
  /**
   * The playback has another address now, as `address` says; its right to the old one ends soon. Engines whose requests are
   * few and short have nothing to do here.
   */
  renew?(): void;
  /** For that it loads anew, and for a moment shows nothing. */
  readonly reloads?: boolean;
  /** Rebuilds the decoder after a failure of kind "media", keeping the position. */
  recover(): void;
  /** Loads no more; what is on screen stays. */
  stop(): void;
  /** Takes everything off the video element; the engine is not used again. */
  destroy(): void;
}

export interface EngineOptions {
  readonly video: HTMLVideoElement;
  /** Address of the multivariant playlist. */
  readonly url: string;
  /** The address, under what the playback is now, of one that was made when it was something else: to be asked before every request. */
  readonly address: (url: string) => string;
  /** A quality's name, as far as it can be had, or `AUTO`. */
  readonly choice: string;
  /** When the broadcast began by the origin's clock, in ms since 1970; undefined while unknown. */
  readonly startedMs: number | undefined;
  /** Media second to begin at, as near as it can be had; undefined for the live edge, or the beginning of a recording. */
  readonly at: number | undefined;
  /** A viewer may go back to the broadcast's beginning. */
  readonly dvr: boolean;
  /** Names the viewer to the server: letters and digits. */
  readonly session: string;
  readonly onEvent: (event: EngineEvent) => void;
}
