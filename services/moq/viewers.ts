import { looksLikeToken } from "../auth/token.ts";
import { cmcdOf } from "../lib/cmcd.ts";
import type { Log } from "../lib/log.ts";
import { visitorOf } from "../live/visitor.ts";
import { type Admission, clientOf } from "./admission.ts";
import type { Audience } from "./audience.ts";
import type { TrackName } from "./codec/messages.ts";
import { sessionErrors } from "./codec/wire.ts";
import { type Encoders, laterEvents, publishPath } from "./encoders.ts";
import type { Right } from "./reader.ts";
import type { Relay } from "./relay.ts";
import { Peer, type PeerEvents, protocolOf, protocols } from "./session.ts";
import type { Incoming, Session } from "./transport.ts";

/** Tracks that may be asked for in a session's address: a picture, its sound, and as many to spare. */
const maxWanted = 4;

/** What viewers are served with. */
export interface House {
  readonly relay: Relay;
  readonly admission: Admission;
  readonly audience: Audience;
  /** Of viewers, with the address of each where he has one in a browser. */
  readonly peers: Map<Peer, string | undefined>;
  readonly log: Log;
  /** Called after each that has left. */
  readonly left: () => void;
}

/** One viewer. A browser tells its page nothing of an HTTP status, so what is wrong is said in MoQT. */
export function serveViewer(incoming: Incoming, house: House): void {
  const { offered } = incoming;
  const protocol = protocolOf(incoming);
  const session = incoming.accept(protocol);
  // Who names nothing that is spoken here may still say draft 14 in SETUP, unless he says that he is past it.
  if (!protocol && offered.length > 0 && offered.every((one) => newer.test(one)))
    return session.close(sessionErrors.versionNegotiation, `This relay speaks ${protocols.join(", ")}`);
  const client = clientOf(incoming);
  const texts = textsOf(incoming.path);
  const named = texts[0];
  const why = named === undefined ? undefined : house.admission.refuse(named, client);
  if (why !== undefined) return session.close(sessionErrors.unauthorized, why);
  const who = { path: incoming.path, texts, client };
  const wanted = wantedOf(incoming.path);
  const on = laterEvents(house.log, (peer) => viewerEvents(peer, who, house));
  const peer = new Peer({ transport: session, side: "server", pipelines: wanted.length > 0, on });
  if (wanted.length === 0 || peer.draft.number < 18) return;
  const right = mayOf(who, house)(wanted[0]!.namespace, []);
  if (right) house.relay.push(peer, wanted, right);
}

/** Whoever comes without WebTransport: what he wants and names comes with SETUP. */
export function serveNative(session: Session, house: House, encoders: Encoders): void {
  const { remote } = session;
  const chosen = laterEvents(house.log, (peer) => {
    const { path = "", authority = "", implementation: agent = "" } = peer.setup;
    if (path.startsWith(publishPath)) return encoders.events(peer, { path, remote, agent });
    const texts = textsOf(path);
    const client = clientOf({ remote, authority, agent: "", origin: undefined });
    const why = texts[0] === undefined ? undefined : house.admission.refuse(texts[0], client);
    if (why !== undefined) queueMicrotask(() => peer.close("unauthorized", why));
    return viewerEvents(peer, { path, texts, client }, house);
  });
  new Peer({ transport: session, side: "server", on: chosen });
}

interface Who {
  readonly path: string;
  readonly texts: readonly string[];
  readonly client: ReturnType<typeof clientOf>;
}

/** For a peer that watches, from now on. */
function viewerEvents(peer: Peer, { path, texts, client }: Who, house: House): PeerEvents {
  const { relay, peers, log, left } = house;
  const { address } = client;
  const opened = performance.now();
  peers.set(peer, peer.transport.native ? undefined : path);
  log.info({ peer: address, protocol: peer.draft.protocol }, "viewer's session opened");
  return {
    ...relay.subscriber(mayOf({ path, texts, client }, house)),
    closed: ({ code, reason }) => {
      peers.delete(peer);
      left();
      const seconds = Math.round((performance.now() - opened) / 1000);
      log.info({ peer: address, code, reason, seconds }, "viewer's session closed");
    },
  };
}

/** What somebody may watch, as which he is counted while he does. */
function mayOf({ path, texts, client }: Who, { admission, audience }: House) {
  return (namespace: readonly string[], tokens: readonly string[]): Right | undefined => {
    const right = admission.may(namespace, [...texts, ...tokens], client);
    if (!right) return undefined;
    // A player says its name in the address: a session has no other request, and no header that a page could set.
    const said = cmcdOf(path.split("?", 2)[1] ?? "", {});
    const visitor = visitorOf({ session: said?.session, ...client });
    return counted(right, () => audience.enter({ uid: namespace[0]!, ...visitor }));
  };
}

/** Drafts whose sessions begin with their name. */
const newer = /^moqt-(1[5-9]|[2-9]\d)$/;

/** Whoever reads by this right is there for as long as he does. */
function counted(right: Right, enter: () => () => void): Right {
  return {
    watch(revoked) {
      const leave = enter();
      const end = right.watch(revoked);
      return () => {
        leave();
        end();
      };
    },
  };
}

const uid = /^[0-9a-f]{32}$/;

/** Tracks that a session's address asks to be sent at once: `push=NAMESPACE/TRACK/TRACK`. */
function wantedOf(address: string): TrackName[] {
  const [namespace = "", ...names] =
    new URLSearchParams(address.split("?", 2)[1]).get("push")?.split("/") ?? [];
  return names.slice(0, maxWanted).map((name) => ({ namespace: [namespace], name }));
}

/** What may stand for a right in a session's address: a token or a uid in the path, or a token as `jwt` or `token` in the query. */
function textsOf(address: string): string[] {
  const [path = "", query = ""] = address.split("?", 2);
  const asked = new URLSearchParams(query);
  const found = [asked.get("jwt"), asked.get("token"), path.split("/").filter(Boolean).at(-1)];
  return found.filter((text): text is string => !!text && (looksLikeToken(text) || uid.test(text)));
}
