import net, { type Socket } from "node:net";
import tls from "node:tls";
import type { Networks } from "../lib/address.ts";
import { Failure, messageOf } from "../lib/errors.ts";
import { resolveOutside } from "../lib/outside.ts";
import type { OutputEnded as Ended, OutputReason } from "../live/output.ts";
import { AmfReader, type AmfValue, writeAmf } from "../packager/amf.ts";
import { fourCCs } from "../packager/codec/names.ts";
import type { Entry } from "../packager/track.ts";
import { ChunkReader, chunksOf, type Message, messageType } from "./chunks.ts";

/** Where to, as the owner of an output wrote it. */
export interface Destination {
  readonly url: URL;
  readonly app: string;
  readonly streamKey: string;
}

export interface PushOptions {
  readonly to: Destination;
  /** Networks off the internet that may be connected to all the same. */
  readonly allowed: Networks;
  /** Counts the attempts: each takes the next address of the name. */
  readonly attempt: number;
  /** Ask for enhanced RTMP. Old servers have never heard of it, so only where it is needed. */
  readonly enhanced: boolean;
  readonly signal: AbortSignal;
  readonly limits?: PushLimits;
}

/** Milliseconds. */
export interface PushLimits {
  /** From the name to the leave to publish. */
  readonly openMs: number;
  /** A target that takes nothing for so long is given up. */
  readonly stallMs: number;
}

const pushLimits: PushLimits = { openMs: 15_000, stallMs: 15_000 };

/** A connection that a server lets us publish on. */
export interface Push {
  /** Whether the server takes this codec; undefined when it does not say. */
  takes(entry: Entry): boolean | undefined;
  /** Whether it takes all that enhanced RTMP wraps around packets: several tracks, and times finer than milliseconds. */
  readonly takesWrapped: boolean;
  /** Passes a message on; false when the next one should wait for `onDrain`. `type` is FLV's of a tag. */
  send(type: number, timestampMs: number, payload: Uint8Array): boolean;
  readonly sentBytes: number;
  onDrain: () => void;
  /** Settles when it is over, whoever ended it; undefined when we did. */
  readonly closed: Promise<Ended | undefined>;
  /** Says good-bye and closes once everything is out, or after a moment. */
  finish(): void;
  /** Closes at once. */
  cut(): void;
}

const chunkBytes = 60_000;
const shakeBytes = 1536;
const finishMs = 2_000;
/** Chunk streams, by what they carry. */
const lane = { control: 2, command: 3, audio: 4, data: 5, video: 6 } as const;
const laneOf: Readonly<Record<number, number>> = { 8: lane.audio, 9: lane.video, 18: lane.data };
/** User control events (rtmp 1.0, 7.1.7). */
const pingRequest = 6;
const pingResponse = 7;
/** enhanced-rtmp-v2: of FourCcInfoMask, and of CapsExMask. */
const canForward = 4;
const wrapped = 2 | 4; // multitrack, ModEx

/**
 * Connects to a target, over TLS where its URL says so, and asks for leave to publish. Every address of its name has to be on the
 * internet or allowed, and is connected to by number. Resolves with why not when it does not come to that; never rejects.
 */
export async function openPush(options: PushOptions): Promise<Push | Ended> {
  const { to, allowed, attempt, signal, limits = pushLimits } = options;
  let socket: Socket | undefined;
  const late = AbortSignal.timeout(limits.openMs);
  const stop = AbortSignal.any([signal, late]);
  const connection = Promise.withResolvers<Push | Ended>();
  const aborted = () => {
    socket?.destroy();
    const where = `${to.url.hostname} has not answered within ${limits.openMs / 1000} s`;
    connection.resolve({
      reason: "unreachable",
      error: `${where}; see whether its address and port are right.`,
    });
  };
  stop.addEventListener("abort", aborted, { once: true });
  try {
    const { host, port, addresses } = await resolveOutside(to.url, allowed);
    if (stop.aborted) return await connection.promise;
    const address = addresses[attempt % addresses.length]!;
    const secure = to.url.protocol === "rtmps:";
    const servername = net.isIP(host) === 0 ? { servername: host } : {};
    socket = secure
      ? tls.connect({ host: address, port, ...servername, minVersion: "TLSv1.2" })
      : net.connect({ host: address, port });
    const opened = new Connection(socket, { ...options, limits }, connection.resolve);
    socket.once(secure ? "secureConnect" : "connect", () => opened.greet());
    return await connection.promise;
  } catch (error) {
    const reason = error instanceof Failure && error.code === "forbidden" ? "forbidden" : "unreachable";
    return { reason, error: sentence(messageOf(error)) };
  } finally {
    stop.removeEventListener("abort", aborted);
  }
}

type Stage = "greeting" | "connecting" | "creating" | "asking" | "publishing" | "over";

class Connection implements Push {
  readonly closed: Promise<Ended | undefined>;
  onDrain: () => void = () => undefined;
  readonly #socket: Socket;
  readonly #to: Destination;
  readonly #enhanced: boolean;
  readonly #stallMs: number;
  readonly #settle: (outcome: Push | Ended) => void;
  readonly #done = Promise.withResolvers<Ended | undefined>();
  readonly #reader = new ChunkReader();
  #stage: Stage = "greeting";
  #shake: Buffer = Buffer.alloc(0);
  #transaction = 0;
  #streamId = 0;
  #outChunk = 128;
  #window = Number.POSITIVE_INFINITY;
  #received = 0;
  #acknowledged = 0;
  #caps = 0;
  /** FourCCs that it says it takes; undefined where it says nothing. */
  #taken: ReadonlySet<string> | undefined;
  #ended: Ended | undefined;
  #stall: NodeJS.Timeout | undefined;
  #finishing: NodeJS.Timeout | undefined;

  constructor(
    socket: Socket,
    options: PushOptions & { readonly limits: PushLimits },
    settle: (outcome: Push | Ended) => void,
  ) {
    this.#socket = socket;
    this.#to = options.to;
    this.#enhanced = options.enhanced;
    this.#stallMs = options.limits.stallMs;
    this.#settle = settle;
    this.closed = this.#done.promise;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on("data", (bytes: Buffer) => this.#heard(bytes));
    socket.on("drain", () => {
      clearTimeout(this.#stall);
      this.#stall = undefined;
      this.onDrain();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (this.#stage === "publishing")
        this.#fail("lost", `${this.#host} broke the connection: ${error.message}`);
      else this.#fail("unreachable", `${this.#host} cannot be reached: ${whyNot(error)}`);
    });
    socket.on("end", () => socket.destroy());
    socket.on("close", () => this.#gone());
  }

  get #host(): string {
    return this.#to.url.host;
  }

  get takesWrapped(): boolean {
    return (this.#caps & wrapped) === wrapped;
  }

  get sentBytes(): number {
    return this.#socket.bytesWritten;
  }

  takes(entry: Entry): boolean | undefined {
    if (entry === "avc1" || entry === "mp4a") return true;
    return this.#taken && (this.#taken.has(entry) || this.#taken.has("*"));
  }

  /** C0 and C1 (rtmp 1.0, 5.2): no time, no version, as everybody sends them. */
  greet(): void {
    const hello = Buffer.alloc(1 + shakeBytes);
    hello[0] = 3;
    for (let at = 9; at < hello.length; at++) hello[at] = (at * 131) & 0xff;
    this.#socket.write(hello);
  }

  send(type: number, timestampMs: number, payload: Uint8Array): boolean {
    if (this.#stage !== "publishing") return false;
    const more = this.#write(
      { type, timestampMs, payload, streamId: this.#streamId },
      laneOf[type] ?? lane.data,
    );
    if (!more)
      this.#stall ??= setTimeout(
        () =>
          this.#fail(
            "stalled",
            `${this.#host} has taken nothing for ${this.#stallMs / 1000} s; lower the bitrate of the encoder, or see to the network.`,
          ),
        this.#stallMs,
      );
    return more;
  }

  finish(): void {
    if (this.#stage === "over" || this.#finishing) return;
    if (this.#stage === "publishing") {
      this.#command("FCUnpublish", null, this.#to.streamKey);
      this.#command("deleteStream", null, this.#streamId);
    }
    this.#finishing = setTimeout(() => this.cut(), finishMs);
    this.#socket.end();
  }

  cut(): void {
    this.#stage = "over";
    this.#socket.destroy();
  }

  #heard(bytes: Buffer): void {
    this.#received += bytes.length;
    try {
      let rest: Uint8Array = bytes;
      if (this.#stage === "greeting") {
        this.#shake = Buffer.concat([this.#shake, bytes]);
        if (this.#shake[0] !== 3) return this.#fail("refused", `${this.#host} does not speak RTMP.`);
        if (this.#shake.length < 1 + 2 * shakeBytes) return;
        rest = this.#shake.subarray(1 + 2 * shakeBytes);
        this.#socket.write(this.#shake.subarray(1, 1 + shakeBytes)); // C2 is S1 again
        this.#shake = Buffer.alloc(0);
        this.#connect();
      }
      for (const message of this.#reader.push(rest)) this.#take(message);
    } catch (error) {
      this.#fail("refused", `${this.#host} does not speak RTMP: ${messageOf(error)}`);
    }
    if (this.#received - this.#acknowledged < this.#window || this.#stage === "over") return;
    this.#acknowledged = this.#received;
    this.#control(messageType.acknowledgement, this.#received % 2 ** 32);
  }

  #take(message: Message): void {
    const { type, payload } = message;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    if (type === messageType.windowSize && payload.length >= 4)
      this.#window = Math.max(1024, view.getUint32(0));
    else if (type === messageType.userControl && payload.length >= 6 && view.getUint16(0) === pingRequest) {
      const pong = new Uint8Array(6);
      new DataView(pong.buffer).setUint16(0, pingResponse);
      pong.set(payload.subarray(2, 6), 2);
      this.#write({ type, timestampMs: 0, payload: pong, streamId: 0 }, lane.control);
    } else if (type === messageType.command) this.#answer(new AmfReader(payload));
    else if (type === messageType.commandAmf3) this.#answer(new AmfReader(payload, 1));
  }

  #answer(reader: AmfReader): void {
    const name = reader.read();
    const transaction = reader.done ? 0 : reader.read();
    const values: AmfValue[] = [];
    while (!reader.done && values.length < 8) values.push(reader.read());
    if (name === "onStatus") return this.#status(values[1] ?? null);
    if (name === "close") return this.#fail("refused", `${this.#host} has sent us away.`);
    // Only of what we wait for; releaseStream and the like are denied by servers that do not know them.
    if (transaction !== this.#transaction || (name !== "_result" && name !== "_error")) return;
    if (name === "_error")
      return this.#fail(
        "refused",
        `${this.#host} refuses the connection${this.#words(values[1] ?? values[0])}`,
      );
    if (this.#stage === "connecting") {
      this.#learn(values);
      this.#control(messageType.chunkSize, chunkBytes);
      this.#outChunk = chunkBytes;
      this.#command("releaseStream", null, this.#to.streamKey);
      this.#command("FCPublish", null, this.#to.streamKey);
      this.#command("createStream", null);
      this.#stage = "creating";
    } else if (this.#stage === "creating") {
      const id = values[1];
      this.#streamId = typeof id === "number" && id >= 0 && id < 2 ** 32 ? Math.floor(id) : 1;
      this.#command("publish", null, this.#to.streamKey, "live");
      this.#stage = "asking";
    }
  }

  #status(info: AmfValue): void {
    const code = String(field(info, "code") ?? "");
    if (code === "NetStream.Publish.Start" && this.#stage === "asking") {
      this.#stage = "publishing";
      this.#settle(this);
    } else if (field(info, "level") === "error" || /Failed|Denied|BadName|Rejected/.test(code))
      this.#fail("refused", `${this.#host} refuses the stream key${this.#words(info)}`);
  }

  /** What the server says it takes: a list in version 1 of enhanced RTMP, maps in version 2, in either of its two objects. */
  #learn(values: readonly AmfValue[]): void {
    const taken = new Set<string>();
    let said = false;
    for (const value of values.slice(0, 2)) {
      const list = field(value, "fourCcList");
      if (Array.isArray(list)) for (const one of list) taken.add(String(one));
      said ||= Array.isArray(list);
      for (const name of ["videoFourCcInfoMap", "audioFourCcInfoMap"]) {
        const map = field(value, name);
        if (!map || typeof map !== "object" || Array.isArray(map)) continue;
        said = true;
        for (const [id, mask] of Object.entries(map)) if (mask !== 0) taken.add(id);
      }
      const caps = field(value, "capsEx");
      if (typeof caps === "number") this.#caps = caps;
    }
    if (said) this.#taken = taken;
  }

  #connect(): void {
    const { url, app } = this.#to;
    const tcUrl = `${url.protocol}//${url.host}/${app}`;
    const forwards = (ids: readonly string[]) => Object.fromEntries(ids.map((id) => [id, canForward]));
    const enhanced = {
      fourCcList: [...fourCCs.video, ...fourCCs.audio],
      videoFourCcInfoMap: forwards(fourCCs.video),
      audioFourCcInfoMap: forwards(fourCCs.audio),
      capsEx: wrapped,
    };
    this.#stage = "connecting";
    this.#command("connect", {
      ...{ app, type: "nonprivate", flashVer: "FMLE/3.0 (compatible; Sluice)", swfUrl: tcUrl, tcUrl },
      ...(this.#enhanced && enhanced),
    });
  }

  #command(name: string, ...values: readonly AmfValue[]): void {
    const payload = writeAmf([name, ++this.#transaction, ...values], "plain");
    // Only publish is said on the stream that it is about.
    const streamId = name === "publish" ? this.#streamId : 0;
    this.#write({ type: messageType.command, timestampMs: 0, payload, streamId }, lane.command);
  }

  #control(type: number, value: number): void {
    const payload = new Uint8Array(4);
    new DataView(payload.buffer).setUint32(0, value);
    this.#write({ type, timestampMs: 0, payload, streamId: 0 }, lane.control);
  }

  #write(message: Message, chunkStream: number): boolean {
    const socket = this.#socket;
    if (!socket.writable) return false;
    socket.cork();
    let more = true;
    for (const piece of chunksOf(message, chunkStream, this.#outChunk)) more = socket.write(piece);
    socket.uncork();
    return more;
  }

  /** What the server said, as the end of a sentence: short, printable, without the key. */
  #words(info: AmfValue | undefined): string {
    const said = [field(info ?? null, "code"), field(info ?? null, "description")]
      .filter((one) => typeof one === "string" && one !== "")
      .join(": ");
    const { streamKey } = this.#to;
    const clean = [streamKey, encodeURIComponent(streamKey), streamKey.split("?")[0]!]
      .reduce((text, secret) => text.replaceAll(secret, "[key]"), said)
      .replace(/[^\x20-\x7e]/g, "?")
      .slice(0, 300);
    return clean === "" ? "; copy the server and the key again from its page." : ` (${clean}).`;
  }

  #fail(reason: OutputReason, error: string): void {
    this.#ended ??= { reason, error: sentence(error) };
    this.cut();
  }

  #gone(): void {
    const published = this.#stage === "publishing";
    clearTimeout(this.#stall);
    clearTimeout(this.#finishing);
    const ours = this.#finishing !== undefined || this.#stage === "over";
    if (!ours)
      this.#ended ??= published
        ? { reason: "lost", error: `${this.#host} closed the connection.` }
        : {
            reason: "refused",
            error: `${this.#host} closed the connection before it let us publish; see whether its URL and the key are right.`,
          };
    this.#stage = "over";
    this.#settle(this.#ended ?? { reason: "lost", error: `${this.#host} closed the connection.` });
    this.#done.resolve(this.#ended);
  }
}

function field(object: AmfValue, name: string): AmfValue | undefined {
  if (object === null || typeof object !== "object" || Array.isArray(object)) return undefined;
  return (object as Readonly<Record<string, AmfValue>>)[name];
}

/** TLS's own words are for people who know TLS. */
function whyNot({ code = "", message }: NodeJS.ErrnoException): string {
  if (/SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_UNTRUSTED/.test(code))
    return "its certificate is signed by nobody that is known here; use one of a public authority, or name yours in NODE_EXTRA_CA_CERTS";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "its certificate is for another name";
  if (code === "CERT_HAS_EXPIRED") return "its certificate has expired";
  if (/ERR_SSL|EPROTO/.test(code)) return "it does not speak TLS there; use rtmp://, or the port of RTMPS";
  if (code === "ECONNREFUSED") return "nothing listens on that port";
  return message;
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
