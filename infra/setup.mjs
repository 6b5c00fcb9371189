// Plain JavaScript that any Node >= 18 runs: `setup.mjs start|test|check [what to launch then]`.
// Installs what is missing, says so in one line each, asks nothing, and costs nothing when there is nothing to do.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./launch.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const own = join(root, ".sluice");
const machine = `${process.platform}-${process.arch}`;
const say = (line) => console.log(`setup: ${line}`);
const hash = (...parts) => parts.reduce((sum, part) => sum.update(part), createHash("sha256")).digest("hex");

/** What a tool is called, and the packages that bring it. */
const tools = {
  ffmpeg: { names: ["ffmpeg"], apt: "ffmpeg", brew: "ffmpeg", brings: "transcoding, --demo" },
  // Debian's redis-tools holds the server's program without the service: nothing starts by itself, now or at boot.
  redis: {
    names: ["redis-server", "valkey-server"],
    apt: "redis-tools",
    brew: "redis",
    brings: "job queue",
  },
  chromium: {
    names: ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    places: [
      "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
      "/Applications/Chromium.app/Contents/MacOS/Chromium",
    ],
    apt: "chromium",
    brew: "--cask chromium",
    brings: "browser tests",
  },
};

const mode = process.argv[2];
if (!["start", "test", "check"].includes(mode)) {
  console.error("usage: node infra/setup.mjs start|test|check [file to launch, with its arguments]");
  process.exit(2);
}
const then = process.argv.slice(3);
await installPackages(mode === "start" ? "production" : "all");
const ownRedis = process.env.SLUICE_REDIS_URL || then.some((arg) => arg.startsWith("--redis-url"));
await installTools(["ffmpeg", ...(ownRedis ? [] : ["redis"]), ...(mode === "test" ? ["chromium"] : [])]);
await buildPlayer();
if (then.length) launch(then);

/** Only a stamp with this lockfile's hash says that node_modules is ours; whatever else lies there is replaced. */
async function installPackages(scope) {
  const packages = join(root, "node_modules");
  const stampFile = join(packages, ".sluice-stamp");
  const lock = hash(readFileSync(join(root, "package-lock.json")), machine);
  const [stampLock, stampScope] = read(stampFile).split(" ");
  if (stampLock === lock && (stampScope === "all" || stampScope === scope)) return;
  const began = Date.now();
  waitLine("installing packages from the npm registry");
  // Nothing that Sluice uses needs an install script, so no package gets to run one. The versions are the lockfile's, which stays as
  // it is; `npm ci` would refuse a lockfile that lacks the binaries of systems which a registry did not have when it was written.
  const args = [
    "install",
    "--no-save",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--include=optional",
    "--loglevel=error",
  ];
  args.push(scope === "all" ? "--include=dev" : "--omit=dev");
  rmSync(packages, { recursive: true, force: true });
  // In an npm script `node` is the pinned one of the packages that have just gone; npm's own Node is still there.
  const node = [process.env.npm_node_execpath, process.execPath].find((path) => path && existsSync(path));
  const npm = node && process.env.npm_execpath?.endsWith(".js") ? [node, process.env.npm_execpath] : ["npm"];
  const { code, output } = await run([...npm, ...args], { cwd: root });
  if (code !== 0) {
    console.error(output.trim().split("\n").slice(-12).join("\n"));
    console.error(
      `setup: the packages could not be installed. Mend what npm says above, or type: npm ${args.join(" ")}`,
    );
    process.exit(1);
  }
  writeFileSync(stampFile, `${lock} ${scope}`);
  say(`packages installed in ${seconds(began)}`);
}

/** Finds the tools; what is missing comes from the system's package manager where there are rights, else is named. */
async function installTools(wanted) {
  let missing = wanted.filter((name) => !find(tools[name]));
  if (!missing.length) return;
  const failure = join(own, "setup-failed");
  const attempt = missing.join(",");
  // Without a network an attempt may take a minute: not at every start.
  const [failedAt, failedFor] = read(failure).split(" ");
  const recently = failedFor === attempt && Date.now() - Number(failedAt) < 3_600_000;
  const manager = packageManager();
  let reason;
  if (recently) reason = "the last try, less than an hour ago, failed";
  else if (manager?.rights === false) reason = "this user may not install packages";
  else if (!manager) reason = "no apt-get or brew here";
  else {
    const began = Date.now();
    waitLine(`installing ${missing.join(" and ")} with ${manager.name}`);
    const output = await manager.install(missing);
    const installed = missing.filter((name) => find(tools[name]));
    missing = missing.filter((name) => !installed.includes(name));
    if (installed.length)
      say(`${installed.join(" and ")} installed with ${manager.name} in ${seconds(began)}`);
    if (!missing.length) return rmSync(failure, { force: true });
    reason = `${manager.name} failed: ${complaint(output)}`;
    mkdirSync(own, { recursive: true });
    writeFileSync(failure, `${Date.now()} ${missing.join(",")}`);
  }
  const command = manager?.command(missing) ?? "the package manager of this system";
  const lost = missing.map((name) => `${name} (${tools[name].brings})`).join(" and ");
  say(`without ${lost}, so source only: ${reason}. To have what is missing, type: ${command}`);
}

/** The first of a tool's names on PATH, or where Sluice or the system keeps it. */
function find({ names, places = [] }) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), join(own, "bin")].filter(Boolean);
  const files = [
    ...folders.flatMap((folder) =>
      names.map((name) => join(folder, process.platform === "win32" ? `${name}.exe` : name)),
    ),
    ...places,
  ];
  return files.find(runnable) ?? (names.includes("redis-server") ? redisOfTools(folders) : undefined);
}

/** Debian ships one program under several names: `redis-check-rdb`, called as `redis-server`, is the server. */
function redisOfTools(folders) {
  const program = folders.map((folder) => join(folder, "redis-check-rdb")).find(runnable);
  if (!program) return undefined;
  const link = join(own, "bin/redis-server");
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(program, link);
  const { stdout } = spawnSync(link, ["--version"], { encoding: "utf8" });
  if (/server v=/.test(stdout ?? "")) return link;
  rmSync(link, { force: true });
  return undefined;
}

function packageManager() {
  const onPath = (name) => find({ names: [name] });
  if (onPath("apt-get")) {
    const isRoot = process.getuid?.() === 0;
    const sudo = isRoot ? [] : ["sudo", "-n"];
    const packages = (missing) => missing.map((name) => tools[name].apt);
    return {
      name: "apt-get",
      rights: isRoot || (onPath("sudo") !== undefined && spawnSync("sudo", ["-n", "true"]).status === 0),
      command: (missing) => `${isRoot ? "" : "sudo "}apt-get install ${packages(missing).join(" ")}`,
      async install(missing) {
        const quick = [
          "-o",
          "Acquire::Retries=1",
          "-o",
          "Acquire::http::Timeout=20",
          "-o",
          "Acquire::https::Timeout=20",
          "-o",
          "DPkg::Lock::Timeout=120",
        ];
        const apt = (...args) =>
          run([...sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...quick, ...args]);
        const install = () => apt("install", "-y", "--no-install-recommends", ...packages(missing));
        const first = await install();
        if (first.code === 0) return first.output;
        // A fresh machine has no package lists, an old one stale ones.
        const update = await apt("update");
        return `${update.output}\n${(await install()).output}`;
      },
    };
  }
  if (onPath("brew"))
    return {
      name: "brew",
      rights: true,
      command: (missing) => missing.map((name) => `brew install ${tools[name].brew}`).join(" && "),
      async install(missing) {
        const outputs = [];
        for (const name of missing)
          outputs.push((await run(["brew", "install", ...tools[name].brew.split(" ")])).output);
        return outputs.join("\n");
      },
    };
  return undefined;
}

/** Vite runs only when something under player/ or the lockfile is not what the last build was made of. */
async function buildPlayer() {
  const player = join(root, "player");
  if (!existsSync(join(player, "vite.config.ts"))) return;
  const stampFile = join(player, "dist/.stamp");
  const sources = files(player).filter((file) => !file.endsWith(".test.ts"));
  const inputs = hash(
    readFileSync(join(root, "package-lock.json")),
    ...sources.flatMap((file) => [file.slice(root.length), readFileSync(file)]),
  );
  if (read(stampFile) === inputs) return;
  const began = Date.now();
  const build = [
    process.execPath,
    join(root, "infra/launch.mjs"),
    "vite",
    "build",
    "player",
    "--logLevel",
    "warn",
  ];
  const { code, output } = await run(build, { cwd: root });
  if (code !== 0) {
    console.error(output.trim());
    console.error(
      "setup: the player could not be built. Mend what vite says above, or type: node infra/launch.mjs vite build player",
    );
    process.exit(1);
  }
  writeFileSync(stampFile, inputs);
  say(`player built in ${seconds(began)}`);
}

function files(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.name !== "dist" && entry.name !== "node_modules")
    .flatMap((entry) => (entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)]))
    .sort();
}

function run(command, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), {
      stdio: ["ignore", "pipe", "pipe"],
      shell: process.platform === "win32",
      ...options,
    });
    let output = "";
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => resolve({ code: -1, output: `${output}\n${error.message}` }));
    child.on("close", (code) => resolve({ code, output }));
  });
}

/** Long work is announced to a person who waits; a log gets only the line when it is done. */
function waitLine(line) {
  if (process.stdout.isTTY) say(`${line} ...`);
}

/** The one line of a package manager's output that says what is wrong. */
function complaint(output) {
  const lines = output.split("\n").map((line) => line.trim());
  return (
    lines.findLast((line) => /^(E:|Error)/.test(line))?.replace(/^E: /, "") ??
    lines.findLast(Boolean) ??
    "it said nothing"
  );
}

function read(file) {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "";
  }
}

function runnable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function seconds(began) {
  return `${((Date.now() - began) / 1000).toFixed(1)} s`;
}
