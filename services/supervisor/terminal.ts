import { loadPretty } from "../lib/log.ts";
import type { LiveStatus } from "../live/status.ts";

/** The one writer of standard output: log lines above, and on a terminal one status line that stays at the bottom. */
export interface Terminal {
  /** Prints one line of a log or of a child. */
  line(text: string): void;
  /** Replaces the status line; empty takes it away. Does nothing when the output is no terminal. */
  status(text: string): void;
}

const clearLine = "\r\x1b[2K";

/** Writes to `out`; on a terminal JSON lines become readable and the status line is repainted below them. */
export async function openTerminal(out: NodeJS.WriteStream): Promise<Terminal> {
  // Whoever read our output may go before us; that is no reason to stop.
  out.on("error", () => undefined);
  if (!out.isTTY) return { line: (text) => out.write(`${text}\n`), status: () => undefined };
  const pretty = await loadPretty();
  let status = "";
  return {
    line(text) {
      out.write(`${status && clearLine}${pretty(text)}\n${status}`);
    },
    status(text) {
      const fitting = text.slice(0, (out.columns || 80) - 1);
      if (fitting === status) return;
      out.write(`${status && clearLine}${fitting}`);
      status = fitting;
    },
  };
}

/** What is on air in one line. */
export function statusLine(live: readonly LiveStatus[]): string {
  const [one, ...more] = live;
  if (!one) return "";
  if (!more.length)
    return `● ${one.name}  ${clock(one.seconds)}  ${figures(one)}  ${count(one.viewers, "viewer")}`;
  const viewers = live.reduce((sum, each) => sum + each.viewers, 0);
  const kbps = live.reduce((sum, each) => sum + each.kbps, 0);
  const names = live.map((each) => each.name).join(", ");
  return `● ${live.length} live  ${(kbps / 1000).toFixed(1)} Mb/s  ${count(viewers, "viewer")}  ${names}`;
}

function figures(one: LiveStatus): string {
  const rate = one.kbps >= 1000 ? `${(one.kbps / 1000).toFixed(1)} Mb/s` : `${Math.round(one.kbps)} kb/s`;
  return `${rate}  ${one.fps.toFixed(one.fps % 1 > 0.05 && one.fps % 1 < 0.95 ? 2 : 0)} fps  GOP ${one.gopSeconds.toFixed(1)} s`;
}

function clock(seconds: number): string {
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

const count = (value: number, word: string) => `${value} ${word}${value === 1 ? "" : "s"}`;
