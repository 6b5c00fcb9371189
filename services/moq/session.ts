import { ControlReader, draft16 } from "./codec/draft16.ts";
import {
  type Message,
  type Params,
  requestErrors,
  resetCodes,
  type SetupOptions,
  type Token,
  type TrackName,
} from "./codec/messages.ts";
import { DataReader, type StreamObject } from "./codec/objects.ts";
import { sessionErrors, textOf, Violation } from "./codec/wire.ts";
import {
  type Asked,
  type FetchAsked,
  type FetchEvents,
  FetchReply,
  type GroupSink,
  type NamespaceAsked,
  Outgoing,
  type Pending,
  type Refused,
  type StatusAsked,
  type SubscribeAsked,
  type Subscription,
  type SubscriptionEvents,
  type Wire,
} from "./requests.ts";
import type { BiStream, Closed, ReceiveStream, Session } from "./transport.ts";

/** The versions that a session of ours speaks, the best first. */
export const protocols = ["moqt-16"] as const;

/** Requests of the peer that are open at a time. */
const maxRequests = 64;
const setupMs = 5_000;
const maxTokenBytes = 16 << 10;
/** How long streams of a subscription that is over may still come. */
const doneMs = 10_000;
/** Streams whose track is not known yet, and bytes of their objects. */
const maxEarlyStreams = 32;
const maxEarlyBytes = 8 << 20;

export interface PeerOptions {
  readonly transport: Session;
  readonly side: "client" | "server";
  readonly setup?: SetupOptions | undefined;
  readonly on: PeerEvents;
}

/** What the peer asks for. Whatever is absent is answered NOT_SUPPORTED. */
export interface PeerEvents {
  /** Both sides have said what they can; requests may be made. */
  readonly ready?: (peer: Peer) => void;
  readonly subscribe?: (asked: SubscribeAsked) => void;
  readonly fetch?: (asked: FetchAsked) => void;
  readonly trackStatus?: (asked: StatusAsked) => void;
  readonly publishNamespace?: (asked: NamespaceAsked) => void;
  readonly publishNamespaceDone?: (namespace: readonly string[]) => void;
  /** `tell` says of namespaces that come and go; it returns nothing and may be called until `gone`. */
  readonly subscribeNamespace?: (
    asked: NamespaceAsked,
    tell: { come(namespace: readonly string[]): void; go(namespace: readonly string[]): void },
  ) => (() => void) | undefined;
  readonly goaway?: (uri: string) => void;
  readonly closed?: (how: Closed) => void;
}

/** One peer that speaks MoQT (draft-ietf-moq-transport-16), as client or server, over any transport. */
export class Peer {
  readonly transport: Session;
  readonly #side: "client" | "server";
  readonly #on: PeerEvents;
  readonly #wire: Wire;
  readonly #reader = new ControlReader(draft16);
  #control: BiStream | undefined;
  #early: Message[] = [];
  #isReady = false;
  #closed = false;
  readonly #late: NodeJS.Timeout;
  /** Of ours. */
  #nextId: number;
  #maxId = 0;
  #blocked: (() => void)[] = [];
  readonly #pending = new Map<number, Pending>();
  readonly #byAlias = new Map<number, Pending & { kind: "subscribe" }>();
  #orphans: { alias: number; adopt: () => void; bytes: () => number }[] = [];
  /** Of the peer. */
  #nextPeerId: number;
  #allowed = 2 * maxRequests;
  readonly #open = new Set<number>();
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #replies = new Map<number, FetchReply>();
  readonly #announced = new Map<number, readonly string[]>();
  readonly #tokens = new Map<number, Uint8Array>();
  #tokenBytes = 0;
  #setupTokens: readonly string[] = [];
  #wentAway = false;

  constructor({ transport, side, setup, on }: PeerOptions) {
    this.transport = transport;
    this.#side = side;
    this.#on = on;
    this.#nextId = side === "client" ? 0 : 1;
    this.#nextPeerId = side === "client" ? 1 : 0;
    this.#wire = {
      send: (message) => this.#send(message),
      openUni: () => transport.openUni(),
      get queued() {
        return transport.queued;
      },
      release: (id) => this.#release(id),
    };
    this.#late = setTimeout(() => this.close("controlTimeout", "no SETUP came in time"), setupMs);
    if (side === "client") {
      this.#control = transport.openBi();
      this.#sendNow({ type: "client-setup", options: this.#options(setup) });
      this.#listen(this.#control);
    }
    transport.serve({
      bi: (stream) => this.#bi(stream),
      uni: (stream) => this.#guard(() => this.#data(stream)),
      closed: (how) => this.#end(how),
    });
  }

  /** The texts of the tokens in the peer's SETUP. */
  get setupTokens(): readonly string[] {
    return this.#setupTokens;
  }

  get closed(): boolean {
    return this.#closed;
  }

  subscribe(track: TrackName, params: Params, events: SubscriptionEvents): Subscription {
    const id = this.#request({ kind: "subscribe", events }, (id) => ({
      type: "subscribe",
      id,
      track,
      params,
    }));
    return {
      id,
      update: (changed) =>
        void this.#request({ kind: "update", settle: () => {} }, (update) => ({
          type: "request-update",
          id: update,
          existing: id,
          params: changed,
        })),
      end: () => {
        const pending = this.#pending.get(id);
        if (pending?.kind !== "subscribe") return;
        this.#forget(id, pending);
        this.#send({ type: "unsubscribe", id });
      },
    };
  }

  /** Objects of the past. Returns its end. */
  fetch(
    range: Extract<Message, { type: "fetch" }>["range"],
    params: Params,
    events: FetchEvents,
  ): () => void {
    const id = this.#request({ kind: "fetch", events }, (id) => ({ type: "fetch", id, range, params }));
    return () => {
      if (this.#pending.delete(id)) this.#send({ type: "fetch-cancel", id });
    };
  }

  /** Says that tracks are to be had here. The answer is undefined for yes. */
  publishNamespace(namespace: readonly string[]): {
    readonly answer: Promise<Refused | undefined>;
    end(): void;
  } {
    const answer = Promise.withResolvers<Refused | undefined>();
    const id = this.#request({ kind: "publish-namespace", settle: answer.resolve }, (id) => ({
      type: "publish-namespace",
      id,
      namespace,
      params: {},
    }));
    return {
      answer: answer.promise,
      end: () => this.#send({ type: "publish-namespace-done", id }),
    };
  }

  /** Asks the peer to move to another session; it may go on for a while. */
  goAway(uri = ""): void {
    this.#send({ type: "goaway", uri });
  }

  close(code: keyof typeof sessionErrors, reason: string): void {
    if (this.#closed) return;
    this.transport.close(sessionErrors[code], reason);
    this.#end({ code: sessionErrors[code], reason });
  }

  #options(setup: SetupOptions | undefined): SetupOptions {
    return {
      maxRequestId: this.#allowed,
      maxTokenCacheBytes: maxTokenBytes,
      implementation: "Sluice",
      ...setup,
    };
  }

  #send(message: Message): void {
    if (this.#closed) return;
    if (this.#isReady) this.#sendNow(message);
    else this.#early.push(message);
  }

  #sendNow(message: Message): void {
    this.#control?.send.write(draft16.encode(message));
  }

  /** Runs what reads the peer's bytes; what it must not send ends the session. */
  #guard(run: () => void): void {
    if (this.#closed) return;
    try {
      run();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.close(error.code, error.message);
    }
  }

  #listen(control: BiStream): void {
    control.receive.listen({
      data: (bytes, fin) =>
        this.#guard(() => {
          for (const message of this.#reader.push(bytes)) if (!this.#closed) this.#take(message);
          if (fin) throw new Violation("protocolViolation", "The control stream has ended");
        }),
      gone: () => this.#guard(() => this.close("protocolViolation", "The control stream was reset")),
    });
  }

  #bi(stream: BiStream): void {
    if (!this.#control) {
      this.#control = stream;
      return this.#listen(stream);
    }
    this.#namespaces(stream);
  }

  #take(message: Message): void {
    if (!this.#isReady) {
      const expected = this.#side === "server" ? "client-setup" : "server-setup";
      if (message.type !== expected)
        throw new Violation("protocolViolation", `The first message is ${message.type}`);
      return this.#begin((message as Message & { options: SetupOptions }).options);
    }
    switch (message.type) {
      case "client-setup":
      case "server-setup":
        throw new Violation("protocolViolation", "SETUP came twice");
      case "max-request-id":
        if (message.max <= this.#maxId)
          throw new Violation("protocolViolation", "MAX_REQUEST_ID does not rise");
        this.#maxId = message.max;
        for (const again of this.#blocked.splice(0)) again();
        return;
      case "requests-blocked":
        return;
      case "goaway":
        if (this.#wentAway) throw new Violation("protocolViolation", "GOAWAY came twice");
        if (this.#side === "server" && message.uri !== "")
          throw new Violation("protocolViolation", "A client does not say where to go");
        this.#wentAway = true;
        this.#on.goaway?.(message.uri);
        return;
      case "request-ok":
      case "request-error":
      case "subscribe-ok":
      case "fetch-ok":
      case "publish-done":
        return this.#answered(message);
      case "publish-ok":
        throw new Violation("protocolViolation", "PUBLISH_OK answers nothing");
      case "subscribe":
        return this.#subscribed(message);
      case "fetch":
        return this.#fetched(message);
      case "track-status": {
        this.#admit(message.id);
        const asked = this.#asked(message);
        if (!asked) return;
        const accept: StatusAsked["accept"] = ({ largest }) => {
          this.#send({ type: "request-ok", id: message.id, of: "track-status", params: { largest } });
          this.#release(message.id);
        };
        return this.#ask(this.#on.trackStatus, { ...asked, accept });
      }
      case "publish-namespace": {
        this.#admit(message.id);
        const { namespace } = message;
        const asked = this.#asked({ ...message, track: { namespace, name: "" } });
        if (!asked) return;
        const accept = () => {
          this.#announced.set(message.id, namespace);
          this.#send({ type: "request-ok", id: message.id, of: "publish-namespace", params: {} });
        };
        return this.#ask(this.#on.publishNamespace, { ...asked, namespace, accept });
      }
      case "publish-namespace-done": {
        const namespace = this.#announced.get(message.id);
        if (!namespace) return;
        this.#announced.delete(message.id);
        this.#release(message.id);
        this.#on.publishNamespaceDone?.(namespace);
        return;
      }
      case "publish-namespace-cancel":
        return;
      case "request-update": {
        this.#admit(message.id);
        const outgoing = this.#outgoing.get(message.existing);
        if (!outgoing && !this.#open.has(message.existing))
          throw new Violation("protocolViolation", "REQUEST_UPDATE is of no request");
        this.#tokensOf(message.params);
        outgoing?.update(message.params);
        this.#send({ type: "request-ok", id: message.id, of: "update", params: {} });
        return this.#release(message.id);
      }
      case "unsubscribe":
        return this.#outgoing.get(message.id)?.cancel(resetCodes.cancelled);
      case "fetch-cancel":
        return this.#replies.get(message.id)?.cancel(resetCodes.cancelled);
      case "publish": {
        this.#admit(message.id);
        const reason = "Say with PUBLISH_NAMESPACE what there is; it is subscribed to from here";
        this.#refuse(message.id, { code: requestErrors.notSupported, reason });
        return;
      }
      case "subscribe-namespace":
      case "namespace":
      case "namespace-done":
        throw new Violation("protocolViolation", `${message.type} has a stream of its own`);
    }
  }

  #begin(options: SetupOptions): void {
    clearTimeout(this.#late);
    this.#maxId = options.maxRequestId ?? 0;
    this.#setupTokens = this.#tokensOf({
      // Draft 16 9.3.1.5: what is too much to register is used all the same.
      tokens: (options.tokens ?? []).map((token) =>
        token.use === "register" && token.value.length + 16 > maxTokenBytes
          ? { use: "value", type: token.type, value: token.value }
          : token,
      ),
    });
    if (this.#side === "server") this.#sendNow({ type: "server-setup", options: this.#options(undefined) });
    this.#isReady = true;
    for (const message of this.#early.splice(0)) this.#sendNow(message);
    for (const again of this.#blocked.splice(0)) again();
    this.#on.ready?.(this);
  }

  /** Sends a request of ours once the peer allows another. */
  #request(pending: Pending, message: (id: number) => Message): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#pending.set(id, pending);
    const go = (): void => {
      if (!this.#pending.has(id)) return;
      if (this.#isReady && id < this.#maxId) return this.#send(message(id));
      this.#blocked.push(go);
      if (this.#isReady) this.#send({ type: "requests-blocked", max: this.#maxId });
    };
    go();
    return id;
  }

  #answered(
    message: Extract<
      Message,
      { type: "request-ok" | "request-error" | "subscribe-ok" | "fetch-ok" | "publish-done" }
    >,
  ): void {
    const pending = this.#pending.get(message.id);
    // Of one that was taken back.
    if (!pending) {
      if (message.id >= this.#nextId || message.id % 2 !== this.#nextId % 2)
        throw new Violation("invalidRequestId", "An answer is to no request");
      return;
    }
    const { type } = message;
    if (type === "request-error") {
      const why = { code: message.code, reason: message.reason, retryMs: message.retryMs };
      this.#forget(message.id, pending);
      if (pending.kind === "subscribe" || pending.kind === "fetch") pending.events.refused(why);
      else pending.settle(why);
    } else if (type === "request-ok" && pending.kind !== "subscribe" && pending.kind !== "fetch") {
      if (pending.kind !== "publish-namespace") this.#pending.delete(message.id);
      pending.settle(undefined);
    } else if (type === "subscribe-ok" && pending.kind === "subscribe") {
      if (this.#byAlias.has(message.alias))
        throw new Violation("duplicateTrackAlias", "An alias is of two tracks");
      pending.alias = message.alias;
      this.#byAlias.set(message.alias, pending);
      pending.events.ok({ largest: message.params.largest });
      const orphans = this.#orphans.filter(({ alias }) => alias === message.alias);
      this.#orphans = this.#orphans.filter(({ alias }) => alias !== message.alias);
      for (const { adopt } of orphans) adopt();
    } else if (type === "publish-done" && pending.kind === "subscribe") {
      this.#pending.delete(message.id);
      // Streams that it speaks of may come later than this.
      if (pending.alias !== undefined) setTimeout(() => this.#byAlias.delete(pending.alias!), doneMs).unref();
      pending.events.done(message.code, message.reason);
    } else if (type === "fetch-ok" && pending.kind === "fetch") {
      pending.answered = true;
      if (pending.ended) this.#pending.delete(message.id);
      pending.events.ok(message);
    } else throw new Violation("protocolViolation", `${type} is no answer to ${pending.kind}`);
  }

  #forget(id: number, pending: Pending): void {
    this.#pending.delete(id);
    if (pending.kind === "subscribe" && pending.alias !== undefined) this.#byAlias.delete(pending.alias);
  }

  /** A stream of objects for one of our requests. */
  #data(stream: ReceiveStream): void {
    let sink: GroupSink | undefined;
    // What came before it was known whose it is.
    let early: ((to: GroupSink) => void)[] | undefined;
    let earlyBytes = 0;
    const give = (what: (to: GroupSink) => void) => {
      if (early) early.push(what);
      else if (sink) what(sink);
    };
    const reader = new DataReader({
      header: (header) => {
        if (header.type === "fetch") {
          sink = this.#fetchSink(header.id);
          if (!sink) stream.stop(resetCodes.cancelled);
          return;
        }
        const known = this.#byAlias.get(header.alias);
        if (known) {
          sink = known.events.group(header);
          return;
        }
        if (this.#orphans.length >= maxEarlyStreams || !this.#expectsAlias()) {
          stream.stop(resetCodes.cancelled);
          return;
        }
        early = [];
        this.#orphans.push({
          alias: header.alias,
          bytes: () => earlyBytes,
          adopt: () => {
            sink = this.#byAlias.get(header.alias)?.events.group(header);
            const waiting = early ?? [];
            early = undefined;
            for (const what of waiting) give(what);
          },
        });
      },
      object: (object: StreamObject) => {
        if (early) {
          earlyBytes += object.payload.length;
          const waiting = this.#orphans.reduce((sum, one) => sum + one.bytes(), 0);
          if (waiting > maxEarlyBytes) throw new Violation("protocolViolation", "Objects of no track came");
        }
        give((to) => to.object(object));
      },
    });
    stream.listen({
      data: (bytes, fin) =>
        this.#guard(() => {
          reader.push(bytes);
          if (!fin) return;
          reader.end();
          give((to) => to.end());
        }),
      gone: () => give((to) => to.gone()),
    });
  }

  #expectsAlias(): boolean {
    for (const pending of this.#pending.values())
      if (pending.kind === "subscribe" && pending.alias === undefined) return true;
    return false;
  }

  #fetchSink(id: number): GroupSink | undefined {
    const pending = this.#pending.get(id);
    if (pending?.kind !== "fetch") return undefined;
    const over = () => {
      pending.ended = true;
      if (pending.answered) this.#pending.delete(id);
    };
    return {
      object: pending.events.object,
      end: () => {
        over();
        pending.events.end();
      },
      gone: () => {
        over();
        pending.events.gone();
      },
    };
  }

  /** Counts a request of the peer. */
  #admit(id: number): void {
    if (id >= this.#allowed) throw new Violation("tooManyRequests", "There are too many requests");
    if (id !== this.#nextPeerId)
      throw new Violation("invalidRequestId", `Request ${id} came, ${this.#nextPeerId} is next`);
    this.#nextPeerId += 2;
    this.#open.add(id);
  }

  #release(id: number): void {
    this.#outgoing.delete(id);
    this.#replies.delete(id);
    this.#open.delete(id);
    const allowed = this.#nextPeerId + 2 * (maxRequests - this.#open.size);
    // Not for each one.
    if (allowed - this.#allowed < maxRequests) return;
    this.#allowed = allowed;
    this.#send({ type: "max-request-id", max: allowed });
  }

  #refuse(id: number, { code, reason, retryMs }: Refused): void {
    this.#send({ type: "request-error", id, code, reason, retryMs });
    this.#release(id);
  }

  /** What the peer asks, with its tokens read; undefined when these cannot be. */
  #asked(message: {
    readonly id: number;
    readonly track: TrackName;
    readonly params: Params;
  }): Asked | undefined {
    const { id, track, params } = message;
    const tokens = this.#tokensOf(params, id);
    if (!tokens) return undefined;
    const reject = (why: Refused) => this.#refuse(id, why);
    return { id, track, params, tokens: [...tokens, ...this.#setupTokens], reject };
  }

  #ask<T extends Pick<Asked, "reject">>(answer: ((asked: T) => void) | undefined, asked: T): void {
    if (answer) answer(asked);
    else asked.reject({ code: requestErrors.notSupported, reason: "This is not done here" });
  }

  #subscribed(message: Extract<Message, { type: "subscribe" }>): void {
    this.#admit(message.id);
    const asked = this.#asked(message);
    if (!asked) return;
    const accept: SubscribeAsked["accept"] = ({ largest }) => {
      const outgoing = new Outgoing(this.#wire, message, largest);
      this.#outgoing.set(message.id, outgoing);
      this.#send({
        type: "subscribe-ok",
        id: message.id,
        alias: message.id,
        params: { largest },
        extensions: new Uint8Array(0),
      });
      return outgoing;
    };
    this.#ask(this.#on.subscribe, { ...asked, accept });
  }

  #fetched(message: Extract<Message, { type: "fetch" }>): void {
    this.#admit(message.id);
    const { id, range, params } = message;
    const joined = range.kind === "standalone" ? undefined : this.#outgoing.get(range.joining);
    if (joined && joined.params.filter?.from !== "largest object")
      throw new Violation(
        "protocolViolation",
        "A fetch joins a subscription that is not to the largest object",
      );
    const track = range.kind === "standalone" ? range.track : (joined?.track ?? { namespace: [], name: "" });
    const asked = this.#asked({ id, track, params });
    if (!asked) return;
    const accept: FetchAsked["accept"] = ({ end, endOfTrack }) => {
      this.#send({ type: "fetch-ok", id, end, endOfTrack, params: {}, extensions: new Uint8Array(0) });
      const reply = new FetchReply(this.#wire, id);
      this.#replies.set(id, reply);
      return reply;
    };
    this.#ask(this.#on.fetch, { ...asked, range, joined, accept });
  }

  /** Draft 16 9.25: SUBSCRIBE_NAMESPACE has a stream, on which the answers come. */
  #namespaces(stream: BiStream): void {
    const reader = new ControlReader(draft16);
    const reply = (message: Message, fin = false) => stream.send.write(draft16.encode(message), fin);
    let ended: (() => void) | undefined;
    let id: number | undefined;
    const over = () => {
      ended?.();
      ended = undefined;
      if (id !== undefined) this.#release(id);
      id = undefined;
    };
    stream.send.onStopped = over;
    stream.receive.listen({
      data: (bytes, fin) =>
        this.#guard(() => {
          for (const message of reader.push(bytes)) {
            if (message.type !== "subscribe-namespace" || id !== undefined)
              throw new Violation("protocolViolation", `${message.type} has no place on this stream`);
            this.#admit(message.id);
            id = message.id;
            const { prefix } = message;
            const tokens = [...(this.#tokensOf(message.params) ?? []), ...this.#setupTokens];
            const reject = ({ code, reason, retryMs }: Refused) => {
              reply({ type: "request-error", id: message.id, code, reason, retryMs }, true);
              over();
            };
            const asked: NamespaceAsked = {
              ...{ id: message.id, params: message.params, tokens, namespace: prefix, reject },
              accept: () =>
                reply({ type: "request-ok", id: message.id, of: "subscribe-namespace", params: {} }),
            };
            if (!this.#on.subscribeNamespace) {
              reject({ code: requestErrors.notSupported, reason: "This is not done here" });
              return;
            }
            const suffix = (namespace: readonly string[]) => namespace.slice(prefix.length);
            ended = this.#on.subscribeNamespace(asked, {
              come: (namespace) => reply({ type: "namespace", suffix: suffix(namespace) }),
              go: (namespace) => reply({ type: "namespace-done", suffix: suffix(namespace) }),
            });
          }
          if (fin) over();
        }),
      gone: over,
    });
  }

  /** The tokens of a request as text, registered ones looked up. With `id`, one that is not known refuses that request. */
  #tokensOf(
    params: { readonly tokens?: readonly Token[] | undefined },
    id: number,
  ): readonly string[] | undefined;
  #tokensOf(params: { readonly tokens?: readonly Token[] | undefined }): readonly string[];
  #tokensOf(
    { tokens = [] }: { readonly tokens?: readonly Token[] | undefined },
    id?: number,
  ): readonly string[] | undefined {
    const texts: string[] = [];
    for (const token of tokens) {
      if (token.use === "delete") {
        this.#tokenBytes -= (this.#tokens.get(token.alias)?.length ?? -16) + 16;
        this.#tokens.delete(token.alias);
      } else if (token.use === "alias") {
        const value = this.#tokens.get(token.alias);
        if (value) texts.push(textOf(value));
        else if (id !== undefined) {
          this.#refuse(id, { code: requestErrors.malformedToken, reason: "There is no token of this alias" });
          return undefined;
        }
      } else {
        if (token.use === "register") {
          if (this.#tokens.has(token.alias))
            throw new Violation("duplicateTokenAlias", "A token's alias is registered twice");
          this.#tokenBytes += token.value.length + 16;
          if (this.#tokenBytes > maxTokenBytes)
            throw new Violation("tokenCacheOverflow", "Tokens are more than was allowed");
          this.#tokens.set(token.alias, token.value);
        }
        texts.push(textOf(token.value));
      }
    }
    return texts;
  }

  #end(how: Closed): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#late);
    for (const outgoing of [...this.#outgoing.values()]) outgoing.drop();
    for (const reply of [...this.#replies.values()]) reply.drop();
    const why = { code: requestErrors.internal, reason: "The session is over" };
    for (const pending of [...this.#pending.values()])
      if (pending.kind === "subscribe") pending.events.done(requestErrors.internal, why.reason);
      else if (pending.kind === "fetch") pending.events.gone();
      else pending.settle(why);
    this.#pending.clear();
    this.#byAlias.clear();
    this.#orphans = [];
    this.#on.closed?.(how);
  }
}
