// Types of the SDK for pages that embed the player. Types alone: this file is served as /embed/sdk.d.ts as it stands.

/** What a viewer is looking at. */
export type StreamState =
  | "connecting"
  | "waiting"
  | "ready"
  | "starting"
  | "playing"
  | "paused"
  | "buffering"
  | "reconnecting"
  | "retrying"
  | "denied"
  | "ended"
  | "failed";

export type StreamEvent =
  | "abort"
  | "canplay"
  | "canplaythrough"
  | "durationchange"
  | "ended"
  | "error"
  | "loadeddata"
  | "loadedmetadata"
  | "loadstart"
  | "pause"
  | "play"
  | "playing"
  | "progress"
  | "ratechange"
  | "resize"
  | "seeked"
  | "seeking"
  | "stalled"
  | "suspend"
  | "timeupdate"
  | "volumechange"
  | "waiting"
  /** `state` is another one. */
  | "statechange";

/** Gives a fresh token for the same video or live input. */
export type TokenSource = () => string | Promise<string>;

/** The player in an iframe, as if it were a media element of the page. Before the player is there its values are those of an empty element. */
export interface StreamPlayer {
  /** Resolves when it plays, also when that has to wait for the broadcast; rejects when the browser forbids it or it is paused. */
  play(): Promise<void>;
  pause(): void;
  /** Jumps to the live edge and plays. */
  goLive(): void;
  /** A uid or a token; another one loads the page of its player. */
  src: string;
  autoplay: boolean;
  controls: boolean;
  loop: boolean;
  muted: boolean;
  /** From 0 to 1. */
  volume: number;
  preload: "auto" | "metadata" | "none" | boolean;
  /** Of a recording; what is on air is played at its own pace. */
  playbackRate: number;
  /** Seconds from the beginning of the broadcast. */
  currentTime: number;
  poster: string | undefined;
  primaryColor: string | undefined;
  letterboxColor: string | undefined;
  /** A language; counts until the viewer chooses. */
  defaultTextTrack: string | undefined;
  /** Kept and not used: no advertisements are shown. */
  adUrl: string | undefined;
  readonly buffered: TimeRanges;
  readonly played: TimeRanges;
  readonly seekable: TimeRanges;
  /** Seconds; Infinity on air, NaN while it is not known. */
  readonly duration: number;
  readonly ended: boolean;
  readonly paused: boolean;
  readonly seeking: boolean;
  readonly readyState: number;
  readonly videoWidth: number;
  readonly videoHeight: number;
  readonly state: StreamState;
  /** Seconds behind the newest media; undefined where that means nothing. */
  readonly latency: number | undefined;
  /** Asked before the player's token expires, and again while it has no other. */
  onTokenNeeded: TokenSource | undefined;
  addEventListener(
    type: StreamEvent | (string & {}),
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener(
    type: StreamEvent | (string & {}),
    listener: EventListenerOrEventListenerObject | null,
    options?: EventListenerOptions | boolean,
  ): void;
}

export interface StreamOptions {
  readonly onTokenNeeded?: TokenSource;
}

declare global {
  /** The player in this iframe; always the same one for the same iframe. */
  var Stream: (iframe: HTMLIFrameElement, options?: StreamOptions) => StreamPlayer;
}
