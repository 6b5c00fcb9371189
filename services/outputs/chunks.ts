import { BadMedia } from "../packager/bad-media.ts";

/** One RTMP message. */
export interface Message {
  readonly type: number;
  readonly timestampMs: number;
  readonly payload: Uint8Array;
  /** The message stream; 0 for what is about the connection. */
  readonly streamId: number;
}

/** Message types (rtmp 1.0, 5.4, 6.2, 7.1). */
export const messageType = {
  chunkSize: 1,
  abort: 2,
  acknowledgement: 3,
  userControl: 4,
  windowSize: 5,
  bandwidth: 6,
  data: 18,
  commandAmf3: 17,
  command: 20,
} as const;

/**
 * A message as the pieces of its chunks (rtmp 1.0, 5.3.1): headers of their own and views of the payload, to be written one
 * after the other. Always with a whole header, so that nothing depends on what was sent before.
 */
export function chunksOf(message: Message, chunkStream: number, chunkBytes: number): Uint8Array[] {
  const { type, payload, streamId } = message;
  const timestamp = message.timestampMs % 2 ** 32;
  const extended = timestamp >= 0xffffff;
  const head = new Uint8Array(extended ? 16 : 12);
  const view = new DataView(head.buffer);
  // Format 0 in the upper two bits, and a chunk stream below 64.
  view.setUint32(0, ((chunkStream << 24) | (extended ? 0xffffff : timestamp)) >>> 0);
  view.setUint32(4, ((payload.length << 8) | type) >>> 0);
  view.setUint32(8, streamId, true); // the one little-endian field of RTMP
  if (extended) view.setUint32(12, timestamp);
  const pieces: Uint8Array[] = [head, payload.subarray(0, chunkBytes)];
  for (let at = chunkBytes; at < payload.length; at += chunkBytes) {
    // Format 3 repeats the extended timestamp, as every server expects though the specification is vague.
    const next = new Uint8Array(extended ? 5 : 1);
    next[0] = 0xc0 | chunkStream;
    if (extended) new DataView(next.buffer).setUint32(1, timestamp);
    pieces.push(next, payload.subarray(at, at + chunkBytes));
  }
  return pieces;
}

/** A server says little to a publisher; what is longer is not an answer. */
const maxMessageBytes = 64 << 10;
const maxChunkStreams = 16;

interface Incoming {
  length: number;
  type: number;
  streamId: number;
  /** As its header said; a delta or the time itself, which nobody here asks for. */
  timestamp: number;
  body: Uint8Array | undefined;
  filled: number;
}

/** Takes apart what a server says. Throws BadMedia for what no server says; it is of no more use then. */
export class ChunkReader {
  readonly #streams = new Map<number, Incoming>();
  #held: Uint8Array = new Uint8Array(0);
  #chunkBytes = 128;

  /** The messages that `bytes` complete. Their payloads are copies. */
  push(bytes: Uint8Array): Message[] {
    const all = this.#held.length > 0 ? joined(this.#held, bytes) : bytes;
    const messages: Message[] = [];
    let at = 0;
    for (;;) {
      const used = this.#chunk(all, at, messages);
      if (used === 0) break;
      at += used;
    }
    this.#held = all.slice(at);
    return messages;
  }

  /** How many bytes the chunk at `from` takes; 0 when it is not whole yet. */
  #chunk(bytes: Uint8Array, from: number, messages: Message[]): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const has = (end: number) => end <= bytes.length;
    let at = from + 1;
    if (!has(at)) return 0;
    const format = bytes[from]! >> 6;
    let id = bytes[from]! & 0x3f;
    if (id < 2) {
      // One or two more bytes of chunk stream id.
      const more = id + 1;
      if (!has(at + more)) return 0;
      id = 64 + bytes[at]! + (more === 2 ? bytes[at + 1]! * 256 : 0);
      at += more;
    }
    const headBytes = [11, 7, 3, 0][format]!;
    if (!has(at + headBytes)) return 0;
    const known = this.#streams.get(id);
    if (!known && format > 0) throw bad("begins a chunk stream without a header");
    if (known?.body && format < 3) throw bad("begins a message inside of another");
    const stream: Incoming = known ?? newStream();
    const timestamp = format < 3 ? view.getUint32(at - 1) & 0xffffff : stream.timestamp;
    const extended = timestamp === 0xffffff;
    const length = format < 2 ? view.getUint32(at + 2) & 0xffffff : stream.length;
    if (length > maxMessageBytes) throw bad(`says ${length} bytes at once`);
    const bodyAt = at + headBytes + (extended ? 4 : 0);
    const filled = stream.body ? stream.filled : 0;
    const taken = Math.min(this.#chunkBytes, length - filled);
    if (!has(bodyAt + taken)) return 0;
    if (!known) {
      if (this.#streams.size >= maxChunkStreams) throw bad("speaks on too many chunk streams");
      this.#streams.set(id, stream);
    }
    stream.timestamp = timestamp;
    stream.length = length;
    if (format < 2) stream.type = bytes[at + 6]!;
    if (format === 0) stream.streamId = view.getUint32(at + 7, true);
    stream.body ??= new Uint8Array(length);
    stream.body.set(bytes.subarray(bodyAt, bodyAt + taken), filled);
    stream.filled = filled + taken;
    if (stream.filled === length) {
      const { type, streamId, body: payload } = stream;
      stream.body = undefined;
      stream.filled = 0;
      this.#heed({ type, streamId, timestampMs: timestamp, payload }, messages);
    }
    return bodyAt + taken - from;
  }

  /** What is about the chunks themselves is nobody else's business. */
  #heed(message: Message, messages: Message[]): void {
    const { type, payload } = message;
    if (type !== messageType.chunkSize && type !== messageType.abort) return void messages.push(message);
    if (payload.length < 4) throw bad("says a control message that is cut short");
    const value = new DataView(payload.buffer, payload.byteOffset).getUint32(0);
    if (type === messageType.chunkSize) {
      if (value < 1 || value >= 2 ** 31) throw bad(`wants chunks of ${value} bytes`);
      this.#chunkBytes = value;
      return;
    }
    const aborted = this.#streams.get(value);
    if (aborted) Object.assign(aborted, { body: undefined, filled: 0 });
  }
}

function newStream(): Incoming {
  return { length: 0, type: 0, streamId: 0, timestamp: 0, body: undefined, filled: 0 };
}

function bad(what: string): BadMedia {
  return new BadMedia("bad_flv", `The server ${what}: it does not speak RTMP`);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
