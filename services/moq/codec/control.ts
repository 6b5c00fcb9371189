import type { Draft } from "./drafts.ts";
import {
  type FetchRange,
  type Filter,
  type GroupOrder,
  type Location,
  type Message,
  type Params,
  type RequestKind,
  requestKinds,
  type TrackName,
} from "./messages.ts";
import {
  maxNameBytes,
  oneOf,
  readFilter,
  readLocation,
  readNamespace,
  readParams,
  readSetup,
  writeFilter,
  writeLocation,
  writeNamespace,
  writeParams,
  writeSetup,
} from "./params.ts";
import { bytesOfText, cutShort, joined, Reader, textOf, Violation, Writer } from "./wire.ts";

const maxReasonBytes = 1024;
const maxUriBytes = 8192;
const nothing = new Uint8Array(0);

/** The request whose stream a message is on, for messages that do not say it themselves. */
export interface Place {
  readonly id: number;
  readonly kind: RequestKind;
}

const wants = ["publish", "namespace", "both"] as const;
const orders = [undefined, "ascending", "descending"] as const;

/** A control message with its type and length. An Error for one that the draft does not have. */
export function encodeMessage(draft: Draft, message: Message): Uint8Array {
  const body = new Writer(draft.integers);
  write(body, message, draft);
  if (body.length > 0xffff) throw new Error(`a ${message.type} of ${body.length} bytes cannot be sent`);
  const type = typeOf(draft, message);
  if (type === undefined) throw new Error(`draft ${draft.number} has no ${message.type}`);
  return new Writer(draft.integers).varint(type).u16(body.length).put(body.done()).done();
}

/** Reads what follows a message's length. Throws Violation. */
export function decodeMessage(draft: Draft, type: number, payload: Uint8Array, on?: Place): Message {
  const found = names(draft).get(type);
  if (!found) throw new Violation("protocolViolation", `There is no message 0x${type.toString(16)}`);
  const from = new Reader(payload, draft.integers);
  const message = read(found, from, draft, on);
  from.end();
  return message;
}

function typeOf({ types, answers }: Draft, message: Message): number | undefined {
  if ((message.type === "request-ok" || message.type === "request-error") && message.of)
    return answers[message.of]?.[message.type === "request-ok" ? "ok" : "error"] ?? types[message.type];
  return types[message.type];
}

interface Named {
  readonly type: Message["type"];
  readonly of?: RequestKind;
}

const known = new Map<Draft, ReadonlyMap<number, Named>>();

function names(draft: Draft): ReadonlyMap<number, Named> {
  let found = known.get(draft);
  if (!found) {
    const all: [number, Named][] = [];
    for (const [of, { ok, error }] of Object.entries(draft.answers) as [
      RequestKind,
      { ok: number; error: number },
    ][])
      all.push([ok, { type: "request-ok", of }], [error, { type: "request-error", of }]);
    // After these: SUBSCRIBE_OK and FETCH_OK are messages of their own.
    for (const [type, number] of Object.entries(draft.types))
      all.push([number, { type: type as Message["type"] }]);
    found = new Map(all);
    known.set(draft, found);
  }
  return found;
}

function read({ type, of }: Named, from: Reader, draft: Draft, on: Place | undefined): Message {
  const fields = draft.params === "fields";
  /** Of the request that this is about: said, or known by the stream. */
  const about = (): number => {
    if (draft.ownStream !== "all") return from.varint();
    if (!on) throw new Violation("protocolViolation", `${type} has no place on this stream`);
    return on.id;
  };
  const params = () => readParams(from, draft);
  // Before draft 16 tracks say nothing of themselves.
  const extensions = () => (fields ? nothing : from.take(from.left));
  const least = draft.emptyNamespaces ? 0 : 1;
  switch (type) {
    case "client-setup":
    case "server-setup":
    case "setup": {
      const versions: number[] = [];
      if (draft.number === 14) {
        const count = type === "server-setup" ? 1 : from.varint();
        if (count > 64) throw new Violation("protocolViolation", `A client speaks ${count} versions`);
        for (let i = 0; i < count; i++) versions.push(from.loose());
      }
      return { type, options: { ...readSetup(from, draft), ...(draft.number === 14 && { versions }) } };
    }
    case "goaway": {
      const uri = textOf(from.sized(maxUriBytes));
      if (!draft.goaway.timeout) return { type, uri };
      const timeoutMs = from.loose();
      return {
        ...{ type, uri, timeoutMs },
        ...(draft.goaway.firstRefused && !on && { firstRefused: from.varint() }),
      };
    }
    case "max-request-id":
    case "requests-blocked":
      return { type, max: from.varint() };
    case "request-ok": {
      const id = about();
      const kind = of ?? on?.kind;
      const named = kind && (of || draft.ownStream === "all") ? { of: kind } : {};
      if (!fields) {
        const read = params();
        if (draft.ownStream !== "all") return { type, id, ...named, params: read };
        const track = from.take(from.left);
        if (track.length > 0 && kind !== "track-status")
          throw new Violation("protocolViolation", "Properties of a track are in the wrong answer");
        return { type, id, ...named, params: read, ...(track.length > 0 && { extensions: track }) };
      }
      if (of !== "track-status") return { type, id, ...named, params: {} };
      // As SUBSCRIBE_OK, but for the alias that is none.
      from.varint();
      return { type, id, ...named, params: readOk(from, draft) };
    }
    case "publish-ok":
      return { type, id: about(), params: fields ? readWishes(from, draft, "publish-ok") : params() };
    case "request-error": {
      const id = about();
      const kind = of ?? on?.kind;
      const code = codeOf(draft, kind, from.loose());
      const retry = fields ? 0 : from.varint();
      const reason = textOf(from.sized(maxReasonBytes));
      const redirect =
        draft.ownStream === "all" && code === 0x34
          ? {
              redirect: {
                uri: textOf(from.sized(maxUriBytes)),
                track: { namespace: readNamespace(from, 0), name: textOf(from.sized(maxNameBytes)) },
              },
            }
          : {};
      return {
        ...{ type, id, ...(kind && (of || draft.ownStream === "all") && { of: kind }), code, reason },
        ...(retry > 0 && { retryMs: retry - 1 }),
        ...redirect,
      };
    }
    case "subscribe":
    case "track-status": {
      const [id, track] = [from.varint(), readTrack(from, least)];
      return { type, id, track, params: fields ? readWishes(from, draft, "subscribe") : params() };
    }
    case "subscribe-ok": {
      const [id, alias] = [about(), from.varint()];
      return { type, id, alias, params: fields ? readOk(from, draft) : params(), extensions: extensions() };
    }
    case "request-update": {
      const id = from.varint();
      const existing = about();
      return { type, id, existing, params: fields ? readUpdate(from, draft) : params() };
    }
    case "unsubscribe":
    case "fetch-cancel":
      return { type, id: from.varint() };
    case "publish-namespace-done":
      return fields ? { type, id: -1, namespace: readNamespace(from, least) } : { type, id: from.varint() };
    case "publish": {
      const [id, track, alias] = [from.varint(), readTrack(from, least), from.varint()];
      if (!fields) return { type, id, track, alias, params: params(), extensions: extensions() };
      const order = oneOf(from.u8(), orders, "GROUP_ORDER");
      const largest = readLargest(from);
      const forward = oneOf(from.u8(), [false, true], "FORWARD");
      return {
        type,
        id,
        track,
        alias,
        params: { ...largest, order, forward, ...params() },
        extensions: nothing,
      };
    }
    case "publish-done": {
      const id = about();
      const code = from.loose();
      const [streams, reason] = [from.loose(), textOf(from.sized(maxReasonBytes))];
      return { type, id, code: draft.doneCodes[code] ?? code, streams, reason };
    }
    case "fetch": {
      const id = from.varint();
      const priority = fields ? from.u8() : undefined;
      const order = fields ? from.u8() : undefined;
      const range = readRange(from, least);
      const said = order === undefined ? {} : orderOf(order);
      return { type, id, range, params: { ...(fields && { priority }), ...said, ...params() } };
    }
    case "fetch-ok": {
      const id = about();
      const order = fields ? from.u8() : undefined;
      const end = from.u8();
      if (end > 1) throw new Violation("protocolViolation", `End Of Track is ${end}`);
      const said = order === undefined ? {} : { order: oneOf(order, orders, "GROUP_ORDER") };
      return {
        ...{ type, id, endOfTrack: end === 1, end: readLocation(from) },
        ...{ params: { ...said, ...params() }, extensions: extensions() },
      };
    }
    case "publish-namespace":
      return { type, id: from.varint(), namespace: readNamespace(from, least), params: params() };
    case "publish-namespace-cancel": {
      const whose = fields ? { id: -1, namespace: readNamespace(from, least) } : { id: from.varint() };
      const code = codeOf(draft, "publish-namespace", from.loose());
      return { type, ...whose, code, reason: textOf(from.sized(maxReasonBytes)) };
    }
    case "subscribe-namespace": {
      const [id, prefix] = [from.varint(), readNamespace(from, fields ? 1 : 0)];
      const want = draft.params === "pairs" ? wants[from.varint()] : "namespace";
      if (!want) throw new Violation("protocolViolation", "There are no such Subscribe Options");
      return { type, id, prefix, wants: want, params: params() };
    }
    case "subscribe-tracks":
      return { type, id: from.varint(), prefix: readNamespace(from, 0), params: params() };
    case "unsubscribe-namespace":
      return { type, id: -1, prefix: readNamespace(from, 1) };
    case "namespace":
    case "namespace-done":
      return { type, id: on?.id ?? -1, suffix: readNamespace(from, 0) };
    case "publish-blocked": {
      const suffix = readNamespace(from, 0);
      return { type, id: on?.id ?? -1, suffix, name: textOf(from.sized(maxNameBytes)) };
    }
  }
}

function write(to: Writer, message: Message, draft: Draft): void {
  const fields = draft.params === "fields";
  const about = (id: number) => (draft.ownStream === "all" ? to : to.varint(id));
  const params = (all: Params) => writeParams(to, all, draft);
  switch (message.type) {
    case "client-setup":
    case "server-setup":
    case "setup": {
      const { versions = [draft.version] } = message.options;
      if (draft.number === 14) {
        if (message.type === "client-setup") to.varint(versions.length);
        for (const version of versions) to.varint(version);
      }
      return writeSetup(to, message.options, draft);
    }
    case "goaway":
      to.sized(bytesOfText(message.uri));
      if (!draft.goaway.timeout) return;
      to.varint(message.timeoutMs ?? 0);
      if (draft.goaway.firstRefused && message.firstRefused !== undefined) to.varint(message.firstRefused);
      return;
    case "max-request-id":
    case "requests-blocked":
      return void to.varint(message.max);
    case "request-ok":
      about(message.id);
      if (!fields) {
        params(message.params);
        if (draft.ownStream === "all" && message.extensions) to.put(message.extensions);
      } else if (message.of === "track-status") writeOk(to.varint(0), message.params, draft);
      return;
    case "publish-ok":
      about(message.id);
      return fields ? writeWishes(to, message.params, draft, "publish-ok") : params(message.params);
    case "request-error": {
      const { id, of, code, retryMs, reason, redirect } = message;
      about(id).varint(codeFor(draft, of, code));
      if (!fields) to.varint(retryMs === undefined ? 0 : retryMs + 1);
      to.sized(reasonOf(reason));
      if (draft.ownStream === "all" && redirect)
        writeTrack(to.sized(bytesOfText(redirect.uri)), redirect.track);
      return;
    }
    case "subscribe":
    case "track-status":
      writeTrack(to.varint(message.id), message.track);
      return fields ? writeWishes(to, message.params, draft, "subscribe") : params(message.params);
    case "subscribe-ok":
      about(message.id).varint(message.alias);
      if (fields) return writeOk(to, message.params, draft);
      params(message.params);
      return void to.put(message.extensions);
    case "request-update":
      to.varint(message.id);
      about(message.existing);
      return fields ? writeUpdate(to, message.params, draft) : params(message.params);
    case "unsubscribe":
    case "fetch-cancel":
      return void to.varint(message.id);
    case "publish-namespace-done":
      return void (fields ? writeNamespace(to, message.namespace ?? []) : to.varint(message.id));
    case "publish":
      writeTrack(to.varint(message.id), message.track).varint(message.alias);
      if (fields) {
        const { order = "ascending", largest, forward = true, ...rest } = message.params;
        writeLargest(to.u8(orders.indexOf(order)), largest).u8(Number(forward));
        return params(rest);
      }
      params(message.params);
      return void to.put(message.extensions);
    case "publish-done": {
      const { id, code, streams, reason } = message;
      return void about(id)
        .varint(draft.doneCodes[code] ?? code)
        .varint(streams)
        .sized(reasonOf(reason));
    }
    case "fetch": {
      const { priority = 128, order, ...rest } = message.params;
      to.varint(message.id);
      if (fields) to.u8(priority).u8(orders.indexOf(order));
      writeRange(to, message.range);
      return params(fields ? rest : message.params);
    }
    case "fetch-ok": {
      const { order = "ascending", ...rest } = message.params;
      about(message.id);
      if (fields) to.u8(orders.indexOf(order));
      writeLocation(to.u8(Number(message.endOfTrack)), message.end);
      params(fields ? rest : message.params);
      return void (fields || to.put(message.extensions));
    }
    case "publish-namespace":
      writeNamespace(to.varint(message.id), message.namespace);
      return params(message.params);
    case "publish-namespace-cancel":
      if (fields) writeNamespace(to, message.namespace ?? []);
      else to.varint(message.id);
      return void to
        .varint(codeFor(draft, "publish-namespace", message.code))
        .sized(reasonOf(message.reason));
    case "subscribe-namespace":
      writeNamespace(to.varint(message.id), message.prefix);
      if (draft.params === "pairs") to.varint(wants.indexOf(message.wants));
      return params(message.params);
    case "subscribe-tracks":
      writeNamespace(to.varint(message.id), message.prefix);
      return params(message.params);
    case "unsubscribe-namespace":
      return void writeNamespace(to, message.prefix);
    case "namespace":
    case "namespace-done":
      return void writeNamespace(to, message.suffix);
    case "publish-blocked":
      return void writeNamespace(to, message.suffix).sized(bytesOfText(message.name));
  }
}

const reasonOf = (reason: string) => bytesOfText(reason.slice(0, maxReasonBytes));

/** A code of REQUEST_ERROR as the draft has it. */
function codeFor(draft: Draft, kind: RequestKind | undefined, code: number): number {
  return (kind && draft.errorCodes[kind]?.[code]) ?? code;
}

/** The code of `requestErrors` that one of the draft stands for. */
function codeOf(draft: Draft, kind: RequestKind | undefined, code: number): number {
  const same = Object.entries((kind && draft.errorCodes[kind]) ?? {}).find(([, theirs]) => theirs === code);
  return same ? Number(same[0]) : code;
}

const orderOf = (order: number): { order?: GroupOrder } =>
  order === 0 ? {} : { order: oneOf(order, orders, "GROUP_ORDER") };

/** Draft 14 8.7, 8.14: what a subscriber wishes, in fields. */
function readWishes(from: Reader, draft: Draft, where: "subscribe" | "publish-ok"): Params {
  const first = from.u8();
  const [priority, order, forward] =
    where === "subscribe" ? [first, from.u8(), from.u8()] : [from.u8(), from.u8(), first];
  return {
    ...{ priority, ...orderOf(order), forward: oneOf(forward, [false, true], "FORWARD") },
    ...{ filter: readFilter(from, draft), ...readParams(from, draft) },
  };
}

function writeWishes(to: Writer, params: Params, draft: Draft, where: "subscribe" | "publish-ok"): void {
  const { priority = 128, order, forward = true, filter, ...rest } = params;
  if (where === "subscribe") to.u8(priority).u8(orders.indexOf(order)).u8(Number(forward));
  else to.u8(Number(forward)).u8(priority).u8(orders.indexOf(order));
  const all: Filter = { from: "absolute", start: { group: 0, object: 0 } };
  writeParams(writeFilter(to, filter ?? all, draft), rest, draft);
}

/** Draft 14 8.8: what a publisher says of a track, in fields. */
function readOk(from: Reader, draft: Draft): Params {
  const expiresMs = from.loose();
  const order = oneOf(from.u8(), orders, "GROUP_ORDER");
  return { ...(expiresMs > 0 && { expiresMs }), order, ...readLargest(from), ...readParams(from, draft) };
}

function writeOk(to: Writer, params: Params, draft: Draft): void {
  const { expiresMs = 0, order = "ascending", largest, ...rest } = params;
  writeParams(writeLargest(to.varint(expiresMs).u8(orders.indexOf(order)), largest), rest, draft);
}

function readLargest(from: Reader): { largest?: Location } {
  const exists = oneOf(from.u8(), [false, true], "Content Exists");
  return exists ? { largest: readLocation(from) } : {};
}

function writeLargest(to: Writer, largest: Location | undefined): Writer {
  return largest ? writeLocation(to.u8(1), largest) : to.u8(0);
}

/** Draft 14 8.10: a subscription's range, the end as one more and 0 for none. */
function readUpdate(from: Reader, draft: Draft): Params {
  const start = readLocation(from);
  const end = from.varint();
  const [priority, forward] = [from.u8(), oneOf(from.u8(), [false, true], "FORWARD")];
  if (end > 0 && end - 1 < start.group)
    throw new Violation("protocolViolation", "A subscription ends before it begins");
  const filter: Filter = { from: "absolute", start, ...(end > 0 && { endGroup: end - 1 }) };
  return { priority, forward, filter, ...readParams(from, draft) };
}

function writeUpdate(to: Writer, params: Params, draft: Draft): void {
  const { filter, priority = 128, forward = true, ...rest } = params;
  const range =
    filter?.from === "absolute" ? filter : { start: { group: 0, object: 0 }, endGroup: undefined };
  writeLocation(to, range.start).varint(range.endGroup === undefined ? 0 : range.endGroup + 1);
  writeParams(to.u8(priority).u8(Number(forward)), rest, draft);
}

function readTrack(from: Reader, least: number): TrackName {
  const namespace = readNamespace(from, least);
  const name = textOf(from.sized(maxNameBytes));
  const bytes = namespace.reduce((sum, field) => sum + field.length, name.length);
  if (bytes > maxNameBytes)
    throw new Violation("protocolViolation", `A track's full name is longer than ${maxNameBytes} bytes`);
  return { namespace, name };
}

function writeTrack(to: Writer, { namespace, name }: TrackName): Writer {
  return writeNamespace(to, namespace).sized(bytesOfText(name));
}

function readRange(from: Reader, least: number): FetchRange {
  const kind = from.varint();
  if (kind === 1) {
    const [track, start, end] = [readTrack(from, least), readLocation(from), readLocation(from)];
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

/** Messages of one stream as its bytes come. Keeps at most one message, which is 64 KiB. */
export class ControlReader {
  readonly #draft: Draft;
  #rest: Uint8Array = new Uint8Array(0);
  #place: Place | undefined;

  /** `place` is the request whose stream this is; a request that comes first on it becomes that. */
  constructor(draft: Draft, place?: Place) {
    this.#draft = draft;
    this.#place = place;
  }

  /** The messages that `bytes` complete. Throws Violation. */
  push(bytes: Uint8Array): Message[] {
    this.#rest = this.#rest.length > 0 ? joined(this.#rest, bytes) : bytes;
    const messages: Message[] = [];
    for (;;) {
      const from = new Reader(this.#rest, this.#draft.integers);
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
      const message = decodeMessage(this.#draft, type, payload, this.#place);
      const kind = requestKinds[message.type];
      const { ownStream } = this.#draft;
      if (kind && (ownStream === "all" || ownStream.includes(kind)))
        this.#place ??= { id: (message as { id: number }).id, kind };
      messages.push(message);
    }
  }

  /** Bytes of a message that is not whole. */
  get pending(): number {
    return this.#rest.length;
  }
}
