import { hostname } from "node:os";
import { join } from "node:path";
import { Failure } from "./lib/errors.ts";
import { type Running, Scope } from "./lib/lifecycle.ts";
import type { Log } from "./lib/log.ts";
import { createMetrics, serveHealth } from "./lib/metrics.ts";
import type { Ladder } from "./live/ladder.ts";
import type { Pictures } from "./live/pictures.ts";
import type { LiveStatus } from "./live/status.ts";
import { type Config, type RoleName, relayCost } from "./settings.ts";
import { findFfmpeg, productFolder } from "./supervisor/programs.ts";
import { publicUrls } from "./urls.ts";

/** What a role tells the supervisor once all its listeners are bound. */
export interface ReadyMessage {
  readonly type: "ready";
  /** The ports really taken, by their short names: http, https, rtmp, rtmps, moq. */
  readonly ports: Readonly<Record<string, number | undefined>>;
  /** From control: the default live input, the admin token, and the dashboard: while no password is set, as a link that opens it once. */
  readonly uid?: string;
  readonly streamKey?: string;
  readonly apiToken?: string;
  readonly dashboard?: string;
}

/** What the origin tells the terminal once a second. */
export interface StatusMessage {
  readonly type: "status";
  readonly live: readonly LiveStatus[];
}

/** Why a role could not start: one sentence for a person. */
export interface FailedMessage {
  readonly type: "failed";
  readonly message: string;
}

export type RoleMessage = ReadyMessage | StatusMessage | FailedMessage;

const stuckMs = 4_000;

/** Starts one role with everything it depends on; its messages go to `tell`. Rejects when it cannot start. */
export async function startRole(
  name: RoleName,
  config: Config,
  log: Log,
  tell: (message: RoleMessage) => void,
): Promise<Running> {
  const scope = new Scope(stuckMs, (stuck, error) => log.warn({ stuck, error }, "does not close in time"));
  try {
    const metrics = createMetrics(name);
    let ready = false;
    let unwell: () => readonly string[] = () => [];
    scope.own(
      "health",
      await serveHealth({
        address: config.metricsAddress,
        text: metrics.text,
        waiting: () => (ready ? unwell() : [name]),
      }),
    );
    const message = await roles[name]({
      config,
      log,
      metrics,
      tell,
      own: (owned, what) => scope.own(owned, what),
      watch: (reasons) => {
        unwell = reasons;
      },
    });
    ready = true;
    tell({ type: "ready", ...message });
    return scope;
  } catch (error) {
    await scope.close();
    throw error;
  }
}

interface Wiring {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly tell: (message: RoleMessage) => void;
  readonly own: Scope["own"];
  /** Why the role is not ready although it runs; asked for at each look at /readyz. */
  readonly watch: (reasons: () => readonly string[]) => void;
}

type Started = Omit<ReadyMessage, "type">;

/** A role's modules are imported when it starts, so that no process carries another's. */
const roles: Readonly<Record<RoleName, (wiring: Wiring) => Promise<Started>>> = {
  async control({ config, log, metrics, own, watch }) {
    const { startControl } = await import("./control/control.ts");
    const certificateFor = await certificatesForOthers(config, log, own);
    const control = own(
      "control",
      await startControl({
        dataDir: config.data,
        address: address(config, "control"),
        secret: config.internalSecret,
        publicUrls: publicUrls(config),
        databaseUrl: config.databaseUrl,
        allowPrivateTargets: config.allowPrivateTargets,
        originAddress: config.originAddress,
        certificateFor,
        pages: join(productFolder, "player/dist"),
        defaults: {
          timeoutSeconds: config.timeoutSeconds,
          ladder: config.ladder,
        },
        metrics,
        log,
      }),
    );
    watch(() => control.troubles());
    await keepDomains(config, log, own);
    return { ports: {}, ...control.ready };
  },

  async ingest(wiring) {
    const { config, log, metrics, own } = wiring;
    const { startIngest } = await import("./ingest/ingest.ts");
    const door = await openDoor<import("./live/snapshot.ts").IngestInput>("ingest", wiring);
    const ingest = own(
      "ingest",
      await startIngest({
        host: config.host,
        rtmpPort: config.rtmp ? config.rtmpPort : undefined,
        rtmpsPort: config.rtmpsPort,
        ...door,
        address: address(config, "ingest"),
        secret: config.internalSecret,
        originFor: () => address(config, "origin"),
        limits: config.limits,
        log,
        metrics,
      }),
    );
    return { ports: ingest.ports };
  },

  async origin(wiring) {
    const { config, log, metrics, tell, own } = wiring;
    const [{ startOrigin }, { Recorder }, { bucketOf }, { openSnapshot }] = await Promise.all([
      import("./origin/origin.ts"),
      import("./recording/recorder.ts"),
      import("./bucket.ts"),
      import("./live/snapshot.ts"),
    ]);
    const ladder = await ladderOf(config, log, own);
    const door = await openDoor<import("./live/snapshot.ts").OriginInput>("origin", wiring);
    // A link and a file of its own: whoever lets viewers in needs it, also where no broadcasts are.
    const records = own(
      "records",
      openSnapshot<import("./live/snapshot.ts").GateRecord>({
        ...fromControl(config, "origin", "json", log),
        role: "gate",
        file: join(config.data, "snapshot", "gate.json"),
      }),
    );
    const recorder = own(
      "recorder",
      await Recorder.open({
        folder: join(config.data, "recordings"),
        durability: config.durability,
        floorBytes: config.diskFloorGb * 1024 ** 3,
        store: bucketOf(config),
        log,
        ...recordingFacts(door.events),
      }),
    );
    metrics.gauge("sluice_recording_free_bytes", "Free bytes on the disk of recordings", {
      read: () => recorder.freeBytes,
    });
    metrics.gauge("sluice_recording_spooled_bytes", "Bytes of recordings that wait for the bucket", {
      read: () => recorder.spooledBytes,
    });
    let publisher: import("./moq/publisher.ts").Publisher | undefined;
    const origin = own(
      "origin",
      await startOrigin({
        host: config.host,
        httpPort: config.httpPort,
        httpsPort: config.httpsPort,
        ...door,
        records,
        trustedProxies: config.trustedProxies,
        geoFiles: config.geoip,
        staleMs: config.staleSeconds * 1000,
        node: hostname(),
        address: address(config, "origin"),
        secret: config.internalSecret,
        controlAddress: address(config, "control"),
        ladder,
        pictures: await picturesOf(),
        recordings: recorder,
        dataDir: config.data,
        dvrSeconds: config.dvrSeconds,
        playerDir: join(productFolder, "player/dist"),
        log,
        metrics,
        moq: (broadcast) => publisher?.wayTo(broadcast),
        relay: config.moq ? config.relayAddress : undefined,
        report: (live: readonly LiveStatus[]) => tell({ type: "status", live }),
      }),
    );
    if (config.moq && config.relayAddress) {
      const { Publisher } = await import("./moq/publisher.ts");
      publisher = own(
        "publisher",
        new Publisher({
          directory: origin.directory,
          relay: config.relayAddress,
          secret: config.internalSecret,
          log,
          metrics,
        }),
      );
    }
    return { ports: origin.ports };
  },

  async relay({ config, log, metrics, own }) {
    const [{ startRelay }, { openSnapshot }, { openCertificates }, { openGeo }] = await Promise.all([
      import("./moq/serve.ts"),
      import("./live/snapshot.ts"),
      import("../infra/certs.ts"),
      import("./auth/geo.ts"),
    ]);
    // Names of its own: the origin on the same machine follows these slices too.
    const follow = <Input extends { readonly uid: string }>(slice: "origin" | "gate") =>
      own(
        `${slice} slice`,
        openSnapshot<Input>({
          ...fromControl(config, "relay", "json", log),
          role: slice,
          node: `${config.relayNode ?? hostname()} (relay)`,
          file: join(config.data, "snapshot", `relay-${slice}.json`),
        }),
      );
    const inputs = follow<import("./live/snapshot.ts").OriginInput>("origin");
    const records = follow<import("./live/snapshot.ts").GateRecord>("gate");
    let relay: import("./moq/serve.ts").RelayRole | undefined;
    const places = own("places", openGeo({ files: config.geoip, log, changed: () => relay?.geoChanged() }));
    const certificates = own(
      "certificates",
      await openCertificates({ ...certificateFiles(config, log), byHash: true }),
    );
    await Promise.all([inputs.ready, records.ready]);
    relay = own(
      "relay",
      await startRelay({
        host: config.host,
        port: config.moqPort,
        nativePort: config.moqNativePort,
        next: config.relayNext,
        certificates,
        address: address(config, "relay"),
        secret: config.internalSecret,
        ingest: config.ingestAddress,
        network: config.redisUrl
          ? {
              redis: config.redisUrl,
              node: config.relayNode,
              costs: Object.fromEntries(config.relayCosts.flatMap((one) => [relayCost(one) ?? []])),
            }
          : undefined,
        gate: { inputs, records, geo: places.geo, staleMs: config.staleSeconds * 1000 },
        log,
        metrics,
      }),
    );
    return { ports: { moq: relay.port } };
  },

  async outputs({ config, log, metrics, own }) {
    const [{ startOutputs }, { openSnapshot }, { openEvents }] = await Promise.all([
      import("./outputs/outputs.ts"),
      import("./live/snapshot.ts"),
      import("./live/events.ts"),
    ]);
    const events = own("events", openEvents(fromControl(config, "outputs", "events", log)));
    const snapshot = own(
      "snapshot",
      openSnapshot<import("./live/output.ts").OutputTarget>(fromControl(config, "outputs", "json", log)),
    );
    own(
      "outputs",
      await startOutputs({
        ...{ snapshot, events, log, metrics },
        ingest: address(config, "ingest"),
        secret: config.internalSecret,
        relayed: await relayedOf(config, log),
        allowPrivateTargets: config.allowPrivateTargets,
      }),
    );
    return { ports: {} };
  },

  async worker({ config, log, metrics, own }) {
    const { startWorker } = await import("./transcode/worker.ts");
    const { redisUrl: redis, internalSecret: secret } = config;
    if (!redis) throw new Failure("bad_request", "redisUrl is not set; a worker takes its jobs from there");
    const slots = config.workerSlots || undefined;
    const { encoder } = config;
    own("worker", await startWorker({ redis, program: findFfmpeg(), encoder, slots, secret, log, metrics }));
    return { ports: {} };
  },
};

/** How broadcasts get to relays of others; undefined without one of our own. */
async function relayedOf({ moq, relayAddress: relay, internalSecret: secret }: Config, log: Log) {
  if (!moq || !relay) return undefined;
  const { outward } = await import("./moq/outward.ts");
  return outward({ relay, secret, log });
}

/** How machines without control get at the certificate; undefined where there is none to have. */
async function certificatesForOthers(config: Config, log: Log, own: Wiring["own"]) {
  if (config.domain.length === 0 || !config.controlAddress?.startsWith("http:")) return undefined;
  const [{ openCertificates }, { certificateFor }] = await Promise.all([
    import("../infra/certs.ts"),
    import("../infra/mirror.ts"),
  ]);
  const certificates = own("certificates", await openCertificates(certificateFiles(config, log)));
  return certificateFor(certificates, config.internalSecret);
}

/** Certificates for the domains come to where control is, whom every machine asks; the origin answers the authority's questions. */
async function keepDomains(config: Config, log: Log, own: Wiring["own"]): Promise<void> {
  const { domain: domains, acmeEabKid: kid, acmeEabSecret: key, internalSecret: secret } = config;
  if (domains.length === 0) return;
  const [{ keepCertificate }, { requestInternal }] = await Promise.all([
    import("../infra/acme/keeper.ts"),
    import("./lib/http.ts"),
  ]);
  const origin = address(config, "origin");
  const keeper = keepCertificate({
    ...{ dir: certificateFolder(config), domains, directory: config.acmeDirectory, email: config.acmeEmail },
    ...{ challenge: config.acmeChallenge, httpPort: config.httpPort, httpsPort: config.httpsPort, log },
    binding: kid !== undefined && key !== undefined ? { kid, key } : undefined,
    show: async (shown) => {
      const { status } = await requestInternal(origin, "/internal/challenges", { json: shown, secret });
      if (status !== 204) throw new Failure("unavailable", `the origin answers ${status}`);
    },
  });
  own("certificates", keeper);
}

/** What control is told of recordings. */
function recordingFacts(
  events: import("./live/events.ts").Events,
): Partial<import("./recording/recorder.ts").RecorderOptions> {
  const advice =
    "The recording is paused: see to the disk of the data folder; viewers of the live broadcast see nothing of it.";
  return {
    failed: ({ input: uid, video, temporary }, why) => {
      if (!temporary) events.send({ type: "recording.paused", uid, video, why, advice });
    },
    resumed: ({ input: uid, video, temporary }) => {
      if (!temporary) events.send({ type: "recording.resumed", uid, video, advice });
    },
    settled: ({ input: uid, video }, { seconds, bytes }) =>
      events.send({ type: "recording.settled", uid, video, seconds, bytes }),
    mended: ({ uid: video, input: uid, seconds, bytes, gaps }) => {
      events.send({ type: "recording.mended", uid, video, seconds, bytes });
      for (const { rendition, from, to, at: atSeconds, seconds } of gaps)
        events.send({ type: "recording.gap", uid, video, rendition, from, to, atSeconds, seconds });
    },
    gap: ({ input: uid, video }, { rendition, from, to, at, seconds }) =>
      events.send({ type: "recording.gap", uid, video, rendition, from, to, atSeconds: at, seconds }),
  };
}

/** What a role needs that faces the public: certificates, a way to tell control, and control's last word. */
async function openDoor<Input extends { readonly uid: string }>(
  role: "ingest" | "origin",
  { config, log, own }: Wiring,
) {
  const [{ openCertificates }, { openSnapshot }, { openEvents }] = await Promise.all([
    import("../infra/certs.ts"),
    import("./live/snapshot.ts"),
    import("./live/events.ts"),
  ]);
  return {
    certificates: own("certificates", await openCertificates(certificateFiles(config, log))),
    events: own("events", openEvents(fromControl(config, role, "events", log))),
    snapshot: own("snapshot", openSnapshot<Input>(fromControl(config, role, "json", log))),
  };
}

/** The queue as the origin sees it; undefined where nobody is to encode. */
async function ladderOf(config: Config, log: Log, own: Wiring["own"]): Promise<Ladder | undefined> {
  const { redisUrl: redis, ladder } = config;
  if (!redis || ladder === "none") return undefined;
  const [{ openQueue }, { planRungs }] = await Promise.all([
    import("./transcode/queue.ts"),
    import("./transcode/ladder.ts"),
  ]);
  const queue = own("queue", openQueue({ redis, log }));
  return {
    plan: (source, choice) => planRungs(source, choice ?? ladder),
    add: (job) => queue.add(job),
  };
}

/** Undefined where there is no ffmpeg. */
async function picturesOf(): Promise<Pictures | undefined> {
  try {
    const program = findFfmpeg();
    return program ? (await import("./transcode/pictures.ts")).openPictures(program) : undefined;
  } catch {
    return undefined;
  }
}

function address(config: Config, role: Exclude<RoleName, "worker" | "outputs">): string {
  const given = config[`${role}Address`];
  if (given) return given;
  throw new Failure(
    "bad_request",
    `${role}Address is not set; say where ${role} answers, like http://10.0.0.2:7000`,
  );
}

const certificateFolder = (config: Config) => join(config.data, "certs");

function certificateFiles(config: Config, log: Log) {
  return {
    ...{ dir: certificateFolder(config), cert: config.tlsCert, key: config.tlsKey },
    domains: config.domain,
    log,
  };
}

function fromControl(config: Config, role: RoleName, extension: string, log: Log) {
  return {
    role,
    node: hostname(),
    control: address(config, "control"),
    file: join(config.data, "snapshot", `${role}.${extension}`),
    secret: config.internalSecret,
    log,
  };
}
