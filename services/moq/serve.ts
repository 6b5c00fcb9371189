import { X509Certificate } from "node:crypto";
import type { Certificate, Certificates } from "../../infra/certs.ts";
import type { GroundOptions } from "../auth/ground.ts";
import { messageOf } from "../lib/errors.ts";
import { listenInternal, sendJson } from "../lib/http.ts";
import { type Running, Scope } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import { audiencePath } from "../live/audience.ts";
import { Admission } from "./admission.ts";
import { Audience } from "./audience.ts";
import { type Door, doorHoldMs, doorName, pipeProtocol, tracksPath } from "./door.ts";
import { Encoders, publishPath } from "./encoders.ts";
import { identityOf } from "./identity.ts";
import { listenNative } from "./native.ts";
import { isRelay, Network, type NetworkOptions, networkPath } from "./network.ts";
import { PipeSession } from "./pipe.ts";
import type { Right } from "./reader.ts";
import { Relay } from "./relay.ts";
import { Peer, protocolOf, tellsOfFault } from "./session.ts";
import type { Incoming, Listener } from "./transport.ts";
import { type House, serveNative, serveViewer } from "./viewers.ts";
import { listenWebTransport } from "./webtransport.ts";

export interface RelayRoleOptions {
  readonly host: string;
  /** UDP. */
  readonly port: number;
  /** UDP, for QUIC without WebTransport; undefined for none. */
  readonly nativePort?: number | undefined;
  /** Where viewers go on when this one stops: `https://host:port`; undefined where they are told nothing. */
  readonly next: string | undefined;
  readonly certificates: Certificates;
  /** Own internal address. */
  readonly address: string;
  readonly secret: string | undefined;
  /** Where publishes of encoders that speak MoQ go; undefined where none are taken. */
  readonly ingest: string | undefined;
  /** With which other relays there is a network; undefined where this one is alone. */
  readonly network: Pick<NetworkOptions, "redis" | "node" | "costs"> | undefined;
  readonly gate: Omit<GroundOptions, "changed" | "ownerOf">;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RelayRole extends Running {
  /** UDP; absent where there is no QUIC. */
  readonly port?: number;
  /** What is known of addresses has changed. */
  geoChanged(): void;
}

const maxConnections = 10_000;
const maxPerAddress = 500;
const cacheBytes = 256 << 20;
const queuedBytes = 8 << 20;
/** Longer than it takes to know that a relay is gone and to find another way. */
const graceMs = 3_000;
/** Whoever is here is asked to leave so long before the certificate is changed, or the relay stops, under him. */
const leaveMs = 500;
/** Who has somewhere to go takes what plays over from there at its next group. */
const moveMs = 2_000;
const dayMs = 86_400_000;

const isLoopback = (host: string) => host === "localhost" || host === "::1" || host.startsWith("127.");

/** Passes what origins have on to viewers over WebTransport. Where there is no QUIC it says so once and serves nobody. */
export async function startRelay(options: RelayRoleOptions): Promise<RelayRole> {
  const { log, metrics, secret, certificates } = options;
  const scope = new Scope(3_000, (name) => log.warn({ name }, "did not close in time"));
  try {
    const objects = metrics.counter("sluice_moq_objects_total", "Objects written to subscribers");
    const bytes = metrics.counter("sluice_moq_bytes_total", "Bytes of objects written to subscribers");
    const resets = metrics.counter("sluice_moq_resets_total", "Groups that slow subscribers lost");
    const fetched = metrics.counter("sluice_moq_fetched_bytes_total", "Bytes of objects that were fetched");
    const subscribed = metrics.counter("sluice_moq_subscriptions_total", "Subscriptions taken");
    const relay = new Relay({
      ...{ cacheBytes, queuedBytes, graceMs },
      count: (what, more) => ({ objects, bytes, resets, fetched, subscriptions: subscribed })[what](more),
    });
    const admission = scope.own("admission", new Admission(options.gate));
    const audience = scope.own("audience", new Audience());
    /** Of viewers, with the address of each where he has one in a browser. */
    const peers = new Map<Peer, string | undefined>();
    metrics.gauge("sluice_moq_sessions", "Sessions of viewers", { read: () => peers.size });
    metrics.gauge("sluice_moq_subscriptions", "Tracks that viewers are subscribed to", {
      read: () => relay.subscriptions,
    });
    metrics.gauge("sluice_moq_cache_bytes", "Bytes of objects kept for who comes late", {
      read: () => relay.bytes,
    });

    /** What new sessions see. */
    let shown = certificates.current();
    let network: Network | undefined;
    if (options.network && secret !== undefined) {
      const changed = () => relay.changed();
      const identity = () => identityOf(shown.cert, certificates.current().cert);
      network = new Network({ ...options.network, identity, secret, log, changed });
      scope.own("network", network);
      metrics.gauge("sluice_moq_relays", "Other relays that are known", { read: () => network?.size ?? 0 });
      metrics.gauge("sluice_moq_links", "Relays that tracks are taken from", {
        read: () => network?.links ?? 0,
      });
      relay.join(network);
    }
    const encoders = new Encoders({ ...options, left: () => left() });
    metrics.gauge("sluice_moq_encoders", "Sessions of encoders", { read: () => encoders.peers.size });
    const others = new Set<Peer>();
    metrics.gauge("sluice_moq_relays_served", "Relays that take tracks from here", {
      read: () => others.size,
    });

    /** Whoever is here may go elsewhere before the sessions are closed. */
    let stopping = false;
    let emptied: (() => void) | undefined;
    let listener: Listener | undefined;
    let { nativePort } = options;
    const listen = (port: number): Listener => {
      shown = certificates.current();
      const common = {
        ...{ ...shown, maxConnections, maxPerAddress, loopback: isLoopback(options.host) },
        broke: tellsOfFault(log),
      };
      const house: House = { relay, admission, audience, peers, log, left };
      const web = listenWebTransport({
        ...{ ...common, port },
        onSession: (incoming) => {
          const { path } = incoming;
          // Who was just asked to leave is not to come back here.
          if (stopping) return incoming.reject(503);
          if (path.startsWith(publishPath)) return encoders.serve(incoming);
          if (path.startsWith(`${networkPath}?`))
            return serveRelay(incoming, options, { relay, others, left });
          serveViewer(incoming, house);
        },
      });
      if (nativePort === undefined) return web;
      try {
        const native = listenNative({
          ...{ ...common, port: nativePort },
          onSession: (session) => serveNative(session, house, encoders),
        });
        nativePort = native.port;
        log.info({ port: nativePort }, "relay opened for QUIC without WebTransport");
        const close = async () => void (await Promise.all([web.close(), native.close()]));
        return { port: web.port, closed: web.closed, close };
      } catch (error) {
        log.warn(`no Media over QUIC without WebTransport: ${messageOf(error)}`);
        return web;
      }
    };
    try {
      listener = listen(options.port);
      log.info({ port: listener.port }, "relay opened");
    } catch (error) {
      log.warn(`no Media over QUIC, everything else goes on: ${messageOf(error)}`);
    }
    const port = listener?.port;
    const all = () => [...peers.keys(), ...others, ...encoders.peers];
    const door = () => listener && doorOf(listener.port, shown);
    /** Answers that are held until the door is another. */
    const waiting = new Set<() => void>();
    scope.own("listener", {
      async close() {
        for (const peer of all()) peer.close("noError", "The relay stops");
        await listener?.close();
      },
    });
    const renew = async (port: number) => {
      clearTimeout(late);
      late = undefined;
      for (const peer of all()) peer.goAway();
      if (all().length > 0) await new Promise((resolve) => setTimeout(resolve, leaveMs));
      for (const peer of all()) peer.close("noError", "The certificate is renewed");
      await listener?.close();
      listener = undefined;
      try {
        listener = listen(port);
        network?.renewed();
        for (const answer of [...waiting]) answer();
        log.info("new sessions see the new certificate");
      } catch (error) {
        log.warn(`no Media over QUIC until the next start: ${messageOf(error)}`);
      }
    };
    /** Set while a new certificate waits for its turn. */
    let late: NodeJS.Timeout | undefined;
    function left(): void {
      if (all().length > 0) return;
      emptied?.();
      if (late && port !== undefined) void renew(port);
    }
    const end = certificates.onChange((fresh) => {
      clearTimeout(late);
      late = undefined;
      if (port === undefined || fresh.cert === shown.cert) return;
      network?.renewed();
      late = setTimeout(() => void renew(port), mayWaitMs(shown, fresh));
      left();
    });
    scope.own("certificates", {
      close() {
        end();
        clearTimeout(late);
      },
    });

    const publishers = new Set<Peer>();
    const internal = await listenInternal(
      options.address,
      (request, response) => {
        const [path, query] = (request.url ?? "").split("?");
        if (path === audiencePath) return audience.follow(response);
        if (path !== "/internal/door") return sendJson(response, 404, { message: "There is nothing here" });
        const known = new URLSearchParams(query).get("have") === doorName(door());
        if (!known) return sendJson(response, 200, { door: door() });
        const answer = () => {
          clearTimeout(timer);
          waiting.delete(answer);
          sendJson(response, 200, { door: door() });
        };
        const timer = setTimeout(answer, doorHoldMs);
        waiting.add(answer);
        response.once("close", () => {
          clearTimeout(timer);
          waiting.delete(answer);
        });
      },
      {
        secret,
        upgrade: (request, socket) => {
          // Either has tracks, or takes some to somebody else.
          const always: Right = { watch: () => () => {} };
          const events = request.url === tracksPath ? relay.subscriber(() => always) : relay.publisher();
          const peer: Peer = new Peer({
            transport: new PipeSession(socket, "server", pipeProtocol),
            side: "server",
            on: {
              ...events,
              broke: tellsOfFault(log),
              closed: (how) => {
                publishers.delete(peer);
                events.closed?.(how);
              },
            },
          });
          publishers.add(peer);
        },
      },
    );
    scope.own("internal", {
      async close() {
        for (const peer of [...publishers]) peer.close("noError", "The relay stops");
        await internal.close();
      },
    });
    // Closed first, while everything else still runs.
    scope.own("visitors", {
      async close() {
        stopping = true;
        const { next } = options;
        for (const [peer, address] of peers)
          if (next !== undefined && address !== undefined) peer.goAway({ uri: `${next}${address}` });
        for (const peer of all()) peer.goAway();
        if (all().length === 0) return;
        const done = Promise.withResolvers<void>();
        emptied = done.resolve;
        const timer = setTimeout(done.resolve, next === undefined ? leaveMs : moveMs);
        await done.promise;
        clearTimeout(timer);
      },
    });
    return {
      ...(port !== undefined && { port }),
      geoChanged: () => admission.geoChanged(),
      closed: scope.closed,
      close: () => scope.close(),
    };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

/**
 * The binding cannot change a certificate under its sessions, and one that follows another in good time is no reason to end any: the
 * new one waits until nobody watches, but for a day at most, and never for longer than the old one is good. Then viewers are asked
 * to come back. Nobody waits for the first one that browsers trust.
 */
function mayWaitMs(old: Certificate, fresh: Certificate): number {
  if (fresh.trusted && !old.trusted) return 0;
  const left = Date.parse(new X509Certificate(old.cert).validTo) - Date.now();
  return Math.max(0, Math.min(dayMs, left * 0.9));
}

function doorOf(port: number, { cert, trusted }: Certificate): Door {
  const { fingerprint256 } = new X509Certificate(cert);
  const hash = Buffer.from(fingerprint256.replaceAll(":", ""), "hex").toString("base64");
  return { port, hashes: trusted ? [] : [hash] };
}

/** Another relay, which takes tracks for its viewers. */
function serveRelay(
  incoming: Incoming,
  { network, secret, log }: RelayRoleOptions,
  { relay, others, left }: { readonly relay: Relay; readonly others: Set<Peer>; readonly left: () => void },
): void {
  const protocol = protocolOf(incoming);
  const node = network?.node;
  const known = node && secret && isRelay(incoming.path, { node, secret, nowMs: Date.now() });
  if (!known || !protocol) {
    log.warn({ peer: incoming.remote.host }, "a relay was refused: its internalSecret or relayNode differs");
    return incoming.reject(403);
  }
  const events = relay.network();
  const peer: Peer = new Peer({
    transport: incoming.accept(protocol),
    side: "server",
    on: {
      ...events,
      broke: tellsOfFault(log),
      closed: (how) => {
        others.delete(peer);
        left();
        log.info({ peer: incoming.remote.host, reason: how.reason }, "relay's session closed");
      },
    },
  });
  others.add(peer);
  log.info({ peer: incoming.remote.host }, "relay's session opened");
}
