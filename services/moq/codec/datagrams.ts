import type { Draft } from "./drafts.ts";
import { maxExtensionBytes, numberOf, type Status, statuses } from "./objects.ts";
import { joined, Reader, Violation, Writer } from "./wire.ts";

/** One object in a datagram (draft 16 10.3, draft 18 11.3). */
export interface ObjectDatagram {
  readonly alias: number;
  readonly group: number;
  readonly object: number;
  /** Undefined is the track's own. */
  readonly priority: number | undefined;
  readonly extensions: Uint8Array | undefined;
  readonly endOfGroup: boolean;
  readonly status: Status;
  readonly payload: Uint8Array;
}

const padding = 0x132b3e29;

export function encodeDatagram(datagram: ObjectDatagram, draft: Draft): Uint8Array {
  const { alias, group, object, extensions, endOfGroup, status, payload } = datagram;
  const priority = datagram.priority ?? (draft.defaultPriority ? undefined : 128);
  const says = status !== "normal";
  const type =
    (extensions ? 0x01 : 0) |
    (endOfGroup && !says ? 0x02 : 0) |
    (object === 0 && !(says && draft.number === 14) ? 0x04 : 0) |
    (priority === undefined ? 0x08 : 0) |
    (says ? 0x20 : 0);
  const to = new Writer(draft.integers).varint(type).varint(alias).varint(group);
  if (!(type & 0x04)) to.varint(object);
  if (priority !== undefined) to.u8(priority);
  if (extensions) to.sized(extensions);
  if (says) to.varint(numberOf(status));
  return joined(to.done(), payload);
}

/** Reads a datagram; undefined for one that carries no object. Throws Violation. */
export function decodeDatagram(bytes: Uint8Array, draft: Draft): ObjectDatagram | undefined {
  const from = new Reader(bytes, draft.integers);
  const type = from.varint();
  if (type === padding && draft.number >= 18) return undefined;
  const bits = 0x27 | (draft.defaultPriority ? 0x08 : 0);
  const says = (type & 0x20) !== 0;
  // A status cannot say the end of a group besides; draft 14 has it with the object's number alone.
  if ((type & ~bits) !== 0 || (says && type & 0x02) || (draft.number === 14 && says && type & 0x04))
    throw new Violation("protocolViolation", `There is no datagram of type 0x${type.toString(16)}`);
  const [alias, group] = [from.varint(), from.varint()];
  const object = type & 0x04 ? 0 : from.varint();
  const priority = type & 0x08 ? undefined : from.u8();
  const extensions = type & 0x01 ? from.sized(maxExtensionBytes) : undefined;
  if (extensions?.length === 0)
    throw new Violation("protocolViolation", "A datagram has no properties after all");
  const status = says ? statuses[from.varint()] : "normal";
  if (!status) throw new Violation("protocolViolation", "There is no such object status");
  if (says && status !== "normal" && extensions)
    throw new Violation("protocolViolation", "Only normal objects have properties");
  if (says) from.end();
  const payload = from.take(from.left);
  return { alias, group, object, priority, extensions, endOfGroup: (type & 0x02) !== 0, status, payload };
}
