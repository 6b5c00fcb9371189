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

  // Safari may begin 15 s and more behind the edge: move there once.
  let placed = false;
  on("loadedmetadata", () => {
    const end = edge();
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
    get latency() {
      const end = edge();
      return end === undefined ? undefined : Math.max(0, end - video.currentTime);
    },
    get clockLatency() {
      const begun = (video as HTMLVideoElement & { getStartDate?(): Date }).getStartDate?.().getTime();
      return begun ? (Date.now() - begun) / 1000 - video.currentTime : undefined;
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
      const { currentTime, paused } = video;
      placed = true;
      const resume = () => {
        video.currentTime = currentTime;
        if (!paused) void video.play().catch(() => {});
      };
      video.addEventListener("loadedmetadata", resume, { once: true, signal: gone.signal });
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
