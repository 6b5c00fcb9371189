import Rtmp from "node-media-server/src/protocol/rtmp.js";
import { Failure } from "../lib/errors.ts";
import { AmfReader, type AmfValue, writeAmf } from "../packager/amf.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { fourCCs } from "../packager/codec/names.ts";
import { audioTag, maxTagBytes, readScript, scriptTag, videoTag } from "../packager/flv.ts";

/** Bytes before and after a payload that an FLV tag needs: see `Handler.media`. */
export const tagHeadBytes = 11;
export const tagTailBytes = 4;

/** What one connection may ask of us. */
export interface ProtocolLimits {
  readonly chunkStreams: number;
  readonly chunkBytes: number;
  readonly commandBytes: number;
  readonly mediaBytes: number;
  /** Announced and not yet complete messages, together: before the publish is accepted, and after. */
  readonly earlyHeldBytes: number;
  readonly heldBytes: number;
  /** Everything received before the publish is accepted. */
  readonly earlyBytes: number;
}

const protocolLimits: ProtocolLimits = {
  chunkStreams: 16,
  chunkBytes: 1 << 20,
  commandBytes: 64 << 10,
  mediaBytes: maxTagBytes,
  earlyHeldBytes: 128 << 10,
  heldBytes: 24 << 20,
  earlyBytes: 128 << 10,
};

/** What a connection says. A handler may throw; `push` passes it on. */
export interface Handler {
  send(bytes: Uint8Array): void;
  /** The publish command, once; `app` and `name` as the encoder wrote them. Answer with `accept` or `refuse`. */
  publish(app: string, name: string): void;
  /**
   * One message after `accept`: type 8, 9 or 18 (onMetaData only). `tag` is the handler's to keep: `tagHeadBytes` free,
   * the payload, `tagTailBytes` free. The timestamp is raw, below 2^32.
   */
  media(type: number, timestampMs: number, tag: Uint8Array): void;
  /** The encoder says that it is done. The socket is left for it to close. */
  unpublish(): void;
}

/** The server's side of one RTMP connection, without a socket. */
export interface Protocol {
  readonly handshaken: boolean;
  /** All bytes so far. */
  readonly received: number;
  /** What the encoder calls itself, once connected; outside text, cut to 64 characters. */
  readonly encoder: string;
  /** Takes what the socket got; `bytes` is free again afterwards. Throws `Failure`, after which the connection is of no use. */
  push(bytes: Buffer): void;
  /** Tells the encoder to begin; media is passed on from here. */
  accept(): void;
  /** Tells the encoder why not, which it shows or logs. What is not ASCII in `sentence` becomes a question mark. */
  refuse(code: "Denied" | "BadName", sentence: string): void;
  /** Says and hears nothing more. */
  stop(): void;
}

export function createProtocol(handler: Handler, limits: ProtocolLimits = protocolLimits): Protocol {
  return new Connection(handler, limits);
}

interface Message extends Rtmp.Packet {
  /** Where the payload of a media message lies. */
  tag: Uint8Array | undefined;
}

const type = {
  chunkSize: 1,
  abort: 2,
  windowSize: 5,
  audio: audioTag,
  video: videoTag,
  dataAmf3: 15,
  commandAmf3: 17,
  command: 20,
  data: scriptTag,
  aggregate: 22,
} as const;
const shaken = 3;
const commandStream = 3;
const nothing = Buffer.alloc(0);
const pingRequest = 6;
const pingResponse = 7;
const windowBytes = 2_500_000;
const leastWindowBytes = 64 << 10;

/** enhanced-rtmp-v2, "Enhancing NetConnection connect Command": of FourCcInfoMask and of CapsExMask. */
const canForward = 4;
const multitrack = 2;
const modEx = 4;
const nanoOffset = 8;

/** AMF0 strings with their type and length, as they begin a data message. */
const setDataFrame = amfString("@setDataFrame");
const onMetaData = amfString("onMetaData");
/** What else encoders say beside the media that anybody here reads. */
const said = ["onCuePoint", "onTextData", "onCaptionInfo"].map(amfString);
/** Of these; the longest section of SCTE 35 as text is a quarter of it. */
const maxSaidBytes = 32 << 10;

/**
 * `Rtmp` with the fields that its constructor would set, without the constructor: that makes an FLV parser as well, and
 * with it a MiB for each connection of a stranger.
 */
function Bare(this: Rtmp): void {
  this.handshakePayload = Buffer.alloc(1536);
  this.handshakeState = 0;
  this.handshakeBytes = 0;
  this.parserBuffer = Buffer.alloc(18);
  this.parserState = 0;
  this.parserBytes = 0;
  this.parserBasicBytes = 0;
  this.parserPacket = newMessage(0, 0);
  this.inPackets = new Map();
  this.inChunkSize = 128;
  this.outChunkSize = 0xffff;
  this.streams = 0;
}
Bare.prototype = Rtmp.prototype;

function newMessage(format: number, id: number): Message {
  const header = { fmt: format, cid: id, timestamp: 0, length: 0, type: 0, stream_id: 0 };
  return { header, clock: 0, payload: nothing, capacity: 0, bytes: 0, tag: undefined };
}

/**
 * node-media-server's handshake, chunk demultiplexer and replies, with everything overridden that a stranger could
 * misuse. What remains of its parser sees only sizes that `packetParse` has checked; its AMF decoder and its FLV
 * parser are not used at all.
 */
class Connection extends (Bare as unknown as typeof Rtmp) implements Protocol {
  readonly #handler: Handler;
  readonly #limits: ProtocolLimits;
  #received = 0;
  #acknowledged = 0;
  #window = windowBytes;
  #held = 0;
  #app: string | undefined;
  #encoder = "";
  #asked = false;
  #accepted = false;
  #stopped = false;

  constructor(handler: Handler, limits: ProtocolLimits) {
    super();
    this.#handler = handler;
    this.#limits = limits;
    this.onOutputCallback = (bytes) => {
      if (!this.#stopped) handler.send(bytes);
    };
  }

  get handshaken(): boolean {
    return this.handshakeState === shaken;
  }

  get received(): number {
    return this.#received;
  }

  get encoder(): string {
    return this.#encoder;
  }

  push(bytes: Buffer): void {
    if (this.#stopped || bytes.length === 0) return;
    if (this.#received === 0 && bytes[0] !== 3)
      throw refused(bytes[0] === 0x16 ? "TLS on the plain RTMP port; use rtmps:// and its port" : "not RTMP");
    this.#received += bytes.length;
    if (!this.#accepted && this.#received > this.#limits.earlyBytes)
      throw new Failure("too_large", "too many bytes before a publish");
    try {
      this.parserData(bytes);
    } catch (error) {
      // A handler ended the connection in the middle of these bytes; what follows has no meaning any more.
      if (this.#stopped) return;
      if (error instanceof Failure || error instanceof BadMedia) throw error;
      throw refused("malformed RTMP", error);
    }
    if (this.handshakeState === shaken && this.handshakePayload.length > 0) this.handshakePayload = nothing;
    if (this.#received - this.#acknowledged >= this.#window && this.handshakeState === shaken) {
      this.#acknowledged = this.#received;
      this.sendACK(this.#received % 2 ** 32);
    }
  }

  accept(): void {
    this.#accepted = true;
    // The package's own reply repeats the stream name, which is the key.
    this.sendStatusMessage(this.streamId, "status", "NetStream.Publish.Start", "Live.");
  }

  refuse(code: "Denied" | "BadName", sentence: string): void {
    // The package counts characters where AMF0 counts bytes.
    const ascii = sentence.replace(/[^\x20-\x7e]/g, "?").slice(0, 500);
    this.sendStatusMessage(this.streamId, "error", `NetStream.Publish.${code}`, ascii);
  }

  stop(): void {
    this.#stopped = true;
    this.inPackets.clear();
    this.parserPacket.payload = nothing;
    this.handshakePayload = nothing;
  }

  override packetParse(): void {
    const head = this.parserBuffer;
    const format = head[0]! >> 6;
    const id = this.#chunkStream();
    const message = this.inPackets.get(id) ?? this.#newChunkStream(id, format);
    const { header } = message;
    const { length: lengthBefore, type: typeBefore } = header;
    this.parserPacket = message;
    header.fmt = format;
    this.chunkMessageHeaderRead();
    if (message.bytes > 0) {
      // The demultiplexer would run backwards, or past the payload's end.
      if (header.length !== lengthBefore || header.type !== typeBefore)
        throw refused("a message changes its length or type half way");
      return;
    }
    if (header.type === type.aggregate) throw refused("aggregate messages are not supported");
    const media = header.type === type.audio || header.type === type.video;
    if (media && !this.#accepted) throw refused("media before an accepted publish");
    if (header.length > (media ? this.#limits.mediaBytes : this.#limits.commandBytes))
      throw new Failure("too_large", `a message of ${header.length} bytes, type ${header.type}`);
  }

  #chunkStream(): number {
    const head = this.parserBuffer;
    if (this.parserBasicBytes === 2) return 64 + head[1]!;
    return this.parserBasicBytes === 3 ? 64 + head[1]! + head[2]! * 256 : head[0]! & 0x3f;
  }

  #newChunkStream(id: number, format: number): Message {
    if (format > 1) throw refused("a chunk stream begins without a message header");
    if (this.inPackets.size >= this.#limits.chunkStreams)
      throw new Failure("limit", "too many chunk streams");
    const message = newMessage(format, id);
    this.inPackets.set(id, message);
    return message;
  }

  /** Called once a message, when its header is complete: exactly as many bytes as it has, made for it alone. */
  override packetAlloc(): void {
    const message = this.parserPacket as Message;
    const { length } = message.header;
    // Past 2^32 the package would drop every message that follows.
    message.clock %= 2 ** 32;
    this.#held += length;
    if (this.#held > (this.#accepted ? this.#limits.heldBytes : this.#limits.earlyHeldBytes))
      throw new Failure("too_large", "too many bytes in unfinished messages");
    if (message.header.type === type.audio || message.header.type === type.video) {
      const tag = Buffer.allocUnsafeSlow(tagHeadBytes + length + tagTailBytes);
      message.tag = tag;
      message.payload = tag.subarray(tagHeadBytes, tagHeadBytes + length);
    } else message.payload = Buffer.allocUnsafeSlow(length);
  }

  override packetHandler(): void {
    const message = this.parserPacket as Message;
    this.#held -= message.header.length;
    // Empty messages are a sign of life of some encoders.
    if (message.header.length > 0 && !this.#stopped) super.packetHandler();
    message.payload = nothing;
    message.tag = undefined;
  }

  override controlHandler(): void {
    const { header, payload } = this.parserPacket;
    if (payload.length < 4) throw refused("a short control message");
    const value = payload.readUInt32BE(0);
    if (header.type === type.chunkSize) {
      if (value < 1 || value > this.#limits.chunkBytes) throw refused(`a chunk size of ${value}`);
      this.inChunkSize = value;
    } else if (header.type === type.windowSize) {
      this.#window = Math.min(windowBytes, Math.max(leastWindowBytes, value >>> 1));
    } else if (header.type === type.abort) {
      const aborted = this.inPackets.get(value) as Message | undefined;
      if (!aborted || aborted.bytes === 0) return;
      this.#held -= aborted.header.length;
      aborted.bytes = 0;
      aborted.payload = nothing;
      aborted.tag = undefined;
    }
  }

  override eventHandler(): void {
    const { payload } = this.parserPacket;
    if (payload.length >= 6 && payload.readUInt16BE(0) === pingRequest)
      this.sendStreamStatus(pingResponse, payload.readUInt32BE(2));
  }

  override invokeHandler(): void {
    const { header, payload } = this.parserPacket;
    // An AMF3 command is a zero byte and then, from every encoder known, AMF0.
    const reader = new AmfReader(payload, header.type === type.commandAmf3 ? 1 : 0);
    const name = reader.read();
    const transaction = reader.done ? 0 : reader.read();
    const object = reader.done ? null : reader.read();
    if (typeof name !== "string" || typeof transaction !== "number")
      throw refused("a command without a name");
    switch (name) {
      case "connect":
        this.#connect(transaction, object);
        break;
      case "createStream":
        this.respondCreateStream(transaction);
        break;
      case "releaseStream":
      case "FCPublish":
        // Some encoders wait for it.
        this.sendInvokeMessage(0, { cmd: "_result", transId: transaction, cmdObj: null, info: undefined });
        break;
      case "publish":
        this.#publish(reader.done ? null : reader.read());
        break;
      case "FCUnpublish":
      case "deleteStream":
      case "closeStream":
        if (this.#accepted) this.#handler.unpublish();
        break;
      case "play":
      case "play2":
        throw refused("play is not offered over RTMP");
      default: // Statistics and the like: nobody waits for an answer.
    }
  }

  #connect(transaction: number, object: AmfValue): void {
    if (this.#app !== undefined) throw refused("a second connect");
    const app = field(object, "app");
    if (typeof app !== "string") throw refused("a connect without an application");
    this.#app = app;
    const encoder = field(object, "flashVer");
    if (typeof encoder === "string") this.#encoder = encoder.replace(/[^\x20-\x7e]/g, "?").slice(0, 64);
    this.objectEncoding = 0;
    this.sendWindowACK(2 * windowBytes);
    this.setPeerBandwidth(2 * windowBytes, 2);
    this.setChunkSize(this.outChunkSize);
    this.respondConnect(transaction);
  }

  /**
   * As the package's own, and what of enhanced RTMP we take: encoders offer only what a server names. `fourCcList` is
   * what version 1 asks for, the others are of version 2.
   */
  override respondConnect(transaction: number): void {
    const forwards = (codecs: readonly string[]) => Object.fromEntries(codecs.map((id) => [id, canForward]));
    const properties = {
      ...{ fmsVer: "FMS/3,0,1,123", capabilities: 31 },
      fourCcList: [...fourCCs.video, ...fourCCs.audio],
      videoFourCcInfoMap: forwards(fourCCs.video),
      audioFourCcInfoMap: forwards(fourCCs.audio),
      capsEx: multitrack | modEx | nanoOffset,
    };
    const info = {
      level: "status",
      code: "NetConnection.Connect.Success",
      description: "Connection succeeded.",
      objectEncoding: 0,
    };
    const payload = writeAmf(["_result", transaction, properties, info], "plain");
    // One chunk of type 0: the announced chunk size is larger. The package's own AMF knows no strict arrays without a word on the console.
    const chunk = Buffer.alloc(12 + payload.length);
    chunk[0] = commandStream;
    chunk.writeUIntBE(payload.length, 4, 3);
    chunk[7] = type.command;
    chunk.set(payload, 12);
    this.onOutputCallback(chunk);
  }

  #publish(name: AmfValue): void {
    if (this.#app === undefined) throw refused("a publish without a connect");
    if (this.#asked) throw refused("a second publish on one connection");
    if (typeof name !== "string") throw refused("a publish without a stream key");
    this.#asked = true;
    this.streamId = this.parserPacket.header.stream_id;
    this.#handler.publish(this.#app, name);
  }

  override dataHandler(): void {
    if (!this.#accepted) return;
    const { header, clock, payload, tag } = this.parserPacket as Message;
    if (tag) {
      this.#handler.media(header.type, clock, tag);
      return;
    }
    // As in a file: without the byte of AMF3 and without the RTMP method in front.
    let body = header.type === type.dataAmf3 ? payload.subarray(1) : payload;
    if (startsWith(body, setDataFrame)) body = body.subarray(setDataFrame.length);
    if (!startsWith(body, onMetaData) && !isSaid(body)) return;
    const script = Buffer.allocUnsafeSlow(tagHeadBytes + body.length + tagTailBytes);
    body.copy(script, tagHeadBytes);
    this.#handler.media(scriptTag, clock, script);
  }
}

function refused(message: string, cause?: unknown): Failure {
  return new Failure("bad_request", message, { cause });
}

/** Something that is said of a moment, and that can be read: no reader of the feed ends for it. */
function isSaid(body: Buffer): boolean {
  if (body.length > maxSaidBytes || !said.some((name) => startsWith(body, name))) return false;
  try {
    readScript(body);
    return true;
  } catch (error) {
    if (error instanceof BadMedia) return false;
    throw error;
  }
}

function field(object: AmfValue, name: string): AmfValue | undefined {
  if (object === null || typeof object !== "object" || Array.isArray(object)) return undefined;
  return (object as Readonly<Record<string, AmfValue>>)[name];
}

function amfString(text: string): Buffer {
  return Buffer.concat([Buffer.of(2, text.length >> 8, text.length & 0xff), Buffer.from(text, "ascii")]);
}

function startsWith(bytes: Buffer, prefix: Buffer): boolean {
  return bytes.length >= prefix.length && prefix.compare(bytes, 0, prefix.length) === 0;
}
