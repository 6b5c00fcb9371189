import { spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { firstPipe } from "./ladder.ts";

/** How an ffmpeg came to its end. */
export interface EncodeEnd {
  /**
   * `drained` wrote all that it had after the end of its input; `killed` was told to; `stuck` gave nothing while it was fed;
   * `behind` cannot take what it is fed in real time; `crashed` is any other end.
   */
  readonly how: "drained" | "killed" | "stuck" | "behind" | "crashed";
  /** Exit code or signal, for people. */
  readonly exit: string;
  /** It ended by itself, with this code. */
  readonly code: number | undefined;
  /** The last lines of its standard error, oldest first. */
  readonly said: readonly string[];
}

/** A running ffmpeg that is fed on standard input and read on pipes. */
export interface Encode {
  readonly pid: number | undefined;
  /** Never waits and never throws: an ffmpeg that does not take its input is killed. */
  write(bytes: Uint8Array): void;
  /** Ends its input. It has two seconds to write the rest, then two more after SIGTERM. */
  finish(): void;
  /** SIGKILL, for output that nobody wants any more. */
  kill(): void;
  /** Resolves when the process is gone and all of its output was handed over. Never rejects. */
  readonly ended: Promise<EncodeEnd>;
}

export interface EncodeLimits {
  /** No output for this long while input flows is the end. */
  readonly silentMs: number;
  /** More input than this unread, for as long as `behindMs`, is the end; four times as much at any moment. */
  readonly backlogBytes: number;
  readonly behindMs: number;
  /** Between two steps of asking it to stop. */
  readonly stopMs: number;
}

const usualLimits: EncodeLimits = {
  silentMs: 3_000,
  backlogBytes: 4 << 20,
  behindMs: 3_000,
  stopMs: 2_000,
};
const watchMs = 250;
const keptLines = 200;
const lineBytes = 1_000;

/**
 * Starts ffmpeg. What it writes to each pipe goes to `onData` as it comes, always: one pipe that is not read stops every
 * output, and such an ffmpeg heeds neither the end of its input nor SIGTERM. It ends when this process does, because its
 * input ends then.
 */
export function runEncode(options: {
  readonly program: string;
  readonly args: readonly string[];
  /** Pipes from descriptor 3 on. */
  readonly outputs: number;
  readonly onData: (output: number, bytes: Buffer) => void;
  readonly limits?: Partial<EncodeLimits>;
}): Encode {
  const limits = { ...usualLimits, ...options.limits };
  const pipes = Array.from({ length: options.outputs }, () => "pipe" as const);
  // In a session of its own, so that Ctrl-C in a terminal reaches it in our order.
  const child = spawn(options.program, options.args, {
    stdio: ["pipe", "ignore", "pipe", ...pipes],
    detached: true,
  });
  const input = child.stdio[0] as Writable;
  const said = keepLines(child.stdio[2] as Readable);
  const done = Promise.withResolvers<EncodeEnd>();
  let why: EncodeEnd["how"] | undefined;
  let finishing: NodeJS.Timeout | undefined;
  let fedAt = 0;
  /** When it was first fed after it last gave something; 0 while it owes nothing. */
  let owesSince = 0;
  let behindSince = 0;

  // It may go before it has read everything; its exit tells.
  input.on("error", () => undefined);
  for (let output = 0; output < options.outputs; output++) {
    const pipe = child.stdio[firstPipe + output] as Readable;
    pipe.on("error", () => undefined);
    pipe.on("data", (bytes: Buffer) => {
      owesSince = 0;
      options.onData(output, bytes);
    });
  }

  const kill = (reason: EncodeEnd["how"]) => {
    why ??= reason;
    child.kill("SIGKILL");
  };
  const watch = setInterval(() => {
    const now = performance.now();
    // After a sleep of the whole machine both lie far back, and nothing is wrong.
    if (owesSince > 0 && now - owesSince > limits.silentMs && now - fedAt < limits.silentMs / 2)
      kill("stuck");
    if (input.writableLength <= limits.backlogBytes) behindSince = 0;
    else if (behindSince === 0) behindSince = now;
    else if (now - behindSince > limits.behindMs) kill("behind");
  }, watchMs);

  const end = (exit: string, code: number | undefined) => {
    clearInterval(watch);
    clearTimeout(finishing);
    done.resolve({ how: why ?? "crashed", exit, code, said });
  };
  child.once("error", (error) => {
    if (child.pid === undefined) end(error.message, undefined);
  });
  child.once("close", (code, signal) => {
    if (finishing && code === 0) why ??= "drained";
    end(signal ?? `exit code ${code}`, code ?? undefined);
  });

  return {
    pid: child.pid,
    ended: done.promise,
    write(bytes) {
      if (finishing || why || input.destroyed) return;
      fedAt = performance.now();
      if (owesSince === 0) owesSince = fedAt;
      input.write(bytes);
      if (input.writableLength > 4 * limits.backlogBytes) kill("behind");
    },
    finish() {
      if (finishing) return;
      input.end();
      owesSince = 0;
      finishing = setTimeout(() => {
        child.kill("SIGTERM");
        finishing = setTimeout(() => kill("stuck"), limits.stopMs);
      }, limits.stopMs);
    },
    kill: () => kill("killed"),
  };
}

/** The last lines that come out of `source`, in an array that stays up to date. */
function keepLines(source: Readable): readonly string[] {
  const lines: string[] = [];
  let rest = "";
  const add = (line: string) => {
    if (line) lines.push(line.slice(0, lineBytes));
    if (lines.length > keptLines) lines.shift();
  };
  source.setEncoding("utf8");
  source.on("error", () => undefined);
  source.on("data", (text: string) => {
    const pieces = (rest + text).split(/[\r\n]+/);
    rest = (pieces.pop() ?? "").slice(-lineBytes);
    for (const piece of pieces) add(piece);
  });
  source.on("end", () => add(rest));
  return lines;
}
