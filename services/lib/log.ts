import { type Logger, pino } from "pino";

export type Log = Logger;

/** `pretty` for a person's terminal, JSON lines otherwise. Stream keys, tokens and cookies never reach the output. */
export function createLog(role: string, level: string, pretty: boolean): Log {
  return pino({
    level,
    base: { role },
    redact: {
      paths: ["streamKey", "*.streamKey", "token", "*.token", "authorization", "*.authorization", "cookie", "*.cookie"],
      censor: "[redacted]",
    },
    ...(pretty && {
      transport: { target: "pino-pretty", options: { ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss.l", messageFormat: "[{role}] {msg}", hideObject: false, singleLine: true } },
    }),
  });
}
