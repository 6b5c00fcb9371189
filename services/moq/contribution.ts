import type { Duplex } from "node:stream";
import { Failure, messageOf } from "../lib/errors.ts";
import { upgradeInternal } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { audioTag, flvHeader, scriptTag, tagHeader, videoTag, writeScript } from "../packager/flv.ts";
import { readCatalog } from "../packager/msf.ts";
import { RungTags } from "../packager/remux.ts";
import { doneCodes, requestErrors } from "./codec/messages.ts";
import type { StreamObject } from "./codec/objects.ts";
import type { PublishAsked, Refused, SubscriptionEvents } from "./requests.ts";
import { keyOf } from "./routes.ts";
import type { Peer, PeerEvents } from "./session.ts";

const maxCatalogBytes = 4 << 20;
/** Bytes of groups that came before the one ahead of them was over, and how long that one may take. */
const maxEarlyBytes = 16 << 20;
const patienceMs = 500;
/** Ingest reads all the time; a socket that holds this much has nobody behind it. */
const maxUnread = 32 << 20;
const maxSaid = 4096;
/** An encoder that pushes some of its tracks is given so long for the others before these are asked for. */
const pushMs = 1_000;
/** Tracks of which it is not known yet whether they are wanted. */
const maxPushed = 32;
/** What ingest speaks on the socket of a publish: FLV from here, a line of why from there. */
const feedProtocol = "sluice-flv";

export interface ContributionOptions {
  /** Ingest's internal address. */
  readonly ingest: string;
  readonly secret: string | undefined;
  /** The stream key that came with the session. */
  readonly key: string;
  /** The encoder's address and port. */
  readonly remote: { readonly host: string; readonly port: number };
  readonly agent: string;
  readonly log: Log;
}

/** For a peer that is an encoder: what it announces or pushes becomes a publish like any other when its key allows. One a session. */
export function contribution(options: ContributionOptions): PeerEvents {
  let peer: Peer | undefined;
  let publish: Publish | undefined;
  const stop = new AbortController();
  /** The one that this is part of; undefined when it is refused. */
  const publishOf = (asked: { readonly namespace: readonly string[]; reject(why: Refused): void }) => {
    const { namespace } = asked;
    if (publish?.open && keyOf(publish.namespace) === keyOf(namespace)) return publish;
    if (peer && !publish?.open) {
      publish = new Publish(peer, namespace, { ...options, signal: stop.signal });
      return publish;
    }
    asked.reject({ code: requestErrors.uninterested, reason: "One namespace is published a session" });
    return undefined;
  };
  return {
    ready: (ready) => {
      peer = ready;
    },
    publishNamespace: (asked) => publishOf(asked)?.announce(asked),
    publishNamespaceDone: () => publish?.end("clean"),
    publish: (asked) => publishOf({ ...asked, namespace: asked.track.namespace })?.push(asked),
    closed: () => {
      publish?.end("lost");
      stop.abort();
    },
  };
}

/** What waits for the word of ingest. */
interface Waits {
  accept(): void;
  reject(why: Refused): void;
}

/** Takes the tracks of one namespace, takes their CMAF apart and writes it to ingest as FLV. */
class Publish {
  readonly namespace: readonly string[];
  readonly #peer: Peer;
  readonly #log: Log;
  /** Ends of what is taken. */
  readonly #taken: (() => void)[] = [];
  /** Undefined once ingest has said yes. */
  #waiting: Waits[] | undefined = [];
  /** Tracks that are pushed, until it is known whether they are wanted. */
  readonly #pushed = new Map<string, PublishAsked>();
  /** Tracks that may yet be pushed: what takes one. */
  readonly #wanted = new Map<string, (asked: PublishAsked) => void>();
  /** The encoder pushes tracks. */
  #pushes = false;
  #socket: Duplex | undefined;
  #begun = false;
  #open = 0;
  #lastMs = 0;
  #over = false;

  constructor(
    peer: Peer,
    namespace: readonly string[],
    options: ContributionOptions & { readonly signal: AbortSignal },
  ) {
    this.#peer = peer;
    this.namespace = namespace;
    this.#log = options.log;
    void this.#begin(options);
  }

  /** The encoder says that its tracks can be subscribed to. */
  announce(asked: Waits): void {
    if (this.#waiting) this.#waiting.push(asked);
    else asked.accept();
  }

  /** The encoder sends a track unasked. */
  push(asked: PublishAsked): void {
    const { name } = asked.track;
    this.#pushes = true;
    const take = this.#wanted.get(name);
    if (take) return take(asked);
    // It is not known yet what is wanted, and each name is one track.
    if ((this.#waiting || !this.#begun) && !this.#pushed.has(name) && this.#pushed.size < maxPushed)
      return void this.#pushed.set(name, asked);
    asked.reject({ code: requestErrors.uninterested, reason: "This track is not needed here" });
  }

  async #begin({
    ingest,
    secret,
    key,
    remote,
    agent,
    signal,
  }: ContributionOptions & { readonly signal: AbortSignal }): Promise<void> {
    const query = new URLSearchParams({
      key,
      peer: `${remote.host}:${remote.port}`,
      address: remote.host,
      agent,
    });
    try {
      this.#socket = await upgradeInternal(ingest, `/internal/flv?${query}`, {
        ...{ protocol: feedProtocol, secret, signal },
      });
    } catch (error) {
      return this.#deny({
        code: requestErrors.internal,
        reason: error instanceof Failure ? "Ingest cannot be reached" : messageOf(error),
        retryMs: 1000,
      });
    }
    let said = "";
    let answered = false;
    this.#socket.on("data", (bytes: Buffer) => {
      said = (said + bytes.toString("utf8")).slice(0, maxSaid);
      // The first line is yes, or why not; another is why it ends.
      if (!said.includes("\n")) return;
      const line = said.slice(0, said.indexOf("\n"));
      said = said.slice(line.length + 1);
      if (!answered && line === "ok") {
        answered = true;
        const waiting = this.#waiting ?? [];
        this.#waiting = undefined;
        for (const asked of waiting) asked.accept();
        this.#socket?.write(flvHeader());
        this.#catalog();
      } else if (!answered) {
        answered = true;
        this.#deny({ code: requestErrors.unauthorized, reason: line });
      } else this.#refuse(line);
    });
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => {
      if (!this.#over) this.#refuse(said || "The server ended the publish");
    });
    if (this.#over) this.#stop();
  }

  /** False once it is over, or was refused. */
  get open(): boolean {
    return !this.#over;
  }

  /** The encoder has stopped, or is gone. */
  end(reason: "clean" | "lost"): void {
    if (this.#over) return;
    if (reason === "clean") this.#write(scriptTag, this.#lastMs, writeScript("onPublishEnd", { reason }));
    this.#stop();
  }

  /** Ingest does not take it, or is not there. */
  #deny(why: Refused): void {
    const all = [...(this.#waiting ?? []), ...this.#pushed.values()];
    this.#waiting = [];
    this.#pushed.clear();
    this.#stop();
    for (const asked of all) asked.reject(why);
  }

  #stop(): void {
    this.#over = true;
    for (const end of this.#taken) end();
    this.#leaveOut("The publish is over");
    this.#socket?.end(() => this.#socket?.destroy());
  }

  #refuse(why: string): void {
    if (this.#over) return;
    this.#stop();
    this.#peer.close("unauthorized", why);
  }

  #catalog(): void {
    const catalog = this.#take("catalog", (object) => {
      if (this.#begun || object.object !== 0) return;
      const text = Buffer.from(object.payload).toString("utf8");
      if (object.payload.length > maxCatalogBytes)
        throw new BadMedia("too_large", "The catalog is larger than 4 MB");
      const tracks = readCatalog(text);
      this.#begun = true;
      // Of alternatives the best: smaller ones are made here.
      const best = (role: "video" | "audio") =>
        tracks
          .filter((track) => track.role === role)
          .toSorted((a, b) => b.bitsPerSecond - a.bitsPerSecond)
          .slice(0, 1);
      // It may be here before `#take` returns.
      queueMicrotask(() => catalog());
      for (const { name, init } of [...best("video"), ...best("audio")]) {
        const reader = new RungTags();
        const take = (bytes: Uint8Array) => {
          for (const { tag } of reader.push(bytes)) {
            if (tag.type === "script") continue;
            this.#write(tag.type === "video" ? videoTag : audioTag, tag.timestampMs, tag.payload);
          }
        };
        take(init);
        this.#open++;
        this.#take(name, (object) => take(object.payload));
      }
      this.#leaveOut("There is a better track than this");
    });
  }

  /** Says no to what is pushed and not needed. */
  #leaveOut(reason: string): void {
    const all = [...this.#pushed.values()];
    this.#pushed.clear();
    for (const asked of all) asked.reject({ code: requestErrors.uninterested, reason });
  }

  /** Hands over objects in the order of groups, whatever order their streams come in. Returns its end. */
  #take(name: string, take: (object: StreamObject) => void): () => void {
    const inOrder = new GroupOrder((object) => {
      if (this.#over || object.payload.length === 0) return;
      try {
        take(object);
      } catch (error) {
        if (!(error instanceof BadMedia)) throw error;
        this.#log.info({ track: name, code: error.code }, "a publish over QUIC cannot be used");
        this.#refuse(error.message);
      }
    });
    const events: Pick<SubscriptionEvents, "group" | "done"> = {
      group: ({ group }) => inOrder.begin(group),
      done: (code) => {
        if (name === "catalog") return;
        if (--this.#open === 0) this.end(code === doneCodes.trackEnded ? "clean" : "lost");
      },
    };
    let stop = () => {};
    const end = () => {
      clearTimeout(late);
      this.#wanted.delete(name);
      stop();
    };
    const subscribe = () => {
      this.#wanted.delete(name);
      const subscription = this.#peer.subscribe(
        { namespace: this.namespace, name },
        { filter: { from: "largest object" }, forward: true, order: "ascending" },
        {
          ...events,
          ok: () => {},
          // It may be one that is only pushed.
          refused: ({ reason }) => wait(() => this.#refuse(`The track ${name} was refused: ${reason}`)),
        },
      );
      stop = () => subscription.end();
    };
    let late: NodeJS.Timeout | undefined;
    const wait = (orElse: () => void) => {
      const accept = (asked: PublishAsked) => {
        clearTimeout(late);
        this.#wanted.delete(name);
        stop = asked.accept(events);
      };
      const pushed = this.#pushed.get(name);
      this.#pushed.delete(name);
      if (pushed) return accept(pushed);
      late = setTimeout(orElse, pushMs);
      this.#wanted.set(name, accept);
    };
    this.#taken.push(end);
    if (this.#pushes) wait(subscribe);
    else subscribe();
    return end;
  }

  #write(type: number, timestampMs: number, payload: Uint8Array): void {
    const socket = this.#socket;
    if (!socket || this.#over) return;
    if (socket.writableLength > maxUnread) return this.#refuse("The server does not keep up");
    this.#lastMs = timestampMs;
    const size = Buffer.alloc(4);
    size.writeUInt32BE(payload.length + 11);
    socket.cork();
    socket.write(tagHeader(type, timestampMs % 2 ** 32, payload.length));
    socket.write(payload);
    socket.write(size);
    process.nextTick(() => socket.uncork());
  }
}

interface Waiting {
  readonly group: number;
  readonly objects: StreamObject[];
  over: boolean;
}

/** Puts objects in the order of their groups: one group after the other, none of them waited for without end. */
class GroupOrder {
  readonly #take: (object: StreamObject) => void;
  #groups: Waiting[] = [];
  /** What comes of it or of those before is too late. */
  #passed = -1;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(take: (object: StreamObject) => void) {
    this.#take = take;
  }

  begin(group: number) {
    const one: Waiting = { group, objects: [], over: false };
    if (group > this.#passed) this.#groups.push(one);
    this.#groups.sort((a, b) => a.group - b.group);
    const over = () => {
      one.over = true;
      this.#advance();
    };
    return {
      object: (object: StreamObject) => {
        if (!this.#groups.includes(one)) return;
        if (one === this.#groups[0]) return this.#take(object);
        one.objects.push(object);
        this.#bytes += object.payload.length;
        if (this.#bytes > maxEarlyBytes) this.#skip();
        else this.#timer ??= setTimeout(() => this.#skip(), patienceMs);
      },
      end: over,
      gone: over,
    };
  }

  /** The first group takes too long: on with the next. */
  #skip(): void {
    this.#groups[0]!.over = true;
    this.#advance();
  }

  #advance(): void {
    if (!this.#groups[0]?.over) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#groups[0]?.over) {
      this.#passed = this.#groups.shift()!.group;
      const next = this.#groups[0];
      for (const object of next?.objects.splice(0) ?? []) {
        this.#bytes -= object.payload.length;
        this.#take(object);
      }
    }
  }
}
