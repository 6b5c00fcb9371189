import { recallText, remember } from "../memory.ts";
import type { Engine, EngineEvent, EngineOptions } from "./engine.ts";
import { connectMoq, type Way } from "./moq/client.ts";
import type { Loss } from "./moq/line.ts";
import { moqSupported, openMoq, prepareMoq } from "./moq/moq.ts";
import { AUTO, SOUND_ALONE } from "./quality.ts";

/** A session of Media over QUIC that takes longer to open is not worth waiting for. */
const CONNECT_MS = 1_500;
/** One that takes as long as this may be one of those: the code for HLS is fetched beside it. */
const SLOW_MS = 600;
/** After it failed HLS plays for so long, doubling up to ten minutes. */
const AVOID_MS = 30_000;
const MOST_MS = 600_000;
/** Names of what is remembered over a reload: until when (epoch ms), and for how long the next time. */
const UNTIL = "moq-avoid-until";
const LENGTH = "moq-avoid-ms";

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
  } catch {
    return ({ onEvent }) => failedCode(onEvent);
  }
  const { nativeSupported, openNative } = await import("./native.ts");
  return nativeSupported(video) ? openNative : undefined;
}

/** Milliseconds until Media over QUIC is worth another try. */
export function moqAgainMs(): number {
  return Math.max(0, Number(recallText(UNTIL) ?? 0) - Date.now());
}

/** Media over QUIC has lasted: the next failure is taken for the first. */
export function moqLasts(): void {
  remember(LENGTH, AVOID_MS);
}

/** True where Media over QUIC is tried. */
export function triesMoq({ moq, choice }: Pick<Chances, "moq" | "choice">): boolean {
  return (
    moq !== undefined && !moq.lacks?.length && choice !== SOUND_ALONE && moqAgainMs() === 0 && moqSupported()
  );
}

/** Undefined when Media over QUIC is not to be had, or not soon enough. An `idle` element is made ready for it meanwhile. */
export async function chooseMoq(
  { base, moq, choice, session }: Chances,
  idle?: HTMLVideoElement,
): Promise<Opener | undefined> {
  if (!moq || !triesMoq({ moq, choice })) return undefined;
  const avoid = () => {
    const ms = Number(recallText(LENGTH) ?? AVOID_MS);
    remember(UNTIL, Date.now() + ms);
    remember(LENGTH, Math.min(MOST_MS, 2 * ms));
  };
  const slow = setTimeout(() => void loadHls(), SLOW_MS);
  const connect = (now: string, elsewhere?: string) =>
    connectMoq({ base: now, way: moq, elsewhere, session, withinMs: CONNECT_MS });
  const connected = connect(base);
  const prepared = idle && prepareMoq(idle, moq.catalog, choice);
  try {
    const client = await connected;
    const open = (options: EngineOptions) =>
      openMoq(options, client, {
        catalog: moq.catalog,
        prepared,
        // One that left in good order is back soon, or another is here.
        lost: ({ asked }: Loss) => asked || avoid(),
        reconnect: (elsewhere) => connect(options.address(base), elsewhere),
      });
    const abandon = () => {
      client.close();
      prepared?.media.close();
    };
    return Object.assign(open, { abandon, overQuic: true });
  } catch {
    prepared?.media.close();
    avoid();
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
