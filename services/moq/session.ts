import type { Log } from "../lib/log.ts";
import { Answering, type Answers } from "./answering.ts";
import { Asking } from "./asking.ts";
import { Carriage } from "./carriage.ts";
import { type Draft, draft14, draftOf, drafts } from "./codec/drafts.ts";
import type { FetchRange, Message, Params, SetupOptions, TrackName } from "./codec/messages.ts";
import { sessionErrors, Violation } from "./codec/wire.ts";
import type {
  FetchEvents,
  NamespaceEvents,
  Outgoing,
  Refused,
  StatusAnswer,
  Subscription,
  SubscriptionEvents,
} from "./requests.ts";
import { maxTokenBytes } from "./tokens.ts";
import type { Closed, Incoming, Session } from "./transport.ts";

/** The protocols that a session of ours is known by, the one that is rather spoken first. */
export const protocols: readonly string[] = drafts.map(({ protocol }) => protocol);

/** What of a peer's offer is spoken: the first of ours; undefined where that is nothing. */
export const protocolOf = ({ offered }: Pick<Incoming, "offered">) =>
  protocols.find((one) => offered.includes(one));

const setupMs = 5_000;
const maxOvertook = 16;

/** Says in the log that this side failed at a session of `host`, and what to do. */
export const tellsOfFault = (log: Log) => (error: unknown, remote: Session["remote"]) =>
  log.error(
    { err: error, ...(remote.host !== "" && { peer: remote.host }) },
    "a session was ended as it could not be handled, all others go on: this is a fault of Sluice, report it with this line",
  );

export interface PeerOptions {
  readonly transport: Session;
  readonly side: "client" | "server";
  readonly setup?: SetupOptions | undefined;
  /** What is asked of the peer need not wait for its SETUP (draft 18 10.3); before that draft it does. */
  readonly pipelines?: boolean | undefined;
  readonly on: PeerEvents;
}

/** What a peer asks for and says; see `Answers` for what is absent. */
export interface PeerEvents extends Answers {
  /** Both sides have said what they can; requests may be made. */
  readonly ready?: ((peer: Peer) => void) | undefined;
  /** It wants to end the session soon; `uri` is where to go instead, empty for the same place. */
  readonly goaway?: ((uri: string) => void) | undefined;
  readonly closed?: ((how: Closed) => void) | undefined;
  /** What it said made this side fail: the session has ended for that. Without it that is thrown on. */
  readonly broke?: ((error: unknown, remote: Session["remote"]) => void) | undefined;
}

/** One peer that speaks MoQT (draft-ietf-moq-transport), as client or server, over any transport and in the draft that this names. */
export class Peer {
  readonly transport: Session;
  readonly draft: Draft;
  readonly #side: "client" | "server";
  readonly #on: PeerEvents;
  readonly #carriage: Carriage;
  readonly #asking: Asking;
  readonly #answering: Answering;
  readonly #setup: SetupOptions | undefined;
  #peerSetup: SetupOptions = {};
  #early: Message[] = [];
  /** Answers that have overtaken the peer's SETUP. */
  #overtook: Message[] = [];
  readonly #pipelines: boolean;
  #isReady = false;
  #closed = false;
  #wentAway = false;
  #goingAway = false;
  readonly #late: NodeJS.Timeout;
  #leaving: NodeJS.Timeout | undefined;

  constructor({ transport, side, setup, pipelines, on }: PeerOptions) {
    this.transport = transport;
    // Draft 14 has no name for transports: who says nothing speaks that, or says so in SETUP.
    this.draft = draftOf(transport.protocol) ?? draft14;
    this.#side = side;
    this.#on = on;
    this.#setup = setup;
    const { draft } = this;
    this.#pipelines = pipelines === true && draft.ownStream === "all";
    const guard = (run: () => void) => this.#guard(run);
    const send = (message: Message) => this.#send(message);
    const finish = (id: number) => this.#carriage.finish(id);
    const pushes = () => on.publish !== undefined;
    this.#asking = new Asking({ draft, side, send, finish, pushes, guard });
    this.#answering = new Answering({
      ...{ draft, side, on, send, finish, wire: transport, broke: (error) => this.#fail(error) },
      announce: (namespace) => this.publishNamespace(namespace).end,
      follows: (namespace, here) => this.#asking.follows(namespace, here),
      pushed: this.#asking,
    });
    this.#carriage = new Carriage({
      ...{ transport, side, draft },
      on: {
        ...{ message: (message) => this.#take(message), guard },
        data: (stream) => this.#asking.data(stream),
      },
    });
    this.#late = setTimeout(() => this.close("controlTimeout", "no SETUP came in time"), setupMs);
    if (side === "client" || draft.ownStream === "all") this.#carriage.setup(this.#options());
    if (this.#pipelines) this.#asking.begin(undefined);
    transport.serve({
      bi: (stream) => this.#guard(() => this.#carriage.bi(stream)),
      uni: (stream) => this.#guard(() => this.#carriage.uni(stream)),
      closed: (how) => this.#end(how),
    });
  }

  /** The texts of the tokens in the peer's SETUP. */
  get setupTokens(): readonly string[] {
    return this.#answering.setupTokens;
  }

  /** What the peer has said of itself. */
  get setup(): SetupOptions {
    return this.#peerSetup;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The peer has asked to end the session soon: what is new is to be asked for elsewhere. */
  get leaving(): boolean {
    return this.#wentAway;
  }

  /** Something that was asked of the peer is not over. */
  get busy(): boolean {
    return this.#asking.busy;
  }

  subscribe(track: TrackName, params: Params, events: SubscriptionEvents): Subscription {
    return this.#asking.subscribe(track, params, events);
  }

  /** Objects of the past. Returns its end. */
  fetch(range: FetchRange, params: Params, events: FetchEvents): () => void {
    return this.#asking.fetch(range, params, events);
  }

  /** How far a track is, or why that is not said. */
  trackStatus(track: TrackName, params: Params = {}): Promise<StatusAnswer | Refused> {
    return this.#asking.trackStatus(track, params);
  }

  /** Says that tracks are to be had here. The answer is undefined for yes; `cancelled` hears when the peer wants them no more. */
  publishNamespace(
    namespace: readonly string[],
    {
      params = {},
      cancelled = () => {},
    }: { readonly params?: Params; readonly cancelled?: (why: Refused) => void } = {},
  ): { readonly answer: Promise<Refused | undefined>; end(): void } {
    return this.#asking.publishNamespace(namespace, params, cancelled);
  }

  /**
   * Sends a track without being asked for it: groups may go out on it at once. `params` say how far it is. The answer is undefined for
   * yes; no ends it.
   */
  publish(
    track: TrackName,
    params: Params = {},
  ): { readonly answer: Promise<Refused | undefined>; readonly outgoing: Outgoing } {
    const answer = Promise.withResolvers<Refused | undefined>();
    const id = this.#asking.publish(track, params, (why, wishes) => {
      if (why) outgoing.refused();
      else if (wishes) outgoing.update(wishes);
      answer.resolve(why);
    });
    const outgoing = this.#answering.push({ id, track, params });
    return { answer: answer.promise, outgoing };
  }

  /** Asks which namespaces with this beginning are to be had. Returns its end. */
  subscribeNamespace(prefix: readonly string[], params: Params, events: NamespaceEvents): () => void {
    return this.#asking.subscribeNamespace(prefix, params, events);
  }

  /**
   * Asks the peer to move to another session. What it has asked for goes on; new requests are refused where the draft has a code for it.
   * After `withinMs` what is still open ends with the session; 0 sets no such time.
   */
  goAway({ uri = "", withinMs = 0 }: { readonly uri?: string; readonly withinMs?: number } = {}): void {
    if (this.#goingAway) return;
    this.#goingAway = true;
    this.#send({ type: "goaway", uri, timeoutMs: withinMs, firstRefused: this.#answering.refuseNew() });
    if (withinMs === 0) return;
    this.#leaving = setTimeout(() => {
      if (this.#answering.isIdle) this.close("noError", "This session has ended");
      else this.close("goawayTimeout", "Requests are open although this session was to end");
    }, withinMs).unref();
  }

  close(code: keyof typeof sessionErrors, reason: string): void {
    if (this.#closed) return;
    this.transport.close(sessionErrors[code], reason);
    this.#end({ code: sessionErrors[code], reason });
  }

  #options(): SetupOptions {
    return {
      maxRequestId: this.#answering.allowed,
      maxTokenCacheBytes: maxTokenBytes,
      implementation: "Sluice",
      ...this.#setup,
    };
  }

  #send(message: Message): void {
    if (this.#closed) return;
    if (this.#isReady || this.#pipelines) this.#carriage.send(message);
    else this.#early.push(message);
  }

  /** Runs what reads the peer's bytes; what it must not send ends the session. */
  #guard(run: () => void): void {
    if (this.#closed) return;
    try {
      run();
    } catch (error) {
      if (error instanceof Violation) return this.close(error.code, error.message);
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    const { broke } = this.#on;
    if (!broke) throw error;
    if (this.#closed) return;
    broke(error, this.transport.remote);
    this.close("internal", "");
  }

  #take(message: Message): void {
    if (!this.#isReady) {
      const own = this.draft.ownStream === "all";
      const expected = own ? "setup" : this.#side === "server" ? "client-setup" : "server-setup";
      if (message.type !== expected && this.#pipelines && this.#overtook.push(message) <= maxOvertook) return;
      if (message.type !== expected)
        throw new Violation("protocolViolation", `The first message is ${message.type}`);
      return this.#begin((message as Message & { options: SetupOptions }).options);
    }
    switch (message.type) {
      case "setup":
      case "client-setup":
      case "server-setup":
        throw new Violation("protocolViolation", "SETUP came twice");
      case "max-request-id":
        return this.#asking.raise(message.max);
      case "requests-blocked":
      case "publish-blocked":
        return;
      case "goaway":
        if (this.#side === "server" && message.uri !== "")
          throw new Violation("protocolViolation", "A client does not say where to go");
        if (this.#wentAway) throw new Violation("protocolViolation", "GOAWAY came twice");
        if (
          message.firstRefused !== undefined &&
          message.firstRefused % 2 !== (this.#side === "client" ? 0 : 1)
        )
          throw new Violation("invalidRequestId", "GOAWAY is about requests of its sender");
        this.#wentAway = true;
        this.#on.goaway?.(message.uri);
        return;
      case "request-ok":
      case "request-error":
      case "subscribe-ok":
      case "fetch-ok":
      case "namespace":
      case "namespace-done":
      case "publish-namespace-cancel":
        return this.#asking.answered(message);
      case "publish-done":
        // Of what this side has subscribed to, or of what the peer has pushed.
        if (message.id % 2 === (this.#side === "client" ? 0 : 1)) return this.#asking.answered(message);
        return this.#answering.take(message);
      case "unsubscribe-namespace":
        // What a lost answer to a request of ours becomes, too.
        if (message.id % 2 === (this.#side === "client" ? 0 : 1)) return this.#asking.answered(message);
        return this.#answering.take(message);
      case "publish-ok":
        return this.#asking.answered({ ...message, type: "request-ok", of: "publish" });
      default:
        return this.#answering.take(message);
    }
  }

  #begin(options: SetupOptions): void {
    clearTimeout(this.#late);
    const { versions } = options;
    if (this.draft.number === 14 && !versions?.includes(draft14.version))
      throw new Violation("versionNegotiation", `Spoken here is ${protocols.join(", ")}`);
    this.#peerSetup = options;
    // Draft 18 10.3.1: whose transport says it already, or who is no client, does not say where he wants to go.
    const mayAsk = this.#side === "server" && this.transport.native === true;
    if (options.path !== undefined && !mayAsk) throw new Violation("invalidPath", "PATH has no place here");
    if (options.authority !== undefined && !mayAsk)
      throw new Violation("invalidAuthority", "AUTHORITY has no place here");
    this.#answering.begin(options);
    if (this.#side === "server" && this.draft.ownStream !== "all") this.#carriage.setup(this.#options());
    this.#isReady = true;
    for (const message of this.#early.splice(0)) this.#carriage.send(message);
    this.#asking.begin(options.maxRequestId);
    // Before requests that are here already: who hears them may be chosen only now.
    this.#on.ready?.(this);
    for (const message of this.#overtook.splice(0)) this.#take(message);
    this.#carriage.begin();
  }

  #end(how: Closed): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#late);
    clearTimeout(this.#leaving);
    this.#carriage.drop();
    this.#answering.end();
    this.#asking.end();
    this.#on.closed?.(how);
  }
}
