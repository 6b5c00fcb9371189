import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ReadyFile } from "../../services/supervisor.ts";

/** The real product in processes of its own, with free ports and a data folder of its own. */
export interface Sluice {
  readonly ready: ReadyFile;
  /** Of the supervisor. */
  readonly pid: number;
  readonly dataDir: string;
  /** Everything that it printed so far. */
  log(): string;
  /** Resolves with the printed text once it matches; rejects when the process ends before. */
  said(pattern: RegExp): Promise<string>;
  /** SIGTERM, waits for the end, removes the data folder unless it was given. Answers with the exit code, a signal's name when killed. */
  stop(): Promise<number | string>;
}

/** One run of the command line until its end. */
export interface Ended {
  readonly code: number | string;
  readonly output: string;
}

/** Environment of a Sluice whose recordings go to a disk as bad as `query` says to `faulty-files.ts`. */
export function faultyDisk(query: string): Readonly<Record<string, string>> {
  return {
    NODE_OPTIONS: `--import=${new URL("faulty-thread.ts", import.meta.url).href}`,
    FAULTY_FILES: new URL(`faulty-files.ts?${query}`, import.meta.url).href,
  };
}

const main = fileURLToPath(new URL("../../services/main.ts", import.meta.url));
/** Where the launcher has it too. */
const compileCache = fileURLToPath(new URL("../../node_modules/.cache/sluice", import.meta.url));
const stopMs = 15_000;
const freePorts = ["http", "https", "rtmp", "rtmps", "moq"].flatMap((name) => [`--${name}-port`, "0"]);

/** Starts Sluice and resolves once everything listens. Nothing outlives the test process. `dataDir` is kept when given. */
export async function startSluice(
  options: {
    readonly args?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    readonly dataDir?: string;
    /** A network namespace (ip-netns) that it is to run in. */
    readonly namespace?: string;
  } = {},
): Promise<Sluice> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "sluice-test-"));
  const folder = mkdtempSync(join(tmpdir(), "sluice-ready-"));
  const readyFile = join(folder, "ready.json");
  const args = ["up", ...freePorts, "--data", dataDir, "--ready-file", readyFile, ...(options.args ?? [])];
  const run = spawnMain(args, options.env, options.namespace);
  try {
    await Promise.race([
      appears(readyFile),
      run.ended.then(({ output }) => Promise.reject(new Error(`Sluice ended:\n${output}`))),
    ]);
  } catch (error) {
    run.child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  const ready = JSON.parse(readFileSync(readyFile, "utf8")) as ReadyFile;
  rmSync(folder, { recursive: true, force: true });
  return {
    ready,
    pid: run.child.pid!,
    dataDir,
    log: run.output,
    said: run.said,
    async stop() {
      run.child.kill("SIGTERM");
      const late = setTimeout(() => run.child.kill("SIGKILL"), stopMs);
      const { code } = await run.ended;
      clearTimeout(late);
      if (!options.dataDir) rmSync(dataDir, { recursive: true, force: true });
      return code;
    },
  };
}

/** Runs the command line to its end. */
export function runSluice(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended> {
  return spawnMain(args, env).ended;
}

function spawnMain(args: readonly string[], env: Readonly<Record<string, string>> = {}, namespace?: string) {
  const command = [process.execPath, "--disable-warning=ExperimentalWarning", main, ...args];
  if (namespace !== undefined) command.unshift("ip", "netns", "exec", namespace);
  // The channel is the tether: the supervisor stops when the test process is gone.
  const child: ChildProcess = spawn(command[0]!, command.slice(1), {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    // Encoders, the relay and outputs only where a test asks for them: they would take the processor from what it measures.
    env: {
      ...process.env,
      ...{ NODE_COMPILE_CACHE: compileCache, SLUICE_LADDER: "none", SLUICE_MOQ: "false" },
      SLUICE_ROLES: "control,ingest,origin,relay,worker",
      ...env,
    },
  });
  let printed = "";
  const listeners = new Set<() => void>();
  for (const output of [child.stdout, child.stderr])
    output?.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
      for (const listener of listeners) listener();
    });
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => resolve({ code: signal ?? code ?? -1, output: printed }));
  });
  const said = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        if (!pattern.test(printed)) return;
        listeners.delete(look);
        resolve(printed);
      };
      listeners.add(look);
      look();
      void ended.then(() => reject(new Error(`ended without saying ${pattern}:\n${printed}`)));
    });
  return { child, ended, said, output: () => printed };
}

/** Resolves once `file` is there. */
async function appears(file: string): Promise<void> {
  const seen = Promise.withResolvers<void>();
  const watcher = watch(join(file, ".."), () => existsSync(file) && seen.resolve());
  if (existsSync(file)) seen.resolve();
  await seen.promise;
  watcher.close();
}
