import Hls, { type ErrorData, ErrorDetails, ErrorTypes, Events, type HlsConfig } from "hls.js";
import workerPath from "hls.js/dist/hls.worker.js?url";
import type { Engine, EngineOptions } from "./engine.ts";

/** True where hls.js can play: Media Source, or Managed Media Source on iPhones. */
export function hlsSupported(): boolean {
  return Hls.isSupported();
}

// A blocking playlist reload is held for up to 3 target durations (12 s) before the origin answers 503.
const HELD_MS = 15_000;
const soon = { maxNumRetry: 3, retryDelayMs: 0, maxRetryDelayMs: 0 };
const backoff = { maxNumRetry: 8, retryDelayMs: 300, maxRetryDelayMs: 3000 };
const policy = {
  default: { maxTimeToFirstByteMs: HELD_MS, maxLoadTimeMs: 30_000, timeoutRetry: soon, errorRetry: backoff },
};

const config: Partial<HlsConfig> = {
  lowLatencyMode: true,
  // The default of 1 never catches up; 5 % is not heard.
  maxLiveSyncPlaybackRate: 1.05,
  // The default adds a whole second of latency, for good, for each stall.
  liveSyncOnStallIncrease: 0.25,
  backBufferLength: 30,
  capLevelToPlayerSize: true,
  abrEwmaDefaultEstimate: 3_000_000,
  workerPath,
  playlistLoadPolicy: policy,
  fragLoadPolicy: policy,
  manifestLoadPolicy: policy,
  // Nothing of ours carries these, and each costs a controller that runs on every fragment.
  enableInterstitialPlayback: false,
  enableID3MetadataCues: false,
  enableEmsgMetadataCues: false,
};

/** Plays low-latency HLS through hls.js. */
export function openHls({ video, url, onEvent }: EngineOptions): Engine {
  const hls = new Hls(config);
  const gone = new AbortController();
  let troubled = false;

  hls.on(Events.ERROR, (_, data) => {
    const message = describe(data);
    if (data.fatal) onEvent({ type: "failed", kind: kindOf(data), message });
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
  hls.on(Events.BUFFER_APPENDED, () => jumpHole(video));
  video.addEventListener("waiting", () => jumpHole(video), { signal: gone.signal });

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
    get rendition() {
      const at = hls.levels[hls.currentLevel];
      const codecs = [at?.videoCodec, at?.audioCodec].filter(Boolean).join(", ");
      return { ...(codecs && { codecs }), ...(at && { bitsPerSecond: at.bitrate }) };
    },
    recover: () => hls.recoverMediaError(),
    stop: () => hls.stopLoad(),
    destroy() {
      gone.abort();
      hls.destroy();
    },
  };
}

/**
 * Continues behind a hole as soon as both tracks have media there. An encoder that reconnects leaves GAP for as
 * long as it was away; hls.js would find the new media too, but only after it has judged the stall.
 */
function jumpHole(video: HTMLVideoElement): void {
  if (video.paused || video.seeking) return;
  const at = video.currentTime;
  const { buffered } = video;
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= at && at < buffered.end(i) - 0.05) return;
    if (buffered.start(i) > at) {
      video.currentTime = buffered.start(i) + 0.001;
      return;
    }
  }
}

function kindOf({ type, details }: ErrorData): "network" | "media" | "unsupported" {
  if (details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) return "unsupported";
  return type === ErrorTypes.NETWORK_ERROR ? "network" : "media";
}

function describe({ details, response, reason, error }: ErrorData): string {
  return [details, response?.code, reason ?? error?.message].filter(Boolean).join(" ");
}
