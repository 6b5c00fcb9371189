import { Arrivals } from "./arrivals.ts";
import type { Draft } from "./codec/drafts.ts";
import {
  type FetchRange,
  type Message,
  type Params,
  requestErrors,
  type TrackName,
} from "./codec/messages.ts";
import { Violation } from "./codec/wire.ts";
import type {
  FetchEvents,
  GroupSink,
  NamespaceEvents,
  Pending,
  Refused,
  StatusAnswer,
  Subscription,
  SubscriptionEvents,
} from "./requests.ts";
import type { ReceiveStream } from "./transport.ts";

/** How long streams of a subscription that is over may still come. */
const doneMs = 10_000;
/** Tracks that were pushed and refused: so many are remembered, for streams of theirs that still come. */
const maxUnwanted = 256;

export interface AskingOptions {
  readonly draft: Draft;
  readonly side: "client" | "server";
  readonly send: (message: Message) => void;
  /** The request is over on this side. */
  readonly finish: (id: number) => void;
  /** The peer may push tracks: their streams may be here before it says so. */
  readonly pushes: () => boolean;
  readonly guard: (run: () => void) => void;
}

/** What this side asks of its peer, and what comes of it. */
export class Asking {
  readonly #options: AskingOptions;
  readonly #arrivals: Arrivals;
  readonly #pending = new Map<number, Pending>();
  readonly #byAlias = new Map<number, { readonly events: Pick<SubscriptionEvents, "group"> }>();
  /** Aliases of tracks that the peer has pushed and nobody takes. */
  readonly #unwanted = new Set<number>();
  #nextId: number;
  #maxId = 0;
  #isReady = false;
  #blocked: (() => void)[] = [];
  /** Requests that wait for the peer to allow them: their numbers are given, so they go out even when they are not wanted any more. */
  readonly #unsent = new Set<number>();

  constructor(options: AskingOptions) {
    this.#options = options;
    this.#nextId = options.side === "client" ? 0 : 1;
    this.#arrivals = new Arrivals(options.draft, {
      group: (header) => this.#byAlias.get(header.alias)?.events.group(header),
      fetched: (id) => this.#fetchSink(id),
      descends: (id) => {
        const pending = this.#pending.get(id);
        return pending?.kind === "fetch" && pending.descends;
      },
      expects: (alias) => this.#expects(alias),
      guard: options.guard,
    });
  }

  /** The peer's SETUP has come, with the first request that it does not allow yet; undefined where drafts set no such limit. */
  begin(maxId: number | undefined): void {
    this.#isReady = true;
    this.#maxId =
      this.#options.draft.types["max-request-id"] === undefined ? Number.POSITIVE_INFINITY : (maxId ?? 0);
    for (const again of this.#blocked.splice(0)) again();
  }

  raise(max: number): void {
    if (max <= this.#maxId) throw new Violation("protocolViolation", "MAX_REQUEST_ID does not rise");
    this.#maxId = max;
    for (const again of this.#blocked.splice(0)) again();
  }

  /** A track that the peer pushes under this alias is taken. Throws Violation for an alias that another track has. */
  take(alias: number, events: Pick<SubscriptionEvents, "group">): void {
    if (this.#byAlias.has(alias)) throw new Violation("duplicateTrackAlias", "An alias is of two tracks");
    this.#unwanted.delete(alias);
    this.#byAlias.set(alias, { events });
    this.#arrivals.adopt(alias);
  }

  /** A track that the peer pushes under this alias is not taken, or not any more. */
  leave(alias: number): void {
    this.#byAlias.delete(alias);
    this.#unwanted.add(alias);
    if (this.#unwanted.size > maxUnwanted) this.#unwanted.delete(this.#unwanted.values().next().value!);
    this.#arrivals.refuse(alias);
  }

  /** The peer pushes no more under this alias; what is under way may come later than that. */
  over(alias: number): void {
    const track = this.#byAlias.get(alias);
    const forget = () => this.#byAlias.get(alias) === track && this.#byAlias.delete(alias);
    setTimeout(forget, doneMs).unref();
  }

  /** Whether a track has this alias. */
  knows(alias: number): boolean {
    return this.#byAlias.has(alias);
  }

  /** Something is not answered, or goes on after its answer. */
  get busy(): boolean {
    return this.#pending.size > 0;
  }

  subscribe(track: TrackName, params: Params, events: SubscriptionEvents): Subscription {
    const id = this.#request({ kind: "subscribe", events }, (id) => ({
      type: "subscribe",
      id,
      track,
      params,
    }));
    let known = params;
    return {
      id,
      update: (changed, settle = () => {}) => {
        if (!this.#pending.has(id)) return;
        known = { ...known, ...changed };
        // Draft 14 says all of it again, and has no answer.
        const fields = this.#options.draft.params === "fields";
        const update = this.#request({ kind: "update", settle }, (update) => ({
          ...{ type: "request-update", id: update, existing: id },
          params: fields ? known : changed,
        }));
        if (!fields) return;
        this.#pending.delete(update);
        settle(undefined);
      },
      end: () => {
        const pending = this.#pending.get(id);
        if (pending?.kind !== "subscribe") return;
        this.#forget(id, pending);
        this.#takeBack(id, { type: "unsubscribe", id });
      },
    };
  }

  /** Objects of the past. Returns its end. */
  fetch(range: FetchRange, params: Params, events: FetchEvents): () => void {
    const descends = params.order === "descending";
    const id = this.#request({ kind: "fetch", events, descends }, (id) => ({
      type: "fetch",
      id,
      range,
      params,
    }));
    return () => {
      if (this.#pending.delete(id)) this.#takeBack(id, { type: "fetch-cancel", id });
    };
  }

  trackStatus(track: TrackName, params: Params): Promise<StatusAnswer | Refused> {
    return new Promise((settle) => {
      this.#request({ kind: "track-status", settle }, (id) => ({ type: "track-status", id, track, params }));
    });
  }

  publishNamespace(namespace: readonly string[], params: Params, cancelled: (why: Refused) => void) {
    const answer = Promise.withResolvers<Refused | undefined>();
    const id = this.#request({ kind: "publish-namespace", settle: answer.resolve, cancelled }, (id) => ({
      ...{ type: "publish-namespace", id, namespace, params },
    }));
    return {
      answer: answer.promise,
      end: () => {
        if (this.#pending.delete(id)) this.#takeBack(id, { type: "publish-namespace-done", id });
      },
    };
  }

  /** Says that a track is sent to the peer from now on, if it wants it. Its number is also its alias. */
  publish(
    track: TrackName,
    params: Params,
    settle: (why: Refused | undefined, wishes?: Params) => void,
  ): number {
    return this.#request({ kind: "publish", settle }, (id) => ({
      ...{ type: "publish", id, track, alias: id, params, extensions: new Uint8Array(0) },
    }));
  }

  /** Returns its end. */
  subscribeNamespace(prefix: readonly string[], params: Params, events: NamespaceEvents): () => void {
    const id = this.#request({ kind: "subscribe-namespace", events, prefix, here: new Set() }, (id) => ({
      ...{ type: "subscribe-namespace", id, prefix, wants: "namespace", params },
    }));
    return () => {
      if (this.#pending.delete(id)) this.#takeBack(id, { type: "unsubscribe-namespace", id, prefix });
    };
  }

  /** Draft 14 8.25: namespaces that were asked for come as announcements; true for one that is. */
  follows(namespace: readonly string[], here: boolean): boolean {
    if (this.#options.draft.params !== "fields") return false;
    for (const pending of this.#pending.values()) {
      if (pending.kind !== "subscribe-namespace") continue;
      if (!pending.prefix.every((field, i) => namespace[i] === field)) continue;
      if (here) pending.events.come(namespace);
      else pending.events.go(namespace);
      return true;
    }
    return false;
  }

  /** A stream of objects. */
  data(stream: ReceiveStream) {
    return this.#arrivals.begin(stream);
  }

  /** What the peer says to a request of ours. Throws Violation for what answers none. */
  answered(
    message: Extract<
      Message,
      {
        type:
          | ("request-ok" | "request-error" | "subscribe-ok" | "fetch-ok" | "publish-done" | "namespace")
          | ("namespace-done" | "publish-namespace-cancel" | "unsubscribe-namespace");
      }
    >,
  ): void {
    const { id } = message;
    const pending = this.#pending.get(id);
    // Of one that was taken back.
    if (!pending) {
      if (id >= this.#nextId || id % 2 !== this.#nextId % 2)
        throw new Violation("invalidRequestId", "An answer is to no request");
      return;
    }
    switch (message.type) {
      case "request-error":
        return this.#refused(id, pending, message);
      case "request-ok":
        if (pending.kind === "subscribe" || pending.kind === "fetch") break;
        if (pending.kind === "subscribe-namespace") return pending.events.ok();
        if (pending.kind === "track-status") {
          this.#over(id);
          return pending.settle({ largest: message.params.largest });
        }
        if (pending.kind !== "publish-namespace") this.#pending.delete(id);
        return pending.settle(undefined, message.params);
      case "subscribe-ok":
        if (pending.kind !== "subscribe") break;
        if (this.#byAlias.has(message.alias))
          throw new Violation("duplicateTrackAlias", "An alias is of two tracks");
        pending.alias = message.alias;
        this.#byAlias.set(message.alias, pending);
        pending.events.ok({ largest: message.params.largest });
        return this.#arrivals.adopt(message.alias);
      case "publish-done":
        if (pending.kind !== "subscribe") break;
        this.#over(id);
        if (pending.alias !== undefined) this.over(pending.alias);
        return pending.events.done(message.code, message.reason);
      case "fetch-ok":
        if (pending.kind !== "fetch") break;
        pending.answered = true;
        if (pending.ended) this.#over(id);
        return pending.events.ok(message);
      case "namespace":
      case "namespace-done": {
        if (pending.kind !== "subscribe-namespace") break;
        const key = message.suffix.map((field) => `${field.length}:${field}`).join("");
        const namespace = [...pending.prefix, ...message.suffix];
        if (message.type === "namespace") {
          pending.here.add(key);
          return pending.events.come(namespace);
        }
        if (!pending.here.delete(key))
          throw new Violation("protocolViolation", "A namespace is gone that never came");
        return pending.events.go(namespace);
      }
      case "publish-namespace-cancel":
        if (pending.kind !== "publish-namespace") break;
        this.#over(id);
        return pending.cancelled({ code: message.code, reason: message.reason });
      case "unsubscribe-namespace":
        if (pending.kind !== "subscribe-namespace") break;
        this.#over(id);
        return pending.events.gone?.();
    }
    throw new Violation("protocolViolation", `${message.type} is no answer to ${pending.kind}`);
  }

  /** The session is over. */
  end(): void {
    const why = { code: requestErrors.internal, reason: "The session is over" };
    const all = [...this.#pending.values()];
    this.#pending.clear();
    this.#byAlias.clear();
    this.#blocked = [];
    this.#arrivals.drop();
    for (const pending of all)
      if (pending.kind === "subscribe") pending.events.done(requestErrors.internal, why.reason);
      else if (pending.kind === "fetch") pending.events.gone();
      else if (pending.kind === "subscribe-namespace") pending.events.gone?.();
      else pending.settle(why);
  }

  /** Sends a request of ours once the peer allows another. */
  #request(pending: Pending, message: (id: number) => Message): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#pending.set(id, pending);
    const { send } = this.#options;
    this.#unsent.add(id);
    const go = (): void => {
      if (this.#isReady && id < this.#maxId) {
        this.#unsent.delete(id);
        return send(message(id));
      }
      this.#blocked.push(go);
      if (this.#isReady) send({ type: "requests-blocked", max: this.#maxId });
    };
    go();
    return id;
  }

  #takeBack(id: number, message: Message): void {
    if (this.#unsent.has(id)) this.#blocked.push(() => this.#options.send(message));
    else this.#options.send(message);
  }

  #refused(id: number, pending: Pending, { code, reason, retryMs }: Refused): void {
    const why = { code, reason, retryMs };
    this.#forget(id, pending);
    this.#options.finish(id);
    if (pending.kind === "subscribe" || pending.kind === "fetch" || pending.kind === "subscribe-namespace")
      pending.events.refused(why);
    else pending.settle(why);
  }

  #over(id: number): void {
    this.#pending.delete(id);
    this.#options.finish(id);
  }

  #forget(id: number, pending: Pending): void {
    this.#pending.delete(id);
    if (pending.kind === "subscribe" && pending.alias !== undefined) this.#byAlias.delete(pending.alias);
  }

  #expects(alias: number): boolean {
    if (this.#options.pushes()) return !this.#unwanted.has(alias);
    for (const pending of this.#pending.values())
      if (pending.kind === "subscribe" && pending.alias === undefined) return true;
    return false;
  }

  #fetchSink(id: number): GroupSink | undefined {
    const pending = this.#pending.get(id);
    if (pending?.kind !== "fetch") return undefined;
    const over = () => {
      pending.ended = true;
      if (pending.answered) this.#over(id);
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
}
