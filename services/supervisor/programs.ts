import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The folder of the product: player/, infra/ and node_modules lie in it. */
export const productFolder = root;

/** The first of `names` on PATH or among what the set-up keeps; undefined when there is none. */
function findProgram(names: readonly string[]): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), join(root, ".sluice/bin")].filter(Boolean);
  const suffix = process.platform === "win32" ? ".exe" : "";
  return folders.flatMap((folder) => names.map((name) => join(folder, name + suffix))).find(runnable);
}

/** redis-server or its fork; undefined when neither is installed. */
export const findRedis = () => findProgram(["redis-server", "valkey-server"]);
export const findFfmpeg = () => findProgram(["ffmpeg"]);

/** A font that ffmpeg can draw with, where systems usually keep one. */
export const findFont = () =>
  [
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/dejavu-sans-mono-fonts/DejaVuSansMono.ttf",
    "/usr/share/fonts/TTF/DejaVuSansMono.ttf",
    "/System/Library/Fonts/Menlo.ttc",
  ].find(existsSync);

/**
 * Spawns a program that knows nothing of us so that it cannot outlive us: a shell beside it waits for the end of a pipe that
 * only this process holds, and then ends it. In a session of its own, so that Ctrl-C reaches it in our order, not the terminal's.
 */
export function spawnTethered(command: string, args: readonly string[]): ChildProcess {
  if (process.platform === "win32") return spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  // A line on the pipe says that the program ended by itself: its number may be another's by now.
  const script = '{ read -r _ <&3 || kill -TERM $$; } >/dev/null 2>&1 & exec "$0" "$@" 3<&-';
  const child = spawn("/bin/sh", ["-c", script, command, ...args], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    detached: true,
  });
  const tether = child.stdio[3];
  if (tether && "end" in tether) {
    tether.on("error", () => undefined);
    child.once("exit", () => tether.end("ended\n"));
  }
  return child;
}

/** Starts a private Redis on the unix socket `socket` with its data in `folder`: no TCP, an append-only file, nothing evicted. */
export function spawnRedis(program: string, folder: string, socket: string): ChildProcess {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const settings: Readonly<Record<string, string>> = {
    port: "0",
    unixsocket: socket,
    unixsocketperm: "700",
    dir: folder,
    appendonly: "yes",
    // A crash of the machine costs a second of jobs, which are enqueued again anyway.
    appendfsync: "everysec",
    save: "",
    maxmemory: "256mb",
    // A queue must not lose keys silently.
    "maxmemory-policy": "noeviction",
    daemonize: "no",
    logfile: "",
    loglevel: "warning",
  };
  return spawnTethered(
    program,
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
  );
}

function runnable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
