import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import type { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { createDoorman } from "../lib/doorman.ts";
import { Failure } from "../lib/errors.ts";
import { type InternalServer, listenInternal, readJson, sendJson } from "../lib/http.ts";
import { type Running, Scope } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import { z } from "../lib/schema.ts";
import type { Events } from "../live/events.ts";
import { publishHeartbeatMs, publishLine } from "../live/publishes.ts";
import type { IngestInput, Snapshot } from "../live/snapshot.ts";
import { badMediaCodes } from "../packager/bad-media.ts";
import { createGuesses } from "./admission.ts";
import { announce } from "./announce.ts";
import { createFeed, type Feed, type FeedLimits, feedLimits } from "./feed.ts";
import { RelayedSession } from "./relayed.ts";
import { type Certificates, listenRtmp, type RtmpListeners } from "./rtmp.ts";
import {
  type EndReason,
  openSession,
  type Refusal,
  type Session,
  type SessionLimits,
  type Sink,
  sessionLimits,
} from "./session.ts";
import { takeover } from "./takeover.ts";

export interface IngestOptions {
  readonly host: string;
  /** Undefined is off; 0 takes a free port. */
  readonly rtmpPort: number | undefined;
  readonly rtmpsPort: number | undefined;
  readonly certificates: Certificates;
  readonly snapshot: Pick<Snapshot<IngestInput>, "ready" | "get" | "values" | "onChange">;
  readonly events: Pick<Events, "send">;
  /** Where the feeds are served, for origins and workers. */
  readonly address: string;
  readonly secret?: string | undefined;
  /** The internal address of the origin of a live input. */
  readonly originFor: (uid: string) => string;
  readonly limits: {
    readonly connections: number;
    readonly connectionsPerAddress: number;
    readonly session?: SessionLimits;
    readonly feed?: FeedLimits;
  };
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface Ingest extends Running {
  readonly ports: RtmpListeners["ports"];
  /** The internal address with its real port. */
  readonly address: string;
}

/** Takes publishes over RTMP and RTMPS and serves each as a feed. Resolves once everything listens, which is after the first snapshot. */
export async function startIngest(options: IngestOptions): Promise<Ingest> {
  const { snapshot, log, limits } = options;
  await snapshot.ready;
  const scope = new Scope(5_000, (name, error) => log.error({ name, err: error }, "did not close"));
  try {
    const desk = new Desk(options);
    const internal = scope.own(
      "feeds",
      await listenInternal(options.address, (request, response) => desk.route(request, response), {
        secret: options.secret,
        upgrade: (request, socket) => desk.relayed(request, socket),
      }),
    );
    desk.serveAt(internal);
    scope.own("publishes", desk);
    const doorman = createDoorman({
      connections: limits.connections,
      perAddress: limits.connectionsPerAddress,
    });
    options.metrics.gauge("sluice_ingest_connections", "RTMP connections open", {
      read: () => doorman.count,
    });
    const { host, rtmpPort, rtmpsPort, certificates } = options;
    const listeners = scope.own(
      "rtmp",
      await listenRtmp({
        host,
        rtmpPort,
        rtmpsPort,
        certificates,
        doorman,
        onSocket: (socket) => desk.open(socket),
        onFull: (peer) => desk.turnedAway(peer),
      }),
    );
    return {
      ports: listeners.ports,
      address: internal.address,
      closed: scope.closed,
      close: () => scope.close(),
    };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

/** One accepted publish. */
interface Publish {
  readonly id: string;
  readonly uid: string;
  readonly keyHash: string;
  readonly session: Session;
}

const badKey: Refusal = {
  code: "Denied",
  message: "Stream key not accepted. Copy the key of a live input from the dashboard.",
  why: "wrong key",
};
const badApp: Refusal = {
  code: "Denied",
  message: "The server URL must end in /live. Copy it from the dashboard.",
  why: "wrong application",
};
const disabledInput: Refusal = {
  code: "Denied",
  message: "This live input is disabled. Enable it in the dashboard.",
  why: "disabled",
};
const gone: Refusal = { code: "Denied", message: "", why: "gone" };
const changedKey = "The stream key was changed. Copy the new one from the dashboard.";
const replacedBy = "Another encoder began to publish with this stream key.";

/** A post that is answered when the publish has just ended still leads to its last words. */
const afterglowMs = 5_000;

const maxUnreadBytes = 1 << 20;
const feedOf = (publish: string) => `/internal/feeds/${publish}`;
const feedPath = /^\/internal\/feeds\/([\w-]{1,64})$/;
/** Why the origin ends a publish: a sentence for the encoder, and what of its media was wrong. */
const ending = z.object({
  message: z.string().max(2_000).catch("The server ended the publish."),
  code: z.enum(badMediaCodes).optional().catch(undefined),
});
const publishPath = /^\/internal\/publishes\/([\w-]{1,64})$/;

/** Who is on air, and who may be. */
class Desk {
  readonly #options: IngestOptions;
  readonly #guesses = createGuesses();
  readonly #sessions = new Set<Session>();
  readonly #publishes = new Map<string, Publish>();
  /** By publish; those of ended ones stay a moment for an origin that is on its way. */
  readonly #feeds = new Map<string, Feed>();
  /** By the uid of the live input. */
  readonly #onAir = new Map<string, Publish>();
  readonly #taken = new Map<string, readonly number[]>();
  readonly #followers = new Set<(publishes: readonly Publish[]) => void>();
  readonly #stopFollowing: () => void;
  readonly #refused: (why: string) => void;
  readonly #ended: (reason: EndReason) => void;
  #uidByKeyHash = new Map<string, string>();
  #bytesBefore = 0;
  #feedAddress = "";
  #closing = false;

  constructor(options: IngestOptions) {
    this.#options = options;
    const { metrics, snapshot } = options;
    const refusals = metrics.counter("sluice_ingest_refusals_total", "RTMP connections refused", ["why"]);
    this.#refused = (why) => refusals(1, { why });
    const ends = metrics.counter("sluice_ingest_publishes_ended_total", "Publishes that ended", ["reason"]);
    this.#ended = (reason) => ends(1, { reason });
    metrics.gauge("sluice_ingest_publishes", "Publishes on air", { read: () => this.#publishes.size });
    metrics.gauge("sluice_ingest_received_bytes", "Bytes received from publishers since the start", {
      read: () => {
        let bytes = this.#bytesBefore;
        for (const { session } of this.#publishes.values()) bytes += session.received;
        return bytes;
      },
    });
    this.#index();
    this.#stopFollowing = snapshot.onChange((uids) => {
      this.#index();
      for (const uid of uids) {
        this.#taken.delete(uid);
        this.#recheck(uid);
      }
    });
  }

  serveAt(server: InternalServer): void {
    this.#feedAddress = server.address;
  }

  /** Encoders are told nothing: to them it is a lost connection, and they come back. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#stopFollowing();
    for (const session of [...this.#sessions]) session.cut();
  }

  open(socket: Socket): void {
    const { limits, log } = this.#options;
    const session = openSession(socket, {
      decide: (asking, app, name) => this.#decide(asking, app, name),
      limits: limits.session ?? sessionLimits,
      log,
      onRefused: this.#refused,
    });
    this.#sessions.add(session);
    socket.once("close", () => this.#sessions.delete(session));
    if (this.#closing) session.cut();
  }

  /** An encoder's session that the relay holds. */
  relayed(request: IncomingMessage, socket: Duplex): void {
    const session = new RelayedSession(request, socket, (asking, app, name) =>
      this.#decide(asking, app, name),
    );
    this.#sessions.add(session);
    socket.once("close", () => this.#sessions.delete(session));
    if (this.#closing) session.cut();
  }

  turnedAway(peer: string): void {
    this.#refused("full");
    this.#options.log.debug({ peer }, "connection turned away");
  }

  async route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.split("?")[0] ?? "";
    if (path === "/internal/publishes" && request.method === "GET") return this.#follow(response);
    const feed = this.#feeds.get(feedPath.exec(path)?.[1] ?? "");
    if (feed && request.method === "GET") {
      feed.attach(response);
      return;
    }
    const publish = this.#publishes.get(publishPath.exec(path)?.[1] ?? "");
    if (!publish || request.method !== "DELETE")
      throw new Failure("not_found", "No such publish is on air here");
    const { code, message } = ending.parse(await readJson(request, 4096));
    publish.session.end("refused", message, code);
    sendJson(response, 204);
  }

  /** Every publish on air, then each that begins, for as long as somebody listens. */
  #follow(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
    const say = (publishes: readonly Publish[]) => {
      response.write(publishLine(publishes.map(({ uid, id }) => ({ uid, publish: id, path: feedOf(id) }))));
      // It comes back for all of them when it reads again.
      if (response.writableLength > maxUnreadBytes) response.destroy();
    };
    say([...this.#publishes.values()]);
    const heartbeat = setInterval(() => say([]), publishHeartbeatMs).unref();
    this.#followers.add(say);
    response.once("close", () => {
      clearInterval(heartbeat);
      this.#followers.delete(say);
    });
  }

  #index(): void {
    this.#uidByKeyHash = new Map();
    for (const { uid, keyHash } of this.#options.snapshot.values()) this.#uidByKeyHash.set(keyHash, uid);
  }

  /** What control says now counts for who is already on air, too. */
  #recheck(uid: string): void {
    const publish = this.#onAir.get(uid);
    if (!publish) return;
    const input = this.#options.snapshot.get(uid);
    if (!input?.enabled) publish.session.end("refused", disabledInput.message);
    else if (input.keyHash !== publish.keyHash) publish.session.end("refused", changedKey);
  }

  #decide(session: Session, app: string, name: string): Sink | Refusal | Promise<Sink | Refusal> {
    const delayMs = this.#guesses.delayMs(session.address, performance.now());
    if (delayMs === 0) return this.#verdict(session, app, name);
    // Right or wrong: who is told at once when right learns from the silence that he is wrong, and hangs up.
    return wait(delayMs, undefined, { ref: false }).then(() =>
      session.open ? this.#verdict(session, app, name) : gone,
    );
  }

  #verdict(session: Session, app: string, name: string): Sink | Refusal {
    if (app.replace(/^\/+|\/+$/g, "") !== "live") return badApp;
    const key = name.split("?", 1)[0]!.replace(/^[/\s]+|[/\s]+$/g, "");
    const keyHash = createHash("sha256").update(key).digest("hex");
    // Found by its hash, which nobody can steer: the time it takes says nothing about a key.
    const uid = this.#uidByKeyHash.get(keyHash);
    const input = uid === undefined ? undefined : this.#options.snapshot.get(uid);
    if (!input) {
      this.#guesses.failed(session.address, performance.now());
      return badKey;
    }
    if (!input.enabled) return disabledInput;
    const current = this.#onAir.get(input.uid);
    if (current) {
      const outcome = takeover({
        nowMs: performance.now(),
        lastMediaMs: current.session.lastMediaMs,
        takenMs: this.#taken.get(input.uid) ?? [],
      });
      if (outcome.stays === "current") return { code: "BadName", message: outcome.message, why: "busy" };
      this.#taken.set(input.uid, outcome.takenMs);
      current.session.end("replaced", replacedBy);
    }
    return this.#begin(session, input);
  }

  #begin(session: Session, input: IngestInput): Sink {
    const { originFor, secret, log, events, limits } = this.#options;
    const { uid } = input;
    const id = randomUUID();
    const startedMs = performance.now();
    const announcer = announce({
      announcement: {
        uid,
        publish: id,
        feed: this.#feedAddress,
        path: feedOf(id),
        peer: session.peer,
        at: Date.now(),
      },
      originFor,
      secret,
      log,
      onRefused: (message) => session.end("refused", message),
    });
    const feed = createFeed({
      limits: limits.feed ?? feedLimits,
      onReaders: (count) => announcer.readers(count),
    });
    const publish: Publish = { id, uid, keyHash: input.keyHash, session };
    this.#publishes.set(id, publish);
    this.#feeds.set(id, feed);
    this.#onAir.set(uid, publish);
    log.info({ uid, publish: id, peer: session.peer, encoder: session.encoder }, "publish opened");
    for (const say of this.#followers) say([publish]);
    events.send({ type: "publish.started", uid, publish: id, peer: session.peer });
    return {
      media: (type, timestampMs, tag) => feed.write(type, timestampMs, tag),
      end: (reason, detail, code) => {
        announcer.close();
        this.#publishes.delete(id);
        if (this.#onAir.get(uid) === publish) this.#onAir.delete(uid);
        this.#bytesBefore += session.received;
        this.#ended(reason);
        feed.end(this.#feedReason(uid, reason));
        setTimeout(() => this.#feeds.delete(id), afterglowMs).unref();
        const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
        const tell = (): void => {
          log.info(
            { uid, publish: id, peer: session.peer, reason, detail, bytes: session.received, seconds },
            "publish closed",
          );
          const wrong = code && { code, advice: detail };
          events.send({ type: "publish.ended", uid, publish: id, reason, ...(wrong && { wrong }) });
        };
        // Others may stop at this moment, and who watches them comes first. What another takes the place of ends before that begins.
        if (reason === "clean") setImmediate(tell);
        else tell();
      },
    };
  }

  /** A broadcast waits for an encoder that was refused, which may come back with what it was told to change; not for a disabled input. */
  #feedReason(uid: string, reason: EndReason): "clean" | "lost" | "replaced" {
    if (reason !== "refused") return reason;
    return this.#options.snapshot.get(uid)?.enabled ? "lost" : "clean";
  }
}
