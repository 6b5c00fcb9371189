import type { Location } from "./messages.ts";
import { cutShort, joined, Reader, Violation, varintSize, Writer, writeVarint } from "./wire.ts";

/** A chunk of video at 8K and 60 Mb/s is far below this. */
const maxObjectBytes = 16 << 20;
const maxExtensionBytes = 4096;

/** What stands at the beginning of a stream of objects (draft 16 10.4.2). */
export interface SubgroupHeader {
  readonly alias: number;
  readonly group: number;
  /** Undefined: the id of its first object. */
  readonly subgroup: number | undefined;
  /** 0 goes first; undefined is the track's own. */
  readonly priority: number | undefined;
  /** Objects of it have extensions. */
  readonly extensions: boolean;
  /** The last object of this stream is the group's last. */
  readonly endOfGroup: boolean;
}

/** Objects that carry no payload say why (draft 16 10.2.1.1). */
export type Status = "normal" | "end of group" | "end of track";

const statuses: Readonly<Record<number, Status>> = { 0: "normal", 3: "end of group", 4: "end of track" };

/** One object as it came. */
export interface StreamObject {
  readonly group: number;
  readonly subgroup: number;
  readonly object: number;
  readonly status: Status;
  readonly payload: Uint8Array;
  readonly extensions: Uint8Array | undefined;
}

export type DataHeader =
  | ({ readonly type: "subgroup" } & SubgroupHeader)
  | { readonly type: "fetch"; readonly id: number };

/** Opens a stream of one subgroup. */
export function encodeSubgroupHeader(header: SubgroupHeader): Uint8Array {
  const { alias, group, subgroup, priority, extensions, endOfGroup } = header;
  const mode = subgroup === undefined ? 0x02 : subgroup === 0 ? 0 : 0x04;
  const type =
    0x10 | Number(extensions) | mode | (endOfGroup ? 0x08 : 0) | (priority === undefined ? 0x20 : 0);
  const to = new Writer().varint(type).varint(alias).varint(group);
  if (mode === 0x04) to.varint(subgroup!);
  if (priority !== undefined) to.u8(priority);
  return to.done();
}

/** One object on a subgroup's stream, `gap` ids after the one before it; its extensions only where the header says so. */
export function encodeObject(
  payload: Uint8Array,
  { gap = 0, extensions }: { readonly gap?: number; readonly extensions?: Uint8Array | undefined } = {},
): Uint8Array {
  const extra = extensions ? varintSize(extensions.length) + extensions.length : 0;
  // An empty object says its status.
  const size = varintSize(gap) + extra + varintSize(payload.length) + (payload.length || 1);
  const bytes = new Uint8Array(size);
  let at = writeVarint(bytes, 0, gap);
  if (extensions) {
    at = writeVarint(bytes, at, extensions.length);
    bytes.set(extensions, at);
    at += extensions.length;
  }
  at = writeVarint(bytes, at, payload.length);
  bytes.set(payload, at);
  return bytes;
}

/** Opens the stream that answers a FETCH. */
export function encodeFetchHeader(id: number): Uint8Array {
  return new Writer().varint(0x05).varint(id).done();
}

/** One object on a FETCH stream, every field written out (draft 16 10.4.4). */
export function encodeFetchObject(
  { group, object }: Location,
  payload: Uint8Array,
  {
    priority = 128,
    extensions,
  }: { readonly priority?: number; readonly extensions?: Uint8Array | undefined } = {},
): Uint8Array {
  const to = new Writer().varint(0x04 | 0x08 | 0x10 | (extensions ? 0x20 : 0));
  to.varint(group).varint(object).u8(priority);
  if (extensions) to.sized(extensions);
  return joined(to.varint(payload.length).done(), payload);
}

/** Reads one stream of objects as its bytes come; holds at most one object. */
export class DataReader {
  readonly #on: {
    readonly header: (header: DataHeader) => void;
    readonly object: (object: StreamObject) => void;
  };
  #pieces: Uint8Array[] = [];
  #length = 0;
  /** No use to look before this many bytes are there. */
  #enough = 1;
  #header: DataHeader | undefined;
  #last: { group: number; subgroup: number; object: number } | undefined;

  constructor(on: {
    readonly header: (header: DataHeader) => void;
    readonly object: (object: StreamObject) => void;
  }) {
    this.#on = on;
  }

  /** Takes what came. Payloads are views of it or of own memory. Throws Violation. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    if (this.#length < this.#enough) return;
    const all = this.#pieces.length === 1 ? bytes : joined(...this.#pieces);
    const from = new Reader(all);
    let read = 0;
    try {
      while (from.left > 0) {
        this.#enough = 1;
        this.#next(from);
        read = from.at;
      }
      this.#pieces = [];
    } catch (error) {
      if (error !== cutShort) throw error;
      this.#pieces = [read === 0 && this.#pieces.length > 1 ? all : all.slice(read)];
    }
    this.#length = this.#pieces[0]?.length ?? 0;
    this.#enough = Math.max(this.#enough - read, this.#length + 1);
  }

  /** The stream has ended well; Violation when that was in the middle of something. */
  end(): void {
    if (this.#length > 0 || !this.#header)
      throw new Violation("protocolViolation", "A stream of objects ends within one");
  }

  #next(from: Reader): void {
    if (!this.#header) {
      this.#header = readHeader(from);
      this.#on.header(this.#header);
    } else if (this.#header.type === "subgroup") this.#object(from, this.#header);
    else this.#fetched(from);
  }

  #object(from: Reader, header: SubgroupHeader): void {
    const gap = from.varint();
    const extensions = header.extensions ? from.sized(maxExtensionBytes) : undefined;
    const length = this.#payloadLength(from);
    const status = length === 0 ? statuses[from.varint()] : "normal";
    if (!status) throw new Violation("protocolViolation", "There is no such object status");
    const payload = from.take(length);
    const object = this.#last ? this.#last.object + 1 + gap : gap;
    const subgroup = this.#last?.subgroup ?? header.subgroup ?? object;
    this.#last = { group: header.group, subgroup, object };
    this.#on.object({ group: header.group, subgroup, object, status, payload, extensions });
  }

  #fetched(from: Reader): void {
    const flags = from.varint();
    const last = this.#last;
    if (flags === 0x8c || flags === 0x10c) {
      this.#last = { group: from.varint(), subgroup: 0, object: from.varint() };
      return;
    }
    if (flags > 127) throw new Violation("protocolViolation", `There are no such flags as ${flags}`);
    const mode = flags & 0x40 ? 0 : flags & 0x03;
    const fromLast = (mode !== 0 && mode !== 3) || (flags & 0x1c) !== 0x1c;
    if (!last && fromLast)
      throw new Violation("protocolViolation", "The first object refers to one before it");
    const group = flags & 0x08 ? from.varint() : last!.group;
    const subgroup = mode === 3 ? from.varint() : mode === 0 ? 0 : last!.subgroup + (mode - 1);
    const object = flags & 0x04 ? from.varint() : last!.object + 1;
    if (flags & 0x10) from.u8();
    const extensions = flags & 0x20 ? from.sized(maxExtensionBytes) : undefined;
    const payload = from.take(this.#payloadLength(from));
    this.#last = { group, subgroup, object };
    this.#on.object({ group, subgroup, object, status: "normal", payload, extensions });
  }

  #payloadLength(from: Reader): number {
    const length = from.varint();
    if (length > maxObjectBytes)
      throw new Violation("protocolViolation", `An object is larger than ${maxObjectBytes} bytes`);
    this.#enough = from.at + length;
    return length;
  }
}

function readHeader(from: Reader): DataHeader {
  const type = from.varint();
  if (type === 0x05) return { type: "fetch", id: from.varint() };
  const mode = type & 0x06;
  // 0b00X1XXXX, and mode 0b11 is reserved.
  if ((type & ~0x2f) !== 0x10 || mode === 0x06)
    throw new Violation("protocolViolation", `There is no stream of type 0x${type.toString(16)}`);
  const [alias, group] = [from.varint(), from.varint()];
  const subgroup = mode === 0x04 ? from.varint() : mode === 0 ? 0 : undefined;
  const priority = type & 0x20 ? undefined : from.u8();
  return {
    type: "subgroup",
    alias,
    group,
    subgroup,
    priority,
    extensions: (type & 1) !== 0,
    endOfGroup: (type & 0x08) !== 0,
  };
}
