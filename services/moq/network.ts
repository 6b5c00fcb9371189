import { createHmac, timingSafeEqual } from "node:crypto";
import { lookup } from "node:dns/promises";
import { messageOf } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import { type Board, type BoardOptions, openBoard } from "../lib/redis.ts";
import { type Identity, trustIn } from "./identity.ts";
import {
  keyOf,
  type Offer,
  type RelayRecord,
  type Route,
  readRecord,
  routesFrom,
  winnerOf,
} from "./routes.ts";
import { Peer, protocols, tellsOfFault } from "./session.ts";
import { connectWebTransport } from "./webtransport.ts";

/** Where other relays ask for a session. */
export const networkPath = "/relay";
const topic = "moq";
/** A relay that says nothing for so long is taken for gone: well before a viewer's buffer is. */
const aliveMs = 1_000;
/** A hop that did not work is left alone for this long, and a relay that had no way for a while less. */
const closedMs = 1_000;
const turnedAwayMs = 500;
/** A link that nobody uses stays for this long. */
const idleLinkMs = 30_000;
/** How far the clocks of two relays may be apart. */
const skewMs = 60_000;

export interface NetworkOptions {
  readonly redis: string;
  /** `host:port` at which other relays reach this one; undefined for one that only takes. */
  readonly node: string | undefined;
  /** Of the certificate that others see here. */
  readonly identity: () => Identity;
  /** What this relay pays for a hop to another, by its name. */
  readonly costs: Readonly<Record<string, number>>;
  /** Shared by all relays. */
  readonly secret: string;
  readonly log: Log;
  /** Ways or namespaces may have changed. */
  readonly changed: () => void;
}

/** The next hop to whoever publishes a namespace. */
export interface Hop {
  /** Of the publisher's relay; another publisher of the namespace has another. */
  readonly target: string;
  readonly epoch: number;
  readonly node: string;
  readonly distance: number;
  peer(): Promise<Peer>;
  /** It had no way itself. */
  turnedAway(): void;
}

/** The other relays: what they have, how to get there, and sessions with those that tracks are taken from. */
export class Network implements Running {
  readonly #options: NetworkOptions;
  readonly #board: Board;
  readonly #others = new Map<string, RelayRecord>();
  readonly #links = new Map<string, Link>();
  /** Links to relays that have asked us to leave. */
  readonly #left = new Set<Link>();
  readonly #closed = new Map<string, number>();
  readonly #turnedAway = new Map<string, number>();
  /** Why the last link to a relay was closed. */
  readonly #why = new Map<string, string>();
  #own: readonly Offer[] = [];
  #routes = new Map<string, Map<string, Route>>();

  constructor(options: NetworkOptions, board: (options: BoardOptions) => Board = openBoard) {
    this.#options = options;
    this.#board = board({
      ...{ redis: options.redis, topic, name: options.node },
      write: () => JSON.stringify(this.#record()),
      heard: (name, text) => {
        const record = readRecord(text);
        if (record?.node !== name) return;
        if (!this.#others.has(name)) options.log.info({ relay: name }, "relay found");
        this.#others.set(name, record);
        this.#changed();
      },
      left: (name) => {
        this.#why.delete(name);
        if (!this.#others.delete(name)) return;
        options.log.info({ relay: name }, "relay left");
        this.#changed();
      },
    });
  }

  get size(): number {
    return this.#others.size;
  }

  get links(): number {
    return this.#links.size;
  }

  get closed(): Promise<void> {
    return this.#board.closed;
  }

  async close(): Promise<void> {
    await this.#board.close();
    for (const link of [...this.#links.values(), ...this.#left]) link.close();
  }

  /** The certificate that others see here is another, or soon will be. */
  renewed(): void {
    this.#board.changed();
  }

  /** Says what is published here. */
  offer(own: readonly Offer[]): void {
    this.#own = own;
    this.#board.changed();
  }

  /** Every namespace that another relay has. */
  *namespaces(): Iterable<readonly string[]> {
    for (const { namespaces } of this.#others.values())
      for (const { namespace } of namespaces) yield namespace;
  }

  /** The next hop towards the publisher of a namespace whose epoch is above all others, also above `epoch`, of one here. */
  hop(namespace: readonly string[], epoch: number | undefined): Hop | undefined {
    const key = keyOf(namespace);
    const { node: self = "" } = this.#options;
    const here = epoch === undefined ? [] : [{ node: self, costs: {}, namespaces: [{ namespace, epoch }] }];
    const winner = winnerOf(key, [...this.#others.values(), ...here]);
    if (!winner || (here.length > 0 && winner.node === self)) return undefined;
    const route = this.#routesTo(winner.node).get(winner.node);
    if (!route) return undefined;
    return {
      ...{ target: winner.node, epoch: winner.epoch, node: route.next, distance: route.distance },
      peer: () => this.#link(route.next).peer,
      turnedAway: () => {
        this.#turnedAway.set(`${route.next} ${winner.node}`, performance.now() + turnedAwayMs);
        this.#routes.clear();
      },
    };
  }

  /** Ways for tracks of one relay: who has just turned us away for it is not asked again at once. */
  #routesTo(target: string): Map<string, Route> {
    const { node = "", costs } = this.#options;
    const now = performance.now();
    for (const barred of [this.#closed, this.#turnedAway])
      for (const [name, until] of [...barred])
        if (until <= now) {
          barred.delete(name);
          this.#routes.clear();
        }
    const known = this.#routes.get(target);
    if (known) return known;
    const routes = routesFrom(
      { node, costs },
      this.#others,
      (from, to) => from === node && (this.#closed.has(to) || this.#turnedAway.has(`${to} ${target}`)),
    );
    this.#routes.set(target, routes);
    return routes;
  }

  #record(): RelayRecord {
    const { node = "", costs, identity } = this.#options;
    return { node, costs, namespaces: this.#own, identity: identity() };
  }

  #changed(): void {
    this.#routes.clear();
    this.#options.changed();
  }

  #link(node: string): Link {
    const known = this.#links.get(node);
    if (known) return known;
    const { secret, log, node: self = "" } = this.#options;
    const path = pathTo(node, { from: self, secret, nowMs: Date.now() });
    // Tracks move to other ways while this one still gives them; it goes when nobody uses it, or when the relay ends it.
    const leaves = () => {
      if (this.#links.get(node) !== link) return;
      this.#links.delete(node);
      this.#left.add(link);
      log.info({ relay: node }, "a relay asks us to leave");
      this.#closed.set(node, performance.now() + closedMs);
      this.#changed();
    };
    const { identity } = this.#others.get(node) ?? {};
    const link = new Link({ node, path, identity, leaves, log }, (why) => {
      if (this.#left.delete(link)) return log.info({ relay: node, why }, "link to relay closed");
      if (this.#links.get(node) !== link) return;
      this.#links.delete(node);
      // It is tried again as long as somebody watches; a reason is said once.
      const isNew = this.#why.get(node) !== why;
      this.#why.set(node, why);
      if (link.opened) log.info({ relay: node, why }, "link to relay closed");
      else if (isNew) log.warn({ relay: node, why }, "a relay cannot be taken from");
      if (link.idle) return;
      this.#closed.set(node, performance.now() + closedMs);
      this.#changed();
    });
    this.#links.set(node, link);
    return link;
  }
}

/** A session with another relay, for as long as tracks are taken from it. */
class Link {
  readonly peer: Promise<Peer>;
  #peer: Peer | undefined;
  #idle: NodeJS.Timeout;
  idle = false;
  opened = false;

  constructor(
    {
      node,
      path,
      identity,
      leaves,
      log,
    }: {
      readonly node: string;
      readonly path: string;
      readonly identity: Identity | undefined;
      readonly leaves: () => void;
      readonly log: Log;
    },
    closed: (why: string) => void,
  ) {
    const { hostname, port } = new URL(`https://${node}`);
    const session = async () => {
      const name = hostname.replace(/^\[|\]$/g, "");
      const { address: host } = await lookup(name);
      const trust = trustIn(identity, name);
      return connectWebTransport({ host, port: Number(port || 443), path, protocols, aliveMs, trust });
    };
    this.peer = session().then((transport) => {
      const { promise, resolve, reject } = Promise.withResolvers<Peer>();
      this.#peer = new Peer({
        transport,
        side: "client",
        on: {
          ready: (peer) => {
            this.opened = true;
            resolve(peer);
          },
          goaway: leaves,
          broke: tellsOfFault(log),
          closed: ({ reason }) => {
            clearInterval(this.#idle);
            closed(reason);
            reject(new Error(reason));
          },
        },
      });
      return promise;
    });
    this.peer.catch((error) => {
      clearInterval(this.#idle);
      closed(messageOf(error));
    });
    this.#idle = setInterval(() => {
      if (!this.#peer || this.#peer.busy) return;
      this.idle = true;
      this.close();
    }, idleLinkMs);
    this.#idle.unref();
  }

  close(): void {
    clearInterval(this.#idle);
    this.#peer?.close("noError", "No track is taken over this link");
  }
}

const sign = (secret: string, what: string) =>
  createHmac("sha256", secret).update(`moq relay\n${what}`).digest("base64url");

/** Where to ask another relay for a session, signed so that the secret itself does not leave this machine. */
export function pathTo(
  node: string,
  { from, secret, nowMs }: { readonly from: string; readonly secret: string; readonly nowMs: number },
): string {
  const mac = sign(secret, `${node}\n${from}\n${nowMs}`);
  return `${networkPath}?${new URLSearchParams({ to: node, from, at: String(nowMs), mac })}`;
}

/** Whether who asks at `path` is a relay of the network. */
export function isRelay(
  path: string,
  { node, secret, nowMs }: { readonly node: string; readonly secret: string; readonly nowMs: number },
): boolean {
  const asked = new URLSearchParams(path.split("?", 2)[1]);
  const [to, from, at, mac] = ["to", "from", "at", "mac"].map((name) => asked.get(name) ?? "");
  if (to !== node || !(Math.abs(nowMs - Number(at)) <= skewMs)) return false;
  const [given, right] = [Buffer.from(mac!), Buffer.from(sign(secret, `${to}\n${from}\n${at}`))];
  return given.length === right.length && timingSafeEqual(given, right);
}
