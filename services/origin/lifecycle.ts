import type { Broadcast } from "../live/broadcast.ts";
import type { Directory } from "../live/directory.ts";
import { type Lack, lacksOf } from "../live/lacks.ts";
import type { Recordings } from "../live/recordings.ts";
import { cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";

/** Shorter than the idle timeouts of common proxies. */
const holdMs = 25_000;

export type Status = "idle" | "live" | "reconnecting" | "ended";

/** What a player or a page asks of a playback: is it on, which video, and in one sentence what is wrong with its source. */
export interface Lifecycle {
  readonly isInput: boolean;
  readonly videoUID: string | null;
  readonly live: boolean;
  readonly status: Status;
  readonly message: string | null;
  /** How to have it as Media over QUIC; absent where that is not to be had. */
  readonly moq?: Way & {
    readonly namespace: string;
    /** What only playlists have of it. */
    readonly lacks: readonly Lack[];
  };
  /** When broadcast time 0 was, as in PROGRAM-DATE-TIME: a player that joins later knows by it how much it missed. */
  readonly startedAt: string | null;
}

/** A UDP port of this host for WebTransport, and SHA-256 of its certificates in base64 where browsers do not know the signer. */
export interface Way {
  readonly port: number;
  readonly hashes: readonly string[];
  /** Of the broadcast that was asked about: who has it need not wait for it on the session. */
  readonly catalog?: string | undefined;
}

export interface LifecycleOptions {
  readonly moq?: ((broadcast: Broadcast | undefined) => Way | undefined) | undefined;
  readonly recordings?: Pick<Recordings, "find"> | undefined;
}

export function lifecycleOf(playback: string, broadcast: Broadcast | undefined, moq?: Way): Lifecycle {
  const isInput = broadcast === undefined || broadcast.input === playback;
  const status =
    broadcast === undefined
      ? "idle"
      : broadcast.state !== "ended" && !broadcast.listed
        ? "idle"
        : broadcast.state;
  const live = status === "live" || status === "reconnecting";
  return {
    isInput,
    videoUID: broadcast?.video ?? null,
    live,
    status,
    message: broadcast?.advice ?? null,
    // Its namespaces are live inputs.
    ...(moq && live && isInput && { moq: { ...moq, namespace: playback, lacks: lacksOf(broadcast) } }),
    startedAt: broadcast?.epochMs === undefined ? null : new Date(broadcast.epochMs).toISOString(),
  };
}

/** A video whose broadcast is long over, or a clip: only the recording knows it. */
function recordedOf(video: string): Lifecycle {
  return { isInput: false, videoUID: video, live: false, status: "ended", message: null, startedAt: null };
}

/** What there is to say of a playback, now and whenever it is asked again. */
export async function lifecycleFinder(
  directory: Directory,
  playback: string,
  { moq = () => undefined, recordings }: LifecycleOptions,
): Promise<() => Lifecycle> {
  const here = () => directory.named(playback);
  const isRecorded = here() === undefined && (await recordings?.find(playback)) !== undefined;
  return () => {
    if (isRecorded) return recordedOf(playback);
    const broadcast = here();
    return lifecycleOf(playback, broadcast, moq(broadcast));
  };
}

/** Answers at once, or with `wait=STATUS` when the status is another one, for no longer than a proxy would wait. */
export async function answerLifecycle(
  exchange: Exchange,
  directory: Directory,
  playback: string,
  options: LifecycleOptions = {},
): Promise<void> {
  const find = await lifecycleFinder(directory, playback, options);
  const waitFor = new URLSearchParams(exchange.query).get("wait");
  if (waitFor !== null && find().status === waitFor) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, holdMs);
      const end = directory.onChange(playback, () => find().status !== waitFor && done());
      function done(): void {
        clearTimeout(timer);
        end();
        resolve();
      }
      exchange.onGone(done);
    });
  }
  exchange.reply(200, { "content-type": "application/json", "cache-control": cacheControl("state", 0) }, [
    Buffer.from(JSON.stringify(find())),
  ]);
}
