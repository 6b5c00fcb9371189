import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import type { Running } from "../lib/lifecycle.ts";
import { paceAfter } from "./pacing.ts";

/** How a child ended, for people: the code or signal and the last thing that it said. */
export interface Exit {
  readonly how: string;
  /** The last lines that were not log entries, such as a stack. */
  readonly said: string;
  readonly delayMs: number;
  /** True once when a crash loop begins; the child is tried on, at the longest delay. */
  readonly loopBegins: boolean;
}

/** A child process that is started again whenever it ends, until `close`. */
export interface Child extends Running {
  readonly name: string;
  readonly pid: number | undefined;
  /** How often it has been started. */
  readonly starts: number;
  /** Lets the next end be the last: it is not started again. */
  retire(): void;
  /** SIGKILL now, for a person who does not want to wait. */
  kill(): void;
}

const keptLines = 8;
const lastWordsMs = 200;
const lineBytes = 64 << 10;

/**
 * Keeps one child running. `start` spawns it; `line` gets each line that it writes; `exited` each unwanted end.
 * `close` asks it to stop, sends SIGKILL after `stopMs`, and waits for the end.
 */
export function keepRunning(options: {
  readonly name: string;
  readonly stopMs: number;
  readonly start: () => ChildProcess;
  readonly line: (text: string) => void;
  readonly exited: (exit: Exit) => void;
}): Child {
  const done = Promise.withResolvers<void>();
  let current: ChildProcess | undefined;
  let restart: NodeJS.Timeout | undefined;
  let retired = false;
  let starts = 0;
  let looping = false;
  let exits: number[] = [];

  const spawnOnce = () => {
    const child = options.start();
    current = child;
    starts++;
    const said: string[] = [];
    const take = (text: string) => {
      if (!text.startsWith("{")) {
        said.push(text);
        if (said.length > keptLines) said.shift();
      }
      options.line(text);
    };
    for (const output of [child.stdout, child.stderr]) if (output) eachLine(output, take);
    let ended = false;
    const end = (how: string) => {
      if (ended) return;
      ended = true;
      current = undefined;
      if (retired) return done.resolve();
      exits = [...exits.slice(-20), performance.now()];
      const pace = paceAfter(exits);
      const exit = {
        how,
        said: said.join("\n"),
        delayMs: pace.delayMs,
        loopBegins: pace.loop && !looping,
      };
      looping = pace.loop;
      restart = setTimeout(spawnOnce, pace.delayMs);
      options.exited(exit);
    };
    // Also said of a message that could not be sent; only one without a process is an end.
    child.on("error", (error) => child.pid === undefined && end(error.message));
    // Its last words may still be in the pipes at "exit", and "close" waits for whoever else holds them.
    child.once("exit", (code, signal) => {
      const how = signal ?? `exit code ${code}`;
      const late = setTimeout(end, lastWordsMs, how);
      child.once("close", () => {
        clearTimeout(late);
        end(how);
      });
    });
  };
  const retire = () => {
    retired = true;
    clearTimeout(restart);
    if (!current) done.resolve();
  };
  spawnOnce();

  return {
    name: options.name,
    closed: done.promise,
    get pid() {
      return current?.pid;
    },
    get starts() {
      return starts;
    },
    retire,
    kill() {
      retire();
      current?.kill("SIGKILL");
    },
    async close() {
      retire();
      if (current) askToStop(current);
      const late = setTimeout(() => current?.kill("SIGKILL"), options.stopMs);
      await done.promise;
      clearTimeout(late);
    },
  };
}

/** Our roles stop when their channel closes, whoever sends signals around; other programs take SIGTERM. */
function askToStop(child: ChildProcess): void {
  if (child.connected) child.disconnect();
  else if (!child.channel) child.kill("SIGTERM");
}

/** Calls `take` with each line of `source`, bounded: an endless line comes in pieces. */
function eachLine(source: Readable, take: (line: string) => void): void {
  let rest = "";
  source.setEncoding("utf8");
  source.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line) take(line);
    if (rest.length > lineBytes) {
      take(rest);
      rest = "";
    }
  });
  source.on("end", () => rest && take(rest));
  source.on("error", () => undefined);
}
