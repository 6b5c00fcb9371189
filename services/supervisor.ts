import { type ChildProcess, fork } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { openCertificates } from "../infra/certs.ts";
import { mirrorCertificate } from "../infra/mirror.ts";
import type { ReadyMessage, RoleMessage } from "./app.ts";
import { Failure, messageOf } from "./lib/errors.ts";
import { openInternal } from "./lib/http.ts";
import { createLogTo, type Log } from "./lib/log.ts";
import { createMetrics, mergeExpositions, serveHealth } from "./lib/metrics.ts";
import type { LiveStatus } from "./live/status.ts";
import type { Config, RoleName } from "./settings.ts";
import { type Child, type Exit, keepRunning } from "./supervisor/child.ts";
import { openPlace, type Place } from "./supervisor/place.ts";
import { findFfmpeg, findFont, findRedis, spawnRedis, spawnTethered } from "./supervisor/programs.ts";
import { openTerminal, statusLine, type Terminal } from "./supervisor/terminal.ts";
import { welcome } from "./supervisor/welcome.ts";
import { testPattern } from "./transcode/ffmpeg.ts";
import { usableFfmpeg } from "./transcode/hardware.ts";
import { type BaseUrls, baseUrls, localHost } from "./urls.ts";

/** What `--ready-file` holds: everything a script needs to publish, watch and call the API. */
export interface ReadyFile extends BaseUrls {
  readonly uid: string;
  readonly streamKey: string;
  readonly apiToken: string;
  /** The dashboard; while no password is set, as a link that opens it once. */
  readonly dashboard: string;
  /** Base URL of /livez, /readyz and /metrics. */
  readonly metrics: string;
}

/** The whole orderly stop; what is still there then is killed. */
const stopMs = 10_000;
const childStopMs = 6_000;
/** A first start that fails this often will not mend itself while a person watches. */
const firstStartTries = 4;
const controlFirstMs = 2_000;
const scrapeMs = 5_000;
const onAirLogMs = 30_000;
/** Nothing waits for these: without them everything else is as it was. */
const optional: ReadonlySet<RoleName> = new Set(["relay", "outputs"]);
/** glibc keeps what media needed once; with these it gives large blocks back as soon as they are free. */
const allocator = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "102400" };

/**
 * Runs everything that `config` names until a signal, and answers with the exit code: 0 after an orderly stop, 1 when it could not
 * start. Throws a `Failure` for what a person must change first, such as a data folder in use.
 */
export async function runSupervisor(config: Config, began = performance.now()): Promise<number> {
  const terminal = await openTerminal(process.stdout);
  const log = createLogTo((line) => terminal.line(line.trimEnd()), "supervisor", config.logLevel);
  const place = await openPlace(config.data);
  try {
    const redis = config.redisUrl ? undefined : findRedis();
    if (!config.redisUrl && !redis)
      log.info("redis-server is not installed, so no job queue: live and playback go on without it");
    const encodes =
      config.ladder !== "none" && config.roles.includes("worker") && (await canEncode(config, log));
    const settled = await settle(config, { place, privateRedis: redis !== undefined, encodes });
    return await new Supervisor({ config: settled, place, terminal, log, redis, began }).run();
  } finally {
    await place.close();
  }
}

class Supervisor {
  readonly #config: Config;
  readonly #place: Place;
  readonly #terminal: Terminal;
  readonly #log: Log;
  readonly #began: number;
  /** The program of the private Redis; undefined when another is used or none is to be had. */
  readonly #redis: string | undefined;
  /** In start order; the stop goes the other way. */
  readonly #children: Child[] = [];
  readonly #waiting = new Set<RoleName>();
  readonly #ports: Record<string, number> = {};
  readonly #advised = new Map<string, string>();
  readonly #controlAnswered = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<number>();
  readonly #lastFailure = new Map<string, string>();
  readonly #metrics = createMetrics("supervisor");
  readonly #restarts = this.#metrics.counter(
    "sluice_restarts_total",
    "Children started again after an unwanted end",
    ["child"],
  );
  readonly #up = this.#metrics.gauge("sluice_up", "1 when the role answers", { labels: ["child"] });
  #person: Pick<ReadyFile, "uid" | "streamKey" | "apiToken" | "dashboard"> | undefined;
  #wasReady = false;
  #stopping: Promise<void> | undefined;
  #health = "";
  #live: readonly LiveStatus[] = [];

  constructor(options: {
    readonly config: Config;
    readonly place: Place;
    readonly terminal: Terminal;
    readonly log: Log;
    readonly redis: string | undefined;
    readonly began: number;
  }) {
    this.#config = options.config;
    this.#place = options.place;
    this.#terminal = options.terminal;
    this.#log = options.log;
    this.#redis = options.redis;
    this.#began = options.began;
  }

  async run(): Promise<number> {
    const config = this.#config;
    this.#heedSignals();
    // Made here once, before two roles would make it at the same time.
    const certificates = {
      dir: join(config.data, "certs"),
      cert: config.tlsCert,
      key: config.tlsKey,
      domains: config.domain,
      log: this.#log,
    };
    await (await openCertificates(certificates)).close();
    const mirror = mirrorOf(config, this.#log);
    const health = await serveHealth({
      address: config.metricsAddress,
      text: () => this.#figures(),
      waiting: () => [...this.#waiting],
    });
    this.#health = health.address;
    const onAir = setInterval(() => this.#logOnAir(), onAirLogMs);
    for (const role of config.roles) if (!optional.has(role)) this.#waiting.add(role);
    if (!this.#stopping) {
      this.#startRedis();
      if (config.roles.includes("control")) this.#startRole("control");
      // The others can do without control, and do when it fails; at a start they would only find it away.
      const late = setTimeout(this.#controlAnswered.resolve, controlFirstMs);
      if (config.roles.includes("control")) await this.#controlAnswered.promise;
      clearTimeout(late);
      for (const role of ["origin", "ingest", "relay", "outputs", "worker"] as const)
        if (config.roles.includes(role) && !this.#stopping) this.#startRole(role);
    }
    const code = await this.#stopped.promise;
    clearInterval(onAir);
    this.#terminal.status("");
    await mirror?.close();
    await health.close();
    return code;
  }

  #startRedis(): void {
    const program = this.#redis;
    if (!program) return;
    const socket = redisSocket(this.#place);
    this.#keep(
      "redis",
      () => spawnRedis(program, join(this.#place.data, "redis"), socket),
      (line) => this.#log.debug({ line }, "redis says"),
    );
  }

  #startRole(name: RoleName): void {
    const main = fileURLToPath(new URL("main.ts", import.meta.url));
    this.#keep(
      name,
      () => {
        const config = {
          ...this.#config,
          ...Object.fromEntries(Object.entries(this.#ports).map(([door, port]) => [`${door}Port`, port])),
          metricsAddress: this.#healthSocket(name),
        };
        const child = fork(main, ["role", name], {
          env: { ...allocator, ...process.env, SLUICE_CONFIG: JSON.stringify(config) },
          stdio: ["ignore", "pipe", "pipe", "ipc"],
          // A nursery that several parts of a thousand held requests fit into: a smaller one copies them with every part. V8
          // grows it as it is needed: publishers without viewers take no more memory by it (`bench density`).
          execArgv: [...process.execArgv, ...(name === "origin" ? ["--max-semi-space-size=64"] : [])],
        });
        child.on("message", (message) => this.#heard(name, message as RoleMessage));
        return child;
      },
      (line) => this.#terminal.line(line),
    );
  }

  #keep(name: string, start: () => ChildProcess, line: (text: string) => void): void {
    this.#children.push(
      keepRunning({ name, stopMs: childStopMs, start, line, exited: (exit) => this.#exited(name, exit) }),
    );
  }

  #exited(name: string, exit: Exit): void {
    if (name === "control") this.#controlAnswered.resolve();
    this.#restarts(1, { child: name });
    const again = `${(exit.delayMs / 1000).toFixed(1)} s`;
    const failure =
      this.#lastFailure.get(name) ??
      exit.said.split("\n").findLast((line) => /error|cannot|fail/i.test(line));
    const role = this.#config.roles.find((each) => each === name);
    if (role && !optional.has(role)) this.#waiting.add(role);
    if (role === "origin") this.#show([]);
    const starts = this.#children.find((child) => child.name === name)?.starts ?? 0;
    if (role && !optional.has(role) && !this.#wasReady && starts >= firstStartTries) {
      this.#terminal.line(`Sluice cannot start: ${failure ?? `${name} ends with ${exit.how}\n${exit.said}`}`);
      void this.#stop(1);
    } else if (exit.loopBegins)
      this.#log.error(
        { how: exit.how, failure },
        `${name} crashes again and again; it is tried on every few seconds, the others go on`,
      );
    else this.#log.warn({ how: exit.how, failure }, `${name} ended; starting again in ${again}`);
  }

  #heard(name: RoleName, message: RoleMessage): void {
    if (message.type === "failed") this.#lastFailure.set(name, message.message);
    if (message.type === "status") this.#show(message.live);
    if (message.type !== "ready") return;
    if (name === "control") this.#controlAnswered.resolve();
    this.#lastFailure.delete(name);
    this.#waiting.delete(name);
    this.#remember(message);
    if (this.#wasReady) {
      const starts = this.#children.find((child) => child.name === name)?.starts ?? 0;
      if (starts > 1) this.#log.info(`${name} is back`);
      return;
    }
    if (this.#waiting.size === 0) void this.#ready();
  }

  #remember({ ports, uid, streamKey, apiToken, dashboard }: ReadyMessage): void {
    for (const [door, port] of Object.entries(ports)) if (port !== undefined) this.#ports[door] = port;
    if (uid && streamKey && apiToken && dashboard) this.#person = { uid, streamKey, apiToken, dashboard };
  }

  async #ready(): Promise<void> {
    this.#wasReady = true;
    const config: Config = {
      ...this.#config,
      ...Object.fromEntries(Object.entries(this.#ports).map(([door, port]) => [`${door}Port`, port])),
    };
    const took = ((performance.now() - this.#began) / 1000).toFixed(1);
    this.#terminal.line(welcome({ config, person: this.#person, metrics: this.#health, seconds: took }));
    if (config.readyFile) {
      const ready = { ...baseUrls(config, localHost(config)), ...this.#person, metrics: this.#health };
      writeWhole(config.readyFile, `${JSON.stringify(ready, null, 2)}\n`);
    }
    if (config.demo) this.#startDemo(config);
    this.#show([]);
  }

  #startDemo(config: Config): void {
    const program = findFfmpeg();
    if (!program) {
      this.#log.warn(
        "ffmpeg is not installed, so no --demo: type apt-get install ffmpeg, or brew install ffmpeg",
      );
      return;
    }
    if (!this.#person || !config.roles.includes("ingest")) {
      this.#log.warn("--demo needs control and ingest on this machine");
      return;
    }
    const urls = baseUrls(config, ["0.0.0.0", "::"].includes(config.host) ? "127.0.0.1" : config.host);
    const args = testPattern({
      url: `${urls.rtmp ?? urls.rtmps}/${this.#person.streamKey}`,
      fontFile: findFont(),
    });
    this.#keep(
      "demo",
      () => spawnTethered(program, args),
      (line) => this.#log.debug({ line }, "demo says"),
    );
  }

  #show(live: readonly LiveStatus[]): void {
    this.#live = live;
    for (const { uid, name, advice } of live) {
      if (!advice || this.#advised.get(uid) === advice) continue;
      this.#advised.set(uid, advice);
      this.#log.warn(`${name}: ${advice}`);
    }
    if (this.#wasReady && !this.#stopping)
      this.#terminal.status(statusLine(live) || "○ waiting for an encoder");
  }

  #logOnAir(): void {
    if (process.stdout.isTTY) return;
    for (const { uid, name, kbps, fps, gopSeconds, viewers, seconds } of this.#live)
      this.#log.info({ uid, name, kbps, fps, gopSeconds, viewers, seconds }, "on air");
  }

  /** The figures of this process and of each role that answers; `sluice_up` says which do. */
  async #figures(): Promise<string> {
    const signal = AbortSignal.timeout(scrapeMs);
    const theirs = this.#config.roles.map(async (role) => {
      try {
        const figures = await text(await openInternal(this.#healthSocket(role), "/metrics", { signal }));
        this.#up(1, { child: role });
        return figures;
      } catch {
        this.#up(0, { child: role });
        return "";
      }
    });
    const figures = await Promise.all(theirs);
    return mergeExpositions([await this.#metrics.text(), ...figures]);
  }

  #healthSocket(role: RoleName): string {
    return `unix:${join(this.#place.runtime, `${role}-health.sock`)}`;
  }

  #heedSignals(): void {
    let firstAt: number | undefined;
    const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
    for (const [signal, code] of Object.entries(codes))
      process.on(signal, () => {
        if (firstAt === undefined) {
          firstAt = performance.now();
          return void this.#stop(0);
        }
        // One Ctrl-C arrives twice: from the terminal and again from npm or the launcher.
        if (performance.now() - firstAt < 300) return;
        this.#killAll();
        process.exit(code);
      });
    // The launcher is gone.
    process.once("disconnect", () => void this.#stop(0));
    process.channel?.unref();
    for (const fatal of ["uncaughtException", "unhandledRejection"])
      process.on(fatal, (error: unknown) => {
        this.#log.fatal({ err: error }, "the supervisor failed; everything stops");
        void this.#stop(1);
      });
  }

  #stop(code: number): Promise<void> {
    this.#stopping ??= (async () => {
      this.#controlAnswered.resolve();
      this.#terminal.status("");
      if (code === 0) this.#log.info("stopping");
      const late = setTimeout(() => {
        this.#log.warn("not everything stopped in time; killing the rest");
        this.#killAll();
      }, stopMs);
      for (const child of this.#children) child.retire();
      // Newest first: encoders leave before what they feed.
      for (const child of this.#children.toReversed()) await child.close();
      clearTimeout(late);
      this.#stopped.resolve(code);
    })();
    return this.#stopping;
  }

  #killAll(): void {
    for (const child of this.#children) child.kill();
  }
}

/** The settings with everything settled that is only known here: free ports, sockets of the roles, the private Redis. */
async function settle(
  config: Config,
  here: { readonly place: Place; readonly privateRedis: boolean; readonly encodes: boolean },
): Promise<Config> {
  const { place, privateRedis } = here;
  const doors = ["httpPort", "httpsPort", "rtmpPort", "rtmpsPort"] as const;
  // Control publishes these numbers before the others listen, and a restarted role must come back to the same ones.
  const zero = doors.filter((door) => config[door] === 0);
  const free = await freePorts(config.host, zero.length);
  const socket = (name: string) => `unix:${join(place.runtime, `${name}.sock`)}`;
  // With a Redis of one's own the workers may be elsewhere; alone, a ladder needs both of these here.
  const encodes = config.redisUrl !== undefined || (privateRedis && here.encodes);
  const ladder = encodes ? config.ladder : "none";
  const works = ladder !== "none" && here.encodes;
  return {
    ...config,
    ladder,
    roles: config.roles.filter((role) => (role === "worker" ? works : role === "relay" ? config.moq : true)),
    ...Object.fromEntries(zero.map((door, index) => [door, free[index]])),
    controlAddress: config.controlAddress ?? socket("control"),
    ingestAddress: config.ingestAddress ?? socket("ingest"),
    originAddress: config.originAddress ?? socket("origin"),
    relayAddress:
      config.relayAddress ?? (config.moq && config.roles.includes("relay") ? socket("relay") : undefined),
    redisUrl: privateRedis ? `unix:${redisSocket(place)}` : config.redisUrl,
  };
}

/** Where control is on another machine, its certificate comes from there; undefined where there is nothing to bring. */
function mirrorOf({ domain, roles, controlAddress, internalSecret, data }: Config, log: Log) {
  if (domain.length === 0 || roles.includes("control") || controlAddress === undefined) return undefined;
  const dir = join(data, "certs");
  return mirrorCertificate({ dir, control: controlAddress, secret: internalSecret, log });
}

/** Whether a worker here would be of any use; if not, the log says what to change. */
async function canEncode(config: Config, log: Log): Promise<boolean> {
  try {
    await usableFfmpeg(findFfmpeg(), config.encoder);
    return true;
  } catch (error) {
    log.warn(`no renditions below the source, everything else goes on: ${messageOf(error)}`);
    return false;
  }
}

const redisSocket = (place: Place) => join(place.runtime, "redis.sock");

/** Below those that systems give to connections: one of these could be taken before its role listens. */
const freeRange = { from: 20_000, to: 32_767 };

async function freePorts(host: string, count: number): Promise<readonly number[]> {
  // All held at once, so that they differ.
  const servers = await Promise.all(Array.from({ length: count }, () => listenAnywhere(host)));
  const ports = servers.map((server) => {
    const address = server.address();
    return address && typeof address === "object" ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function listenAnywhere(host: string, left = 100): Promise<Server> {
  const port = randomInt(freeRange.from, freeRange.to + 1);
  const server = createServer().listen({ host, port });
  try {
    await once(server, "listening");
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE" && left > 0)
      return listenAnywhere(host, left - 1);
    throw new Failure("bad_request", `host: ${host} cannot be listened on (${messageOf(error)})`);
  }
}

/** There at once and whole, for whoever waits for it to appear; it need not survive a power cut, and its folder may go next. */
function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
