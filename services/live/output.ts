/** A live input's way to another service, as whoever sends it knows it. */
export interface OutputTarget {
  readonly uid: string;
  /** Of the live input. */
  readonly input: string;
  /** rtmp:// or rtmps://, what encoders call the server; without the key. */
  readonly url: string;
  readonly streamKey: string;
  readonly enabled: boolean;
  /** How long it stays connected for an encoder that vanished. */
  readonly timeoutSeconds: number;
}

/** What an output is doing: `errored` waits for somebody to change something, `reconnecting` tries again by itself. */
export const outputStates = ["connecting", "connected", "reconnecting", "errored", "disconnected"] as const;
export type OutputState = (typeof outputStates)[number];

/** Why it is in that state. */
export const outputReasons = [
  "connecting",
  "connected",
  "reconnected",
  /** Connected, and the target took less than came: it lost whole groups of pictures. */
  "slow",
  "unreachable",
  "refused",
  "lost",
  "stalled",
  "forbidden",
  "unsupported_codec",
  /** Nothing is on air. */
  "idle",
  "disabled",
] as const;
export type OutputReason = (typeof outputReasons)[number];

/** What a URL for an output has to be, as a sentence goes on after its name. */
export const outputUrlRule =
  "must be a server URL like rtmps://live.example.com/app, with a host and an application, without user name, fragment or stream key";

/** The parts of an output's URL that RTMP speaks of; undefined when it is none. */
export function readOutputUrl(text: string): { readonly url: URL; readonly app: string } | undefined {
  if (/[\s\p{Cc}]/u.test(text)) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^rtmps?:$/.test(url.protocol) || !url.hostname || url.port === "0") return undefined;
  if (url.username || url.password || url.hash) return undefined;
  const app = `${url.pathname.replace(/^\/+|\/+$/g, "")}${url.search}`;
  return app === "" || app.startsWith("?") ? undefined : { url, app };
}
