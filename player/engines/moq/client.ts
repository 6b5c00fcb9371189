import { ControlReader, encodeMessage } from "../../../services/moq/codec/control.ts";
import { draft16 } from "../../../services/moq/codec/drafts.ts";
import type { Message, Params } from "../../../services/moq/codec/messages.ts";
import { DataReader, type StreamObject } from "../../../services/moq/codec/objects.ts";

/** How to reach a relay, as the lifecycle answer says it. */
export interface Way {
  /** UDP port of the host that the page's media comes from. */
  readonly port: number;
  /** SHA-256 of its certificates in base64; empty where the browser knows who signed them. */
  readonly hashes: readonly string[];
  /** Of the broadcast. */
  readonly namespace: string;
  /** What only playlists have of it: captions, languages. */
  readonly lacks?: readonly string[];
}

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
}

/** The peer may make no requests of us; ours are few. */
const maxRequestId = 0;

/**
 * Opens a session for `playback` (a uid or a token) on the relay beside `base`, the address of the playback. Rejects when there is
 * none within `withinMs`. The relay knows the viewer by `session`.
 */
export async function connectMoq(
  base: string,
  way: Way,
  { session, withinMs }: { readonly session: string; readonly withinMs: number },
): Promise<MoqClient> {
  const { hostname, pathname } = new URL(base, location.href);
  // A page can set no header of a session, and no cache sees its address.
  const named = `CMCD=${encodeURIComponent(`sid="${session}"`)}`;
  const transport = new WebTransport(`https://${hostname}:${way.port}${pathname}?${named}`, {
    protocols: [draft16.protocol],
    ...(way.hashes.length > 0 && {
      serverCertificateHashes: way.hashes.map((hash) => ({ algorithm: "sha-256", value: fromBase64(hash) })),
    }),
  } as WebTransportOptions);
  transport.closed.catch(() => {});
  const late = setTimeout(() => transport.close(), withinMs);
  try {
    await transport.ready;
    const client = new Client(transport, way.namespace);
    await client.ready;
    return client;
  } catch (error) {
    transport.close();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

interface Subscribed {
  readonly events: TrackEvents;
  alias?: number;
}

class Client implements MoqClient {
  readonly ready: Promise<void>;
  readonly #transport: WebTransport;
  readonly #namespace: string;
  readonly #requests = new Map<number, Subscribed>();
  readonly #aliases = new Map<number, Subscribed>();
  /** Streams that came before the answer that says whose they are. */
  #orphans: { readonly alias: number; readonly adopt: (to: Subscribed) => void }[] = [];
  readonly #fetches = new Map<number, FetchEvents>();
  readonly #pings = new Map<number, () => void>();
  #control: WritableStreamDefaultWriter<Uint8Array> | undefined;
  readonly #isReady = Promise.withResolvers<void>();
  #nextId = 0;
  #closed = false;
  onLost: ((reason: string) => void) | undefined;

  constructor(transport: WebTransport, namespace: string) {
    this.#transport = transport;
    this.#namespace = namespace;
    this.ready = this.#isReady.promise;
    this.ready.catch(() => {});
    transport.closed.then(
      ({ reason }) => this.#lost(reason || "the relay closed the session"),
      (error: unknown) => this.#lost(String(error)),
    );
    void this.#open().catch((error: unknown) => this.#lost(String(error)));
  }

  subscribe(name: string, params: Params, events: TrackEvents): () => void {
    const id = this.#nextId;
    this.#nextId += 2;
    const request: Subscribed = { events };
    this.#requests.set(id, request);
    this.#send({ type: "subscribe", id, track: { namespace: [this.#namespace], name }, params });
    return () => {
      if (!this.#requests.delete(id)) return;
      if (request.alias !== undefined) this.#aliases.delete(request.alias);
      this.#send({ type: "unsubscribe", id });
    };
  }

  fetch(name: string, group: number, events: FetchEvents): () => void {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#fetches.set(id, events);
    const track = { namespace: [this.#namespace], name };
    const [start, end] = [
      { group, object: 0 },
      { group, object: 0 },
    ];
    this.#send({ type: "fetch", id, range: { kind: "standalone", track, start, end }, params: {} });
    return () => {
      if (this.#fetches.delete(id)) this.#send({ type: "fetch-cancel", id });
    };
  }

  ping(): Promise<void> {
    const id = this.#nextId;
    this.#nextId += 2;
    const track = { namespace: [this.#namespace], name: "catalog" };
    return new Promise((resolve) => {
      this.#pings.set(id, resolve);
      this.#send({ type: "track-status", id, track, params: {} });
    });
  }

  close(): void {
    this.#closed = true;
    this.#transport.close();
  }

  #lost(reason: string): void {
    this.#isReady.reject(new Error(reason));
    if (this.#closed) return;
    this.#closed = true;
    this.#transport.close();
    this.onLost?.(reason);
  }

  #send(message: Message): void {
    this.#control?.write(encodeMessage(draft16, message)).catch(() => {});
  }

  async #open(): Promise<void> {
    const { readable, writable } = await this.#transport.createBidirectionalStream();
    this.#control = writable.getWriter();
    this.#send({ type: "client-setup", options: { maxRequestId, implementation: "Sluice player" } });
    void this.#accept().catch((error: unknown) => this.#lost(String(error)));
    const reader = new ControlReader(draft16);
    for await (const bytes of chunksOf(readable))
      for (const message of reader.push(bytes)) this.#take(message);
    this.#lost("the relay ended the session");
  }

  #take(message: Message): void {
    if (message.type === "request-ok" || message.type === "request-error") {
      this.#pings.get(message.id)?.();
      if (this.#pings.delete(message.id)) return;
    }
    switch (message.type) {
      case "server-setup":
        return this.#isReady.resolve();
      case "subscribe-ok": {
        const request = this.#requests.get(message.id);
        if (!request) return;
        request.alias = message.alias;
        this.#aliases.set(message.alias, request);
        const mine = this.#orphans.filter(({ alias }) => alias === message.alias);
        this.#orphans = this.#orphans.filter(({ alias }) => alias !== message.alias);
        for (const { adopt } of mine) adopt(request);
        return;
      }
      case "request-error": {
        this.#fetches.get(message.id)?.end(false);
        this.#fetches.delete(message.id);
        const request = this.#requests.get(message.id);
        this.#requests.delete(message.id);
        request?.events.refused(message.code, message.reason);
        return;
      }
      case "publish-done": {
        const request = this.#requests.get(message.id);
        this.#requests.delete(message.id);
        request?.events.done(message.code);
        return;
      }
      case "goaway":
        return this.#lost("the relay asks to leave");
    }
  }

  async #accept(): Promise<void> {
    for await (const stream of chunksOf(this.#transport.incomingUnidirectionalStreams))
      void this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    let group: GroupEvents | undefined;
    let fetch: number | undefined;
    let early: StreamObject[] | undefined;
    let ended = false;
    let unwanted = false;
    const reader = new DataReader(draft16, {
      header: (header) => {
        if (header.type === "fetch") {
          fetch = header.id;
          unwanted = !this.#fetches.has(fetch);
          return;
        }
        const request = this.#aliases.get(header.alias);
        if (request) {
          group = request.events.group(header.group);
          return;
        }
        unwanted = ![...this.#requests.values()].some(({ alias }) => alias === undefined);
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
    let whole = true;
    try {
      for await (const bytes of chunksOf(stream)) {
        reader.push(bytes);
        if (unwanted) break;
      }
    } catch {
      // A group that was reset ends where it stands.
      whole = false;
    }
    if (fetch !== undefined) {
      this.#fetches.get(fetch)?.end(whole);
      this.#fetches.delete(fetch);
    }
    ended = true;
    group?.end();
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

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
