import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ConfigError, inheritConfig, loadConfig, type Sources, sampleFile } from "./config.ts";
import { settings } from "./settings.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function file(text: string): string {
  const path = join(folder, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}

const load = (sources: Partial<Sources>) => loadConfig({ env: {}, flags: {}, file: file(""), ...sources });

function problems(sources: Partial<Sources>): readonly string[] {
  try {
    load(sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test("nothing set is a working configuration", () => {
  expect(load({})).toMatchObject({
    host: "0.0.0.0",
    httpPort: 8080,
    rtmp: true,
    roles: ["control", "ingest", "origin", "relay", "outputs", "worker"],
  });
});

test("the command line beats the environment, and that the file", () => {
  const given = file("httpPort: 1\nhttpsPort: 2\nrtmpPort: 3\n");
  const env = { SLUICE_HTTPS_PORT: "20", SLUICE_RTMP_PORT: "30" };
  expect(load({ file: given, env, flags: { rtmpPort: "300" } })).toMatchObject({
    httpPort: 1,
    httpsPort: 20,
    rtmpPort: 300,
  });
});

test("groups are merged setting by setting", () => {
  const given = file("limits:\n  connections: 7\n");
  expect(load({ file: given, env: { SLUICE_LIMITS_CONNECTIONS_PER_ADDRESS: "3" } }).limits).toEqual({
    connections: 7,
    connectionsPerAddress: 3,
  });
});

test.for([
  { text: "yes", value: true },
  { text: "ON", value: true },
  { text: "1", value: true },
  { text: "false", value: false },
  { text: "no", value: false },
  { text: "0", value: false },
])("SLUICE_RTMP=$text is $value", ({ text, value }) => {
  expect(load({ env: { SLUICE_RTMP: text } }).rtmp).toBe(value);
});

test.for<{ name: string; env?: Record<string, string>; yaml?: string; says: string }>([
  {
    name: "a port beyond the range",
    env: { SLUICE_HTTP_PORT: "70000" },
    says: "httpPort (SLUICE_HTTP_PORT): 70000 is not a whole number from 0 to 65535 (0 takes a free port)",
  },
  {
    name: "text for a number",
    env: { SLUICE_TIMEOUT_SECONDS: "10s" },
    says: 'timeoutSeconds (SLUICE_TIMEOUT_SECONDS): "10s" is not a number of seconds from 0 to 3600',
  },
  {
    name: "an unknown role in a list",
    env: { SLUICE_ROLES: "control,orgin" },
    says: 'roles (SLUICE_ROLES): ["control","orgin"] is not any of control, ingest, origin, relay, outputs, worker',
  },
  {
    name: "a URL without a scheme",
    env: { SLUICE_PUBLIC_URL: "live.example.com" },
    says: 'publicUrl (SLUICE_PUBLIC_URL): "live.example.com" is not a URL that begins with http:// or https://',
  },
  {
    name: "an address without a port",
    env: { SLUICE_METRICS_ADDRESS: "127.0.0.1" },
    says: 'metricsAddress (SLUICE_METRICS_ADDRESS): "127.0.0.1" is not host:port (port 0 takes a free one)',
  },
  {
    name: "a URL with a password in it",
    env: { SLUICE_DATABASE_URL: "mysql://me:secret@db/sluice" },
    says: 'databaseUrl (SLUICE_DATABASE_URL): "mysql://[hidden]@db/sluice" is not postgres://user:password@host:port/database',
  },
  {
    name: "half a certificate",
    env: { SLUICE_TLS_CERT: "a.pem" },
    says: "tlsKey: not set; tlsCert and tlsKey belong together, give both or none",
  },
  {
    name: "two listeners on one port",
    env: { SLUICE_HTTP_PORT: "8443" },
    says: "httpPort, httpsPort: both are 8443; give each its own port",
  },
  {
    name: "a role that is elsewhere, but where",
    env: { SLUICE_ROLES: "control,origin,ingest", SLUICE_CONTROL_ADDRESS: "http://10.0.0.2:7000" },
    says: "internalSecret: not set, but controlAddress is reachable over TCP; give all machines the same long random text",
  },
])("$name: $says", ({ env = {}, says }) => {
  expect(problems({ env })).toEqual([says]);
});

test("a file's unknown setting is named with what was probably meant", () => {
  const given = file("limits:\n  conections: 5\nhttp_port: 80\nbogus: 1\n");
  expect(problems({ file: given }).toSorted()).toEqual([
    `bogus (${given}): there is no such setting`,
    `http_port (${given}): there is no such setting; did you mean httpPort?`,
    `limits.conections (${given}): there is no such setting; did you mean limits.connections?`,
  ]);
});

test.for([
  { name: "broken YAML", text: "httpPort: [" },
  { name: "a list", text: "- 1\n" },
])("a file that holds $name is said to be unreadable", ({ text }) => {
  const given = file(text);
  expect(problems({ file: given })).toEqual([expect.stringMatching(`^${given}: cannot be read: `)]);
});

test("the settings are frozen and survive the way to another process", () => {
  const config = load({ env: { SLUICE_DATA: "somewhere" } });
  expect(() => Object.assign(config.limits, { connections: 1 })).toThrow(TypeError);
  expect(config.data).toBe(join(process.cwd(), "somewhere"));
  expect(inheritConfig(JSON.stringify(config))).toEqual(JSON.parse(JSON.stringify(config)));
});

test("every setting says what it is, has a flag and a variable of its own", () => {
  expect(new Set(settings.map((one) => one.flag)).size).toBe(settings.length);
  for (const { name, about, allowed, kind } of settings)
    expect({ name, about, allowed, kind }).not.toContain(undefined);
});

test("infra/config.sample.yaml is what the schema says, and is valid with every line in force", () => {
  const sample = readFileSync(new URL("../infra/config.sample.yaml", import.meta.url), "utf8");
  expect(sample).toBe(sampleFile());
  const inForce = sample
    .replace(/^# (?=\s*\w+:( \S|$))/gm, "")
    .replace(/^\w+:$\n/gm, (line) => (line === "limits:\n" ? line : ""));
  expect(load({ file: file(inForce) })).toEqual(load({}));
});

test.for([
  {
    name: "a bucket without its key",
    env: { SLUICE_S3_BUCKET: "media" },
    says: "s3AccessKeyId, s3SecretAccessKey: not set",
  },
  { name: "a key without a bucket", env: { SLUICE_S3_ACCESS_KEY_ID: "A" }, says: "s3Bucket: not set" },
  {
    name: "a secret that is none",
    env: { SLUICE_S3_SECRET_ACCESS_KEY: "two words" },
    says: "s3SecretAccessKey (SLUICE_S3_SECRET_ACCESS_KEY): what is given is not text without spaces",
  },
  { name: "an open prefix", env: { SLUICE_S3_PREFIX: "sluice" }, says: "folders that end in a slash" },
])("$name is said", ({ env, says }) => {
  expect(problems({ env }).join("\n")).toContain(says);
  expect(problems({ env }).join("\n")).not.toContain("two words");
});

test.for([
  { name: "a wildcard", env: { SLUICE_DOMAIN: "*.example.com" }, says: "names like live.example.com" },
  { name: "an address", env: { SLUICE_DOMAIN: "203.0.113.7" }, says: "names like live.example.com" },
  {
    name: "names and a certificate",
    env: { SLUICE_DOMAIN: "live.example.com", SLUICE_TLS_CERT: "a", SLUICE_TLS_KEY: "b" },
    says: "domain, tlsCert: both are set",
  },
  {
    name: "a CA over plain HTTP",
    env: { SLUICE_ACME_DIRECTORY: "http://ca.example.com/directory" },
    says: "a URL that begins with https://",
  },
  { name: "half an account", env: { SLUICE_ACME_EAB_KID: "kid" }, says: "acmeEabKid, acmeEabSecret: one" },
])("$name is said where certificates are to be had", ({ env, says }) => {
  expect(problems({ env }).join("\n")).toContain(says);
});

test("several names are a list in each of the three places", () => {
  const domain = ["live.example.com", "ingest.example.com"];
  expect(load({ env: { SLUICE_DOMAIN: domain.join(",") } }).domain).toEqual(domain);
  expect(load({ flags: { domain: domain.join(",") } }).domain).toEqual(domain);
  expect(load({ file: file(`domain: [${domain}]\n`) }).domain).toEqual(domain);
});
