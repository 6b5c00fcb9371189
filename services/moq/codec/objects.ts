import type { Draft } from "./drafts.ts";
import type { Location } from "./messages.ts";
import {
  cutShort,
  type Integers,
  joined,
  Reader,
  Violation,
  varintSize,
  Writer,
  writeVarint,
} from "./wire.ts";

/** A chunk of video at 8K and 60 Mb/s is far below this. */
const maxObjectBytes = 16 << 20;
export const maxExtensionBytes = 4096;

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
  /** It begins with the first object that its publisher made (draft 18 11.4.2); undefined where that is not known. */
  readonly first?: boolean | undefined;
}

/** Objects that carry no payload say why (draft 16 10.2.1.1). */
export type Status = "normal" | "end of group" | "end of track";

export const statuses: Readonly<Record<number, Status>> = {
  0: "normal",
  3: "end of group",
  4: "end of track",
};

/** One object as it came. */
export interface StreamObject {
  readonly group: number;
  readonly subgroup: number;
  readonly object: number;
  readonly status: Status;
  readonly payload: Uint8Array;
  readonly extensions: Uint8Array | undefined;
  /** As it was said with the object; undefined is what its stream or track says. */
  readonly priority?: number | undefined;
}

export type DataHeader =
  | ({ readonly type: "subgroup" } & SubgroupHeader)
  | { readonly type: "fetch"; readonly id: number };

/** What a track's priority is where nobody says. */
const defaultPriority = 128;

/** Opens a stream of one subgroup. */
export function encodeSubgroupHeader(header: SubgroupHeader, draft: Draft): Uint8Array {
  const { alias, group, subgroup, extensions, endOfGroup, first } = header;
  const priority = header.priority ?? (draft.defaultPriority ? undefined : defaultPriority);
  const mode = subgroup === undefined ? 0x02 : subgroup === 0 ? 0 : 0x04;
  const type =
    0x10 |
    Number(extensions) |
    mode |
    (endOfGroup ? 0x08 : 0) |
    (priority === undefined ? 0x20 : 0) |
    (draft.firstObject && first ? 0x40 : 0);
  const to = new Writer(draft.integers).varint(type).varint(alias).varint(group);
  if (mode === 0x04) to.varint(subgroup!);
  if (priority !== undefined) to.u8(priority);
  return to.done();
}

/**
 * One object on a subgroup's stream, `gap` ids after the one before it; its extensions only where the header says so. The same bytes
 * in all drafts with the same numbers.
 */
export function encodeObject(
  payload: Uint8Array,
  {
    gap = 0,
    extensions,
    status = "normal",
    integers = "quic",
  }: {
    readonly gap?: number;
    readonly extensions?: Uint8Array | undefined;
    readonly status?: Status | undefined;
    readonly integers?: Integers | undefined;
  } = {},
): Uint8Array {
  const extra = extensions ? varintSize(extensions.length, integers) + extensions.length : 0;
  // An empty object says its status.
  const size =
    varintSize(gap, integers) + extra + varintSize(payload.length, integers) + (payload.length || 1);
  const bytes = new Uint8Array(size);
  let at = writeVarint(bytes, 0, gap, integers);
  if (extensions) {
    at = writeVarint(bytes, at, extensions.length, integers);
    bytes.set(extensions, at);
    at += extensions.length;
  }
  at = writeVarint(bytes, at, payload.length, integers);
  if (payload.length === 0) bytes[at] = numberOf(status);
  bytes.set(payload, at);
  return bytes;
}

/** Opens the stream that answers a FETCH. */
export function encodeFetchHeader(id: number, { integers }: Draft): Uint8Array {
  return new Writer(integers).varint(0x05).varint(id).done();
}

/** An object that a FETCH asked for. */
export interface FetchedObject extends Location {
  readonly subgroup?: number | undefined;
  readonly priority?: number | undefined;
  readonly extensions?: Uint8Array | undefined;
  readonly payload: Uint8Array;
}

/** One object on a FETCH stream after `before`, groups counting up or down (draft 16 10.4.4, draft 18 11.4.4). */
export function encodeFetchObject(
  { group, object, subgroup = 0, priority = defaultPriority, extensions, payload }: FetchedObject,
  draft: Draft,
  before: Location | undefined,
): Uint8Array {
  const to = new Writer(draft.integers);
  if (draft.fetched === "full") {
    to.varint(group).varint(subgroup).varint(object).u8(priority);
    to.sized(extensions ?? new Uint8Array(0));
  } else {
    const isNew = before === undefined || before.group !== group || draft.fetched === "places";
    to.varint(
      (subgroup > 0 ? 0x03 : 0) |
        0x04 |
        (isNew ? 0x08 : 0) |
        0x10 |
        (extensions && extensions.length > 0 ? 0x20 : 0),
    );
    const differs = draft.fetched === "differences" && before !== undefined;
    if (isNew) to.varint(differs ? Math.abs(group - before.group) - 1 : group);
    if (subgroup > 0) to.varint(subgroup);
    to.varint(differs && !isNew ? object - before.object : object).u8(priority);
    if (extensions && extensions.length > 0) to.sized(extensions);
  }
  to.varint(payload.length);
  if (payload.length === 0 && draft.fetched === "full") to.varint(0);
  return joined(to.done(), payload);
}

export function numberOf(status: Status): number {
  return status === "end of group" ? 3 : status === "end of track" ? 4 : 0;
}

interface DataEvents {
  readonly header: (header: DataHeader) => void;
  readonly object: (object: StreamObject) => void;
  /** Whether the groups of a FETCH were asked for in descending order: their differences count down. */
  readonly descends?: ((id: number) => boolean) | undefined;
}

/** Reads one stream of objects as its bytes come; holds at most one object. */
export class DataReader {
  readonly #draft: Draft;
  readonly #on: DataEvents;
  #pieces: Uint8Array[] = [];
  #length = 0;
  /** No use to look before this many bytes are there. */
  #enough = 1;
  #header: DataHeader | undefined;
  #last: { group: number; subgroup: number | undefined; object: number } | undefined;

  constructor(draft: Draft, on: DataEvents) {
    this.#draft = draft;
    this.#on = on;
  }

  /** Takes what came. Payloads are views of it or of own memory. Throws Violation. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    if (this.#length < this.#enough) return;
    const all = this.#pieces.length === 1 ? bytes : joined(...this.#pieces);
    const from = new Reader(all, this.#draft.integers);
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
      this.#header = readHeader(from, this.#draft);
      this.#on.header(this.#header);
    } else if (this.#header.type === "subgroup") this.#object(from, this.#header);
    else if (this.#draft.fetched === "full") this.#fetchedInFull(from);
    else this.#fetched(from, this.#header.id);
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

  /** Draft 14 9.4.4. */
  #fetchedInFull(from: Reader): void {
    const [group, subgroup, object, priority] = [from.varint(), from.varint(), from.varint(), from.u8()];
    const extensions = from.sized(maxExtensionBytes);
    const length = this.#payloadLength(from);
    const status = length === 0 ? statuses[from.varint()] : "normal";
    if (!status) throw new Violation("protocolViolation", "There is no such object status");
    const payload = from.take(length);
    this.#last = { group, subgroup, object };
    const said = extensions.length > 0 ? extensions : undefined;
    this.#on.object({ group, subgroup, object, status, payload, extensions: said, priority });
  }

  #fetched(from: Reader, id: number): void {
    const flags = from.varint();
    const last = this.#last;
    const differs = this.#draft.fetched === "differences";
    if (flags === 0x8c || flags === 0x10c) {
      const at = differs ? this.#place(from, flags, id) : { group: from.varint(), object: from.varint() };
      this.#last = { subgroup: last?.subgroup, ...at };
      return;
    }
    if (flags > 127) throw new Violation("protocolViolation", `There are no such flags as ${flags}`);
    const mode = flags & 0x40 ? 0 : flags & 0x03;
    const fromLast = (mode !== 0 && mode !== 3) || (flags & 0x1c) !== 0x1c;
    if (!last && fromLast)
      throw new Violation("protocolViolation", "The first object refers to one before it");
    let group: number;
    let object: number;
    let subgroup = 0;
    const readSubgroup = () => {
      if (mode !== 1 && mode !== 2) return mode === 3 ? from.varint() : 0;
      if (last!.subgroup === undefined)
        throw new Violation("protocolViolation", "A subgroup refers to none before it");
      return last!.subgroup + (mode - 1);
    };
    if (differs) ({ group, object } = this.#place(from, flags, id, () => (subgroup = readSubgroup())));
    else {
      group = flags & 0x08 ? from.varint() : last!.group;
      subgroup = readSubgroup();
      object = flags & 0x04 ? from.varint() : last!.object + 1;
    }
    const priority = flags & 0x10 ? from.u8() : undefined;
    const extensions = flags & 0x20 ? from.sized(maxExtensionBytes) : undefined;
    const payload = from.take(this.#payloadLength(from));
    this.#last = { group, subgroup, object };
    this.#on.object({ group, subgroup, object, status: "normal", payload, extensions, priority });
  }

  /** Draft 18 11.4.4.1: a place by its difference to the one before it; `between` reads what stands between group and object. */
  #place(from: Reader, flags: number, id: number, between = (): unknown => undefined): Location {
    const last = this.#last;
    const said = flags & 0x08 ? from.varint() : undefined;
    between();
    const object = flags & 0x04 ? from.varint() : undefined;
    if (!last) return { group: said!, object: object! };
    if (said === undefined) return { group: last.group, object: last.object + (object ?? 1) };
    const group = this.#on.descends?.(id) ? last.group - said - 1 : last.group + said + 1;
    if (group < 0 || !Number.isSafeInteger(group))
      throw new Violation("protocolViolation", "A group's number is out of range");
    return { group, object: object ?? last.object + 1 };
  }

  #payloadLength(from: Reader): number {
    const length = from.varint();
    if (length > maxObjectBytes)
      throw new Violation("protocolViolation", `An object is larger than ${maxObjectBytes} bytes`);
    this.#enough = from.at + length;
    return length;
  }
}

function readHeader(from: Reader, draft: Draft): DataHeader {
  const type = from.varint();
  if (type === 0x05) return { type: "fetch", id: from.varint() };
  const mode = type & 0x06;
  const bits = 0x1f | (draft.defaultPriority ? 0x20 : 0) | (draft.firstObject ? 0x40 : 0);
  // Mode 0b11 is reserved.
  if ((type & ~(bits & ~0x10)) !== 0x10 || mode === 0x06)
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
    ...(draft.firstObject && { first: (type & 0x40) !== 0 }),
  };
}
