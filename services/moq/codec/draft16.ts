import type { FetchRange, Message, TrackName } from "./messages.ts";
import { readLocation, readParams, readSetup, writeLocation, writeParams, writeSetup } from "./params.ts";
import { bytesOfText, cutShort, joined, Reader, textOf, Violation, Writer } from "./wire.ts";

/** Draft 16 2.4.1: fields of a namespace, and bytes of it and the name together. */
const maxFields = 32;
const maxNameBytes = 4096;
const maxReasonBytes = 1024;
const maxUriBytes = 8192;

/** Type numbers (draft 16 9). */
const types = {
  "client-setup": 0x20,
  "server-setup": 0x21,
  goaway: 0x10,
  "max-request-id": 0x15,
  "requests-blocked": 0x1a,
  "request-ok": 0x7,
  "request-error": 0x5,
  subscribe: 0x3,
  "subscribe-ok": 0x4,
  "request-update": 0x2,
  unsubscribe: 0xa,
  publish: 0x1d,
  "publish-ok": 0x1e,
  "publish-done": 0xb,
  fetch: 0x16,
  "fetch-ok": 0x18,
  "fetch-cancel": 0x17,
  "track-status": 0xd,
  "publish-namespace": 0x6,
  namespace: 0x8,
  "publish-namespace-done": 0x9,
  "namespace-done": 0xe,
  "publish-namespace-cancel": 0xc,
  "subscribe-namespace": 0x11,
} as const satisfies Record<Message["type"], number>;

const names = new Map<number, Message["type"]>(
  Object.entries(types).map(([name, type]) => [type, name as Message["type"]]),
);

const wants = ["publish", "namespace", "both"] as const;

/** What a control stream has to say, one message after the other. */
export interface ControlCodec {
  encode(message: Message): Uint8Array;
  decode(type: number, payload: Uint8Array): Message;
}

/** draft-ietf-moq-transport-16. Decoding throws Violation. */
export const draft16: ControlCodec = {
  encode(message) {
    const body = new Writer();
    write(body, message);
    if (body.length > 0xffff) throw new Error(`a ${message.type} of ${body.length} bytes cannot be sent`);
    return new Writer().varint(types[message.type]).u16(body.length).put(body.done()).done();
  },
  decode(type, payload) {
    const name = names.get(type);
    if (!name) throw new Violation("protocolViolation", `There is no message 0x${type.toString(16)}`);
    const from = new Reader(payload);
    const message = read(name, from);
    from.end();
    return message;
  },
};

function read(type: Message["type"], from: Reader): Message {
  switch (type) {
    case "client-setup":
    case "server-setup":
      return { type, options: readSetup(from) };
    case "goaway":
      return { type, uri: textOf(from.sized(maxUriBytes)) };
    case "max-request-id":
    case "requests-blocked":
      return { type, max: from.varint() };
    case "request-ok":
    case "publish-ok":
      return { type, id: from.varint(), params: readParams(from) };
    case "request-error": {
      const [id, code, retry] = [from.varint(), from.varint(), from.varint()];
      const reason = textOf(from.sized(maxReasonBytes));
      return { type, id, code, reason, ...(retry > 0 && { retryMs: retry - 1 }) };
    }
    case "subscribe":
    case "track-status":
      return { type, id: from.varint(), track: readTrack(from), params: readParams(from) };
    case "subscribe-ok":
      return {
        type,
        id: from.varint(),
        alias: from.varint(),
        params: readParams(from),
        extensions: from.take(from.left),
      };
    case "request-update":
      return { type, id: from.varint(), existing: from.varint(), params: readParams(from) };
    case "unsubscribe":
    case "fetch-cancel":
    case "publish-namespace-done":
      return { type, id: from.varint() };
    case "publish":
      return {
        type,
        id: from.varint(),
        track: readTrack(from),
        alias: from.varint(),
        params: readParams(from),
        extensions: from.take(from.left),
      };
    case "publish-done":
      return {
        type,
        id: from.varint(),
        code: from.varint(),
        streams: from.loose(),
        reason: textOf(from.sized(maxReasonBytes)),
      };
    case "fetch":
      return { type, id: from.varint(), range: readRange(from), params: readParams(from) };
    case "fetch-ok": {
      const [id, end] = [from.varint(), from.u8()];
      if (end > 1) throw new Violation("protocolViolation", `End Of Track is ${end}`);
      return {
        type,
        id,
        endOfTrack: end === 1,
        end: readLocation(from),
        params: readParams(from),
        extensions: from.take(from.left),
      };
    }
    case "publish-namespace":
      return { type, id: from.varint(), namespace: readNamespace(from, 1), params: readParams(from) };
    case "publish-namespace-cancel":
      return { type, id: from.varint(), code: from.varint(), reason: textOf(from.sized(maxReasonBytes)) };
    case "subscribe-namespace": {
      const [id, prefix, want] = [from.varint(), readNamespace(from, 0), wants[from.varint()]];
      if (!want) throw new Violation("protocolViolation", "There are no such Subscribe Options");
      return { type, id, prefix, wants: want, params: readParams(from) };
    }
    case "namespace":
    case "namespace-done":
      return { type, suffix: readNamespace(from, 0) };
  }
}

function write(to: Writer, message: Message): void {
  switch (message.type) {
    case "client-setup":
    case "server-setup":
      return writeSetup(to, message.options);
    case "goaway":
      return void to.sized(bytesOfText(message.uri));
    case "max-request-id":
    case "requests-blocked":
      return void to.varint(message.max);
    case "request-ok":
    case "publish-ok":
      return writeParams(to.varint(message.id), message.params);
    case "request-error": {
      const { id, code, retryMs, reason } = message;
      return void to
        .varint(id)
        .varint(code)
        .varint(retryMs === undefined ? 0 : retryMs + 1)
        .sized(reasonOf(reason));
    }
    case "subscribe":
    case "track-status":
      return writeParams(writeTrack(to.varint(message.id), message.track), message.params);
    case "subscribe-ok":
      writeParams(to.varint(message.id).varint(message.alias), message.params);
      return void to.put(message.extensions);
    case "request-update":
      return writeParams(to.varint(message.id).varint(message.existing), message.params);
    case "unsubscribe":
    case "fetch-cancel":
    case "publish-namespace-done":
      return void to.varint(message.id);
    case "publish":
      writeParams(writeTrack(to.varint(message.id), message.track).varint(message.alias), message.params);
      return void to.put(message.extensions);
    case "publish-done": {
      const { id, code, streams, reason } = message;
      return void to.varint(id).varint(code).varint(streams).sized(reasonOf(reason));
    }
    case "fetch":
      return writeParams(writeRange(to.varint(message.id), message.range), message.params);
    case "fetch-ok":
      writeLocation(to.varint(message.id).u8(Number(message.endOfTrack)), message.end);
      writeParams(to, message.params);
      return void to.put(message.extensions);
    case "publish-namespace":
      return writeParams(writeNamespace(to.varint(message.id), message.namespace), message.params);
    case "publish-namespace-cancel":
      return void to.varint(message.id).varint(message.code).sized(reasonOf(message.reason));
    case "subscribe-namespace":
      writeNamespace(to.varint(message.id), message.prefix).varint(wants.indexOf(message.wants));
      return writeParams(to, message.params);
    case "namespace":
    case "namespace-done":
      return void writeNamespace(to, message.suffix);
  }
}

const reasonOf = (reason: string) => bytesOfText(reason.slice(0, maxReasonBytes));

function readNamespace(from: Reader, least: number): string[] {
  const count = from.varint();
  if (count < least || count > maxFields)
    throw new Violation("protocolViolation", `A namespace has ${count} fields`);
  const fields: string[] = [];
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const field = from.sized(maxNameBytes);
    bytes += field.length;
    if (field.length === 0) throw new Violation("protocolViolation", "A namespace has an empty field");
    fields.push(textOf(field));
  }
  if (bytes > maxNameBytes)
    throw new Violation("protocolViolation", `A namespace is longer than ${maxNameBytes} bytes`);
  return fields;
}

function writeNamespace(to: Writer, fields: readonly string[]): Writer {
  to.varint(fields.length);
  for (const field of fields) to.sized(bytesOfText(field));
  return to;
}

function readTrack(from: Reader): TrackName {
  const namespace = readNamespace(from, 1);
  const name = textOf(from.sized(maxNameBytes));
  const bytes = namespace.reduce((sum, field) => sum + field.length, name.length);
  if (bytes > maxNameBytes)
    throw new Violation("protocolViolation", `A track's full name is longer than ${maxNameBytes} bytes`);
  return { namespace, name };
}

function writeTrack(to: Writer, { namespace, name }: TrackName): Writer {
  return writeNamespace(to, namespace).sized(bytesOfText(name));
}

function readRange(from: Reader): FetchRange {
  const kind = from.varint();
  if (kind === 1) {
    const [track, start, end] = [readTrack(from), readLocation(from), readLocation(from)];
    return { kind: "standalone", track, start, end };
  }
  if (kind !== 2 && kind !== 3) throw new Violation("protocolViolation", `There is no fetch ${kind}`);
  return { kind: kind === 2 ? "relative" : "absolute", joining: from.varint(), start: from.varint() };
}

function writeRange(to: Writer, range: FetchRange): Writer {
  if (range.kind === "standalone")
    return writeLocation(writeLocation(writeTrack(to.varint(1), range.track), range.start), range.end);
  return to
    .varint(range.kind === "relative" ? 2 : 3)
    .varint(range.joining)
    .varint(range.start);
}

/** Messages of a control stream as its bytes come. Keeps at most one message, which is 64 KiB. */
export class ControlReader {
  readonly #codec: ControlCodec;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(codec: ControlCodec) {
    this.#codec = codec;
  }

  /** The messages that `bytes` complete. Throws Violation. */
  push(bytes: Uint8Array): Message[] {
    this.#rest = this.#rest.length > 0 ? joined(this.#rest, bytes) : bytes;
    const messages: Message[] = [];
    for (;;) {
      const from = new Reader(this.#rest);
      let type: number;
      let payload: Uint8Array;
      try {
        type = from.varint();
        payload = from.take(from.u16());
      } catch (error) {
        if (error !== cutShort) throw error;
        // Own memory: what came belongs to the transport.
        this.#rest = this.#rest.slice();
        return messages;
      }
      this.#rest = this.#rest.subarray(from.at);
      messages.push(this.#codec.decode(type, payload));
    }
  }

  /** Bytes of a message that is not whole. */
  get pending(): number {
    return this.#rest.length;
  }
}
