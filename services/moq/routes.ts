import { type Identity, readIdentity } from "./identity.ts";

/** What one relay says of itself to the others. */
export interface RelayRecord {
  /** `host:port` at which other relays reach it over UDP, and its name. */
  readonly node: string;
  /** What it costs this relay to take a track from another, where that is not the usual. */
  readonly costs: Readonly<Record<string, number>>;
  /** What is published at it. */
  readonly namespaces: readonly Offer[];
  /** Of its certificate. */
  readonly identity?: Identity | undefined;
}

/** A namespace that somebody publishes. Of two publishers the one of the higher epoch is meant. */
export interface Offer {
  readonly namespace: readonly string[];
  readonly epoch: number;
}

/** How to reach a relay: whom to ask, and what all hops together cost. */
export interface Route {
  readonly next: string;
  readonly distance: number;
}

/** What a hop costs that nobody said anything about. */
const usualCost = 100;
/** As it is written in a record. */
const costs = { least: 1, most: 1_000_000 } as const;

/** A namespace as one text, the same for no two. */
export const keyOf = (namespace: readonly string[]) =>
  namespace.map((field) => `${field.length}:${field}`).join("");

/**
 * The cheapest way from `self` to every other relay. `closed` says which hops are known not to work. Every hop costs more than
 * nothing, so the distance falls along any way.
 */
export function routesFrom(
  self: Pick<RelayRecord, "node" | "costs">,
  others: ReadonlyMap<string, RelayRecord>,
  closed: (from: string, to: string) => boolean,
): Map<string, Route> {
  const found = new Map<string, Route>();
  const open = new Map<string, Route>();
  const reach = (from: Pick<RelayRecord, "node" | "costs">, at: Route | undefined) => {
    for (const to of others.keys()) {
      if (to === self.node || to === from.node || found.has(to) || closed(from.node, to)) continue;
      const distance = (at?.distance ?? 0) + (from.costs[to] ?? usualCost);
      const known = open.get(to);
      if (!known || distance < known.distance) open.set(to, { next: at?.next ?? to, distance });
    }
  };
  reach(self, undefined);
  while (open.size > 0) {
    let nearest: [string, Route] | undefined;
    for (const one of open) if (!nearest || one[1].distance < nearest[1].distance) nearest = one;
    const [node, route] = nearest!;
    open.delete(node);
    found.set(node, route);
    reach(others.get(node)!, route);
  }
  return found;
}

/** Of all who publish a namespace the one that is meant: the highest epoch, and for equal ones the greater name. */
export function winnerOf(
  key: string,
  records: Iterable<RelayRecord>,
): { readonly node: string; readonly epoch: number } | undefined {
  let winner: { node: string; epoch: number } | undefined;
  for (const { node, namespaces } of records)
    for (const { namespace, epoch } of namespaces) {
      if (keyOf(namespace) !== key) continue;
      if (!winner || epoch > winner.epoch || (epoch === winner.epoch && node > winner.node))
        winner = { node, epoch };
    }
  return winner;
}

const maxNamespaces = 100_000;

/** What another relay wrote of itself; undefined when it is not that. */
export function readRecord(text: string): RelayRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { node, costs: said, namespaces, identity } = (value ?? {}) as Record<string, unknown>;
  if (typeof node !== "string" || node.length > 300) return undefined;
  if (!said || typeof said !== "object" || !Array.isArray(namespaces)) return undefined;
  if (namespaces.length > maxNamespaces || !namespaces.every(isOffer)) return undefined;
  const all = Object.entries(said);
  if (!all.every(([, cost]) => typeof cost === "number" && cost >= costs.least && cost <= costs.most))
    return undefined;
  const costly = Object.fromEntries(all) as Record<string, number>;
  return { node, costs: costly, namespaces, identity: readIdentity(identity) };
}

function isOffer(value: unknown): value is Offer {
  const { namespace, epoch } = (value ?? {}) as Record<string, unknown>;
  return (
    Number.isSafeInteger(epoch) &&
    Array.isArray(namespace) &&
    namespace.length <= 32 &&
    namespace.every((field) => typeof field === "string")
  );
}
