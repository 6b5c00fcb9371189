import { ControlReader, encodeMessage } from "../../../services/moq/codec/control.ts";
import { draft18 } from "../../../services/moq/codec/drafts.ts";
import type { Message, Params } from "../../../services/moq/codec/messages.ts";
import { DataReader, type StreamObject } from "../../../services/moq/codec/objects.ts";
import { cutShort, joined, Reader } from "../../../services/moq/codec/wire.ts";
import { type Call, type Dialled, dial } from "./dial.ts";

/** What comes of one subscription. */
export interface TrackEvents {
  readonly refused: (code: number, reason: string) => void;
  /** A group begins; its objects come to what is returned. */
  readonly group: (group: number) => GroupEvents;
  /** Nothing follows. */
  readonly done: (code: number) => void;
}

export interface GroupEvents {
  object(object: StreamObject): void;
  /** All of it has come, or no more of it will. */
  end(): void;
}

/** What comes of a group of the past. */
export interface FetchEvents {
  readonly object: (payload: Uint8Array) => void;
  /** `whole` is false where some of it is not to be had. */
  readonly end: (whole: boolean) => void;
}

export interface MoqClient {
  /** Returns its end. */
  subscribe(name: string, params: Params, events: TrackEvents): () => void;
  /** All objects of one group of the past. Returns its end. */
  fetch(name: string, group: number, events: FetchEvents): () => void;
  /** Settles when the relay answers, whatever it says. */
  ping(): Promise<void>;
  close(): void;
  /** Called once when the session is lost, not when it was closed here. */
  onLost: ((reason: string) => void) | undefined;
  /** The relay ends it soon; `address` is where to go on, where that is elsewhere. */
  onLeave: ((address: string | undefined) => void) | undefined;
}

/** A track that was to come with the session is asked for when it has not come so soon after that. */
const PUSH_MS = 150;
/** One that nobody takes by then is not wanted. */
const UNTAKEN_MS = 1_000;
/** Streams that break may do so a moment before the session is known to be lost. */
const LOSS_MS = 20;
/** What `dial` offers to speak. */
const draft = draft18;
const setupStream = 0x2f00;

/** Opens a session with a relay. Rejects when there is none within `withinMs`. */
export async function connectMoq(call: Call, withinMs: number): Promise<MoqClient> {
  const { transport, wants } = dial(call);
  transport.closed.catch(() => {});
  const late = setTimeout(() => transport.close(), withinMs);
  try {
    await transport.ready;
    return new Client({ transport, wants, namespace: call.way.namespace });
  } catch (error) {
    transport.close();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

interface RequestEvents {
  /** An answer, or what follows one. */
  readonly answer: (message: Message) => void;
  /** The relay says nothing more to it. */
  readonly over: () => void;
}

interface Subscribed {
  readonly events: TrackEvents;
  alias?: number;
}

/** A track that the relay sends without having been asked on this session. */
interface Pushed {
  /** Returns its end. */
  readonly take: (one: Subscribed, params: Params) => () => void;
  readonly refuse: () => void;
}

class Client implements MoqClient {
  readonly #transport: WebTransport;
  readonly #namespace: string;
  readonly #subscribed = new Set<Subscribed>();
  readonly #aliases = new Map<number, Subscribed>();
  /** Streams that came before the answer that says whose they are. */
  #orphans: { readonly alias: number; readonly adopt: (to: Subscribed) => void }[] = [];
  readonly #fetches = new Map<number, FetchEvents>();
  /** Tracks that were to come with the session, and of which nobody has them yet: what came, and who waits for it. */
  readonly #coming: Map<string, { pushed?: Pushed; taker?: (pushed: Pushed) => void }>;
  #nextId = 0;
  #closed = false;
  onLost: MoqClient["onLost"];
  onLeave: MoqClient["onLeave"];

  constructor({ transport, wants, namespace }: Dialled & { readonly namespace: string }) {
    this.#transport = transport;
    this.#coming = new Map(wants.map((name) => [name, {}]));
    setTimeout(() => this.#refuseRest(), UNTAKEN_MS);
    this.#namespace = namespace;
    transport.closed.then(
      ({ reason }) => this.#lost(reason || "the relay closed the session"),
      (error: unknown) => this.#lost(String(error)),
    );
    const lost = (error: unknown) => this.#lost(String(error));
    this.#setUp().catch(lost);
    this.#accept().catch(lost);
    this.#acceptRequests().catch(lost);
  }

  subscribe(name: string, params: Params, events: TrackEvents): () => void {
    const one: Subscribed = { events };
    this.#subscribed.add(one);
    const leave = () => this.#leave(one);
    const track = { namespace: [this.#namespace], name };
    const ask = () =>
      this.#ask("subscribe", (id) => ({ type: "subscribe", id, track, params }), {
        answer: (message) => {
          if (message.type === "subscribe-ok" && this.#subscribed.has(one)) this.#know(one, message.alias);
          else this.#heard(one, message);
        },
        over: () => {
          if (leave()) events.refused(0, `${name} was taken back`);
        },
      });
    const coming = params.filter?.from === "largest object" ? this.#coming.get(name) : undefined;
    let end = coming ? () => this.#coming.delete(name) : ask();
    if (coming) {
      const late = setTimeout(() => {
        if (!this.#coming.delete(name)) return;
        if (this.#subscribed.has(one)) end = ask();
      }, PUSH_MS);
      coming.taker = (pushed) => {
        clearTimeout(late);
        this.#coming.delete(name);
        end = pushed.take(one, params);
      };
      if (coming.pushed) coming.taker(coming.pushed);
    }
    return () => {
      if (leave()) end();
    };
  }

  /** What the relay says of a subscription after its beginning. */
  #heard(one: Subscribed, message: Message): void {
    if (message.type === "request-error") {
      if (this.#leave(one)) one.events.refused(message.code, message.reason);
    } else if (message.type === "publish-done" && this.#subscribed.delete(one))
      // Its last groups may still be under way.
      one.events.done(message.code);
  }

  #leave(one: Subscribed): boolean {
    if (!this.#subscribed.delete(one)) return false;
    if (one.alias !== undefined) this.#aliases.delete(one.alias);
    return true;
  }

  fetch(name: string, group: number, events: FetchEvents): () => void {
    const track = { namespace: [this.#namespace], name };
    const [start, last] = [
      { group, object: 0 },
      { group, object: 0 },
    ];
    let number = -1;
    const fail = () => {
      if (this.#fetches.delete(number)) events.end(false);
    };
    const message = (id: number): Message => {
      number = id;
      this.#fetches.set(id, events);
      return { type: "fetch", id, range: { kind: "standalone", track, start, end: last }, params: {} };
    };
    const answer = ({ type }: Message) => type === "request-error" && fail();
    // Its objects come on a stream of their own, after this one too.
    const end = this.#ask("fetch", message, { answer, over: () => {} });
    return () => {
      if (this.#fetches.delete(number)) end();
    };
  }

  ping(): Promise<void> {
    const track = { namespace: [this.#namespace], name: "catalog" };
    return new Promise((resolve) => {
      const message = (id: number): Message => ({ type: "track-status", id, track, params: {} });
      this.#ask("track-status", message, { answer: () => resolve(), over: () => {} });
    });
  }

  close(): void {
    this.#closed = true;
    this.#transport.close();
  }

  #lost(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#transport.close();
    this.onLost?.(reason);
  }

  async #setUp(): Promise<void> {
    const control = (await this.#transport.createUnidirectionalStream()).getWriter();
    await control.write(
      encodeMessage(draft, { type: "setup", options: { implementation: "Sluice player" } }),
    );
  }

  /** Makes a request on a stream of its own. Returns its end. */
  #ask(
    kind: "subscribe" | "fetch" | "track-status",
    message: (id: number) => Message,
    on: RequestEvents,
  ): () => void {
    const id = this.#nextId;
    this.#nextId += 2;
    const bytes = encodeMessage(draft, message(id));
    const ended = new AbortController();
    void this.#talk({ id, kind, bytes, on, signal: ended.signal }).catch(() =>
      // Where all of the session goes, that is the loss.
      setTimeout(() => this.#closed || on.over(), LOSS_MS),
    );
    return () => ended.abort();
  }

  async #talk(request: {
    readonly id: number;
    readonly kind: "subscribe" | "fetch" | "track-status";
    readonly bytes: Uint8Array;
    readonly on: RequestEvents;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { id, kind, bytes, on, signal } = request;
    const { readable, writable } = await this.#transport.createBidirectionalStream();
    const writer = writable.getWriter();
    const source = readable.getReader();
    const end = () => {
      writer.abort().catch(() => {});
      source.cancel().catch(() => {});
    };
    if (signal.aborted) return end();
    signal.addEventListener("abort", end);
    writer.write(bytes).catch(() => {});
    const reader = new ControlReader(draft, { id, kind });
    for (;;) {
      const { done, value } = await source.read();
      if (signal.aborted) return;
      if (done) break;
      for (const message of reader.push(value)) on.answer(message);
    }
    on.over();
  }

  #know(one: Subscribed, alias: number): void {
    one.alias = alias;
    this.#aliases.set(alias, one);
    const mine = this.#orphans.filter((orphan) => orphan.alias === alias);
    this.#orphans = this.#orphans.filter((orphan) => orphan.alias !== alias);
    for (const { adopt } of mine) adopt(one);
  }

  async #acceptRequests(): Promise<void> {
    for await (const stream of chunksOf(this.#transport.incomingBidirectionalStreams))
      void this.#hear(stream);
  }

  /** A request of the relay, which can only be a track that it sends. */
  async #hear({ readable, writable }: WebTransportBidirectionalStream): Promise<void> {
    const writer = writable.getWriter();
    const source = readable.getReader();
    const end = () => {
      writer.abort().catch(() => {});
      source.cancel().catch(() => {});
    };
    const say = (message: Message) => void writer.write(encodeMessage(draft, message)).catch(() => {});
    const reader = new ControlReader(draft);
    let taken: Subscribed | undefined;
    const come = ({ id, alias, track }: Extract<Message, { type: "publish" }>) => {
      const pushed: Pushed = {
        take: (one, { priority }) => {
          taken = one;
          this.#know(one, alias);
          say({ type: "request-ok", id, of: "publish", params: { forward: true, priority } });
          return end;
        },
        refuse: () => {
          this.#orphans = this.#orphans.filter((orphan) => orphan.alias !== alias);
          end();
        },
      };
      const coming = this.#coming.get(track.name);
      if (!coming) pushed.refuse();
      else if (coming.taker) coming.taker(pushed);
      else coming.pushed = pushed;
    };
    try {
      for (;;) {
        const { done, value } = await source.read();
        if (done) break;
        for (const message of reader.push(value))
          if (message.type === "publish") come(message);
          else if (taken) this.#heard(taken, message);
      }
    } catch {
      // As for what was asked: where all of the session goes, that is the loss.
      await new Promise((resolve) => setTimeout(resolve, LOSS_MS));
    }
    if (taken && !this.#closed && this.#leave(taken)) taken.events.refused(0, "it was taken back");
  }

  /** What came for nobody is not wanted. */
  #refuseRest(): void {
    for (const [name, { pushed, taker }] of this.#coming) {
      if (taker) continue;
      this.#coming.delete(name);
      pushed?.refuse();
    }
  }

  async #accept(): Promise<void> {
    for await (const stream of chunksOf(this.#transport.incomingUnidirectionalStreams))
      void this.#read(stream);
  }

  /** A stream of objects, or the one on which the relay says what it says of itself. */
  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    let take: { push(bytes: Uint8Array): boolean; end(whole: boolean): void } | undefined;
    let head: Uint8Array = new Uint8Array(0);
    let whole = true;
    try {
      for await (const bytes of chunksOf(stream)) {
        let more = bytes;
        if (!take) {
          head = head.length > 0 ? joined(head, bytes) : bytes;
          const type = firstOf(head);
          if (type === undefined) continue;
          take = type === setupStream ? this.#control() : this.#objects();
          more = head;
        }
        if (!take.push(more)) break;
      }
    } catch {
      // A group that was reset ends where it stands.
      whole = false;
    }
    take?.end(whole);
  }

  #control() {
    const reader = new ControlReader(draft);
    return {
      push: (bytes: Uint8Array) => {
        for (const message of reader.push(bytes))
          if (message.type === "goaway") this.onLeave?.(message.uri || undefined);
        return true;
      },
      end: () => this.#lost("the relay ended the session"),
    };
  }

  /** Takes the bytes of one stream; `push` is false once nobody wants the rest. */
  #objects() {
    let group: GroupEvents | undefined;
    let fetch: number | undefined;
    let early: StreamObject[] | undefined;
    let ended = false;
    let unwanted = false;
    const reader = new DataReader(draft, {
      header: (header) => {
        if (header.type === "fetch") {
          fetch = header.id;
          unwanted = !this.#fetches.has(fetch);
          return;
        }
        const known = this.#aliases.get(header.alias);
        if (known) {
          group = known.events.group(header.group);
          return;
        }
        unwanted = this.#coming.size === 0 && ![...this.#subscribed].some(({ alias }) => alias === undefined);
        if (unwanted) return;
        early = [];
        this.#orphans.push({
          alias: header.alias,
          adopt: ({ events }) => {
            group = events.group(header.group);
            for (const object of early ?? []) group.object(object);
            early = undefined;
            if (ended) group.end();
          },
        });
      },
      object: (object) => {
        if (fetch !== undefined) this.#fetches.get(fetch)?.object(object.payload);
        else if (early) early.push(object);
        else group?.object(object);
      },
    });
    return {
      push: (bytes: Uint8Array) => {
        reader.push(bytes);
        return !unwanted;
      },
      end: (whole: boolean) => {
        ended = true;
        group?.end();
        const events = fetch === undefined ? undefined : this.#fetches.get(fetch);
        if (fetch !== undefined && this.#fetches.delete(fetch)) events?.end(whole);
      },
    };
  }
}

/** The number that a stream begins with; undefined while it is not whole. */
function firstOf(bytes: Uint8Array): number | undefined {
  try {
    return new Reader(bytes, draft.integers).varint();
  } catch (error) {
    if (error === cutShort) return undefined;
    throw error;
  }
}

/** Not every browser can iterate over a stream. */
async function* chunksOf<T>(stream: ReadableStream<T>): AsyncGenerator<T> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Tells the relay that nobody reads on, where there is more.
    reader.cancel().catch(() => {});
  }
}
