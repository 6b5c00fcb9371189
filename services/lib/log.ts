import { type Logger, type LoggerOptions, pino } from "pino";

export type Log = Logger;

/** `pretty` for a person's terminal, JSON lines otherwise. Stream keys, tokens and cookies never reach the output. */
export function createLog(role: string, level: string, pretty: boolean): Log {
  const own = options(role, level);
  if (pretty) return pino({ ...own, transport: { target: "pino-pretty", options: look } });
  // Written at once: what is left for the exit is tried for ever when whoever read it was killed (sonic-boom 4), and the process stays.
  return pino(own, pino.destination({ dest: 1, sync: true }));
}

/** A log whose JSON lines, newline included, go to `write`: for the process that owns the terminal. */
export function createLogTo(write: (line: string) => void, role: string, level: string): Log {
  return pino(options(role, level), { write });
}

/** Turns JSON lines of any of our logs into lines for a person's terminal; other text passes as it is. */
export async function loadPretty(): Promise<(line: string) => string> {
  const { prettyFactory } = await import("pino-pretty");
  const pretty = prettyFactory({ ...look, colorize: true });
  return (line) => (line.startsWith("{") ? pretty(line).trimEnd() : line);
}

const look = {
  ignore: "pid,hostname,role",
  translateTime: "SYS:HH:MM:ss.l",
  messageFormat: "[{role}] {msg}",
  singleLine: true,
};

/** A token that admits a viewer, wherever in a line it stands: mostly in a path. */
const viewerToken = /\beyJ[\w-]+\.[\w-]+\.[\w-]+/g;

function options(role: string, level: string): LoggerOptions {
  return {
    level,
    hooks: {
      streamWrite: (line) => (line.includes("eyJ") ? line.replace(viewerToken, "[token]") : line),
    },
    base: { role },
    redact: {
      paths: [
        "streamKey",
        "*.streamKey",
        "token",
        "*.token",
        "apiToken",
        "*.apiToken",
        "secretAccessKey",
        "*.secretAccessKey",
        "authorization",
        "*.authorization",
        "cookie",
        "*.cookie",
      ],
      censor: "[redacted]",
    },
  };
}
