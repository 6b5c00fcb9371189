import type { Log } from "../lib/log.ts";
import { sessionErrors } from "./codec/wire.ts";
import { contribution } from "./contribution.ts";
import { Peer, type PeerEvents, protocolOf, protocols, tellsOfFault } from "./session.ts";
import type { Incoming } from "./transport.ts";

/** Where encoders ask for a session: `/publish/KEY`, or the key as `?key=` or as a token of SETUP. */
export const publishPath = "/publish";

export interface EncodersOptions {
  /** Where their publishes go; undefined where none are taken. */
  readonly ingest: string | undefined;
  readonly secret: string | undefined;
  readonly log: Log;
  /** Called after each that has left. */
  readonly left: () => void;
}

/** Encoders that speak MoQ. */
export class Encoders {
  readonly peers = new Set<Peer>();
  readonly #options: EncodersOptions;

  constructor(options: EncodersOptions) {
    this.#options = options;
  }

  /** One that comes over WebTransport. */
  serve(incoming: Incoming): void {
    const protocol = protocolOf(incoming);
    const session = incoming.accept(protocol);
    if (!protocol)
      return session.close(sessionErrors.versionNegotiation, `This relay speaks ${protocols.join(", ")}`);
    new Peer({
      transport: session,
      side: "server",
      on: laterEvents(this.#options.log, (peer) => this.events(peer, incoming)),
    });
  }

  /** For an encoder that has named this path. */
  events(peer: Peer, { path, remote, agent }: Pick<Incoming, "path" | "remote" | "agent">): PeerEvents {
    const { ingest, secret, log, left } = this.#options;
    if (ingest === undefined) {
      const why = "No publishes are taken here; ingestAddress is not set";
      queueMicrotask(() => peer.close("unauthorized", why));
      return {};
    }
    const [place = "", query = ""] = path.split("?", 2);
    const named =
      new URLSearchParams(query).get("key") ?? decoded(place.slice(publishPath.length).replace(/^\//, ""));
    const key = named || peer.setupTokens[0] || "";
    const events = contribution({ ingest, secret, key, remote, agent, log });
    this.peers.add(peer);
    log.info({ peer: remote.host, protocol: peer.draft.protocol }, "encoder's session opened");
    return {
      ...events,
      closed: (how) => {
        this.peers.delete(peer);
        left();
        events.closed?.(how);
        log.info({ peer: remote.host, code: how.code, reason: how.reason }, "encoder's session closed");
      },
    };
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** What `choose` says of a peer once its SETUP has come, before which it can ask for nothing. */
export function laterEvents(log: Log, choose: (peer: Peer) => PeerEvents): PeerEvents {
  const events: { -readonly [Name in keyof PeerEvents]: PeerEvents[Name] } = {
    broke: tellsOfFault(log),
    ready: (peer) => {
      const chosen = choose(peer);
      Object.assign(events, chosen);
      chosen.ready?.(peer);
    },
  };
  return events;
}
