import type { Networks } from "../lib/address.ts";

/** A live input's way to another service, as whoever sends it knows it. */
export interface OutputTarget {
  readonly uid: string;
  /** Of the live input. */
  readonly input: string;
  /** What encoders call the server, without the key; or a relay. */
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

/** Why nothing is sent to a target, or not any more; `error` is for the owner and holds no key. */
export interface OutputEnded {
  readonly reason: OutputReason;
  readonly error: string;
}

/** A broadcast on its way to a relay of somebody else. */
export interface RelayedPush {
  readonly sentBytes: number;
  /** Settles when it is over, whoever ended it; undefined when we did. */
  readonly closed: Promise<OutputEnded | undefined>;
  /** Takes back what was announced, after a moment for what is under way. */
  finish(): void;
  /** Closes at once. */
  cut(): void;
}

/** Offers what is on air of a live input to the relay at `place`. Resolves with why not when it does not come to that; never rejects. */
export type OpenRelayed = (options: {
  readonly place: Extract<OutputPlace, { readonly kind: "moq" }>;
  readonly input: string;
  readonly streamKey: string;
  /** Networks off the internet that may be connected to all the same. */
  readonly allowed: Networks;
  /** Counts the attempts: each takes the next address of the name. */
  readonly attempt: number;
  readonly signal: AbortSignal;
}) => Promise<RelayedPush | OutputEnded>;

/** Where an output goes: an application of an RTMP server, or a relay of Media over QUIC. */
export type OutputPlace =
  | { readonly kind: "rtmp"; readonly url: URL; readonly app: string }
  | {
      readonly kind: "moq";
      readonly url: URL;
      /** Under which it is announced; undefined: the live input's uid. */
      readonly namespace: readonly string[] | undefined;
    };

/** What a URL for an output has to be, as a sentence goes on after its name. */
export const outputUrlRule =
  "must be a server URL like rtmps://live.example.com/app, with a host and an application, or a relay of Media over QUIC like https://relay.example.com/path or moqt://relay.example.com/path, without user name or stream key";

/** Where the key stands in the URL of a relay; where it does not, it is the token of the session. */
export const keyPlace = /\{key\}|%7Bkey%7D/gi;

/** The parts of an output's URL; undefined when it is none. */
export function readOutputUrl(text: string): OutputPlace | undefined {
  if (/[\s\p{Cc}]/u.test(text)) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url?.hostname || url.port === "0" || url.username || url.password) return undefined;
  if (/^(moqt|https):$/.test(url.protocol)) {
    const namespace = url.hash === "" ? undefined : namespaceOf(url.hash);
    return namespace?.length === 0 ? undefined : { kind: "moq", url, namespace };
  }
  if (!/^rtmps?:$/.test(url.protocol) || url.hash) return undefined;
  const app = `${url.pathname.replace(/^\/+|\/+$/g, "")}${url.search}`;
  return app === "" || app.startsWith("?") ? undefined : { kind: "rtmp", url, app };
}

/** draft-ietf-moq-msf-01 11: `#msf:live-stage--catalog` is live/stage, bytes that are neither letters nor digits as `.xx`. */
function namespaceOf(hash: string): string[] {
  const [, fields] = /^#msf:([\w.-]+?)(?:--catalog)?$/.exec(hash) ?? [];
  const all = (fields ?? "").split("-");
  if (!all.every((field) => /^(?:\w|\.[0-9a-f]{2})+$/i.test(field))) return [];
  return all.map((field) =>
    field.replace(/\.([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  );
}
