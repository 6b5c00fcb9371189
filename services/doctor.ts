import { execFile } from "node:child_process";
import crypto, { createHash, X509Certificate } from "node:crypto";
import { createSocket } from "node:dgram";
import { lookup, resolveCaa } from "node:dns/promises";
import { existsSync } from "node:fs";
import { readFile, rm, statfs, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import { Acme } from "../infra/acme/client.ts";
import { adviceOf } from "../infra/acme/refusal.ts";
import { accountKey, loadState } from "../infra/acme/state.ts";
import { loadIssued, loadPair } from "../infra/certs.ts";
import { bucketOf } from "./bucket.ts";
import { makeFolder } from "./lib/durable.ts";
import { redisVersion } from "./lib/redis.ts";
import type { Config } from "./settings.ts";
import { isSame } from "./storage/store.ts";
import { readRunning } from "./supervisor/place.ts";
import { findFfmpeg, findRedis, productFolder } from "./supervisor/programs.ts";
import { installFfmpeg, usableFfmpeg } from "./transcode/hardware.ts";

/** ✓ is fine, ! works with a limit that the line names, ✗ has to be mended and the line says how. */
interface Finding {
  readonly mark: "✓" | "!" | "✗";
  readonly says: string;
}

const words = { "✓": "fine", "!": "limited", "✗": "broken" } as const;
const fine = (says: string): Finding => ({ mark: "✓", says });
const limited = (says: string): Finding => ({ mark: "!", says });
const broken = (says: string): Finding => ({ mark: "✗", says });

const run = promisify(execFile);
const gigabyte = 1e9;
const networkMs = 10_000;
/** What Sluice says of a challenge that there is not: how it is told from other servers. */
const probe = "doctor";
const probeAnswer = "There is no such challenge";

/** Checks the machine for `config`, prints one line a finding, or with `json` a list of them, and returns the exit code: 1 when something has to be mended. */
export async function runDoctor(config: Config, json = false): Promise<number> {
  const running = isRunning(config);
  const checks: readonly (() => Promise<readonly Finding[]>)[] = [
    node,
    () => ports(config, running),
    () => moqPort(config, running),
    () => ffmpeg(config),
    () => redis(config),
    () => certificate(config),
    () => domains(config, running),
    () => disk(config),
    () => storage(config),
    clock,
    openFiles,
    player,
  ];
  // Whoever reads our output may have read enough.
  process.stdout.on("error", () => undefined);
  const all: Finding[] = [];
  for (const check of checks)
    for (const finding of await check()) {
      all.push(finding);
      if (!json) console.log(`${finding.mark} ${finding.says}`);
    }
  if (json) console.log(JSON.stringify(all.map(({ mark, says }) => ({ state: words[mark], says }))));
  return all.some(({ mark }) => mark === "✗") ? 1 : 0;
}

/** The process of the Sluice that uses the data folder now. */
function isRunning(config: Config): number | undefined {
  const pid = readRunning(config.data)?.pid;
  try {
    if (pid !== undefined) process.kill(pid, 0);
    return pid;
  } catch {
    return undefined;
  }
}

async function node(): Promise<readonly Finding[]> {
  // The launcher sees to it; who runs this file by himself may have any Node that reads TypeScript.
  return [
    typeof crypto.argon2 === "function"
      ? fine(`Node ${process.version}`)
      : broken(
          `Node ${process.version} is too old: install 24.7 or newer, which has argon2, or type npm start`,
        ),
  ];
}

async function ports(config: Config, running: number | undefined): Promise<readonly Finding[]> {
  const doors = (["httpPort", "httpsPort", "rtmpPort", "rtmpsPort"] as const).filter(
    (door) => door !== "rtmpPort" || config.rtmp,
  );
  return Promise.all(
    doors.map(async (door) => {
      const port = config[door];
      if (port === 0) return fine(`${door}: a free port`);
      const problem = await listenProblem(config.host, port);
      if (!problem) return fine(`${door}: ${port} is free`);
      if (problem === "EADDRINUSE")
        return running
          ? fine(`${door}: ${port} is in use, and Sluice runs here (process ${running})`)
          : broken(
              `${door}: ${port} is taken by another program: stop it, or choose another port in the settings`,
            );
      if (problem === "EACCES")
        return broken(`${door}: this user may not listen on ${port}: choose a port above 1023`);
      return broken(
        `${door}: ${config.host}:${port} cannot be listened on (${problem}): set host to an address of this machine`,
      );
    }),
  );
}

function listenProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port }, () => server.close(() => resolve(undefined)));
  });
}

/** The relay has no other address to take than all of them, unless it is to serve this machine alone. */
async function moqPort(
  { moq, moqPort: port }: Config,
  running: number | undefined,
): Promise<readonly Finding[]> {
  if (!moq) return [];
  if (port === 0) return [fine("moqPort: a free UDP port")];
  const problem = await datagramProblem(port);
  if (!problem) return [fine(`moqPort: UDP ${port} is free`)];
  if (problem === "EADDRINUSE" && running)
    return [fine(`moqPort: UDP ${port} is in use, and Sluice runs here (process ${running})`)];
  const why =
    problem === "EADDRINUSE"
      ? `UDP ${port} is taken by another program: stop it, or choose another port`
      : problem === "EACCES"
        ? `this user may not listen on UDP ${port}: choose a port above 1023`
        : `UDP ${port} cannot be listened on (${problem})`;
  return [limited(`moqPort: ${why}; until then there is no Media over QUIC, and LL-HLS serves everybody`)];
}

function datagramProblem(port: number): Promise<string | undefined> {
  const on = (type: "udp4" | "udp6", address: string) =>
    new Promise<string | undefined>((resolve) => {
      const socket = createSocket(type);
      socket.once("error", (error: NodeJS.ErrnoException) => {
        socket.close();
        resolve(error.code ?? error.message);
      });
      socket.bind(port, address, () => socket.close(() => resolve(undefined)));
    });
  // As the relay does: both families, or the older one where there is no other.
  return on("udp6", "::").then((problem) =>
    problem === undefined || problem === "EADDRINUSE" || problem === "EACCES"
      ? problem
      : on("udp4", "0.0.0.0"),
  );
}

async function ffmpeg(config: Config): Promise<readonly Finding[]> {
  const program = findFfmpeg();
  if (!program) return [limited(`ffmpeg is missing, so no transcoding and no --demo: ${installFfmpeg}`)];
  try {
    const { stdout } = await run(program, ["-hide_banner", "-version"]);
    const { encoder } = await usableFfmpeg(program, config.encoder);
    const name = `ffmpeg ${/version (\S+)/.exec(stdout)?.[1] ?? ""}`;
    return [fine(`${name} with ${encoder === "software" ? "libx264" : encoder}`)];
  } catch (error) {
    const says = reason(error);
    return [broken(says.includes("encoder is") ? says : `${says}; ${installFfmpeg}`)];
  }
}

async function redis(config: Config): Promise<readonly Finding[]> {
  try {
    if (config.redisUrl)
      return [
        fine(`Redis ${await redisVersion(config.redisUrl, 3_000)} at ${withoutPassword(config.redisUrl)}`),
      ];
    const program = findRedis();
    if (!program)
      return [
        limited(
          "redis-server is missing, so no job queue: type apt-get install redis-tools && npm start, or brew install redis",
        ),
      ];
    const { stdout } = await run(program, ["--version"]);
    return [
      fine(`private ${/^(\S+ server v=\S+)/.exec(stdout)?.[1]?.replace(" server v=", " ") ?? "Redis"}`),
    ];
  } catch (error) {
    return [
      broken(`Redis does not answer (${reason(error)}): correct redisUrl, or leave it out for a private one`),
    ];
  }
}

async function certificate(config: Config): Promise<readonly Finding[]> {
  if (config.tlsCert === undefined || config.tlsKey === undefined) {
    if (config.domain.length > 0) return issued(config);
    const file = join(config.data, "certs/self-signed.pem");
    const state = existsSync(file)
      ? `until ${new X509Certificate(await readFile(file)).validTo}`
      : "made at the first start";
    return [
      limited(
        `certificate: self-signed (${state}); OBS and browsers want a real one for RTMPS and HTTPS: set domain, or tlsCert and tlsKey`,
      ),
    ];
  }
  try {
    const leaf = new X509Certificate((await loadPair(config.tlsCert, config.tlsKey)).cert);
    const days = Math.floor((Date.parse(leaf.validTo) - Date.now()) / 86_400_000);
    if (days < 0)
      return [
        broken(`certificate: ended ${leaf.validTo}: renew it; Sluice takes the new files without a restart`),
      ];
    if (Date.parse(leaf.validFrom) > Date.now())
      return [
        broken(`certificate: not valid before ${leaf.validFrom}: correct the clock or the certificate`),
      ];
    const host = config.publicUrl ? new URL(config.publicUrl).hostname : undefined;
    if (host && !leaf.checkHost(host) && !leaf.checkIP(host))
      return [
        broken(
          `certificate: it is for ${leaf.subjectAltName ?? leaf.subject}, not for ${host} of publicUrl: get one for that name`,
        ),
      ];
    if (days < 14)
      return [
        limited(`certificate: ends in ${days} days: renew it; Sluice takes the new files without a restart`),
      ];
    return [fine(`certificate: valid for ${days} days, for ${leaf.subjectAltName ?? leaf.subject}`)];
  } catch (error) {
    return [broken(`certificate: ${reason(error)}`)];
  }
}

async function issued({ data, domain, acmeDirectory }: Config): Promise<readonly Finding[]> {
  const dir = join(data, "certs");
  const { problem } = await loadState(dir, { directory: acmeDirectory, domains: [...domain] });
  const says = problem ? `: ${problem}` : "";
  const pair = await loadIssued(dir).catch(() => undefined);
  if (!pair)
    return [
      problem
        ? broken(`certificate: none for ${domain.join(", ")} yet${says}`)
        : limited(`certificate: none for ${domain.join(", ")} yet; it is asked for when Sluice runs`),
    ];
  const leaf = new X509Certificate(pair.cert);
  const days = Math.floor((Date.parse(leaf.validTo) - Date.now()) / 86_400_000);
  const state = `certificate: valid for ${days} days, for ${leaf.subjectAltName ?? leaf.subject}`;
  return [problem ? limited(`${state}; it is not renewed${says}`) : fine(state)];
}

/** What an authority will look at before it signs: where each name leads, who may sign for it, and who answers there. */
async function domains(config: Config, running: number | undefined): Promise<readonly Finding[]> {
  const { domain, acmeDirectory: directory, data } = config;
  if (domain.length === 0) return [];
  const signal = AbortSignal.timeout(networkMs);
  let identities: readonly string[] = [];
  const findings: Finding[] = [];
  try {
    const dir = join(data, "certs");
    makeFolder(dir);
    const acme = new Acme({ directory, accountKey: await accountKey(dir, directory), signal });
    identities = await acme.caaIdentities();
    findings.push(fine(`acmeDirectory: ${new URL(directory).host} answers`));
  } catch (error) {
    const here = { directory, domains: domain, httpPort: config.httpPort, httpsPort: config.httpsPort };
    findings.push(broken(`acmeDirectory: ${adviceOf(error, here)}`));
  }
  const answered = running ? undefined : await answerProbes(config);
  try {
    for (const name of domain) findings.push(await domainFinding(name, identities, config));
  } finally {
    answered?.();
  }
  return findings;
}

async function domainFinding(name: string, identities: readonly string[], config: Config): Promise<Finding> {
  const found = await lookup(name, { all: true }).catch(() => []);
  if (found.length === 0)
    return broken(`domain: ${name} leads nowhere: give it an A or AAAA record with this machine's address`);
  const addresses = found.map(({ address }) => address).join(", ");
  const records = await caaOf(name);
  const allowed = records.flatMap(({ issue }) => (issue === undefined ? [] : [issue.split(";")[0]!.trim()]));
  if (identities.length > 0 && allowed.length > 0 && !allowed.some((one) => identities.includes(one)))
    return broken(
      `domain: a CAA record lets only ${allowed.join(", ")} sign for ${name}: add one for ${identities[0]}`,
    );
  const reached = await fetch(`http://${name}/.well-known/acme-challenge/${probe}`, {
    redirect: "manual",
    signal: AbortSignal.timeout(networkMs),
  }).then(
    async (response) => (await response.text()).includes(probeAnswer),
    () => undefined,
  );
  if (reached) return fine(`domain: ${name} (${addresses}) leads here, also on port 80`);
  const forward = `port 80 has to lead to port ${config.httpPort} here, or 443 to ${config.httpsPort}`;
  return limited(
    reached === undefined
      ? `domain: http://${name}/ (${addresses}) cannot be reached from here; from outside ${forward}`
      : `domain: another server answers at http://${name}/ (${addresses}): ${forward}`,
  );
}

/** The CAA records that count for `name`: its own, or those of the nearest name above (RFC 8659 3). */
async function caaOf(name: string) {
  const labels = name.split(".");
  for (let at = 0; at < labels.length - 1; at++) {
    const found = await resolveCaa(labels.slice(at).join(".")).catch(() => []);
    if (found.length > 0) return found;
  }
  return [];
}

/** Answers on httpPort as Sluice would, while it does not run. Undefined when the port is not to be had. */
async function answerProbes({ host, httpPort }: Config): Promise<(() => void) | undefined> {
  const server = createHttpServer((_request, response) => response.end(probeAnswer));
  const open = new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(httpPort, host, () => resolve(true));
  });
  return (await open)
    ? () => {
        server.close();
        server.closeAllConnections();
      }
    : undefined;
}

async function disk(config: Config): Promise<readonly Finding[]> {
  const probe = join(config.data, `.doctor-${process.pid}`);
  try {
    makeFolder(config.data);
    await writeFile(probe, "x");
    await rm(probe);
  } catch (error) {
    return [
      broken(
        `data: ${config.data} cannot be written (${reason(error)}): name a folder that this user may write with --data`,
      ),
    ];
  }
  const { bavail, bsize } = await statfs(config.data);
  const free = (bavail * bsize) / gigabyte;
  const says = `data: ${config.data} is writable, ${free.toFixed(1)} GB free`;
  if (free < 0.5) return [broken(`${says}: too little; free some, or name another folder with --data`)];
  return [free < 5 ? limited(`${says}: an hour of video takes about 1.5 GB`) : fine(says)];
}

async function storage(config: Config): Promise<readonly Finding[]> {
  const store = bucketOf(config);
  if (!store) return [];
  const key = `.doctor-${process.pid}`;
  const bytes = Buffer.from("sluice");
  const hash = (name: string) => createHash(name).update(bytes).digest("hex");
  const body = { from: bytes, bytes: bytes.length, sha256: hash("sha256"), md5: hash("md5") };
  const from = performance.now();
  try {
    await store.put(key, body);
    const stored = await store.head(key);
    const piece = await store.get(key, { offset: 1, length: 3 });
    await Array.fromAsync(store.list(key));
    await store.remove(key);
    if (
      !stored ||
      isSame(stored, body) === false ||
      Buffer.compare(piece?.bytes ?? Buffer.of(), bytes.subarray(1, 4))
    )
      return [broken(`storage: ${config.s3Bucket} gives back other bytes than it took: use another storage`)];
    const ms = (performance.now() - from).toFixed(0);
    return [
      fine(`storage: ${config.s3Bucket} takes, gives back, lists and removes objects (${ms} ms for all)`),
    ];
  } catch (error) {
    return [broken(`storage: ${reason(error)}`)];
  }
}

async function clock(): Promise<readonly Finding[]> {
  const year = new Date().getUTCFullYear();
  if (year < 2026 || year > 2100)
    return [
      broken(`clock: it says ${year}: set it (timedatectl set-ntp true), or certificates and tokens fail`),
    ];
  const wall = Date.now();
  const steady = performance.now();
  await wait(300);
  const apart = Math.abs(Date.now() - wall - (performance.now() - steady));
  if (apart > 30)
    return [
      broken(
        `clock: it was stepped by ${apart.toFixed(0)} ms while watched: let NTP slew it (chrony), not set it`,
      ),
    ];
  return [fine(`clock: ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC, steady`)];
}

async function openFiles(): Promise<readonly Finding[]> {
  if (process.platform === "win32") return [];
  // Node raises its own limit to the hard one, so this is what the roles will have.
  const { stdout } = await run("/bin/sh", ["-c", "ulimit -n"]);
  const text = stdout.trim();
  const limit = text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text);
  if (limit < 1024)
    return [
      broken(
        `open files: at most ${text}: raise it (ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit)`,
      ),
    ];
  return [
    limit < 8192
      ? limited(`open files: at most ${text}, about one a viewer: raise it with ulimit -n 65536`)
      : fine(`open files: up to ${text}`),
  ];
}

async function player(): Promise<readonly Finding[]> {
  const built = existsSync(join(productFolder, "player/dist/watch.html"));
  return [built ? fine("player: built") : limited("player: not built yet; npm start does it")];
}

const withoutPassword = (url: string) => url.replace(/\/\/[^@/]*@/, "//");
const reason = (error: unknown) =>
  error instanceof Error ? error.message.trim().split("\n")[0]! : String(error);
