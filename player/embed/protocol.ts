import type { StreamState } from "./stream.ts";

// What a page's SDK and the player in its iframe say to each other.
//
// Between the windows there are three messages, none with anything secret in it: the SDK asks `who`, the player says `here`
// with the versions that it speaks, and the SDK says `hello` with the version that it has chosen and one end of a channel.
// All else goes over that channel, which nobody can read or write but the two. Each side takes window messages from the other's
// window alone; `hello` goes to the origin of the iframe's address and to no other, and the player keeps to the origin that said it first.

/** Versions of the protocol that this code speaks, newest first. */
export const versions: readonly number[] = [1];

export type WindowMessage =
  | { readonly sluice: "who" }
  /** `page` is another one whenever the player's page has been loaded. */
  | { readonly sluice: "here"; readonly page: string; readonly versions: readonly number[] }
  | { readonly sluice: "hello"; readonly version: number };

/** What the SDK says. `seq` counts up; the player repeats the last one with its state. */
export type Command =
  | { readonly type: "set"; readonly seq: number; readonly name: string; readonly value: unknown }
  | { readonly type: "call"; readonly seq: number; readonly name: CallName }
  | { readonly type: "token"; readonly seq: number; readonly token: string | undefined };

export type CallName = "play" | "pause" | "goLive";

/** What the player says. */
export type Notice =
  /** Its state, and what has happened where something has. */
  | { readonly type: "state"; readonly seq: number; readonly event?: string; readonly state: Snapshot }
  /** The end of a `call`, by its `seq`. */
  | {
      readonly type: "done";
      readonly call: number;
      readonly error?: { readonly name: string; readonly message: string };
    }
  | { readonly type: "token-needed" };

/** Start and end of each, in seconds. */
export type Ranges = readonly (readonly [start: number, end: number])[];

/** All that the SDK's properties say. */
export interface Snapshot {
  readonly currentTime: number;
  readonly duration: number;
  readonly paused: boolean;
  readonly ended: boolean;
  readonly seeking: boolean;
  readonly readyState: number;
  readonly volume: number;
  readonly muted: boolean;
  readonly playbackRate: number;
  readonly videoWidth: number;
  readonly videoHeight: number;
  readonly buffered: Ranges;
  readonly played: Ranges;
  readonly seekable: Ranges;
  readonly autoplay: boolean;
  readonly controls: boolean;
  readonly loop: boolean;
  readonly preload: "auto" | "none";
  readonly poster: string | undefined;
  readonly primaryColor: string | undefined;
  readonly letterboxColor: string | undefined;
  readonly defaultTextTrack: string | undefined;
  readonly state: StreamState;
  readonly latency: number | undefined;
}

/** A window message of ours; undefined for what others send. */
export function readMessage(data: unknown): WindowMessage | undefined {
  if (typeof data !== "object" || data === null || !("sluice" in data)) return undefined;
  const { sluice } = data;
  if (sluice === "who") return { sluice };
  if (sluice === "here" && "versions" in data && "page" in data && typeof data.page === "string")
    return { sluice, page: data.page, versions: numbersIn(data.versions) };
  if (sluice === "hello" && "version" in data && typeof data.version === "number")
    return { sluice, version: data.version };
  return undefined;
}

function numbersIn(list: unknown): number[] {
  return Array.isArray(list) ? list.slice(0, 32).filter((one) => Number.isInteger(one)) : [];
}
