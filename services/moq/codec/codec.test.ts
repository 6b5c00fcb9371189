import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, concat, hexOf } from "../../../test/support/bytes.ts";
import { ControlReader, encodeMessage } from "./control.ts";
import { draft16 } from "./drafts.ts";
import type { Message } from "./messages.ts";
import {
  type DataHeader,
  DataReader,
  encodeFetchHeader,
  encodeFetchObject,
  encodeObject,
  encodeSubgroupHeader,
  type StreamObject,
} from "./objects.ts";
import { Reader, Violation, Writer } from "./wire.ts";

const track = { namespace: ["live", "one"], name: "catalog" };

/** What draft 16 says, field by field, as bytes that another implementation would write. */
const golden: readonly { readonly bytes: string; readonly message: Message }[] = [
  {
    // type 20, length 3, one parameter: delta 2 (MAX_REQUEST_ID) = 64
    bytes: "20 0004 01 02 4040",
    message: { type: "client-setup", options: { maxRequestId: 64 } },
  },
  {
    // PATH (1) then MAX_REQUEST_ID as 1 more
    bytes: "20 0007 02 01 02 2f61 01 05",
    message: { type: "client-setup", options: { path: "/a", maxRequestId: 5 } },
  },
  { bytes: "21 0003 01 02 0a", message: { type: "server-setup", options: { maxRequestId: 10 } } },
  { bytes: "10 0003 02 2f62", message: { type: "goaway", uri: "/b" } },
  { bytes: "15 0001 20", message: { type: "max-request-id", max: 32 } },
  { bytes: "1a 0001 20", message: { type: "requests-blocked", max: 32 } },
  {
    // id 0, namespace of two fields, name, then FORWARD (10), PRIORITY (+10), FILTER (+1), GROUP_ORDER (+1)
    bytes: "03 001e 00 02 04 6c697665 03 6f6e65 07 636174616c6f67 04 10 01 10 4080 01 01 02 01 02",
    message: {
      type: "subscribe",
      id: 0,
      track,
      params: { forward: true, priority: 128, filter: { from: "largest object" }, order: "descending" },
    },
  },
  {
    // LARGEST_OBJECT (9): group 7, object 3, no extensions
    bytes: "04 0007 02 05 01 09 02 0703",
    message: {
      type: "subscribe-ok",
      id: 2,
      alias: 5,
      params: { largest: { group: 7, object: 3 } },
      extensions: new Uint8Array(0),
    },
  },
  {
    // code 0x10 DOES_NOT_EXIST, retry after 0 ms is written as 1
    bytes: "05 0006 02 10 01 02 6e6f",
    message: { type: "request-error", id: 2, code: 0x10, retryMs: 0, reason: "no" },
  },
  {
    bytes: "05 0004 02 01 00 00",
    message: { type: "request-error", id: 2, code: 1, reason: "" },
  },
  { bytes: "0a 0001 04", message: { type: "unsubscribe", id: 4 } },
  {
    // stream count 2^62 - 1 stands for unknown
    bytes: "0b 000b 02 02 ffffffffffffffff 00",
    message: { type: "publish-done", id: 2, code: 2, streams: 2 ** 62, reason: "" },
  },
  {
    // relative joining fetch of request 2, this group
    bytes: "16 0005 04 02 02 00 00",
    message: { type: "fetch", id: 4, range: { kind: "relative", joining: 2, start: 0 }, params: {} },
  },
  {
    bytes: "16 0019 04 01 02 04 6c697665 03 6f6e65 07 636174616c6f67 05 00 06 01 00",
    message: {
      type: "fetch",
      id: 4,
      range: {
        kind: "standalone",
        track,
        start: { group: 5, object: 0 },
        end: { group: 6, object: 1 },
      },
      params: {},
    },
  },
  {
    bytes: "18 0005 04 01 07 03 00",
    message: {
      type: "fetch-ok",
      id: 4,
      endOfTrack: true,
      end: { group: 7, object: 3 },
      params: {},
      extensions: new Uint8Array(0),
    },
  },
  {
    bytes: "06 000c 00 02 04 6c697665 03 6f6e65 00",
    message: { type: "publish-namespace", id: 0, namespace: track.namespace, params: {} },
  },
  {
    bytes: "11 0009 00 01 04 6c697665 01 00",
    message: { type: "subscribe-namespace", id: 0, prefix: ["live"], wants: "namespace", params: {} },
  },
  { bytes: "08 0005 01 03 6f6e65", message: { type: "namespace", id: -1, suffix: ["one"] } },
  { bytes: "07 0002 02 00", message: { type: "request-ok", id: 2, params: {} } },
  {
    // AUTHORIZATION_TOKEN (3): use value (3), type 0, "jwt"
    bytes: "0d 0017 06 02 04 6c697665 03 6f6e65 03 6c6f67 01 03 05 03 00 6a7774",
    message: {
      type: "track-status",
      id: 6,
      track: { namespace: ["live", "one"], name: "log" },
      params: { tokens: [{ use: "value", type: 0, value: bytesOf("6a7774") }] },
    },
  },
];

describe("draft 16", () => {
  test.for(golden)("$message.type is written and read as the draft has it", ({ bytes, message }) => {
    const wire = bytesOf(bytes);
    // The length in the table is a count of what follows, kept right by hand.
    expect(hexOf(encodeMessage(draft16, message))).toBe(hexOf(wire));
    expect(new ControlReader(draft16).push(wire)).toEqual([message]);
  });

  test("messages are found however their bytes are cut", () => {
    const all = concat(golden.map(({ bytes }) => bytesOf(bytes)));
    for (const size of [1, 2, 3, 7, 64]) {
      const reader = new ControlReader(draft16);
      const messages: Message[] = [];
      for (let at = 0; at < all.length; at += size)
        messages.push(...reader.push(all.subarray(at, at + size)));
      // NAMESPACE is of the request on whose stream it comes.
      expect(messages.map((one) => (one.type === "namespace" ? { ...one, id: -1 } : one))).toEqual(
        golden.map(({ message }) => message),
      );
      expect(reader.pending).toBe(0);
    }
  });

  test.for([
    { name: "an unknown message", bytes: "3f 0000", code: "protocolViolation" },
    { name: "fields that are missing", bytes: "0a 0000", code: "protocolViolation" },
    { name: "bytes that are too many", bytes: "0a 0002 0404", code: "protocolViolation" },
    { name: "an unknown parameter", bytes: "07 0004 02 01 3c 00", code: "protocolViolation" },
    {
      name: "a parameter that is there twice",
      bytes: "07 0006 02 02 08 01 00 01",
      code: "protocolViolation",
    },
    {
      name: "a filter with too little in it",
      bytes: "02 0006 02 00 01 21 01 03",
      code: "keyValueFormatting",
    },
    { name: "a filter that does not exist", bytes: "02 0006 02 00 01 21 01 09", code: "keyValueFormatting" },
    { name: "a group order that does not exist", bytes: "02 0005 02 00 01 22 03", code: "protocolViolation" },
    { name: "a delivery timeout of nothing", bytes: "02 0005 02 00 01 02 00", code: "protocolViolation" },
    { name: "a namespace without fields", bytes: "06 0003 00 00 00", code: "protocolViolation" },
    { name: "a fetch of no kind", bytes: "16 0003 04 09 00", code: "protocolViolation" },
    { name: "a number above 2^53", bytes: "0a 0008 ffffffffffffffff", code: "protocolViolation" },
  ])("$name ends the session", ({ bytes, code }) => {
    const push = () => new ControlReader(draft16).push(bytesOf(bytes));
    expect(push).toThrow(Violation);
    expect(push).toThrow(expect.objectContaining({ code }));
  });

  test("setup options that nobody knows are passed over", () => {
    const wire = bytesOf("20 0008 02 02 05 3d 03 616263");
    expect(new ControlReader(draft16).push(wire)).toEqual([
      { type: "client-setup", options: { maxRequestId: 5 } },
    ]);
  });
});

test("numbers are written in the fewest bytes and read again", () => {
  fc.assert(
    fc.property(fc.nat(Number.MAX_SAFE_INTEGER), (value) => {
      const bytes = new Writer().varint(value).done();
      expect(new Reader(bytes).varint()).toBe(value);
      expect(bytes.length).toBe(value < 64 ? 1 : value < 16384 ? 2 : value < 2 ** 30 ? 4 : 8);
    }),
  );
});

function read(bytes: Uint8Array, size: number): { headers: DataHeader[]; objects: StreamObject[] } {
  const headers: DataHeader[] = [];
  const objects: StreamObject[] = [];
  const reader = new DataReader(draft16, {
    header: (header) => headers.push(header),
    object: (object) => objects.push({ ...object, payload: object.payload.slice() }),
  });
  for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
  reader.end();
  return { headers, objects };
}

describe("streams of objects", () => {
  test("a subgroup is written as in the draft's own example", () => {
    // Draft 16 10.5: type 0x14, alias 2, group 0, subgroup 0, priority 0; "abcd", "efgh". Ours leaves out a subgroup of 0.
    const theirs = bytesOf("14 02 00 00 00 00 04 61626364 00 04 65666768");
    const { headers, objects } = read(theirs, 3);
    expect(headers).toEqual([
      {
        type: "subgroup",
        alias: 2,
        group: 0,
        subgroup: 0,
        priority: 0,
        extensions: false,
        endOfGroup: false,
      },
    ]);
    expect(objects.map(({ object, payload }) => [object, hexOf(payload)])).toEqual([
      [0, "61626364"],
      [1, "65666768"],
    ]);
    const ours = encodeSubgroupHeader(
      { alias: 2, group: 0, subgroup: 0, priority: 0, extensions: false, endOfGroup: false },
      draft16,
    );
    expect(hexOf(ours)).toBe("10020000");
    expect(hexOf(encodeObject(bytesOf("61626364")))).toBe("000461626364");
  });

  test("objects come out as they went in, however the bytes are cut", () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(
        fc.array(fc.record({ payload: bytes, gap: fc.nat(3), extensions: fc.uint8Array({ maxLength: 9 }) })),
        fc.integer({ min: 1, max: 50 }),
        fc.boolean(),
        (sent, size, extended) => {
          const header = {
            ...{ alias: 70, group: 2 ** 40, subgroup: 3, priority: undefined, extensions: extended },
            endOfGroup: true,
          };
          const wire = concat([
            encodeSubgroupHeader(header, draft16),
            ...sent.map(({ payload, gap, extensions }) =>
              encodeObject(payload, { gap, extensions: extended ? extensions : undefined }),
            ),
          ]);
          const { headers, objects } = read(wire, size);
          expect(headers).toEqual([{ type: "subgroup", ...header }]);
          expect(objects.map(({ payload }) => payload)).toEqual(sent.map(({ payload }) => payload));
          let id = -1;
          for (const [i, { gap }] of sent.entries()) {
            id += 1 + gap;
            expect(objects[i]!.object).toBe(id);
          }
        },
      ),
    );
  });

  test("a fetch answers with objects of several groups", () => {
    const wire = concat([
      encodeFetchHeader(6, draft16),
      encodeFetchObject({ group: 4, object: 0, payload: bytesOf("aa") }, draft16, undefined),
      encodeFetchObject({ group: 4, object: 1, payload: bytesOf("bb") }, draft16, undefined),
      // The same group, next object, no priority: flags 0
      bytesOf("00 01 cc"),
      encodeFetchObject({ group: 5, object: 0, payload: bytesOf("dd") }, draft16, undefined),
    ]);
    const { headers, objects } = read(wire, 2);
    expect(headers).toEqual([{ type: "fetch", id: 6 }]);
    expect(objects.map(({ group, object, payload }) => [group, object, hexOf(payload)])).toEqual([
      [4, 0, "aa"],
      [4, 1, "bb"],
      [4, 2, "cc"],
      [5, 0, "dd"],
    ]);
  });

  test.for([
    { name: "an unknown stream", bytes: "07" },
    { name: "a reserved subgroup mode", bytes: "16 01 01 00" },
    { name: "a first fetched object that refers to one before it", bytes: "05 00 00 01 aa" },
    { name: "an object that is too large", bytes: "10 02 00 00 00 bfffffff" },
    { name: "an unknown status", bytes: "10 02 00 00 00 00 07" },
  ])("$name is a violation", ({ bytes }) => {
    expect(() => read(bytesOf(bytes), 100)).toThrow(Violation);
  });

  test("an end within an object is a violation", () => {
    expect(() => read(bytesOf("10 02 00 00 00 04 61"), 100)).toThrow(/within one/);
  });
});
