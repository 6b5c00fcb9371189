import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parse } from "yaml";
import type { z } from "./lib/schema.ts";
import { type Config, type Setting, schema, settings } from "./settings.ts";

/** Everything that is wrong with the settings, in one message for a person. */
export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(
      `Sluice cannot start: ${problems.length === 1 ? "one setting is" : `${problems.length} settings are`} wrong.\n${problems.map((p) => `  ${p}\n`).join("")}`,
    );
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Where settings come from, weakest first: file, environment, command line (by setting name, as text). */
export interface Sources {
  /** A file that must exist. Without one, ./sluice.yaml is read if it is there. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: Readonly<Record<string, unknown>>;
}

/** The effective settings; throws `ConfigError` with every problem at once. */
export function loadConfig(sources: Sources): Config {
  const problems: string[] = [];
  const whence = new Map<string, string>();
  const values = readFile(sources.file ?? sources.env.SLUICE_CONFIG_FILE, problems, whence);
  for (const one of settings) {
    const fromEnv = sources.env[one.env];
    if (fromEnv !== undefined && fromEnv !== "") put(values, one, fromEnv, one.env, whence);
    const flag = sources.flags[one.name];
    if (flag !== undefined) put(values, one, flag, one.flag, whence);
  }
  const result = schema.safeParse(values);
  if (!result.success)
    for (const issue of result.error.issues) problems.push(...explain(issue, values, whence));
  else problems.push(...contradictions(result.data));
  if (problems.length) throw new ConfigError([...new Set(problems)]);
  const config = result.data!;
  const absolute = (p: string | undefined) => (p === undefined ? undefined : resolve(p));
  return freeze({
    ...config,
    data: resolve(config.data),
    tlsCert: absolute(config.tlsCert),
    tlsKey: absolute(config.tlsKey),
    geoip: config.geoip.map((file) => resolve(file)),
    readyFile: absolute(config.readyFile),
  });
}

/** Parses YAML: the language of the settings file. */
export const readYaml = (text: string): unknown => parse(text);

/** The settings that a supervisor handed to this process: already validated, only thawed from JSON. */
export function inheritConfig(json: string): Config {
  return freeze(JSON.parse(json) as Config);
}

/** A commented YAML file with every setting at its default. */
export function sampleFile(): string {
  const lines = [
    "# Settings of Sluice. Every line is optional; what is shown is the default.",
    "# The environment (SLUICE_HTTP_PORT=80) and the command line (--http-port 80) override this file.",
    "# Sluice reads ./sluice.yaml, or the file named by --config.",
  ];
  for (const one of settings) {
    const [group, inner] = one.name.includes(".") ? one.name.split(".") : [undefined, one.name];
    if (group && !lines.includes(`# ${group}:`)) lines.push("", `# ${group}:`);
    const indent = group ? "  " : "";
    lines.push(...(group ? [] : [""]), `# ${indent}${one.about}: ${one.allowed}.`);
    lines.push(`# ${indent}${inner}:${one.fallback === undefined ? "" : ` ${JSON.stringify(one.fallback)}`}`);
  }
  return `${lines.join("\n")}\n`;
}

type Values = Record<string, unknown>;

function readFile(given: string | undefined, problems: string[], whence: Map<string, string>): Values {
  const file = given ?? (existsSync("sluice.yaml") ? "sluice.yaml" : undefined);
  if (file === undefined) return {};
  try {
    const content = readYaml(readFileSync(file, "utf8"));
    if (content === null) return {};
    if (typeof content !== "object" || Array.isArray(content))
      throw new Error('it must hold lines like "httpPort: 8080"');
    const values = content as Values;
    const limits = values.limits;
    for (const name of Object.keys(values)) whence.set(name, file);
    if (limits && typeof limits === "object") {
      values.limits = { ...limits };
      for (const name of Object.keys(limits)) whence.set(`limits.${name}`, file);
    }
    return values;
  } catch (error) {
    problems.push(
      `${file}: cannot be read: ${error instanceof Error ? error.message.split("\n")[0] : error}`,
    );
    return {};
  }
}

function put(values: Values, one: Setting, given: unknown, from: string, whence: Map<string, string>): void {
  whence.set(one.name, from);
  const [group, inner] = one.name.split(".") as [string, string | undefined];
  if (inner === undefined) values[group] = coerce(one, given);
  else {
    const limits = values[group];
    values[group] = { ...(limits && typeof limits === "object" ? limits : {}), [inner]: coerce(one, given) };
  }
}

/** Text of a flag or variable as the setting's kind; what does not fit stays text and the schema says so. */
function coerce(one: Setting, given: unknown): unknown {
  if (typeof given !== "string") return given;
  if (one.kind === "number") return /^-?\d+(\.\d+)?$/.test(given.trim()) ? Number(given) : given;
  if (one.kind === "list") return given.split(",").map((entry) => entry.trim());
  if (one.kind !== "yes/no") return given;
  const word = given.trim().toLowerCase();
  if (["true", "yes", "on", "1"].includes(word)) return true;
  return ["false", "no", "off", "0"].includes(word) ? false : given;
}

function explain(issue: z.core.$ZodIssue, values: Values, whence: Map<string, string>): string[] {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => {
      const name = [...path, key].join(".");
      const near = nearest(name);
      return `${name} (${whence.get(name) ?? "settings"}): there is no such setting${near ? `; did you mean ${near}?` : ""}`;
    });
  // A list's issue points at an entry; the setting is what a person wrote.
  const name = settings.find((one) => one.name === path.join("."))?.name ?? path[0] ?? "";
  const one = settings.find((s) => s.name === name);
  const given = name.split(".").reduce<unknown>((value, key) => (value as Values | undefined)?.[key], values);
  return [
    `${name} (${whence.get(name) ?? "settings"}): ${/secret/i.test(name) ? "what is given" : shown(given)} is not ${one?.allowed ?? "a group of settings"}`,
  ];
}

/** What was given, without a password that a URL may have in it. */
const shown = (given: unknown) => JSON.stringify(given)?.replace(/\/\/[^/"]*@/g, "//[hidden]@");

/** Settings that are each right and together wrong. */
function contradictions(config: Config): string[] {
  const problems: string[] = [];
  if ((config.tlsCert === undefined) !== (config.tlsKey === undefined))
    problems.push(
      `${config.tlsCert ? "tlsKey" : "tlsCert"}: not set; tlsCert and tlsKey belong together, give both or none`,
    );
  if (config.domain.length > 0 && config.tlsCert !== undefined)
    problems.push("domain, tlsCert: both are set; give the certificate, or the names to get one for");
  if ((config.acmeEabKid === undefined) !== (config.acmeEabSecret === undefined))
    problems.push("acmeEabKid, acmeEabSecret: one is not set; give both or none");
  const ports = (["httpPort", "httpsPort", "rtmpPort", "rtmpsPort"] as const).filter(
    (name) => name !== "rtmpPort" || config.rtmp,
  );
  for (const [index, name] of ports.entries())
    for (const other of ports.slice(index + 1))
      if (config[name] !== 0 && config[name] === config[other])
        problems.push(`${name}, ${other}: both are ${config[name]}; give each its own port`);
  const onlyRelays = config.roles.every((role) => role === "relay");
  for (const role of ["control", "origin"] as const)
    if (
      !config.roles.includes(role) &&
      config[`${role}Address`] === undefined &&
      (role === "control" || !onlyRelays)
    )
      problems.push(
        `${role}Address: not set, but roles has no ${role} on this machine; say where it is, like http://10.0.0.2:7000`,
      );
  for (const role of ["control", "ingest", "origin", "relay"] as const)
    if (config[`${role}Address`]?.startsWith("http:") && config.internalSecret === undefined)
      problems.push(
        `internalSecret: not set, but ${role}Address is reachable over TCP; give all machines the same long random text`,
      );
  if (config.relayNode !== undefined)
    for (const [name, why] of [
      ["redisUrl", "relays find each other in a Redis that all of them reach"],
      ["internalSecret", "relays let each other in by it; give all machines the same long random text"],
    ] as const)
      if (config[name] === undefined) problems.push(`${name}: not set, but relayNode is; ${why}`);
  const { s3Bucket, s3AccessKeyId, s3SecretAccessKey, s3Endpoint } = config;
  const missing = [
    ...(s3AccessKeyId ? [] : ["s3AccessKeyId"]),
    ...(s3SecretAccessKey ? [] : ["s3SecretAccessKey"]),
  ];
  if (s3Bucket !== undefined && missing.length > 0)
    problems.push(`${missing.join(", ")}: not set, but s3Bucket is; give the key that may write to it`);
  if (s3Bucket === undefined && (s3Endpoint ?? s3AccessKeyId ?? s3SecretAccessKey) !== undefined)
    problems.push(
      "s3Bucket: not set, but other s3 settings are; name the bucket that recordings go to, or leave them all out",
    );
  return problems;
}

/** The known setting that a mistyped name most likely means: at most two edits away. */
function nearest(name: string): string | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z]/g, "");
  return settings.map((one) => one.name).find((known) => edits(plain(known), plain(name)) <= 2);
}

function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (letter === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

function freeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) if (inner && typeof inner === "object") freeze(inner);
  return Object.freeze(value);
}
