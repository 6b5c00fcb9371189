import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, concat, hexOf } from "../../../test/support/bytes.ts";
import { ControlReader, decodeMessage, encodeMessage, type Place } from "./control.ts";
import { decodeDatagram, encodeDatagram, type ObjectDatagram } from "./datagrams.ts";
import { type Draft, draft14, draft16, draft18, draft19, drafts } from "./drafts.ts";
import type { Message } from "./messages.ts";
import {
  DataReader,
  encodeFetchHeader,
  encodeFetchObject,
  encodeSubgroupHeader,
  type StreamObject,
} from "./objects.ts";
import { Reader, Violation, Writer } from "./wire.ts";

const track = { namespace: ["live", "one"], name: "catalog" };
const name = "02 04 6c697665 03 6f6e65 07 636174616c6f67";
const none = new Uint8Array(0);

interface Golden {
  readonly draft: Draft;
  readonly bytes: string;
  readonly message: Message;
  /** The request on whose stream it is. */
  readonly on?: Place;
}

const on = { id: 4, kind: "subscribe" } as const;

/** What the drafts say, field by field, as bytes that another implementation would write. */
const golden: readonly Golden[] = [
  {
    // SETUP is a type of two bytes, its options reach to the end: MAX_AUTH_TOKEN_CACHE_SIZE (4) = 200 as 10...... ........
    draft: draft18,
    bytes: "af00 0003 04 80c8",
    message: { type: "setup", options: { maxTokenCacheBytes: 200 } },
  },
  {
    // PATH (1), then MOQT_IMPLEMENTATION (7) as 6 more
    draft: draft18,
    bytes: "af00 0007 01 02 2f61 06 01 53",
    message: { type: "setup", options: { path: "/a", implementation: "S" } },
  },
  {
    // A time and the first request that was not looked at
    draft: draft18,
    bytes: "10 0005 01 2f 80c8 06",
    message: { type: "goaway", uri: "/", timeoutMs: 200, firstRefused: 6 },
  },
  { draft: draft18, bytes: "10 0002 00 00", on, message: { type: "goaway", uri: "", timeoutMs: 0 } },
  { draft: draft19, bytes: "10 0003 01 2f 64", message: { type: "goaway", uri: "/", timeoutMs: 100 } },
  {
    // FORWARD (10) a byte, SUBSCRIBER_PRIORITY (+10) a byte above 127, FILTER (+1) with its length, GROUP_ORDER (+1) a byte
    draft: draft18,
    bytes: `03 001d 04 ${name} 04 10 01 10 c8 01 01 02 01 02`,
    message: {
      type: "subscribe",
      id: 4,
      track,
      params: { forward: true, priority: 200, filter: { from: "largest object" }, order: "descending" },
    },
  },
  {
    // OBJECT_DELIVERY_TIMEOUT (2), RENDEZVOUS_TIMEOUT (+2), SUBGROUP_DELIVERY_TIMEOUT (+2), a range of 5.0 and 2 groups more (+1b)
    draft: draft18,
    bytes: `03 0020 04 ${name} 04 02 00 02 0a 02 14 1b 04 04 05 00 02`,
    message: {
      type: "subscribe",
      id: 4,
      track,
      params: {
        ...{ deliveryTimeoutMs: 0, rendezvousMs: 10, subgroupTimeoutMs: 20 },
        filter: { from: "absolute", start: { group: 5, object: 0 }, endGroup: 7 },
      },
    },
  },
  {
    // No number of the request; LARGEST_OBJECT (9) without a length
    draft: draft18,
    bytes: "04 0006 05 01 09 8080 03",
    on,
    message: {
      ...{ type: "subscribe-ok", id: 4, alias: 5, extensions: none },
      params: { largest: { group: 128, object: 3 } },
    },
  },
  {
    draft: draft18,
    bytes: "07 0001 00",
    on: { id: 4, kind: "publish-namespace" },
    message: { type: "request-ok", id: 4, of: "publish-namespace", params: {} },
  },
  {
    draft: draft18,
    bytes: "05 0005 10 01 02 6e6f",
    on,
    message: { type: "request-error", id: 4, of: "subscribe", code: 0x10, retryMs: 0, reason: "no" },
  },
  {
    // REDIRECT: where to, and to which track
    draft: draft18,
    bytes: "05 000a 34 01 00 01 62 01 01 61 01 74",
    on,
    message: {
      ...{ type: "request-error", id: 4, of: "subscribe", code: 0x34, retryMs: 0, reason: "" },
      redirect: { uri: "b", track: { namespace: ["a"], name: "t" } },
    },
  },
  {
    // TOO_FAR_BEHIND is 5 here and 6 in draft 16; a count of streams that is not known
    draft: draft18,
    bytes: "0b 000b 05 ff3fffffffffffffff 00",
    on,
    message: { type: "publish-done", id: 4, code: 6, streams: 2 ** 62, reason: "" },
  },
  {
    draft: draft18,
    bytes: "02 0004 06 01 10 00",
    on,
    message: { type: "request-update", id: 6, existing: 4, params: { forward: false } },
  },
  {
    draft: draft18,
    bytes: "16 0005 04 02 02 00 00",
    message: { type: "fetch", id: 4, range: { kind: "relative", joining: 2, start: 0 }, params: {} },
  },
  {
    draft: draft18,
    bytes: "18 0004 01 07 03 00",
    on: { id: 4, kind: "fetch" },
    message: {
      ...{ type: "fetch-ok", id: 4, endOfTrack: true, end: { group: 7, object: 3 } },
      ...{ params: {}, extensions: none },
    },
  },
  {
    draft: draft18,
    bytes: "50 0008 00 01 04 6c697665 00",
    message: { type: "subscribe-namespace", id: 0, prefix: ["live"], wants: "namespace", params: {} },
  },
  {
    draft: draft18,
    bytes: "51 0008 00 01 04 6c697665 00",
    message: { type: "subscribe-tracks", id: 0, prefix: ["live"], params: {} },
  },
  {
    draft: draft18,
    bytes: "0f 0007 01 03 6f6e65 01 74",
    on: { id: 4, kind: "subscribe-tracks" },
    message: { type: "publish-blocked", id: 4, suffix: ["one"], name: "t" },
  },
  {
    // One version, ff00000e as eight bytes; MAX_REQUEST_ID (2)
    draft: draft14,
    bytes: "20 000c 01 c0000000ff00000e 01 02 05",
    message: { type: "client-setup", options: { versions: [0xff00000e], maxRequestId: 5 } },
  },
  {
    // PATH (1), then MAX_REQUEST_ID (2): types are not differences
    draft: draft14,
    bytes: "21 000f c0000000ff00000e 02 01 02 2f61 02 05",
    message: { type: "server-setup", options: { versions: [0xff00000e], path: "/a", maxRequestId: 5 } },
  },
  {
    // Priority, group order, forward, filter
    draft: draft14,
    bytes: `03 0018 00 ${name} 80 02 01 02 00`,
    message: {
      type: "subscribe",
      id: 0,
      track,
      params: { priority: 128, order: "descending", forward: true, filter: { from: "largest object" } },
    },
  },
  {
    // Expires, group order, content exists, largest
    draft: draft14,
    bytes: "04 0008 02 05 00 01 01 07 03 00",
    message: {
      ...{ type: "subscribe-ok", id: 2, alias: 5, extensions: none },
      params: { order: "ascending", largest: { group: 7, object: 3 } },
    },
  },
  {
    // TRACK_DOES_NOT_EXIST of SUBSCRIBE_ERROR
    draft: draft14,
    bytes: "05 0005 02 04 02 6e6f",
    message: { type: "request-error", id: 2, of: "subscribe", code: 0x10, reason: "no" },
  },
  {
    // INVALID_RANGE of FETCH_ERROR
    draft: draft14,
    bytes: "19 0003 02 05 00",
    message: { type: "request-error", id: 2, of: "fetch", code: 0x11, reason: "" },
  },
  {
    // Start, end and one, priority, forward
    draft: draft14,
    bytes: "02 0008 04 02 05 00 08 80 00 00",
    message: {
      ...{ type: "request-update", id: 4, existing: 2 },
      params: {
        priority: 128,
        forward: false,
        filter: { from: "absolute", start: { group: 5, object: 0 }, endGroup: 7 },
      },
    },
  },
  {
    draft: draft14,
    bytes: "0e 0008 06 00 00 01 01 0703 00",
    message: {
      ...{ type: "request-ok", id: 6, of: "track-status" },
      params: { order: "ascending", largest: { group: 7, object: 3 } },
    },
  },
  {
    // Priority and group order before the kind
    draft: draft14,
    bytes: "16 0007 04 80 00 02 02 00 00",
    message: {
      ...{ type: "fetch", id: 4, range: { kind: "relative", joining: 2, start: 0 } },
      params: { priority: 128 },
    },
  },
  {
    draft: draft14,
    bytes: "18 0006 04 02 00 07 03 00",
    message: {
      ...{ type: "fetch-ok", id: 4, endOfTrack: false, end: { group: 7, object: 3 } },
      ...{ params: { order: "descending" }, extensions: none },
    },
  },
  {
    draft: draft14,
    bytes: "07 0001 00",
    message: { type: "request-ok", id: 0, of: "publish-namespace", params: {} },
  },
  {
    draft: draft14,
    bytes: "12 0001 00",
    message: { type: "request-ok", id: 0, of: "subscribe-namespace", params: {} },
  },
  {
    draft: draft14,
    bytes: "09 0005 01 03 6f6e65",
    message: { type: "publish-namespace-done", id: -1, namespace: ["one"] },
  },
  {
    draft: draft14,
    bytes: "14 0005 01 03 6f6e65",
    message: { type: "unsubscribe-namespace", id: -1, prefix: ["one"] },
  },
  {
    // Group order, content exists, forward
    draft: draft14,
    bytes: `1d 0018 00 ${name} 05 01 00 01 00`,
    message: {
      ...{ type: "publish", id: 0, track, alias: 5, extensions: none },
      params: { order: "ascending", forward: true },
    },
  },
];

test.for(golden)(
  "draft $draft.number writes and reads $message.type as it says",
  ({ draft, bytes, message, on }) => {
    const wire = bytesOf(bytes);
    expect(hexOf(encodeMessage(draft, message))).toBe(hexOf(wire));
    expect(new ControlReader(draft, on).push(wire)).toEqual([message]);
  },
);

test.for([
  { draft: draft18, bytes: "7f 0000", name: "an unknown message" },
  { draft: draft18, bytes: "07 0001 00", name: "an answer on the control stream" },
  { draft: draft18, bytes: "03 0006 00 00 00 01 3c 00", name: "an unknown parameter" },
  { draft: draft18, bytes: "03 0006 00 00 00 01 10 02", name: "a FORWARD of 2" },
  { draft: draft18, bytes: "20 0001 00", name: "the SETUP of earlier drafts" },
  { draft: draft16, bytes: "2f00 0000", name: "the SETUP of later drafts" },
  { draft: draft14, bytes: `03 0018 00 ${name} 80 03 01 02 00`, name: "a group order of 3" },
  { draft: draft14, bytes: "0a 0000", name: "fields that are missing" },
])("draft $draft.number ends a session at $name", ({ draft, bytes }) => {
  expect(() => new ControlReader(draft).push(bytesOf(bytes))).toThrow(Violation);
});

test("draft 14 passes over parameters that nobody knows", () => {
  const message = decodeMessage(draft14, 0x06, bytesOf("00 01 03 6f6e65 01 3c 05"));
  expect(message).toEqual({ type: "publish-namespace", id: 0, namespace: ["one"], params: {} });
});

describe("numbers with leading ones", () => {
  test.for([
    // Draft 18 1.4.1, and one that is longer than it must be.
    { bytes: "25", value: 37 },
    { bytes: "8025", value: 37 },
    { bytes: "bbbd", value: 15_293 },
    { bytes: "ed7f3e7d", value: 226_442_877 },
    { bytes: "faa1a0e403d8", value: 2_893_212_287_960 },
    { bytes: "fc8998abc66bc0", value: 151_288_809_941_952 },
  ])("$bytes is $value", ({ bytes, value }) => {
    expect(new Reader(bytesOf(bytes), "ones").varint()).toBe(value);
  });

  test("what cannot be counted is refused, but where it stands for the unknown", () => {
    const wire = bytesOf("fefa318fa8e3ca11");
    expect(() => new Reader(wire, "ones").varint()).toThrow(Violation);
    expect(new Reader(bytesOf("ffffffffffffffffff"), "ones").loose()).toBe(2 ** 62);
  });

  test("come back as they were, in the fewest bytes", () => {
    fc.assert(
      fc.property(fc.nat(Number.MAX_SAFE_INTEGER), (value) => {
        const bytes = new Writer("ones").varint(value).done();
        expect(new Reader(bytes, "ones").varint()).toBe(value);
        expect(bytes.length).toBe(Math.max(1, Math.ceil(Math.log2(value + 1) / 7)));
      }),
    );
  });
});

function objectsOf(draft: Draft, wire: Uint8Array, { descends = false, size = 3 } = {}): StreamObject[] {
  const objects: StreamObject[] = [];
  const reader = new DataReader(draft, {
    header: () => {},
    object: (object) => objects.push(object),
    descends: () => descends,
  });
  for (let at = 0; at < wire.length; at += size) reader.push(wire.subarray(at, at + size));
  reader.end();
  return objects;
}

describe("streams of objects", () => {
  const header = {
    alias: 2,
    group: 300,
    subgroup: 0,
    priority: undefined,
    extensions: false,
    endOfGroup: true,
  };

  test.for([
    { draft: draft14, bytes: "18 02 412c 80" },
    { draft: draft16, bytes: "38 02 412c" },
    { draft: draft18, bytes: "78 02 812c" },
  ])("draft $draft.number opens one with $bytes", ({ draft, bytes }) => {
    expect(hexOf(encodeSubgroupHeader({ ...header, first: true }, draft))).toBe(bytes.replaceAll(" ", ""));
  });

  test("draft 14 knows no stream without a priority, and 16 none that begins a subgroup", () => {
    expect(() => objectsOf(draft14, bytesOf("38 02 05"))).toThrow(Violation);
    expect(() => objectsOf(draft16, bytesOf("4058 02 05 80"))).toThrow(Violation);
  });

  test.for([
    // Groups 4 and 6 with an object each, and another one in 6.
    { draft: draft14, bytes: "05 06  04 00 00 80 00 01 aa  06 00 00 80 00 01 bb  06 00 01 80 00 01 cc" },
    { draft: draft16, bytes: "05 06  1c 04 00 80 01 aa  1c 06 00 80 01 bb  1c 06 01 80 01 cc" },
    { draft: draft18, bytes: "05 06  1c 04 00 80 01 aa  1c 01 00 80 01 bb  14 01 80 01 cc" },
  ])("draft $draft.number answers a FETCH with places as it says", ({ draft, bytes }) => {
    const at = [
      { group: 4, object: 0, payload: bytesOf("aa") },
      { group: 6, object: 0, payload: bytesOf("bb") },
      { group: 6, object: 1, payload: bytesOf("cc") },
    ];
    const wire = concat([
      encodeFetchHeader(6, draft),
      ...at.map((object, i) => encodeFetchObject(object, draft, at[i - 1])),
    ]);
    expect(hexOf(wire)).toBe(bytes.replaceAll(" ", ""));
    expect(
      objectsOf(draft, wire).map(({ group, object, payload }) => [group, object, hexOf(payload)]),
    ).toEqual([
      [4, 0, "aa"],
      [6, 0, "bb"],
      [6, 1, "cc"],
    ]);
  });

  test.for(drafts)("draft $number fetches groups in both directions", (draft) => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(2 ** 45), { maxLength: 5 }),
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        (groups, payloads, descends) => {
          const sent = groups
            .toSorted((a, b) => (descends ? b - a : a - b))
            .flatMap((group) =>
              payloads.map((payload, i) => ({ group, object: 2 * i, subgroup: i, payload })),
            );
          const wire = concat([
            encodeFetchHeader(2, draft),
            ...sent.map((object, i) => encodeFetchObject(object, draft, sent[i - 1])),
          ]);
          const came = objectsOf(draft, wire, { descends, size: 11 });
          expect(
            came.map(({ group, object, subgroup, payload }) => ({ group, object, subgroup, payload })),
          ).toEqual(sent);
        },
      ),
    );
  });

  test("draft 18 counts on from a range that is not there", () => {
    // 4.0, nothing up to 6.9, then the next object, then two groups on
    const wire = bytesOf("05 06 1c 04 00 80 01 aa 808c 01 09 00 01 bb 0c 01 00 01 cc");
    expect(objectsOf(draft18, wire).map(({ group, object }) => [group, object])).toEqual([
      [4, 0],
      [6, 10],
      [8, 0],
    ]);
  });

  test("a group below nothing is a violation", () => {
    const wire = bytesOf("05 06 1c 04 00 80 01 aa 1c 09 00 80 01 bb");
    expect(() => objectsOf(draft18, wire, { descends: true })).toThrow(Violation);
  });
});

describe("datagrams", () => {
  const datagram: ObjectDatagram = {
    ...{ alias: 2, group: 300, object: 5, priority: undefined, extensions: undefined },
    ...{ endOfGroup: false, status: "normal", payload: bytesOf("aabb") },
  };

  test.for([
    { draft: draft14, bytes: "00 02 412c 05 80 aabb" },
    { draft: draft16, bytes: "08 02 412c 05 aabb" },
    { draft: draft18, bytes: "08 02 812c 05 aabb" },
  ])("draft $draft.number has $bytes for an object", ({ draft, bytes }) => {
    const wire = bytesOf(bytes);
    expect(hexOf(encodeDatagram(datagram, draft))).toBe(hexOf(wire));
    const priority = draft === draft14 ? 128 : undefined;
    expect(decodeDatagram(wire, draft)).toEqual({ ...datagram, priority });
  });

  test.for(drafts)("draft $number reads what it writes", (draft) => {
    fc.assert(
      fc.property(
        fc.record({
          ...{ alias: fc.nat(), group: fc.nat(2 ** 50), object: fc.nat(3), priority: fc.nat(255) },
          extensions: fc.option(fc.uint8Array({ minLength: 1, maxLength: 9 }), { nil: undefined }),
          ...{ endOfGroup: fc.boolean(), status: fc.constant("normal" as const), payload: fc.uint8Array() },
        }),
        (one) => {
          expect(decodeDatagram(encodeDatagram(one, draft), draft)).toEqual(one);
        },
      ),
    );
    const end = { ...datagram, priority: 7, status: "end of group" as const, payload: none };
    expect(decodeDatagram(encodeDatagram(end, draft), draft)).toEqual(end);
  });

  test.for([
    { draft: draft16, bytes: "22 02 05 05 80 03", name: "a status that ends a group as well" },
    { draft: draft16, bytes: "10 02 05", name: "what is a stream" },
    { draft: draft16, bytes: "01 02 05 05 80 00 aa", name: "properties that are none" },
    { draft: draft18, bytes: "21 02 05 05 80 01 02 03", name: "properties of what is not normal" },
    { draft: draft14, bytes: "08 02 05 05 aa", name: "no priority" },
    { draft: draft18, bytes: "20 02 05 05 80 03 aa", name: "a payload after a status" },
  ])("draft $draft.number takes no datagram with $name", ({ draft, bytes }) => {
    expect(() => decodeDatagram(bytesOf(bytes), draft)).toThrow(Violation);
  });

  test("draft 18 passes over what is there to fill", () => {
    const wire = new Writer("ones").varint(0x132b3e29).put(new Uint8Array(9)).done();
    expect(decodeDatagram(wire, draft18)).toBeUndefined();
  });
});
