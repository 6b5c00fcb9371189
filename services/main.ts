import { Command, CommanderError } from "commander";
import { ConfigError, inheritConfig, loadConfig, sampleFile } from "./config.ts";
import { Failure } from "./lib/errors.ts";
import { type Config, type RoleName, roleNames, settings } from "./settings.ts";

/** Exit codes: 1 it failed, 2 a person has to change what was given. */
const wrongUse = 2;
/** A role that hangs in its orderly stop ends anyway; the supervisor's own deadline is later. */
const roleStopMs = 5_000;

const began = performance.now();

function program(): Command {
  const sluice = new Command("sluice").description("Self-hosted live streaming").exitOverride();
  withSettings(
    sluice.command("up", { isDefault: true }).description("run everything on this machine"),
  ).action(async (flags) => {
    const config = configOf(flags);
    const { runSupervisor } = await import("./supervisor.ts");
    process.exitCode = await runSupervisor(config, began);
    process.exit();
  });
  withSettings(
    sluice
      .command("role")
      .description("run one role in this process")
      .argument("<name>", roleNames.join(", ")),
  ).action(async (name: RoleName, flags) => {
    const { SLUICE_CONFIG: inherited } = process.env;
    const config = inherited === undefined ? configOf(flags) : inheritConfig(inherited);
    // They hold every secret there is: what a role starts, ffmpeg with a stranger's media above all, is not to have them.
    for (const name of ["SLUICE_CONFIG", ...settings.map(({ env }) => env)]) delete process.env[name];
    await runRole(name, config, inherited !== undefined);
  });
  withSettings(sluice.command("doctor").description("check this machine and say what to fix"))
    .option("--json", "print the findings as a list")
    .action(async (flags) => {
      const { runDoctor } = await import("./doctor.ts");
      process.exitCode = await runDoctor(configOf(flags), flags.json === true);
    });
  operate(
    sluice,
    "input",
    "list the live inputs with their stream keys, or create, show, enable, disable or delete one, with --ladder for one of its own",
  );
  operate(
    sluice,
    "output",
    "list, add, enable, disable or remove where else a live input is sent to; the key - is read from the standard input",
  );
  operate(sluice, "video", "list or delete recordings");
  operate(
    sluice,
    "webhook",
    "list, add or remove addresses that are told of what happens; the log of what one was told, and replay to tell it again",
  );
  operate(
    sluice,
    "token",
    "sign a token for a live input or a video, or revoke one, or with --viewer all of a viewer",
  )
    .option("--expires <seconds>", "how long it is good for; an hour when absent, a day at most")
    .option("--viewer <id>", "who watches with it, for a revocation")
    .option("--max-sessions <number>", "from how many places it may be used at once")
    .option("--downloadable", "lets its holder download");
  operate(sluice, "admin", "make a link that opens the dashboard once, or set its password");
  operate(sluice, "keys", "rotate the stream key of a live input; list, create or delete signing keys");
  withSettings(
    sluice
      .command("recordings")
      .description(
        "verify recordings against their checksums, repair what a crash or a disk has torn, or rebuild journals and the store's rows from the files",
      )
      .argument("<verify|repair|rebuild-index>")
      .argument("[uid...]", "videos; all of them when none is named"),
  )
    .option("--json", "print what was found of each as a list")
    .action(async (verb: string, uids: readonly string[], flags) => {
      const { runRecordings } = await import("./recordings.ts");
      process.exitCode = await runRecordings(configOf(flags), { verb, uids, json: flags.json === true });
    });
  sluice
    .command("config")
    .description("print a sample settings file")
    .action(() => void process.stdout.write(sampleFile()));
  return sluice;
}

/** A command that calls the API of the Sluice that runs on this data folder. */
function operate(sluice: Command, group: string, description: string): Command {
  const command = sluice.command(group).description(description).argument("[words...]");
  return withSettings(command)
    .option("--json", "print what the API answers")
    .action(async (words: readonly string[], flags) => {
      const { runOperate } = await import("./operate.ts");
      const { json = false, ladder, expires, viewer, maxSessions: sessions, downloadable } = flags;
      const typed = { words: [group, ...words], json, ladder, expires, viewer, sessions, downloadable };
      process.exitCode = await runOperate(configOf(flags), typed);
    });
}

function withSettings(command: Command): Command {
  command.option("--config <file>", "settings file; ./sluice.yaml is read when it is there").exitOverride();
  for (const { flag, kind, about, allowed, fallback } of settings) {
    const shown = `${about}: ${allowed}${fallback === undefined ? "" : ` (${fallback})`}`;
    if (kind === "list") command.option(`${flag} <${kind}>`, shown, gather);
    else command.option(kind === "yes/no" ? `${flag} [yes]` : `${flag} <${kind}>`, shown);
    if (kind === "yes/no" && fallback === true) command.option(flag.replace("--", "--no-"));
  }
  return command;
}

/** A flag of a list may come more than once, and each time with several entries. */
const gather = (value: string, before: string | undefined) =>
  before === undefined ? value : `${before},${value}`;

function configOf(flags: Readonly<Record<string, unknown>>): Config {
  // Commander names a flag in camel case without dots; settings have their group before a dot.
  const byName = Object.fromEntries(
    settings.map(({ name, flag }) => [
      name,
      flags[flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())],
    ]),
  );
  return loadConfig({ file: flags.config as string | undefined, env: process.env, flags: byName });
}

async function runRole(name: RoleName, config: Config, supervised: boolean): Promise<void> {
  const [{ startRole }, { createLog }] = await Promise.all([import("./app.ts"), import("./lib/log.ts")]);
  const log = createLog(name, config.logLevel, process.stdout.isTTY);
  const tell = (message: object) =>
    new Promise<void>((resolve) => {
      if (process.connected) process.send?.(message, undefined, {}, () => resolve());
      else resolve();
    });
  for (const fatal of ["uncaughtException", "unhandledRejection"] as const)
    process.on(fatal, (error: unknown) => {
      log.fatal({ err: error }, "failed");
      process.exit(1);
    });
  const started = startRole(name, config, log, (message) => void tell(message));
  const stop = () => {
    setTimeout(() => process.exit(1), roleStopMs).unref();
    started
      .then((role) => role.close())
      .then(
        () => process.exit(0),
        () => process.exit(1),
      );
  };
  // The supervisor asks by closing the channel, and is gone when it closes by itself, also after kill -9. Signals that reach the
  // whole group (Ctrl-C, a service manager) are its to order.
  process.once("disconnect", stop);
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
    process.on(signal, supervised ? () => undefined : stop);
  if (supervised && !process.connected) return stop();
  try {
    await started;
  } catch (error) {
    const message = startFailure(error, config);
    log.error({ ...(error instanceof Failure ? {} : { err: error }) }, message);
    await tell({ type: "failed", message });
    process.exit(1);
  }
}

/** Why a listener or a file could not be had, as what to change. */
function startFailure(error: unknown, config: Config): string {
  if (!(error instanceof Error)) return String(error);
  const { code, port } = error as Error & { readonly code?: string; readonly port?: number };
  const setting = (["httpPort", "httpsPort", "rtmpPort", "rtmpsPort"] as const).find(
    (name) => config[name] === port,
  );
  if (!setting) return error.message;
  const flag = settings.find((one) => one.name === setting)!.flag;
  if (code === "EADDRINUSE")
    return `${setting}: port ${port} is taken by another program; stop that, or choose another port with ${flag}`;
  if (code === "EACCES")
    return `${setting}: this user may not listen on port ${port}; choose one above 1023 with ${flag}`;
  if (code === "EADDRNOTAVAIL")
    return `host: ${config.host} is no address of this machine; choose one with --host`;
  return error.message;
}

try {
  await program().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : wrongUse;
  else if (error instanceof ConfigError || error instanceof Failure) {
    console.error(error.message);
    process.exitCode = error instanceof ConfigError ? wrongUse : 1;
  } else throw error;
}
