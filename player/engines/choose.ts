import type { Engine, EngineEvent, EngineOptions } from "./engine.ts";
import { moqFailed, triesMoq } from "./moq/chance.ts";
import { connectMoq } from "./moq/client.ts";
import type { Way } from "./moq/dial.ts";
import type { Loss } from "./moq/line.ts";
import { openMoq, pixelsOf, prepareMoq } from "./moq/moq.ts";
import { wantsOf } from "./moq/opening.ts";
import { AUTO } from "./quality.ts";

/** A session of Media over QUIC that takes longer to open is not worth waiting for. */
const CONNECT_MS = 1_500;
/** One that takes as long as this may be one of those: the code for HLS is fetched beside it. */
const SLOW_MS = 600;
/** Opens an engine; `abandon` is called instead when none is wanted any more. `overQuic` says that it is the one of choice. */
export type Opener = ((options: EngineOptions) => Engine) & {
  readonly abandon?: () => void;
  readonly overQuic?: boolean;
};

/** What an engine is chosen by. */
export interface Chances {
  /** Address of the playback. */
  readonly base: string;
  /** How to have Media over QUIC; undefined where there is none. */
  readonly moq: Way | undefined;
  /** A quality's name or `AUTO`. */
  readonly choice: string;
  /** Names the viewer to the server. */
  readonly session: string;
}

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
export async function chooseEngine(video: HTMLVideoElement, chances: Chances): Promise<Opener | undefined> {
  const overQuic = await chooseMoq(chances, video);
  if (overQuic) return overQuic;
  try {
    const { hlsSupported, openHls } = await loadHls();
    if (hlsSupported()) return openHls;
    const { nativeSupported, openNative } = await import("./native.ts");
    return nativeSupported(video) ? openNative : undefined;
  } catch {
    return ({ onEvent }) => failedCode(onEvent);
  }
}

/** Undefined when Media over QUIC is not to be had, or not soon enough. An `idle` element is made ready for it meanwhile. */
export async function chooseMoq(
  { base, moq, choice, session }: Chances,
  idle?: HTMLVideoElement,
): Promise<Opener | undefined> {
  if (!moq || !triesMoq({ moq, choice })) return undefined;
  const slow = setTimeout(() => void loadHls(), SLOW_MS);
  const connect = (now: string, elsewhere?: string) =>
    connectMoq({ base: now, way: moq, elsewhere, session }, CONNECT_MS);
  const wants = wantsOf(moq, choice, idle ? pixelsOf(idle) : 0);
  const connected = connectMoq({ base, way: moq, session, wants }, CONNECT_MS);
  const prepared = idle && prepareMoq(idle, moq.catalog, choice);
  try {
    const client = await connected;
    const open = (options: EngineOptions) =>
      openMoq(options, client, {
        catalog: moq.catalog,
        prepared,
        // One that left in good order is back soon, or another is here.
        lost: ({ asked }: Loss) => asked || moqFailed(),
        reconnect: (elsewhere) => connect(options.address(base), elsewhere),
      });
    const abandon = () => {
      client.close();
      prepared?.media.close();
    };
    return Object.assign(open, { abandon, overQuic: true });
  } catch {
    prepared?.media.close();
    moqFailed();
    return undefined;
  } finally {
    clearTimeout(slow);
  }
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
