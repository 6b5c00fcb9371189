import Hls, {
  type ErrorData,
  ErrorDetails,
  ErrorTypes,
  Events,
  type HlsConfig,
  type LevelDetails,
} from "hls.js";
import workerPath from "hls.js/dist/hls.worker.js?url";
import type { Engine, EngineOptions } from "../engine.ts";
import { SOUND_ALONE } from "../quality.ts";
import { LiveAbr } from "./abr.ts";
import { CaptionReader } from "./captions.ts";
import { Choices } from "./choices.ts";
import { behindGap, gapAt, type Stretch } from "./gap.ts";
import { LiveHls } from "./levels.ts";
import { AudioLoader, VideoLoader } from "./loaders.ts";
import { mendSeams } from "./seam.ts";
import { WordReader } from "./words.ts";

/** True where hls.js can play: Media Source, or Managed Media Source on iPhones. */
export function hlsSupported(): boolean {
  return Hls.isSupported();
}

// A blocking playlist reload is held for up to 3 target durations (12 s) before the origin answers 503. An origin
// that restarts is asked again until it is back: hls.js's own two retries would be used up after two seconds.
const policy = {
  default: {
    maxTimeToFirstByteMs: 20_000,
    maxLoadTimeMs: 30_000,
    timeoutRetry: { maxNumRetry: 1000, retryDelayMs: 0, maxRetryDelayMs: 0 },
    errorRetry: { maxNumRetry: 1000, retryDelayMs: 250, maxRetryDelayMs: 1000, backoff: "linear" as const },
  },
};

const config: Partial<HlsConfig> = {
  lowLatencyMode: true,
  // The default of 1 never catches up; 5 % is not heard.
  maxLiveSyncPlaybackRate: 1.05,
  // Every gap would count as a stall and add latency for good: `giveWay` raises it for real ones.
  liveSyncOnStallIncrease: 0,
  // In a gap each try to get the playhead on counts, and the last would be fatal.
  nudgeMaxRetry: 1000,
  backBufferLength: 30,
  // Bits for pixels that no screen shows are a viewer's data plan; who wants them anyway has the menu.
  capLevelToPlayerSize: true,
  // A rung whose encoder was replaced has a gap and then goes on: never to try it again is the default.
  errorPenaltyExpireMs: 10_000,
  workerPath,
  playlistLoadPolicy: policy,
  fragLoadPolicy: policy,
  manifestLoadPolicy: policy,
  abrController: LiveAbr,
  streamController: VideoLoader,
  audioStreamController: AudioLoader,
  timelineController: CaptionReader,
  subtitleTrackController: WordReader,
  // Nobody says which language captions are in that no list names.
  ...{ captionsTextTrack1Label: "CC1", captionsTextTrack1LanguageCode: "" },
  ...{ captionsTextTrack2Label: "CC2", captionsTextTrack2LanguageCode: "" },
  ...{ captionsTextTrack3Label: "CC3", captionsTextTrack3LanguageCode: "" },
  ...{ captionsTextTrack4Label: "CC4", captionsTextTrack4LanguageCode: "" },
  // Nothing of ours carries these, and each costs a controller that runs on every fragment.
  enableInterstitialPlayback: false,
  enableID3MetadataCues: false,
  enableEmsgMetadataCues: false,
};

/** How long after the first frame playback may still jump to where it should have begun. */
const SETTLE_MS = 3000;
/** Seconds of buffer that are none. */
const DRY = 0.05;
/** What a stall that is no gap adds to the latency that is aimed at, and how far that may go. */
const STEP_SECONDS = 0.25;
const MOST_SECONDS = 2;
/** Who stood still at the edge, and is further than this from where live playback sits, goes on there: by speed it takes minutes. */
const LOST_SECONDS = 3;
/** So long after the picture goes on it may be that the list is older than the media. */
const UNSURE_MS = 5_000;
/** Further back than this from where live playback sits, a stall says nothing about the distance from the edge. */
const BACK_SECONDS = 5;

/** Bits per second to begin with: what the last engine measured, at first a guess that any cable and most phones hold. */
let bandwidth = 3_000_000;

/**
 * Gives a request the viewer's name as a header, on the page's own host: elsewhere the browser would ask for leave before
 * every part, and in the query it would give each viewer an address of his own for everything that caches share. hls.js's own
 * `cmcd` hides the Age of a playlist from its low-latency reload; what is measured goes into reports (`report.ts`).
 */
function name(xhr: XMLHttpRequest, session: string, address: string): void {
  if (new URL(address, location.href).origin === location.origin)
    xhr.setRequestHeader("CMCD-Session", `sf=h,sid="${session}"`);
}

/** Plays low-latency HLS through hls.js. */
export function openHls(options: EngineOptions): Engine {
  const { video, url, address, choice, startedMs, at, session, onEvent } = options;
  const hls = new LiveHls(
    {
      ...config,
      abrEwmaDefaultEstimate: bandwidth,
      startPosition: at ?? -1,
      autoStartLoad: choice !== SOUND_ALONE,
      // hls.js keeps the addresses that it has read; what has a fresh token since then goes out under that one.
      xhrSetup(xhr, asked) {
        const now = address(asked);
        xhr.open("GET", now, true);
        name(xhr, session, now);
      },
    },
    startedMs,
  );
  const choices = new Choices(hls, choice, address);
  mendSeams(hls, video);
  const gone = new AbortController();
  let troubled = false;
  /** He watches what is live, or did so before he stood still. */
  let atEdge = at === undefined;
  /** Until when, in ms, the list may not yet say how far he is behind. */
  let unsureMs = 0;
  const whereHeIs = () => {
    const to = hls.liveSyncPosition;
    if (to !== null && performance.now() > unsureMs) atEdge = !isLost(video, to);
  };

  const step = () => {
    const details = hls.latestLevelDetails;
    if (!details || video.paused || video.readyState === 0) return;
    if (!details.live) {
      if (nothingLeft(video, details)) onEvent({ type: "drained" });
    } else if (stepOver(video, details, gone.signal)) {
      // The encoder was away: no rung is to blame, none is to be avoided.
      for (const level of hls.levels) level.loadError = level.fragmentError = 0;
      return;
    } else if (
      isBehind(video, details) ||
      (atEdge && performance.now() < unsureMs && isLost(video, hls.liveSyncPosition))
    )
      video.currentTime = hls.liveSyncPosition ?? details.edge;
    jumpHole(video);
  };
  hls.on(Events.ERROR, (_, data) => {
    const message = describe(data);
    if (isUnfit(data) && hls.latestLevelDetails?.live) onEvent({ type: "unfit", message });
    else if (data.fatal) onEvent({ type: "failed", kind: kindOf(data), message });
    else if (data.details === ErrorDetails.BUFFER_STALLED_ERROR) giveWay(hls, video);
    else if (
      data.details === ErrorDetails.LEVEL_EMPTY_ERROR ||
      data.details === ErrorDetails.INTERNAL_ABORTED
    )
      // A broadcast's playlist has parts before it has a segment, which hls.js waits for; and it breaks off itself what
      // a switch of levels makes needless.
      return;
    else if (data.type === ErrorTypes.NETWORK_ERROR) {
      troubled = true;
      onEvent({ type: "trouble", message });
    }
  });
  hls.on(Events.FRAG_BUFFERED, () => {
    if (troubled) onEvent({ type: "recovered" });
    troubled = false;
  });
  hls.on(Events.MEDIA_ENDED, () => onEvent({ type: "drained" }));
  // Where playback is to begin is decided when the playlist comes; until the first frame shows, the edge has moved
  // on by as long as the browser took. To catch up by speed would take twenty times that.
  let settleUntil = Number.POSITIVE_INFINITY;
  const settle = () => {
    settleUntil = Math.min(settleUntil, performance.now() + SETTLE_MS);
    const to = hls.liveSyncPosition;
    if (to === null || video.seeking || !hls.latestLevelDetails?.live) return;
    const late = to - video.currentTime;
    if (performance.now() > settleUntil) video.removeEventListener("timeupdate", settle);
    else if (late > 0.5 && bufferedAhead(video) > late + 0.5) video.currentTime = to;
  };
  if (at === undefined) video.addEventListener("timeupdate", settle, { signal: gone.signal });
  // hls.js takes an element that stands at 0, before what is listed, to what is live: wherever it was told to begin.
  else
    hls.once(Events.MEDIA_ATTACHED, () => {
      video.currentTime = at;
    });

  hls.on(Events.LEVEL_UPDATED, step);
  hls.on(Events.BUFFER_APPENDED, step);
  video.addEventListener("waiting", step, { signal: gone.signal });
  video.addEventListener("timeupdate", whereHeIs, { signal: gone.signal });
  // What was asked for before the line was back may come, and play, before the list.
  const unsureFor = (ms: number) => () => {
    unsureMs = performance.now() + ms;
  };
  video.addEventListener("waiting", unsureFor(Number.POSITIVE_INFINITY), { signal: gone.signal });
  video.addEventListener("playing", unsureFor(UNSURE_MS), { signal: gone.signal });

  hls.loadSource(url);
  hls.attachMedia(video);

  return {
    name: `LL-HLS (hls.js ${Hls.version})`,
    get latency() {
      return hls.latestLevelDetails?.live ? hls.latency : undefined;
    },
    get clockLatency() {
      const shown = hls.playingDate?.getTime();
      return shown === undefined ? undefined : (Date.now() - shown) / 1000;
    },
    get livePosition() {
      return hls.liveSyncPosition ?? undefined;
    },
    get timeline() {
      const details = hls.latestLevelDetails;
      if (!details) return undefined;
      const { live, fragmentStart, edge } = details;
      return { start: fragmentStart, end: live ? (hls.liveSyncPosition ?? edge) : edge, live };
    },
    get throughput() {
      return hls.bandwidthEstimate;
    },
    get rendition() {
      const at = hls.levels[hls.currentLevel];
      const codecs = [at?.videoCodec, at?.audioCodec].filter(Boolean).join(", ");
      return { ...(codecs && { codecs }), ...(at && { bitsPerSecond: at.bitrate }) };
    },
    get qualities() {
      return choices.qualities;
    },
    get playing() {
      return choices.playing;
    },
    get choice() {
      return choices.choice;
    },
    choose: (name) => choices.choose(name),
    seek(at) {
      video.removeEventListener("timeupdate", settle);
      atEdge = false;
      unsureMs = 0;
      video.currentTime = at;
    },
    recover: () => hls.recoverMediaError(),
    stop: () => hls.stopLoad(),
    destroy() {
      gone.abort();
      choices.close();
      if (Number.isFinite(hls.bandwidthEstimate)) bandwidth = hls.bandwidthEstimate;
      hls.destroy();
    },
  };
}

/** After a seek over a gap playback stands still until this much is buffered, or it would run dry at the next part. */
const HELD_AHEAD = 0.9;
const HELD_MS = 3000;

/**
 * When an encoder was away the playlist has a gap. hls.js would show what follows 1.6 to 2.5 s late, because it
 * stops to load parts at a gap and waits for a whole segment; a seek to the new media makes it load the parts at once.
 * True when it has moved.
 */
function stepOver(video: HTMLVideoElement, details: LevelDetails, gone: AbortSignal): boolean {
  const ahead = bufferedAhead(video);
  if (ahead > 0.3) return false;
  // Also while it seeks: hls.js may have nudged the playhead into the gap, where no seek ends.
  const to = behindGap(stretchesOf(details), video.currentTime + ahead);
  if (to === undefined || to <= video.currentTime) return false;
  video.currentTime = to + 0.02;
  video.playbackRate = 0;
  const begun = performance.now();
  const timer = setInterval(() => {
    if (bufferedAhead(video) < HELD_AHEAD && performance.now() - begun < HELD_MS && !gone.aborted) return;
    clearInterval(timer);
    video.playbackRate = 1;
  }, 50);
  return true;
}

/** True far behind where live playback sits. */
function isLost(video: HTMLVideoElement, to: number | null): boolean {
  return to !== null && to - video.currentTime > LOST_SECONDS;
}

/** True when playback ran dry before the window begins: an origin that lost its window leaves no gap to step over. */
function isBehind(video: HTMLVideoElement, details: LevelDetails): boolean {
  const behind = video.currentTime < details.fragmentStart - 0.5 && bufferedAhead(video) < DRY;
  return behind && stretchesOf(details).at(-1)?.gap === false;
}

/** True at the end of a broadcast whose encoder never came back: no `ended` is sent for an end without media. */
function nothingLeft(video: HTMLVideoElement, details: LevelDetails): boolean {
  const dry = video.currentTime + bufferedAhead(video);
  return (
    dry - video.currentTime < DRY && !stretchesOf(details).some(({ gap, end }) => !gap && end > dry + 0.25)
  );
}

/** Whole segments, then the parts of the open one. */
function stretchesOf({ fragments, partList }: LevelDetails): Stretch[] {
  const last = fragments.at(-1)?.sn ?? -1;
  const open = partList?.filter((part) => part.fragment.sn > last) ?? [];
  return [
    ...fragments.map(({ start, end, gap }) => ({ start, end, gap: gap === true })),
    ...open.map(({ start, end, gap }) => ({ start, end, gap })),
  ];
}

/** Goes to the next buffered range when this one has ended: a hole that no gap of the playlist explains. */
function jumpHole(video: HTMLVideoElement): void {
  if (video.seeking || bufferedAhead(video) > DRY) return;
  const { buffered, currentTime } = video;
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) > currentTime) {
      video.currentTime = buffered.start(i) + 0.001;
      return;
    }
  }
}

/** Keeps more distance from the edge after a stall, unless it was a gap that the encoder made. */
function giveWay(hls: Hls, video: HTMLVideoElement): void {
  const details = hls.latestLevelDetails;
  // Who watches what was is not short of the edge.
  if (!details || hls.latency > (hls.targetLatency ?? 0) + BACK_SECONDS) return;
  if (gapAt(stretchesOf(details), video.currentTime + bufferedAhead(video))) return;
  const base = details.partHoldBack || details.holdBack || details.targetduration * 3;
  hls.targetLatency = Math.min(base + MOST_SECONDS, (hls.targetLatency ?? base) + STEP_SECONDS);
}

/** Seconds from the playhead to the end of the range that it is in. */
function bufferedAhead({ buffered, currentTime }: HTMLVideoElement): number {
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i))
      return buffered.end(i) - currentTime;
  }
  return 0;
}

/**
 * True when the browser does not take what comes, as when the sound of a broadcast changes its codec. hls.js 1.7 recovers from
 * it into a Media Source that stays empty.
 */
function isUnfit({ fatal, details }: ErrorData): boolean {
  if (details === ErrorDetails.MEDIA_SOURCE_REQUIRES_RESET) return true;
  return fatal && details === ErrorDetails.BUFFER_APPEND_ERROR;
}

function kindOf({ type, details }: ErrorData): "network" | "media" | "unsupported" {
  if (details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) return "unsupported";
  return type === ErrorTypes.NETWORK_ERROR ? "network" : "media";
}

function describe({ details, response, reason, error }: ErrorData): string {
  return [details, response?.code, reason ?? error?.message].filter(Boolean).join(" ");
}
