import { recallText, remember } from "../../memory.ts";
import { SOUND_ALONE } from "../quality.ts";
import type { Way } from "./dial.ts";

/** After it failed HLS plays for so long, doubling up to ten minutes. */
const AVOID_MS = 30_000;
const MOST_MS = 600_000;
/** Names of what is remembered over a reload: until when (epoch ms), and for how long the next time. */
const UNTIL = "moq-avoid-until";
const LENGTH = "moq-avoid-ms";

/** True where this browser can play Media over QUIC. */
function moqSupported(): boolean {
  return "WebTransport" in globalThis && "MediaSource" in globalThis;
}

/** True where Media over QUIC is tried; `choice` is a quality's name or `AUTO`. */
export function triesMoq({
  moq,
  choice,
}: {
  readonly moq: Way | undefined;
  readonly choice: string;
}): boolean {
  return (
    moq !== undefined && !moq.lacks?.length && choice !== SOUND_ALONE && moqAgainMs() === 0 && moqSupported()
  );
}

/** Milliseconds until Media over QUIC is worth another try. */
export function moqAgainMs(): number {
  return Math.max(0, Number(recallText(UNTIL) ?? 0) - Date.now());
}

/** It failed: nobody tries it for a while, which is longer each time. */
export function moqFailed(): void {
  const ms = Number(recallText(LENGTH) ?? AVOID_MS);
  remember(UNTIL, Date.now() + ms);
  remember(LENGTH, Math.min(MOST_MS, 2 * ms));
}

/** It has lasted: the next failure is taken for the first. */
export function moqLasts(): void {
  remember(LENGTH, AVOID_MS);
}
