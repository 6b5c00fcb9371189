import type { Engine, EngineEvent, EngineOptions } from "./engine.ts";
import { AUTO } from "./quality.ts";

let hls: Promise<typeof import("./hls/hls.ts")> | undefined;

/** Fetched while the viewer waits, so that the broadcast's first second is not spent on code. */
export function loadHls(): Promise<typeof import("./hls/hls.ts")> {
  hls ??= import("./hls/hls.ts");
  // A failed fetch of code is tried anew by the next load.
  hls.catch(() => {
    hls = undefined;
  });
  return hls;
}

/** What opens an engine that this browser can play with; undefined when there is none. */
export async function chooseEngine(
  video: HTMLVideoElement,
): Promise<((options: EngineOptions) => Engine) | undefined> {
  try {
    const { hlsSupported, openHls } = await loadHls();
    if (hlsSupported()) return openHls;
  } catch {
    return ({ onEvent }) => failedCode(onEvent);
  }
  const { nativeSupported, openNative } = await import("./native.ts");
  return nativeSupported(video) ? openNative : undefined;
}

/** An engine whose code did not arrive: fails like any other lost connection. */
function failedCode(onEvent: (event: EngineEvent) => void): Engine {
  queueMicrotask(() => onEvent({ type: "failed", kind: "network", message: "player code not loaded" }));
  const nothing = () => {};
  return {
    name: "none",
    latency: undefined,
    clockLatency: undefined,
    livePosition: undefined,
    timeline: undefined,
    rendition: {},
    qualities: [],
    playing: undefined,
    choice: AUTO,
    choose: () => false,
    seek: nothing,
    recover: nothing,
    stop: nothing,
    destroy: nothing,
  };
}
