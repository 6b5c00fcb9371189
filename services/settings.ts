import { isIP } from "node:net";
import { z } from "./lib/schema.ts";
import { encoderChoices } from "./live/encoder.ts";
import { ladderNames } from "./live/ladder.ts";

/** What one setting says about itself: the help text, the sample file and every error message come from this. */
interface About {
  readonly about: string;
  readonly kind: "text" | "number" | "yes/no" | "list";
  readonly allowed: string;
}

const setting = <T extends z.ZodType>(schema: T, about: About): T => schema.meta({ ...about });

const port = (fallback: number, about: string) =>
  setting(z.number().int().min(0).max(65535).default(fallback), {
    about,
    kind: "number",
    allowed: "a whole number from 0 to 65535 (0 takes a free port)",
  });
const whole = (min: number, max: number, fallback: number, about: string) =>
  setting(z.number().int().min(min).max(max).default(fallback), {
    about,
    kind: "number",
    allowed: `a whole number from ${min} to ${max}`,
  });
const seconds = (min: number, max: number, fallback: number, about: string) =>
  setting(z.number().min(min).max(max).default(fallback), {
    about,
    kind: "number",
    allowed: `a number of seconds from ${min} to ${max}`,
  });
const yesNo = (fallback: boolean, about: string) =>
  setting(z.boolean().default(fallback), { about, kind: "yes/no", allowed: "true or false" });
const pem = (about: string) =>
  setting(z.string().min(1).optional(), { about, kind: "text", allowed: "a path to a PEM file" });

const text = <T extends z.ZodType>(schema: T, about: string, allowed: string) =>
  setting(schema, { about, kind: "text", allowed });

const list = (entry: z.ZodType<string>, about: string, allowed: string) =>
  setting(z.array(entry).default([]), { about, kind: "list", allowed });

const internal = (about: string) =>
  setting(
    z
      .string()
      .regex(/^(unix:\/.+|http:\/\/[^/]+:\d+)$/)
      .optional(),
    {
      about,
      kind: "text",
      allowed: "unix:/path/x.sock or http://host:port",
    },
  );

const isHost = (text: string) => isIP(text) > 0 || /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(text);
const isWeb = (text: string) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
const isDomain = (text: string) =>
  text.length <= 253 && /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/.test(text);
/** In the clear only where nobody is between. */
const isDirectory = (text: string) => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return (
    url?.protocol === "https:" ||
    (url?.protocol === "http:" && /^(127\.|localhost$|\[::1\]$)/.test(url.hostname))
  );
};
const isHostPort = (text: string) => {
  const url = URL.canParse(`http://${text}`) ? new URL(`http://${text}`) : undefined;
  return url !== undefined && /:\d+$/.test(text) && url.pathname === "/" && url.username === "";
};

/** A hop's price as it is written: the other relay and a whole number; undefined when it is not that. */
export function relayCost(text: string): readonly [node: string, cost: number] | undefined {
  const [, node, price] = /^(.+)=(\d{1,7})$/.exec(text) ?? [];
  const cost = Number(price);
  return node !== undefined && isHostPort(node) && cost >= 1 && cost <= 1_000_000 ? [node, cost] : undefined;
}

/** What Sluice consists of, each a process of its own. */
export const roleNames = ["control", "ingest", "origin", "relay", "outputs", "worker"] as const;

/** The name of a process that Sluice consists of. */
export type RoleName = (typeof roleNames)[number];

/** Every setting there is, with what it may be and what it is when nobody says. */
export const schema = z.strictObject({
  host: setting(z.string().refine(isHost).default("0.0.0.0"), {
    about: "Address that the public ports listen on",
    kind: "text",
    allowed: "an IP address or a host name",
  }),
  httpPort: port(8080, "Port for viewers, the API and its docs"),
  httpsPort: port(8443, "The same over TLS, with HTTP/2"),
  moq: yesNo(true, "Offer what is on air as Media over QUIC too, over UDP and WebTransport"),
  moqPort: port(
    8443,
    "UDP port for Media over QUIC; it is opened on all addresses unless host is a loopback one",
  ),
  moqNativePort: setting(z.number().int().min(0).max(65535).optional(), {
    about: "UDP port for Media over QUIC without WebTransport (moqt://); none when not set",
    kind: "number",
    allowed: "a whole number from 0 to 65535 (0 takes a free port)",
  }),
  rtmpPort: port(1935, "Port for encoders, plain RTMP"),
  rtmpsPort: port(1936, "Port for encoders, RTMP over TLS"),
  rtmp: yesNo(true, "Listen for plain RTMP too; false leaves RTMPS only"),
  data: setting(z.string().min(1).default("./data"), {
    about: "Folder for everything that Sluice keeps",
    kind: "text",
    allowed: "a path",
  }),
  tlsCert: pem("Certificate chain in PEM; self-signed when not set"),
  tlsKey: pem("Its private key in PEM"),
  domain: list(
    z.string().refine(isDomain),
    "DNS names of this machine to get a certificate for; the CA comes to ports 80 and 443 of each to check",
    "names like live.example.com, without wildcards",
  ),
  acmeDirectory: text(
    z.string().refine(isDirectory).default("https://acme-v02.api.letsencrypt.org/directory"),
    "Where the CA for them answers; its terms of service are agreed to",
    "a URL that begins with https://",
  ),
  acmeEmail: text(
    z
      .string()
      .regex(/^[^\s@,?]+@[^\s@,?]+$/)
      .optional(),
    "Where that CA may write to",
    "an e-mail address",
  ),
  acmeChallenge: text(
    z.enum(["auto", "http-01", "tls-alpn-01"]).default("auto"),
    "How it checks: over port 80, over port 443, or the one and then the other",
    "auto, http-01 or tls-alpn-01",
  ),
  acmeEabKid: text(
    z
      .string()
      .regex(/^[\x21-\x7e]{1,512}$/)
      .optional(),
    "Key identifier of an account with that CA, where it wants one (external account binding)",
    "text without spaces",
  ),
  acmeEabSecret: text(
    z
      .string()
      .regex(/^[\w-]{1,512}={0,2}$/)
      .optional(),
    "The HMAC key to it; better in a file or the environment than in a command line",
    "text in base64url",
  ),
  publicUrl: setting(z.string().refine(isWeb).optional(), {
    about: "What viewers type, when a proxy or a DNS name stands before Sluice",
    kind: "text",
    allowed: "a URL that begins with http:// or https://",
  }),
  databaseUrl: setting(
    z
      .string()
      .regex(/^postgres(ql)?:\/\/.+/)
      .optional(),
    {
      about: "A PostgreSQL to keep everything in that is not media; SQLite in the data folder when not set",
      kind: "text",
      allowed: "postgres://user:password@host:port/database",
    },
  ),
  redisUrl: setting(
    z
      .string()
      .regex(/^(rediss?:\/\/|unix:\/).+/)
      .optional(),
    {
      about: "A Redis of your own; a private one is started when not set",
      kind: "text",
      allowed: "redis://host:port, rediss://host:port or unix:/path/redis.sock",
    },
  ),
  logLevel: setting(z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"), {
    about: "How much is logged",
    kind: "text",
    allowed: "trace, debug, info, warn, error or silent",
  }),
  roles: setting(
    z
      .array(z.enum(roleNames))
      .min(1)
      .default([...roleNames]),
    { about: "What runs on this machine", kind: "list", allowed: `any of ${roleNames.join(", ")}` },
  ),
  internalSecret: setting(z.string().min(16).optional(), {
    about: "Shared by the roles when they talk over TCP",
    kind: "text",
    allowed: "at least 16 characters",
  }),
  controlAddress: internal("Where the other roles reach control"),
  ingestAddress: internal("Where the other roles reach ingest"),
  originAddress: internal("Where the other roles reach the origin"),
  relayAddress: internal(
    "Where the origin reaches the relay that passes its broadcasts on as Media over QUIC",
  ),
  relayNode: text(
    z.string().refine(isHostPort).optional(),
    "Where other relays reach the one here over QUIC; relays that share a redisUrl and have this set pass each other's broadcasts on",
    "host:port",
  ),
  relayNext: text(
    z
      .string()
      .regex(/^https:\/\/[^/?#\s]+$/)
      .optional(),
    "Where viewers go on when the relay here stops: another one, by the name that their pages have; none when not set",
    "https://host:port",
  ),
  relayCosts: list(
    z.string().refine((text) => relayCost(text) !== undefined),
    "What it costs to take a broadcast from another relay, by its relayNode; 100 where not said, and the cheapest way is taken",
    "like b.example:8443=10, with costs from 1 to 1000000",
  ),
  metricsAddress: setting(z.string().refine(isHostPort).default("127.0.0.1:0"), {
    about: "Where /livez, /readyz and /metrics answer; keep it off the internet",
    kind: "text",
    allowed: "host:port (port 0 takes a free one)",
  }),
  limits: z
    .strictObject({
      connections: whole(1, 100_000, 200, "Encoder connections in total"),
      connectionsPerAddress: whole(1, 100_000, 20, "Encoder connections from one address"),
    })
    .prefault({}),
  trustedProxies: list(
    z.string().refine((text) => isIP(text.split("/")[0]!) > 0 && /^[^/]+(\/\d{1,3})?$/.test(text)),
    "Proxies whose X-Forwarded-For names the viewer; from anybody else it counts for nothing",
    "addresses and networks, like 10.0.0.0/8",
  ),
  geoip: list(
    z.string().min(1),
    "Files that say where addresses lie, MMDB or Tor's tables, for rules about countries and networks (ASN); Debian's tor-geoipdb when empty",
    "paths",
  ),
  allowPrivateTargets: list(
    z.string().refine((text) => isIP(text.split("/")[0]!) > 0 && /^[^/]+(\/\d{1,3})?$/.test(text)),
    "Networks off the internet that webhooks and outputs may reach all the same",
    "addresses and networks, like 192.168.1.0/24",
  ),
  staleSeconds: whole(
    60,
    604_800,
    3_600,
    "How long viewers with tokens are let in while control cannot be reached to tell of revocations",
  ),
  timeoutSeconds: seconds(
    0,
    3600,
    10,
    "How long a broadcast waits for an encoder that dropped; each live input may differ",
  ),
  dvrSeconds: whole(
    0,
    86_400,
    7_200,
    "How far back viewers may seek in a broadcast that is on air: of one that is recorded to its beginning, of others this far; 0 for neither",
  ),
  ladder: setting(z.enum(ladderNames).default("default"), {
    about:
      "Renditions that are encoded below the source: 720p to 360p, 1080p to 240p, 480p alone, or none; each live input may differ",
    kind: "text",
    allowed: "default, full, light or none",
  }),
  encoder: setting(z.enum(encoderChoices).default("software"), {
    about:
      "What encodes H.264 on this machine: the processor, hardware that must be there, or the best that is",
    kind: "text",
    allowed: "auto, software, nvenc, vaapi, qsv or videotoolbox",
  }),
  workerSlots: whole(
    0,
    256,
    0,
    "Ladders that the worker here encodes at a time; 0 goes by what the machine is measured to have left",
  ),
  durability: setting(z.enum(["segment", "part", "none"]).default("segment"), {
    about: "How often a recording is made to survive a power cut; it survives a crash in any case",
    kind: "text",
    allowed: "segment, part or none (when the system likes)",
  }),
  diskFloorGb: setting(z.number().min(0).max(1_000_000).default(1), {
    about: "Free disk below which no recording begins; live goes on from memory",
    kind: "number",
    allowed: "a number of gigabytes from 0 to 1000000",
  }),
  s3Bucket: text(
    z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)
      .optional(),
    "Bucket of an S3-compatible storage that recordings move to; they stay in the data folder when not set",
    "the name of a bucket",
  ),
  s3Endpoint: text(
    z.string().refine(isWeb).optional(),
    "Where that storage answers, without the bucket; Amazon's own in s3Region when not set",
    "a URL that begins with http:// or https://",
  ),
  s3Region: text(
    z
      .string()
      .regex(/^[a-z0-9-]{1,32}$/)
      .default("us-east-1"),
    "Region that its requests are signed for",
    "a name like eu-central-1",
  ),
  s3Prefix: text(
    z
      .string()
      .regex(/^([\w.-]+\/)*$/)
      .default(""),
    "What the key of every object begins with",
    "nothing, or folders that end in a slash, like sluice/",
  ),
  s3PathStyle: yesNo(true, "Name the bucket in the path; false puts it before the host's name"),
  s3AccessKeyId: text(
    z
      .string()
      .regex(/^\S{1,128}$/)
      .optional(),
    "Access key to the bucket",
    "text without spaces",
  ),
  s3SecretAccessKey: text(
    z
      .string()
      .regex(/^\S{1,256}$/)
      .optional(),
    "Its secret; better in a file or the environment than in a command line",
    "text without spaces",
  ),
  demo: yesNo(false, "Publish a moving test pattern with tone"),
  readyFile: setting(z.string().min(1).optional(), {
    about: "Write addresses, key and token as JSON to this file once everything listens",
    kind: "text",
    allowed: "a path",
  }),
});

/** Every setting with its effective value. Frozen; paths are absolute. */
export type Config = z.infer<typeof schema>;

/** One setting as the command line, the environment and the sample file show it. */
export interface Setting extends About {
  /** As in the file: `limits.connections`. */
  readonly name: string;
  readonly flag: string;
  readonly env: string;
  readonly fallback: unknown;
}

/** All settings in the order of the schema. */
export const settings: readonly Setting[] = Object.entries(schema.shape).flatMap(([name, field]) =>
  name === "limits"
    ? Object.entries(schema.shape.limits.unwrap().shape).map(([inner, f]) => describe(`limits.${inner}`, f))
    : [describe(name, field)],
);

function describe(name: string, field: z.ZodType): Setting {
  const kebab = name.replaceAll(".", "-").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return {
    ...(field.meta() as unknown as About),
    name,
    flag: `--${kebab}`,
    env: `SLUICE_${kebab.replaceAll("-", "_").toUpperCase()}`,
    fallback: field instanceof z.ZodDefault ? field.def.defaultValue : undefined,
  };
}
