import http from "node:http";
import http2api from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import tls from "node:tls";
import type { Certificates } from "../../infra/certs.ts";
import { openGeo } from "../auth/geo.ts";
import { clientAddress, networksOf } from "../lib/address.ts";
import { Failure } from "../lib/errors.ts";
import { listenInternal, readJson, requestInternal, sendJson } from "../lib/http.ts";
import { type Running, Scope } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import { z } from "../lib/schema.ts";
import { followAudience } from "../live/audience.ts";
import type { Broadcast } from "../live/broadcast.ts";
import { Directory } from "../live/directory.ts";
import type { Events } from "../live/events.ts";
import type { Ladder } from "../live/ladder.ts";
import type { Pictures } from "../live/pictures.ts";
import type { Recordings } from "../live/recordings.ts";
import type { GateRecord, OriginInput, Snapshot } from "../live/snapshot.ts";
import type { LiveStatus } from "../live/status.ts";
import { protocols } from "../live/tally.ts";
import { Attendance } from "./attendance.ts";
import { Challenges, shownShape } from "./challenges.ts";
import { type ClientAddress, http1, http2, idleMs, maxHeaderBytes } from "./exchange.ts";
import { Guard } from "./guard.ts";
import { type Asked, History } from "./history.ts";
import { Ledger } from "./ledger.ts";
import type { Way } from "./lifecycle.ts";
import { Manifests } from "./manifests.ts";
import { MovieDoor } from "./movies.ts";
import { Pages } from "./pages.ts";
import { Playlists } from "./playlists.ts";
import { Relayed } from "./relayed.ts";
import { createHandler } from "./server.ts";
import { Stage } from "./stage.ts";
import { statusOf } from "./status.ts";
import { Tallies } from "./tallies.ts";
import { Thumbnails } from "./thumbnails.ts";
import { Uploads } from "./uploads.ts";
import { clockMs, Viewers } from "./viewers.ts";

export interface OriginOptions {
  readonly host: string;
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly certificates: Certificates;
  readonly snapshot: Snapshot<OriginInput>;
  /** Keys, revocations and policies. */
  readonly records: Snapshot<GateRecord>;
  /** Peers whose word about a client's address counts, as addresses and CIDRs. */
  readonly trustedProxies: readonly string[];
  /** Databases of where addresses lie; Debian's when empty. */
  readonly geoFiles: readonly string[];
  /** How long signed playback goes on without a word from control. */
  readonly staleMs: number;
  readonly events: Events;
  /** Names this process among its likes. */
  readonly node: string;
  /** Own internal address, and control's. */
  readonly address: string;
  readonly controlAddress: string;
  readonly recordings: Recordings;
  /** Who makes rungs; absent where nobody does. */
  readonly ladder?: Ladder | undefined;
  /** Who makes pictures of media; absent where nobody can. */
  readonly pictures?: Pictures | undefined;
  readonly secret: string | undefined;
  readonly dataDir: string;
  readonly dvrSeconds: number;
  readonly playerDir: string;
  /** How players reach Media over QUIC; undefined while they cannot. */
  readonly moq?: ((broadcast: Broadcast | undefined) => Way | undefined) | undefined;
  /** The internal address of the relay that has viewers of what is on air here. */
  readonly relay?: string | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Hears once a second what is on air. */
  readonly report: (live: readonly LiveStatus[]) => void;
}

export interface Origin extends Running {
  /** What is on air here. */
  readonly directory: Directory;
  readonly ports: { readonly http: number; readonly https: number };
}

const announcement = z.object({
  uid: z.string().regex(/^[0-9a-f]{32}$/),
  publish: z.string().min(1).max(64),
  feed: z.string().min(1).max(256),
  path: z.string().min(1).max(256),
  peer: z.string().max(128),
  at: z.number(),
});

const claim = z.object({ publish: z.string().min(1).max(64), job: z.string().min(1).max(160) });
const bid = claim.extend({ writer: z.string().min(1).max(64) });
const failure = claim.extend({ why: z.string().max(4_096) });
const degradation = failure.extend({
  rung: z.string().min(1).max(16),
  /** `slow` where it is not said. */
  cause: z.enum(["slow", "encoder"]).optional(),
});
const healthPath = /^\/internal\/health\/([0-9a-f]{32})$/;
const recordingPath = /^\/internal\/recordings\/([0-9a-f]{32})$/;
const clipPath = /^\/internal\/recordings\/([0-9a-f]{32})\/clip$/;
const clipping = z.object({
  from: z.number().min(0),
  to: z.number().min(0),
  uid: z.string().regex(/^[0-9a-f]{32}$/),
});
const rungPath = /^\/internal\/rungs\/([0-9a-f]{32})\/([a-z0-9]{1,16})$/;

/** The points that a query asks for; control has checked it. */
function askedOf(query: string | undefined): Asked {
  const asked = new URLSearchParams(query);
  const step = Number(asked.get("step"));
  return {
    step: step === 1 || step === 60 ? step : 10,
    since: Number(asked.get("since") ?? 0),
    until: Number(asked.get("until") ?? Number.POSITIVE_INFINITY),
  };
}

async function read<T>(request: http.IncomingMessage, shape: z.ZodType<T>): Promise<T> {
  const parsed = shape.safeParse(await readJson(request));
  if (!parsed.success)
    throw new Failure(
      "bad_request",
      `This request is not complete: ${parsed.error.issues.map((issue) => issue.path.join(".")).join(", ")}`,
    );
  return parsed.data;
}

/** A client that was told how long a connection stays may use it until then. */
const graceMs = 1_000;
const handshakeMs = 5_000;
/** Whoever sends a header or a body drop by drop goes after this; looked at every two seconds. */
const patience = {
  // `setTimeout` of the server sees to idle connections, without a timer that is set and cleared with each answer.
  keepAliveTimeout: 0,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: maxHeaderBytes,
  // What has no body needs no stream for one.
  optimizeEmptyRequests: true,
};

/** Live core, packaging and delivery of what is on air here, on the public ports. */
export async function startOrigin(options: OriginOptions): Promise<Origin> {
  const { log, snapshot, events, secret, metrics } = options;
  const scope = new Scope(3_000, (name) => log.warn({ name }, "did not close in time"));
  try {
    await Promise.all([snapshot.ready, options.records.ready]);
    const directory = new Directory();
    let status: readonly LiveStatus[] = [];
    const viewers = new Viewers();
    const ledger = await Ledger.open(join(options.dataDir, "origin"));
    const history = scope.own("history", await History.open(join(options.dataDir, "origin", "health"), log));
    const tidy = () =>
      history
        .keepOnly((uid) => snapshot.get(uid) !== undefined)
        .catch((error) => log.warn({ err: error }, "the health of live inputs that are gone stays"));
    void tidy();
    const end = snapshot.onChange((uids) => {
      if ([...uids].some((uid) => snapshot.get(uid) === undefined)) void tidy();
    });
    scope.own("tidying", { close: end });
    const stage = scope.own(
      "stage",
      new Stage({
        directory,
        ledger,
        recordings: options.recordings,
        dvrSeconds: options.dvrSeconds,
        address: options.address,
        ladder: options.ladder,
        snapshot,
        events,
        secret,
        log,
        refused: metrics.counter(
          "sluice_rung_streams_refused_total",
          "Streams of rungs whose writer another has replaced",
        ),
      }),
    );
    const requests = metrics.counter(
      "sluice_http_requests_total",
      "Requests on the public ports by what they asked for",
      ["to"],
    );
    const playlists = metrics.counter(
      "sluice_playlists_made_total",
      "Media playlists written, and compressed: once per change for all who wait",
      ["what"],
    );
    metrics.gauge("sluice_broadcasts", "Broadcasts in memory, ended ones included", {
      read: () => [...directory.all()].length,
    });
    metrics.gauge("sluice_media_bytes", "Media held for readers", {
      read: () =>
        [...directory.all()].reduce(
          (sum, one) =>
            sum +
            [...one.renditions.values()].reduce((bytes, rendition) => bytes + rendition.window.bytes, 0),
          0,
        ),
    });
    const watchedSeconds = metrics.counter("sluice_watch_seconds_total", "What was watched", ["protocol"]);
    metrics.gauge(
      "sluice_upload_ratio_least",
      "Media seconds per second of the slowest upload on air, 1 at most",
      {
        read: () => Math.min(1, ...status.map(({ uploadRatio }) => uploadRatio)),
      },
    );
    const watching = metrics.gauge("sluice_viewers", "Who watches now, broadcasts and recordings", {
      labels: ["protocol"],
    });
    const refusals = metrics.counter("sluice_viewers_refused_total", "Requests of viewers refused", [
      "reason",
    ]);
    const places = scope.own(
      "places",
      openGeo({ files: options.geoFiles, log, changed: () => guard.geoChanged() }),
    );
    const guard: Guard = scope.own(
      "guard",
      new Guard({
        inputs: snapshot,
        records: options.records,
        geo: places.geo,
        staleMs: options.staleMs,
        ownerOf: (video) => stage.ownerOf(video),
        refused: (reason) => refusals(1, { reason }),
      }),
    );
    const trusted = networksOf(options.trustedProxies);
    if (!trusted)
      throw new Failure("bad_request", "trustedProxies: must be addresses and networks, like 10.0.0.0/8");
    const client: ClientAddress = (peer, forwarded) => clientAddress(peer, forwarded, trusted);
    const failed = (error: unknown, path: string): void => {
      // A recording may be deleted while somebody reads it.
      const gone = error instanceof Failure && error.code === "not_found";
      if (gone) log.info({ path, why: error.message }, "answer broken off");
      else log.error({ err: error, path }, "request failed");
    };
    const momentOf = (video: string): number | undefined => {
      const record = options.records.get(`video:${video}`);
      return record?.kind === "video" ? record.thumbnail : undefined;
    };
    const challenges = new Challenges();
    const attendance = new Attendance({
      viewers,
      directory,
      recordings: options.recordings,
      isSecret: (input) => snapshot.get(input)?.hideLiveViewerCount === true,
      reported: metrics.counter("sluice_player_reports_total", "Reports of players (CMCD)"),
    });
    const relayed = new Relayed(viewers, directory);
    if (options.relay)
      scope.own(
        "audience",
        followAudience({
          ...{ relay: options.relay, secret, log },
          came: (one) => relayed.came(one),
          left: (one) => relayed.left(one),
        }),
      );
    scope.own(
      "tallies",
      await Tallies.open({
        take: () => viewers.take(),
        ...{ node: options.node, control: options.controlAddress, secret, log },
        file: join(options.dataDir, "origin", "watched.json"),
      }),
    );
    const uploads = new Uploads({
      recordings: options.recordings,
      captionsOf: (video) => {
        const record = options.records.get(`captions:${video}`);
        return record?.kind === "captions" ? record : undefined;
      },
      load: async (id) => {
        const path = `/internal/captions/${id}`;
        const { status, json } = await requestInternal(options.controlAddress, path, { secret });
        if (status !== 200 && status !== 404) throw new Failure("unavailable", `control answers ${status}`);
        return status === 200 ? z.object({ webvtt: z.string() }).parse(json).webvtt : undefined;
      },
      failed: (error, video) => log.warn({ err: error, video }, "uploaded captions cannot be had now"),
    });
    const handler = createHandler({
      dvr: options.dvrSeconds > 0,
      directory,
      attendance,
      guard,
      challenges,
      moq: options.moq,
      playlists: new Playlists((what) => playlists(1, { what })),
      manifests: new Manifests(),
      pages: new Pages(options.playerDir),
      control: options.controlAddress,
      secret,
      recordings: uploads,
      captioned: (video) => uploads.has(video),
      thumbnails: options.pictures && new Thumbnails({ pictures: options.pictures, momentOf }),
      movies: new MovieDoor({ recordings: options.recordings, failed }),
      failed,
      answered: (to) => requests(1, { to }),
    });

    const internal = await listenInternal(
      options.address,
      async (request, response) => {
        const [path, query] = (request.url ?? "").split("?");
        const completed = /^\/internal\/complete\/([0-9a-f]{32})$/.exec(path ?? "")?.[1];
        if (path === "/internal/status" && request.method === "GET") return sendJson(response, 200, status);
        const [, watched] = healthPath.exec(path ?? "") ?? [];
        if (watched && request.method === "GET")
          return sendJson(response, 200, await history.read(watched, askedOf(query)));
        const [, video, rung] = rungPath.exec(path ?? "") ?? [];
        const [, gone] = recordingPath.exec(path ?? "") ?? [];
        if (gone && request.method === "DELETE") {
          await stage.removeRecording(gone);
          return sendJson(response, 204);
        }
        const [, clipped] = clipPath.exec(path ?? "") ?? [];
        if (clipped && request.method === "POST") {
          const { from, to, uid } = await read(request, clipping);
          const made = await options.recordings.clip(clipped, { from, to, exact: false }, uid);
          return sendJson(response, 200, { recorded: made ?? null });
        }
        if (request.method !== "POST") throw new Failure("not_found", "There is nothing here");
        if (path === "/internal/challenges") {
          challenges.show(await read(request, shownShape));
          sendJson(response, 204);
        } else if (path === "/internal/publishes")
          sendJson(response, 200, await stage.accept(await read(request, announcement)));
        else if (completed) {
          await stage.complete(completed);
          sendJson(response, 204);
        } else if (video && rung === "grant")
          sendJson(response, 200, await stage.grant(video, await read(request, bid)));
        else if (video && rung === "failed") {
          const said = await read(request, failure);
          stage.giveUp(video, said, said.why);
          sendJson(response, 204);
        } else if (video && rung === "degraded") {
          stage.degrade(video, await read(request, degradation));
          sendJson(response, 204);
        } else if (video && rung) {
          await stage.takeRung(video, rung, Number(new URLSearchParams(query).get("epoch")), request);
          sendJson(response, 200, {});
        } else throw new Failure("not_found", "There is nothing here");
      },
      { secret },
    );
    scope.own("internal", internal);

    const plain = http.createServer(patience, http1(handler, client));
    // Also ends clients that stop reading: what they were promised would stay in memory.
    plain.setTimeout(idleMs + graceMs);
    const secure = secureServer({
      certificates: options.certificates,
      challenges,
      plain: http1(handler, client),
      streams: http2(handler, client),
    });
    scope.own("https", await listen(secure.server, options.host, options.httpsPort, secure.end));
    scope.own("http", await listen(plain, options.host, options.httpPort, () => plain.closeAllConnections()));

    const look = statusOf({ directory, viewers, snapshot, history });
    const reporter = setInterval(() => {
      const now = Date.now();
      relayed.tick();
      viewers.tick(clockMs());
      const fresh = viewers.takeWatched();
      for (const protocol of protocols) {
        watching(viewers.totals[protocol], { protocol });
        watchedSeconds(fresh[protocol] / 1000, { protocol });
      }
      status = look(now);
      history.tidy(now);
      options.report(status);
    }, 1_000);
    scope.own("reporter", { close: () => clearInterval(reporter) });

    const ports = {
      http: (plain.address() as AddressInfo).port,
      https: (secure.server.address() as AddressInfo).port,
    };
    log.info({ ...ports }, "origin opened");
    return { ports, directory, closed: scope.closed, close: () => scope.close() };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

/** HTTP/2 where the client offers it, else HTTP/1.1, on one TLS port whose certificate can change under open connections. */
function secureServer(options: {
  readonly certificates: Certificates;
  readonly challenges: Challenges;
  readonly plain: http.RequestListener;
  readonly streams: ReturnType<typeof http2>;
}): { server: Server; end: () => void } {
  const { certificates, challenges, plain, streams } = options;
  const first = http.createServer(patience, plain);
  first.setTimeout(idleMs + graceMs);
  // It is handed its connections and never listens, which is when Node begins to look at who is late.
  first.emit("listening");
  const second = http2api.createServer({
    settings: { maxConcurrentStreams: 128, maxHeaderListSize: maxHeaderBytes },
    maxSessionMemory: 16,
  });
  second.on("stream", streams);
  second.on("sessionError", () => {});
  second.on("session", (session) => session.setTimeout(idleMs, () => session.destroy()));
  const secure = tls.createServer({
    ...certificates.current(),
    minVersion: "TLSv1.2",
    ALPNProtocols: ["h2", "http/1.1"],
    handshakeTimeout: handshakeMs,
  });
  const sockets = new Set<Socket>();
  secure.on("secureConnection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    (socket.alpnProtocol === "h2" ? second : first).emit("connection", socket);
  });
  secure.on("tlsClientError", () => {});
  const take = (socket: Socket) => void secure.emit("connection", socket);
  const server = createServer((socket) => challenges.admit(socket, take));
  const end = certificates.onChange((pair) => secure.setSecureContext({ ...pair, minVersion: "TLSv1.2" }));
  return {
    server,
    end() {
      end();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function listen(
  server: Server,
  host: string,
  port: number,
  end: () => void,
): Promise<{ close: () => Promise<void> }> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return {
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      end();
      return closed;
    },
  };
}
