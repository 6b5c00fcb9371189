import type { Draft } from "./drafts.ts";
import type { Filter, Location, Params, SetupOptions, Token } from "./messages.ts";
import { bytesOfText, type Integers, Reader, textOf, Violation, Writer } from "./wire.ts";

/** Draft 16 2.4.1: fields of a namespace, and bytes of it and the name together. */
const maxFields = 32;
export const maxNameBytes = 4096;

/** Draft 16 1.4.2: a value is at most this long. */
const maxValueBytes = 0xffff;
/** Nothing that we take has more. */
const maxPairs = 64;

type Pair = readonly [type: number, value: number | Uint8Array];

/**
 * Reads `count` pairs, or all that is left; even types have a number, odd ones bytes. Types are differences to the one before, but
 * for draft 14.
 */
function readPairs(from: Reader, { params }: Draft, count: number | undefined): Pair[] {
  const pairs: Pair[] = [];
  let type = 0;
  while (count === undefined ? from.left > 0 : pairs.length < count) {
    if (pairs.length >= maxPairs)
      throw new Violation("protocolViolation", `There are more than ${maxPairs} parameters`);
    type = params === "fields" ? from.loose() : type + from.loose();
    pairs.push([type, type % 2 === 0 ? from.loose() : from.sized(maxValueBytes)]);
  }
  return pairs;
}

function writePairs(to: Writer, { params }: Draft, pairs: readonly Pair[]): void {
  let before = 0;
  for (const [type, value] of [...pairs].sort(([a], [b]) => a - b)) {
    to.varint(params === "fields" ? type : type - before);
    before = type;
    if (typeof value === "number") to.varint(value);
    else to.sized(value);
  }
}

const wrong = (what: string) => new Violation("keyValueFormatting", `${what} cannot be read`);

/** A value that is itself fields, none of them missing and nothing after. */
function within<T>(bytes: Uint8Array, integers: Integers, what: string, read: (from: Reader) => T): T {
  const from = new Reader(bytes, integers);
  try {
    const found = read(from);
    from.end();
    return found;
  } catch (error) {
    throw error instanceof Violation && error.code === "protocolViolation" ? wrong(what) : error;
  }
}

/** How a parameter is written in drafts whose types each have a form: in the others what is no number is bytes. */
type Form = "number" | "byte" | "bytes" | "location" | "namespace";

/** The parameters (draft 16 9.2.2, draft 18 10.2) with the first draft that has them. */
const known: Readonly<
  Record<number, { readonly name: keyof Params; readonly form: Form; readonly since?: 18 }>
> = {
  2: { name: "deliveryTimeoutMs", form: "number" },
  3: { name: "tokens", form: "bytes" },
  4: { name: "rendezvousMs", form: "number", since: 18 },
  6: { name: "subgroupTimeoutMs", form: "number", since: 18 },
  8: { name: "expiresMs", form: "number" },
  9: { name: "largest", form: "location" },
  10: { name: "fillMs", form: "number", since: 18 },
  16: { name: "forward", form: "byte" },
  32: { name: "priority", form: "byte" },
  33: { name: "filter", form: "bytes" },
  34: { name: "order", form: "byte" },
  50: { name: "newGroup", form: "number" },
  52: { name: "prefix", form: "namespace", since: 18 },
};

type Open<T> = { -readonly [Name in keyof T]: T[Name] };

/** The parameters of a request or an answer. Violation for types that the draft does not have. */
export function readParams(from: Reader, draft: Draft): Params {
  const params: Open<Params> = {};
  const tokens: Token[] = [];
  const count = from.varint();
  if (count > maxPairs)
    throw new Violation("protocolViolation", `There are more than ${maxPairs} parameters`);
  const seen = new Set<number>();
  const take = (type: number, read: (form: Form) => number | Location | Uint8Array | readonly string[]) => {
    const one = known[type];
    if (!one || (one.since ?? 0) > draft.number) {
      // Draft 14 9.2: what nobody knows is passed over.
      if (draft.params === "fields") return void read("bytes");
      throw new Violation("protocolViolation", `There is no parameter ${type}`);
    }
    if (type !== 0x03 && seen.has(type))
      throw new Violation("protocolViolation", `Parameter ${type} is there twice`);
    seen.add(type);
    const value = read(one.form);
    if (one.name === "tokens") tokens.push(readToken(value as Uint8Array, draft.integers));
    else put(params, one.name, value, draft);
  };
  if (draft.params === "typed") {
    let type = 0;
    for (let i = 0; i < count; i++) {
      type += from.varint();
      take(type, (form) => {
        if (form === "number") return from.loose();
        if (form === "byte") return from.u8();
        if (form === "location") return readLocation(from);
        return form === "bytes" ? from.sized(maxValueBytes) : readNamespace(from, 0);
      });
    }
  } else
    for (const [type, value] of readPairs(from, draft, count))
      take(type, (form) =>
        form === "location"
          ? within(value as Uint8Array, draft.integers, "LARGEST_OBJECT", readLocation)
          : value,
      );
  if (tokens.length > 0) params.tokens = tokens;
  return params;
}

function put(params: Open<Params>, name: keyof Params, value: unknown, draft: Draft): void {
  const number = value as number;
  switch (name) {
    case "deliveryTimeoutMs":
      if (number === 0 && draft.number < 18)
        throw new Violation("protocolViolation", "DELIVERY_TIMEOUT is 0");
      params.deliveryTimeoutMs = number;
      return;
    case "forward":
      params.forward = oneOf(number, [false, true], "FORWARD");
      return;
    case "priority":
      if (number > 255) throw new Violation("protocolViolation", "SUBSCRIBER_PRIORITY is above 255");
      params.priority = number;
      return;
    case "filter":
      params.filter = within(value as Uint8Array, draft.integers, "SUBSCRIPTION_FILTER", (from) =>
        readFilter(from, draft),
      );
      return;
    case "order":
      params.order = oneOf(number, [undefined, "ascending", "descending"], "GROUP_ORDER");
      return;
    default:
      Object.assign(params, { [name]: value });
  }
}

export function writeParams(to: Writer, params: Params, draft: Draft): void {
  const { integers } = draft;
  const pairs: (readonly [
    type: number,
    form: Form,
    value: number | Location | Uint8Array | readonly string[],
  ])[] = [];
  for (const [key, { name, form, since = 0 }] of Object.entries(known)) {
    const type = Number(key);
    if (since > draft.number) continue;
    if (name === "tokens")
      for (const token of params.tokens ?? []) pairs.push([type, form, writeToken(token, integers)]);
    else if (name === "forward" && params.forward !== undefined)
      pairs.push([type, form, Number(params.forward)]);
    else if (name === "filter" && params.filter)
      pairs.push([type, form, writeFilter(new Writer(integers), params.filter, draft).done()]);
    else if (name === "order" && params.order)
      pairs.push([type, form, { ascending: 1, descending: 2 }[params.order]]);
    else if (!["forward", "filter", "order"].includes(name)) {
      const value = params[name] as number | Location | readonly string[] | undefined;
      if (value !== undefined) pairs.push([type, form, value]);
    }
  }
  to.varint(pairs.length);
  if (draft.params !== "typed")
    return writePairs(
      to,
      draft,
      pairs.map(([type, form, value]) => [
        type,
        form === "location"
          ? writeLocation(new Writer(integers), value as Location).done()
          : (value as number | Uint8Array),
      ]),
    );
  let before = 0;
  for (const [type, form, value] of pairs) {
    to.varint(type - before);
    before = type;
    if (form === "number") to.varint(value as number);
    else if (form === "byte") to.u8(value as number);
    else if (form === "location") writeLocation(to, value as Location);
    else if (form === "bytes") to.sized(value as Uint8Array);
    else writeNamespace(to, value as readonly string[]);
  }
}

/** Setup options (draft 16 9.3.1): the same numbers in every draft but one. */
export function readSetup(from: Reader, draft: Draft): SetupOptions {
  const options: Open<SetupOptions> = {};
  const tokens: Token[] = [];
  const name = draft.number === 14 ? 0x05 : 0x07;
  for (const [type, value] of readPairs(from, draft, draft.ownStream === "all" ? undefined : count(from))) {
    if (type === 0x01) options.path = textOf(value as Uint8Array);
    else if (type === 0x02 && draft.types["max-request-id"] !== undefined)
      options.maxRequestId = value as number;
    else if (type === 0x03) tokens.push(readToken(value as Uint8Array, draft.integers));
    else if (type === 0x04) options.maxTokenCacheBytes = value as number;
    else if (type === name) options.implementation = textOf(value as Uint8Array);
    else if (type === 0x05) options.authority = textOf(value as Uint8Array);
  }
  if (tokens.length > 0) options.tokens = tokens;
  return options;
}

export function writeSetup(to: Writer, options: SetupOptions, draft: Draft): void {
  const pairs: Pair[] = (options.tokens ?? []).map((token) => [0x03, writeToken(token, draft.integers)]);
  const text = (type: number, value: string | undefined) => {
    if (value !== undefined) pairs.push([type, bytesOfText(value)]);
  };
  text(0x01, options.path);
  if (options.maxRequestId !== undefined && draft.types["max-request-id"] !== undefined)
    pairs.push([0x02, options.maxRequestId]);
  if (options.maxTokenCacheBytes !== undefined) pairs.push([0x04, options.maxTokenCacheBytes]);
  if (draft.number !== 14) text(0x05, options.authority);
  text(draft.number === 14 ? 0x05 : 0x07, options.implementation);
  if (draft.ownStream !== "all") to.varint(pairs.length);
  writePairs(to, draft, pairs);
}

function count(from: Reader): number {
  const pairs = from.varint();
  if (pairs > maxPairs) throw new Violation("protocolViolation", `There are more than ${maxPairs} options`);
  return pairs;
}

export function readLocation(from: Reader): Location {
  return { group: from.varint(), object: from.varint() };
}

export function writeLocation(to: Writer, { group, object }: Location): Writer {
  return to.varint(group).varint(object);
}

/** Draft 16 5.1.2. */
export function readFilter(from: Reader, { relativeEnd }: Draft): Filter {
  const type = from.varint();
  if (type === 1) return { from: "next group" };
  if (type === 2) return { from: "largest object" };
  if (type === 3) return { from: "absolute", start: readLocation(from) };
  if (type !== 4) throw new Violation("keyValueFormatting", `There is no filter ${type}`);
  const start = readLocation(from);
  const endGroup = from.varint() + (relativeEnd ? start.group : 0);
  if (endGroup < start.group) throw new Violation("keyValueFormatting", "A filter ends before it begins");
  return { from: "absolute", start, endGroup };
}

export function writeFilter(to: Writer, filter: Filter, { relativeEnd }: Draft): Writer {
  if (filter.from === "next group") return to.varint(1);
  if (filter.from === "largest object") return to.varint(2);
  const { start, endGroup } = filter;
  writeLocation(to.varint(endGroup === undefined ? 3 : 4), start);
  return endGroup === undefined ? to : to.varint(relativeEnd ? endGroup - start.group : endGroup);
}

export function readNamespace(from: Reader, least: number): string[] {
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

export function writeNamespace(to: Writer, fields: readonly string[]): Writer {
  to.varint(fields.length);
  for (const field of fields) to.sized(bytesOfText(field));
  return to;
}

const uses = ["delete", "register", "alias", "value"] as const;

function readToken(bytes: Uint8Array, integers: Integers): Token {
  return within(bytes, integers, "AUTHORIZATION_TOKEN", (from): Token => {
    const use = oneOf(from.varint(), uses, "a token's use");
    if (use === "delete" || use === "alias") return { use, alias: from.varint() };
    if (use === "value") return { use, type: from.varint(), value: from.take(from.left) };
    return { use, alias: from.varint(), type: from.varint(), value: from.take(from.left) };
  });
}

function writeToken(token: Token, integers: Integers): Uint8Array {
  const to = new Writer(integers).varint(uses.indexOf(token.use));
  if (token.use !== "value") to.varint(token.alias);
  if (token.use === "register" || token.use === "value") to.varint(token.type).put(token.value);
  return to.done();
}

/** The one of `all` that a number stands for. Violation where there is none. */
export function oneOf<T>(value: number, all: readonly (T | undefined)[], what: string): T {
  const found = all[value];
  if (found === undefined) throw new Violation("protocolViolation", `${what} is ${value}`);
  return found;
}
