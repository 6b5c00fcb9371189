import type { Filter, Location, Params, SetupOptions, Token } from "./messages.ts";
import { bytesOfText, Reader, textOf, Violation, Writer } from "./wire.ts";

/** Draft 16 1.4.2: a value is at most this long. */
const maxValueBytes = 0xffff;
/** Nothing that we take has more. */
const maxPairs = 64;

type Pair = readonly [type: number, value: number | Uint8Array];

/** Reads `count` pairs, types as differences to the one before; even types have a number, odd ones bytes. */
function readPairs(from: Reader, count: number): Pair[] {
  if (count > maxPairs)
    throw new Violation("protocolViolation", `There are more than ${maxPairs} parameters`);
  const pairs: Pair[] = [];
  let type = 0;
  for (let i = 0; i < count; i++) {
    type += from.varint();
    pairs.push([type, type % 2 === 0 ? from.loose() : from.sized(maxValueBytes)]);
  }
  return pairs;
}

function writePairs(to: Writer, pairs: readonly Pair[]): void {
  to.varint(pairs.length);
  let before = 0;
  for (const [type, value] of [...pairs].sort(([a], [b]) => a - b)) {
    to.varint(type - before);
    before = type;
    if (typeof value === "number") to.varint(value);
    else to.sized(value);
  }
}

const wrong = (what: string) => new Violation("keyValueFormatting", `${what} cannot be read`);

/** A value that is itself fields, none of them missing and nothing after. */
function within<T>(value: number | Uint8Array, what: string, read: (from: Reader) => T): T {
  const from = new Reader(value as Uint8Array);
  try {
    const found = read(from);
    from.end();
    return found;
  } catch (error) {
    throw error instanceof Violation && error.code === "protocolViolation" ? wrong(what) : error;
  }
}

/** The parameters of a request or an answer (draft 16 9.2.2). Violation for types that the draft does not have. */
export function readParams(from: Reader): Params {
  const params: { -readonly [Name in keyof Params]: Params[Name] } = {};
  const tokens: Token[] = [];
  const seen = new Set<number>();
  for (const [type, value] of readPairs(from, from.varint())) {
    if (type !== 0x03 && seen.has(type))
      throw new Violation("protocolViolation", `Parameter ${type} is there twice`);
    seen.add(type);
    const number = value as number;
    switch (type) {
      case 0x02:
        if (number === 0) throw new Violation("protocolViolation", "DELIVERY_TIMEOUT is 0");
        params.deliveryTimeoutMs = number;
        break;
      case 0x03:
        tokens.push(readToken(value as Uint8Array));
        break;
      case 0x08:
        params.expiresMs = number;
        break;
      case 0x09:
        params.largest = within(value, "LARGEST_OBJECT", readLocation);
        break;
      case 0x10:
        params.forward = oneOf(number, [false, true], "FORWARD");
        break;
      case 0x20:
        if (number > 255) throw new Violation("protocolViolation", "SUBSCRIBER_PRIORITY is above 255");
        params.priority = number;
        break;
      case 0x21:
        params.filter = within(value, "SUBSCRIPTION_FILTER", readFilter);
        break;
      case 0x22:
        params.order = oneOf(number, [undefined, "ascending", "descending"], "GROUP_ORDER");
        break;
      case 0x32:
        params.newGroup = number;
        break;
      default:
        throw new Violation("protocolViolation", `There is no parameter ${type}`);
    }
  }
  if (tokens.length > 0) params.tokens = tokens;
  return params;
}

export function writeParams(to: Writer, params: Params): void {
  const pairs: Pair[] = (params.tokens ?? []).map((token) => [0x03, writeToken(token)]);
  const put = (type: number, value: number | Uint8Array | undefined) => {
    if (value !== undefined) pairs.push([type, value]);
  };
  put(0x02, params.deliveryTimeoutMs);
  put(0x08, params.expiresMs);
  put(0x09, params.largest && writeLocation(new Writer(), params.largest).done());
  put(0x10, params.forward === undefined ? undefined : Number(params.forward));
  put(0x20, params.priority);
  put(0x21, params.filter && writeFilter(new Writer(), params.filter).done());
  put(0x22, params.order && { ascending: 1, descending: 2 }[params.order]);
  put(0x32, params.newGroup);
  writePairs(to, pairs);
}

/** Setup options (draft 16 9.3.1): the same numbers in every draft. */
export function readSetup(from: Reader): SetupOptions {
  const options: { -readonly [Name in keyof SetupOptions]: SetupOptions[Name] } = {};
  const tokens: Token[] = [];
  for (const [type, value] of readPairs(from, from.varint())) {
    if (type === 0x01) options.path = textOf(value as Uint8Array);
    else if (type === 0x02) options.maxRequestId = value as number;
    else if (type === 0x03) tokens.push(readToken(value as Uint8Array));
    else if (type === 0x04) options.maxTokenCacheBytes = value as number;
    else if (type === 0x05) options.authority = textOf(value as Uint8Array);
    else if (type === 0x07) options.implementation = textOf(value as Uint8Array);
  }
  if (tokens.length > 0) options.tokens = tokens;
  return options;
}

export function writeSetup(to: Writer, options: SetupOptions): void {
  const pairs: Pair[] = (options.tokens ?? []).map((token) => [0x03, writeToken(token)]);
  const text = (type: number, value: string | undefined) => {
    if (value !== undefined) pairs.push([type, bytesOfText(value)]);
  };
  text(0x01, options.path);
  if (options.maxRequestId !== undefined) pairs.push([0x02, options.maxRequestId]);
  if (options.maxTokenCacheBytes !== undefined) pairs.push([0x04, options.maxTokenCacheBytes]);
  text(0x05, options.authority);
  text(0x07, options.implementation);
  writePairs(to, pairs);
}

export function readLocation(from: Reader): Location {
  return { group: from.varint(), object: from.varint() };
}

export function writeLocation(to: Writer, { group, object }: Location): Writer {
  return to.varint(group).varint(object);
}

/** Draft 16 5.1.2. */
function readFilter(from: Reader): Filter {
  const type = from.varint();
  if (type === 1) return { from: "next group" };
  if (type === 2) return { from: "largest object" };
  if (type === 3) return { from: "absolute", start: readLocation(from) };
  if (type !== 4) throw new Violation("keyValueFormatting", `There is no filter ${type}`);
  const start = readLocation(from);
  const endGroup = from.varint();
  if (endGroup < start.group) throw new Violation("keyValueFormatting", "A filter ends before it begins");
  return { from: "absolute", start, endGroup };
}

function writeFilter(to: Writer, filter: Filter): Writer {
  if (filter.from === "next group") return to.varint(1);
  if (filter.from === "largest object") return to.varint(2);
  writeLocation(to.varint(filter.endGroup === undefined ? 3 : 4), filter.start);
  return filter.endGroup === undefined ? to : to.varint(filter.endGroup);
}

const uses = ["delete", "register", "alias", "value"] as const;

function readToken(bytes: Uint8Array): Token {
  return within(bytes, "AUTHORIZATION_TOKEN", (from): Token => {
    const use = oneOf(from.varint(), uses, "a token's use");
    if (use === "delete" || use === "alias") return { use, alias: from.varint() };
    if (use === "value") return { use, type: from.varint(), value: from.take(from.left) };
    return { use, alias: from.varint(), type: from.varint(), value: from.take(from.left) };
  });
}

function writeToken(token: Token): Uint8Array {
  const to = new Writer().varint(uses.indexOf(token.use));
  if (token.use !== "value") to.varint(token.alias);
  if (token.use === "register" || token.use === "value") to.varint(token.type).put(token.value);
  return to.done();
}

function oneOf<T>(value: number, all: readonly (T | undefined)[], what: string): T {
  const found = all[value];
  if (found === undefined) throw new Violation("protocolViolation", `${what} is ${value}`);
  return found;
}
