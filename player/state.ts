/** The lifecycle answer's word for the broadcast; `unknown` before the first answer. */
export type Broadcast = "unknown" | "idle" | "live" | "reconnecting" | "ended";

/** What a viewer is looking at. */
export type Phase =
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

export interface State {
  readonly broadcast: Broadcast;
  /** The broadcast's video uid by the last answer. */
  readonly video: string | null;
  /** False when the playback is one video and not a live input: it never begins again. */
  readonly isInput: boolean;
  /** The last lifecycle question was not answered. */
  readonly unheard: boolean;
  /** It was answered that the server cannot say now who may watch. */
  readonly unready: boolean;
  /** This viewer may not watch: any more, or at all. */
  readonly denied: "no" | "expired" | "refused";
  /** `resting`: it failed and waits for its next try. `drained`: it has shown the last frame. */
  readonly engine: "off" | "on" | "troubled" | "resting" | "drained" | "refused";
  /** The video that the engine was loaded for. */
  readonly loaded: string | null;
  /** Whether frames move on screen. `stuck` means that they did, and lack data now. */
  readonly motion: "none" | "moving" | "stuck";
  /** The viewer, or autoplay on their behalf, wants it to play. */
  readonly wanted: boolean;
  /** Failures since playback was last steady: loads, and decoder recoveries. */
  readonly attempts: number;
  readonly recoveries: number;
}

export type Event =
  | { type: "lifecycle"; status: Exclude<Broadcast, "unknown">; video: string | null; isInput: boolean }
  | { type: "lifecycle-lost"; unready?: boolean }
  | { type: "denied"; why: "expired" | "refused" }
  | { type: "play" }
  | { type: "pause" }
  | { type: "moving" }
  | { type: "stuck" }
  /** Playback has moved without a break for a while: budgets are full again. */
  | { type: "steady" }
  | { type: "trouble" }
  | { type: "recovered" }
  | { type: "failed"; kind: "network" | "media" | "unsupported" }
  /** The broadcast has changed to what the engine cannot append: another one is built at the live edge. */
  | { type: "unfit" }
  | { type: "drained" }
  /** What was chosen needs another engine. */
  | { type: "reload" }
  /** The pause after a failure is over, or the browser says that it is online again. */
  | { type: "retry" };

export type Effect =
  /** Take down the engine, if any, and load the broadcast anew at its live edge. */
  | { do: "load" }
  | { do: "recover" }
  | { do: "stop" }
  | { do: "retry"; afterMs: number }
  /** Ask the lifecycle at once. */
  | { do: "ask" };

export const begin: State = {
  broadcast: "unknown",
  video: null,
  isInput: true,
  unheard: false,
  unready: false,
  denied: "no",
  engine: "off",
  loaded: null,
  motion: "none",
  wanted: false,
  attempts: 0,
  recoveries: 0,
};

/** Decoder failures in a row that are recovered in place before the engine is built anew. */
const RECOVERIES = 2;

/** The player's next state after `event`, and what has to be done for it, in order. */
export function step(state: State, event: Event): { state: State; effects: Effect[] } {
  const effects: Effect[] = [];
  let next = change(state, event, effects);
  const stale = next.engine === "off" || (next.engine !== "resting" && next.loaded !== next.video);
  if (next.wanted && stale && available(next)) {
    next = { ...next, engine: "on", loaded: next.video, motion: "none" };
    effects.push({ do: "load" });
  }
  return { state: next, effects };
}

function change(state: State, event: Event, effects: Effect[]): State {
  switch (event.type) {
    case "lifecycle": {
      const { status, video, isInput } = event;
      // Whoever came before the broadcast waits for it: that is a wish to see it.
      const wanted = state.wanted || (status === "idle" && isInput && state.broadcast === "unknown");
      const over = status === "ended" || status === "idle";
      if (over && state.motion === "stuck") effects.push({ do: "stop" });
      const heard = { unheard: false, unready: false, denied: "no" as const };
      return { ...state, ...heard, broadcast: status, video: video ?? state.video, isInput, wanted };
    }
    case "lifecycle-lost":
      return { ...state, unheard: true, unready: event.unready === true };
    case "denied":
      if (state.engine !== "off") effects.push({ do: "stop" });
      return { ...state, denied: event.why, unheard: false, engine: "off" };
    case "play":
      return { ...state, wanted: true };
    case "pause":
      return { ...state, wanted: false, motion: "none" };
    case "moving":
      return { ...state, motion: "moving", engine: state.engine === "troubled" ? "on" : state.engine };
    case "stuck":
      if (state.motion !== "moving") return state;
      effects.push({ do: "ask" });
      return { ...state, motion: "stuck" };
    case "steady":
      return { ...state, attempts: 0, recoveries: 0 };
    case "trouble":
      if (state.engine !== "on") return state;
      effects.push({ do: "ask" });
      return { ...state, engine: "troubled" };
    case "recovered":
      return state.engine === "troubled" ? { ...state, engine: "on" } : state;
    case "failed":
      return failed(state, event.kind, effects);
    case "unfit":
      if (state.engine === "resting" || state.engine === "off") return state;
      if (state.recoveries >= RECOVERIES) return failed(state, "media", effects);
      return { ...state, engine: "off", motion: "none", recoveries: state.recoveries + 1 };
    case "drained":
      effects.push({ do: "ask" });
      return { ...state, engine: "drained", motion: "none" };
    case "reload":
      return state.engine === "refused" ? state : { ...state, engine: "off", motion: "none" };
    case "retry":
      return state.engine === "resting" ? { ...state, engine: "off" } : state;
  }
}

function failed(state: State, kind: "network" | "media" | "unsupported", effects: Effect[]): State {
  if (state.engine === "resting" || state.engine === "off") return state;
  if (kind === "unsupported") return { ...state, engine: "refused", motion: "none" };
  if (kind === "media" && state.recoveries < RECOVERIES) {
    effects.push({ do: "recover" });
    return { ...state, recoveries: state.recoveries + 1, motion: "none" };
  }
  effects.push({ do: "retry", afterMs: retryAfterMs(state.attempts) }, { do: "ask" });
  return { ...state, engine: "resting", motion: "none", attempts: state.attempts + 1 };
}

/** Half a second first, doubling to eight; there is no last try. */
export function retryAfterMs(attempts: number): number {
  return Math.min(8000, 500 * 2 ** attempts);
}

/** True while there is media to load: on air, or a video that was recorded. */
function available({ broadcast, isInput, denied }: State): boolean {
  if (denied !== "no") return false;
  return broadcast === "live" || broadcast === "reconnecting" || (broadcast === "ended" && !isInput);
}

export function phaseOf(state: State): Phase {
  const { broadcast, engine, motion, wanted, loaded, unheard } = state;
  if (engine === "refused") return "failed";
  if (motion === "moving") return "playing";
  if (state.denied !== "no") return "denied";
  if (engine === "drained") return "ended";
  if (broadcast === "unknown") return unheard ? "retrying" : "connecting";
  if (!available(state)) {
    if (broadcast === "ended" || loaded !== null) return "ended";
    return unheard ? "retrying" : "waiting";
  }
  if (!wanted) return loaded === null ? "ready" : "paused";
  if (engine === "resting" || engine === "troubled" || unheard) return "retrying";
  if (broadcast === "reconnecting") return "reconnecting";
  return motion === "stuck" ? "buffering" : "starting";
}

/** The sentence for the phase; empty where the picture speaks for itself. */
export function sentence(
  phase: Phase,
  { denied, unready }: Pick<State, "denied" | "unready"> = begin,
): string {
  switch (phase) {
    case "denied":
      return denied === "expired"
        ? "Your access to this broadcast has expired"
        : "You have no access to this broadcast";
    case "waiting":
      return "Waiting for the broadcast to begin";
    case "reconnecting":
      return "Reconnecting…";
    case "retrying":
      return unready ? "The server lets nobody in at the moment, retrying" : "Connection lost, retrying";
    case "ended":
      return "The broadcast has ended";
    case "failed":
      return "This browser cannot play this broadcast";
    default:
      return "";
  }
}

/** True while a change of the broadcast has to be heard at once; playback itself tells when it is not. */
export function follows(phase: Phase): boolean {
  return phase !== "playing" && phase !== "paused" && phase !== "failed" && phase !== "denied";
}
