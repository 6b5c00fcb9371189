import type { Asking } from "./asking.ts";
import type { Draft } from "./codec/drafts.ts";
import {
  doneCodes,
  type Message,
  type Params,
  type RequestKind,
  requestErrors,
  resetCodes,
  type SetupOptions,
  type TrackName,
} from "./codec/messages.ts";
import { Violation } from "./codec/wire.ts";
import {
  type Asked,
  type FetchAsked,
  FetchReply,
  type NamespaceAsked,
  Outgoing,
  type PublishAsked,
  type Refused,
  type StatusAsked,
  type SubscribeAsked,
  type SubscriptionEvents,
  type Wire,
} from "./requests.ts";
import { Tokens } from "./tokens.ts";

/** Requests of the peer that are open at a time. */
const maxRequests = 64;
/** Numbers of requests that came out of order, on streams of their own. */
const maxAhead = 256;
/** A joining FETCH may be here before the SUBSCRIBE that it joins. */
const joinMs = 1_000;

/** What the peer asks for. Whatever is absent is answered NOT_SUPPORTED. */
export interface Answers {
  readonly subscribe?: ((asked: SubscribeAsked) => void) | undefined;
  readonly fetch?: ((asked: FetchAsked) => void) | undefined;
  readonly trackStatus?: ((asked: StatusAsked) => void) | undefined;
  readonly publishNamespace?: ((asked: NamespaceAsked) => void) | undefined;
  readonly publishNamespaceDone?: ((namespace: readonly string[]) => void) | undefined;
  /** A track that the peer pushes. */
  readonly publish?: ((asked: PublishAsked) => void) | undefined;
  /** `tell` says of namespaces that come and go; it returns nothing and may be called until `gone`. */
  readonly subscribeNamespace?:
    | ((
        asked: NamespaceAsked,
        tell: { come(namespace: readonly string[]): void; go(namespace: readonly string[]): void },
      ) => (() => void) | undefined)
    | undefined;
}

export interface AnsweringOptions {
  readonly draft: Draft;
  readonly side: "client" | "server";
  readonly on: Answers;
  readonly send: (message: Message) => void;
  /** The request is over on this side. */
  readonly finish: (id: number) => void;
  readonly wire: Pick<Wire, "openUni" | "queued">;
  readonly broke: Wire["broke"];
  /** Draft 14 8.25: says a namespace as a request of ours. Returns its end. */
  readonly announce: (namespace: readonly string[]) => () => void;
  /** Draft 14 8.25: an announcement that this side has asked for, or its end; false for one that it has not. */
  readonly follows: (namespace: readonly string[], here: boolean) => boolean;
  /** Whose the streams of pushed tracks are. */
  readonly pushed: Pick<Asking, "take" | "leave" | "over" | "knows">;
}

const keyOf = (namespace: readonly string[]) => namespace.map((field) => `${field.length}:${field}`).join("");

/** What the peer asks of this side, and what is still open of it. */
export class Answering {
  readonly #options: AnsweringOptions;
  readonly #wire: Wire;
  readonly #tokens = new Tokens();
  #setupTokens: readonly string[] = [];
  readonly #parity: 0 | 1;
  #next: number;
  readonly #ahead = new Set<number>();
  #allowed = 2 * maxRequests;
  #refusedFrom: number | undefined;
  readonly #open = new Map<number, RequestKind>();
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #replies = new Map<number, FetchReply>();
  readonly #announced = new Map<number, readonly string[]>();
  readonly #followed = new Map<
    number,
    { readonly prefix: readonly string[]; end: (() => void) | undefined }
  >();
  /** Tracks that the peer pushes, by request. */
  readonly #pushed = new Map<number, { readonly alias: number; done?: SubscriptionEvents["done"] }>();
  /** Joining fetches that wait for what becomes of a subscription. */
  readonly #joining = new Map<number, Set<() => void>>();

  constructor(options: AnsweringOptions) {
    this.#options = options;
    this.#parity = options.side === "client" ? 1 : 0;
    this.#next = this.#parity;
    this.#wire = {
      draft: options.draft,
      send: options.send,
      openUni: (rank) => options.wire.openUni(rank),
      get queued() {
        return options.wire.queued;
      },
      release: (id) => this.#release(id),
      broke: options.broke,
    };
  }

  /** The texts of the tokens in the peer's SETUP. */
  get setupTokens(): readonly string[] {
    return this.#setupTokens;
  }

  /** The first request that is not allowed yet. */
  get allowed(): number {
    return this.#allowed;
  }

  /** A request that comes from now on is refused; the number of the first of them. */
  refuseNew(): number {
    this.#refusedFrom ??= this.#next;
    return this.#refusedFrom;
  }

  get isIdle(): boolean {
    return this.#open.size === 0;
  }

  /** The peer's SETUP. Throws Violation. */
  begin({ tokens }: SetupOptions): void {
    this.#setupTokens = this.#tokens.ofSetup(tokens);
  }

  /** A request, or what becomes of one. Throws Violation. */
  take(message: Message): void {
    switch (message.type) {
      case "subscribe":
        return this.#subscribe(message);
      case "fetch":
        return this.#fetch(message);
      case "track-status": {
        const asked = this.#asked(message, "track-status");
        if (!asked) return;
        const accept: StatusAsked["accept"] = ({ largest }) => {
          this.#options.send({ type: "request-ok", id: message.id, of: "track-status", params: { largest } });
          this.#release(message.id);
        };
        return this.#ask(this.#options.on.trackStatus, { ...asked, accept });
      }
      case "publish-namespace": {
        const { id, namespace } = message;
        const asked = this.#asked({ ...message, track: { namespace, name: "" } }, "publish-namespace");
        if (!asked) return;
        const accept = () => {
          if (!this.#open.has(id)) return;
          this.#announced.set(id, namespace);
          this.#options.send({ type: "request-ok", id, of: "publish-namespace", params: {} });
        };
        if (this.#options.follows(namespace, true)) return accept();
        return this.#ask(this.#options.on.publishNamespace, { ...asked, namespace, accept });
      }
      case "publish-namespace-done": {
        const namespace = this.#announced.get(message.id);
        this.#announced.delete(message.id);
        this.#release(message.id);
        if (namespace && !this.#options.follows(namespace, false))
          this.#options.on.publishNamespaceDone?.(namespace);
        return;
      }
      case "request-update":
        return this.#update(message);
      case "unsubscribe": {
        const outgoing = this.#outgoing.get(message.id);
        if (outgoing) outgoing.cancel(resetCodes.cancelled);
        else this.#release(message.id);
        return;
      }
      case "fetch-cancel": {
        const reply = this.#replies.get(message.id);
        if (reply) reply.cancel(resetCodes.cancelled);
        else this.#release(message.id);
        return;
      }
      case "publish": {
        return this.#publish(message);
      }
      case "publish-done": {
        const pushed = this.#pushed.get(message.id);
        if (!pushed) return;
        this.#pushed.delete(message.id);
        if (pushed.done) this.#options.pushed.over(pushed.alias);
        else this.#options.pushed.leave(pushed.alias);
        this.#release(message.id);
        return pushed.done?.(message.code, message.reason);
      }
      case "subscribe-tracks": {
        const asked = this.#asked(
          { ...message, track: { namespace: message.prefix, name: "" } },
          "subscribe-tracks",
        );
        asked?.reject({ code: requestErrors.notSupported, reason: "Tracks are not pushed from here" });
        return;
      }
      case "subscribe-namespace":
        return this.#follow(message);
      case "unsubscribe-namespace":
        return this.#release(message.id);
      default:
        throw new Violation("protocolViolation", `${message.type} has no place here`);
    }
  }

  /** The session is over. */
  end(): void {
    for (const outgoing of [...this.#outgoing.values()]) outgoing.drop();
    for (const reply of [...this.#replies.values()]) reply.drop();
    for (const { end } of this.#followed.values()) end?.();
    this.#followed.clear();
    this.#open.clear();
    const pushed = [...this.#pushed.values()];
    this.#pushed.clear();
    for (const { done } of pushed) done?.(doneCodes.internal, "The session is over");
  }

  /** A track that this side pushes: what the peer says of it comes here. */
  push({ id, track, params }: Pick<Asked, "id" | "track" | "params">): Outgoing {
    const outgoing = new Outgoing(this.#wire, { id, track, params }, params.largest);
    this.#outgoing.set(id, outgoing);
    return outgoing;
  }

  /** Counts a request of the peer; false for one that is refused at once. */
  #admit(id: number, kind: RequestKind): boolean {
    const { draft } = this.#options;
    const limited = draft.types["max-request-id"] !== undefined;
    if (limited && id >= this.#allowed) throw new Violation("tooManyRequests", "There are too many requests");
    // Where some requests have a stream of their own, one may overtake another.
    const ordered = draft.ownStream !== "all" && draft.ownStream.length === 0;
    if (ordered ? id !== this.#next : id % 2 !== this.#parity || id < this.#next || this.#ahead.has(id))
      throw new Violation("invalidRequestId", `Request ${id} came, ${this.#next} is next`);
    if (this.#ahead.size >= maxAhead || id - this.#next > 2 * maxAhead)
      throw new Violation("invalidRequestId", `Request ${id} is too far ahead of ${this.#next}`);
    this.#ahead.add(id);
    while (this.#ahead.delete(this.#next)) this.#next += 2;
    this.#open.set(id, kind);
    const refuse = (code: number, reason: string, retryMs?: number) => {
      this.#refuse(id, kind, { code, reason, retryMs });
      return false;
    };
    if (draft.number >= 18 && this.#refusedFrom !== undefined && id >= this.#refusedFrom)
      return refuse(requestErrors.goingAway, "This session ends soon");
    if (!limited && this.#open.size > maxRequests)
      return refuse(requestErrors.excessiveLoad, `More than ${maxRequests} requests are open`, 1000);
    return true;
  }

  #release(id: number): void {
    // One that this side pushed is no request of the peer.
    if (this.#outgoing.delete(id) && id % 2 !== this.#parity) return this.#options.finish(id);
    this.#replies.delete(id);
    this.#announced.delete(id);
    this.#followed.get(id)?.end?.();
    this.#followed.delete(id);
    if (!this.#open.delete(id)) return;
    this.#settle(id);
    this.#options.finish(id);
    const allowed = this.#next + 2 * (maxRequests - this.#open.size);
    // Not for each one.
    if (allowed - this.#allowed < maxRequests) return;
    this.#allowed = allowed;
    this.#options.send({ type: "max-request-id", max: allowed });
  }

  #refuse(id: number, of: RequestKind, { code, reason, retryMs }: Refused): void {
    if (!this.#open.has(id)) return;
    this.#options.send({ type: "request-error", id, of, code, reason, retryMs });
    this.#release(id);
  }

  /** What the peer asks, with its tokens read; undefined when it is refused already. */
  #asked(
    message: { readonly id: number; readonly track: TrackName; readonly params: Params },
    kind: RequestKind,
  ): Asked | undefined {
    const { id, track, params } = message;
    if (!this.#admit(id, kind)) return undefined;
    const tokens = this.#tokens.of(params.tokens);
    const reject = (why: Refused) => this.#refuse(id, kind, why);
    if ("code" in tokens) {
      reject(tokens);
      return undefined;
    }
    return { id, track, params, tokens: [...tokens, ...this.#setupTokens], reject };
  }

  #ask<T extends Pick<Asked, "reject">>(answer: ((asked: T) => void) | undefined, asked: T): void {
    if (answer) answer(asked);
    else asked.reject({ code: requestErrors.notSupported, reason: "This is not done here" });
  }

  #subscribe(message: Extract<Message, { type: "subscribe" }>): void {
    const { id } = message;
    const asked = this.#asked(message, "subscribe");
    if (!asked) return;
    const accept: SubscribeAsked["accept"] = ({ largest }) => {
      const outgoing = new Outgoing(this.#wire, message, largest);
      // Taken back while it was looked for.
      if (!this.#open.has(id)) {
        outgoing.drop();
        return outgoing;
      }
      this.#outgoing.set(id, outgoing);
      const extensions = new Uint8Array(0);
      this.#options.send({ type: "subscribe-ok", id, alias: id, params: { largest }, extensions });
      this.#settle(id);
      return outgoing;
    };
    this.#ask(this.#options.on.subscribe, { ...asked, accept });
  }

  #publish(message: Extract<Message, { type: "publish" }>): void {
    const { id, alias } = message;
    const { pushed, draft, send } = this.#options;
    if (pushed.knows(alias)) throw new Violation("duplicateTrackAlias", "An alias is of two tracks");
    const asked = this.#asked(message, "publish");
    if (!asked) return pushed.leave(alias);
    const track: { readonly alias: number; done?: SubscriptionEvents["done"] } = { alias };
    this.#pushed.set(id, track);
    const end = () => {
      if (!this.#pushed.delete(id)) return;
      pushed.leave(alias);
    };
    this.#ask(this.#options.on.publish, {
      ...asked,
      reject: (why) => {
        end();
        asked.reject(why);
      },
      accept: ({ group, done }, params = { forward: true }) => {
        // Taken back while it was thought about.
        if (this.#pushed.get(id) !== track) {
          queueMicrotask(() => done(doneCodes.internal, "It was taken back"));
          return () => {};
        }
        track.done = done;
        if (draft.types["publish-ok"] === undefined) send({ type: "request-ok", id, of: "publish", params });
        else send({ type: "publish-ok", id, params });
        pushed.take(alias, { group });
        return () => {
          if (this.#pushed.get(id) !== track) return;
          end();
          send({ type: "unsubscribe", id });
          this.#release(id);
        };
      },
    });
  }

  #fetch(message: Extract<Message, { type: "fetch" }>): void {
    const { id, range } = message;
    const asked = this.#asked({ ...message, track: { namespace: [], name: "" } }, "fetch");
    if (!asked) return;
    if (range.kind === "standalone") return this.#fetchOf(message, asked, undefined);
    const { joining } = range;
    const join = () => {
      if (!this.#open.has(id)) return;
      const joined = this.#outgoing.get(joining);
      const { filter, forward = true } = joined?.params ?? {};
      const early = this.#options.draft.number < 18;
      if (joined && early && filter?.from !== "largest object")
        throw new Violation("protocolViolation", "A fetch joins what is not to the largest object");
      if (joined && !forward)
        return asked.reject({ code: requestErrors.invalidRange, reason: "What is joined sends nothing" });
      this.#fetchOf(message, asked, joined);
    };
    const isComing = !this.#ahead.has(joining) && joining >= this.#next && joining % 2 === this.#parity;
    if (this.#outgoing.has(joining) || (!isComing && this.#open.get(joining) !== "subscribe")) return join();
    const waiting = this.#joining.get(joining) ?? new Set();
    this.#joining.set(joining, waiting);
    const late = isComing ? setTimeout(() => go(), joinMs).unref() : undefined;
    const go = () => {
      clearTimeout(late);
      waiting.delete(go);
      join();
    };
    waiting.add(go);
  }

  /** It is known what becomes of a subscription. */
  #settle(id: number): void {
    const waiting = this.#joining.get(id);
    this.#joining.delete(id);
    for (const go of waiting ?? []) go();
  }

  #fetchOf(message: Extract<Message, { type: "fetch" }>, asked: Asked, joined: Outgoing | undefined): void {
    const { id, range, params } = message;
    const accept: FetchAsked["accept"] = ({ end, endOfTrack }) => {
      const reply = new FetchReply(this.#wire, id);
      if (!this.#open.has(id)) {
        reply.cancel(resetCodes.cancelled);
        return reply;
      }
      this.#options.send({
        ...{ type: "fetch-ok", id, end, endOfTrack, extensions: new Uint8Array(0) },
        params: this.#options.draft.params === "fields" ? { order: params.order ?? "ascending" } : {},
      });
      this.#replies.set(id, reply);
      return reply;
    };
    this.#ask(this.#options.on.fetch, { ...asked, range, joined, accept });
  }

  #update(message: Extract<Message, { type: "request-update" }>): void {
    const { id, existing, params } = message;
    const isOpen = this.#open.has(existing);
    if (!this.#admit(id, "update")) return;
    const isOurs = this.#outgoing.has(existing);
    if (!isOpen && !isOurs && this.#options.draft.number < 18 && existing >= this.#next)
      throw new Violation("protocolViolation", "REQUEST_UPDATE is of no request");
    const tokens = this.#tokens.of(params.tokens);
    const silent = this.#options.draft.params === "fields";
    const outgoing = this.#outgoing.get(existing);
    const followed = this.#followed.get(existing);
    let refused: Refused | undefined = "code" in tokens ? tokens : undefined;
    const { prefix } = params;
    if (prefix && followed && this.#overlaps(prefix, existing))
      refused = { code: requestErrors.prefixOverlap, reason: "Another request is about these namespaces" };
    else if (prefix) refused ??= { code: requestErrors.notSupported, reason: "Ask for them anew" };
    if (!refused) {
      outgoing?.update(params);
      if (!silent) {
        const largest = outgoing?.largestNow?.();
        this.#options.send({ type: "request-ok", id, of: "update", params: largest ? { largest } : {} });
      }
      return this.#release(id);
    }
    if (!silent) this.#refuse(id, "update", refused);
    else this.#release(id);
    // Draft 18 10.8: what could not be changed ends.
    if (this.#options.draft.number >= 18) outgoing?.fail();
  }

  #overlaps(prefix: readonly string[], besides?: number): boolean {
    for (const [id, other] of this.#followed) {
      if (id === besides) continue;
      const length = Math.min(prefix.length, other.prefix.length);
      if (keyOf(prefix.slice(0, length)) === keyOf(other.prefix.slice(0, length))) return true;
    }
    return false;
  }

  #follow(message: Extract<Message, { type: "subscribe-namespace" }>): void {
    const { id, prefix } = message;
    const asked = this.#asked({ ...message, track: { namespace: prefix, name: "" } }, "subscribe-namespace");
    if (!asked) return;
    const { on, send, draft, announce } = this.#options;
    if (!on.subscribeNamespace) return this.#ask(undefined, asked);
    if (message.wants === "publish")
      return asked.reject({ code: requestErrors.notSupported, reason: "Tracks are not pushed from here" });
    if (this.#overlaps(prefix))
      return asked.reject({
        ...{ code: requestErrors.prefixOverlap, reason: "Another request is about these namespaces" },
      });
    const followed: { prefix: readonly string[]; end: (() => void) | undefined } = { prefix, end: undefined };
    this.#followed.set(id, followed);
    const told = new Map<string, () => void>();
    const ended = on.subscribeNamespace(
      {
        ...{ id, params: message.params, tokens: asked.tokens, namespace: prefix, reject: asked.reject },
        accept: () => send({ type: "request-ok", id, of: "subscribe-namespace", params: {} }),
      },
      {
        come: (namespace) => {
          const suffix = namespace.slice(prefix.length);
          if (draft.params === "fields") told.set(keyOf(namespace), announce(namespace));
          else send({ type: "namespace", id, suffix });
        },
        go: (namespace) => {
          const key = keyOf(namespace);
          if (draft.params !== "fields")
            return send({ type: "namespace-done", id, suffix: namespace.slice(prefix.length) });
          told.get(key)?.();
          told.delete(key);
        },
      },
    );
    // Refused meanwhile.
    if (this.#followed.get(id) === followed) followed.end = ended;
    else ended?.();
  }
}
