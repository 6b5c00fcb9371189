import type { Engine, EngineOptions } from "./engine.ts";
import { AUTO } from "./quality.ts";

/** True where the browser plays HLS by itself and has no Media Source for us to use (older iPhones). */
export function nativeSupported(video: HTMLVideoElement): boolean {
  return video.canPlayType("application/vnd.apple.mpegurl") !== "";
}

/** Hands the playlist to the browser's own HLS player. */
export function openNative({ video, url, address, onEvent }: EngineOptions): Engine {
  const gone = new AbortController();
  const on = (name: string, listener: () => void) => {
    video.addEventListener(name, listener, { signal: gone.signal });
  };
  const edge = (): number | undefined =>
    video.seekable.length > 0 ? video.seekable.end(video.seekable.length - 1) : undefined;

  /** The wall clock at the player's time 0, epoch ms, where the browser tells it. */
  const begun = (): number | undefined =>
    (video as HTMLVideoElement & { getStartDate?(): Date }).getStartDate?.().getTime() || undefined;

  // Safari may begin 15 s and more behind the edge: move there once.
  let placed = false;
  let resume:
    | { readonly at: number; readonly zero: number | undefined; readonly paused: boolean }
    | undefined;
  on("loadedmetadata", () => {
    const end = edge();
    const before = resume;
    resume = undefined;
    if (before) {
      const zero = begun();
      // Time may begin anew with each load, at what is the list's beginning then.
      const at = before.at + (zero && before.zero ? (before.zero - zero) / 1000 : 0);
      placed = true;
      video.currentTime = end === undefined ? at : Math.min(at, end);
      if (!before.paused) void video.play().catch(() => {});
      return;
    }
    if (!placed && end !== undefined && !Number.isFinite(video.duration)) video.currentTime = end;
    placed = true;
  });
  on("ended", () => onEvent({ type: "drained" }));
  on("error", () => {
    const code = video.error?.code;
    const message = video.error?.message || `media error ${code}`;
    onEvent({ type: "failed", kind: code === MediaError.MEDIA_ERR_DECODE ? "media" : "network", message });
  });
  video.src = url;

  return {
    name: "HLS (browser)",
    reloads: true,
    get latency() {
      const end = edge();
      return end === undefined ? undefined : Math.max(0, end - video.currentTime);
    },
    get clockLatency() {
      const zero = begun();
      return zero ? (Date.now() - zero) / 1000 - video.currentTime : undefined;
    },
    get livePosition() {
      return edge();
    },
    get timeline() {
      const { seekable, duration } = video;
      const end = edge();
      return end === undefined
        ? undefined
        : { start: seekable.start(0), end, live: !Number.isFinite(duration) };
    },
    rendition: {},
    // The browser adapts by itself and tells nothing about it.
    qualities: [],
    playing: undefined,
    choice: AUTO,
    choose: () => true,
    seek(at) {
      placed = true;
      video.currentTime = at;
    },
    /**
     * Its requests are the browser's own: the only way to give it a fresh token is to load the list anew. Playback goes on at the
     * same moment, after the time that this takes.
     */
    renew() {
      // Renewed again before the list was there, it is still where it was to go on.
      resume ??= { at: video.currentTime, zero: begun(), paused: video.paused };
      video.src = address(url);
    },
    recover() {
      placed = false;
      video.load();
    },
    stop() {},
    destroy() {
      gone.abort();
      video.removeAttribute("src");
      video.load();
    },
  };
}
